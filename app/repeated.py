"""The section that draws many samples with and without EM-INF and compares their answers."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr

from em_hf.models import POCKET_NAMES

from . import zero
from .decoding import repeats
from .examples import EXAMPLE_TOKENS, opening, settings_for
from .fence import while_heard
from .fields import ERRORS, FIELDS, ON_MODEL, one_line
from .models import Models
from .repeat_report import report
from .request import DecodeRequest, known_answer

SAMPLES = 32
# Results so far stay on the page, with the reason why no more will come.
WAIT = """(...all) => {
  const status = document.querySelector("#em-repeat-out .em-status");
  status.className = "em-status busy";
  status.textContent = "Waiting for the model …";
  status.parentElement.dataset.state = "busy";
  return all;
}"""
SAY = """() => {{
  const status = document.querySelector("#em-repeat-out .em-status.busy");
  if (!status) return;
  status.className = "em-status";
  status.textContent += " {words}";
  status.parentElement.dataset.state = "stopped";
}}"""


def repeat_section(first: str) -> Callable[[Models, list[Any]], None]:
    """Put the button and the report on the page, and return a function that connects them to the decode's fields.

    Args:
        first: the report shown when the page opens.
    """
    with gr.Row():
        start = gr.Button(f"Run it {SAMPLES} times", elem_id="em-repeat", min_width=120, scale=2)
        stop = gr.Button("Stop", elem_id="em-repeat-stop", min_width=60)
    out = gr.HTML(first, apply_default_css=False, elem_id="em-repeat-out")

    def connect(models: Models, inputs: list[Any]) -> None:
        running = start.click(
            partial(repeated, models),
            inputs,
            out,
            api_name="repeat",
            api_visibility="undocumented",
            show_progress="hidden",
            js=WAIT,
            **ON_MODEL,
        )
        running.failure(None, js=SAY.format(words="The server gave no answer: it is too busy, or failed."))
        stop.click(None, cancels=[running], js=SAY.format(words="Stopped."))

    return connect


def repeated_example(models: Models) -> str:
    """Return the report of the example that the page opens with, without samples if they would take long."""
    begin = opening(models)
    if begin.model not in POCKET_NAMES or zero.spaces is not None:
        return report(None)
    source = models.source(begin.model)
    request = DecodeRequest(
        begin.prompt, begin.model, begin.seed, max_new_tokens=EXAMPLE_TOKENS, **settings_for(source)
    )
    *_, result = repeats([source], request, SAMPLES, begin.answer)
    return report(result, of=SAMPLES, answer=begin.answer, prompt=begin.prompt)


def repeated(models: Models, *values: Any) -> Iterator[str]:
    """Yield the report after each batch of samples, as HTML in which every text is escaped."""
    try:
        request = DecodeRequest.checked(**dict(zip(FIELDS, values[: len(FIELDS)])))
        answer = known_answer(values[len(FIELDS)])
        source = models.source(request.model)
        yield report(None, note="Drawing …", prompt=request.prompt, busy=True)
        for result in while_heard(repeats([source], request, SAMPLES, answer)):
            if result is not None:
                yield report(result, of=SAMPLES, answer=answer, prompt=request.prompt, busy=result.n < SAMPLES)
    except ERRORS as error:
        yield report(None, note=one_line(error), error=True)
