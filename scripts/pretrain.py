"""Make the pocket reasoner from nothing: `python -m scripts.pretrain --output DIR`.

The model learns from worked word problems in which 12% of the steps have a slip: a wrong number, with the rest of the
solution following from it, as when a person miscounts. Most often a step is right, so greedy decoding, which takes
the likeliest number, is right nearly always; sampling at temperature 1 makes the slips as often as it has seen them.
The slips are put in on purpose. They give the model what entropy minimization needs and what larger models have by
nature: it knows better than it samples, and it is less sure where it is wrong.

Two things keep it from knowing its own vocabulary only. A good fifth of the problems have a single step, and in a fifth
the names and things are invented words, which the tokenizer spells letter by letter and the model learns to copy.
"""

import re
from collections.abc import Iterator
from itertools import islice
from math import cos, pi
from pathlib import Path
from random import Random
from string import ascii_lowercase
from typing import Any

import click
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from tqdm import trange
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

from em_hf.pocket.problems import problems, stories
from em_hf.pocket.steps import Story
from em_hf.pocket.stories import GOODS, PEOPLE, THINGS
from em_hf.pocket.tokenizer import CONTEXT, build_tokenizer

STEPS = 4000
BATCH = 64  # problems a step, each seen once
SLIP_RATE = 0.12  # of the steps in a solution
INVENTED_RATE = 0.2  # of the problems have invented names and things
LEARNING_RATE = 2e-3  # at its peak, after the warm-up; a cosine takes it to a tenth
WARM_UP = 100  # steps
LONGEST_SOLUTION = 60  # tokens, the end included
NAMES_AND_THINGS = {person.name for person in PEOPLE} | {*THINGS, *GOODS}
IGNORED = -100  # transformers' label for "no loss here"


def build_model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """The untrained model: a Llama of 0.9M parameters, its vocabulary padded to a multiple of 64."""
    config = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=LONGEST_SOLUTION,
    )
    return model


def pretrain(output: Path, *, steps: int = STEPS, seed: int = 0, progress: bool = True) -> None:
    """Train the model and save it with its tokenizer in `output`.

    The same seed and number of torch threads give the same weights, bit for bit, on one kind of machine.
    """
    output.mkdir(parents=True, exist_ok=True)  # now, not after twenty minutes of training
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = LambdaLR(optimizer, lambda step: _rate(step, steps))
    bar = trange(steps, desc="pretrain", unit="step", disable=not progress)
    fit(model, optimizer, schedule, _batches(tokenizer, seed), bar)
    model.eval().save_pretrained(output)
    tokenizer.save_pretrained(output)


def fit(model: Any, optimizer: Any, schedule: Any, data: Iterator[tuple[Tensor, Tensor]], bar: Any) -> None:
    """Take a step per turn of the bar, each on one batch of token ids and labels."""
    for _ in bar:
        ids, labels = next(data)
        # Padding stands on the right, where a causal model does not see it: no attention mask is needed.
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)


def _rate(step: int, steps: int) -> float:
    """The learning rate at a step, as a share of its peak: a linear warm-up, then a cosine down to 0.1."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.1 + 0.45 * (1 + cos(pi * (step - WARM_UP) / max(1, steps - WARM_UP)))


def _batches(tokenizer: PreTrainedTokenizerBase, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and labels, both `[BATCH, longest]`: the loss is on the solutions and their ends."""
    found = stories("train", seed, shortest=1)
    rng = Random(f"slips {seed}")
    while True:
        # Rows of like length go into one batch, so that little of it is padding.
        rows = [_row(tokenizer, story, rng) for story in islice(found, 8 * BATCH)]
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        for start in rng.sample(range(0, len(rows), BATCH), 8):
            yield _padded(rows[start : start + BATCH], tokenizer.pad_token_id)


def _padded(rows: list[tuple[list[int], list[int]]], pad: int) -> tuple[Tensor, Tensor]:
    longest = max(len(prompt) + len(solution) for prompt, solution in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), IGNORED)
    for i, (prompt, solution) in enumerate(rows):
        end = len(prompt) + len(solution)
        ids[i, :end] = torch.tensor(prompt + solution)
        labels[i, len(prompt) : end] = torch.tensor(solution)
    return ids, labels


def _row(tokenizer: PreTrainedTokenizerBase, story: Story, rng: Random) -> tuple[list[int], list[int]]:
    prompt, solution = story.prompt, story.solution(story.draw_slips(rng, SLIP_RATE))
    if rng.random() < INVENTED_RATE:
        prompt, solution = _with_invented_words(prompt, solution, rng)
    return tokenizer(prompt).input_ids, [*tokenizer("\n" + solution).input_ids, tokenizer.eos_token_id]


def _with_invented_words(prompt: str, solution: str, rng: Random) -> tuple[str, str]:
    """The same problem with other words, of random letters, for its names and things."""
    for word in dict.fromkeys(re.findall(r"[A-Za-z]+", prompt)):
        if word in NAMES_AND_THINGS:
            letters = "".join(rng.choices(ascii_lowercase, k=rng.randint(2, 7)))
            new = letters.capitalize() if word.istitle() else letters + "s"
            prompt, solution = (re.sub(rf"\b{word}\b", new, text) for text in (prompt, solution))
    return prompt, solution


def accuracy(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    *,
    split: str,
    n: int,
    seed: int,
    sample: bool,
) -> float:
    """The share of `n` problems of which the answer after the last `####` is right.

    Args:
        model: a PreTrainedModel that can generate.
        seed: of the problems and of the sampling.
        sample: at temperature 1, with nothing cut off; else greedily.
    """
    held_out = problems(split, n, seed)
    inputs = tokenizer([p["prompt"] for p in held_out], padding=True, padding_side="left", return_tensors="pt")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = model.generate(
            **inputs, do_sample=sample, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=LONGEST_SOLUTION
        )
    texts = tokenizer.batch_decode(made[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
    return sum(_answer(text) == p["answer"] for text, p in zip(texts, held_out)) / n


def _answer(text: str) -> str | None:
    return text.rsplit("####", 1)[1].strip() if "####" in text else None


@click.command()
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write.")
@click.option("--steps", type=click.IntRange(1), default=STEPS, show_default=True, help="Optimizer steps.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the weights and the problems.")
def main(output: Path, steps: int, seed: int) -> None:
    """Pretrain the pocket reasoner and measure it on held-out validation problems."""
    pretrain(output, steps=steps, seed=seed)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    for name, sample in (("greedy", False), ("sampled at temperature 1", True)):
        share = accuracy(model, tokenizer, split="validation", n=500, seed=seed, sample=sample)
        click.echo(f"{name}: {share:.1%} of 500 validation problems right")


if __name__ == "__main__":
    main()
