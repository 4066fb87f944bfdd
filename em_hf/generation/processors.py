"""EM-INF as transformers logits processors, for one `generate` call."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import LogitsProcessor

from em_hf.entropy import token_entropy
from em_hf.generation.config import EntropyMinConfig, requested
from em_hf.generation.minimize import entropy_min_step
from em_hf.generation.trace import EntropyTrace


class EntropyMinLogitsProcessor(LogitsProcessor):
    """Logits processor that lowers the entropy of the next-token logits before a token is sampled (EM-INF).

    In `logits_processor=[...]` it runs after transformers' own bans and penalties and before temperature, top-k and
    top-p. `generate(..., entropy_min=True)` adds it automatically.

    Args:
        config (EntropyMinConfig or list, optional): The settings, or one entry per row of logits, where None leaves a
            row unchanged. The default is `EntropyMinConfig()`.
        trace (EntropyTrace, optional): Grows by one step at each call.

    Raises:
        ValueError: `config` or `trace` has the wrong type.

    Example:

    ```python
    >>> import torch
    >>> from em_hf import EntropyMinConfig, EntropyMinLogitsProcessor
    >>> processor = EntropyMinLogitsProcessor([None, EntropyMinConfig(n_grad_steps=1)])
    >>> logits = torch.tensor([[2.0, 1.0, 0.0, -1.0], [2.0, 1.0, 0.0, -1.0]])
    >>> processor(torch.tensor([[7], [7]]), logits)
    tensor([[ 2.0000,  1.0000,  0.0000, -1.0000],
            [ 2.1000,  0.9000, -0.1000, -1.1000]])

    ```

    In a call: `model.generate(**inputs, do_sample=True, top_k=0, logits_processor=[EntropyMinLogitsProcessor()])`.
    """

    def __init__(
        self,
        config: EntropyMinConfig | Sequence[EntropyMinConfig | None] | None = None,
        trace: EntropyTrace | None = None,
    ) -> None:
        self.config: EntropyMinConfig | list[EntropyMinConfig | None]
        if isinstance(config, Sequence) and not isinstance(config, str):
            self.config = [requested(entry, name="EntropyMinLogitsProcessor: config") for entry in config]
        else:
            chosen = requested(True if config is None else config, name="EntropyMinLogitsProcessor: config")
            self.config = chosen or EntropyMinConfig(n_grad_steps=0)
        self.trace = checked_trace(trace)
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
        return self._traced(input_ids, scores, out, before, adjusted)

    def _traced(
        self, input_ids: Tensor, scores: Tensor, out: Tensor, before: Tensor | None, adjusted: Tensor | None
    ) -> Tensor:
        """Record the step in the trace, if there is one, and return `out`."""
        if self.trace is not None:
            if before is None or adjusted is None:
                before = token_entropy(scores)
                adjusted = torch.zeros_like(before, dtype=torch.bool)
            after = self._entropy_after(out, before, adjusted)
            self.trace.record(before, after, adjusted, self._ended(input_ids))
        return out

    def _settings(self, scores: Tensor) -> list[tuple[EntropyMinConfig | None, Tensor | None]]:
        """Return each distinct config with the rows it applies to (None: all)."""
        if isinstance(self.config, EntropyMinConfig):
            return [(self.config, None)]
        if len(self.config) != scores.shape[0]:
            raise ValueError(
                f"EntropyMinLogitsProcessor has settings for {len(self.config)} rows, but there are {scores.shape[0]} "
                "rows of logits: give one entry per row"
            )
        # This does not wait for the device: the few bytes are read from the host before the copy returns.
        device, here = scores.device, torch.device("cpu")
        return [
            (config, torch.tensor([one == config for one in self.config], device=here).to(device, non_blocking=True))
            for config in dict.fromkeys(self.config)
        ]

    @staticmethod
    def _entropy_after(out: Tensor, before: Tensor, adjusted: Tensor) -> Tensor:
        if out.device.type != "cpu":  # indexing by a mask would read it back to the host
            return torch.where(adjusted, token_entropy(out), before)
        after = before.clone()
        after[adjusted] = token_entropy(out[adjusted])
        return after

    def _ended(self, input_ids: Tensor) -> Tensor | None:
        """Return the rows that drew an end-of-sequence token at an earlier step of this call."""
        if self.eos_token_ids is None:
            return None
        if self._finished is None:  # the first step: only the prompt precedes it
            self._finished = torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
        else:
            self._finished = self._finished | torch.isin(input_ids[:, -1], self.eos_token_ids)
        return self._finished


class AdaptiveTemperatureLogitsProcessor(EntropyMinLogitsProcessor):
    """Logits processor that divides the next-token logits by a temperature that reduces their entropy to a fraction.

    The paper's inference baseline; see `adaptive_temperature`. It is `EntropyMinLogitsProcessor` with the method set
    to `"adaptive_temperature"`.

    Args:
        config (EntropyMinConfig, optional): The settings; `method` is replaced. The default is `EntropyMinConfig()`.
        trace (EntropyTrace, optional): Grows by one step at each call.

    Raises:
        ValueError: `config` or `trace` has the wrong type.

    Example:

    ```python
    >>> import torch
    >>> from em_hf import AdaptiveTemperatureLogitsProcessor, token_entropy
    >>> logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    >>> cooler = AdaptiveTemperatureLogitsProcessor()(torch.tensor([[7]]), logits)
    >>> round(float(token_entropy(cooler) / token_entropy(logits)), 3)
    0.5

    ```
    """

    def __init__(self, config: EntropyMinConfig | None = None, trace: EntropyTrace | None = None) -> None:
        chosen = requested(True if config is None else config, name="AdaptiveTemperatureLogitsProcessor: config")
        super().__init__(replace(chosen or EntropyMinConfig(), method="adaptive_temperature"), trace)


def checked_trace(trace: EntropyTrace | None) -> EntropyTrace | None:
    """Return `trace` if it is an `EntropyTrace` or None.

    Raises:
        ValueError: It is something else.
    """
    if trace is not None and not isinstance(trace, EntropyTrace):
        raise ValueError(f"entropy_trace is {trace!r}, but must be an EntropyTrace() to fill, or None")
    return trace
