#!/bin/bash
# One training on four machines; see docs/scaling.md.
#
#   textgen prepare poems.txt --output poems.ids       (once, on a shared file system)
#   sbatch deploy/slurm.sh
#
# For GPUs, one process for each: #SBATCH --ntasks-per-node=8 --gpus-per-task=1
#SBATCH --job-name=textgen
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --output=textgen-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
# Five minutes before the time limit, the processes write their state and stop.
#SBATCH --signal=TERM@300

starts=50 # of the job at most

train=(textgen launch train poems.ids --output poems.keras
    --epochs 20 --units 512 --batch-size 256)
# --resume needs a checkpoint, so the first start has no such option.
if ls poems.checkpoints/step-*.keras >/dev/null 2>&1; then
    train+=(--resume)
fi

# srun must not end the other processes: they stop by themselves, and process 0 may
# still be writing.
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=0 --wait=0 \
    "${train[@]}"
status=$?

# srun returns the highest status of all processes: 75 after a lost process, more if one
# was ended by a signal or by the time limit. Bad input (2) would fail again.
if [ "$status" -ge 75 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt $((starts - 1)) ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
