#!/bin/sh
# Makes a model package of two sensors, measures it, and plans with it. Its argument is a new directory.
# PYTHON must have the packages of requirements.txt.
#
#     run.sh [DIRECTORY]
set -eu
here=$(dirname "$0")
package=${1:-machine}

"${PYTHON:-python3}" "$here/make.py" "$package"
mosel init "$package" --split 0.5       # writes mosel.yaml; half of the samples measure, the other half is held out
mosel check "$package"
mosel profile "$package" --quick        # accuracy, times and memory of each variant on this machine
mosel plan "$package" --size 32 --min-accuracy 0.8
echo "serve it: mosel serve --models $package"
