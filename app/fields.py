"""What the tabs share: the input fields, their names and order, the place in the queue, and errors as one line."""

from typing import Any

import gradio as gr

from em_hf.models import POCKET_NAMES

from .asked import MAX_NEW_TOKENS
from .examples import PLAIN_PROMPTS, problems_with_answers, settings_for
from .models import Models

# Decodes one at a time: two would fight for the same processor.
ON_MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
ERRORS = (ValueError, OSError)
FIELDS = ("prompt", "model", "seed", "max_new_tokens", "temperature", "threshold", "n_grad_steps", "entropy_min")


def settings_fields(models: Models, *, seed: int) -> dict[str, Any]:
    """The inputs of a decode, by the names of the API."""
    first = models.names[0]
    preset = settings_for(first)
    with gr.Row():
        model = gr.Dropdown(models.names, value=first, label="Model", scale=2, min_width=200)
        temperature = gr.Slider(0, 2, 1.0, step=0.05, label="Temperature", info="0: greedy", scale=2, min_width=200)
        seed_field = gr.Number(seed, label="Seed", precision=0, minimum=0, scale=1, min_width=100)
    with gr.Accordion("EM-INF and length", open=False):
        entropy_min = gr.Checkbox(True, label="EM-INF in the right row")
        with gr.Row():
            threshold = gr.Slider(0, 5, preset["threshold"], step=0.05, label="Threshold, nats", min_width=200)
            n_grad_steps = gr.Slider(0, 100, preset["n_grad_steps"], step=1, label="Gradient steps", min_width=200)
            tokens = gr.Slider(1, MAX_NEW_TOKENS, 128, step=1, label="New tokens at most", min_width=200)
    model.input(  # by hand; the address may set a model together with other settings
        lambda name: tuple(settings_for(name).values()),
        model,
        [threshold, n_grad_steps],
        queue=False,
        api_visibility="private",
        show_progress="hidden",
    )
    return {
        "model": model,
        "seed": seed_field,
        "max_new_tokens": tokens,
        "temperature": temperature,
        "threshold": threshold,
        "n_grad_steps": n_grad_steps,
        "entropy_min": entropy_min,
    }


def example_buttons(models: Models, prompt: gr.Textbox, answer: gr.Textbox | None = None) -> None:
    """Examples that suit the models: problems with answers for the pocket reasoner, plain prompts for others."""
    rows = [list(row) for row in problems_with_answers(3)] if set(POCKET_NAMES) & set(models.names) else []
    if len(models.names) > len(rows[:1]):
        rows += [[text, ""] for text in PLAIN_PROMPTS[:2]]
    inputs = [prompt] if answer is None else [prompt, answer]
    gr.Examples([row[: len(inputs)] for row in rows], inputs, label="Examples", api_visibility="private")


def told(kind: str, event: str) -> str:
    """The script that tells a view of what the server does not: "waiting", "stopped" or "failed"."""
    tell = f"window.dispatchEvent(new CustomEvent('em-{event}', {{ detail: '{kind}' }}))"
    return f"(...all) => {{ {tell}; return all; }}"


def one_line(error: Exception) -> str:
    text = " ".join(str(error).split()).replace("EntropyMinConfig: ", "")
    return text if len(text) <= 400 else text[:397] + "..."
