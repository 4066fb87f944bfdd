"""The entry point of a published `custom_generate/generate.py`: `entropy_min=` as a logits processor, without em_hf.

`em_hf.hub.export` prepends config.py and minimize.py, so it uses nothing else from em_hf.
"""

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from em_hf.generation.config import EntropyMinConfig, requested
from em_hf.generation.minimize import adaptive_temperature, minimize_entropy

# Arguments for loading this file, which transformers passes on together with the generation arguments.
LOADING = "cache_dir force_download local_files_only proxies repo_type revision subfolder token".split()


class EntropyMinProcessor(LogitsProcessor):
    """EM-INF with one settings entry (None: off) per `repeats` rows, or one for all rows if `repeats` is None."""

    def __init__(self, settings: list[EntropyMinConfig | None], repeats: int | None) -> None:
        self.settings, self.repeats = settings, repeats

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        n = scores.shape[0]
        rows = self.settings * n if self.repeats is None else [c for c in self.settings for _ in range(self.repeats)]
        if len(rows) != n:
            prompts = n // (self.repeats or 1)
            raise ValueError(f"entropy_min has {len(self.settings)} entries for {prompts} prompts: give one per prompt")
        for config in dict.fromkeys(rows):
            if config is not None:
                active = torch.tensor([row == config for row in rows], device=scores.device)
                method = minimize_entropy if config.method == "logit_optimization" else adaptive_temperature
                scores = method(scores, config, active if len(set(rows)) > 1 else None)
        return scores


def generate(*args: Any, model: Any, **kwargs: Any) -> Any:
    """Run transformers' `generate` of `model` with the additional argument `entropy_min`.

    Works as `custom_generate=` of any model's `generate`, and as the `generate` of a model that was loaded from this
    repository with `trust_remote_code=True`; the latter passes the prompt by position, so `model` is keyword-only.
    """
    plain = type(model).generate  # by the class: the object's own `generate` may be this function again
    named = [p.name for p in inspect.signature(plain).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
    args, kwargs = args[len(named) :], {**dict(zip(named, args)), **kwargs}
    kwargs = {name: value for name, value in kwargs.items() if name not in LOADING}
    for name in ("entropy_trace", "coupled"):
        if kwargs.pop(name, None) is not None:
            raise ValueError(
                f"{name}= needs em-hf: install it, call em_hf.enable_entropy_min(model) and leave custom_generate= out"
            )
    entropy_min, configs = kwargs.pop("entropy_min", None), (kwargs.get("generation_config"), model.generation_config)

    def setting(name: str) -> Any:
        """Return the value for this call: the argument, else the given config's, else the model's."""
        values = (kwargs.get(name), *(getattr(config, name, None) for config in configs))
        return next((value for value in values if value is not None), None)

    stored, many = setting("entropy_min_config"), isinstance(entropy_min, Sequence) and not isinstance(entropy_min, str)
    given = [one.to_dict() if hasattr(one, "to_dict") else one for one in (entropy_min if many else [entropy_min])]
    listed = [requested(one, stored) for one in given]  # to_dict: an EntropyMinConfig may be that of em_hf
    if not any(listed):
        return plain(model, *args, **kwargs)
    for name in ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit"):
        if setting(name) is not None:
            raise ValueError(f"entropy_min does not work with assisted decoding: leave {name} out")
    if (setting("num_beams") or 1) > 1 or setting("cache_implementation") == "paged":
        raise ValueError("entropy_min works with sampling and greedy decoding, not with beams or a paged cache")
    if not setting("do_sample"):
        warnings.warn("entropy_min hardly changes greedy decoding; pass do_sample=True", stacklevel=2)
    processor = EntropyMinProcessor(listed, (setting("num_return_sequences") or 1) if many else None)
    kwargs["logits_processor"] = LogitsProcessorList([*(kwargs.get("logits_processor") or []), processor])
    return plain(model, *args, **kwargs)
