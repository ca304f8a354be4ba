# The same refinements on CPU and GPU; interrupted ones; two ranks on one card.
# shellcheck shell=bash disable=SC2046,SC2154

SHELL_TOLERANCE=0.5

# job KIND BACKEND NAME FLAGS...
job() {
    local kind=$1 backend=$2 name=$3
    shift 3
    rm -rf "${LOGS:?}/$name"
    logged "$name" "$program" run "$kind" --particles "$LOGS/set64/particles.star" --reference "$LOGS/set64/truth.mrc" \
        --out "$LOGS/$name" --diameter 208 --ini-high 50 --symmetry D2 --seed 1 --backend "$backend" "$@"
}

# crossing RUN-MAP: the shell, with a fraction, in which the FSC with the truth falls below 0.5.
crossing() {
    "$program" --json compare "$1" "$LOGS/set64/truth.mrc" 2>/dev/null | sed 's/.*"fsc":\[\([^]]*\)\].*/\1/' |
        awk -F, '{ for (i = 2; i <= NF; i++) if ($i + 0 < 0.5) {
            printf "%.2f", i - 2 + ($(i - 1) - 0.5) / ($(i - 1) - $i); exit } printf "%d", NF - 1 }'
}

digests() {
    (cd "$1" && sha256sum run_*.mrc run_*.star 2>/dev/null | sort -k2)
}

part_refine() {
    local kind cpu cuda
    simulated set64 --map "$KIT/tests/data/beta_galactosidase.mrc" --box "$(sized 64 32)" \
        --count "$(sized 1000 24)" --snr 0.05
    for kind in refine3d class3d; do
        local flags=()
        [ $kind = class3d ] && flags=(--iterations 6 --classes 1 --tau2-fudge 4)
        local map=run_class001.mrc
        [ $kind = class3d ] && map=run_it006_class001.mrc
        if job $kind cpu "$kind-cpu" ${flags[@]+"${flags[@]}"} && job $kind cuda "$kind-cuda" ${flags[@]+"${flags[@]}"}; then
            cpu=$(crossing "$LOGS/$kind-cpu/$map") cuda=$(crossing "$LOGS/$kind-cuda/$map")
            row "$kind, FSC 0.5 on the CPU" "shell $cpu" - -
            target "$kind, GPU behind the CPU" "$(calculate "${cpu:-x} - ${cuda:-x}")" at-most $SHELL_TOLERANCE shells
        else
            row "$kind on CPU and GPU" - "resolutions agree" "$why"
        fi
    done
    if logged drill "$program" drill refine3d --backend cuda --signal TERM --kill $(sized "" "--count 48"); then
        row "refine3d interrupted by SIGTERM and SIGKILL" "$(grep -o 'all [0-9]* files are the same' "$LOGS/drill.log" | head -n 1)" "same sha256" ok
    else
        row "refine3d interrupted by SIGTERM and SIGKILL" - "same sha256" "$why"
    fi
    two_ranks
}

two_ranks() {
    local what="class3d by two ranks on one card"
    if grep -q '"mpi":\(null\|false\)' "$LOGS/probe.json"; then
        row "$what" - "same sha256" "ignored: the engine was built without MPI"
    elif ! command -v mpirun >/dev/null && ! command -v mpiexec >/dev/null; then
        row "$what" - "same sha256" "ignored: no mpirun"
    elif job class3d cuda shared --iterations 6 --classes 1 --tau2-fudge 4 --ranks 2 --share-gpu; then
        # Files name their folder; both runs have one of the same place.
        if diff <(digests "$LOGS/class3d-cuda" | grep '\.mrc$') <(digests "$LOGS/shared" | grep '\.mrc$') >"$LOGS/shared.diff"; then
            row "$what" "equal maps" "same sha256" ok
        else
            row "$what" "$(grep -c '^<' "$LOGS/shared.diff") maps differ" "same sha256" FAILED
        fi
    else
        row "$what" - "same sha256" "$why"
    fi
}
