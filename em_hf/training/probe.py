"""Measurements of a model's samples on a few fixed prompts while it trains: confidence, length, accuracy."""

from collections.abc import Sequence
from typing import Any

import torch

from em_hf.generation.config import EntropyMinConfig
from em_hf.models import Prompt, unwrap_model
from em_hf.runs import Reading
from em_hf.sampling import Batch, SamplingConfig, sample
from em_hf.training.losses import distributions, summed_kl
from em_hf.training.measure import share_right

NGRAM = 4


def probe_model(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    answers: Sequence[str] | None,
    *,
    step: int,
    entropy_min: EntropyMinConfig | None,
    samples: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    chat_template: bool,
) -> Reading:
    """Sample each prompt (top_k 0, top_p 1) and measure; see `em_hf.sampling.sample` for what is left as it is.

    The same seed at every step: readings then differ by what the model learned and less by chance.
    """
    # With an adapter the model before training is available; otherwise the KL is the one the trainer logs, if any.
    adapted = entropy_min is None and hasattr(model, "disable_adapter")
    kl = 0.0

    def add_kl(batch: Batch) -> None:
        nonlocal kl
        kl += _kl_to_base(model, batch, temperature or 1.0)

    config = SamplingConfig(
        samples=samples,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        entropy_min=entropy_min,
        seed=seed,
        chat_template=chat_template,
    )
    found = sample(model, tokenizer, prompts, config, on_batch=add_kl if adapted else None)
    drawn = [completion for group in found for completion in group]
    tokens = max(1, sum(map(len, drawn)))
    right = None
    if answers is not None:
        texts = [[completion.text for completion in group] for group in found]
        right = tuple(share_right(answer, given) for answer, given in zip(answers, texts, strict=True))
    return Reading(
        step=step,
        entropy=sum(completion.nats for completion in drawn) / tokens,
        log_prob=sum(float(completion.log_probs.sum()) for completion in drawn) / tokens,
        kl=kl / tokens if adapted else None,
        completion_length=sum(map(len, drawn)) / len(drawn),
        lines=sum(sum(bool(line.strip()) for line in completion.text.splitlines()) for completion in drawn)
        / len(drawn),
        repetition=sum(repetition(completion.token_ids) for completion in drawn) / len(drawn),
        accuracy=None if right is None else sum(right) / len(right),
        right=right,
    )


def _kl_to_base(model: Any, batch: Batch, temperature: float) -> float:
    """Return `Σ_t KL(π_t || π_base,t)`, nats over the sampled tokens, of a model with an adapter to the one without."""
    attention = torch.cat([batch.prompt_mask, batch.mask.long()], 1)
    policy = distributions(model, unwrap_model(model), batch.sequences, attention, batch.mask, temperature)
    with model.disable_adapter():
        reference = distributions(model, unwrap_model(model), batch.sequences, attention, batch.mask, temperature)
    return float(summed_kl(policy, reference))


def repetition(tokens: Sequence[int]) -> float:
    """Return the share of a completion's 4-grams that occurred in it before."""
    grams = [tuple(tokens[i : i + NGRAM]) for i in range(len(tokens) - NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
