"""`python -m tests.vllm.training_worker FILE [PROMPTS.jsonl]`: train with vLLM beside the trainer; results as JSON.

The pocket reasoner by EM-FT and EM-RL-sequence over three seeds, sampled by vLLM and by transformers; with a file of
questions SmolLM2 for a few steps on them.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

import torch
from trl.generation import vllm_generation

from em_hf.models import load_model
from em_hf.pocket import problems
from em_hf.training.vllm import prepare_engine
from tests.reference import entropy
from tests.smollm2 import smollm2_folder

SEEDS = (0, 1, 2)
STEPS = {"em-ft": 12, "em-rl-sequence": 12}
LARGE = {"max_steps": 5, "per_device_train_batch_size": 8, "learning_rate": 3e-3, "seed": 0}  # the model moves


def one_engine() -> None:
    """Let the trainers of this process share an engine: each sends it its weights before it samples."""
    made: dict[str, Any] = {}
    real = vllm_generation.LLM

    def cached(**settings: Any) -> Any:
        if settings["model"] not in made:
            made[settings["model"]] = real(**settings)
        return made[settings["model"]]

    vllm_generation.LLM = cached


def watch(trainer: Any) -> list[float]:
    """At each generation: the mean distance of the engine's log-probabilities from the trainer's, in nats per token."""
    found: list[float] = []
    generation = trainer.vllm_generation
    generation.logprobs = 0
    real = generation.generate

    def generate(prompts: list[list[int]], *rest: Any, **more: Any) -> Any:
        result = real(prompts, *rest, **more)
        _, completions, log_probs, _ = result
        assert len(prompts) == len(completions)
        distances = []
        model = trainer.accelerator.unwrap_model(trainer.model)
        with torch.no_grad():
            for prompt, completion, theirs in zip(prompts[:8], completions[:8], log_probs[:8], strict=True):
                z = model(torch.tensor([list(prompt) + list(completion)])).logits[0, len(prompt) - 1 : -1]
                ours = z.log_softmax(-1)[range(len(completion)), completion]
                distances += [abs(a - b[0]) for a, b in zip(ours.tolist(), theirs, strict=True)]
        found.append(sum(distances) / len(distances))
        return result

    generation.generate = generate
    return found


@torch.no_grad()
def held_out_entropy(model: Any, tokenizer: Any, prompts: list[str]) -> float:
    """Nats per token of one sample per prompt, with the same seed for every model."""
    torch.manual_seed(17)
    model.eval()
    total, count = 0.0, 0
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        sequence = model.generate(ids, do_sample=True, top_k=0, max_new_tokens=64)
        for z in model(sequence).logits[0, ids.shape[1] - 1 : -1]:
            total, count = total + float(entropy(z)), count + 1
    return total / count


def trainer(method: str, model: Any, tokenizer: Any, rows: list[dict[str, str]], **settings: Any) -> Any:
    from datasets import Dataset

    from em_hf import EMFTConfig, EMFTTrainer, EMRLConfig, EMRLTrainer

    shared = {
        "output_dir": tempfile.mkdtemp(),
        "max_completion_length": 64,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        **settings,
    }
    data = Dataset.from_list(rows)
    if method == "em-ft":
        args = EMFTConfig(loss_reduction="token_mean", **shared)
        return EMFTTrainer(model, args, train_dataset=data, processing_class=tokenizer)
    rl = EMRLConfig(reward="sequence", num_generations=4, beta=0.0, **shared)
    return EMRLTrainer(model, rl, train_dataset=data, processing_class=tokenizer)


def pocket() -> dict[str, Any]:
    rows = [{"prompt": problem["prompt"]} for problem in problems("train", 512, seed=0)]
    held_out = [problem["prompt"] for problem in problems("validation", 24, seed=0)]
    found: dict[str, Any] = {"before": held_out_entropy(*load_model("pocket-reasoner", device="cpu"), held_out)}
    for method, steps in STEPS.items():
        rate = 3e-4 if method == "em-ft" else 1e-4
        for sampler in ("vllm", "transformers"):
            runs = found.setdefault(method, {}).setdefault(sampler, [])
            for seed in SEEDS:
                model, tokenizer = load_model("pocket-reasoner", device="cpu")
                settings = {"max_steps": steps, "per_device_train_batch_size": 32, "learning_rate": rate, "seed": seed}
                t = trainer(method, model, tokenizer, rows, use_vllm=sampler == "vllm", **settings)
                distances = watch(t) if sampler == "vllm" else []
                t.train()
                runs.append({"after": held_out_entropy(model, tokenizer, held_out), "distances": distances})
    found["sync"] = {name: large_steps(rows, synced=name == "kept") for name in ("dropped", "kept")}
    return found


def large_steps(rows: list[dict[str, str]], *, synced: bool) -> list[float]:
    """The distances at each of a few large steps, with the engine's weights sent or left as they were."""
    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    t = trainer("em-ft", model, tokenizer, rows, use_vllm=True, **LARGE)
    t.vllm_generation.sync_weights()  # whatever a run before has left in the engine
    if not synced:
        t.vllm_generation.sync_weights = lambda: None
    distances = watch(t)
    t.train()
    return distances


def smollm2(file: str) -> dict[str, Any]:
    """The distances and entropies of three steps of SmolLM2 on the shortest questions, by each method."""
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    questions = sorted((json.loads(line)["question"] for line in lines), key=len)[:8]
    rows = [{"prompt": [{"role": "user", "content": question}]} for question in questions]
    found = {}
    for method in STEPS:
        model, tokenizer = load_model(str(smollm2_folder()), device="cpu")
        settings = {
            "max_steps": 3,
            "per_device_train_batch_size": 4,
            "max_completion_length": 24,
            "learning_rate": 1e-4,
        }
        t = trainer(method, model, tokenizer, rows, use_vllm=True, seed=0, **settings)
        distances = watch(t)
        t.train()
        found[method] = {"distances": distances, "entropy": [log["entropy"] for log in t.state.log_history[:-1]]}
    return found


if __name__ == "__main__":
    prepare_engine()
    one_engine()
    Path(sys.argv[1]).write_text(json.dumps(smollm2(*sys.argv[2:]) if sys.argv[2:] else pocket()))
