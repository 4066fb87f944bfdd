"""The component that shows a decode: a gr.HTML whose browser half is `assets/*.js`, fed with increments.

Each message is a JSON string. `start` opens a run; `steps` brings the new steps and, again, those of the message
before, since a busy browser may miss one; `done` brings all; `error` ends it too. So what is sent at a step
does not grow with the length.
"""

import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from secrets import token_urlsafe
from typing import Any

import gradio as gr

from .asked import Asked
from .decoding import batches, step_payload
from .models import loaded, shown_name
from .snippets import command_line, python_program

GREEDY_NOTE = (
    "Temperature 0 is greedy: the largest logit stays the largest under EM-INF, so both panes say the same. "
    "Raise the temperature to see a difference."
)
_PARTS = ("state.js", "chart.js", "exports.js", "view.js")


def asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def view(kind: str) -> gr.HTML:
    """An empty view; `kind` is "rows" (one model, plain and EM-INF) or "models" (two models)."""
    return gr.HTML(
        value="",
        html_template=f'<div class="em-view" data-kind="{kind}"></div>',
        js_on_load="\n".join(asset(part) for part in _PARTS),
        apply_default_css=False,
        elem_id=f"em-{kind}",
    )


def message(kind: str, **content: Any) -> str:
    # Never a tag in the text, whoever may read it as markup on its way.
    return json.dumps({"kind": kind, **content}, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def live(sources: Sequence[str], asked: Asked) -> Iterator[str]:
    """The messages of one decode: of one model's two rows, or of two models."""
    run = token_urlsafe(12)
    one = loaded(sources[0])
    room = one.encode(asked.prompt, asked.max_new_tokens)[1]
    two = len(sources) > 1
    yield message(
        "start",
        run=run,
        names=[shown_name(source) for source in sources] if two else ["Plain", "EM-INF"],
        two_models=two,
        settings=asked.to_dict(),
        note=GREEDY_NOTE if asked.temperature == 0 and not two else "",
        python=None if two else python_program(asked, room),
        command=None if two else command_line(asked),
    )
    steps: list[list[Any]] = []
    sent = 0
    for batch in batches(sources, asked):
        again, sent = sent, len(steps)
        steps.extend(step_payload(step) for step in batch)
        yield message("steps", run=run, **{"from": again}, steps=steps[again:])
    yield message("done", run=run, **{"from": 0}, steps=steps)
