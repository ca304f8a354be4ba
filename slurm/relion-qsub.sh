#!/bin/bash
# For RELION's GUI: the batch script of every job that it submits, relion-rs as an External job among them.
# RELION fills in the words XXX...XXX; `relion-rs relion-template` prints this file. Before starting RELION:
#
#   export RELION_QSUB_COMMAND=sbatch
#   export RELION_QSUB_TEMPLATE=/where/this/file/is/relion-qsub.sh
#   export RELION_QSUB_EXTRA_COUNT=2
#   export RELION_QSUB_EXTRA1="GPUs per node"  RELION_QSUB_EXTRA1_DEFAULT=1
#   export RELION_QSUB_EXTRA2="Time limit"     RELION_QSUB_EXTRA2_DEFAULT=1-00:00:00
#
# Asked for: XXXcoresXXX cores, at least XXXdedicatedXXX of them on each node.
#SBATCH --job-name=XXXnameXXX
#SBATCH --partition=XXXqueueXXX
#SBATCH --ntasks=XXXmpinodesXXX
#SBATCH --cpus-per-task=XXXthreadsXXX
#SBATCH --gres=gpu:XXXextra1XXX
#SBATCH --time=XXXextra2XXX
#SBATCH --output=XXXoutfileXXX
#SBATCH --error=XXXerrfileXXX
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=USR2@120

# The end of the job in seconds since 1970, which older Slurms do not tell.
if [ -z "${SLURM_JOB_END_TIME:-}" ]; then
    end=$(squeue -h -j "$SLURM_JOB_ID" -o %e 2>/dev/null)
    [ -n "$end" ] && SLURM_JOB_END_TIME=$(date -d "$end" +%s 2>/dev/null) && export SLURM_JOB_END_TIME
fi

# Every step is described in full below; these would describe it a second time, and differently in a newer Slurm.
unset SLURM_TRES_PER_TASK SLURM_CPUS_PER_TASK

# Started by srun, a program gets Slurm's signals: before the time limit, and when it is preempted.
code=0
run() {
    [ "$code" -eq 0 ] || return
    srun --ntasks=XXXmpinodesXXX --cpus-per-task=XXXthreadsXXX --kill-on-bad-exit=1 "$@" || code=$?
}
run XXXcommandXXX

# 75: relion-rs has stopped with a checkpoint. Whether the job comes back depends on why it was stopped.
folder=$(dirname XXXoutfileXXX)
if [ "$code" -eq 75 ] && [ -e "$folder/plan.json" ]; then
    exec relion-rs job end "$folder" --code "$code"
fi
exit "$code"
