"""The entropy before and after EM-INF, token by token, readable while generation runs."""

import torch
from torch import Tensor


class EntropyTrace:
    """Entropies of the distributions that EM-INF saw and left behind in one `generate` call.

    Pass `entropy_trace=EntropyTrace()` to `generate` and keep the object: it grows with every token, and another
    thread may read it meanwhile. A second call with the same object starts it anew.

    Attributes:
        before, after: `[batch x num_return_sequences, new tokens]`, nats, float32: of the logits after transformers'
            own processors and before temperature, top-k and top-p. NaN after a row's end-of-sequence token.
        adjusted: bool of the same shape, True where EM-INF changed the logits.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[Tensor, Tensor, Tensor]] = []

    def __len__(self) -> int:
        """Tokens so far."""
        return len(self._steps)

    def __repr__(self) -> str:
        rows, tokens = self.before.shape
        return f"EntropyTrace({rows} rows, {tokens} tokens)"

    @property
    def before(self) -> Tensor:
        return self._column(0, torch.float32)

    @property
    def after(self) -> Tensor:
        return self._column(1, torch.float32)

    @property
    def adjusted(self) -> Tensor:
        return self._column(2, torch.bool)

    def _column(self, which: int, dtype: torch.dtype) -> Tensor:
        # The list only grows while generation runs, so a copy of its present length is consistent.
        steps = [step[which] for step in self._steps[:]]
        return torch.stack(steps, 1) if steps else torch.empty(0, 0, dtype=dtype)

    def clear(self) -> None:
        """Forget everything."""
        self._steps = []

    def record(self, before: Tensor, after: Tensor, adjusted: Tensor, finished: Tensor | None = None) -> None:
        """Append one decoding step: entropies `[rows]`, changed `[rows]`, and which rows had ended before it."""
        if finished is not None:
            before, after = before.masked_fill(finished, torch.nan), after.masked_fill(finished, torch.nan)
            adjusted = adjusted & ~finished
        self._steps.append((before, after, adjusted))

    def trim(self, tokens: int) -> None:
        """Keep the first `tokens` steps: a decoding loop may have run one that it took back."""
        del self._steps[tokens:]
