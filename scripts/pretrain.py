"""Make the next pocket reasoner from nothing: `python -m scripts.pretrain --output DIR`.

The model learns from worked word problems. In the second half of the training 15% of the steps have a slip: a wrong
number, with the rest of the solution following from it, as when a person miscounts. Most often a step is right, so
greedy decoding, which takes the likeliest number, is right nearly always; sampling at temperature 1 makes the slips as
often as it has seen them. The slips are put in on purpose. They give the model what entropy minimization needs and what
larger models have by nature: it knows better than it samples, and it is less sure where it is wrong.

Sums without a story teach the arithmetic, since they are short. In a third of the stories names and things are invented
words, so that the model learns to copy what it has never seen.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from em_hf.pocket.problems import Level, drawn, problems
from em_hf.pocket.steps import Story
from em_hf.pocket.sums import bare
from em_hf.pocket.tokenizer import CONTEXT, build_tokenizer
from scripts.muon import Muon

STEPS = 9000
WORKERS = 2  # processes of one thread each, which average their gradients after every step
TOKENS = 1280  # in a step of each worker, padding included
DECAY = 0.5  # of the steps: the learning rate falls to nothing in a straight line, and slips are made
SLIP_RATE = 0.15  # of the steps in a solution
LEARNING_RATE, ADAM_LEARNING_RATE = 0.02, 4e-3  # of Muon, for the matrices inside the layers; of AdamW, for the others
WARM_UP = 50  # steps
LONGEST_SOLUTION = 160  # tokens, the end included
POOL = 1024  # problems that are sorted by length and cut into batches
INVENTED = 0.3
# What is learned from, and how much of it: sums without a story, plain problems, hard ones.
MIXTURE = (
    (Level((1,), 200, 0.0), 0.22),
    (Level((1, 2), 500, 0.0), 0.06),
    (Level((1, 1, 2, 2, 3), 200, INVENTED), 0.67),
    (Level((4, 5, 6), 500, INVENTED), 0.05),
)
CHECKPOINT = 100  # steps from one to the next
IGNORED = -100  # transformers' label for "no loss here"


def build_model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """Return the untrained model, a Llama of 1.0 million parameters."""
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


def pretrain(
    output: Path,
    *,
    steps: int = STEPS,
    seed: int = 0,
    workers: int = WORKERS,
    progress: bool = True,
    on_step: Callable[[int, PreTrainedModel, PreTrainedTokenizerBase], None] | None = None,
) -> None:
    """Train the model and save it with its tokenizer in `output`.

    The same seed and number of workers give the same weights, bit for bit, on one kind of machine. A training that was
    stopped goes on from its last checkpoint in `output`, to the same weights as if it had not been.

    Args:
        on_step: called after every step with its number, the model and the tokenizer; picklable where there are several
            workers.
    """
    output.mkdir(parents=True, exist_ok=True)  # now, not after an hour of training
    if not (output / "tokenizer.json").is_file():
        build_tokenizer().save_pretrained(output)
    if workers == 1:
        _work(0, 1, None, output, steps, seed, progress, on_step)
        return
    with TemporaryDirectory() as folder:
        meeting = f"file://{folder}/workers"
        torch.multiprocessing.spawn(_work, (workers, meeting, output, steps, seed, progress, on_step), workers)


def _work(
    rank: int,
    workers: int,
    meeting: str | None,
    output: Path,
    steps: int,
    seed: int,
    progress: bool,
    on_step: Callable | None,
) -> None:
    """One worker's part: every worker holds the same weights and its own data; the first one saves."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    if meeting:
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=workers)
    tokenizer = AutoTokenizer.from_pretrained(output)
    model = build_model(tokenizer).train()
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "layers" not in name]
    optimizers = (
        Muon(matrices, lr=LEARNING_RATE),
        torch.optim.AdamW(others, lr=ADAM_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    )
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    data = Batches(tokenizer, seed, rank)
    step = _resumed(output, rank, workers, model, optimizers, data)
    bar = tqdm(desc="pretrain", unit="step", initial=step, total=steps, disable=not progress or rank > 0)
    while (rate := learning_rate(step, steps)) > 0:
        ids, labels = data.next(slips=step > steps_before_decay(steps))
        loss = solution_loss(model, ids, labels)
        loss.backward()
        if workers > 1:
            _average_gradients(model, workers)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        bar.update()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        if step % CHECKPOINT == 0:
            _keep(output, rank, step, model, optimizers, data)
        if on_step and rank == 0:
            on_step(step, model, tokenizer)
    if rank == 0:
        model.eval().save_pretrained(output)
        for path in output.glob("checkpoint-*"):
            path.unlink(missing_ok=True)
    if meeting:
        torch.distributed.destroy_process_group()


def _keep(output: Path, rank: int, step: int, model: nn.Module, optimizers: Sequence[Any], data: "Batches") -> None:
    """Write what a worker needs to go on. The checkpoint before stays until the next, in case not all have written."""
    state = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "data": data.place,
    }
    path = output / f"checkpoint-{step}-{rank}.pt"
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)
    (output / f"checkpoint-{step - 2 * CHECKPOINT}-{rank}.pt").unlink(missing_ok=True)


def _resumed(
    output: Path, rank: int, workers: int, model: nn.Module, optimizers: Sequence[Any], data: "Batches"
) -> int:
    """Load the last checkpoint that every worker has written, and return its step; 0 where there is none."""
    written = [path.stem.split("-")[1:] for path in output.glob("checkpoint-*.pt")]
    counts = Counter(int(step) for step, _ in written)
    step = max((step for step, count in counts.items() if count == workers), default=0)
    if step:
        state = torch.load(output / f"checkpoint-{step}-{rank}.pt", weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        data.go_to(*state["data"])
    return step


def _average_gradients(model: PreTrainedModel, workers: int) -> None:
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, flat.div_(workers).split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def steps_before_decay(steps: int) -> int:
    return round(steps * (1 - DECAY))


def learning_rate(step: int, steps: int) -> float:
    """Return the learning rate of a step, counted from 0, as a share of its peak; 0 when the training is over."""
    return max(0.0, min(1.0, (step + 1) / WARM_UP, (steps - step) / (steps - steps_before_decay(steps))))


def solution_loss(model: PreTrainedModel, ids: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of the labelled tokens; the vocabulary is looked at for these only.

    Padding stands on the right, where a causal model does not see it: no attention mask is needed.
    """
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels[:, 1:]
    here = wanted != IGNORED
    return nn.functional.cross_entropy(model.lm_head(hidden[here]), wanted[here])


class Batches:
    """The training data, drawn pool by pool: rows of like length go into one batch, so that little of it is padding."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, seed: int, worker: int = 0) -> None:
        self.tokenizer = tokenizer
        self.name = f"pretrain {seed} {worker}"
        self.place = (-1, False, 0)  # the number of the pool, whether it has slips, and how many batches are left of it
        self.waiting: list[list[tuple[list[int], list[int]]]] = []

    def next(self, *, slips: bool) -> tuple[Tensor, Tensor]:
        """Return token ids and labels, both `[rows, longest]`: the loss is on the solutions and their ends."""
        if not self.waiting:
            self._fill(self.place[0] + 1, slips)
        batch = self.waiting.pop()
        self.place = (*self.place[:2], len(self.waiting))
        return padded(batch, self.tokenizer.pad_token_id)

    def go_to(self, pool: int, slips: bool, left: int) -> None:
        """Go on from a `place`."""
        self._fill(pool, slips)
        del self.waiting[left:]
        self.place = (pool, slips, left)

    def _fill(self, pool: int, slips: bool) -> None:
        rng = Random(f"{self.name} {pool}")
        sources = [_sums(rng, level) if level.new == 0 else drawn("train", rng, level) for level, _ in MIXTURE]
        chosen = rng.choices(sources, [share for _, share in MIXTURE], k=POOL)
        rows = [row(self.tokenizer, next(source), rng, SLIP_RATE if slips else 0.0) for source in chosen]
        self.waiting = list(_cut(sorted(rows, key=lambda row: len(row[0]) + len(row[1]))))
        rng.shuffle(self.waiting)
        self.place = (pool, slips, len(self.waiting))


def _sums(rng: Random, level: Level) -> Iterator[Story]:
    """Sums without a story; those of the other splits are left out."""
    yield from drawn("train", rng, level, kinds=((bare, 1.0),), again=True)


def _cut(rows: list[tuple[list[int], list[int]]]) -> Iterator[list[tuple[list[int], list[int]]]]:
    batch: list[tuple[list[int], list[int]]] = []
    for one in rows:
        if batch and (len(one[0]) + len(one[1])) * (len(batch) + 1) > TOKENS:
            yield batch
            batch = []
        batch.append(one)
    yield batch


def padded(rows: list[tuple[list[int], list[int]]], pad: int) -> tuple[Tensor, Tensor]:
    longest = max(len(prompt) + len(solution) for prompt, solution in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), IGNORED)
    for i, (prompt, solution) in enumerate(rows):
        end = len(prompt) + len(solution)
        ids[i, :end] = torch.tensor(prompt + solution)
        labels[i, len(prompt) : end] = torch.tensor(solution)
    return ids, labels


def row(tokenizer: PreTrainedTokenizerBase, story: Story, rng: Random, slip_rate: float) -> tuple[list[int], list[int]]:
    """Return the tokens of a problem and of its solution with the line break before and the end after it."""
    solution = story.solution(story.draw_slips(rng, slip_rate))
    return tokenizer(typed(story.prompt, rng)).input_ids, [
        *tokenizer("\n" + solution).input_ids,
        tokenizer.eos_token_id,
    ]


def typed(prompt: str, rng: Random) -> str:
    """Return the prompt as some people type it: now and then all in small letters, or without its last sign."""
    if rng.random() < 0.04:
        prompt = prompt.lower()
    return prompt.rstrip("?.= ") if rng.random() < 0.04 else prompt


def answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], *, sample: bool, seed: int = 0
) -> list[str | None]:
    """Return what stands after the last `####` of one completion per prompt; None where nothing does.

    Args:
        sample: at temperature 1, with nothing cut off; else greedily.
    """
    found: list[str | None] = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for start in range(0, len(prompts), 250):
            inputs = tokenizer(prompts[start : start + 250], padding=True, padding_side="left", return_tensors="pt")
            made = model.generate(
                **inputs, do_sample=sample, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=LONGEST_SOLUTION
            )
            texts = tokenizer.batch_decode(made[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
            found += [text.rsplit("####", 1)[1].strip() if "####" in text else None for text in texts]
    return found


def accuracy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    split: str,
    n: int,
    seed: int,
    sample: bool,
    level: str = "plain",
) -> float:
    """Return the share of `n` problems of which the answer after the last `####` is right.

    Args:
        seed: of the problems and of the sampling.
        sample: at temperature 1, with nothing cut off; else greedily.
    """
    rows = problems(split, n, seed, level=level)
    given = answers(model, tokenizer, [row["prompt"] for row in rows], sample=sample, seed=seed)
    return sum(answer == row["answer"] for answer, row in zip(given, rows, strict=True)) / n


@click.command()
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write.")
@click.option("--steps", type=click.IntRange(1), default=STEPS, show_default=True, help="Optimizer steps.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the weights and the problems.")
def main(output: Path, steps: int, seed: int) -> None:
    """Pretrain the pocket reasoner and measure it on held-out validation problems."""
    pretrain(output, steps=steps, seed=seed)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    for level in ("plain", "hard"):
        for name, sample in (("greedy", False), ("sampled at temperature 1", True)):
            share = accuracy(model, tokenizer, split="validation", n=500, seed=seed, sample=sample, level=level)
            click.echo(f"{level}, {name}: {share:.1%} of 500 validation problems right")


if __name__ == "__main__":
    main()
