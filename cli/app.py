"""`em-hf app`: the side-by-side view in a browser."""

import click

from .common import note, quiet_libraries


@click.command("app", epilog="Example: em-hf app --model pocket-reasoner --model Qwen/Qwen2.5-0.5B-Instruct")
@click.option(
    "--model",
    "models",
    multiple=True,
    help="Hub id, folder, or pocket-reasoner; give it several times for several.  [default: pocket-reasoner, and "
    "SmolLM2-135M-Instruct where it can be had]",
)
@click.option("--run", type=click.Path(exists=True, file_okay=False), help="Run folder to compare with its base model.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True)
@click.option("--share", is_flag=True, help="Also open a temporary public address through gradio's servers.")
@click.option("--mcp", is_flag=True, help="Also serve the API as an MCP tool; needs the mcp package.")
def command(models: tuple[str, ...], run: str | None, host: str, port: int, share: bool, mcp: bool) -> None:
    """Watch decoding with and without EM-INF side by side, in a browser."""
    quiet_libraries()
    from em_hf.app.main import serve

    note("Starting; Ctrl-C stops it.")
    serve(models, run=run, host=host, port=port, share=share, mcp=mcp)
