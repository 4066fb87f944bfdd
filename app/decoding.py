"""Decodes that visitors start: live, the API's comparison, repeats, and a base model beside its trained run."""

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import zip_longest
from typing import Any

from .zero import on_gpu  # isort: skip  (before torch)

from em_hf.compare.repeat import Repeated, repeat
from em_hf.compare.side_by_side import Step, collect, decode_steps

from .examples import stored_config
from .fence import while_heard
from .models import loaded
from .request import DecodeRequest

REDRAW_SECONDS = 0.08  # the panes are redrawn at most a dozen times a second


def _seconds(sources: Sequence[str], request: DecodeRequest, *others: Any) -> int:
    """Return how long to borrow a GPU: half a minute, plus a twentieth of a second per token."""
    return 30 + request.max_new_tokens // 20


@on_gpu(_seconds)
def batches(sources: Sequence[str], request: DecodeRequest) -> Generator[list[Step], None, None]:
    """Yield the steps of a decode as they come: the first at once, then those of each twelfth of a second together.

    With one source, the two rows are plain and EM-INF. With two, each source is a row, decoded plain.
    """
    waiting: list[Step] = []
    sent_at = 0.0
    with closing(_steps(sources, request)) as steps:
        for step in steps:
            waiting.append(step)
            if time.monotonic() - sent_at >= REDRAW_SECONDS:
                yield waiting
                waiting, sent_at = [], time.monotonic()
    if waiting:
        yield waiting


def _steps(sources: Sequence[str], request: DecodeRequest) -> Generator[Step, None, None]:
    if len(sources) == 1:
        return _rows(sources[0], request, [None, request.config(stored_config(sources[0]))])
    return _paired(*(_rows(source, request, [None]) for source in sources))


def _rows(source: str, request: DecodeRequest, rows: list[Any]) -> Generator[Step, None, None]:
    one = loaded(source)
    inputs, room = one.encode(request.prompt, request.max_new_tokens)
    return decode_steps(
        one.model,
        one.tokenizer,
        inputs,
        rows,
        seed=request.seed,
        max_new_tokens=room,
        temperature=request.temperature,
    )


def _paired(first: Generator[Step, None, None], second: Generator[Step, None, None]) -> Generator[Step, None, None]:
    """Merge two decodes of one row each into one of two rows."""
    with closing(first), closing(second):
        for left, right in zip_longest(first, second):
            rows = [None if step is None else step.rows[0] for step in (left, right)]
            there = [step for step in (left, right) if step is not None]
            yield Step(there[0].index, rows, max(step.seconds for step in there), 0.0)


def comparison(sources: Sequence[str], request: DecodeRequest) -> dict[str, Any]:
    """Return a whole decode: `plain` and `em`, `diverges_at`, `seed`."""
    steps = [step for batch in while_heard(batches(sources, request)) for step in batch]
    return collect(steps, seed=request.seed).to_dict()


@on_gpu(_seconds)
def repeats(
    sources: Sequence[str], request: DecodeRequest, n: int, answer: str | None
) -> Generator[Repeated | None, None, None]:
    """Draw `n` samples of the prompt with and without EM-INF, and yield None after each token; see `repeat`."""
    one = loaded(sources[0])
    inputs, room = one.encode(request.prompt, request.max_new_tokens)
    config = request.config(stored_config(sources[0]))
    if config is None:
        raise ValueError("Repeat compares plain decoding with EM-INF: switch EM-INF on")
    if request.temperature == 0:
        raise ValueError("Repeat needs a temperature above 0: greedy samples are all the same")
    yield from repeat(
        one.model,
        one.tokenizer,
        inputs,
        config,
        n=n,
        answer=answer,
        seed=request.seed,
        max_new_tokens=room,
        temperature=request.temperature,
        pauses=True,
    )


def step_payload(step: Step) -> list[Any]:
    """Return a step for the browser: seconds, milliseconds of EM-INF, and the rows, see `_row_payload`."""
    return [round(step.seconds, 4), round(1000 * step.em_seconds, 3), *(_row_payload(row) for row in step.rows)]


def _row_payload(token: Any) -> list[Any] | None:
    """Return [id, text, special, nats before, nats after, adjusted, [[id, text, before(, after)], ...]].

    Candidates have a probability after EM-INF only if the token was adjusted. None for a row that has ended.
    """
    if token is None:
        return None
    candidates = [
        [c.token_id, c.text, _digits(c.before), *([_digits(c.after)] if token.adjusted else [])]
        for c in token.candidates
    ]
    before, after = _digits(token.entropy_before), _digits(token.entropy_after)
    return [token.token_id, token.text, token.special, before, after, token.adjusted, candidates]


def _digits(value: float) -> float:
    return float(f"{value:.5g}")
