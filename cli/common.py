"""What the commands share: output to the right stream, and how the heavy libraries are loaded."""

import json
import os
import sys
import warnings
from typing import Any

import click

from .checks import hub_is_reachable, is_hub_id


def note(message: str) -> None:
    """Print something that is not a result, to stderr."""
    click.echo(message, err=True)


def print_json(value: Any) -> None:
    """Print a value as JSON, to stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def load_libraries(*sources: str | None) -> None:
    """Import PyTorch and transformers, behind a line that says so, with their progress bars and chatter off.

    Args:
        sources: The models and datasets that will be loaded. Where one comes from the Hub and the Hub does not answer,
            only the local cache is used from here on, instead of waiting through every library's retries.
    """
    if "torch" not in sys.modules and os.environ.get("RANK", "0") == "0":
        note("Loading PyTorch and transformers …")
    if any(map(is_hub_id, sources)) and not hub_is_reachable():
        note("The Hub does not answer: using the local cache only.")
        os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub, transformers and datasets when they are imported
        if "huggingface_hub.constants" in sys.modules:
            sys.modules["huggingface_hub.constants"].HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils import logging

    logging.disable_progress_bar()
