# The benchmarks of the launcher.
# shellcheck shell=bash disable=SC2154

# bench NAME FLAGS...: `relion-rs --json bench NAME`, its answer in NAME.json.
bench() {
    local name=$1
    shift
    logged "bench-$name" "$program" --json bench "$name" "$@" || return
    tail -n 1 "$LOGS/bench-$name.log" >"$LOGS/bench-$name.json"
    keep_result "$name" "$LOGS/bench-$name.json"
}

# form BOX NAME FIELD: a number of a row of gsd.
form() {
    tr '{' '\n' <"$LOGS/bench-gsd.json" | grep "\"box_pixels\":$1," | grep "\"form\":\"$2\"" >"$LOGS/.row"
    number "$3" "$LOGS/.row"
}

part_benches() {
    local box
    if bench gsd --box 64,128,256 --device cuda --png "$LOGS/gsd.png"; then
        for box in 64 128 256; do
            target "gsd at $box px: tile over direct" "$(form $box tile speed_up)" at-least 1.0 x
            target "gsd at $box px: matrix units (tf32) over direct" "$(form $box tf32 speed_up)" at-least 10 x
            row "gsd at $box px: tf32" "$(form $box tf32 gigaflops) GFLOP/s" - -
            row "gsd at $box px: fp16" "$(form $box fp16 gigaflops) GFLOP/s" - -
        done
        local peak
        peak=$(number matrix_peak_gigaflops "$LOGS/bench-gsd.json")
        for box in 128 256; do
            if [ -n "$peak" ]; then
                target "gsd at $box px: tf32 of the measured peak" "$(calculate "100 * $(form $box tf32 gigaflops) / $peak")" at-least 50 %
            else
                row "gsd at $box px: tf32 of the measured peak" - "at least 50 %" "ignored: gsd does not tell the peak"
            fi
        done
    else
        row "bench gsd" - - "$why"
    fi
    if bench speedup --count 1000 --box 64 --iterations 3 --rounds 3 --folder "$LOGS/speedup" --png "$LOGS/speedup.png"; then
        tr '{' '\n' <"$LOGS/bench-speedup.json" >"$LOGS/.speedup"
        local cases ratios
        cases=$(grep -o '"case":"[^"]*"' "$LOGS/.speedup" | cut -d'"' -f4)
        ratios=$(grep -o '"ratio":[0-9.a-z]*' "$LOGS/.speedup" | cut -d: -f2)
        while IFS=$'\t' read -r case ratio; do
            target "speedup, $case, one rank" "$ratio" at-least 1 x
        done < <(paste <(echo "$cases") <(echo "$ratios"))
        local run=$LOGS/speedup/refine3d-single-cuda-1
        bench weights "$run" && row "weights, refine3d single: dense over blocks" \
            "$(grep -o '"ratio":[0-9.]*' "$LOGS/bench-weights.json" | cut -d: -f2 | sort -g | tail -n 1) x at most" - -
        bench arena "$run" --device && row "device arena beside a list: fragmentation" \
            "$(grep -o '"worst_fragmentation":[0-9.]*' "$LOGS/bench-arena.json" | cut -d: -f2 | sort -g | tail -n 1)" - -
    else
        row "bench speedup" - - "$why"
    fi
}
