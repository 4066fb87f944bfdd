"""EM-INF inside vLLM: the step of `minimize.py` as a logits processor that vLLM finds by its entry point.

Once em_hf is installed alongside vLLM, every engine has it, and only requests that ask for it use it:

```python
llm.generate(prompts, SamplingParams(temperature=1.0, extra_args={"entropy_min": {"n_grad_steps": 10}}))
```

`entropy_min` is True (the settings stored with the model, else the defaults), False, or a dict of the fields of
`EntropyMinConfig`. Over the OpenAI-compatible server, whose `vllm_xargs` cannot hold a nested object, it is 1, 0 or a
JSON object in a string, `"{\\"n_grad_steps\\": 10}"`. Invalid settings are rejected when the request arrives, with
vLLM's VLLMValidationError or HTTP 400 and a message that names the field.

Where it acts: before temperature, min-p, top-k and top-p, and after allowed tokens, bad words, minimum length, logit
bias and grammars, whose banned tokens have probability 0. Repetition, presence and frequency penalties come before it
in vLLM's V2 model runner, as in transformers, but after it in V1. Log-probabilities that vLLM returns are the model's
own, unless the engine was started with `logprobs_mode="processed_logprobs"`.

Speculative decoding: vLLM's V1 runner then loads no plug-ins and gives them no way to reject a request, so
`entropy_min` is validated and then ignored. V2 passes the logits of every draft token, and each row is processed.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.config import requested as settings_of
from em_hf.generation.minimize import entropy_min_step

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.config import VllmConfig
    from vllm.v1.sample.logits_processor import BatchUpdate
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcRequestState

logger = logging.getLogger(__name__)

ARGUMENT = "entropy_min"


def requested(params: "SamplingParams", stored: EntropyMinConfig | None = None) -> EntropyMinConfig | None:
    """Return the settings that a request asks for, or None; `stored` are those that True stands for.

    Raises:
        ValueError: `extra_args["entropy_min"]` is neither a switch nor settings, or a setting is invalid.
    """
    return settings_of((params.extra_args or {}).get(ARGUMENT), stored)


def _interfaces() -> tuple[type, ...]:
    """Return the base classes that this vLLM has; a plug-in that cannot load would keep every engine from starting."""
    found = []
    for module in ("vllm.v1.sample.logits_processor", "vllm.v1.worker.gpu.sample.logits_processor"):
        try:
            found.append(import_module(module).LogitsProcessor)
        except ImportError:
            continue  # a version before V2, or after V1 is removed
    return tuple(found)


class EntropyMinVLLMProcessor(*_interfaces()):  # type: ignore[misc]
    """EM-INF for the requests of a batch that ask for it; a processor of vLLM's V1 and V2 model runners in one class.

    Both runners load the same entry points, and V2 starts only if each is a V2 processor. V1 creates it with a device,
    reports changes in the batch through `update_state` and calls `apply(logits)`; V2 creates it with its table of
    requests, reports new ones through `add_request` and calls `apply(logits, ctx)`.
    """

    def __init__(
        self,
        vllm_config: "VllmConfig",
        device: "torch.device | LogitsProcRequestState",
        is_pin_memory: bool = False,
    ) -> None:
        named = vllm_config.model_config.logits_processors or ()
        if any(name is type(self) or name == f"{__name__}:{type(self).__name__}" for name in named):
            raise ValueError(
                f"logits_processors names {type(self).__name__}, which vLLM already has from its entry point and would "
                "apply twice: leave it out"
            )
        self.stored = _stored(vllm_config)
        # V1: the settings by row, and each distinct one with its rows.
        self._requests: dict[int, EntropyMinConfig] = {}
        self._groups: list[tuple[EntropyMinConfig, Tensor]] = []
        if isinstance(device, torch.device):
            self._device = device
        else:
            # V2: the settings by slot, and for each distinct one the slots that have it, on the device.
            self._device = device.device
            self._slots: list[EntropyMinConfig | None] = [None] * device.max_num_reqs
            self._has: dict[EntropyMinConfig, Tensor] = {}

    @classmethod
    def validate_params(cls, sampling_params: "SamplingParams") -> None:
        """Reject invalid settings when the request arrives, with a ValueError that names the field."""
        requested(sampling_params)

    # --- V1 ------------------------------------------------------------------------------------------------------

    def is_argmax_invariant(self) -> bool:
        """Return False: processors that return True run after temperature and min-p, but EM-INF belongs before them."""
        return False

    def update_state(self, batch_update: "BatchUpdate | None") -> None:
        """Update the settings for requests that join, leave and move."""
        if batch_update is None:
            return
        from vllm.v1.sample.logits_processor.builtin import process_dict_updates

        if process_dict_updates(self._requests, batch_update, lambda params, *_: requested(params, self.stored)):
            rows: dict[EntropyMinConfig, list[int]] = {}
            for row, config in self._requests.items():
                rows.setdefault(config, []).append(row)
            self._groups = [(config, torch.tensor(sorted(r), device=self._device)) for config, r in rows.items()]

    # --- V2 ------------------------------------------------------------------------------------------------------

    def add_request(self, req_idx: int, sampling_params: "SamplingParams") -> bool:
        """Assign slot `req_idx` to a new request and return whether it asks for EM-INF."""
        old, config = self._slots[req_idx], requested(sampling_params, self.stored)
        self._slots[req_idx] = config
        if old is not None and old != config:
            self._has[old][req_idx] = False
            if old not in self._slots:
                del self._has[old]
        if config is not None:
            if config not in self._has:
                self._has[config] = torch.zeros(len(self._slots), dtype=torch.bool, device=self._device)
            self._has[config][req_idx] = True
        return config is not None

    # --- both ----------------------------------------------------------------------------------------------------

    def apply(self, logits: Tensor, ctx: "LogitsContext | None" = None) -> Tensor:
        """Return logits `[rows, V]`, adjusted for the requests that ask for it and unchanged for the others."""
        if ctx is not None:
            return self._apply_by_slot(logits, ctx)
        for config, rows in self._groups:
            if rows.numel() == logits.shape[0]:
                return entropy_min_step(logits, config)[0]
            logits[rows] = entropy_min_step(logits[rows], config)[0]
        return logits

    def _apply_by_slot(self, logits: Tensor, ctx: "LogitsContext") -> Tensor:
        """Adjust rows by slot, read on the device: steps reorder rows, and draft tokens give a request several."""
        for config in dict.fromkeys(self._slots[slot] for slot in ctx.idx_mapping_np.tolist()):
            if config is not None:
                logits = entropy_min_step(logits, config, self._has[config][ctx.expanded_idx_mapping.long()])[0]
        return logits


def _stored(vllm_config: "VllmConfig") -> EntropyMinConfig | None:
    """Return the settings that `enable_entropy_min` stored in the model's generation_config.json.

    Invalid ones do not keep an engine from starting, since it may never be asked for EM-INF.
    """
    values = vllm_config.model_config.try_get_generation_config().get("entropy_min_config")
    if values is None:
        return None
    try:
        return EntropyMinConfig.from_dict(values)
    except (TypeError, ValueError) as error:
        logger.warning("The model's generation_config.json has wrong EM-INF settings; the defaults are used: %s", error)
        return None
