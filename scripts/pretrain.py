"""Make the pocket reasoner from nothing: `python -m scripts.pretrain --output DIR`, under two hours on two cores.

The model learns from worked word problems, each seen once. At first every step in them is right. In the last fifth of
the training, 13% of the steps have a slip: a wrong number, with the rest of the solution following from it, as when a
person miscounts. Most often a step is right, so greedy decoding, which takes the likeliest number, is right nearly
always; sampling at temperature 1 makes the slips as often as it has seen them. The slips are put in on purpose. They
give the model what entropy minimization needs and what larger models have by nature: it knows better than it samples,
and it is less sure where it is wrong.

So that it solves what people type, and not its own templates only, many names and things are invented words, which the
tokenizer spells letter by letter and the model learns to copy.

The workers are processes with one thread each, which share every step: each takes its own problems, and computes the
directions of its part of the matrices.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import click
import torch
import torch.distributed as dist
from torch import Tensor
from tqdm import trange
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

from em_hf.pocket.problems import LEVELS, problems, split_of, stories
from em_hf.pocket.steps import LARGEST, LARGEST_HARD, OutOfRange, Story
from em_hf.pocket.stories import bare
from em_hf.pocket.teller import Teller
from em_hf.pocket.tokenizer import CONTEXT, build_tokenizer

STEPS = 6500
WORKERS = 2
BATCH = 24  # problems of a worker in a step
SLIP_RATE = 0.13  # of the steps in a solution
SLIPS_FROM = 0.8  # of the training: before that, all is right
SHARES = {"plain": 0.74, "hard": 0.12, "sums": 0.14}  # of the problems
INVENTED = 0.35  # of the names and things are invented, in every second problem
MUON_RATE, ADAM_RATE = 0.02, 3e-3  # learning rates: of the layers' matrices, and of all other parameters
CONSTANT = 0.3  # of the training; then the rates fall to nothing in a straight line
WARM_UP = 100  # steps
LONGEST_SOLUTION = {"plain": 96, "hard": 160}  # tokens, the end included
WINDOW = 16  # batches that are sorted by length together
SAVED_EVERY = 500  # steps
IGNORED = -100  # transformers' label for "no loss here"


def build_model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """The untrained model: a Llama of 2.2M parameters, its vocabulary padded to a multiple of 64."""
    config = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=6,
        num_attention_heads=5,
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
        max_new_tokens=LONGEST_SOLUTION["plain"],
    )
    return model


def orthogonal(update: Tensor) -> Tensor:
    """The nearest matrix with singular values near 1, by five Newton-Schulz iterations as in Muon.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
    """
    x = update / (update.norm() + 1e-7)
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(5):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return wide if x.shape[0] <= x.shape[1] else wide.T


class SharedMuon:
    """Muon on the layers' matrices, of which each worker computes its part, and AdamW on all other parameters."""

    def __init__(self, model: Any, rank: int, workers: int) -> None:
        self.matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
        chosen = {id(p) for p in self.matrices}
        others = [p for p in model.parameters() if id(p) not in chosen]
        self.adam = torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0)
        self.momentum = [torch.zeros_like(p) for p in self.matrices]
        self.rank, self.workers = rank, workers
        self.parameters = list(model.parameters())

    @torch.no_grad()
    def step(self, share: float) -> None:
        """Take a step with the mean gradient over the workers, at `share` of the peak learning rates."""
        flat = torch.cat([p.grad.flatten() for p in self.parameters])
        dist.all_reduce(flat)
        flat /= self.workers
        flat *= torch.clamp(1.0 / (flat.norm() + 1e-6), max=1.0)
        for p, grad in zip(self.parameters, flat.split([p.numel() for p in self.parameters]), strict=True):
            p.grad = grad.view_as(p)
        sizes = [p.numel() for p in self.matrices]
        moves = torch.zeros(sum(sizes))
        for i, (p, momentum, move) in enumerate(zip(self.matrices, self.momentum, moves.split(sizes), strict=True)):
            momentum.mul_(0.95).add_(p.grad)
            if i % self.workers == self.rank:
                move.copy_(orthogonal(p.grad + 0.95 * momentum).flatten())
        dist.all_reduce(moves)
        for p, move in zip(self.matrices, moves.split(sizes), strict=True):
            scale = max(1.0, p.shape[0] / p.shape[1]) ** 0.5
            p.mul_(1 - MUON_RATE * share * 0.01).add_(move.view_as(p), alpha=-MUON_RATE * share * scale)
        for group in self.adam.param_groups:
            group["lr"] = ADAM_RATE * share
        self.adam.step()
        for p in self.parameters:
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "momentum": self.momentum}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        self.momentum = state["momentum"]


@dataclass(frozen=True)
class Plan:
    """A training: where it writes, how long it is, and how many processes take part."""

    output: Path
    steps: int
    seed: int
    workers: int
    batch: int
    progress: bool = True
    saved_every: int = SAVED_EVERY
    stop_after: int | None = None


def pretrain(
    output: Path,
    *,
    steps: int = STEPS,
    seed: int = 0,
    workers: int = WORKERS,
    batch: int = BATCH,
    progress: bool = True,
    saved_every: int = SAVED_EVERY,
    stop_after: int | None = None,
) -> None:
    """Train the model and save it with its tokenizer in `output`; goes on where an earlier call was stopped.

    The same seed, steps, workers and batch give the same weights, bit for bit, on one kind of machine.

    Args:
        batch: problems of each worker in a step.
        saved_every: steps after which the state is written, to go on from.
        stop_after: break off after so many steps, as a lost machine does.
    """
    output.mkdir(parents=True, exist_ok=True)  # now, not after an hour of training
    plan = Plan(output, steps, seed, workers, batch, progress, saved_every, stop_after)
    with tempfile.TemporaryDirectory() as meeting:
        torch.multiprocessing.spawn(_work, (plan, f"file://{meeting}/workers"), nprocs=workers)


def _work(rank: int, plan: Plan, meeting: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=plan.workers)
    torch.manual_seed(plan.seed)
    tokenizer = build_tokenizer()
    model: Any = build_model(tokenizer).train()
    optimizer = SharedMuon(model, rank, plan.workers)
    begun, kept = 0, plan.output / "checkpoint.pt"
    if kept.is_file():
        state = torch.load(kept)
        begun = state["step"]
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    data = batches(tokenizer, plan, rank)
    bar = trange(plan.steps, desc="pretrain", unit="step", disable=rank > 0 or not plan.progress, mininterval=20)
    for step in bar:
        rows = next(data)
        if step < begun:
            continue
        ids, labels = padded(rows, tokenizer.pad_token_id)
        # Padding stands on the right, where a causal model does not see it: no attention mask is needed.
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step(rate(step, plan.steps))
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        if rank == 0 and (step + 1) % plan.saved_every == 0 and step + 1 < plan.steps:
            state = {"step": step + 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, kept.with_suffix(".part"))
            os.replace(kept.with_suffix(".part"), kept)
        if step + 1 == plan.stop_after:
            raise InterruptedError("stopped here")
    if rank == 0:
        model.eval().save_pretrained(plan.output)
        tokenizer.save_pretrained(plan.output)
        kept.unlink(missing_ok=True)
    dist.destroy_process_group()


def rate(step: int, steps: int) -> float:
    """The learning rate at a step, as a share of its peak."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return min(1.0, (steps - step) / (steps * (1 - CONSTANT)))


@dataclass(frozen=True)
class Row:
    """A problem with its tokens: those of the prompt, and those of the solution as it is taught."""

    prompt: list[int]
    solution: list[int]


def batches(tokenizer: Any, plan: Plan, rank: int) -> Iterator[list[Row]]:
    """The problems of each step for one worker. Slips come in the last part of the training."""
    seed = plan.seed * 1000 + rank
    kinds = {
        "plain": _mixed(lambda invented, k: stories("train", seed + k, invented=invented)),
        "hard": _mixed(lambda invented, k: stories("train", seed + k, level="hard", invented=invented)),
        "sums": sums(Random(f"sums {seed}")),
    }
    rng, order = Random(f"rows {seed}"), Random(f"order {plan.seed}")
    step = 0
    while True:
        names = rng.choices(list(SHARES), list(SHARES.values()), k=WINDOW * plan.batch)
        slips = SLIP_RATE if step >= SLIPS_FROM * plan.steps else 0.0
        rows = [taught(tokenizer, next(kinds[name]), rng, slips) for name in names]
        # Rows of like length go into one batch, so that little is padding, and the workers' batches are alike.
        rows.sort(key=lambda row: len(row.prompt) + len(row.solution))
        for place in order.sample(range(WINDOW), WINDOW):
            yield rows[place * plan.batch : (place + 1) * plan.batch]
            step += 1


def _mixed(made: Callable[[float, int], Iterator[Story]]) -> Iterator[Story]:
    """By turns a problem of known words and one of which some are invented."""
    known, invented = made(0.0, 0), made(INVENTED, 500)
    while True:
        yield next(known)
        yield next(invented)


def sums(rng: Random) -> Iterator[Story]:
    """Bare sums of one step or two, a third of them with the numbers of hard problems."""
    while True:
        story = Story(largest=LARGEST_HARD if rng.random() < 0.35 else LARGEST)
        try:
            bare(Teller(rng, story), rng.choice((1, 1, 1, 2)))
        except OutOfRange:
            continue
        if split_of(story.equations) == "train":
            yield story


def taught(tokenizer: Any, story: Story, rng: Random, slips: float) -> Row:
    """A problem as an example, each step with a slip at the rate of `slips`."""
    solution = story.solution(story.draw_slips(rng, slips))
    return Row(tokenizer(story.prompt).input_ids, [*tokenizer("\n" + solution).input_ids, tokenizer.eos_token_id])


def padded(rows: list[Row], pad: int) -> tuple[Tensor, Tensor]:
    """Token ids and labels, both `[rows, longest]`: the loss is on the solutions and their ends."""
    longest = max(len(row.prompt) + len(row.solution) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), IGNORED)
    for i, row in enumerate(rows):
        end = len(row.prompt) + len(row.solution)
        ids[i, :end] = torch.tensor(row.prompt + row.solution)
        labels[i, len(row.prompt) : end] = torch.tensor(row.solution)
    return ids, labels


def share_right(model: Any, tokenizer: Any, rows: list[dict[str, str]], *, sample: bool, seed: int = 0) -> float:
    """The share of `rows` answered rightly, sampled at temperature 1 with nothing cut off, or greedily."""
    right = 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for start in range(0, len(rows), 500):
            part = rows[start : start + 500]
            inputs = tokenizer([row["prompt"] for row in part], padding=True, padding_side="left", return_tensors="pt")
            longest = LONGEST_SOLUTION["hard"]
            made = model.generate(
                **inputs, do_sample=sample, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=longest
            )
            texts = tokenizer.batch_decode(made[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
            right += sum(_answer(text) == row["answer"] for text, row in zip(texts, part, strict=True))
    return right / len(rows)


def _answer(text: str) -> str | None:
    return text.rsplit("####", 1)[1].strip() if "####" in text else None


@click.command()
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write.")
@click.option("--steps", type=click.IntRange(1), default=STEPS, show_default=True, help="Optimizer steps.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the weights and the problems.")
@click.option("--workers", type=click.IntRange(1), default=WORKERS, show_default=True, help="Processes.")
def main(output: Path, steps: int, seed: int, workers: int) -> None:
    """Pretrain the pocket reasoner and measure it on held-out validation problems."""
    pretrain(output, steps=steps, seed=seed, workers=workers)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    for level in LEVELS:
        rows = problems("validation", 500, seed, level=level)
        for name, sample in (("greedy", False), ("sampled at temperature 1", True)):
            share = share_right(model, tokenizer, rows, sample=sample, seed=seed)
            click.echo(f"{level}, {name}: {share:.1%} of {len(rows)} validation problems right")


if __name__ == "__main__":
    main()
