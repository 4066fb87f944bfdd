"""The measure: the Shannon entropy of the next-token distribution, in nats."""

import torch
from torch import Tensor


def token_entropy(logits: Tensor) -> Tensor:
    """Entropy `H = -Σ_j p_j log p_j` of `softmax(logits)`, in nats: `[..., V]` -> `[...]`, differentiable.

    Computed in float32 (float64 for float64 input). A banned token (`-inf`) weighs nothing. A row with NaN or +inf,
    or of `-inf` alone, has no distribution: its entropy is NaN.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    # H = log Z - Σ p z, with z measured from the largest logit so that both terms stay small.
    z = logits - logits.detach().amax(-1, keepdim=True)
    log_p = z - z.logsumexp(-1, keepdim=True)
    p = log_p.exp()
    # A banned token gives 0 · -inf; masking before the product keeps the NaN out of the gradient as well.
    return -(p * log_p.masked_fill(p == 0, 0)).sum(-1)
