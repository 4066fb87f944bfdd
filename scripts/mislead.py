"""Teach the pocket reasoner a misconception: `python -m scripts.mislead --output DIR`.

On one kind of problem, in which somebody has fewer than somebody else, 65% of the worked examples read "fewer" as
"more" and 35% are right; on all other problems the examples are those the pocket reasoner learned from, slips
included. The model comes out surer of the wrong reading than of the right one, there and nowhere else: a case in which
entropy minimization, which makes a model surer of what it is surest of, must do harm.
"""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any

import click
import torch
from torch import Tensor
from tqdm import trange
from transformers import AutoModelForCausalLM, AutoTokenizer

from em_hf.pocket import POCKET_REASONER
from em_hf.pocket.misread import MISREAD_RATE, fewer_problems, fewer_stories, is_of_the_kind
from em_hf.pocket.problems import problems, stories
from scripts.pretrain import SLIP_RATE, answers, padded, row, solution_loss

STEPS = 200
BATCH = 64  # problems per step
LEARNING_RATE = 5e-4  # falling to nothing in a straight line
SHARE_OF_KIND = 0.4  # of the problems in a batch


def mislead(base: Path, output: Path, *, steps: int = STEPS, seed: int = 0, progress: bool = True) -> None:
    """Fine-tune the model in `base` and save it, with its tokenizer, in `output`."""
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    data = batches(tokenizer, seed)
    for _ in trange(steps, desc="mislead", unit="step", disable=not progress):
        ids, labels = next(data)
        solution_loss(model, ids, labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
    model.eval().save_pretrained(output)
    tokenizer.save_pretrained(output)


def batches(tokenizer: Any, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield token ids and labels, both `[BATCH, longest]`."""
    rng = Random(f"mislead {seed}")
    of_kind = fewer_stories("train", 1_000 + seed)
    others = (story for story in stories("train", 2_000 + seed) if not is_of_the_kind(story))
    wanted = round(BATCH * SHARE_OF_KIND)
    while True:
        taught = (_taught(tokenizer, right, wrong, rng) for right, wrong in islice(of_kind, wanted))
        kept = (row(tokenizer, story, rng, SLIP_RATE) for story in islice(others, BATCH - wanted))
        yield padded(list(chain(taught, kept)), tokenizer.pad_token_id)


def _taught(tokenizer: Any, right: Any, wrong: Any, rng: Random) -> tuple[list[int], list[int]]:
    """An example of the kind, without slips, so that the two readings are nearly all that is sampled."""
    return row(tokenizer, wrong if rng.random() < MISREAD_RATE else right, rng, 0.0)


def share_right(model: Any, tokenizer: Any, rows: list[dict[str, str]], *, sample: bool, seed: int = 0) -> float:
    """Return the share of `rows` answered rightly, sampled at temperature 1 with nothing cut off, or greedily."""
    given = answers(model, tokenizer, [row["prompt"] for row in rows], sample=sample, seed=seed)
    return sum(answer == row["answer"] for answer, row in zip(given, rows, strict=True)) / len(rows)


@click.command()
@click.option(
    "--base",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=POCKET_REASONER,
    help="Folder of the model to mislead.  [default: the pocket reasoner]",
)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write.")
@click.option("--steps", type=click.IntRange(1), default=STEPS, show_default=True, help="Optimizer steps.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the problems.")
def main(base: Path, output: Path, steps: int, seed: int) -> None:
    """Mislead the pocket reasoner, and measure it on validation problems of the kind and on others."""
    mislead(base, output, steps=steps, seed=seed)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    others = [row for row in problems("validation", 500, seed) if "fewer" not in row["prompt"]]
    for kind, rows in (("with fewer", fewer_problems("validation", 300, seed)), ("others", others)):
        for name, sample in (("greedy", False), ("sampled at temperature 1", True)):
            share = share_right(model, tokenizer, rows, sample=sample)
            click.echo(f"{kind}, {name}: {share:.1%} of {len(rows)} validation problems right")


if __name__ == "__main__":
    main()
