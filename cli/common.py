"""What the commands share: the common options, the strict `--config` file, and output to the right stream."""

import difflib
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

POCKET = "pocket-reasoner"


def note(message: str) -> None:
    """Say something that is not a result: to stderr."""
    click.echo(message, err=True)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def quiet_libraries() -> None:
    """Keep the libraries' progress bars out of pipes and their chatter off the screen; before they are imported."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils import logging

    logging.disable_progress_bar()


def _read_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Make the file's values the defaults of this command; a flag on the command line wins."""
    if path is None:
        return None
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} is not YAML: {' '.join(str(error).split())}", ctx, param) from error
    if not isinstance(values, dict):
        raise click.BadParameter(f"{path} must hold 'option: value' lines, not {type(values).__name__}", ctx, param)
    options = {p.name: p for p in ctx.command.params if isinstance(p, click.Option) and p.name != param.name}
    defaults: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in options:
            near = difflib.get_close_matches(name, [n for n in options if n], 1)
            hint = f"; did you mean {near[0].replace('_', '-')!r}?" if near else ""
            raise click.BadParameter(f"{path} has the unknown key {key!r}{hint}", ctx, param)
        defaults[name] = json.dumps(value) if isinstance(value, dict) else value
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    note(f"Settings read from {path}.")
    return path


def config_option(command: Callable) -> Callable:
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        callback=_read_config,
        help="YAML file of options; flags win over it.",
    )(command)


def model_options(command: Callable) -> Callable:
    """--model, --revision, --dtype, --device, --seed and --trust-remote-code, as every command has them."""
    options = (
        click.option(
            "--model", default=POCKET, show_default=True, help="Hub id, folder, pocket-reasoner or pocket-misled."
        ),
        click.option("--revision", help="Branch, tag or commit of a Hub model."),
        click.option(
            "--dtype",
            type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
            default="auto",
            show_default=True,
            help="Precision to load the model in; auto is the checkpoint's on a GPU, float32 on a CPU.",
        ),
        click.option("--device", help="cpu, cuda, cuda:1, mps …  [default: the best there is]"),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all randomness."),
        click.option("--trust-remote-code", is_flag=True, help="Run the code that comes in the model's repository."),
    )
    for option in reversed(options):
        command = option(command)
    return command
