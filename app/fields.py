"""Shared parts of the tabs: the input fields, their names and order, the queue slot, and one-line errors."""

from typing import Any

import gradio as gr

from em_hf import messages

from .examples import Example, examples, settings_for
from .fence import NobodyListens
from .models import Models
from .request import SETTINGS, SLIDER_THRESHOLD

# Decodes run one at a time: two would compete for the same processor.
ON_MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
ERRORS = (ValueError, OSError, NobodyListens)
FIELDS = ("prompt", "model", "seed", "max_new_tokens", "temperature", "threshold", "n_grad_steps", "entropy_min")
QUIET: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}


def slider(name: str, value: float | None = None, **looks: Any) -> gr.Slider:
    """Return a slider over the range of a setting, at its default unless a value is given."""
    one = SETTINGS[name]
    given: dict[str, Any] = {"minimum": one.low, "maximum": one.high} | looks
    return gr.Slider(value=one.default if value is None else value, **given)


def settings_fields(models: Models, begin: Example) -> dict[str, Any]:
    """Return the inputs of a decode except the prompt, by their API names, and `answer`."""
    preset = settings_for(models.source(begin.model))
    model = gr.Dropdown(models.names, value=begin.model, label="Model")
    temperature = slider("temperature", step=0.05, label="Temperature", info="0 is greedy decoding")
    seed = gr.Number(begin.seed, label="Seed", precision=0)
    answer = gr.Textbox(begin.answer or "", label="Known answer", info="Optional: marks each pane right or wrong")
    with gr.Accordion("EM-INF and length", open=False):
        entropy_min = gr.Checkbox(True, label="EM-INF in the right pane")
        threshold = slider(
            "threshold", preset["threshold"], maximum=SLIDER_THRESHOLD, step=0.05, label="Threshold, nats"
        )
        n_grad_steps = slider("n_grad_steps", preset["n_grad_steps"], step=1, label="Gradient steps per token")
        tokens = slider("max_new_tokens", step=1, label="Maximum number of new tokens")
    model.input(  # only on user input; the address may set a model together with other settings
        lambda name: tuple(settings_for(models.source(name)).values()), model, [threshold, n_grad_steps], **QUIET
    )
    return {
        "model": model,
        "seed": seed,
        "max_new_tokens": tokens,
        "temperature": temperature,
        "threshold": threshold,
        "n_grad_steps": n_grad_steps,
        "entropy_min": entropy_min,
        "answer": answer,
    }


def example_table(models: Models, fields: dict[str, Any]) -> None:
    """Show the examples with their models; choosing one sets prompt, model, answer and that model's settings."""
    found = examples(models)
    table = gr.Dataset(
        components=[gr.Textbox(visible=False), gr.Textbox(visible=False)],
        samples=[[one.prompt, one.model] for one in found],
        headers=["Prompt", "Model"],
        label="Examples",
        type="index",
        samples_per_page=8,
        elem_id="em-examples",
    )
    names = ("prompt", "model", "answer", "seed", "threshold", "n_grad_steps")

    def chosen(index: int) -> list[Any]:
        one = found[index]
        settings = settings_for(models.source(one.model))
        return [one.prompt, one.model, one.answer or "", one.seed, *settings.values()]

    table.click(chosen, table, [fields[name] for name in names], **QUIET)


def notify_js(kind: str, event: str) -> str:
    """Return the script that tells a view what the server does not: "waiting", "stopped" or "failed"."""
    tell = f"window.dispatchEvent(new CustomEvent('em-{event}', {{ detail: '{kind}' }}))"
    return f"(...all) => {{ {tell}; return all; }}"


def one_line(error: Exception) -> str:
    """Return an error as a visitor sees it, in one line."""
    return messages.one_line(str(error).replace("EntropyMinConfig: ", ""), 400)
