"""The page: one prompt in two panes, then many samples of it; all uses of the model share one queue slot."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr
from gradio.themes.utils.fonts import LocalFont

from em_hf.models import POCKET_NAMES
from em_hf.settings import MAX_SEED

from .about import about_tab
from .decoding import comparison
from .examples import POCKET_LIMITS, SERVE_ANOTHER, from_address, opening, settings_for
from .fence import middleware
from .fields import ERRORS, FIELDS, ON_MODEL, QUIET, example_table, notify_js, one_line, settings_fields
from .models import Models
from .repeated import repeat_section, repeated_example
from .request import DecodeRequest, known_answer
from .trained import trained_tab
from .view import asset, example, live, message, view

QUEUE = 64
# The semibold of gradio 6.31 lacks most letters.
FONT = LocalFont("Source Sans Pro", weights=(400, 700))
TITLE = "# Decoding with and without entropy minimization (EM-INF): same model, same prompt, same random numbers"


def build(models: Models, *, run: str | None = None) -> gr.Blocks:
    """Return the app for an allow-list of models; `run` adds a tab that compares a run folder with its base model.

    Raises:
        ValueError, OSError: `run` is not a run folder.
    """
    with gr.Blocks(title="EM-INF, side by side", analytics_enabled=False, fill_width=True) as demo:
        gr.Markdown(TITLE, elem_id="em-title")
        with gr.Tabs():
            with gr.Tab("Side by side", id="rows"):
                compare_tab(demo, models)
            if run is not None:
                with gr.Tab("Trained run", id="trained"):
                    trained_tab(run)
            with gr.Tab("Method", id="about"):
                about_tab()
        gr.api(compare_api(models), api_name="compare", **ON_MODEL)
    return demo.queue(max_size=QUEUE, default_concurrency_limit=8)


def compare_tab(demo: gr.Blocks, models: Models) -> None:
    begin = opening(models)
    with gr.Row(elem_id="em-columns"):
        with gr.Column(scale=3, min_width=340, elem_id="em-main"):
            prompt = gr.Textbox(begin.prompt, label="Prompt", lines=2, max_lines=6, elem_id="em-prompt")
            with gr.Row():
                generate = gr.Button("Generate", variant="primary", elem_id="em-generate", min_width=90, scale=2)
                stop = gr.Button("Stop", elem_id="em-stop", min_width=60)
                another = gr.Button("Next seed", elem_id="em-next", min_width=80)
            shown = view("rows", example(models))
            repeat = repeat_section(repeated_example(models))
        with gr.Column(scale=1, min_width=280, elem_id="em-side"):
            fields = {"prompt": prompt, **settings_fields(models, begin)}
            example_table(models, fields)
            if pocket := set(models.names) & set(POCKET_NAMES):
                others = "Choose another model" if pocket < set(models.names) else SERVE_ANOTHER
                gr.Markdown(f"{POCKET_LIMITS} {others} for open questions.")

    # A known answer is that of one prompt.
    prompt.input(None, None, fields["answer"], js="() => ''", **QUIET)
    inputs = [fields[name] for name in (*FIELDS, "answer")]
    handler = partial(live_rows, models)
    waiting = notify_js("rows", "waiting")
    shared: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "undocumented", **ON_MODEL}
    runs: list[Any] = [
        generate.click(handler, inputs, shown, js=waiting, api_name="live", **shared),
        prompt.submit(handler, inputs, shown, js=waiting, api_name="live_submit", **shared),
    ]
    bumped = another.click(
        lambda seed: (int(seed or 0) + 1) % (MAX_SEED + 1),
        fields["seed"],
        fields["seed"],
        queue=False,
        api_visibility="private",
    )
    runs.append(bumped.then(handler, inputs, shown, js=waiting, api_name="live_next", **shared))
    for run in runs:
        run.failure(None, js=notify_js("rows", "failed"))
    stop.click(None, cancels=runs, js=notify_js("rows", "stopped"))
    repeat(models, inputs)

    search = gr.Textbox(visible=False)
    demo.load(lambda search: fill(search, models), search, inputs, js="() => [window.location.search]", **QUIET)


def fill(search: str, models: Models) -> list[Any]:
    """Return updates of the fields that the address sets; the others stay as they are."""
    found = from_address(search, models.names) if isinstance(search, str) else {}
    return [gr.update(value=found[name]) if name in found else gr.skip() for name in (*FIELDS, "answer")]


def live_rows(models: Models, *values: Any) -> Iterator[str]:
    """Yield the view's messages for the values of the fields and the known answer; errors are messages too."""
    try:
        request = DecodeRequest.checked(**dict(zip(FIELDS, values)))
        answer = known_answer(values[len(FIELDS)]) if len(values) > len(FIELDS) else None
        yield from live([models.source(request.model)], request, answer)
    except ERRORS as error:
        yield message("error", message=one_line(error))


def compare_api(models: Models) -> Any:
    """Return the function behind `/compare`."""

    def compare(
        prompt: str,
        model: str = models.names[0],
        seed: int = 0,
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        threshold: float | None = None,
        n_grad_steps: int | None = None,
        entropy_min: bool = True,
    ) -> dict:
        """Decode a prompt twice from the same random numbers, plain and with EM-INF, and return both token by token.

        Args:
            prompt: the text to continue.
            model: one of the app's models.
            seed: of the random numbers, 0 to 4294967295.
            max_new_tokens: 1 to 1024.
            temperature: 0 (greedy) to 2.
            threshold: entropy in nats from which EM-INF acts; by default the model's own setting.
            n_grad_steps: EM-INF's gradient steps per token, 0 to 100; by default the model's own setting.
            entropy_min: False decodes both rows plain.

        Returns:
            plain and em (each text, tokens, entropy_before, entropy_after, adjusted), diverges_at, seed.
        """
        values = (prompt, model, seed, max_new_tokens, temperature, threshold, n_grad_steps, entropy_min)
        asked = dict(zip(FIELDS, values))
        try:
            source = models.source(model)
            if threshold is None or n_grad_steps is None:
                asked |= {name: value for name, value in settings_for(source).items() if asked[name] is None}
            return comparison([source], DecodeRequest.checked(**asked))
        except ERRORS as error:
            raise gr.Error(one_line(error), print_exception=False) from error

    return compare


def launch(demo: gr.Blocks, *, host: str | None, port: int | None, share: bool, mcp: bool) -> None:
    """Serve until interrupted. Unexpected errors show only as "Error"; their details stay in the log.

    Raises:
        OSError: the port is taken.
    """
    demo.launch(**launch_options(), server_name=host, server_port=port, share=share, mcp_server=mcp)


def theme() -> gr.themes.Base:
    """Return gradio's own theme, with its contrast raised where it is below WCAG's requirement."""
    made = gr.themes.Default(primary_hue="blue", font=[FONT, "ui-sans-serif", "system-ui", "sans-serif"])
    return made.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )


def launch_options() -> dict[str, Any]:
    """Return the options common to every way of serving the app."""
    return {
        # As "css" it would be rewritten rule by rule, and some would be lost.
        "head": f"<style>{asset('view.css')}</style>",
        "theme": theme(),
        "app_kwargs": middleware(),
        "footer_links": ["api", "settings"],
        "max_file_size": "1mb",
        "run_history": False,
        "ssr_mode": False,
    }
