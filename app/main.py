"""The app's server for a list of models, for `em-hf app` and for a Space."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

MODELS_FILE = "models.json"


def main(folder: Path) -> None:
    """Serve the models listed in a Space's `models.json`, such as `["pocket-reasoner", "me/my-model"]`.

    Without that file: the pocket reasoner, and SmolLM2 if it is available. Address and port are gradio's defaults,
    which a Space sets with environment variables.
    """
    serve(read_models(folder / MODELS_FILE))


def read_models(path: Path) -> list[str]:
    """Return the list in a JSON file, or an empty list if there is no such file.

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
    """Return the model that a run folder was trained from, as named in its `run.json`.

    Raises:
        ValueError: the folder was not written by `em-hf train`.
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
        models: the allow-list; if empty, the pocket reasoner, and SmolLM2 if it is available.
        run: a run folder of `em-hf train`, to be compared with the model it was trained from.

    Raises:
        ValueError, OSError: an invalid run folder or GGUF file, or two models with the same name.
        ImportError: gradio is missing, or llama-cpp-python for a GGUF file, or the `mcp` package for `mcp`.
    """
    if mcp and find_spec("mcp") is None:
        raise ImportError("--mcp needs the mcp package: pip install 'gradio[mcp]'")
    if run is not None:
        base_of_run(run)
    try:
        from . import zero  # spaces must be imported before torch
        from .ui import build, launch
    except ImportError as error:
        if error.name and error.name.split(".")[0] == "gradio":
            raise ImportError("the app needs gradio: pip install 'em-hf[app]'") from error
        raise
    from em_hf.settings import is_gguf

    from .models import Models, default_sources, load

    offered = Models(list(models) or default_sources())
    for source in map(offered.source, offered.names):
        # On ZeroGPU each decode runs in a fork of this process, so models loaded here are loaded only once. Errors in a
        # GGUF file are reported at startup.
        if zero.spaces is not None or is_gguf(source):
            load(source)
    demo = build(offered, run=run)
    launch(demo, host=host, port=port, share=share, mcp=mcp)
