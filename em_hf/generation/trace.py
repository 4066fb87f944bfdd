"""The entropy before and after EM-INF, token by token, readable while generation runs."""

import torch
from torch import Tensor


class EntropyTrace:
    """Entropies of the distributions before and after EM-INF in one `generate` call.

    Pass `entropy_trace=EntropyTrace()` to `generate` and keep the object: it grows with every token, and another
    thread may read it meanwhile. A second call with the same object clears it first, and so does a second decoding loop
    within one call (long audio in Whisper, speech after text in SeamlessM4T): the trace is that of the last loop.

    Attributes:
        before (Tensor), after (Tensor): `[batch x num_return_sequences, new tokens]`, float32, nats: entropy of the
            logits after transformers' own processors and before temperature, top-k and top-p. NaN once a row has
            stopped, whether by an end-of-sequence token, a stop string or another stopping criterion.
        adjusted (Tensor): bool of the same shape, True where EM-INF changed the logits.

    Example:

    ```python
    >>> import torch
    >>> from em_hf import EntropyMinLogitsProcessor, EntropyTrace
    >>> trace = EntropyTrace()
    >>> processor = EntropyMinLogitsProcessor(trace=trace)
    >>> logits = processor(torch.tensor([[7]]), torch.tensor([[2.0, 1.0, 0.0]]))
    >>> round(float(trace.before), 3), bool(trace.after < trace.before), bool(trace.adjusted)
    (0.832, True, True)

    ```
    """

    def __init__(self) -> None:
        self._steps: list[tuple[Tensor, Tensor, Tensor]] = []
        self._finished: list[Tensor | None] = []

    def __len__(self) -> int:
        """Return the number of tokens so far."""
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
        # The list only grows while generation runs, so a copy at its current length is consistent.
        steps = [step[which] for step in self._steps[:]]
        return torch.stack(steps, 1) if steps else torch.empty(0, 0, dtype=dtype, device="cpu")

    def clear(self) -> None:
        """Remove all recorded steps."""
        self._steps, self._finished = [], []

    def record(self, before: Tensor, after: Tensor, adjusted: Tensor, finished: Tensor | None = None) -> None:
        """Append one decoding step.

        Args:
            before (Tensor), after (Tensor): Entropies in nats, `[rows]`.
            adjusted (Tensor): bool `[rows]`, the rows that EM-INF changed.
            finished (Tensor, optional): bool `[rows]`, the rows that had stopped before this step.
        """
        if finished is not None:
            before, after = before.masked_fill(finished, torch.nan), after.masked_fill(finished, torch.nan)
            adjusted = adjusted & ~finished
        self._steps.append((before, after, adjusted))
        self._finished.append(finished)

    def trim(self) -> None:
        """Drop the last steps in which no row was decoding: a loop that checks late whether to stop discards them."""
        while self._finished and self._finished[-1] is not None and bool(self._finished[-1].all()):
            self._steps.pop()
            self._finished.pop()
