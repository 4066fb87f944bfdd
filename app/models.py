"""The models a visitor may choose from: an allow-list, each loaded once and shared."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from em_hf.generation.gguf import load_gguf_model
from em_hf.generation.mixin import enable_entropy_min
from em_hf.hub.redact import path_in
from em_hf.messages import shown
from em_hf.models import POCKET_NAME, context_length, encode_prompts, load_model
from em_hf.settings import is_gguf

logger = logging.getLogger(__name__)
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
_HUB_SECONDS = 3.0


@dataclass(frozen=True)
class Loaded:
    """A model with EM-INF enabled, its tokenizer, and its context in tokens (None if unbounded)."""

    model: Any
    tokenizer: Any
    context: int | None

    def encode(self, prompt: str, max_new_tokens: int) -> tuple[Any, int]:
        """Return a prompt's `input_ids` and `attention_mask`, `[1, tokens]`, and how many new tokens to draw.

        That is `max_new_tokens`, or as many as the model's context has room for.

        Raises:
            ValueError: the prompt leaves no room for a single new token.
        """
        inputs = encode_prompts(self.tokenizer, [prompt], limit=self.context - 1 if self.context else None)
        room = self.context - inputs["input_ids"].shape[1] if self.context else max_new_tokens
        return inputs, min(room, max_new_tokens)


_loaded: dict[str, Loaded] = {}
_loading = Lock()


def load(source: str) -> Loaded:
    """Return the model of a Hub id, folder or GGUF file, loaded on the first call and shared afterwards.

    Never called with a visitor's input directly: `Models.source` checks it first.

    Raises:
        OSError, ValueError, ImportError: As `load_model` and `load_gguf_model`, for whoever runs the app.
    """
    with _loading:
        if source not in _loaded:
            model, tokenizer = load_gguf_model(source) if is_gguf(source) else load_model(source)
            _loaded[source] = Loaded(enable_entropy_min(model), tokenizer, context_length(model))
        return _loaded[source]


def loaded(source: str) -> Loaded:
    """Return the same as `load`, with errors that reveal no path of the server to visitors.

    Raises:
        OSError, ValueError, ImportError: The model cannot be loaded; if the reason names a path, or the model is a
            folder or a file, the reason is only in the server's log.
    """
    try:
        return load(source)
    except Exception as error:  # a broken folder can raise anything
        is_plain = isinstance(error, OSError | ValueError | ImportError) and path_in(str(error)) is None
        if is_plain and shown_name(source) == source:
            raise
        logger.error("%s cannot be loaded: %s", source, error)
        raise ValueError(f"{shown_name(source)} cannot be loaded; the server's log has the reason") from error


class Models:
    """The model names that visitors see, and their sources. Of a folder or file, only the last part is shown.

    Args:
        sources: Hub ids, folders, GGUF files or `pocket-reasoner`.

    Raises:
        ValueError: no source, or two that would be shown under the same name.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources: dict[str, str] = {}
        for source in dict.fromkeys(sources):
            name = shown_name(source)
            if name in self._sources:
                raise ValueError(f"{self._sources[name]} and {source} would both be shown as {name}: rename a folder")
            self._sources[name] = source
        if not self._sources:
            raise ValueError("name at least one model")

    @property
    def names(self) -> list[str]:
        return list(self._sources)

    def source(self, name: str) -> str:
        """Return the source of a name on the list.

        Raises:
            ValueError: the name is not on the list.
        """
        if not isinstance(name, str) or name not in self._sources:
            raise ValueError(f"model is {shown(name)}, but this app has {', '.join(self._sources)}")
        return self._sources[name]


def shown_name(source: str) -> str:
    """Return the name of a model that visitors see: for a folder or a file, only its last part."""
    path = Path(os.path.abspath(os.path.expanduser(source)))
    return path.name if is_gguf(source) or path.is_dir() else source


def default_sources() -> list[str]:
    """Return the pocket reasoner, and SmolLM2 if it is in the cache or the Hub answers."""
    return [POCKET_NAME, SMOLLM2] if _can_be_had(SMOLLM2) else [POCKET_NAME]


def _can_be_had(hub_id: str) -> bool:
    from huggingface_hub import HfApi, constants, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(hub_id, "config.json"), (str, os.PathLike)):
        return True
    if constants.is_offline_mode():
        return False
    try:
        HfApi().model_info(hub_id, timeout=_HUB_SECONDS)
    except Exception:  # whatever the reason: no network, no such host, a refusal; the app starts without it
        return False
    return True
