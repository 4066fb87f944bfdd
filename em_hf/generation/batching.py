"""EM-INF in transformers' continuous batching: `generate_batch(..., entropy_min=...)` of an enabled model.

Continuous batching decodes many requests at once, which join and leave at every step, and asks its processors for one
int32 per request. Ours is the number of the request's settings in a table. `EntropyMinGenerationMixin` adds
`EntropyMinForBatching` to the model's processors, and transformers converts it to `_PerRequest` through its
`CLASSIC_TO_CB_PROCESSORS_MAP`.

For requests that are not known in advance, create the manager yourself:

```python
with torch.no_grad():
    manager = model.init_continuous_batching(generation_config, entropy_min=False)  # the default for requests
    manager.start()
    manager.add_request(prompt_ids, entropy_min={"n_grad_steps": 10})
```

Where it acts: before temperature, top-k and top-p, and after bans and penalties, as in `generate`. Prefix sharing and
`num_return_sequences` make no difference: settings belong to a request.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import LogitsProcessor

from em_hf.generation.config import EntropyMinConfig, requested
from em_hf.generation.minimize import entropy_min_step

try:
    from transformers.generation.continuous_batching import cb_logits_processors as _library
except ImportError:  # transformers has no per-request processors, as may be the case beside vLLM
    _library = None  # type: ignore[assignment]

_REMEMBERED = 65_536  # distinct settings kept per manager, more than the requests it decodes at a time
_Base: Any = getattr(_library, "ContinuousBatchingLogitsProcessor", object)


class EntropyMinForBatching(LogitsProcessor):
    """Placeholder that `_get_logits_processor` returns for a manager whose requests may ask for EM-INF.

    Args:
        settings (list of EntropyMinConfig or None): All settings that requests may ask for; None if not yet known.
    """

    supports_continuous_batching = True

    def __init__(self, settings: Sequence[EntropyMinConfig | None] | None) -> None:
        self.settings = settings

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        raise ValueError(
            "entropy_min in generate_batch needs per_request_processors=True in the ContinuousBatchingConfig"
        )


class _PerRequest(_Base):
    """EM-INF for the requests of a step, each with its own settings."""

    supported_kwargs = {"entropy_min": EntropyMinConfig}  # noqa: RUF012  (as the parent declares it)
    ignored_kwargs = ()

    def __init__(self, processor: EntropyMinForBatching) -> None:
        # Maps settings to their numbers; 0 means off. All known settings are entered at the start, so that a captured
        # graph includes them.
        self.is_complete = processor.settings is not None
        known = dict.fromkeys(config for config in processor.settings or () if config is not None)
        self.table: dict[EntropyMinConfig, int] = {config: number for number, config in enumerate(known, start=1)}
        self._new = count(1 + len(known))

    def fill_defaults(self, int32_tensor: Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list) -> Tensor:
        numbers = [self._number(one.state.logit_processor_kwargs.get("entropy_min")) for one in requests_with_new_token]
        return torch.tensor(numbers, dtype=torch.int32, device="cpu")

    def _number(self, config: EntropyMinConfig | None) -> int:
        if config is None:
            return 0
        self.table[config] = number = self.table.pop(config, None) or next(self._new)  # kept in order of last use
        if len(self.table) > _REMEMBERED:
            del self.table[next(iter(self.table))]
        return number

    def __call__(self, scores: Tensor, tensor_arg: Tensor) -> Tensor:
        numbers = tensor_arg[: scores.shape[0]]
        present = None if self.is_complete else set(numbers.tolist())
        for config, number in list(self.table.items()):
            if present is None or number in present:
                scores = entropy_min_step(scores, config, numbers == number)[0]
        return scores


def settings_of_requests(entropy_min: Any, stored: Any, prompts: int) -> list[EntropyMinConfig | None]:
    """Return one entry per prompt: its settings, or None if EM-INF is off.

    Raises:
        ValueError: The argument is not a valid setting, or a list whose length is not the number of prompts.
    """
    if isinstance(entropy_min, list | tuple):
        if len(entropy_min) != prompts:
            raise ValueError(
                f"entropy_min has {len(entropy_min)} entries, but there are {prompts} prompts: give one per prompt"
            )
        return [requested(entry, stored) for entry in entropy_min]
    return [requested(entropy_min, stored)] * prompts


# The settings for the manager being created: one entry per prompt, or "any" if each request brings its own.
_settings: ContextVar[list[EntropyMinConfig | None] | Literal["any"] | None] = ContextVar(
    "em_hf_batching", default=None
)


@contextmanager
def requests_with(settings: list[EntropyMinConfig | None] | Literal["any"]) -> Iterator[None]:
    """Run the block so that the model's next manager of requests gives each prompt its settings.

    Raises:
        ImportError: The installed transformers has no per-request processors.
    """
    if _library is None:
        raise ImportError("entropy_min in generate_batch needs a transformers whose processors know their requests")
    processors: Any = _library.CLASSIC_TO_CB_PROCESSORS_MAP  # mypy infers ABCMeta values, and sees none in _Base
    processors.setdefault(EntropyMinForBatching, _PerRequest)
    token = _settings.set(settings)
    try:
        yield
    finally:
        _settings.reset(token)


def processors_of_requests() -> list[EntropyMinForBatching]:
    """Return the processors to add for the manager being created, if any."""
    settings = _settings.get()
    return [] if settings is None else [EntropyMinForBatching(None if settings == "any" else settings)]


def init_with_settings(init: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
    """Call transformers' `init_continuous_batching` so that its manager gives each prompt its settings."""
    settings = _settings.get()
    if settings is None or settings == "any":
        return init(**kwargs)
    manager = init(**{**kwargs, "continuous_batching_config": _per_request(kwargs)})
    first, add_request = manager._request_counter, manager.add_request

    def add(*args: Any, request_id: str | None = None, **more: Any) -> Any:
        place = int(request_id.rpartition("_")[2]) - first if request_id else len(settings)
        config = settings[place] if place < len(settings) else None
        return add_request(*args, request_id=request_id, **more, **_as_keyword(config))

    manager.add_request = add
    return manager


def init_for_any(init: Callable[..., Any], kwargs: dict[str, Any], default: Any, stored: Any) -> Any:
    """Call transformers' `init_continuous_batching` for a manager whose `add_request` takes `entropy_min`.

    Args:
        init: The method.
        kwargs: Its arguments.
        default: The setting of a request that gives none.
        stored: The settings that True stands for.

    Raises:
        ValueError: CUDA graphs are requested, which would miss settings that are added later.
    """
    own = requested(default, stored)
    config = _per_request(kwargs)
    if config.use_cuda_graph not in (None, False, (False, False)):
        raise ValueError(
            "entropy_min in init_continuous_batching needs use_cuda_graph=False in the ContinuousBatchingConfig: a "
            "captured graph has only the settings that were known then; generate_batch knows all of its own"
        )
    config.use_cuda_graph = False
    with requests_with("any"):
        manager = init(**{**kwargs, "continuous_batching_config": config})
    add_request = manager.add_request

    def add(*args: Any, entropy_min: Any = _UNSAID, **more: Any) -> Any:
        asked = own if entropy_min is _UNSAID else requested(entropy_min, stored)
        return add_request(*args, **more, **_as_keyword(asked))

    manager.add_request = add
    return manager


_UNSAID: Any = object()


def _per_request(kwargs: dict[str, Any]) -> Any:
    """Return a copy of the `ContinuousBatchingConfig` in `kwargs`, with per-request processors turned on."""
    from transformers import ContinuousBatchingConfig

    config = copy.copy(kwargs.get("continuous_batching_config")) or ContinuousBatchingConfig()
    config.per_request_processors = True
    return config


def _as_keyword(config: EntropyMinConfig | None) -> dict[str, EntropyMinConfig]:
    return {} if config is None else {"entropy_min": config}
