"""The mathematics of one EM-INF step: logits in, logits out. Uses only torch and the standard library.

Everything here is a displacement of the logits, `z -> z + d`, computed from `u = z - max z`, so that a banned token
(`-inf`) stays banned whatever `d` is, and no arithmetic involves an infinity. With `p = softmax(z)` and entropy `H`:

    -∂H/∂z_j = p_j (log p_j + H)            ∂KL(p_0 ‖ p)/∂z_j = p_j - p_0j

so the descent direction is known in closed form and autograd is not needed (paper, section 4.3 and appendix).

This is the plain implementation, for every device. `backends.py` adds faster ones; a copy of this file alone has none.
"""

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from em_hf.generation.config import EntropyMinConfig

ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON = 0.9, 0.999, 1e-8

_NOTHING = -1e4  # from the largest logit to one of probability 0 in float32; banned tokens are put here
LONG_ROW = 8192  # entries from which a CPU processes rows one by one, so that they stay in the cache

Result = tuple[Tensor, Tensor, Tensor]  # new rows [N, V], entropies before [N], whether each changed [N]
# Faster backends by type of device; they return None for rows left to the plain implementation. See `backends.py`.
BACKENDS: dict[str, Callable[[Tensor, Tensor, EntropyMinConfig], Result | None]] = {}


def minimize_entropy(
    logits: Tensor, config: EntropyMinConfig | dict[str, Any] | None = None, active: Tensor | None = None
) -> Tensor:
    """Lower the entropy of each row of logits by a few gradient steps (EM-INF by logit optimization).

    Minimizes `H(softmax(z)) + kl_weight · KL(p_0 ‖ p)` over the logits `z` of each row separately, stopping before the
    first step at which `H < threshold`, with fresh optimizer state: the paper's section 4.3 as its public code runs it.

    With kl_weight 0 the largest logit stays the largest and its probability does not fall: for SGD at any step size,
    since p_j (log p_j + H) = φ(log p_j), where φ(t) = e^t (t + H) is largest at the largest t, which is at least -H;
    for Adam at learning rates clearly below 1. With a KL weight and large steps this may not hold.

    Args:
        logits (Tensor): `[..., V]`, any floating dtype. Computed in float32 and rounded once to the input dtype.
        config (EntropyMinConfig or dict, optional): The settings, or some of them. `method` is ignored.
        active (Tensor, optional): bool `[...]`, the rows to process; all by default.

    Returns:
        New logits `[..., V]`. Rows that are not active, have an entropy below the threshold, or hold no distribution
        (NaN, +inf, only -inf) are returned bit for bit; `-inf` stays `-inf`.

    Raises:
        ValueError: `logits` is not a floating-point tensor `[..., V]`, or `active` or `config` is invalid.

    Example:

    ```python
    >>> import torch
    >>> from em_hf import EntropyMinConfig, minimize_entropy
    >>> minimize_entropy(torch.tensor([2.0, 1.0, 0.0, -1.0]), EntropyMinConfig(n_grad_steps=1))
    tensor([ 2.1000,  0.9000, -0.1000, -1.1000])

    ```
    """
    rows, live = _rows(logits, active)
    return _optimize(rows, live, EntropyMinConfig.from_dict({} if config is None else config))[0].view(logits.shape)


def adaptive_temperature(
    logits: Tensor, config: EntropyMinConfig | dict[str, Any] | None = None, active: Tensor | None = None
) -> Tensor:
    """Divide each row by the largest τ in [tmin, tmax] with `H(softmax(z/τ)) <= max(target_ratio · H, threshold)`.

    The paper's inference baseline. The resulting entropy is at most `tol` below its target, or that of `tmin` if even
    `tmin` does not reach the target.

    Args:
        logits (Tensor), config (optional), active (Tensor, optional): As in `minimize_entropy`.

    Returns:
        New logits `[..., V]`; special rows as in `minimize_entropy`.

    Raises:
        ValueError: As in `minimize_entropy`.

    Example:

    ```python
    >>> import torch
    >>> from em_hf import adaptive_temperature, token_entropy
    >>> logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    >>> round(float(token_entropy(adaptive_temperature(logits)) / token_entropy(logits)), 3)
    0.5

    ```
    """
    rows, live = _rows(logits, active)
    return _temper(rows, live, EntropyMinConfig.from_dict({} if config is None else config))[0].view(logits.shape)


def entropy_min_step(
    logits: Tensor, config: EntropyMinConfig, active: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Apply `config.method` to logits `[..., V]` at a decoding step.

    Returns:
        The new logits `[..., V]`, the entropy before (nats, `[...]`), and whether each row changed (bool `[...]`).
    """
    rows, live = _rows(logits, active)
    out, before, adjusted = (_optimize if config.method == "logit_optimization" else _temper)(rows, live, config)
    if logits.dim() == 2:
        return out, before, adjusted
    return out.view(logits.shape), before.view(logits.shape[:-1]), adjusted.view(logits.shape[:-1])


def _rows(logits: Tensor, active: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return `logits` as `[N, V]` and `active` as bool `[N]`."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.dim() == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits must be floating point of shape [..., V], not {_kind(logits)}")
    rows = logits.detach().reshape(-1, logits.shape[-1])
    if active is None:
        return rows, torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    if not isinstance(active, Tensor) or active.dtype != torch.bool or active.shape != logits.shape[:-1]:
        raise ValueError(f"active must be bool of shape {list(logits.shape[:-1])}, not {_kind(active)}")
    return rows, active.reshape(-1).to(rows.device)


def _kind(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def measure(z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return centred logits `u`, probabilities, the mean `Σ p u` and the entropy of rows `[..., V]`, in float32.

    `log p_j + H` is computed as `u_j - Σ p u`: log Z cancels, and with it the rounding of a number far larger than the
    difference. In a nearly flat row that decides the sign of the gradient, and so the direction of an Adam step. A row
    without a distribution becomes NaN. (No dot products, which autocast would compute in half precision.)
    """
    z = z.float()
    u = (z - z.amax(-1, keepdim=True)).clamp_(min=_NOTHING)
    p = u.exp()
    total = p.sum(-1, keepdim=True)
    mean = (p.div_(total) * u).sum(-1)
    entropy = total.log_().squeeze(-1) - mean
    return u, p, mean, entropy.clamp_(min=0)


def adam_scales(step: int, learning_rate: float) -> tuple[float, float]:
    """Return the step size and epsilon of bias-corrected Adam for plain sums `m = Σ β1^i g` and `v = Σ β2^i g²`."""
    root = math.sqrt((1 - ADAM_BETA2) / (1 - ADAM_BETA2**step))
    return learning_rate * (1 - ADAM_BETA1) / ((1 - ADAM_BETA1**step) * root), ADAM_EPSILON / root


@torch.no_grad()
def _optimize(rows: Tensor, live: Tensor, config: EntropyMinConfig) -> Result:
    """Run `minimize_entropy` on rows `[N, V]`."""
    result = BACKENDS[rows.device.type](rows, live, config) if _has_backend(rows.device.type) else None
    return optimize_plainly(rows, live, config) if result is None else result


@torch.compiler.assume_constant_result
def _has_backend(device_type: str) -> bool:
    if device_type not in BACKENDS and __package__ == "em_hf.generation":
        import_module("em_hf.generation.backends").import_backend(device_type)
    return device_type in BACKENDS


def optimize_plainly(rows: Tensor, live: Tensor, config: EntropyMinConfig) -> Result:
    """Run `minimize_entropy` on rows `[N, V]`, computing every entry at every step."""
    if len(rows) > 1 and is_long(rows):
        return one_by_one(optimize_plainly, rows, live, config)
    u, p, mean, before = measure(rows)
    moving = live & (before >= config.threshold) & (config.n_grad_steps > 0)
    if rows.device.type != "cpu":
        # Nothing is read back to the host: all rows are computed, and the result is kept for those that may move.
        shift = _descend(u, p, mean, config, moving)
        return torch.where(moving[:, None], displaced(rows, shift), rows), before, moving
    out = rows.clone()
    which = moving.nonzero().view(-1)
    if which.numel():
        out[which] = displaced(rows[which], _descend(u[which], p[which], mean[which], config))
    return out, before, moving


def is_long(rows: Tensor) -> bool:
    """Return whether rows `[N, V]` are worth processing one by one, which costs an operation's overhead per row."""
    return rows.device.type == "cpu" and rows.shape[1] >= LONG_ROW


def one_by_one(backend: Callable[..., Result], rows: Tensor, live: Tensor, config: EntropyMinConfig) -> Result:
    """Apply `backend` to each row separately and concatenate the results."""
    out, before, moving = zip(*(backend(row[None], keep[None], config) for row, keep in zip(rows, live)))
    return torch.cat(out), torch.cat(before), torch.cat(moving)


def displaced(rows: Tensor, shift: Tensor) -> Tensor:
    """Return `rows + shift`, rounded once to the dtype of `rows`; half precision is summed in float32."""
    return (rows + shift).to(rows.dtype)


def _descend(u: Tensor, p: Tensor, mean: Tensor, config: EntropyMinConfig, moving: Tensor | None = None) -> Tensor:
    """Return the displacement `[N, V]` of centred rows.

    `moving` are the rows that move at the first step (all if None). If it is given, nothing is read back to the host.
    """
    on_host = moving is None
    moving = torch.ones_like(mean, dtype=torch.bool) if moving is None else moving
    shift = torch.zeros_like(u)
    pull = p * config.kl_weight
    descent = (u - mean[:, None]).mul_(p)
    m = v = descent  # Adam's sums, from the first step on
    for step in range(1, config.n_grad_steps + 1):
        if step > 1:
            y, p, mean, entropy = measure(u + shift)
            moving = moving & (entropy >= config.threshold)
            if on_host and not moving.any():
                break
            descent = torch.addcmul(pull, y.sub_((mean + config.kl_weight)[:, None]), p)
        if config.optimizer == "sgd":
            numerator, denominator, rate = descent, torch.ones_like(mean)[:, None], config.learning_rate
        else:
            # The sums are kept divided by β^(step - 1): adding a term is then one pass; the scale goes into the rate.
            scale_m, scale_v = ADAM_BETA1 ** (step - 1), ADAM_BETA2 ** ((step - 1) / 2)
            if step == 1:
                m, v, root = descent, descent.square(), descent.abs()
            else:
                m.add_(descent, alpha=1 / scale_m)
                root = v.addcmul_(descent, descent, value=scale_v**-2).sqrt()
            rate, epsilon = adam_scales(step, config.learning_rate)
            rate *= scale_m / scale_v
            numerator, denominator = m, root.add_(epsilon / scale_v)
        if not (on_host and moving.all()):
            numerator = torch.where(moving[:, None], numerator, 0)
        shift.addcdiv_(numerator, denominator, value=rate)
    return shift


@torch.no_grad()
def _temper(rows: Tensor, live: Tensor, config: EntropyMinConfig) -> Result:
    """Run `adaptive_temperature` on rows `[N, V]`."""
    if len(rows) > 1 and is_long(rows):
        return one_by_one(_temper, rows, live, config)
    u, _, _, before = measure(rows)
    target = (config.target_ratio * before).clamp(min=config.threshold)
    temperature = _largest_temperature(u, target, config)
    moving = live & before.isfinite() & (temperature != 1)
    scaled = (rows.float() if rows.dtype != torch.float64 else rows) / temperature[:, None]
    return torch.where(moving[:, None], scaled.to(rows.dtype), rows), before, moving


def _largest_temperature(u: Tensor, target: Tensor, config: EntropyMinConfig) -> Tensor:
    """Return the τ `[N]` of `adaptive_temperature`, by Newton steps on log τ kept inside a shrinking bracket.

    `dH/d log τ = Var_p(u/τ)`. The search aims half a tolerance below the target, so it never accepts one above it.
    """
    low = torch.full_like(target, math.log(config.tmin))
    high = torch.full_like(target, math.log(config.tmax))
    aim, slack = target - config.tol / 2, config.tol / 2
    log_t, done = high.clone(), torch.zeros_like(target, dtype=torch.bool)
    for iteration in range(config.max_iter):
        y, p, mean, entropy = measure(u * torch.exp(-log_t)[:, None])
        variance = (p * (y - mean[:, None]).square_()).sum(-1)
        fits = entropy <= target
        if iteration == 0:
            done = fits  # tmax itself
        done = done | ((entropy - aim).abs() <= slack)
        if u.device.type == "cpu" and done.all():
            break
        low = torch.where(~done & fits, log_t, low)
        high = torch.where(~done & ~fits, log_t, high)
        newton = log_t - (entropy - aim) / variance
        inside = (newton > low) & (newton < high)
        log_t = torch.where(done, log_t, torch.where(inside, newton, (low + high) / 2))
    return torch.exp(torch.where(done, log_t, low))
