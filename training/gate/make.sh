#!/bin/sh
# Train a gate for digits, make a package with it in work/digits, profile it, and compare it with mixes and cascades.
# Needs Python 3.11, npm, Go, and the intermediate files of training/digits (training/digits/make.sh), which may be
# elsewhere: DIGITS_WORK.
set -eu
cd "$(dirname "$0")"
digits=${DIGITS_WORK:-../digits/work}
mkdir -p work
if [ ! -x work/venv/bin/python ]; then
	python3 -m venv work/venv
	work/venv/bin/pip install -q -r requirements.txt
fi
python=work/venv/bin/python
[ -f work/answers.npz ] || $python answers.py "$digits" ../../models/digits work/answers.npz
[ -f work/glance.onnx ] || $python train.py work/answers.npz work/glance.onnx
cp work/glance.onnx glance.onnx # what `make samples` compares
[ -f work/digits/mosel.yaml ] || $python package.py ../../models/digits work/glance.onnx work/digits
(cd ../.. && go run ./cmd/mosel profile training/gate/work/digits --device cpu)
$python compare.py work/digits cpu results.json
