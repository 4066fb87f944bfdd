"""EM-INF in transformers' continuous batching: `generate_batch(..., entropy_min=...)` of an enabled model.

Continuous batching decodes many requests at once, which join and leave at every step, and asks its processors for one
int32 per request. Ours is the number of the request's settings in a table. `EntropyMinGenerationMixin` puts
`EntropyMinForBatching` into the model's processors, and transformers turns it into `_PerRequest`, by the map that it
has for this.

Where it acts: before temperature, top-k and top-p, and after bans and penalties, as in `generate`. Prefix sharing and
`num_return_sequences` change nothing: settings go by request.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from em_hf.generation.config import EntropyMinConfig, requested
from em_hf.generation.minimize import entropy_min_step

try:
    from transformers.generation.continuous_batching import cb_logits_processors as _library
except ImportError:  # a transformers without per-request processors, as vLLM's environment may have
    _library = None  # type: ignore[assignment]

_Base: Any = getattr(_library, "ContinuousBatchingLogitsProcessor", object)


class EntropyMinForBatching(LogitsProcessor):
    """What `_get_logits_processor` returns for a manager of requests that may ask for EM-INF.

    Args:
        settings (list of EntropyMinConfig or None): One entry per prompt, in their order.
    """

    supports_continuous_batching = True

    def __init__(self, settings: list[EntropyMinConfig | None]) -> None:
        self.settings = settings

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        raise ValueError(
            "entropy_min in generate_batch needs per_request_processors=True in the ContinuousBatchingConfig"
        )


class _PerRequest(_Base):
    """EM-INF for the requests of a step, each with its own settings."""

    supported_kwargs = {"entropy_min": int}  # noqa: RUF012  (as the parent declares it)
    ignored_kwargs = ()

    def __init__(self, processor: EntropyMinForBatching) -> None:
        # 0 stands for off; the table is whole from the start, so that a captured graph has all of it.
        self.table: list[EntropyMinConfig] = list(dict.fromkeys(c for c in processor.settings if c is not None))

    def fill_defaults(self, int32_tensor: Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list) -> Tensor:
        numbers = [one.state.logit_processor_kwargs.get("entropy_min", 0) for one in requests_with_new_token]
        return torch.tensor(numbers, dtype=torch.int32, device="cpu")

    def __call__(self, scores: Tensor, tensor_arg: Tensor) -> Tensor:
        numbers = tensor_arg[: scores.shape[0]]
        for number, config in enumerate(self.table, start=1):
            scores = entropy_min_step(scores, config, numbers == number)[0]
        return scores


def settings_of_requests(entropy_min: Any, stored: Any, prompts: int) -> list[EntropyMinConfig | None]:
    """Return one entry per prompt.

    Raises:
        ValueError: The argument is no setting, or a list of another length than the prompts.
    """
    if isinstance(entropy_min, list | tuple):
        if len(entropy_min) != prompts:
            raise ValueError(
                f"entropy_min has {len(entropy_min)} entries, but there are {prompts} prompts: give one per prompt"
            )
        return [requested(entry, stored) for entry in entropy_min]
    return [requested(entropy_min, stored)] * prompts


_settings: ContextVar[list[EntropyMinConfig | None] | None] = ContextVar("em_hf_batching", default=None)


@contextmanager
def requests_with(settings: list[EntropyMinConfig | None]) -> Iterator[None]:
    """Within it, the model's next manager of requests gives each prompt its settings.

    Raises:
        ImportError: This transformers has no per-request processors.
    """
    if _library is None:
        raise ImportError("entropy_min in generate_batch needs a transformers whose processors know their requests")
    processors: Any = _library.CLASSIC_TO_CB_PROCESSORS_MAP  # declared as one of ABCMeta, which mypy misses in _Base
    processors.setdefault(EntropyMinForBatching, _PerRequest)
    token = _settings.set(settings)
    try:
        yield
    finally:
        _settings.reset(token)


def processors_of_requests() -> list[EntropyMinForBatching]:
    """Return what belongs into the processors of the manager that is being made."""
    settings = _settings.get()
    return [] if settings is None else [EntropyMinForBatching(settings)]


def init_with_settings(init: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
    """Call transformers' `init_continuous_batching` so that its manager numbers each request by its settings."""
    settings = _settings.get()
    if settings is None:
        return init(**kwargs)
    from transformers import ContinuousBatchingConfig

    config = copy.copy(kwargs.get("continuous_batching_config")) or ContinuousBatchingConfig()
    config.per_request_processors = True
    manager = init(**{**kwargs, "continuous_batching_config": config})
    table = list(dict.fromkeys(entry for entry in settings if entry is not None))
    numbers = [0 if entry is None else 1 + table.index(entry) for entry in settings]
    first, add_request = manager._request_counter, manager.add_request

    def add(*args: Any, request_id: str | None = None, **more: Any) -> Any:
        place = int(request_id.rpartition("_")[2]) - first if request_id else len(numbers)
        number = numbers[place] if place < len(numbers) else 0
        return add_request(*args, request_id=request_id, **more, **({"entropy_min": number} if number else {}))

    manager.add_request = add
    return manager
