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
from em_hf.models import encode_prompts

HALVINGS = 14


def equal_entropy(model: Any, tokenizer: Any, job: Matching) -> dict[str, Any]:
    """Temperature, min-p and adaptive temperature's ratio at which their mean entropy (nats a token) is EM-INF's.

    On the model's own sampled answers to validation problems. Adaptive temperature has EM-INF's threshold.
    """
    logits = sampled_logits(model, tokenizer, [row["prompt"] for row in rows_of("validation", job.problems)])
    wanted = _mean(minimize_entropy(logits, EntropyMinConfig.from_dict(EM_INF)))
    threshold = EM_INF["threshold"]

    def adaptive(ratio: float) -> EntropyMinConfig:
        return EntropyMinConfig(method="adaptive_temperature", threshold=threshold, target_ratio=ratio)

    def with_min_p(p: float) -> Tensor:
        return MinPLogitsWarper(min_p=p)(None, logits)

    # Each falls as its number moves from the first end to the second.
    temperature, t_nats = where(lambda t: _mean(logits / t), wanted, 1.0, 0.02)
    min_p, p_nats = where(lambda p: _mean(with_min_p(p)), wanted, 0.0, 0.999)
    ratio, a_nats = where(lambda r: _mean(adaptive_temperature(logits, adaptive(r))), wanted, 1.0, 0.01)
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


def where(entropy: Callable[[float], float], wanted: float, high: float, low: float) -> tuple[float, float]:
    """The number between `high` and `low`, towards which the entropy falls, at which it is `wanted`; and what it is."""
    for _ in range(HALVINGS):
        middle = (high + low) / 2
        if entropy(middle) > wanted:
            high = middle
        else:
            low = middle
    return (high + low) / 2, entropy((high + low) / 2)


def sampled_logits(model: Any, tokenizer: Any, prompts: list[str]) -> Tensor:
    """The model's logits `[tokens, V]` at every token of one sampled answer to each prompt."""
    batch = encode_prompts(tokenizer, prompts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        out = model.generate(
            **batch,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=LENGTH,
            return_dict_in_generate=True,
            output_logits=True,
        )
    drawn = out.sequences[:, batch["input_ids"].shape[1] :]
    ended = (drawn == tokenizer.eos_token_id).int().cumsum(1) - (drawn == tokenizer.eos_token_id).int() > 0
    return torch.stack(out.logits, 1).float()[~ended]


def _mean(logits: Tensor) -> float:
    return float(token_entropy(logits).mean())
