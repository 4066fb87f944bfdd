"""The tab that shows a run of `em-hf train` beside the model it was trained from: same prompt, same noise."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from .examples import opening
from .fields import ERRORS, ON_MODEL, notify_js, one_line, slider
from .main import base_of_run
from .models import Models, loaded
from .request import DecodeRequest
from .view import live, message, view

PLAIN = {"threshold": 0.0, "n_grad_steps": 0, "entropy_min": False}


def trained_tab(run: str) -> None:
    base = base_of_run(run)
    models = Models([base])
    name = models.names[0]
    gr.Markdown(f"`{name}` and what `em-hf train` made of it in `{Path(run).resolve().name}`, both sampled plain.")
    prompt = gr.Textbox(opening(models).prompt, label="Prompt", lines=2, max_lines=10)
    with gr.Row():
        temperature = slider("temperature", step=0.05, label="Temperature", info="0: greedy", min_width=200)
        tokens = slider("max_new_tokens", step=1, label="Maximum number of new tokens", min_width=200)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=100)
    with gr.Row():
        start = gr.Button("Generate", variant="primary", elem_id="em-trained-generate", min_width=90, scale=2)
        stop = gr.Button("Stop", elem_id="em-trained-stop", min_width=70)
    shown = view("models")
    running = start.click(
        partial(live_models, base, run, name),
        [prompt, seed, tokens, temperature],
        shown,
        js=notify_js("models", "waiting"),
        api_name="trained",
        api_visibility="undocumented",
        show_progress="hidden",
        **ON_MODEL,
    )
    running.failure(None, js=notify_js("models", "failed"))
    stop.click(None, cancels=[running], js=notify_js("models", "stopped"))


def live_models(base: str, run: str, name: str, *values: Any) -> Iterator[str]:
    """Yield the view's messages for both models.

    Errors in the run's folder go only to the owner's log: visitors must not see its path.
    """
    try:
        for source in (base, run):
            loaded(source)
        fields = dict(zip(("prompt", "seed", "max_new_tokens", "temperature"), values))
        yield from live([base, run], DecodeRequest.checked(model=name, **fields, **PLAIN))
    except ERRORS as error:
        yield message("error", message=one_line(error))
