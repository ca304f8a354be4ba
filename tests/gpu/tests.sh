# The tests of the suite that need a GPU.
# shellcheck shell=bash disable=SC2154

part_tests() {
    local root built log=$LOGS/tests.log
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
    (cd "$root" && logged tests "$KIT/bin/suite" gpu:: --include-ignored)
    local outcome
    outcome=$(sed -n 's/^test result: \([a-zA-Z]*\)\. \([0-9]*\) passed; \([0-9]*\) failed.*/\1 \2 \3/p' "$log" | tail -n 1)
    read -r verdict passed failed <<<"${outcome:-none 0 0}"
    case $verdict in
        ok) [ "$passed" -gt 0 ] && row "gpu:: tests" "$passed passed" "all pass" ok ||
            row "gpu:: tests" 0 "all pass" "FAILED: no test of this name" ;;
        FAILED) row "gpu:: tests" "$passed passed, $failed failed" "all pass" "FAILED" ;;
        *) row "gpu:: tests" - "all pass" "FAILED: did not end in time; see tests.log" ;;
    esac
}
