"""EM-INF as transformers logits processors, for one `generate` call."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import LogitsProcessor

from em_hf.entropy import token_entropy
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.minimize import entropy_min_step
from em_hf.generation.trace import EntropyTrace


class EntropyMinLogitsProcessor(LogitsProcessor):
    """Lower the entropy of the next-token logits before one is sampled (EM-INF).

    In `logits_processor=[...]` it runs after transformers' own bans and penalties and before temperature, top-k and
    top-p. `generate(..., entropy_min=True)` puts it there itself.

    Args:
        config: the settings, or one entry for each row of logits (None leaves a row alone); the defaults if None.
        trace: grows by one step at each call.

    Example:

    ```python
    model.generate(**inputs, do_sample=True, top_k=0, logits_processor=[EntropyMinLogitsProcessor()])
    ```
    """

    def __init__(
        self,
        config: EntropyMinConfig | Sequence[EntropyMinConfig | None] | None = None,
        trace: EntropyTrace | None = None,
    ) -> None:
        self.config = EntropyMinConfig() if config is None else config
        self.trace = trace
        self.eos_token_ids: Tensor | None = None
        self._finished: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        out, before, adjusted = scores, None, None
        for config, rows in self._settings(scores):
            if config is None:
                continue
            out, entropy, changed = entropy_min_step(out, config, rows)
            before = entropy if before is None else before
            adjusted = changed if adjusted is None else adjusted | changed
        if self.trace is not None:
            if before is None or adjusted is None:
                before = token_entropy(scores)
                adjusted = torch.zeros_like(before, dtype=torch.bool)
            after = self._entropy_after(out, before, adjusted)
            self.trace.record(before, after, adjusted, self._ended(input_ids))
        return out

    def _settings(self, scores: Tensor) -> list[tuple[EntropyMinConfig | None, Tensor | None]]:
        """Each different config with the rows it is for (None: all)."""
        if isinstance(self.config, EntropyMinConfig):
            return [(self.config, None)]
        if len(self.config) != scores.shape[0]:
            raise ValueError(
                f"EntropyMinLogitsProcessor has settings for {len(self.config)} rows, but there are {scores.shape[0]} "
                "rows of logits: give one entry for each"
            )
        # Without waiting for the device: the few bytes are taken from the host before the copy returns.
        return [
            (config, torch.tensor([other == config for other in self.config]).to(scores.device, non_blocking=True))
            for config in dict.fromkeys(self.config)
        ]

    @staticmethod
    def _entropy_after(out: Tensor, before: Tensor, adjusted: Tensor) -> Tensor:
        if out.device.type != "cpu":  # an index would have to be read back to the host
            return torch.where(adjusted, token_entropy(out), before)
        after = before.clone()
        after[adjusted] = token_entropy(out[adjusted])
        return after

    def _ended(self, input_ids: Tensor) -> Tensor | None:
        """Rows that drew an end-of-sequence token at an earlier step of this call."""
        if self.eos_token_ids is None:
            return None
        if self._finished is None:  # the first step: what stands before it is the prompt
            self._finished = torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
        else:
            self._finished = self._finished | torch.isin(input_ids[:, -1], self.eos_token_ids)
        return self._finished


class AdaptiveTemperatureLogitsProcessor(EntropyMinLogitsProcessor):
    """Divide the next-token logits by the temperature that brings their entropy to a share of what it was.

    The paper's inference baseline; see `adaptive_temperature`. Arguments as in `EntropyMinLogitsProcessor`, whose
    `method` is set to `"adaptive_temperature"`.
    """

    def __init__(self, config: EntropyMinConfig | None = None, trace: EntropyTrace | None = None) -> None:
        super().__init__(replace(config or EntropyMinConfig(), method="adaptive_temperature"), trace)
