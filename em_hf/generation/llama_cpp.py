"""EM-INF in llama.cpp, through llama-cpp-python (`pip install em-hf[gguf]`).

```python
from em_hf import EntropyTrace
from em_hf.generation.llama_cpp import complete, load_gguf

llm, trace = load_gguf("model.gguf", n_ctx=2048), EntropyTrace()
out = complete(llm, "The sea is", entropy_min=True, entropy_trace=trace, max_tokens=32, temperature=1.0, top_k=0)
print(out["choices"][0]["text"], trace.before)
```

Where it acts: after `logit_bias`, whose banned tokens have probability 0, and before penalties, grammars, top-k, top-p,
min-p and temperature. Pass a list of chat messages instead of the prompt for a chat completion. Use `complete` rather
than the bare processor: llama.cpp continues without a processor that fails, and llama-cpp-python drops all processors
if a `logit_bias` is given.
"""

import atexit
import weakref
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from em_hf.generation.config import requested
from em_hf.generation.gguf_header import gguf_architecture
from em_hf.generation.processors import EntropyMinLogitsProcessor
from em_hf.generation.trace import EntropyTrace

_ENOUGH = (0, 3)  # the first minor version of llama-cpp-python with this interface


class EntropyMinLlamaCppProcessor:
    """Logits processor that lowers the entropy of llama.cpp's logits before a token is drawn.

    Args:
        entropy_min (bool, EntropyMinConfig, dict or str, default True): The settings, as everywhere in em-hf.
        entropy_trace (EntropyTrace, optional): Grows by one step per token.
        logit_bias (dict of int to float, optional): Values added to tokens' logits first; `-inf` bans a token.

    Attributes:
        error: The exception raised in a call, or None; after one, the logits are left unchanged.

    Raises:
        ValueError: An argument is invalid.

    Example:

    ```python
    >>> import numpy as np
    >>> from em_hf.generation.llama_cpp import EntropyMinLlamaCppProcessor
    >>> processor = EntropyMinLlamaCppProcessor({"n_grad_steps": 1})
    >>> processor(np.array([7]), np.array([2.0, 1.0, 0.0, -1.0], dtype=np.float32)).round(3)
    array([ 2.1,  0.9, -0.1, -1.1], dtype=float32)

    ```
    """

    def __init__(
        self,
        entropy_min: Any = True,
        entropy_trace: EntropyTrace | None = None,
        logit_bias: Mapping[int, float] | None = None,
    ) -> None:
        self.config = requested(entropy_min)
        self._processor = EntropyMinLogitsProcessor([self.config], entropy_trace)
        self.logit_bias = {int(token): float(value) for token, value in (logit_bias or {}).items()}
        self.error: Exception | None = None

    def __call__(self, input_ids: "np.ndarray", scores: "np.ndarray") -> "np.ndarray":
        """Return new logits `[V]` for the logits `[V]` of the next token."""
        if self.error is not None:
            return scores
        try:
            logits = torch.tensor(scores, dtype=torch.float32, device="cpu")[None]
            for token, value in self.logit_bias.items():
                logits[0, token] += value
            return self.step(logits)[0].numpy()
        except Exception as error:  # llama.cpp would print it and continue
            self.error = error
            return scores

    def step(self, logits: Tensor) -> Tensor:
        """Apply EM-INF to logits `[1, V]`."""
        return self._processor(torch.empty(1, 0, dtype=torch.long, device="cpu"), logits)


def complete(
    llm: Any,
    prompt: str | list,
    *,
    entropy_min: Any = True,
    entropy_trace: EntropyTrace | None = None,
    stream: bool = False,
    **settings: Any,
) -> Any:
    """Complete a prompt or a chat with llama.cpp and EM-INF.

    Args:
        llm (llama_cpp.Llama): The model; see `load_gguf`.
        prompt (str or list): A text or its token ids, or a list of chat messages.
        entropy_min (bool, EntropyMinConfig, dict or str, default True): The settings, as everywhere in em-hf.
        entropy_trace (EntropyTrace, optional): Cleared, then filled with one step per token.
        stream (bool, default False): Return an iterator over the pieces of the answer.
        **settings: As for `create_completion` or `create_chat_completion`: `max_tokens`, `temperature`, `seed`, ...

    Returns:
        What llama-cpp-python returns: a dict, or an iterator of dicts.

    Raises:
        ValueError: An argument is invalid, or EM-INF is requested twice.
    """
    processors = list(settings.pop("logits_processor", None) or [])
    if any(isinstance(processor, EntropyMinLlamaCppProcessor) for processor in processors):
        raise ValueError("EM-INF is asked for twice, by entropy_min= and by a processor in logits_processor")
    ours = EntropyMinLlamaCppProcessor(entropy_min, entropy_trace, settings.pop("logit_bias", None))
    if entropy_trace is not None:
        entropy_trace.clear()
    if ours.config is not None or entropy_trace is not None or ours.logit_bias:
        processors.append(ours)
    if processors:
        settings["logits_processor"] = import_module("llama_cpp").LogitsProcessorList(processors)
    is_chat = isinstance(prompt, list) and bool(prompt) and isinstance(prompt[0], Mapping)
    call = llm.create_chat_completion if is_chat else llm.create_completion
    result = call(prompt, stream=stream, **settings)
    if stream:
        return _checked(result, ours)
    _raise(ours)
    return result


def _raise(processor: EntropyMinLlamaCppProcessor) -> None:
    if processor.error is not None:
        raise processor.error


def _checked(pieces: Iterator, processor: EntropyMinLlamaCppProcessor) -> Iterator:
    for piece in pieces:
        _raise(processor)
        yield piece


def load_gguf(path: str | Path, **settings: Any) -> Any:
    """Load a GGUF file with llama.cpp.

    Args:
        path (str or Path): The file.
        **settings: As for `llama_cpp.Llama`: `n_ctx`, `n_threads`, `n_gpu_layers`, ...; `verbose` is False by default.

    Returns:
        The `llama_cpp.Llama`.

    Raises:
        ImportError: llama-cpp-python is missing or too old.
        ValueError: The file is missing, damaged, not a GGUF file, or of an architecture this llama.cpp does not have.
    """
    try:
        module = import_module("llama_cpp")
    except ImportError as error:
        raise ImportError(f"a .gguf file needs llama-cpp-python: pip install 'em-hf[gguf]' ({error})") from error
    if tuple(int(part) for part in module.__version__.split(".")[:2]) < _ENOUGH:
        raise ImportError(f"llama-cpp-python {module.__version__} is too old: pip install -U 'em-hf[gguf]'")
    path = Path(path).expanduser()
    architecture = gguf_architecture(path)
    try:
        llm = module.Llama(str(path), **{"verbose": False, **settings})
    except (ValueError, RuntimeError, OSError) as error:
        raise ValueError(
            f"{path} is a GGUF file ({architecture}) that llama-cpp-python {module.__version__} cannot load: it is "
            f"damaged, or of an architecture that this version does not have ({error})"
        ) from error
    close_at_exit(llm)
    return llm


_OPEN: list[weakref.ref] = []


def close_at_exit(closable: Any) -> None:
    """Call `closable.close()` when Python exits, if it still exists: later, llama.cpp's library may be gone.

    Objects are closed in reverse order, so that a context is closed before its model.
    """
    if not _OPEN:
        atexit.register(_close_all)
    _OPEN.append(weakref.ref(closable, _OPEN.remove))


def _close_all() -> None:
    for reference in reversed(_OPEN[:]):
        closable = reference()
        if closable is not None:
            closable.close()
