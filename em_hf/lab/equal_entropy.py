"""The settings at which other strategies leave as much entropy as EM-INF, so that only how they choose differs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import MinPLogitsWarper, TopPLogitsWarper

from em_hf.entropy import token_entropy
from em_hf.evaluation.model import TopNSigmaLogitsWarper
from em_hf.evaluation.strategies import make_strategy
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.minimize import adaptive_temperature, minimize_entropy
from em_hf.generation.mixin import settings_of_model
from em_hf.lab.measure import ANSWERS_AT_ONCE, rows_of
from em_hf.lab.plan import AT_EQUAL_ENTROPY, Matching
from em_hf.sampling import Batch, SamplingConfig, sample

HALVINGS = 14


def equal_entropy(
    model: Any, tokenizer: Any, job: Matching, max_new_tokens: int, names: Sequence[str] = AT_EQUAL_ENTROPY
) -> dict[str, Any]:
    """Return `strategies`, by name, whose mean entropy is that of EM-INF as stored, and `nats`: what each leaves.

    The entropy, in nats per token, is that of the distributions drawn from, along the model's own sampled answers to
    validation problems. Adaptive temperature has EM-INF's threshold.
    """
    prompts = [row["prompt"] for row in rows_of(job.data, job.problems, "validation")]
    logits = sampled_logits(model, tokenizer, prompts, max_new_tokens)
    em_inf = settings_of_model(model)
    wanted = _mean(minimize_entropy(logits, em_inf))

    def adaptive(ratio: float) -> EntropyMinConfig:
        return EntropyMinConfig(method="adaptive_temperature", threshold=em_inf.threshold, target_ratio=ratio)

    def warped(warper: Any) -> Tensor:
        return warper(None, logits)  # it looks at no ids

    # Each leaves less entropy as its number moves from the first end to the second.
    ways: dict[str, tuple[str, Callable[[float], Tensor], float, float]] = {
        "temperature": ("temperature", lambda t: logits / t, 1.0, 0.02),
        "top-p": ("top_p", lambda p: warped(TopPLogitsWarper(top_p=p)), 1.0, 0.01),
        "min-p": ("min_p", lambda p: warped(MinPLogitsWarper(min_p=p)), 0.0, 0.999),
        "top-n-sigma": ("top_n_sigma", lambda n: warped(TopNSigmaLogitsWarper(n)), 30.0, 0.01),
        "adaptive-temperature": ("", lambda r: adaptive_temperature(logits, adaptive(r)), 1.0, 0.01),
    }
    nats, strategies = {"sampling": _mean(logits), "em-inf": wanted}, {}
    for name in names:
        setting, apply, high, low = ways[name]
        number, nats[name] = bisect(lambda x, apply=apply: _mean(apply(x)), wanted, high, low)  # type: ignore[misc]
        change = {setting: number} if setting else {"entropy_min": adaptive(number)}
        strategies[name] = replace(make_strategy(name), **change).to_dict()  # type: ignore[arg-type]
    return {"nats": nats, "strategies": strategies}


def bisect(entropy: Callable[[float], float], wanted: float, high: float, low: float) -> tuple[float, float]:
    """Return the number between `high` and `low`, towards which the entropy falls, where it is `wanted`, and it."""
    for _ in range(HALVINGS):
        middle = (high + low) / 2
        if entropy(middle) > wanted:
            high = middle
        else:
            low = middle
    return (high + low) / 2, entropy((high + low) / 2)


def sampled_logits(model: Any, tokenizer: Any, prompts: list[str], max_new_tokens: int) -> Tensor:
    """Return the model's logits `[tokens, V]` at every token of one sampled answer per prompt."""
    kept: list[Tensor] = []

    def keep(batch: Batch) -> None:
        assert batch.logits is not None
        kept.append(batch.logits[batch.mask])

    config = SamplingConfig(max_new_tokens=max_new_tokens, batch_size=ANSWERS_AT_ONCE, sort_by_length=False)
    sample(model, tokenizer, prompts, config, keep_logits=True, on_batch=keep)
    return torch.cat(kept)


def _mean(logits: Tensor) -> float:
    return float(token_entropy(logits).mean())
