# The tests of the suite that need a GPU.
# shellcheck shell=bash disable=SC2154

part_tests() {
    local root built
    { read -r root; read -r built; } <"$KIT/built-in"
    # The test binary finds its files and the programs where they were when it was built.
    if [ ! -x "$built/relion-rs" ]; then
        if ! { mkdir -p "$built" && ln -sfn "$KIT"/bin/relion-rs* "$built/" && ln -sfn "$KIT/bin/kernels" "$built/kernels"; }; then
            row "gpu:: tests" - "all pass" "FAILED: $built cannot be made, where the tests look for the programs"
            return
        fi
    fi
    [ -d "$root/tests/golden" ] || { mkdir -p "$root" && ln -sfn "$KIT/tests" "$root/tests"; }
    [ -d "$root/kernels" ] || ln -sfn "$KIT/kernels" "$root/kernels"
    if [ "$TWIN" = yes ]; then
        row "gpu:: tests on the GPU" - "all pass" "ignored: they need a GPU"
    else
        run_tests "on the GPU" tests-gpu --ignored
    fi
    if command -v c++ >/dev/null; then
        run_tests "on the twin" tests-twin
    else
        row "gpu:: tests on the twin" - "all pass" "ignored: there is no c++ to make the twin with"
    fi
}

# run_tests WHERE LOG FLAGS...
run_tests() {
    local what="gpu:: tests $1" log=$LOGS/$2.log name=$2 outcome verdict passed failed
    shift 2
    (cd "$root" && logged "$name" env -u RELION_RS_TWIN "$KIT/bin/suite" gpu:: "$@")
    outcome=$(sed -n 's/^test result: \([a-zA-Z]*\)\. \([0-9]*\) passed; \([0-9]*\) failed.*/\1 \2 \3/p' "$log" | tail -n 1)
    read -r verdict passed failed <<<"${outcome:-none 0 0}"
    case $verdict in
        ok) [ "$passed" -gt 0 ] && row "$what" "$passed passed" "all pass" ok ||
            row "$what" 0 "all pass" "FAILED: no test of this name" ;;
        FAILED) row "$what" "$passed passed, $failed failed" "all pass" "FAILED" ;;
        *) row "$what" - "all pass" "FAILED: did not end in time; see $log" ;;
    esac
}
