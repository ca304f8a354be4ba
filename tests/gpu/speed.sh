# Whole jobs against their targets, each beside the least time that its operations and bytes allow.
# shellcheck shell=bash disable=SC2154

# Published for class3d with K = 6 on 105,247 images of 360 px, 25 iterations.
PUBLISHED_IMAGES=105247
PUBLISHED_ITERATIONS=25
PUBLISHED="197 min on one A10G, 72 min on four V100"

# run_on BACKEND KIND SET NAME FLAGS...
run_on() {
    local backend=$1 kind=$2 set=$3 name=$4
    shift 4
    rm -rf "${LOGS:?}/$name"
    logged "$name" "$program" run "$kind" --particles "$LOGS/$set/particles.star" --reference "$LOGS/$set/truth.mrc" \
        --out "$LOGS/$name" --diameter 208 --ini-high 40 --seed 1 --backend "$backend" "$@"
}

# expectation ITERATION RUN: seconds of an iteration that grow with the particles.
expectation() {
    local phase sum=0
    for phase in expectation images coarse fine sums; do
        sum="$sum + $(of_iteration "$1" $phase "$2")"
    done
    calculate "${sum% + }"
}

# floor ITERATION RUN IMAGES BOX: seconds for the operations of the coarse search at the measured speed of the matrix
# units (TFLOPS) and for reading the images at GBS; the larger counts, as both go on at once.
floor() {
    local operations
    operations=$(of_iteration "$1" coarse_operations "$2")
    [ -n "$operations" ] || { echo -; return; }
    awk -v operations="$operations" -v speed="${TFLOPS:-400}e12" -v bytes=$(($3 * $4 * $4 * 4)) -v rate="${GBS:-20}e9" 'BEGIN {
        computing = operations / (speed + 0); reading = bytes / (rate + 0)
        printf "%.4g", (computing > reading ? computing : reading) }'
}

part_speed() {
    local map=$KIT/tests/data/beta_galactosidase.mrc
    simulated set100 --map "$map" --box 100 --count 6496 --snr 0.05
    simulated few100 --map "$map" --box 100 --count 128 --snr 0.05
    local last=3 gpu cpu
    local flags=(--iterations $last --classes 1)
    if run_on cuda class3d set100 class100-cuda "${flags[@]}" && run_on cpu class3d few100 class100-cpu "${flags[@]}" --threads 1; then
        gpu=$(of_iteration $last wall_seconds "$LOGS/class100-cuda")
        # One core takes as much longer as there are more particles; maps are made once either way.
        cpu=$(calculate "$(expectation $last "$LOGS/class100-cpu") * 6496 / 128 + $(of_iteration $last maximisation "$LOGS/class100-cpu")")
        row "class3d, 6,496 x 100 px: an iteration" "$gpu s" - "floor: $(floor $last "$LOGS/class100-cuda" 6496 100) s"
        row "the same on one core, from 128 particles" "$cpu s" - -
        target "class3d, 6,496 x 100 px: GPU over one core" "$(calculate "$cpu / $gpu")" at-least 100 x
    else
        row "class3d, 6,496 x 100 px" - - "$why"
    fi
    if run_on cuda refine3d set100 refine100-cuda; then
        target "refine3d, 6,496 x 100 px, to its end" "$(number wall_seconds "$LOGS/refine100-cuda/progress.jsonl")" at-most 60 s
    else
        row "refine3d, 6,496 x 100 px" - "at most 60 s" "$why"
    fi
    class360
}

class360() {
    local images=2000 last=4 seconds rest minutes
    simulated set360 --map "$KIT/tests/data/beta_galactosidase.mrc" --box 360 --count $images --snr 0.05
    if run_on cuda class3d set360 class360-cuda --iterations $last --classes 6; then
        seconds=$(expectation $last "$LOGS/class360-cuda")
        rest=$(of_iteration $last maximisation "$LOGS/class360-cuda")
        minutes=$(calculate "($seconds * $PUBLISHED_IMAGES / $images + $rest) * $PUBLISHED_ITERATIONS / 60")
        row "class3d, K = 6, $images x 360 px, window $(of_iteration $last current_size "$LOGS/class360-cuda") px: an iteration" "$(of_iteration $last wall_seconds "$LOGS/class360-cuda") s" - \
            "floor: $(floor $last "$LOGS/class360-cuda" $images 360) s"
        row "the same, $PUBLISHED_IMAGES images, $PUBLISHED_ITERATIONS iterations" "$minutes min" "published: $PUBLISHED" "extrapolated"
    else
        row "class3d, K = 6, $images x 360 px" - - "$why"
    fi
}
