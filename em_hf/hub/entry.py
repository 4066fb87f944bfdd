"""Where a repository's `custom_generate/generate.py` begins; `recipe.py` copies in front of it all that it needs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from em_hf.generation.mixin import EntropyMinGenerationMixin, _mix_in, _take_out

# Arguments about loading this file, which transformers hands on with those about generating.
_LOADING = (
    "cache_dir",
    "force_download",
    "local_files_only",
    "proxies",
    "repo_type",
    "revision",
    "subfolder",
    "token",
)
_lock = threading.Lock()


def generate(*args: Any, model: Any, **kwargs: Any) -> Any:
    """transformers' `generate` of `model`, which also takes `entropy_min`, `entropy_trace` and `coupled`.

    Works in both ways in which transformers calls it: as `custom_generate=` of any model's `generate`, and as the
    `generate` of a model that was loaded from this repository with `trust_remote_code=True`. The second way passes the
    prompt by position, so `model` is a keyword.
    """
    kwargs = {name: value for name, value in kwargs.items() if name not in _LOADING}
    with _mixed_in(model):
        # By the class: the object's own `generate` may be this function again.
        return type(model).generate(model, *args, **kwargs)


@contextmanager
def _mixed_in(model: Any) -> Iterator[None]:
    """`model` with the mixin in its class, until the last of the calls that run on it has returned."""
    with _lock:
        calls = model.__dict__["_em_hf_calls"] = model.__dict__.get("_em_hf_calls", 0) + 1
        if calls == 1:
            _mix_in(model, EntropyMinGenerationMixin)
    try:
        yield
    finally:
        with _lock:
            model.__dict__["_em_hf_calls"] -= 1
            if model.__dict__["_em_hf_calls"] == 0:
                del model.__dict__["_em_hf_calls"]
                _take_out(model, EntropyMinGenerationMixin)
