#!/bin/sh
# Ends a sandbox when the test that made it ends, however that happens: standard input is a pipe from the test, and its
# end is the end of the test. Whatever was started under this Slurm has its slurm.conf in its environment.
# Usage: keeper.sh FOLDER [keep]
folder=$1
trap '' HUP INT TERM
cat >/dev/null

ours() { grep -slzF "SLURM_CONF=$folder/" /proc/[0-9]*/environ | cut -d/ -f3; }

attempt=0
# Again until nobody is left: a process that is being started may slip through once.
while pids=$(ours) && [ -n "$pids" ] && [ $attempt -lt 100 ]; do
    # shellcheck disable=SC2086
    kill -9 $pids 2>/dev/null
    attempt=$((attempt + 1))
    sleep 0.1
done
[ "${2:-}" = keep ] || rm -rf "$folder"
