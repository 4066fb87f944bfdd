"""What a model samples on held-out prompts: accuracy, token entropy, length and time, with and without EM-INF."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from em_hf.answers import extract_answer, same_answer
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.mixin import base_of, enable_entropy_min
from em_hf.generation.trace import EntropyTrace
from em_hf.models import encode_prompts
from em_hf.stats import bootstrap_interval
from em_hf.training.em_ft import only_these, sampling_config

ROWS_AT_A_TIME = 256


@dataclass(frozen=True)
class Measurement:
    """One row of a result table. Accuracy is a share with its 95% interval over problems, entropy in nats a token."""

    name: str
    accuracy: float | None
    low: float | None
    high: float | None
    entropy: float
    completion_length: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    answers: Sequence[str] | None,
    *,
    name: str,
    entropy_min: EntropyMinConfig | None = None,
    max_new_tokens: int = 256,
    samples: int = 1,
    seed: int = 0,
    chat_template: bool = True,
    on_progress: Callable[[int], None] | None = None,
) -> Measurement:
    """Sample each prompt at temperature 1 (top_k 0, top_p 1), with EM-INF if `entropy_min` is given.

    The random state outside is left alone. A problem's accuracy is the mean over its `samples`; the interval is a
    bootstrap over problems. The entropy is that of the model's own distributions, before EM-INF changes them.
    """
    enable_entropy_min(model)
    base = base_of(model)
    was_training = base.training
    base.eval()
    plain = sampling_config(
        base, tokenizer, do_sample=True, temperature=1.0, num_return_sequences=samples, max_new_tokens=max_new_tokens
    )
    right: list[float] = []
    nats = tokens = rows = 0.0
    started = time.perf_counter()
    # Prompts of like length together: less padding, and one batch's noise does not depend on another's length.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    scores = [0.0] * len(prompts)
    with torch.random.fork_rng(), only_these(base, plain):
        for start in range(0, len(order), max(1, ROWS_AT_A_TIME // samples)):
            torch.manual_seed(seed * 1_000_003 + start)
            part = order[start : start + max(1, ROWS_AT_A_TIME // samples)]
            batch = encode_prompts(tokenizer, [prompts[i] for i in part], chat_template=chat_template)
            batch = {key: value.to(base.device) for key, value in batch.items()}
            trace = EntropyTrace()
            out = model.generate(
                **batch, generation_config=plain, entropy_min=entropy_min or False, entropy_trace=trace
            )
            before = trace.before
            nats += float(before.nansum())
            tokens += int(before.isfinite().sum())
            rows += before.shape[0]
            if answers is not None:
                texts = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
                for position, i in enumerate(part):
                    given = [extract_answer(text) for text in texts[position * samples : (position + 1) * samples]]
                    scores[i] = sum(same_answer(answers[i], answer) for answer in given) / samples
            if on_progress is not None:
                on_progress(len(part))
    right = scores if answers is not None else []
    seconds = time.perf_counter() - started
    base.train(was_training)
    low, high = bootstrap_interval(right, seed=seed) if right else (None, None)
    return Measurement(
        name=name,
        accuracy=sum(right) / len(right) if right else None,
        low=low,
        high=high,
        entropy=nats / max(1, tokens),
        completion_length=tokens / max(1, rows),
        seconds=seconds,
    )
