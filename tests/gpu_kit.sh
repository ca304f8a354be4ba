#!/bin/bash
# Makes a folder from which tests/gpu.sh runs on a machine with a GPU and nothing else: no cargo, no network, no MPI, no
# HDF5. It holds both programs, both test binaries, what tests read, and cubins. Usage: gpu_kit.sh FOLDER
#
# FEATURES  of the build (default: cuda,static-hdf5), PROFILE release or dev, ARCHITECTURES of the cubins (default:
# sm_90a), which $RELION_RS_NVRTC compiles, else what `make nvrtc` fetched. CMake 3.26 builds HDF5.
set -euo pipefail
here=$(dirname "$(dirname "$(realpath "$0")")")
kit=$(realpath -m "$1")
features=${FEATURES-cuda,static-hdf5}
profile=${PROFILE:-release}
cargo=${CARGO:-cargo}
most_mib=60
cd "$here"
[[ ",$features," == *,static-hdf5,* ]] && ! command -v cmake >/dev/null &&
    { echo "HDF5 is built with CMake 3.26 or newer, which is not on the PATH: pip install cmake" >&2; exit 69; }

$cargo build --locked --profile "$profile" --features "$features" --bins
# Cargo tells where it puts a test binary in JSON, a line an artifact.
tests=$($cargo test --locked --profile "$profile" --features "$features" --lib --test suite --no-run --message-format=json)
# test_binary KIND: of the library's own tests (lib), or of the suite (test).
test_binary() {
    grep "\"kind\":\[\"$1\"\]" <<<"$tests" | grep -o '"executable":"[^"]*"' | tail -n 1 | cut -d'"' -f4
}
for kind in lib test; do
    [ -x "$(test_binary $kind)" ] || { echo "cargo named no test binary ($kind)" >&2; exit 70; }
done
built=$here/target/$([ "$profile" = dev ] && echo debug || echo "$profile")

rm -rf "$kit" && mkdir -p "$kit"/{bin,tests}
install -s "$built"/relion-rs "$built"/relion-rs-rank "$kit/bin/"
install -s "$(test_binary test)" "$kit/bin/suite"
install -s "$(test_binary lib)" "$kit/bin/unit"
install tests/gpu.sh "$kit/gpu.sh"
mkdir "$kit/tests/gpu" && install -m 644 tests/gpu/*.sh "$kit/tests/gpu/"
cp -r tests/golden tests/data "$kit/tests/"
cp -r kernels "$kit/kernels"
# Tests know the folder and the programs by the names that they had here.
printf '%s\n%s\n' "$here" "$built" >"$kit/built-in"
{ git rev-parse HEAD 2>/dev/null || echo unknown; } >"$kit/commit"
if [[ ",$features," == *,cuda,* ]]; then
    fetched=$here/target/nvrtc/12/libnvrtc.so.12
    [ -n "${RELION_RS_NVRTC:-}" ] || [ ! -f "$fetched" ] || export RELION_RS_NVRTC=$fetched
    mkdir "$kit/bin/kernels"
    "$kit/bin/relion-rs-rank" kernels build --to "$kit/bin/kernels" --arch "${ARCHITECTURES:-sm_90a}"
fi
tar -C "$(dirname "$kit")" -czf "$kit.tar.gz" "$(basename "$kit")"
mib=$(($(stat -c %s "$kit.tar.gz") >> 20))
du -sh "$kit" | cut -f1 | sed "s|\$| in $kit, $mib MiB as $kit.tar.gz|"
[ "$mib" -lt $most_mib ] || { echo "the kit is larger than $most_mib MiB" >&2; exit 1; }
for library in libhdf5 libmpi libcuda libnvrtc libcufft; do
    [[ ",$features," == *,mpi,* && $library = libmpi ]] && continue
    for program in "$kit"/bin/*; do
        [ ! -f "$program" ] || ! readelf -d "$program" | grep -q "NEEDED.*$library" ||
            { echo "$program needs $library at its start" >&2; exit 1; }
    done
done
