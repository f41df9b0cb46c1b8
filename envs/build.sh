#!/bin/sh
# Build a Python environment of its own from a lock beside this file: build.sh FOLDER NAME (Linux, Python 3.11).
set -eu
folder=$1
lock=$(dirname "$0")/$2.txt
export BUILD_CUDA_EXT=0 # AutoGPTQ's own kernels are not needed to write checkpoints
rm -rf "$folder"
python -m venv "$folder"
"$folder/bin/pip" install --requirement "$(dirname "$0")/torch.txt"
# What comes as source is built against torch, NumPy and setuptools, which must be there first.
"$folder/bin/pip" install $(grep -oE '^(numpy|setuptools)==[^ ;]+' "$lock")
"$folder/bin/pip" install --no-deps --require-hashes --no-build-isolation --requirement "$lock"
"$folder/bin/pip" check
