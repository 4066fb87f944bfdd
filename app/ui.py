"""The page: four tabs around the view, and the API. All that uses the model shares one place in the queue."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr
from gradio.themes.utils.fonts import LocalFont

from .asked import Asked
from .decoding import comparison
from .examples import from_address, opening
from .fields import ERRORS, FIELDS, ON_MODEL, example_buttons, one_line, settings_fields, told
from .models import Models
from .tab_about import about_tab
from .tab_repeat import repeat_tab
from .tab_trained import trained_tab
from .view import asset, live, message, view

QUEUE = 64
# The semibold of gradio 6.31 lacks most letters.
FONT = LocalFont("Source Sans Pro", weights=(400, 700))


def build(models: Models, *, run: str | None = None) -> gr.Blocks:
    """The app for an allow-list of models; with `run`, a tab that compares a run folder with its base model.

    Raises:
        ValueError, OSError: `run` is no run folder.
    """
    with gr.Blocks(title="EM-INF, side by side", analytics_enabled=False, fill_width=False) as demo:
        gr.Markdown("# Decoding with and without entropy minimization\nSame model, same prompt, same random numbers.")
        with gr.Tabs():
            with gr.Tab("Side by side", id="rows"):
                compare_tab(demo, models)
            with gr.Tab("Repeat", id="repeat"):
                repeat_tab(models)
            if run is not None:
                with gr.Tab("Trained run", id="trained"):
                    trained_tab(run)
            with gr.Tab("Method", id="about"):
                about_tab()
        gr.api(compare_api(models), api_name="compare", **ON_MODEL)
    return demo.queue(max_size=QUEUE, default_concurrency_limit=8)


def compare_tab(demo: gr.Blocks, models: Models) -> None:
    text, seed = opening(models.names[0])
    prompt = gr.Textbox(text, label="Prompt", lines=2, max_lines=10, elem_id="em-prompt")
    example_buttons(models, prompt)
    fields = {"prompt": prompt, **settings_fields(models, seed=seed)}
    with gr.Row():
        generate = gr.Button("Generate", variant="primary", elem_id="em-generate", min_width=90, scale=2)
        stop = gr.Button("Stop", elem_id="em-stop", min_width=70)
        another = gr.Button("Next seed", elem_id="em-next", min_width=90)
    shown = view("rows")

    inputs = [fields[name] for name in FIELDS]
    handler = partial(live_rows, models)
    waiting = told("rows", "waiting")
    shared: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "undocumented", **ON_MODEL}
    runs: list[Any] = [
        generate.click(handler, inputs, shown, js=waiting, api_name="live", **shared),
        prompt.submit(handler, inputs, shown, js=waiting, api_name="live_submit", **shared),
    ]
    bumped = another.click(
        lambda seed: (int(seed or 0) + 1) % 2**32, fields["seed"], fields["seed"], queue=False, api_visibility="private"
    )
    runs.append(bumped.then(handler, inputs, shown, js=waiting, api_name="live_next", **shared))
    for run in runs:
        run.failure(None, js=told("rows", "failed"))
    stop.click(None, cancels=runs, js=told("rows", "stopped"))

    search = gr.Textbox(visible=False)
    outputs = [fields[name] for name in FIELDS]
    demo.load(
        lambda search: fill(search, models),
        search,
        outputs,
        js="() => [window.location.search]",
        queue=False,
        api_visibility="private",
        show_progress="hidden",
    )


def fill(search: str, models: Models) -> list[Any]:
    """What the address sets; fields that it does not name stay."""
    found = from_address(search, models.names) if isinstance(search, str) else {}
    return [gr.update(value=found[name]) if name in found else gr.skip() for name in FIELDS]


def live_rows(models: Models, *values: Any) -> Iterator[str]:
    """The view's messages for what the fields hold; an error is a message too."""
    try:
        asked = Asked.checked(**dict(zip(FIELDS, values)))
        yield from live([models.source(asked.model)], asked)
    except ERRORS as error:
        yield message("error", message=one_line(error))


def compare_api(models: Models) -> Any:
    """The function behind `/compare`."""

    def compare(
        prompt: str,
        model: str = models.names[0],
        seed: int = 0,
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        threshold: float = 0.3,
        n_grad_steps: int = 3,
        entropy_min: bool = True,
    ) -> dict:
        """Decode a prompt twice from the same random numbers, plain and with EM-INF, and return both token by token.

        Args:
            prompt: the text to continue.
            model: one of the app's models.
            seed: of the random numbers, 0 to 4294967295.
            max_new_tokens: 1 to 1024.
            temperature: 0 (greedy) to 2.
            threshold: entropy in nats from which on EM-INF acts.
            n_grad_steps: EM-INF's steps a token, 0 to 100.
            entropy_min: False decodes both rows plain.

        Returns:
            plain and em (each text, tokens, entropy_before, entropy_after, adjusted), diverges_at, seed.
        """
        values = (prompt, model, seed, max_new_tokens, temperature, threshold, n_grad_steps, entropy_min)
        try:
            asked = Asked.checked(**dict(zip(FIELDS, values)))
            return comparison([models.source(asked.model)], asked)
        except ERRORS as error:
            raise gr.Error(one_line(error), print_exception=False) from error

    return compare


def launch(demo: gr.Blocks, *, host: str | None, port: int | None, share: bool, mcp: bool) -> None:
    """Serve until interrupted. Errors that are not ours to explain show as "Error" and stay in the log.

    Raises:
        OSError: the port is taken.
    """
    demo.launch(**launch_options(), server_name=host, server_port=port, share=share, mcp_server=mcp)


def launch_options() -> dict[str, Any]:
    """What every way to serve the app has in common."""
    return {
        # As "css" it would be rewritten rule by rule, and some would be lost.
        "head": f"<style>{asset('view.css')}</style>",
        "theme": gr.themes.Default(primary_hue="blue", font=[FONT, "ui-sans-serif", "system-ui", "sans-serif"]),
        "footer_links": ["api", "settings"],
        "max_file_size": "1mb",
        "run_history": False,
        "ssr_mode": False,
    }
