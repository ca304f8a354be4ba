#!/bin/sh
# The tests of kernels on the CPU under AddressSanitizer and UndefinedBehaviorSanitizer. The program itself is built as
# usual: only the kernels are instrumented, so the sanitizers' libraries are loaded before it.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

library() { "${CXX:-c++}" -print-file-name="$1"; }
for name in libasan.so libubsan.so; do
    if [ "$(library $name)" = "$name" ]; then
        echo "$name is missing: it comes with gcc" >&2
        exit 69
    fi
done
# The loader must not see the sanitizers in cargo and rustc: build first, then run the programs themselves.
programs=$($cargo test --locked --lib --test suite --no-run 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
[ -n "$programs" ] || { $cargo test --locked --lib --test suite --no-run; exit 1; }
# `what_is_not_there_is_refused` runs no kernel; a library of HDF5's (p11-kit) waits for ever at the engine's end there
# when the sanitizers are loaded before it.
for program in $programs; do
    RELION_RS_KERNEL_FLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined" \
        ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$(library libasan.so):$(library libubsan.so)" \
        timeout --kill-after=10 "${LIMIT:-3600}" "$program" device:: gpu:: kernels:: --skip kernels::compile --skip device::cubin \
        --skip what_is_not_there_is_refused
done
