"""EM-INF in mlx-lm, on Apple hardware: the step of `minimize.py` on MLX arrays.

```python
from mlx_lm import generate, load
from mlx_lm.sample_utils import make_sampler
from em_hf.generation.mlx import EntropyMinMLXProcessor

model, tokenizer = load("mlx-community/SmolLM2-135M-Instruct")
settings = {"sampler": make_sampler(temp=1.0), "logits_processors": [EntropyMinMLXProcessor({"n_grad_steps": 10})]}
print(generate(model, tokenizer, "The sea is", **settings))
```

Where it acts: after the processors that precede it in the list (bans, penalties), and before the sampler's
temperature, top-k, top-p and min-p. Logit optimization reads nothing back to the host, so mlx-lm can keep queueing its
steps; adaptive temperature and a trace do.
"""

import math
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from em_hf.generation.config import EntropyMinConfig, requested
from em_hf.generation.minimize import ADAM_BETA1, ADAM_BETA2, adam_scales, entropy_min_step
from em_hf.generation.processors import checked_trace
from em_hf.generation.trace import EntropyTrace

_NOTHING = -1e4  # a logit this far below the largest has probability 0 in float32


class EntropyMinMLXProcessor:
    """Logits processor that lowers the entropy of MLX logits before a token is drawn.

    Args:
        entropy_min (bool, EntropyMinConfig, dict or str, default True): The settings, as everywhere in em-hf.
        entropy_trace (EntropyTrace, optional): Grows by one step per token; reading it waits for the device.

    Raises:
        ValueError: An argument is invalid.

    Example:

    ```python
    >>> import mlx.core as mx
    >>> from em_hf.generation.mlx import EntropyMinMLXProcessor
    >>> processor = EntropyMinMLXProcessor({"n_grad_steps": 1})
    >>> processor(mx.array([7]), mx.array([[2.0, 1.0, 0.0, -1.0]])).tolist()[0][0] > 2.0
    True

    ```
    """

    def __init__(self, entropy_min: Any = True, entropy_trace: EntropyTrace | None = None) -> None:
        self.config = requested(entropy_min)
        self.trace = checked_trace(entropy_trace)

    def __call__(self, tokens: Any, logits: Any) -> Any:
        """Return new logits `[rows, V]` for the logits `[rows, V]` of the next token."""
        out, before, moving = logits, None, None
        if self.config is not None and self.config.method == "adaptive_temperature":
            on_host = torch.from_numpy(np.array(logits.astype(mx.float32)))
            new, _, changed = entropy_min_step(on_host, self.config)
            moving = mx.array(changed.numpy())
            out = mx.where(moving[:, None], mx.array(new.numpy()).astype(logits.dtype), logits)
        elif self.config is not None:
            out, before, moving = _optimize(logits, self.config)
        if self.trace is not None:
            before = _measure(logits)[3] if before is None else before
            moving = mx.zeros(before.shape, dtype=mx.bool_) if moving is None else moving
            columns = (before, mx.where(moving, _measure(out)[3], before), moving)
            self.trace.record(*(torch.from_numpy(np.array(column)) for column in columns))
        return out


def _measure(z: Any) -> tuple[Any, Any, Any, Any]:
    """Return centred logits, probabilities, the mean `Σ p u` and the entropy of rows; see `minimize.measure`."""
    z = z.astype(mx.float32)
    u = mx.maximum(z - mx.max(z, axis=-1, keepdims=True), _NOTHING)
    p = mx.softmax(u, axis=-1)
    mean = mx.sum(p * u, axis=-1)
    entropy = -(mx.log(mx.max(p, axis=-1)) + mean)
    return u, p, mean, mx.where(entropy < 0, 0.0, entropy)


def _optimize(logits: Any, config: EntropyMinConfig) -> tuple[Any, Any, Any]:
    """Return new logits, entropies before and whether each row changed, as `optimize_plainly` on an accelerator."""
    u, p, mean, before = _measure(logits)
    threshold = min(config.threshold, math.ldexp(1, 127))
    moved_at_all = moving = mx.logical_and(before >= threshold, mx.array(config.n_grad_steps > 0))
    shift, pull = mx.zeros_like(u), p * config.kl_weight
    descent = p * (u - mean[:, None])
    m: Any = 0.0
    v: Any = 0.0
    for step in range(1, config.n_grad_steps + 1):
        if step > 1:
            y = u + shift
            _, p, mean, entropy = _measure(y)
            mean = mean + mx.max(y, axis=-1)
            moving = mx.logical_and(moving, entropy >= threshold)
            descent = p * (y - (mean + config.kl_weight)[:, None]) + pull
        if config.optimizer == "sgd":
            change = config.learning_rate * descent
        else:
            m, v = ADAM_BETA1 * m + descent, ADAM_BETA2 * v + mx.square(descent)
            rate, epsilon = adam_scales(step, config.learning_rate)
            change = rate * m / ((mx.abs(descent) if step == 1 else mx.sqrt(v)) + epsilon)
        shift = shift + mx.where(moving[:, None], change, 0.0)
    new = (logits.astype(mx.float32) + shift).astype(logits.dtype)
    return mx.where(moved_at_all[:, None], new, logits), before, moved_at_all
