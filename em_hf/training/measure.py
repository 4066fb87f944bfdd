"""What a model samples on held-out prompts: accuracy, token entropy, length and time, with and without EM-INF."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from em_hf.answers import extract_answer, same_answer
from em_hf.generation.config import EntropyMinConfig
from em_hf.models import Prompt
from em_hf.runs import ResultRow
from em_hf.sampling import SamplingConfig, sample
from em_hf.stats import share_interval


def measure(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    answers: Sequence[str] | None,
    *,
    name: str,
    trained: bool = False,
    entropy_min: EntropyMinConfig | None = None,
    greedy: bool = False,
    max_new_tokens: int = 256,
    samples: int = 1,
    seed: int = 0,
    chat_template: bool = True,
    on_progress: Callable[[int], None] | None = None,
) -> ResultRow:
    """Sample each prompt at temperature 1 (top_k 0, top_p 1), with EM-INF if `entropy_min` is given; see `sample`.

    A problem's accuracy is the mean over its `samples`; the interval is a bootstrap over problems. The entropy is that
    of the model's own distributions, before EM-INF changes them.

    Args:
        name: Name of the row.
        trained: Whether the model is the trained one.
        greedy: Take the most probable token at each step instead.
        samples: Completions per prompt.
        on_progress: Called with the number of prompts done.
    """
    config = SamplingConfig(
        samples=samples,
        max_new_tokens=max_new_tokens,
        temperature=0.0 if greedy else 1.0,
        entropy_min=entropy_min,
        seed=seed,
        chat_template=chat_template,
    )
    started = time.perf_counter()
    found = sample(model, tokenizer, prompts, config, on_progress=on_progress)
    seconds = time.perf_counter() - started
    drawn = [completion for group in found for completion in group]
    tokens = sum(map(len, drawn))
    accuracy = low = high = None
    if answers is not None:
        shares = [share_right(answer, [one.text for one in ones]) for answer, ones in zip(answers, found, strict=True)]
        accuracy = sum(shares) / len(shares)
        low, high = share_interval(shares, seed=seed)
    return ResultRow(
        name=name,
        accuracy=accuracy,
        low=low,
        high=high,
        entropy=sum(completion.nats for completion in drawn) / max(1, tokens),
        completion_length=tokens / len(drawn),
        seconds=seconds,
        prompt=prompts[0] if isinstance(prompts[0], str) else prompts[0][-1]["content"],
        sample=found[0][0].text,
        trained=trained,
        greedy=greedy,
        em_inf=entropy_min is not None,
    )


def share_right(answer: str, texts: Sequence[str]) -> float:
    """Return the share of `texts` whose final answer is `answer`."""
    return sum(same_answer(answer, extract_answer(text)) for text in texts) / len(texts)
