# The benchmarks of the launcher.
# shellcheck shell=bash disable=SC2046,SC2154

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

# peak UNIT INSTRUCTION FILE: what the units were measured to do at most, in GFLOP/s.
peak() {
    tr '{' '\n' <"$3" | grep "\"unit\":\"$1\"" | grep "\"instruction\":\"$2\"" >"$LOGS/.peak"
    number peak_gigaflops "$LOGS/.peak"
}

# row_of NAME WHAT FIELD UNIT: the largest number of this field that a benchmark told, after `bench NAME`.
row_of() {
    local code=$? most
    if [ $code -ne 0 ]; then
        row "$2" - - "$why"
        return
    fi
    most=$(grep -o "\"$3\":[0-9.e-]*" "$LOGS/bench-$1.json" | cut -d: -f2 | sort -g | tail -n 1)
    if [ -n "$most" ]; then row "$2" "$(shown "$most") $4" - -; else row "$2" - - "FAILED: not told"; fi
}

part_benches() {
    local boxes box name instruction speed share
    boxes=$(sized 64,128,256 16,32)
    # The forms of the matrix units are not among the twin's usual ones.
    if bench gsd --box "$boxes" --device "$(sized cuda twin)" --png "$LOGS/gsd.png" \
        $(sized "" "--form direct,tile,product,tf32,fp16,3xtf32 --particles 1 --poses 40"); then
        for name in fma:fma tf32:mma fp16:mma tf32:wgmma fp16:wgmma; do
            instruction=${name#*:} name=${name%:*}
            speed=$(calculate "$(peak "$name" "$instruction" "$LOGS/bench-gsd.json")")
            # Not every card has every instruction.
            [ -z "$speed" ] || row "peak of $name by $instruction, measured" "$speed GFLOP/s" - -
        done
        for box in ${boxes//,/ }; do
            target "gsd at $box px: tile over direct" "$(form "$box" tile speed_up)" at-least 1.0 x
            target "gsd at $box px: matrix units (tf32) over direct" "$(form "$box" tf32 speed_up)" at-least 10 x
            for name in tf32 fp16 3xtf32; do
                speed=$(calculate "$(form "$box" $name gigaflops)")
                share=$(calculate "100 * $(form "$box" $name share_of_peak)")
                # Smaller boxes are told and not judged.
                if [ $name = tf32 ] && [ "$box" != 64 ]; then
                    target "gsd at $box px: $name ($speed GFLOP/s) of the measured peak" "$share" at-least 50 %
                elif [ -n "$speed" ]; then
                    row "gsd at $box px: $name" "$speed GFLOP/s, $share % of the measured peak" - -
                fi
            done
        done
    else
        row "bench gsd" - - "$why"
    fi
    if bench speedup --count "$(sized 1000 16)" --box "$(sized 64 32)" --iterations "$(sized 3 1)" --rounds "$(sized 3 1)" \
        --folder "$LOGS/speedup" --png "$LOGS/speedup.png"; then
        tr '{' '\n' <"$LOGS/bench-speedup.json" >"$LOGS/.speedup"
        local cases ratios
        cases=$(grep -o '"case":"[^"]*"' "$LOGS/.speedup" | cut -d'"' -f4)
        ratios=$(grep -o '"ratio":[0-9.a-z]*' "$LOGS/.speedup" | cut -d: -f2)
        while IFS=$'\t' read -r case ratio; do
            target "speedup, $case, one rank" "$ratio" at-least 1 x
        done < <(paste <(echo "$cases") <(echo "$ratios"))
        local run=$LOGS/speedup/refine3d-single-cuda-1
        bench weights "$run"
        row_of weights "weights, refine3d single: dense over blocks" ratio "x at most"
        bench arena "$run" --device
        row_of arena "device arena beside a list: fragmentation" worst_fragmentation "at most"
    else
        row "bench speedup" - - "$why"
    fi
}
