"""The naive oracle: EM-INF by autograd and `torch.optim.Adam` on the logits of one row, and plain formulas beside it.

Written for clarity, not speed; nothing of `em_hf` is imported, so that a test compares two independent programs.
"""

import math

import torch
from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of one row `[V]` of finite or `-inf` logits, by the definition."""
    p = logits.softmax(-1)
    return torch.special.entr(p).sum()


def minimize_entropy_row(
    logits: Tensor,
    threshold: float = 0.3,
    n_grad_steps: int = 3,
    learning_rate: float = 0.1,
    kl_weight: float = 0.05,
    optimizer: str = "adam",
) -> Tensor:
    """One row `[V]` of logits, moved by gradient steps on `H(p) + kl_weight · KL(p_0 ‖ p)` while `H(p) >= threshold`.

    Banned tokens (`-inf`) are taken out before and put back after. The dtype of `logits` is the dtype of the sums:
    float64 makes this a reference for float32 programs.
    """
    kept = torch.isfinite(logits)
    free = logits[kept].clone().requires_grad_()
    log_p0 = logits[kept].log_softmax(-1)
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    steps = kind([free], lr=learning_rate)
    for _ in range(n_grad_steps):
        log_p = free.log_softmax(-1)
        h = -(log_p.exp() * log_p).sum()
        if h < threshold:
            break
        loss = h + kl_weight * (log_p0.exp() * (log_p0 - log_p)).sum()
        steps.zero_grad()
        loss.backward()
        steps.step()
    out = logits.clone()
    out[kept] = free.detach()
    return out


def adaptive_temperature_row(logits: Tensor, threshold: float, target_ratio: float, tmin: float, tmax: float) -> float:
    """The largest τ in [tmin, tmax] with `H(softmax(z/τ)) <= max(target_ratio · H, threshold)`, by bisection."""
    target = max(target_ratio * float(entropy(logits)), threshold)
    if float(entropy(logits / tmax)) <= target:
        return tmax
    low, high = tmin, tmax
    for _ in range(200):
        middle = math.sqrt(low * high)
        if float(entropy(logits / middle)) <= target:
            low = middle
        else:
            high = middle
    return low
