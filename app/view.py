"""The component that shows a decode: a gr.HTML whose browser half is `assets/*.js`, fed with increments.

Each message is a JSON string. `start` opens a run; `steps` brings the new steps and repeats those of the previous
message, since a busy browser may miss one; `done` brings all steps and the verdict; `error` also ends a run. The amount
sent per step thus does not grow with the length. `example` is a whole run in one message, shown when the page opens.
"""

import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from secrets import token_urlsafe
from typing import Any

import gradio as gr

from . import zero  # isort: skip  (before torch)

from em_hf.compare.side_by_side import Step
from em_hf.compare.verdict import divergence, verdict

from .decoding import batches, step_payload
from .examples import EXAMPLE_TOKENS, opening, settings_for, stored_config
from .fence import while_heard
from .models import Models, loaded, shown_name
from .request import DecodeRequest
from .snippets import command_line, python_program

GREEDY_NOTE = (
    "Temperature 0 is greedy: the largest logit stays the largest under EM-INF, so both panes say the same. "
    "Raise the temperature to see a difference."
)
AT_ONE = "Probabilities are of the model's own distribution, at temperature 1."
_PARTS = ("state.js", "chart.js", "exports.js", "view.js")


def asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def view(kind: str, value: str = "") -> gr.HTML:
    """Return a view of "rows" (one model, plain and EM-INF) or "models" (two models); `value` is its first message."""
    return gr.HTML(
        value=value,
        html_template=f'<div class="em-view" data-kind="{kind}"></div>',
        js_on_load="\n".join(asset(part) for part in _PARTS),
        apply_default_css=False,
        elem_id=f"em-{kind}",
    )


def message(kind: str, **content: Any) -> str:
    # No tags in the text, in case something on the way reads it as markup.
    return json.dumps({"kind": kind, **content}, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def live(sources: Sequence[str], request: DecodeRequest, answer: str | None = None) -> Iterator[str]:
    """Yield the messages of one decode: of one model's two rows, or of two models.

    Args:
        sources: one model, decoded plain and with EM-INF, or two, decoded plain.
        answer: the known answer, if any.
    """
    run = token_urlsafe(12)
    head = _head(sources, request, answer)
    yield message("start", run=run, **head)
    steps: list[list[Any]] = []
    decoded: list[Step] = []
    sent = 0
    for batch in while_heard(batches(sources, request)):
        again, sent = sent, len(steps)
        steps.extend(step_payload(step) for step in batch)
        decoded.extend(batch)
        yield message("steps", run=run, **{"from": again}, steps=steps[again:])
    yield message("done", run=run, **{"from": 0}, steps=steps, verdict=_verdict(decoded, head))


def example(models: Models) -> str:
    """Return the run shown when the page opens, as one message; empty if a GPU would have to be borrowed first."""
    if zero.spaces is not None:
        return ""
    begin = opening(models)
    preset = settings_for(models.source(begin.model))
    request = DecodeRequest(begin.prompt, begin.model, begin.seed, max_new_tokens=EXAMPLE_TOKENS, **preset)
    sources = [models.source(begin.model)]
    steps = [step for batch in batches(sources, request) for step in batch]
    head = _head(sources, request, begin.answer)
    payload = [step_payload(step) for step in steps]
    return message("example", run="example", **head, **{"from": 0}, steps=payload, verdict=_verdict(steps, head))


def _verdict(steps: Sequence[Step], head: dict[str, Any]) -> dict[str, Any]:
    """Return what the page says of a finished decode."""
    settings = head["settings"]
    acts = settings["entropy_min"] and not head["two_models"]
    said = verdict(steps, names=head["names"], em=acts, answer=head["answer"] or None, limit=head["room"])
    if acts and settings["temperature"] not in (0, 1) and divergence(steps) is not None:
        return {**said.to_dict(), "sentence": f"{said.sentence} {AT_ONE}"}
    return said.to_dict()


def _head(sources: Sequence[str], request: DecodeRequest, answer: str | None) -> dict[str, Any]:
    """Return the content of a run's first message."""
    one = loaded(sources[0])
    room = one.encode(request.prompt, request.max_new_tokens)[1]
    two = len(sources) > 1
    return {
        "names": [shown_name(source) for source in sources] if two else ["Plain", "EM-INF"],
        "two_models": two,
        "settings": request.to_dict(),
        "answer": answer or "",
        "room": room,
        "note": GREEDY_NOTE if request.temperature == 0 and not two else "",
        "python": None if two else python_program(request, room, request.config(stored_config(sources[0]))),
        "command": None if two else command_line(request),
    }
