#!/usr/bin/env python3
"""Ranks timed on this machine: the same job by several numbers of ranks of one thread, in turn, and what the leader's
thread and waiting ranks cost. The engine beside the launcher has to be built with MPI.

    tests/bench_ranks.py RELION-RS [--kind class3d] [--particles P.star --reference R.mrc] [--ranks 1 2] [--rounds 3]

Without particles 1,000 are simulated. Prints the expectation step of every run (all iterations), the ratio of the
medians, and the CPU time that threads took meanwhile, as shares of a core. `--check` ends with 1 when two ranks are less
than 1.8 times as fast as one, or the leader's thread takes 2 % of a core or more; it wants a machine that does nothing else.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

LEAST_SPEEDUP, MOST_LEADER = 1.8, 0.02
ROOT_MAY = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


class Sampler(threading.Thread):
    """CPU seconds of every thread of the ranks, ten times a second."""

    def __init__(self, progress):
        super().__init__(daemon=True)
        self.progress, self.over, self.samples = progress, False, []

    def processes(self):
        for record in records(self.progress):
            if record["event"] == "ranks":
                return [place["process"] for place in record["ranks"]]
            if record["event"] == "started":
                alone = [record["process"]]
        return alone if "alone" in locals() else []

    def run(self):
        while not self.over:
            now, seen = time.time(), {}
            for rank, process in enumerate(self.processes()):
                for task in pathlib.Path(f"/proc/{process}/task").glob("*"):
                    try:
                        name = (task / "comm").read_text().strip()
                        cpu = int((task / "schedstat").read_text().split()[0]) / 1e9
                    except (OSError, IndexError):
                        continue
                    seen[rank, task.name, name] = cpu
            self.samples.append((now, seen))
            time.sleep(0.1)

    def shares(self, spans, wanted):
        """Share of a core that the threads which `wanted` names took within time spans; and the length of these."""
        cpu = length = 0.0
        for (begin, before), (end, after) in zip(self.samples, self.samples[1:]):
            if any(first <= begin and end <= last for first, last in spans):
                cpu += sum(after[key] - before[key] for key in after if key in before and wanted(*key))
                length += end - begin
        return (cpu / length if length else float("nan")), length


def records(path):
    try:
        return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    except FileNotFoundError:
        return []


def spans(progress, name):
    found = [r for r in records(progress) if r["event"] == "phase" and r["name"] == name]
    return [(r["unix_seconds"] - r["seconds"], r["unix_seconds"]) for r in found]


def run(options, folder, ranks):
    """Runs the job and returns the seconds of its expectation steps, and the leader's share of a core in them."""
    command = [options.program, "run", options.kind, "--particles", options.particles, "--reference", options.reference]
    command += ["--out", str(folder), "--diameter", str(options.diameter), "--ini-high", "50", "--seed", "1", "--threads", "1"]
    command += ["--trust-reference-size", "true", "--checkpoint-minutes", "0", "--ranks", str(ranks)]
    if options.kind == "class3d":
        command += ["--iterations", str(options.iterations), "--classes", str(options.classes)]
    command += options.flags.split()
    progress = folder / "progress.jsonl"
    sampler = Sampler(progress)
    sampler.start()
    load = os.getloadavg()[0]
    done = subprocess.run(command, env=os.environ | ROOT_MAY, capture_output=True, text=True)
    sampler.over = True
    sampler.join()
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with code {done.returncode}:\n{done.stderr}")
    steps, maps = spans(progress, "expectation"), spans(progress, "maximisation")
    seconds = sum(end - begin for begin, end in steps)
    leader = 0.0
    line = f"{ranks} ranks: expectation {seconds:7.2f} s, maximisation {sum(e - b for b, e in maps):6.2f} s, load before {load:.1f}"
    if ranks > 1:
        leader, length = sampler.shares(steps, lambda rank, task, name: rank == 0 and name == "leader")
        line += f"; leader {100 * leader:.2f} % of a core over {length:.0f} s of expectation"
        owners = 2 if options.kind == "refine3d" else options.classes
        for rank in range(owners, ranks):
            idle, length = sampler.shares(maps, lambda other, task, name: other == rank)
            if length > 0:
                line += f"; rank {rank} {100 * idle:.2f} % over {length:.1f} s of maximisation"
    print(line, flush=True)
    return seconds, leader


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--kind", default="class3d", choices=["class3d", "refine3d"])
    parser.add_argument("--particles")
    parser.add_argument("--reference")
    parser.add_argument("--diameter", type=float, default=208)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--classes", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--flags", default="", help="further flags of the run")
    parser.add_argument("--check", action="store_true", help="end with 1 when ranks cost more than they may")
    options = parser.parse_args()
    options.program = str(pathlib.Path(options.program).resolve())
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        if options.particles is None:
            map_ = pathlib.Path(__file__).resolve().parent / "data/beta_galactosidase.mrc"
            words = ["simulate", "--map", map_, "--out", scratch / "set", "--image-prefix", scratch / "set"]
            words += ["--count", options.count, "--snr", "0.05", "--seed", "1"]
            subprocess.run([options.program, *map(str, words)], check=True, capture_output=True)
            options.particles, options.reference = str(scratch / "set/particles.star"), str(scratch / "set/truth.mrc")
        seconds, leaders = {ranks: [] for ranks in options.ranks}, []
        for turn in range(options.rounds):
            for ranks in options.ranks:
                took, leader = run(options, scratch / f"{turn}_{ranks}", ranks)
                seconds[ranks].append(took)
                leaders.append(leader)
        medians = {ranks: statistics.median(values) for ranks, values in seconds.items()}
        first = medians[options.ranks[0]]
        for ranks, median in medians.items():
            print(f"{ranks} ranks: median {median:.2f} s, {first / median:.2f} times as fast as {options.ranks[0]}")
        if options.check:
            two = medians[1] / medians[2]
            # NaN, where nothing was measured, passes neither.
            if not (two >= LEAST_SPEEDUP and max(leaders) < MOST_LEADER):
                sys.exit(f"two ranks {two:.2f} times as fast as one, leader at most {100 * max(leaders):.2f} % of a core: too slow")


if __name__ == "__main__":
    main()
