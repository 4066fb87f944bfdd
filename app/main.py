"""From a list of models to a running server: for `em-hf app`, and for a Space."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

MODELS_FILE = "models.json"


def main(folder: Path) -> None:
    """Serve what a Space's folder describes: `models.json` is a list of models, `["pocket-reasoner", "me/my-model"]`.

    Without that file: the pocket reasoner, and SmolLM2 where it can be had. Address and port are gradio's defaults,
    which a Space sets by environment variables.
    """
    serve(read_models(folder / MODELS_FILE))


def read_models(path: Path) -> list[str]:
    """The list in a JSON file; empty where there is no such file.

    Raises:
        ValueError: it is not a JSON list of names.
    """
    if not path.is_file():
        return []
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'{path.name} must be a list of model names, such as ["pocket-reasoner"]')
    return names


def base_of_run(run: str) -> str:
    """The model that a run folder was trained from, as its `run.json` names it.

    Raises:
        ValueError: the folder is not one that `em-hf train` wrote.
    """
    from em_hf.runs import RunFileError, read_facts

    try:
        base = read_facts(Path(run)).base_model
    except RunFileError as error:
        raise ValueError(f"{run} is no run folder of em-hf train ({error})") from error
    if base is None:
        raise ValueError(f"{run} is no run folder of em-hf train (it does not name its base model)")
    return base


def serve(
    models: Sequence[str] = (),
    *,
    run: str | None = None,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    mcp: bool = False,
) -> None:
    """Build the app and serve it until interrupted.

    Args:
        models: the allow-list; empty: the pocket reasoner, and SmolLM2 where it can be had.
        run: a run folder of `em-hf train`, to be compared with the model it was trained from.

    Raises:
        ValueError, OSError: a run folder or GGUF file that is none, or two models of one name.
        ImportError: gradio is missing, llama-cpp-python where a model is a GGUF file, or the `mcp` package for `mcp`.
    """
    if mcp and find_spec("mcp") is None:
        raise ImportError("--mcp needs the mcp package: pip install 'gradio[mcp]'")
    if run is not None:
        base_of_run(run)
    try:
        from . import zero  # spaces wants to be imported before torch
        from .ui import build, launch
    except ImportError as error:
        if error.name and error.name.split(".")[0] == "gradio":
            raise ImportError("the app needs gradio: pip install 'em-hf[app]'") from error
        raise
    from em_hf.settings import is_gguf

    from .models import Models, default_sources, load

    offered = Models(list(models) or default_sources())
    for source in map(offered.source, offered.names):
        # On ZeroGPU each decode runs in a fork of this process: what is loaded now is loaded once. What is wrong with a
        # GGUF file is told now.
        if zero.spaces is not None or is_gguf(source):
            load(source)
    demo = build(offered, run=run)
    launch(demo, host=host, port=port, share=share, mcp=mcp)
