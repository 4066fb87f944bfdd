"""The cost of EM training: the loss alone, a whole EM-FT step, and an EM-RL step beside plain RLOO."""

import tempfile
import time
from typing import Any

import torch

from benchmarks import em_ft_memory
from benchmarks.bench.lines import Line, Scale, paired
from benchmarks.rows import QUESTIONS, smollm2

EM_FT, EM_RL = "EM-FT", "EM-RL"
VOCABULARY = 49_152
# Too little to change a float32 weight, so that every step of every run samples from the same model.
NO_STEP = 1e-30


def em_ft(scale: Scale) -> list[Line]:
    """Compare the loss, and a whole step on SmolLM2, with whole logits; every measurement is a separate process."""
    runs = max(1, scale.runs - 2)
    head = _by_method(
        em_ft_memory.run_cell("head", [str(VOCABULARY), str(scale.loss_tokens)], ["naive", "trl", "one-pass"], runs)
    )
    lines = []
    for name, against in (("naive", "whole logits"), ("trl", "TRL's fused head")):
        lines += _both(f"EM-FT loss, {scale.loss_tokens:,} tokens", against, head["one-pass"], head[name])
    sizes = [str(size) for size in scale.step]
    step = _by_method(em_ft_memory.run_cell("step", sizes, ["naive", "one-pass"], max(1, scale.runs - 3)))
    lines += _both(f"EM-FT step, {scale.step[0]} prompt(s)", "whole logits", step["one-pass"], step["naive"])
    return lines


def _by_method(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {result["method"]: result for result in results}


def _both(what: str, against: str, ours: dict[str, Any], theirs: dict[str, Any]) -> list[Line]:
    memory = {"quantity": "memory", "unit": "MB", "factor": 1e-6}
    return [
        paired(EM_FT, what, against, ours["all_seconds"], theirs["all_seconds"], unit="s", factor=1),
        paired(EM_FT, what, against, ours["all_peak_bytes"], theirs["all_peak_bytes"], **memory),
    ]


def em_rl(scale: Scale) -> list[Line]:
    """Compare a step of `EMRLTrainer` with one of TRL's RLOOTrainer with a free reward, on the same rollouts.

    Runs of two steps take turns, and the second step is timed. Raises RuntimeError if the rollouts differ.
    """
    from trl import RLOOTrainer

    from em_hf.training.em_rl import EMRLTrainer

    kinds = {"ours": (EMRLTrainer, _entropy_reward), "plain": (RLOOTrainer, _length_reward)}
    model, tokenizer = smollm2()
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    runs = max(1, scale.runs - 2)
    for run in range(runs):
        drawn = {}
        for name in list(kinds)[:: 1 if run % 2 else -1]:
            taken, drawn[name] = _two_steps(*kinds[name], model, tokenizer, scale, seed=run)
            seconds[name].append(taken)
        if drawn["ours"] != drawn["plain"]:
            raise RuntimeError("the two trainers drew different rollouts, so that their times do not compare")
    what = f"EM-RL step, 4 rollouts of up to {scale.tokens} tokens"
    return [
        paired(EM_RL, what, "TRL's RLOO on the same rollouts", seconds["ours"], seconds["plain"], unit="s", factor=1)
    ]


def _entropy_reward(entropies: list[list[float]], **kwargs: Any) -> list[float]:
    return [-sum(row) for row in entropies]


def _length_reward(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
    return [float(len(row)) for row in completion_ids]


def _two_steps(kind: Any, reward: Any, model: Any, tokenizer: Any, scale: Scale, seed: int) -> tuple[float, list]:
    """Return the seconds of the second step, and the rollouts of both."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import RLOOConfig

    from em_hf.training.em_rl import EMRLConfig, EMRLTrainer

    drawn: list[list[int]] = []

    def recorded(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
        drawn.extend(completion_ids)
        return reward(completion_ids=completion_ids, **kwargs)

    recorded.__name__ = reward.__name__

    starts: list[float] = []
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            starts.append(time.perf_counter())

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    rows = Dataset.from_list([{"prompt": [{"role": "user", "content": question}]} for question in QUESTIONS[:4]])
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "output_dir": folder,
            "max_steps": 2,
            "per_device_train_batch_size": 4,
            "num_generations": 4,
            "max_completion_length": scale.tokens,
            "learning_rate": NO_STEP,
            "beta": 0.001,
            "bf16": False,
            "use_cpu": True,
            "gradient_checkpointing": False,
            "report_to": "none",
            "save_strategy": "no",
            "disable_tqdm": True,
            "seed": seed,
            "temperature": 1.0,
            "top_k": 0,
            "top_p": 1.0,
        }
        args = (EMRLConfig if issubclass(kind, EMRLTrainer) else RLOOConfig)(**settings)
        trainer = kind(
            model=model,
            reward_funcs=recorded,
            args=args,
            train_dataset=rows,
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        torch.manual_seed(seed)
        trainer.train()
    return ends[1] - starts[1], drawn
