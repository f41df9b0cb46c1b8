#!/bin/sh
# Build a Python environment of its own from a lock beside this file: build.sh FOLDER NAME (Linux on x86-64).
set -eu
folder=$1
here=$(dirname "$0")
lock=$here/$2.txt
is_3_11='import sys; sys.exit(sys.version_info[:2] != (3, 11))' # the locks hold what that Python needs
for python in python python3.11 ""; do "$python" -c "$is_3_11" 2> /dev/null && break; done
[ "$python" ] || { echo "error: $lock needs Python 3.11, which neither python nor python3.11 is" >&2; exit 1; }
export BUILD_CUDA_EXT=0 # AutoGPTQ's own kernels are not needed to write checkpoints
rm -rf "$folder"
"$python" -m venv "$folder"
"$folder/bin/pip" install --requirement "$here/torch.txt"
# What comes as source is built against torch, NumPy and setuptools, which must be there first.
"$folder/bin/pip" install $(grep -oE '^(numpy|setuptools)==[^ ;]+' "$lock")
"$folder/bin/pip" install --no-deps --require-hashes --no-build-isolation --requirement "$lock"
"$folder/bin/pip" check
