# What a run used of the card is what its plan said.
# shellcheck shell=bash disable=SC2154

# used: MiB of the first card that its driver says are taken.
used() {
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -i 0 2>/dev/null | tr -dc 0-9
}

# watched FILE: the most that is used, until it is ended.
watched() {
    local most=0 now
    while sleep 0.2; do
        now=$(used)
        [ "${now:-0}" -le "$most" ] || { most=$now && echo "$most" >"$1"; }
    done
}

part_memory() {
    simulated set64 --map "$KIT/tests/data/beta_galactosidase.mrc" --box "$(sized 64 32)" \
        --count "$(sized 1000 24)" --snr 0.05
    local name=memory kind planned peak reserved iteration
    for kind in refine3d class3d; do
        rm -rf "${LOGS:?}/$name-$kind"
        local before watcher
        before=$(used)
        echo 0 >"$LOGS/.most"
        watched "$LOGS/.most" &
        watcher=$!
        if ! logged "$name-$kind" "$program" run $kind --particles "$LOGS/set64/particles.star" --reference "$LOGS/set64/truth.mrc" \
            --out "$LOGS/$name-$kind" --diameter 208 --ini-high 50 --symmetry D2 --backend cuda \
            --iterations "$(sized 6 2)"; then
            kill $watcher
            row "$kind: memory of the card" - - "$why"
            continue
        fi
        kill $watcher
        # Each iteration tells {"device":{"planned_bytes":..,"reserved_bytes":..,"peak_bytes":..}}.
        while IFS= read -r line; do
            iteration=$(grep -o '"iteration":[0-9]*' <<<"$line" | cut -d: -f2)
            grep -o '"device":{[^}]*' <<<"$line" >"$LOGS/.device"
            planned=$(number planned_bytes "$LOGS/.device") reserved=$(number reserved_bytes "$LOGS/.device")
            peak=$(number peak_bytes "$LOGS/.device")
            if [ -z "$planned" ]; then
                row "$kind, iteration $iteration: memory of the card" - "= plan" "FAILED: not told"
            elif [ "$peak" = "$planned" ]; then
                row "$kind, iteration $iteration: memory of the card" "$peak of $reserved B" "= $planned B" ok
            else
                row "$kind, iteration $iteration: memory of the card" "$peak of $reserved B" "= $planned B" FAILED
            fi
        done < <(grep '"iteration_finished"' "$LOGS/$name-$kind/progress.jsonl")
        # What the driver itself says: the region, and no more beside it than is left to CUDA.
        local region=$((reserved >> 20)) taken=$(($(cat "$LOGS/.most") - ${before:-0}))
        local what="$kind: taken on the card, by its driver" aim="$region to $((region + 1024)) MiB"
        if [ "$TWIN" = yes ]; then
            row "$what" - "$aim" tried
        elif [ $taken -ge $region ] && [ $taken -le $((region + 1024)) ]; then
            row "$what" "$taken MiB" "$aim" ok
        else
            row "$what" "$taken MiB" "$aim" MISSED
        fi
    done
}
