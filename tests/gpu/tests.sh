# The tests that need a GPU, and the same on the twin where there is a compiler.
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

# run_tests WHERE LOG FLAGS...: of the library and of the suite.
run_tests() {
    local what="gpu:: tests $1" name=$2 binary outcome verdict passed failed all=0
    shift 2
    for binary in unit suite; do
        (cd "$root" && logged "$name-$binary" env -u RELION_RS_TWIN "$KIT/bin/$binary" gpu:: "$@")
        outcome=$(sed -n 's/^test result: \([a-zA-Z]*\)\. \([0-9]*\) passed; \([0-9]*\) failed.*/\1 \2 \3/p' \
            "$LOGS/$name-$binary.log" | tail -n 1)
        read -r verdict passed failed <<<"${outcome:-none 0 0}"
        case $verdict in
            ok) all=$((all + passed)) ;;
            FAILED) row "$what, $binary" "$passed passed, $failed failed" "all pass" "FAILED" && return ;;
            *) row "$what, $binary" - "all pass" "FAILED: did not end; see $LOGS/$name-$binary.log" && return ;;
        esac
    done
    if [ $all -gt 0 ]; then row "$what" "$all passed" "all pass" ok; else row "$what" 0 "all pass" "FAILED: no test of this name"; fi
}
