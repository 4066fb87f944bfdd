"""The tab that draws many samples with and without EM-INF and compares what they come to."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from em_hf.models import POCKET_NAMES

from .asked import MAX_REPEATS, Asked, known_answer, whole
from .decoding import repeats
from .examples import problems_with_answers
from .fields import ERRORS, FIELDS, ON_MODEL, example_buttons, one_line, settings_fields
from .models import Models
from .repeat_report import report

# What there is stays on the page, with a word on why no more comes.
SAY = """() => {{
  const status = document.querySelector("#em-repeat-out .em-status.busy");
  if (!status) return;
  status.className = "em-status";
  status.textContent += " {words}";
  status.parentElement.dataset.state = "stopped";
}}"""


def repeat_tab(models: Models) -> None:
    pocket = bool(set(POCKET_NAMES) & set(models.names))
    first = problems_with_answers()[5] if pocket else ("", "")
    gr.Markdown("Many samples of one prompt, each drawn plain and with EM-INF from the same random numbers.")
    prompt = gr.Textbox(first[0], label="Prompt", lines=2, max_lines=10)
    with gr.Row():
        answer = gr.Textbox(first[1], label="Known answer", info="May be empty", min_width=200)
        n = gr.Slider(1, MAX_REPEATS, 32, step=1, label="Samples of each", min_width=200)
    example_buttons(models, prompt, answer)
    fields = {"prompt": prompt, **settings_fields(models, seed=0)}
    with gr.Row():
        start = gr.Button("Repeat", variant="primary", elem_id="em-repeat", min_width=90, scale=2)
        stop = gr.Button("Stop", elem_id="em-repeat-stop", min_width=70)
    out = gr.HTML(report(None), apply_default_css=False, elem_id="em-repeat-out")
    running = start.click(
        partial(repeated, models),
        [*(fields[name] for name in FIELDS), n, answer],
        out,
        api_name="repeat",
        api_visibility="undocumented",
        show_progress="hidden",
        **ON_MODEL,
    )
    running.failure(None, js=SAY.format(words="The server gave no answer: it is too busy, or failed."))
    stop.click(None, cancels=[running], js=SAY.format(words="Stopped."))


def repeated(models: Models, *values: Any) -> Iterator[str]:
    """The report after each batch of samples, as HTML whose every text is escaped."""
    try:
        asked = Asked.checked(**dict(zip(FIELDS, values[: len(FIELDS)])))
        n = whole("samples", values[-2], 1, MAX_REPEATS)
        answer = known_answer(values[-1])
        source = models.source(asked.model)
        yield report(None, note="Drawing …", busy=True)
        for result in repeats([source], asked, n, answer):
            yield report(result, of=n, answer=answer, busy=result.n < n)
    except ERRORS as error:
        yield report(None, note=one_line(error), error=True)
