"""What a model samples on a few fixed prompts while it trains: how sure, how long, how often right."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from em_hf.entropy import token_entropy
from em_hf.generation.config import EntropyMinConfig
from em_hf.models import encode_prompts, unwrap_model
from em_hf.training.losses import completion_mask, distributions, summed_kl
from em_hf.training.measure import share_right
from em_hf.training.sampling import eval_mode, sampling_config, using_generation_config
from em_hf.training.trace import Reading

ROWS_AT_A_TIME = 256
NGRAM = 4


def probe_model(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
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
    """Sample each prompt (top_k 0, top_p 1) and measure. Random states, mode and generation config stay as they are.

    The same seed at every step: readings then differ by what the model learned and less by chance.
    """
    base = unwrap_model(model)
    settings = sampling_config(
        base,
        tokenizer,
        do_sample=True,
        temperature=temperature,
        num_return_sequences=samples,
        max_new_tokens=max_new_tokens,
    )
    extra = {} if entropy_min is None else {"entropy_min": entropy_min}
    # With an adapter the model before training is at hand; else the KL is what the trainer logs, if it does.
    adapted = entropy_min is None and hasattr(model, "disable_adapter")
    sums = dict.fromkeys(("entropy", "log_prob", "kl", "tokens", "lines", "repetition"), 0.0)
    right = [0.0] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # of like length together: less padding
    at_once = max(1, ROWS_AT_A_TIME // samples)
    with forked_rng(base.device), using_generation_config(base, settings), eval_mode(base), torch.no_grad():
        for start in range(0, len(order), at_once):
            part = order[start : start + at_once]
            batch = encode_prompts(tokenizer, [prompts[i] for i in part], chat_template=chat_template)
            batch = {key: value.to(base.device) for key, value in batch.items()}
            torch.manual_seed(seed * 1_000_003 + start)
            scores = _Scores()
            out = model.generate(
                **batch, generation_config=settings, logits_processor=LogitsProcessorList([scores]), **extra
            )
            completions = out[:, batch["input_ids"].shape[1] :]
            mask = completion_mask(completions, settings.eos_token_id or [])
            entropy, log_prob = scores.of(completions)
            if adapted:
                sums["kl"] += _kl_to_base(model, out, batch["attention_mask"], samples, mask, temperature)
            sums["entropy"] += float(entropy[mask].sum())
            sums["log_prob"] += float(log_prob[mask].sum())
            sums["tokens"] += int(mask.sum())
            rows = [row[kept].tolist() for row, kept in zip(completions, mask, strict=True)]
            sums["repetition"] += sum(map(repetition, rows))
            texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
            sums["lines"] += sum(sum(bool(line.strip()) for line in text.splitlines()) for text in texts)
            for place, i in enumerate(part if answers is not None else []):
                right[i] = share_right(answers[i], texts[place * samples : (place + 1) * samples])  # type: ignore[index]
    drawn = len(prompts) * samples
    return Reading(
        step=step,
        entropy=sums["entropy"] / max(1, sums["tokens"]),
        log_prob=sums["log_prob"] / max(1, sums["tokens"]),
        kl=sums["kl"] / max(1, sums["tokens"]) if adapted else None,
        completion_length=sums["tokens"] / drawn,
        lines=sums["lines"] / drawn,
        repetition=sums["repetition"] / drawn,
        accuracy=None if answers is None else sum(right) / len(right),
        right=None if answers is None else tuple(right),
    )


def _kl_to_base(
    model: Any, sequences: Tensor, prompt_mask: Tensor, samples: int, mask: Tensor, temperature: float
) -> float:
    """`Σ_t KL(π_t || π_base,t)` in nats over the sampled tokens, of a model with an adapter to the one without it."""
    attention = torch.cat([prompt_mask.repeat_interleave(samples, 0), mask.long()], 1)
    policy = distributions(model, unwrap_model(model), sequences, attention, mask, temperature)
    with model.disable_adapter():
        reference = distributions(model, unwrap_model(model), sequences, attention, mask, temperature)
    return float(summed_kl(policy, reference))


def repetition(tokens: Sequence[int]) -> float:
    """The share of the 4-grams of a completion that stood in it before."""
    grams = [tuple(tokens[i : i + NGRAM]) for i in range(len(tokens) - NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


@contextmanager
def forked_rng(device: torch.device) -> Iterator[None]:
    """Within: random numbers of torch (of the CPU and of `device`), Python and NumPy that leave the ones outside be."""
    python, numpy = random.getstate(), np.random.get_state()
    own = [] if device.type == "cpu" else [device.index or 0]
    try:
        with torch.random.fork_rng(own, device_type="cuda" if device.type == "cpu" else device.type):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


class _Scores(LogitsProcessor):
    """Changes nothing; keeps, of every step, the entropies and the log-probabilities of what was drawn: `[rows]` each.

    Whole distributions are kept for one step only, until the next one shows what was drawn.
    """

    def __init__(self) -> None:
        self._entropy: list[Tensor] = []
        self._log_prob: list[Tensor] = []
        self._last: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._draw(input_ids[:, -1])
        self._last = scores.float().log_softmax(-1)
        self._entropy.append(token_entropy(scores))
        return scores

    def _draw(self, tokens: Tensor) -> None:
        if self._last is not None:
            self._log_prob.append(self._last.gather(-1, tokens[:, None].to(self._last.device))[:, 0])
            self._last = None

    def of(self, completions: Tensor) -> tuple[Tensor, Tensor]:
        """Entropies and log-probabilities of `completions`, `[rows, tokens]`."""
        count = completions.shape[1]
        if count == len(self._entropy):  # otherwise the loop ran a step more, which it took back
            self._draw(completions[:, -1])
        return torch.stack(self._entropy[:count], 1), torch.stack(self._log_prob[:count], 1)
