"""`em-hf app`: the side-by-side view in a browser."""

from dataclasses import dataclass
from pathlib import Path

import click

from em_hf.settings import setting

from .checks import check_extra, check_model, check_port
from .common import load_libraries, note
from .options import Command, setting_options


@dataclass(frozen=True)
class AppOptions:
    """Options for what `em-hf app` shows, and where it listens."""

    run: Path | None = setting(None, help="Run folder, compared with its base model.", group="model", exists="folder")
    host: str = setting("127.0.0.1", help="Address to listen on; 0.0.0.0: every address.", group="output")
    port: int = setting(7860, help="Port to listen on.", group="output", low=1, high=65535)
    share: bool = setting(False, help="Open a temporary public address through gradio's servers too.", group="output")
    mcp: bool = setting(False, help="Serve the API as an MCP tool too; needs the mcp package.", group="output")


@click.command(
    "app", cls=Command, epilog="Example: em-hf app --model pocket-reasoner --model Qwen/Qwen2.5-0.5B-Instruct"
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="TEXT",
    help="Hub id, folder, GGUF file or pocket-reasoner; may be repeated.  [default: pocket-reasoner, and "
    "SmolLM2-135M-Instruct where it is at hand]",
)
@setting_options(AppOptions)
def command(models: tuple[str, ...], run: Path | None, host: str, port: int, share: bool, mcp: bool) -> None:
    """Watch decoding with and without EM-INF side by side, in a browser."""
    for name in models:
        check_model(name, gguf=True)
    check_extra("the app", "app", "gradio")
    if mcp:
        check_mcp()
    if run is not None:
        from em_hf.app.main import base_of_run

        base_of_run(str(run))
    check_port(host, port)
    load_libraries(*models)
    from em_hf.app.main import serve

    note("Starting; Ctrl-C stops it.")
    serve(models, run=None if run is None else str(run), host=host, port=port, share=share, mcp=mcp)


def check_mcp() -> None:
    """Raise ImportError if gradio's MCP server cannot be started."""
    from importlib.util import find_spec

    if find_spec("mcp") is None:
        raise ImportError("--mcp needs the mcp package: pip install 'gradio[mcp]'")
