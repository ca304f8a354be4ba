# What all parts of gpu.sh share: rows of the table, time that is left, numbers out of JSON, records.
# shellcheck shell=bash disable=SC2034,SC2154

rows=()
part_rows=()
results=()
why=FAILED

# row WHAT VALUE TARGET VERDICT: a line of the table. A verdict that begins with FAILED or MISSED counts.
row() {
    local line
    line=$(printf '%s\t%s\t%s\t%s' "$1" "$2" "$3" "$4")
    rows+=("$line")
    part_rows+=("$line")
    [[ $4 != FAILED* && $4 != MISSED* ]] || worst=1
}

# sized FULL TINY: what a part takes on a GPU, and where it is only tried on the twin.
sized() {
    if [ "$TWIN" = yes ]; then echo "$2"; else echo "$1"; fi
}

# shown NUMBER: four digits of it, `-` for none.
shown() {
    local digits
    digits=$(calculate "$1")
    echo "${digits:--}"
}

# target WHAT VALUE AT-LEAST|AT-MOST NUMBER [UNIT]: a row with its verdict. A value that is no number has failed. On the
# twin no number is judged, and `null` is one: it has no speed.
target() {
    local verdict
    verdict=$(awk -v value="$2" -v how="$3" -v limit="$4" -v twin="$TWIN" 'BEGIN {
        if (twin == "yes" && value ~ /^(null|-?[0-9.]+([eE][-+]?[0-9]+)?)$/) print "tried"
        else if (value !~ /^-?[0-9.]+([eE][-+]?[0-9]+)?$/) print "FAILED: not measured"
        else if (how == "at-least" ? value + 0 >= limit : value + 0 <= limit) print "ok"
        else print "MISSED" }')
    row "$1" "$(shown "$2")${5:+ $5}" "${3/-/ } $4${5:+ $5}" "$verdict"
}

table() {
    echo
    { printf 'what\tvalue\ttarget\tverdict\n'; printf '%s\n' "${rows[@]}"; } | awk -F'\t' '
        { for (c = 1; c <= NF; c++) { cell[NR, c] = $c; if (length($c) > wide[c]) wide[c] = length($c) } }
        END { for (r = 1; r <= NR; r++) {
            line = ""
            for (c = 1; c <= 4; c++) line = line sprintf("%-" wide[c] + 2 "s", cell[r, c])
            sub(/ +$/, "", line); print line } }'
}

why_no_gpu() {
    grep -q '"devices":\[{' "$LOGS/probe.json" && return 1
    local why
    why=$(sed -n 's/.*"no_device":{[^}]*"problem":"\([^"]*\)".*/\1/p' "$LOGS/probe.json")
    echo "${why:-the engine sees no GPU}"
}

begin_part() {
    part_rows=() results=()
    part_end=$(($(date +%s) + PART_SECONDS))
    echo "== $1"
}

# left: seconds that this part has left, 5 at least, so that `timeout` ends what is too late.
left() {
    local seconds=$((part_end - $(date +%s)))
    echo $((seconds > 5 ? seconds : 5))
}

# logged NAME COMMAND...: runs a command in the time that is left; its output goes to NAME.log and its code comes back,
# with a sentence in `why`.
logged() {
    local name=$1 code=0
    shift
    echo "   $name"
    timeout --kill-after=10 "$(left)" "$@" >"$LOGS/$name.log" 2>&1 || code=$?
    case $code in
        0) ;;
        124 | 137) why="FAILED: not done in the part's $PART_SECONDS s" ;;
        *) why="FAILED: $name ended with $code" ;;
    esac
    [ $code -eq 0 ] || echo "   $why: $LOGS/$name.log"
    return $code
}

# number NAME FILE: the last number of this name in JSON, or `null` where it is that.
number() {
    grep -o "\"$1\":\(null\|-\?[0-9.]\+\([eE][-+]\?[0-9]\+\)\?\)" "$2" 2>/dev/null | tail -n 1 | cut -d: -f2
}

# of_iteration N NAME RUN: a number that an iteration of a run told.
of_iteration() {
    grep '"iteration_finished"' "$3/progress.jsonl" 2>/dev/null | grep "\"iteration\":$1," >"$LOGS/.iteration"
    number "$2" "$LOGS/.iteration"
}

# calculate EXPRESSION: `null` where a number of it is that.
calculate() {
    case $1 in
        *null*) echo null ;;
        *) awk "BEGIN { value = $1; printf \"%.4g\", value }" 2>/dev/null ;;
    esac
}

# keep_result NAME FILE: a JSON answer for the record.
keep_result() {
    [ -s "$2" ] && results+=("$(printf '"%s": %s' "$1" "$(tail -n 1 "$2")")")
}

# simulated NAME FLAGS...: makes a data set once.
simulated() {
    local name=$1
    shift
    [ -f "$LOGS/$name/particles.star" ] || logged "simulate-$name" "$program" simulate --out "$LOGS/$name" --seed 1 "$@"
}

driver() {
    nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1
}

# The record of a part: when, where, with what, and the rows. Results of refinements themselves hold no date.
end_part() {
    local stamp device name
    stamp=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    # Only devices have a memory beside their name.
    device=$(grep -o '"memory_bytes":[0-9]*,"name":"[^"]*"' "$LOGS/probe.json" | head -n 1 | cut -d'"' -f6)
    name=$(echo "${stamp%T*}-${device:-gpu}-$1" | tr ' A-Z' '-a-z' | tr -cd 'a-z0-9-')
    {
        printf '{"part": "%s", "date": "%s", "commit": "%s", "driver": "%s",\n' "$1" "$stamp" "$(cat "$KIT/commit")" "$(driver)"
        printf ' "machine": %s,\n "rows": [\n' "$(cat "$LOGS/probe.json")"
        printf '%s\n' "${part_rows[@]}" | sed 's/["\\]/\\&/g' | awk -F'\t' '
            { printf "%s  {\"what\": \"%s\", \"value\": \"%s\", \"target\": \"%s\", \"verdict\": \"%s\"}",
                (NR > 1 ? ",\n" : ""), $1, $2, $3, $4 } END { print "" }'
        printf ' ],\n "results": {'
        local comma=
        for result in ${results[@]+"${results[@]}"}; do printf '%s\n  %s' "$comma" "$result"; comma=,; done
        printf '}\n}\n'
    } >"$RECORDS/$name.json"
    {
        printf '# %s\n\n%s, driver %s, %s, commit %s\n\n' "$1" "$device" "$(driver)" "$stamp" "$(cut -c1-12 "$KIT/commit")"
        printf '| what | value | target | verdict |\n|---|---|---|---|\n'
        printf '%s\n' "${part_rows[@]}" | sed 's/|/\\|/g; s/\t/ | /g; s/^/| /; s/$/ |/'
        printf '\n`tests/gpu.sh %s`; the same with all numbers: [%s.json](%s.json)\n' "$1" "$name" "$name"
    } >"$RECORDS/$name.md"
    echo "   record: $RECORDS/$name.md"
}
