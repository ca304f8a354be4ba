# Whole jobs against their targets, each beside the least time that its operations and bytes allow.
# shellcheck shell=bash disable=SC2046,SC2154

# Published for class3d with K = 6 on 105,247 images of 360 px, 25 iterations.
PUBLISHED_IMAGES=105247
PUBLISHED_ITERATIONS=25
PUBLISHED="197 min on one A10G, 72 min on four V100"
# What images come to the card with at most: PCIe 5.0 x16 by its standard. Not measured.
GBS=${GBS:-63}

# run_on BACKEND KIND SET NAME FLAGS...
run_on() {
    local backend=$1 kind=$2 set=$3 name=$4
    shift 4
    rm -rf "${LOGS:?}/$name"
    logged "$name" "$program" run "$kind" --particles "$LOGS/$set/particles.star" --reference "$LOGS/$set/truth.mrc" \
        --out "$LOGS/$name" --diameter 208 --ini-high 40 --seed 1 --backend "$backend" "$@" || return
    grep '"iteration_finished"' "$LOGS/$name/progress.jsonl" | tail -n 1 >"$LOGS/$name.json"
    keep_result "$name" "$LOGS/$name.json"
}

# expectation ITERATION RUN: seconds of an iteration that grow with the particles.
expectation() {
    local phase sum=0
    for phase in expectation images coarse fine sums; do
        sum="$sum + $(of_iteration "$1" $phase "$2")"
    done
    calculate "${sum% + }"
}

# The most that the units of the coarse search do, in TFLOP/s: measured, for as much work as the search counts. It takes
# three products of TF32 for one of FP32; where there are no such units, or one has them for itself, FP32's.
measure_speed() {
    speed=
    logged bench-peak "$program" --json bench gsd --form direct --box 32 --particles 1 --poses 32 --device "$(sized cuda twin)" || return
    tail -n 1 "$LOGS/bench-peak.log" >"$LOGS/bench-peak.json"
    keep_result peak "$LOGS/bench-peak.json"
    local of_fma of_units
    of_fma=$(peak fma fma "$LOGS/bench-peak.json")
    of_units=$({ peak tf32 mma "$LOGS/bench-peak.json"; peak tf32 wgmma "$LOGS/bench-peak.json"; } | sort -g | tail -n 1)
    speed=$(awk -v fma="${of_fma:-0}" -v units="${of_units:-0}" 'BEGIN {
        most = units / 3 > fma + 0 ? units / 3 : fma; if (most > 0) printf "%.4g", most / 1000 }')
}

# floor ITERATION RUN IMAGES BOX: seconds for the operations of the coarse search at the measured speed and for bringing
# the images to the card; the larger counts, as both go on at once. With what it rests on.
floor() {
    local operations
    operations=$(of_iteration "$1" coarse_operations "$2")
    if [ -z "$speed" ] || [ "$(calculate "${operations:-0} > 0")" != 1 ]; then
        echo "floor: not known$(sized ", operations or the peak are not told" " (the twin has no speed)")"
        return
    fi
    awk -v operations="$operations" -v speed="$speed" -v bytes=$(($3 * $4 * $4 * 4)) -v rate="$GBS" 'BEGIN {
        computing = operations / (speed * 1e12); bringing = bytes / (rate * 1e9)
        printf "floor: %.4g s (coarse search %.4g s at %.4g TFLOP/s, measured; images %.4g s at %.4g GB/s, assumed)",
            (computing > bringing ? computing : bringing), computing, speed, bringing, rate }'
}

part_speed() {
    local map=$KIT/tests/data/beta_galactosidase.mrc images few box last=3 gpu cpu speed
    images=$(sized 6496 32) few=$(sized 128 16) box=$(sized 100 32)
    measure_speed
    simulated set100 --map "$map" --box "$box" --count "$images" --snr 0.05
    simulated few100 --map "$map" --box "$box" --count "$few" --snr 0.05
    local flags=(--iterations $last --classes 1) what="class3d, $images x $box px"
    if run_on cuda class3d set100 class100-cuda "${flags[@]}" && run_on cpu class3d few100 class100-cpu "${flags[@]}" --threads 1; then
        gpu=$(of_iteration $last wall_seconds "$LOGS/class100-cuda")
        # Maps are made once either way.
        cpu=$(calculate "$(expectation $last "$LOGS/class100-cpu") * $images / $few + $(of_iteration $last maximisation "$LOGS/class100-cpu")")
        row "$what: iteration $last" "$(shown "$gpu") s" - "$(floor $last "$LOGS/class100-cuda" "$images" "$box")"
        row "the same on one core" "$cpu s" - "assumed: $images particles take $images / $few times as long as $few"
        target "$what: GPU over one core" "$(calculate "$cpu / $gpu")" at-least 100 x
    else
        row "$what" - - "$why"
    fi
    what="refine3d, $images x $box px, to its end"
    if run_on cuda refine3d set100 refine100-cuda $(sized "" "--healpix-order 1 --symmetry O"); then
        target "$what" "$(number wall_seconds "$LOGS/refine100-cuda/progress.jsonl")" at-most 60 s
    else
        row "$what" - "at most 60 s" "$why"
    fi
    class360
}

class360() {
    local images last seconds rest minutes box
    images=$(sized 2000 16) last=$(sized 4 2) box=$(sized 360 32)
    simulated set360 --map "$KIT/tests/data/beta_galactosidase.mrc" --box "$box" --count "$images" --snr 0.05
    local what="class3d, K = 6, $images x $box px"
    if run_on cuda class3d set360 class360-cuda --iterations "$last" --classes 6; then
        seconds=$(expectation "$last" "$LOGS/class360-cuda")
        rest=$(of_iteration "$last" maximisation "$LOGS/class360-cuda")
        minutes=$(calculate "($seconds * $PUBLISHED_IMAGES / $images + $rest) * $PUBLISHED_ITERATIONS / 60")
        row "$what, window $(of_iteration "$last" current_size "$LOGS/class360-cuda") px: iteration $last" \
            "$(shown "$(of_iteration "$last" wall_seconds "$LOGS/class360-cuda")") s" - "$(floor "$last" "$LOGS/class360-cuda" "$images" "$box")"
        row "$PUBLISHED_IMAGES images, $PUBLISHED_ITERATIONS iterations" "$minutes min" "published: $PUBLISHED" \
            "assumed: all as iteration $last, time grows with the images"
    else
        row "$what" - - "$why"
    fi
}
