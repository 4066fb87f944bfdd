#!/bin/bash
# EM-FT of a 7B model on one node of eight GPUs, from the question whether it will help to the comparison afterwards.
#
#   sbatch examples/slurm_em_ft.sh
#
# Partition, account and time are your cluster's: add them here, or to sbatch. A preempted job is queued again and
# continues its run. HF_TOKEN, where a gated model or the push needs one, is taken from the environment that submits.
# None of this has been run on a GPU by us; `em-hf train --plan` prints the memory and time to expect.
#SBATCH --job-name=em-ft
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

MODEL="${MODEL:-Qwen/Qwen2.5-Math-7B}"
RUN="${RUN:-runs/em-ft-7b}"
mkdir -p "$(dirname "$RUN")"

# 1. Will it help? A few labelled problems, before anything is trained.
if [ ! -f "$RUN.diagnosis.json" ]; then
    em-hf diagnose --model "$MODEL" --dataset openai/gsm8k --dataset-config main --limit 100 --output "$RUN.diagnosis.json"
fi

# 2. Train with the paper's settings, sharded over the GPUs by FSDP2; where the run exists, continue it.
if [ ! -f "$RUN/run.json" ]; then
    em-hf train --recipe paper-em-ft --model "$MODEL" --num-processes 8 --accelerate-config fsdp2 --output "$RUN"
elif ! grep -q '"status": "finished"' "$RUN/run.json"; then
    em-hf train --resume "$RUN" --num-processes 8 --accelerate-config fsdp2
fi

# 3. Compare on the same problems. Greedy decoding belongs in the table.
em-hf eval --model "$MODEL" --tasks math500 --compare greedy,sampling,em-inf --samples 4 --output "$RUN.before"
em-hf eval --model "$RUN" --tasks math500 --compare greedy,sampling --samples 4 --output "$RUN.after"

# 4. The files and the card that a push would publish; add --repo OWNER/NAME and drop --dry-run to publish them.
em-hf push "$RUN" --dry-run
