"""How cost grows: in vocabulary, batch and length, as exponents of a power law."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.bench.lines import Scale
from benchmarks.common import interleaved, quartiles
from benchmarks.em_inf_step import DEFAULTS, oracle
from benchmarks.rows import QUESTIONS, decoded_rows, smollm2, stretched
from em_hf import linear_entropy, minimize_entropy
from em_hf.models import encode_prompts

HIDDEN = 576


@dataclass(frozen=True)
class Curve:
    """Median seconds of an operation at several sizes, with the exponent of the fitted power law.

    Args:
        what: the operation timed.
        over: which size is varied.
        sizes, seconds: pairs.
        exponent: slope of the straight line through log seconds over log sizes, least squares.
    """

    what: str
    over: str
    sizes: list[int]
    seconds: list[float]
    exponent: float


def fitted(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the slope of log seconds over log sizes, by least squares.

    Raises:
        ValueError: fewer than two different sizes, or a value that has no logarithm.
    """
    if len(set(sizes)) < 2 or min(*sizes, *seconds) <= 0:
        raise ValueError(f"an exponent needs two different sizes and positive times, not {sizes} and {seconds}")
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in seconds]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / sum((a - mean_x) ** 2 for a in x)


def curve(what: str, over: str, sizes: Sequence[int], call: Callable[[int], Callable[[], Any]], repeats: int) -> Curve:
    """Time `call(size)()` for all sizes in turn, `repeats` times."""
    calls = {str(size): call(size) for size in sizes}
    times = interleaved({name: (lambda _, c=c: c()) for name, c in calls.items()}, range(repeats))
    seconds = [quartiles(times[str(size)].wall)["median"] for size in sizes]
    return Curve(what, over, list(sizes), seconds, fitted(sizes, seconds))


def curves(scale: Scale) -> list[Curve]:
    """Measure an EM-INF step over vocabulary and batch, a decoding step over batch and length, and the EM-FT loss over
    tokens and vocabulary."""
    torch.manual_seed(0)
    model, tokenizer = smollm2()
    rows = decoded_rows(model, tokenizer, chat=True, steps=min(4, scale.tokens))[:8]
    wide = {size: stretched(rows, size) for size in scale.vocabularies}
    many = (1, 2, 4, 8, 16, 32) if scale.name != "smallest" else (1, 2)
    repeats = max(2, scale.repeats // 2)
    batches = {size: rows[torch.randint(len(rows), (size,))] for size in many}
    found = [
        curve("EM-INF step, batch 8", "vocabulary", scale.vocabularies, lambda v: lambda: _ours(wide[v]), repeats),
        curve("naive oracle, batch 8", "vocabulary", scale.vocabularies, lambda v: lambda: _naive(wide[v]), repeats),
        curve("EM-INF step", "batch", many, lambda b: lambda: _ours(batches[b]), repeats),
        curve("decoding step, SmolLM2", "batch", many, lambda b: _decoding(model, tokenizer, b, 32), repeats),
        curve("decoding step, batch 1", "length", scale.lengths, lambda n: _decoding(model, tokenizer, 1, n), repeats),
    ]
    tokens = tuple(scale.loss_tokens // part for part in (8, 4, 2, 1))
    few = max(2, scale.runs - 2)
    found.append(curve("EM-FT loss", "tokens", tokens, lambda n: _loss(n, 16_384), few))
    heads = scale.vocabularies[:3]
    found.append(curve("EM-FT loss", "vocabulary", heads, lambda v: _loss(max(64, scale.loss_tokens // 8), v), few))
    return found


def _ours(rows: torch.Tensor) -> torch.Tensor:
    return minimize_entropy(rows, DEFAULTS)


def _naive(rows: torch.Tensor) -> torch.Tensor:
    return oracle(rows, DEFAULTS)


def _decoding(model: Any, tokenizer: Any, batch: int, length: int) -> Callable[[], Any]:
    """Return one forward pass for the next token of `batch` rows after `length` tokens."""
    ids = encode_prompts(tokenizer, [" ".join(QUESTIONS * (1 + length // 200))])["input_ids"][:, :length].repeat(
        batch, 1
    )
    with torch.no_grad():
        cache = model(ids, use_cache=True, logits_to_keep=1).past_key_values

    def step() -> None:
        with torch.no_grad():
            model(ids[:, -1:], past_key_values=cache, use_cache=True)
        cache.crop(-1)

    return step


def _loss(tokens: int, vocabulary: int) -> Callable[[], Any]:
    """Return a call that computes the EM-FT loss and its gradients from random hidden states."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, HIDDEN, generator=generator).requires_grad_()
    weight = torch.randn(vocabulary, HIDDEN, generator=generator).mul_(0.1).requires_grad_()
    ones = torch.ones(tokens)

    def step() -> None:
        linear_entropy(hidden, weight, token_weight=ones).backward()
        hidden.grad = weight.grad = None

    return step
