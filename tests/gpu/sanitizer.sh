# A small refinement under CUDA's checks of memory accesses and of races.
# shellcheck shell=bash disable=SC2154

part_sanitizer() {
    local tool sanitizer
    if [ "$TWIN" = yes ]; then
        # In its place: what it would be told is left out, what it would run is run.
        printf '#!/bin/sh\nshift 6\nexec "$@"\n' >"$LOGS/compute-sanitizer"
        chmod +x "$LOGS/compute-sanitizer"
        PATH=$LOGS:$PATH
    fi
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | tail -n 1)
    if [ -z "$sanitizer" ]; then
        row "compute-sanitizer" - "no error" "ignored: compute-sanitizer is not there"
        return
    fi
    simulated tiny --map "$KIT/tests/data/beta_galactosidase.mrc" --box 32 --count 32 --snr 1
    for tool in memcheck racecheck; do
        rm -rf "${LOGS:?}/sanitized-$tool"
        # Errors of the tool end with a code that the engine never ends with.
        if logged "$tool" "$sanitizer" --tool "$tool" --target-processes all --error-exitcode 42 "$program" run refine3d \
            --particles "$LOGS/tiny/particles.star" --reference "$LOGS/tiny/truth.mrc" --out "$LOGS/sanitized-$tool" \
            --diameter 180 --ini-high 40 --healpix-order 1 --offset-range-pixels 2 --iterations 2 --backend cuda; then
            row "$tool, refine3d of 32 particles" "no error" "no error" "$(sized ok tried)"
        else
            row "$tool, refine3d of 32 particles" "$(grep -c '=========.*Error\|hazard' "$LOGS/$tool.log") messages" "no error" "FAILED"
        fi
    done
}
