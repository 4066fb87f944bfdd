"""EM-INF inside SGLang: the step of `minimize.py` as a custom logit processor that is sent with a request.

The server must have em-hf installed and be started with `--enable-custom-logit-processor`. A request then adds two
fields, which `request_fields` creates and validates:

```python
import requests
from em_hf.generation.sglang import request_fields

fields = request_fields({"n_grad_steps": 10})
body = {"text": "One, two,", "sampling_params": {"temperature": 1.0, "custom_params": fields["custom_params"]}}
body["custom_logit_processor"] = fields["custom_logit_processor"]
requests.post("http://localhost:30000/generate", json=body)
```

Over the OpenAI-compatible API both are `extra_body=request_fields(True)`. Sending them needs neither SGLang nor dill.

Where it acts: after logit bias, penalties and grammars, whose banned tokens have probability 0, and before temperature,
top-k, top-p and min-p. Requests of one batch may have different settings; those without the fields are unchanged.

SGLang's scheduler exits when a processor raises, so settings are validated when the request is created. Speculative
decoding silently bypasses custom processors, so the processor refuses to load on a server that was started with it.
"""

import json
import pickle
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from em_hf.generation.config import EntropyMinConfig, requested
from em_hf.generation.minimize import entropy_min_step

ARGUMENT = "entropy_min"
# The code that SGLang unpickles; it checks for em_hf first, so that a server without it reports what is missing.
_LOADER = (
    "__import__('em_hf.generation.sglang', fromlist=['x']).EntropyMinSGLangProcessor "
    "if __import__('importlib.util', fromlist=['x']).find_spec('em_hf') else (_ for _ in ()).throw("
    "ModuleNotFoundError('entropy_min needs em-hf on the SGLang server: pip install em-hf there'))"
)


class _Loader:
    def __reduce__(self) -> tuple:
        return eval, (_LOADER,)


def request_fields(entropy_min: Any = True) -> dict[str, Any]:
    """Return the fields that make a request to SGLang use EM-INF.

    Args:
        entropy_min (bool, EntropyMinConfig, dict or str, default True): The settings, as everywhere in em-hf.

    Returns:
        `custom_logit_processor` (str) and `custom_params` (dict); an empty dict if EM-INF is off.

    Raises:
        ValueError: `entropy_min` is neither a switch nor valid settings.

    Example:

    ```python
    >>> from em_hf.generation.sglang import request_fields
    >>> request_fields({"n_grad_steps": 10})["custom_params"]["entropy_min"]["n_grad_steps"]
    10
    >>> request_fields(False)
    {}

    ```
    """
    config = requested(entropy_min)
    if config is None:
        return {}
    return {
        "custom_logit_processor": EntropyMinSGLangProcessor.to_str(),
        "custom_params": {ARGUMENT: config.to_dict()},
    }


def _base() -> type:
    """Return SGLang's own class if SGLang is installed, so that its type checks pass, or `object`."""
    try:
        return import_module("sglang.srt.sampling.custom_logit_processor").CustomLogitProcessor
    except ImportError:
        return object


class EntropyMinSGLangProcessor(_base()):  # type: ignore[misc]
    """EM-INF for the rows of a batch whose request asks for it; SGLang creates one object per batch.

    Raises:
        ValueError: The server uses speculative decoding.
    """

    def __init__(self) -> None:
        algorithm = _speculative_algorithm()
        if algorithm is not None:
            raise ValueError(
                f"entropy_min does not work on this SGLang server: its speculative decoding ({algorithm}) bypasses "
                "logit processors; start it without --speculative-algorithm"
            )

    def __call__(self, logits: Tensor, custom_param_list: Sequence[Mapping[str, Any] | None] | None = None) -> Tensor:
        """Return logits `[rows, V]`, adjusted in the rows that ask for it and identical bit for bit in the others.

        Raises:
            ValueError: A row has invalid settings, or the numbers of rows and parameters differ.
        """
        rows = list(custom_param_list or [None] * logits.shape[0])
        if len(rows) != logits.shape[0]:
            raise ValueError(f"SGLang gave parameters for {len(rows)} rows, but there are {logits.shape[0]}")
        configs: list[EntropyMinConfig | None] = [requested((row or {}).get(ARGUMENT)) for row in rows]
        for config in dict.fromkeys(configs):
            if config is not None:
                active = torch.tensor([one == config for one in configs], device="cpu").to(logits.device)
                logits = entropy_min_step(logits, config, active)[0]
        return logits

    @classmethod
    def to_str(cls) -> str:
        """Return the processor as the text that SGLang takes in a request."""
        return json.dumps({"callable": pickle.dumps(_Loader()).hex()})


def _speculative_algorithm() -> str | None:
    """Return the speculative decoding algorithm of this process's SGLang server, or None if it has none."""
    places = {"sglang.srt.runtime_context": "get_spec", "sglang.srt.server_args": "get_global_server_args"}
    for module, name in places.items():  # in 0.5.23, and in earlier versions
        try:
            return getattr(import_module(module), name)().speculative_algorithm
        except (ImportError, AttributeError, ValueError, RuntimeError):  # missing, not set, or removed
            continue
    return None
