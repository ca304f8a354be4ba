#!/bin/bash
# All that needs a GPU, from prebuilt programs (`make gpu-kit`): no cargo, no network, no MPI, no HDF5.
#
#     gpu.sh [PART...]      parts: tests sanitizer refine benches speed memory (default: all); at most 8 minutes each
#
# KIT      folder of the kit (default: that of this script, else target/gpu-kit of the repository)
# LOGS     folder of full logs and run folders (default: gpu-logs in the kit)
# RECORDS  folder of records, a JSON and a Markdown file a part (default: docs/benchmarks of the repository, else of the kit)
# TWIN     yes: every part's commands once, on tiny inputs and the kernels' twin on the CPU. No measurement: it shows that
#          they run and that their answers are understood. Records go to LOGS.
#
# The last lines are a table. Code 0: nothing failed, or there is no GPU and all is ignored; 1: something failed, or
# missed its target.
set -uo pipefail
script=$(realpath "$0")
KIT=${KIT:-$(dirname "$script")}
[ -x "$KIT/bin/suite" ] || KIT=$(dirname "$(dirname "$script")")/target/gpu-kit
[ -x "$KIT/bin/suite" ] || { echo "no kit in $KIT: make gpu-kit" >&2; exit 69; }
KIT=$(realpath "$KIT")
LOGS=${LOGS:-$KIT/gpu-logs}
repository=$(dirname "$(dirname "$script")")
[ -d "$repository/docs" ] || repository=$KIT
TWIN=${TWIN:-no}
[ "$TWIN" = yes ] && RECORDS=${RECORDS:-$LOGS/records}
RECORDS=${RECORDS:-$repository/docs/benchmarks}
PART_SECONDS=480
program=$KIT/bin/relion-rs
rank=$KIT/bin/relion-rs-rank
# Settings of this machine are not those of a measurement.
for name in $(compgen -e | grep '^RELION_RS_' || true); do unset "$name"; done
export RELION_RS_USER_FILE=/dev/null
[ "$TWIN" != yes ] || export RELION_RS_TWIN=yes
mkdir -p "$LOGS" "$RECORDS"
LOGS=$(realpath "$LOGS") RECORDS=$(realpath "$RECORDS")
# shellcheck source=tests/gpu/common.sh
source "$KIT/tests/gpu/common.sh"
for part in tests sanitizer refine benches speed memory; do
    # shellcheck disable=SC1090
    source "$KIT/tests/gpu/$part.sh"
done

parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(tests sanitizer refine benches speed memory)
for part in "${parts[@]}"; do
    declare -F "part_$part" >/dev/null ||
        { echo "no part $part; parts: tests sanitizer refine benches speed memory" >&2; exit 64; }
done
"$rank" --probe >"$LOGS/probe.json" 2>"$LOGS/probe.log" || { cat "$LOGS/probe.log" >&2; exit 70; }
if no_gpu=$(why_no_gpu); then
    for part in "${parts[@]}"; do row "$part" - - "ignored: $no_gpu"; done
    table
    exit 0
fi
worst=0
for part in "${parts[@]}"; do
    begin_part "$part"
    "part_$part"
    end_part "$part"
done
table
exit $worst
