"""The tab that shows a run of `em-hf train` beside the model it was trained from: same prompt, same noise."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from .asked import MAX_NEW_TOKENS, Asked
from .examples import opening
from .fields import ERRORS, ON_MODEL, example_buttons, one_line, told
from .main import base_of_run
from .models import Models
from .view import live, message, view

PLAIN = {"threshold": 0.0, "n_grad_steps": 0, "entropy_min": False}


def trained_tab(run: str) -> None:
    base = base_of_run(run)
    models = Models([base])
    name = models.names[0]
    gr.Markdown(f"`{name}` and what `em-hf train` made of it in `{Path(run).resolve().name}`, both sampled plain.")
    prompt = gr.Textbox(opening(name)[0], label="Prompt", lines=2, max_lines=10)
    example_buttons(models, prompt)
    with gr.Row():
        temperature = gr.Slider(0, 2, 1.0, step=0.05, label="Temperature", info="0: greedy", min_width=200)
        tokens = gr.Slider(1, MAX_NEW_TOKENS, 128, step=1, label="New tokens at most", min_width=200)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=100)
    with gr.Row():
        start = gr.Button("Generate", variant="primary", elem_id="em-trained-generate", min_width=90, scale=2)
        stop = gr.Button("Stop", elem_id="em-trained-stop", min_width=70)
    shown = view("models")
    running = start.click(
        partial(live_models, base, run, name),
        [prompt, seed, tokens, temperature],
        shown,
        js=told("models", "waiting"),
        api_name="trained",
        api_visibility="undocumented",
        show_progress="hidden",
        **ON_MODEL,
    )
    running.failure(None, js=told("models", "failed"))
    stop.click(None, cancels=[running], js=told("models", "stopped"))


def live_models(base: str, run: str, name: str, *values: Any) -> Iterator[str]:
    """The view's messages for both models."""
    try:
        fields = dict(zip(("prompt", "seed", "max_new_tokens", "temperature"), values))
        yield from live([base, run], Asked.checked(model=name, **fields, **PLAIN))
    except ERRORS as error:
        yield message("error", message=one_line(error))
