#!/bin/sh
# A whole project in miniature: simulate particles of a known map, refine them from a 50 A start, postprocess,
# report, and compare the result with the truth. Usage: demo.sh RELION-RS FOLDER
set -eu
program=$(realpath "$1")
folder=$2
truth=$(dirname "$0")/data/beta_galactosidase.mrc
[ -e "$folder/refine/plan.json" ] && echo "$folder exists: going on with its run"

say() { printf '\n$ relion-rs %s\n' "$*"; "$program" "$@"; }

mkdir -p "$folder"
[ -e "$folder/particles/truth.star" ] ||
    say simulate --map "$truth" --out "$folder/particles" --count 1500 --snr 0.05 --seed 1
say run refine3d --particles "$folder/particles/particles.star" --reference "$folder/particles/truth.mrc" \
    --out "$folder/refine" --symmetry D2 --diameter 200 --ini-high 50 --local-search-order 3
say mask "$folder/refine/run_class001.mrc" --out "$folder/mask.mrc"
say postprocess --half1 "$folder/refine/run_half1_class001_unfil.mrc" --mask "$folder/mask.mrc" \
    --out "$folder/postprocess"
say report "$folder/refine"
echo
echo "Look at $folder/refine/report.html and $folder/postprocess.mrc. Against the truth, $folder/particles/truth.mrc:"
say compare "$folder/refine/run_class001.mrc" "$folder/particles/truth.mrc" --mask "$folder/mask.mrc"
