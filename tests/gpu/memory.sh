# What a run used of the card is what its plan said.
# shellcheck shell=bash disable=SC2154

part_memory() {
    simulated set64 --map "$KIT/tests/data/beta_galactosidase.mrc" --box "$(sized 64 32)" \
        --count "$(sized 1000 24)" --snr 0.05
    local name=memory kind planned peak reserved iteration
    for kind in refine3d class3d; do
        rm -rf "${LOGS:?}/$name-$kind"
        if ! logged "$name-$kind" "$program" run $kind --particles "$LOGS/set64/particles.star" --reference "$LOGS/set64/truth.mrc" \
            --out "$LOGS/$name-$kind" --diameter 208 --ini-high 50 --symmetry D2 --backend cuda \
            --iterations "$(sized 6 2)"; then
            row "$kind: memory of the card" - - "$why"
            continue
        fi
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
    done
}
