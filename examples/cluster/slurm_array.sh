#!/usr/bin/env bash
# Workers of /data/dataset, written by `sa-engine submit slurm`. Hand it over as often as you like:
#
#     sbatch --array=0-2 /data/dataset.slurm/sa-dataset.sh
#
# Each job takes whatever shard is free, and takes up what a lost one has left. One that is
# preempted or runs out of time is put back in the queue and goes on where it stopped.
#SBATCH --job-name=sa-dataset
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=4:00:00
#SBATCH --gres=gpu:1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
#SBATCH --output=/data/dataset.slurm/%x-%A_%a.log
set -u
source /venvs/sa-engine/bin/activate
# Since 22.05 srun does not take this from sbatch any more.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}
echo "$(date '+%F %T') job $job on $(hostname), try $((${SLURM_RESTART_COUNT:-0} + 1))"

srun sa-engine work /data/dataset --no-wait --failed-images-ok 0.01
status=$?

# 130 and 143: stopped by a signal, to be continued.
if [ "$status" -eq 130 ] || [ "$status" -eq 143 ]; then
    if [ "${SLURM_RESTART_COUNT:-0}" -lt 50 ]; then
        echo "$(date '+%F %T') job $job was stopped, and goes on later"
        scontrol requeue "$job" && exit 0
    fi
fi
exit "$status"
