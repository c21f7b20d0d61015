#!/bin/sh
# Build models/digits_exits: training of the exits, graphs, labelled sets. The data are those of training/digits,
# whose make.sh must have run (or WORK names its work directory). Needs Python 3.11 and an hour on two cores.
# Usage: training/digits_exits/make.sh [folder to write, default models/digits_exits]
set -eu
cd "$(dirname "$0")"
out=${1:-../../models/digits_exits}
data=${WORK:-../digits/work}

if [ ! -f "$data/speech.npz" ]; then
	echo "make.sh: $data has no speech.npz; run training/digits/make.sh first" >&2
	exit 1
fi
mkdir -p work
if [ ! -x work/venv/bin/python ]; then
	python3 -m venv work/venv
fi
work/venv/bin/pip install -q -r requirements.txt
python=work/venv/bin/python

for size in wide narrow; do
	[ -f "work/$size.pt" ] || $python train_exits.py "$data" "$size" "work/$size.pt"
done
mkdir -p "$out/eval"
[ -f "$out/eval/profile.npz" ] || $python -c "import exits, data; data.write('$data', 'profile', 2000, '$out/eval/profile.npz')"
[ -f "$out/eval/heldout.npz" ] || $python -c "import exits, data; data.write('$data', 'heldout', 1500, '$out/eval/heldout.npz')"
$python export.py work "$out/onnx"
