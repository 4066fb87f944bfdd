"""Many samples of one prompt, each with and without EM-INF from the same random numbers, and their statistics."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from em_hf.answers import agreement, extract_answer, grouped, same_answer
from em_hf.compare.stream import stream_generate
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.coupling import CoupledSampling
from em_hf.generation.mixin import enable_entropy_min
from em_hf.models import unwrap_model
from em_hf.sampling import NEUTRAL, SamplingConfig
from em_hf.stats import paired_interval, share_interval

SAMPLES_AT_ONCE = 16


@dataclass(frozen=True)
class Tally:
    """Statistics of the samples with or without EM-INF.

    Attributes:
        answers: the final answer of each sample, or None if it gave none.
        right: whether each answer is the known one; empty if none is known.
        accuracy, low, high: share of right answers and its 95% bootstrap interval; None if no answer is known.
        agreement: share of samples that give the most frequent answer.
        distinct: number of different answers.
    """

    texts: list[str]
    answers: list[str | None]
    right: list[bool]
    accuracy: float | None
    low: float | None
    high: float | None
    agreement: float
    distinct: int


@dataclass(frozen=True)
class Repeated:
    """Both tallies after `n` samples, and the gain in accuracy from EM-INF with its paired 95% interval."""

    n: int
    plain: Tally
    em: Tally
    gain: tuple[float, float, float] | None


def repeat(
    model: Any,
    tokenizer: Any,
    inputs: Any,
    config: EntropyMinConfig,
    *,
    n: int = 32,
    answer: str | None = None,
    seed: int = 0,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    pauses: bool = False,
) -> Generator[Repeated | None, None, None]:
    """Draw `n` samples of one prompt with plain decoding and `n` with EM-INF, the i-th of each from the same noise.

    Yields the results so far after every batch of 16 pairs; the last item has all of them. Sample 0 is the one that
    `decode_steps` draws with the same seed. Closing the generator stops the decoding.

    Args:
        inputs: the output of `encode_prompts` for one prompt, `[1, prompt tokens]`.
        answer: the known answer, if any.
        temperature: above 0, since greedy samples would all be the same.
        top_k, top_p: as in transformers; 0 and 1 turn them off.
        pauses: yield None after each token too, so that the generator can be closed between two.

    Raises:
        ValueError: `n` is below 1, or another setting is out of range.
    """
    if n < 1:
        raise ValueError(f"n is {n!r}, but must be at least 1")
    how = SamplingConfig(max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    if how.greedy:
        raise ValueError("temperature is 0, but must be above 0: greedy samples would all be the same")
    enable_entropy_min(model)
    texts: tuple[list[str], list[str]] = ([], [])
    for start in range(0, n, SAMPLES_AT_ONCE):
        groups = list(range(start, min(n, start + SAMPLES_AT_ONCE)))
        steps = stream_generate(
            model,
            lambda drawn: drawn.cpu(),
            **{k: v.repeat(2 * len(groups), 1).to(unwrap_model(model).device) for k, v in inputs.items()},
            **NEUTRAL,
            **how.draw(),
            max_new_tokens=max_new_tokens,
            tokenizer=tokenizer,
            entropy_min=[False] * len(groups) + [config] * len(groups),
            coupled=CoupledSampling(seed, groups=groups * 2),
        )
        tokens: list[Tensor] = []
        with closing(steps):
            for drawn in steps:
                tokens.append(drawn)
                if pauses:
                    yield None
        decoded = tokenizer.batch_decode(torch.stack(tokens, 1), skip_special_tokens=True)
        texts[0].extend(decoded[: len(groups)])
        texts[1].extend(decoded[len(groups) :])
        yield _repeated(texts[0][:], texts[1][:], answer)


def _repeated(plain: list[str], em: list[str], answer: str | None) -> Repeated:
    tallies = tally(plain, answer), tally(em, answer)
    gain = None
    if answer is not None:
        gain = paired_interval([float(x) for x in tallies[1].right], [float(x) for x in tallies[0].right])
    return Repeated(len(plain), *tallies, gain)


def tally(texts: list[str], answer: str | None = None) -> Tally:
    """Return the answers, accuracy, agreement and variety of samples of one prompt; see `Tally`."""
    answers = [extract_answer(text) for text in texts]
    shares = agreement(answers)
    right = [] if answer is None else [found is not None and same_answer(answer, found) for found in answers]
    accuracy = low = high = None
    if right:
        numbers = [float(value) for value in right]
        accuracy, (low, high) = sum(numbers) / len(numbers), share_interval(numbers)
    return Tally(texts, answers, right, accuracy, low, high, max(shares), len(grouped(answers)))
