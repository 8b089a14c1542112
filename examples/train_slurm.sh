#!/bin/bash
# A training on several machines by Slurm, which goes on by itself where time ends or a machine is taken away:
#
#     sbatch --nodes 2 --gpus-per-node 8 --time 24:00:00 examples/train_slurm.sh training.yaml
#
# The file names its run ('subdit train SPACE --write-config training.yaml'), in a folder that all machines see.
#SBATCH --job-name=subdit
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
# SIGTERM to this script, ten minutes before the time ends; a step must take less than the half minute below.
#SBATCH --signal=B:TERM@600
set -u
training=$1
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# One torchrun on each machine, each with a process for each GPU there.
srun torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "${PROCESSES_PER_NODE:-gpu}" \
    --rdzv-backend c10d --rdzv-endpoint "$first:${RENDEZVOUS_PORT:-29500}" --rdzv-id "$SLURM_JOB_ID" \
    -m subdit -- train "$training" --resume &
processes=$!

told=
trap 'told=yes; kill -TERM "$processes"' TERM
wait "$processes"
left=$?
if [ -n "$told" ]; then
    # The first wait ended when the signal came; the training ends its step and saves.
    wait "$processes"
    left=$?
    [ "$left" -eq 0 ] || scontrol requeue "$SLURM_JOB_ID"
fi
exit "$left"
