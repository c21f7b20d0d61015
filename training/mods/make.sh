#!/bin/sh
# Does a primary modality for each sample beat every fixed one? Writes results.json.
# Needs Python 3.11 and the intermediate files of training/sentiment (training/sentiment/make.sh), which may be elsewhere:
# SENTIMENT_WORK.
set -eu
cd "$(dirname "$0")"
sentiment=${SENTIMENT_WORK:-../sentiment/work}
mkdir -p work
if [ ! -x work/venv/bin/python ]; then
	python3 -m venv work/venv
fi
work/venv/bin/pip install -q -r requirements.txt
export OMP_NUM_THREADS=1
work/venv/bin/python mods.py "$sentiment/vader" "$sentiment/speech.npz" results.json
