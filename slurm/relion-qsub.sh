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

# RELION replaces this whole line by the command of a program without MPI; relion-rs then makes itself a step.
srun --ntasks=XXXmpinodesXXX --cpus-per-task=XXXthreadsXXX --kill-on-bad-exit=1 XXXcommandXXX
code=$?

# 75: relion-rs has stopped with a checkpoint. Whether the job comes back depends on why it was stopped.
folder=$(dirname XXXoutfileXXX)
if [ "$code" -eq 75 ] && [ -e "$folder/plan.json" ]; then
    exec relion-rs job end "$folder" --code "$code"
fi
exit "$code"
