#!/bin/bash
# A class3d job timed: wall, CPU, and the FSC with the truth; with --relion the same job by the RELION on the PATH too,
# one after the other on the same cores. Usage: bench.sh RELION-RS [--relion] [FOLDER]
set -euo pipefail
program=$(realpath "$1")
shift
with_relion=no
[ "${1:-}" = --relion ] && { with_relion=yes; shift; }
folder=${1:-$(mktemp -d)}
map=$(dirname "$(realpath "$0")")/data/beta_galactosidase.mrc
threads=${THREADS:-2}
[ $with_relion = no ] || command -v relion_refine >/dev/null || { echo "relion_refine is not on the PATH: apt-get install relion" >&2; exit 69; }

mkdir -p "$folder" && cd "$folder"
"$program" simulate --map "$map" --out particles --image-prefix particles --count 600 --snr 0.05 --seed 1
# RELION takes the map as it is; low-pass filtering is part of both jobs.
TIMEFORMAT='%R %U %S'
timed() {
    local name=$1; shift
    { time "$@" >"$name.log" 2>&1; } 2>"$name.time" || { tail -20 "$name.log" >&2; exit 70; }
}
rm -rf ours relion && mkdir relion
timed ours "$program" run class3d --particles particles/particles.star --reference particles/truth.mrc --out ours \
    --diameter 208 --ini-high 50 --iterations 5 --threads "$threads" --seed 1
[ $with_relion = no ] || timed relion relion_refine --i particles/particles.star --ref particles/truth.mrc --o relion/run --iter 5 --K 1 \
    --tau2_fudge 4 --particle_diameter 208 --ini_high 50 --firstiter_cc --ctf --flatten_solvent --zero_mask \
    --oversampling 1 --healpix_order 2 --offset_range 5 --offset_step 2 --sym C1 --norm --scale --pad 2 --pool 3 \
    --random_seed 1 --j "$threads"

report() {
    read -r wall user system <"$1.time"
    printf '%-10s %8.1f s wall %8.1f s CPU   %s\n' "$1" "$wall" "$(echo "$user + $system" | bc)" \
        "$("$program" compare "$2" particles/truth.mrc)"
}
echo "class3d, 600 particles of 64 px, 5 iterations, $threads threads"
report ours ours/run_it005_class001.mrc
"$program" status ours | grep '^time' || true
[ $with_relion = no ] && exit 0
report relion relion/run_it005_class001.mrc
read -r wall user system <relion.time
read -r our_wall our_user our_system <ours.time
printf 'ratio      %8.1f        %8.1f        (%s)\n' "$(echo "$wall / $our_wall" | bc -l)" \
    "$(echo "($user + $system) / ($our_user + $our_system)" | bc -l)" "$(relion_refine --version 2>&1 | head -1)"
