"""Shared helpers of the commands: output to the right stream, and loading of the heavy libraries."""

import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from em_hf.messages import one_line

from .checks import POCKET_NAMES, hub_is_reachable, is_hub_id


def note(message: str) -> None:
    """Print a message that is not a result to stderr."""
    click.echo(message, err=True)


def note_defaults(stored: object) -> None:
    """Say that EM-INF's defaults apply if `stored`, the settings stored with the model, is None."""
    if stored is None:
        note("No EM-INF settings are stored with the model: the paper's code's defaults fill in what you leave out.")


def print_json(value: Any) -> None:
    """Print a value as JSON, to stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def load_libraries(*sources: str | None) -> None:
    """Import PyTorch and transformers after a notice, with their progress bars and log messages off.

    Args:
        sources: The models and datasets that will be loaded. If one comes from the Hub and the Hub does not answer,
            only the local cache is used from here on, instead of waiting for every library's retries.
    """
    if "torch" not in sys.modules and os.environ.get("RANK", "0") == "0":
        note("Loading PyTorch and transformers …")
    if any(map(is_hub_id, sources)) and not hub_is_reachable():
        note("The Hub does not answer: using the local cache only.")
        os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub, transformers and datasets when they are imported
        if "huggingface_hub.constants" in sys.modules:
            sys.modules["huggingface_hub.constants"].HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|vllm")
    warnings.filterwarnings("once", message="TRL currently supports vLLM")  # at every import otherwise
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils import logging

    logging.disable_progress_bar()


def load_chosen_model(options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Load the model and the tokenizer that the options of `ModelSettings` name; see `em_hf.models.load_model`."""
    from em_hf.models import load_model

    how = ("revision", "dtype", "device", "trust_remote_code")
    return load_model(options["model"], **{name: options[name] for name in how})


@contextmanager
def while_decoding(name: str) -> Iterator[None]:
    """Run the block with library errors caused by mismatched model files reported in one line.

    Files can be damaged in ways that show only once the model decodes: a token id as text, a number out of range.

    Args:
        name: The model, as the user named it; a pocket model's files are ours.

    Raises:
        ValueError: Decoding failed, and no library gave a clear reason.
    """
    try:
        yield
    except (ValueError, OSError, ImportError, MemoryError, click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except Exception as error:
        text = one_line(error, 300)
        if name in POCKET_NAMES or "out of memory" in text.lower():
            raise
        raise ValueError(
            f"{name} cannot decode ({type(error).__name__}: {text}): its config.json, generation_config.json, "
            "tokenizer and weights do not fit together, or one is damaged; more with --debug"
        ) from error
