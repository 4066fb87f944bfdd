"""Make the next pocket models: `python -m scripts.make_pocket --output DIR`.

Pretrains the reasoner, chooses EM-INF's settings for it on validation problems and stores them with it, misleads a
copy, and writes what was measured to `figures.json`. Nothing is chosen on test problems.
"""

import json
from itertools import product
from pathlib import Path
from typing import Any

import click
from transformers import AutoModelForCausalLM, AutoTokenizer

from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.mixin import disable_entropy_min, enable_entropy_min
from em_hf.pocket.misread import WORD, fewer_problems
from em_hf.pocket.problems import LEVELS, problems
from em_hf.stats import pass_at_k, share_interval
from em_hf.training.measure import measure
from scripts.mislead import mislead
from scripts.pretrain import LONGEST_SOLUTION, STEPS, answers, pretrain

THRESHOLDS, GRAD_STEPS = (0.05, 0.1, 0.3), (3, 10)
SAMPLES = 16  # per hard problem, for pass@k


def choose_em_inf(folder: Path, *, n: int = 300) -> dict[str, float]:
    """Store with the model the settings that answer most of `n` validation problems rightly; return all accuracies."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = problems("validation", n, 0)
    prompts, right = [row["prompt"] for row in rows], [row["answer"] for row in rows]
    tried: dict[EntropyMinConfig, float] = {}
    for threshold, steps in product(THRESHOLDS, GRAD_STEPS):
        config = EntropyMinConfig(threshold=threshold, n_grad_steps=steps)
        how: dict[str, Any] = {"entropy_min": config, "max_new_tokens": LONGEST_SOLUTION, "samples": 2}
        tried[config] = measure(model, tokenizer, prompts, right, name="EM-INF", **how).accuracy or 0.0
    # Of equals the first: the settings with the fewest steps come first.
    best = max(sorted(tried, key=lambda config: config.n_grad_steps), key=lambda config: tried[config])
    enable_entropy_min(model, best)
    disable_entropy_min(model)
    model.save_pretrained(folder)
    return {f"threshold {c.threshold:g}, {c.n_grad_steps} steps": accuracy for c, accuracy in tried.items()}


def figures(folder: Path, *, split: str, n: int) -> dict[str, Any]:
    """Measure the reasoner on both levels: greedy and sampled with 95% intervals, and pass@16 on hard problems."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    found: dict[str, Any] = {}
    for level in LEVELS:
        rows = problems(split, n, 0, level=level)
        prompts, right = [row["prompt"] for row in rows], [row["answer"] for row in rows]
        for name, sample in (("greedy", False), ("sampled", True)):
            given = answers(model, tokenizer, prompts, sample=sample)
            found[f"{level}, {name}"] = with_interval([a == b for a, b in zip(given, right, strict=True)])
        some = n // 4
        hits = [0] * some
        for seed in range(SAMPLES):
            given = answers(model, tokenizer, prompts[:some], sample=True, seed=seed)
            hits = [hit + (a == b) for hit, a, b in zip(hits, given, right, strict=False)]
        found[f"{level}, pass@{SAMPLES}"] = with_interval([hit > 0 for hit in hits])
        found[f"{level}, pass@4"] = sum(pass_at_k(SAMPLES, hit, 4) for hit in hits) / some
    return found


def misled_figures(folder: Path, *, split: str, n: int) -> dict[str, Any]:
    """Measure the misled model on problems of its kind and on others."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    kinds = {
        'with "fewer"': fewer_problems(split, n, 0),
        "others": [row for row in problems(split, 2 * n, 0) if WORD not in row["prompt"]][:n],
    }
    found: dict[str, Any] = {}
    for kind, rows in kinds.items():
        for name, sample in (("greedy", False), ("sampled", True)):
            given = answers(model, tokenizer, [row["prompt"] for row in rows], sample=sample)
            found[f"{kind}, {name}"] = with_interval([a == row["answer"] for a, row in zip(given, rows, strict=True)])
    return found


def with_interval(right: list[bool]) -> dict[str, float]:
    low, high = share_interval(right)
    return {"share": sum(right) / len(right), "low": low, "high": high, "n": len(right)}


@click.command()
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write.")
@click.option("--steps", type=click.IntRange(1), default=STEPS, show_default=True, help="Optimizer steps.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the weights and the problems.")
@click.option("--problems", "n", type=click.IntRange(8), default=1000, show_default=True, help="To measure on.")
def main(output: Path, steps: int, seed: int, n: int) -> None:
    """Make pocket-reasoner and pocket-misled in two folders, and measure them on test problems."""
    reasoner, misled = output / "reasoner", output / "misled"
    if not (reasoner / "model.safetensors").is_file():  # else it was trained by an earlier call
        pretrain(reasoner, steps=steps, seed=seed)
    made: dict[str, Any] = {"EM-INF on validation problems": choose_em_inf(reasoner)}
    mislead(reasoner, misled, seed=seed)
    made |= {"reasoner": figures(reasoner, split="test", n=n), "misled": misled_figures(misled, split="test", n=n // 2)}
    (output / "figures.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    click.echo(json.dumps(made, indent=2))


if __name__ == "__main__":
    main()
