"""The settings at which other strategies leave as much entropy as EM-INF, so that only how they choose differs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import MinPLogitsWarper

from em_hf.entropy import token_entropy
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.minimize import adaptive_temperature, minimize_entropy
from em_hf.lab.measure import LENGTH, rows_of
from em_hf.lab.plan import EM_INF, Matching
from em_hf.sampling import Batch, SamplingConfig, sample

HALVINGS = 14


def equal_entropy(model: Any, tokenizer: Any, job: Matching) -> dict[str, Any]:
    """Temperature, min-p and adaptive temperature's ratio at which their mean entropy (nats per token) is EM-INF's.

    On the model's own sampled answers to validation problems. Adaptive temperature has EM-INF's threshold.
    """
    logits = sampled_logits(model, tokenizer, [row["prompt"] for row in rows_of("validation", job.problems)])
    wanted = _mean(minimize_entropy(logits, EntropyMinConfig.from_dict(EM_INF)))
    threshold = EM_INF["threshold"]

    def adaptive(ratio: float) -> EntropyMinConfig:
        return EntropyMinConfig(method="adaptive_temperature", threshold=threshold, target_ratio=ratio)

    def with_min_p(p: float) -> Tensor:
        return MinPLogitsWarper(min_p=p)(None, logits)  # type: ignore[arg-type]  # it looks at no ids

    # Each falls as its number moves from the first end to the second.
    temperature, t_nats = bisect(lambda t: _mean(logits / t), wanted, 1.0, 0.02)
    min_p, p_nats = bisect(lambda p: _mean(with_min_p(p)), wanted, 0.0, 0.999)
    ratio, a_nats = bisect(lambda r: _mean(adaptive_temperature(logits, adaptive(r))), wanted, 1.0, 0.01)
    return {
        "nats": {
            "sampling": _mean(logits),
            "em-inf": wanted,
            "fixed-temperature": t_nats,
            "min-p": p_nats,
            "adaptive-temperature": a_nats,
        },
        "settings": {
            "temperature": temperature,
            "min_p": min_p,
            "adaptive": {"threshold": threshold, "target_ratio": ratio},
        },
    }


def bisect(entropy: Callable[[float], float], wanted: float, high: float, low: float) -> tuple[float, float]:
    """The number between `high` and `low`, towards which the entropy falls, at which it is `wanted`; and what it is."""
    for _ in range(HALVINGS):
        middle = (high + low) / 2
        if entropy(middle) > wanted:
            high = middle
        else:
            low = middle
    return (high + low) / 2, entropy((high + low) / 2)


def sampled_logits(model: Any, tokenizer: Any, prompts: list[str]) -> Tensor:
    """Return the model's logits `[tokens, V]` at every token of one sampled answer per prompt."""
    kept: list[Tensor] = []

    def keep(batch: Batch) -> None:
        assert batch.logits is not None
        kept.append(batch.logits[batch.mask])

    config = SamplingConfig(max_new_tokens=LENGTH, batch_size=len(prompts), sort_by_length=False)
    sample(model, tokenizer, prompts, config, keep_logits=True, on_batch=keep)
    return torch.cat(kept)


def _mean(logits: Tensor) -> float:
    return float(token_entropy(logits).mean())
