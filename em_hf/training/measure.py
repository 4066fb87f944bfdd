"""What a model samples on held-out prompts: accuracy, token entropy, length and time, with and without EM-INF."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from em_hf.answers import extract_answer, same_answer
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.mixin import enable_entropy_min
from em_hf.generation.trace import EntropyTrace
from em_hf.models import encode_prompts, unwrap_model
from em_hf.stats import share_interval
from em_hf.training.sampling import eval_mode, sampling_config, using_generation_config

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
    greedy: bool = False,
    max_new_tokens: int = 256,
    samples: int = 1,
    seed: int = 0,
    chat_template: bool = True,
    on_progress: Callable[[int], None] | None = None,
) -> Measurement:
    """Sample each prompt at temperature 1 (top_k 0, top_p 1), with EM-INF if `entropy_min` is given.

    The random state outside is left alone. A problem's accuracy is the mean over its `samples`; the interval is a
    bootstrap over problems. The entropy is that of the model's own distributions, before EM-INF changes them. The model
    is left with EM-INF enabled (`enable_entropy_min`), which switches nothing on.

    Args:
        name: of the row.
        greedy: decode greedily instead.
        greedy: decode greedily, and do not sample.
        samples: completions of each prompt.
        on_progress: called with the number of prompts done.
    """
    base = unwrap_model(enable_entropy_min(model))
    how = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0}
    plain = sampling_config(base, tokenizer, **how, num_return_sequences=samples, max_new_tokens=max_new_tokens)
    texts: list[list[str]] = [[] for _ in prompts]
    nats, tokens = 0.0, 0
    # Prompts of like length together: less padding.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    at_once = max(1, ROWS_AT_A_TIME // samples)
    started = time.perf_counter()
    with torch.random.fork_rng(), using_generation_config(base, plain), eval_mode(base):
        for start in range(0, len(order), at_once):
            part = order[start : start + at_once]
            batch = encode_prompts(tokenizer, [prompts[i] for i in part], chat_template=chat_template)
            batch = {key: value.to(base.device) for key, value in batch.items()}
            trace = EntropyTrace()
            # One batch's noise does not depend on another's length, so the two rows of a model share theirs.
            torch.manual_seed(seed * 1_000_003 + start)
            out = model.generate(
                **batch, generation_config=plain, entropy_min=entropy_min or False, entropy_trace=trace
            )
            nats += float(trace.before.nansum())
            tokens += int(trace.before.isfinite().sum())
            drawn = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
            for place, i in enumerate(part):
                texts[i] = drawn[place * samples : (place + 1) * samples]
            if on_progress is not None:
                on_progress(start + len(part))
    seconds = time.perf_counter() - started
    accuracy = low = high = None
    if answers is not None:
        shares = [share_right(answer, given) for answer, given in zip(answers, texts, strict=True)]
        accuracy = sum(shares) / len(shares)
        low, high = share_interval(shares, seed=seed)
    return Measurement(
        name=name,
        accuracy=accuracy,
        low=low,
        high=high,
        entropy=nats / max(1, tokens),
        completion_length=tokens / (len(prompts) * samples),
        seconds=seconds,
    )


def share_right(answer: str, texts: Sequence[str]) -> float:
    """The share of `texts` whose final answer is `answer`."""
    return sum(same_answer(answer, extract_answer(text)) for text in texts) / len(texts)
