#!/bin/sh
# Fetches NVIDIA's run-time compiler in two versions into target/nvrtc/12 and target/nvrtc/13 (110 MB each; no GPU, no
# toolkit, no root): for `make kernels` and for the tests of the kernels. What is there is left as it is.
set -eu
cd "$(dirname "$0")/.."

folder=target/nvrtc
fetch() { # major, package
    [ -e "$folder/$1/complete" ] && [ "$(cat "$folder/$1/complete")" = "$2" ] && return 0
    if ! [ -x "$folder/venv/bin/pip" ] && ! python3 -m venv "$folder/venv"; then
        echo "Python's venv is missing: sudo apt-get install python3-venv" >&2
        return 1
    fi
    echo "fetching $2"
    rm -rf "$folder/$1" "$folder/part"
    if ! "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$folder/part" "$2"; then
        echo "$2 could not be fetched from PyPI. Without a network: unpack that wheel elsewhere, put its libnvrtc*.so* into" >&2
        echo "$PWD/$folder/$1 and the text $2 into the file \`complete\` there; or leave the tests out: make test NVRTC=no" >&2
        return 1
    fi
    mkdir -p "$folder/$1"
    find "$folder/part" -name 'libnvrtc*.so*' ! -name '*.alt.*' -exec mv {} "$folder/$1/" \;
    rm -rf "$folder/part"
    printf %s "$2" >"$folder/$1/complete"
}
mkdir -p "$folder"
fetch 12 nvidia-cuda-nvrtc-cu12==12.9.86
fetch 13 nvidia-cuda-nvrtc==13.0.88
