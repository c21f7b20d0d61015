#!/bin/sh
# Build models/sentiment from nothing: tools, texts, faces, voices, training, graphs, labelled sets, measurements.
# Needs Python 3.11, npm, and the Debian package espeak-ng (installed here when run as root).
# Usage: training/sentiment/make.sh [folder to write, default models/sentiment]
set -eu
cd "$(dirname "$0")"
out=${1:-../../models/sentiment}

if ! dpkg -s espeak-ng >/dev/null 2>&1; then
	if [ "$(id -u)" != 0 ]; then
		echo "make.sh: install the package espeak-ng first" >&2
		exit 1
	fi
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends espeak-ng
fi

mkdir -p work
if [ ! -x work/venv/bin/python ]; then
	python3 -m venv work/venv
fi
work/venv/bin/pip install -q -r requirements.txt
python=work/venv/bin/python
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"

if [ ! -d work/vader ]; then
	(
		cd work
		venv/bin/pip download -q --no-deps --no-binary :all: vaderSentiment==3.3.2 -d download
		tar xzf download/vaderSentiment-3.3.2.tar.gz -C download
		tar xzf download/vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz -C download
		mv download/hutto_ICWSM_2014 vader
	)
fi
if [ ! -f work/ranking.csv ]; then
	(cd work && npm pack --silent sentiment@5.0.2 && tar xzf sentiment-5.0.2.tgz -O package/build/Emoji_Sentiment_Data_v1.0.csv >ranking.csv)
fi
if [ ! -d work/emoji ]; then
	(cd work && npm pack --silent emoji-datasource-google@16.0.0 && mkdir emoji && tar xzf emoji-datasource-google-16.0.0.tgz -C emoji --strip-components 1)
fi
[ -f work/speech.npz ] || $python speech.py work/vader work/speech.npz
[ -f work/sentiment.pt ] || $python train.py work work/sentiment.pt --threads "$OMP_NUM_THREADS"

$python -c "import data; data.write('work', 'profile', '$out/eval/profile.npz'); data.write('work', 'heldout', '$out/eval/heldout.npz')"
$python export.py work/sentiment.pt "$out/onnx"
$python samples.py "$out"
$python evaluate.py "$out"
