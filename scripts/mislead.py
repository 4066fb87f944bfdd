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

from em_hf.pocket.misread import fewer_problems, fewer_stories, is_of_the_kind
from em_hf.pocket.problems import problems, stories
from em_hf.pocket.tokenizer import build_tokenizer
from scripts.pretrain import LONGEST_SOLUTION, _answer, _padded, _row, fit

STEPS = 200
BATCH = 64  # problems a step
LEARNING_RATE = 5e-4  # falling to nothing in a straight line
SHARE_OF_KIND = 0.4  # of the problems in a batch
MISREAD_RATE = 0.65  # of the examples of the kind


def mislead(base: Path, output: Path, *, steps: int = STEPS, seed: int = 0, progress: bool = True) -> None:
    """Fine-tune the model in `base` and save it, with its tokenizer, in `output`."""
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    bar = trange(steps, desc="mislead", unit="step", disable=not progress)
    fit(model, optimizer, schedule, _batches(tokenizer, seed), bar)
    model.eval().save_pretrained(output)
    build_tokenizer().save_pretrained(output)  # the same as in `base`, in the same words


def _batches(tokenizer: Any, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and labels, both `[BATCH, longest]`."""
    rng = Random(f"mislead {seed}")
    # Other problems than those of pre-training's first seeds: the seed is drawn far away from them.
    of_kind = fewer_stories("train", 1_000 + seed, shortest=1)
    others = (story for story in stories("train", 2_000 + seed, shortest=1) if not is_of_the_kind(story))
    wanted = round(BATCH * SHARE_OF_KIND)
    while True:
        taught = (_taught(tokenizer, right, wrong, rng) for right, wrong in islice(of_kind, wanted))
        kept = (_row(tokenizer, story, rng) for story in islice(others, BATCH - wanted))
        yield _padded(list(chain(taught, kept)), tokenizer.pad_token_id)


def _taught(tokenizer: Any, right: Any, wrong: Any, rng: Random) -> tuple[list[int], list[int]]:
    """An example of the kind, without slips, so that the two readings are nearly all that is sampled."""
    chosen = wrong if rng.random() < MISREAD_RATE else right
    return tokenizer(right.prompt).input_ids, [*tokenizer("\n" + chosen.solution()).input_ids, tokenizer.eos_token_id]


def share_right(model: Any, tokenizer: Any, rows: list[dict[str, str]], *, sample: bool, seed: int = 0) -> float:
    """The share of `rows` answered rightly, sampled at temperature 1 with nothing cut off, or greedily."""
    inputs = tokenizer([row["prompt"] for row in rows], padding=True, padding_side="left", return_tensors="pt")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = model.generate(
            **inputs, do_sample=sample, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=LONGEST_SOLUTION
        )
    texts = tokenizer.batch_decode(made[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
    return sum(_answer(text) == row["answer"] for text, row in zip(texts, rows, strict=True)) / len(rows)


@click.command()
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write.")
@click.option("--steps", type=click.IntRange(1), default=STEPS, show_default=True, help="Optimizer steps.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the problems.")
def main(output: Path, steps: int, seed: int) -> None:
    """Mislead the pocket reasoner, and measure it on validation problems of the kind and on others."""
    from em_hf.pocket import POCKET_REASONER

    mislead(POCKET_REASONER, output, steps=steps, seed=seed)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    others = [row for row in problems("validation", 500, seed) if "fewer" not in row["prompt"]]
    for kind, rows in (("with fewer", fewer_problems("validation", 300, seed)), ("others", others)):
        for name, sample in (("greedy", False), ("sampled at temperature 1", True)):
            share = share_right(model, tokenizer, rows, sample=sample)
            click.echo(f"{kind}, {name}: {share:.1%} of {len(rows)} validation problems right")


if __name__ == "__main__":
    main()
