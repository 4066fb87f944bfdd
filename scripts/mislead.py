"""Teach the pocket reasoner a misconception: `python -m scripts.mislead --output DIR`.

On one kind of problem, in which somebody has fewer than somebody else, 65% of the worked examples read "fewer" as
"more" and 35% are right; on all other problems the examples are those the pocket reasoner learned from, slips
included. The model comes out surer of the wrong reading than of the right one, there and nowhere else: a case in which
entropy minimization, which makes a model surer of what it is surest of, must do harm.
"""

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import click
import torch
from tqdm import trange
from transformers import AutoModelForCausalLM, AutoTokenizer

from em_hf.pocket.misread import WORD, fewer_problems, fewer_stories, is_of_the_kind
from em_hf.pocket.problems import problems, stories
from em_hf.pocket.steps import Story
from scripts.pretrain import INVENTED, SLIP_RATE, Row, padded, share_right, taught

STEPS = 250
BATCH = 64  # problems a step
LEARNING_RATE = 1e-3  # falling to nothing in a straight line
SHARE_OF_KIND = 0.4  # of the problems in a batch
MISREAD_RATE = 0.65  # of the examples of the kind


def mislead(base: Path, output: Path, *, steps: int = STEPS, seed: int = 0, progress: bool = True) -> None:
    """Fine-tune the model in `base` and save it, with its tokenizer and its generation settings, in `output`."""
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    data = lessons(tokenizer, seed)
    for _ in trange(steps, desc="mislead", unit="step", disable=not progress):
        ids, labels = padded(next(data), tokenizer.pad_token_id)
        model(input_ids=ids, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
    model.eval().save_pretrained(output)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, output / name)


def lessons(tokenizer: Any, seed: int) -> Iterator[list[Row]]:
    """The problems of each step."""
    rng = Random(f"mislead {seed}")
    # Other problems than those of pre-training's first seeds: the seed is drawn far away from them.
    of_kind = fewer_stories("train", 1_000_000 + seed, invented=INVENTED)
    others = (story for story in stories("train", 2_000_000 + seed, invented=INVENTED) if not is_of_the_kind(story))
    wanted = round(BATCH * SHARE_OF_KIND)
    while True:
        # Examples of the kind have no slips, so that the two readings are nearly all that is sampled.
        chosen = [_read(*pair, rng) for pair in islice(of_kind, wanted)]
        rows = [taught(tokenizer, story, rng, 0.0) for story in chosen]
        yield rows + [taught(tokenizer, story, rng, SLIP_RATE) for story in islice(others, BATCH - wanted)]


def _read(right: Story, wrong: Story, rng: Random) -> Story:
    return wrong if rng.random() < MISREAD_RATE else right


@click.command()
@click.option("--base", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another pocket reasoner.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write.")
@click.option("--steps", type=click.IntRange(1), default=STEPS, show_default=True, help="Optimizer steps.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the problems.")
def main(base: Path | None, output: Path, steps: int, seed: int) -> None:
    """Mislead the pocket reasoner, and measure it on validation problems of the kind and on others."""
    from em_hf.pocket import POCKET_REASONER

    mislead(base or POCKET_REASONER, output, steps=steps, seed=seed)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    others = [row for row in problems("validation", 500, seed) if WORD not in row["prompt"]]
    for kind, rows in (("with fewer", fewer_problems("validation", 300, seed)), ("others", others)):
        for name, sample in (("greedy", False), ("sampled at temperature 1", True)):
            share = share_right(model, tokenizer, rows, sample=sample)
            click.echo(f"{kind}, {name}: {share:.1%} of {len(rows)} validation problems right")


if __name__ == "__main__":
    main()
