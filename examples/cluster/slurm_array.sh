#!/usr/bin/env bash
# A Slurm job array that makes one dataset on many GPUs:
#
#     sbatch --array=0-15 examples/cluster/slurm_array.sh /data/photographs /data/dataset
#
# All jobs help with all shards, so that none is left if some jobs are lost. A job that is preempted
# or runs out of time is put back in the queue and goes on where it stopped; submitting the array, or
# some of its numbers, again is safe.
#SBATCH --job-name=sa-engine
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
set -u

images=${1:?folder, list or tar of images}
out=${2:?folder of the dataset}

# SLURM_ARRAY_TASK_ID, _MIN, _MAX and _COUNT choose the shard that this job begins with.
srun sa-engine auto --images "$images" --out "$out" --preset sa-1b
status=$?

# 130: stopped by a signal, to be continued.
if [ "$status" -eq 130 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$status"
