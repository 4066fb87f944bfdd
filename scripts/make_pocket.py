"""Make both pocket models: `python -m scripts.make_pocket --output DIR`, in under two hours on two cores.

Pre-trains the reasoner, chooses EM-INF's settings for it on validation problems, stores them with it, teaches a copy to
misread "fewer", and measures both on held-out problems. DIR then holds `reasoner`, `misled` and `figures.json`. What is
there already is not made again.
"""

import json
from pathlib import Path
from typing import Any

import click
from transformers import AutoModelForCausalLM, AutoTokenizer

from em_hf.generation.config import EntropyMinConfig
from em_hf.pocket import LEVELS, problems
from em_hf.pocket.misread import WORD, fewer_problems, other_problems
from em_hf.runs import write_json
from em_hf.training.measure import measure
from scripts.mislead import mislead
from scripts.pretrain import LONGEST_SOLUTION, WORKERS, pretrain

TRIED = [(threshold, steps) for threshold in (0.05, 0.1, 0.3) for steps in (3, 10)]
CHOSEN_ON = 200  # validation problems of each level
PROBLEMS = 500  # of each measurement


def choose_em_inf(folder: Path, *, n: int = CHOSEN_ON) -> list[dict[str, Any]]:
    """Measure each pair of settings on validation problems of both levels, and store the best one with the model.

    The best one answers most of the problems rightly in a sample each; of equally good ones it is the first, which
    changes the logits least.

    Returns:
        What was tried: `threshold`, `n_grad_steps` and `accuracy` of each.
    """
    model, tokenizer = _loaded(folder)
    found = []
    for threshold, steps in TRIED:
        config = EntropyMinConfig(threshold=threshold, n_grad_steps=steps)
        shares = [_accuracy(model, tokenizer, level, "validation", n, entropy_min=config) for level in LEVELS]
        found.append({"threshold": threshold, "n_grad_steps": steps, "accuracy": sum(shares) / len(shares)})
    best = max(found, key=lambda one: one["accuracy"])
    chosen = EntropyMinConfig(threshold=best["threshold"], n_grad_steps=best["n_grad_steps"])
    model.generation_config.entropy_min_config = chosen.to_dict()
    model.generation_config.save_pretrained(folder)
    return found


def figures(reasoner: Path, misled: Path, *, n: int = PROBLEMS) -> dict[str, Any]:
    """The accuracy of both models on test problems, greedily and sampled; the reasoner's with EM-INF too."""
    model, tokenizer = _loaded(reasoner)
    config = EntropyMinConfig.from_dict(model.generation_config.entropy_min_config)
    ways: dict[str, dict[str, Any]] = {
        "greedy": {"greedy": True},
        "sampling": {"samples": 4},
        "em-inf": {"samples": 4, "entropy_min": config},
    }
    found: dict[str, Any] = {
        level: {way: _accuracy(model, tokenizer, level, "test", n, **options) for way, options in ways.items()}
        for level in LEVELS
    }
    model, tokenizer = _loaded(misled)
    kinds = {WORD: fewer_problems("test", n, 0), "others": other_problems("test", n, 0)}
    for kind, rows in kinds.items():
        found[f"misled, {kind}"] = {way: _share(model, tokenizer, rows, **options) for way, options in ways.items()}
    return found


def _accuracy(model: Any, tokenizer: Any, level: str, split: str, n: int, **options: Any) -> float:
    return _share(model, tokenizer, problems(split, n, 0, level=level), **options)


def _share(model: Any, tokenizer: Any, rows: list[dict[str, str]], **options: Any) -> float:
    prompts, answers = [row["prompt"] for row in rows], [row["answer"] for row in rows]
    longest = LONGEST_SOLUTION["hard"]
    found = measure(model, tokenizer, prompts, answers, name="", max_new_tokens=longest, **options)
    assert found.accuracy is not None
    return found.accuracy


def _loaded(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@click.command()
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the weights and the problems.")
@click.option("--workers", type=click.IntRange(1), default=WORKERS, show_default=True, help="Processes.")
def main(output: Path, seed: int, workers: int) -> None:
    """Make the pocket reasoner and the misled model, and measure them."""
    reasoner, misled = output / "reasoner", output / "misled"
    if not (reasoner / "config.json").is_file():
        pretrain(reasoner, seed=seed, workers=workers)
    made: dict[str, Any] = {"tried": choose_em_inf(reasoner)}
    mislead(reasoner, misled, seed=seed)
    made |= figures(reasoner, misled)
    write_json(output / "figures.json", made)
    click.echo(json.dumps(made, indent=2))


if __name__ == "__main__":
    main()
