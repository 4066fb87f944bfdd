"""The mathematics of one EM-INF step: logits in, logits out. Torch and the standard library only.

Everything here is a displacement of the logits, `z -> z + d`, computed from `u = z - max z`, so that a banned token
(`-inf`) stays banned whatever `d` is, and no arithmetic ever meets an infinity. With `p = softmax(z)` and entropy `H`:

    -∂H/∂z_j = p_j (log p_j + H)            ∂KL(p_0 ‖ p)/∂z_j = p_j - p_0j

so the descent direction is known in closed form and autograd is not needed (paper, section 4.3 and appendix).
"""

import math
import warnings
from functools import cache
from importlib import import_module

import torch
from torch import Tensor

from em_hf.generation.config import EntropyMinConfig

ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON = 0.9, 0.999, 1e-8

# A logit this far below the largest has probability 0 in float32; banned tokens are put here.
_NOTHING = -1e4

# On a CPU, rows of at least this many entries are worth treating one by one, with their tail binned.
_LONG_ROW = 8192
_BLOCK = 64  # entries a block when the large logits are looked for
_BINS = 1024
# Bins pay only where they are used often: below, all entries of a row are computed at every step.
_STEPS_FOR_BINS = 6
_LOG2_E, _LN2 = 1 / math.log(2), math.log(2)
_COUNTS = [torch.tensor(float(step)) for step in range(101)]  # Adam's fused kernel takes its step as a tensor
# Bins reach down to e^-32 of the largest probability. What lies lower is put into the last bin: 262,144 such entries
# hold 3.3e-9 of the mass and 1.1e-7 nats, less than float32 resolves.
_DUST = -32.0
# Entries with log p > -(H + margin) are treated one by one, see `_descend_binned`.
_MARGIN = 1.5


def minimize_entropy(logits: Tensor, config: EntropyMinConfig | None = None, active: Tensor | None = None) -> Tensor:
    """Lower the entropy of each row of logits by a few gradient steps (EM-INF by logit optimization).

    Minimizes `H(softmax(z)) + kl_weight · KL(p_0 ‖ p)` over the logits `z` of each row on its own, stopping before the
    first step at which `H < threshold`, with fresh optimizer state: the paper's section 4.3 as its public code runs it.

    With kl_weight 0 the largest logit stays the largest and its probability does not fall. For sgd this holds at any
    step size: with t = log p, p_j (log p_j + H) = φ(t_j) for φ(t) = e^t (t + H), which falls for t < -(1 + H) and rises
    after, from 0⁻ at -∞. A largest entry has t >= -H (some log p is at least its mean), where φ >= 0 and φ is larger
    than at every smaller t; so it receives the largest increment, every gap to it can only widen, and its probability
    is non-decreasing.

    Args:
        logits: `[..., V]`, any floating dtype. Computed in float32 and rounded once to the dtype that came.
        config: the settings; the defaults if None. Its `method` is not looked at.
        active: bool `[...]`, rows to treat; all if None.

    Returns:
        `[..., V]`, new. Rows that are not active, whose entropy is below the threshold, or which hold no distribution
        (NaN, +inf, only -inf) come back bit for bit; `-inf` stays `-inf`.

    Raises:
        ValueError: `logits` is not floating point or has no last dimension, or `active` has another shape.
    """
    config = config or EntropyMinConfig()
    if active is None and logits.dim() == 2 and _goes_row_by_row(logits):
        return _long_rows(logits.detach(), None, config)[0]  # the way of every decoding step, without detours
    rows, live = _rows(logits, active)
    return _optimize(rows, live, config)[0].view(logits.shape)


def adaptive_temperature(
    logits: Tensor, config: EntropyMinConfig | None = None, active: Tensor | None = None
) -> Tensor:
    """Divide each row by the largest τ in [tmin, tmax] with `H(softmax(z/τ)) <= max(target_ratio · H, threshold)`.

    The paper's inference baseline. The entropy that comes out lies within `tol` below its target, or is that of `tmin`
    where even `tmin` does not reach it. Arguments, shapes, errors and special rows as in `minimize_entropy`.
    """
    rows, live = _rows(logits, active)
    config = config or EntropyMinConfig(method="adaptive_temperature")
    return _temper(rows, live, config)[0].view(logits.shape)


def entropy_min_step(
    logits: Tensor, config: EntropyMinConfig, active: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """What a decoding step needs: `config.method` applied to logits `[..., V]`.

    Returns:
        The new logits `[..., V]`, the entropy they had (nats, `[...]`), and whether each row changed (bool `[...]`).
    """
    rows, live = _rows(logits, active)
    method = _optimize if config.method == "logit_optimization" else _temper
    out, before, adjusted = method(rows, live, config)
    return out.view(logits.shape), before.view(logits.shape[:-1]), adjusted.view(logits.shape[:-1])


def _rows(logits: Tensor, active: Tensor | None) -> tuple[Tensor, Tensor]:
    """`logits` as `[N, V]` and `active` as bool `[N]`."""
    if not logits.is_floating_point() or logits.dim() == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits must be floating point of shape [..., V], not {logits.dtype} {list(logits.shape)}")
    rows = logits.detach().reshape(-1, logits.shape[-1])
    if active is None:
        return rows, torch.ones(rows.shape[0], dtype=torch.bool, device=rows.device)
    if active.dtype != torch.bool or active.shape != logits.shape[:-1]:
        raise ValueError(
            f"active must be bool of shape {list(logits.shape[:-1])}, not {active.dtype} {list(active.shape)}"
        )
    return rows, active.reshape(-1).to(rows.device)


def _centred(z: Tensor, floor: float) -> Tensor:
    """`z - max z`, not below `floor`, in float32. A row without a distribution becomes NaN."""
    z = z.float()
    return (z - z.amax(-1, keepdim=True)).clamp_(min=floor)


def _measure(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities, the mean `Σ p u` and the entropy `log Σ e^u - Σ p u` of centred logits `[..., V]`.

    `log p_j + H` is taken as `u_j - Σ p u`: log Z cancels, and with it the rounding of a number far larger than the
    difference. In a nearly flat row that decides the sign of the gradient, and so the direction of an Adam step.
    """
    p = u.softmax(-1)
    mean = torch.linalg.vecdot(p, u)
    entropy = (p.amax(-1).log_() + mean).neg_()  # the largest probability is e^0 / Z
    return p, mean, entropy.clamp_(min=0)


def _adam_scales(step: int, learning_rate: float) -> tuple[float, float]:
    """Step size and epsilon of bias-corrected Adam for the plain sums `m = Σ β1^i g` and `v = Σ β2^i g²`."""
    root = math.sqrt((1 - ADAM_BETA2) / (1 - ADAM_BETA2**step))
    return learning_rate * (1 - ADAM_BETA1) / ((1 - ADAM_BETA1**step) * root), ADAM_EPSILON / root


# --- logit optimization ------------------------------------------------------------------------------------------


@torch.no_grad()
def _optimize(rows: Tensor, live: Tensor, config: EntropyMinConfig) -> tuple[Tensor, Tensor, Tensor]:
    """`minimize_entropy` on `[N, V]`: new rows, entropies before `[N]`, changed `[N]`."""
    if _goes_row_by_row(rows):
        out, entropies, moved = _long_rows(rows, live.tolist(), config)
        return out, torch.tensor(entropies), torch.tensor(moved)
    if _goes_to_kernel(rows):
        adam = config.optimizer == "adam"
        return torch.ops.em_hf.minimize_entropy(
            rows, live, config.threshold, config.n_grad_steps, config.learning_rate, config.kl_weight, adam
        )
    u = _centred(rows, _NOTHING)
    p, mean, before = _measure(u)
    moving = live & (before >= config.threshold) & (config.n_grad_steps > 0)
    if rows.device.type != "cpu":
        # Nothing is read back to the host: all rows are computed, and those that may move are kept.
        shift = _descend(u, p, mean, config, moving)
        return torch.where(moving[:, None], _displaced(rows, shift), rows), before, moving
    out = rows.clone()
    which = moving.nonzero().view(-1)
    if which.numel():
        out[which] = _displaced(rows[which], _descend(u[which], p[which], mean[which], config))
    return out, before, moving


def _goes_row_by_row(rows: Tensor) -> bool:
    return rows.is_cpu and rows.is_floating_point() and rows.shape[1] >= _LONG_ROW


def _goes_to_kernel(rows: Tensor) -> bool:
    return rows.is_cuda and rows.dtype in (torch.float32, torch.bfloat16, torch.float16) and _has_kernel()


@torch.compiler.assume_constant_result
def _has_kernel() -> bool:
    return _kernel_works()


@cache
def _kernel_works() -> bool:
    """Whether `triton.py` beside this works on this machine's GPU. Importing it makes the operator known to torch."""
    if __package__ != "em_hf.generation":  # a copy of this text that stands alone
        return False
    try:
        import_module("em_hf.generation.triton").probe()
    except ModuleNotFoundError:
        return False
    except Exception as error:  # a GPU that Triton does not know, no C compiler, ...: the result is the same without
        warnings.warn(f"EM-INF runs without its Triton kernel, which fails here: {error!r}", stacklevel=3)
        return False
    return True


def _long_rows(
    rows: Tensor, live: list[bool] | None, config: EntropyMinConfig
) -> tuple[Tensor, list[float], list[bool]]:
    """`_optimize` one row after the other: a long row then stays in the cache, and no other changes its result.

    In a decode the code itself comes from memory, since the forward pass went through all caches: what counts is the
    number of operations at least as much as their size.
    """
    out = torch.empty_like(rows)
    entropies, moved = [], []
    with torch.inference_mode():  # each operation is short enough for autograd's bookkeeping to show
        for i in range(rows.shape[0]):
            entropy, move = _optimize_long_row(rows[i], out[i], live is None or live[i], config)
            entropies.append(entropy)
            moved.append(move)
    return out, entropies, moved


def _optimize_long_row(row: Tensor, out: Tensor, active: bool, config: EntropyMinConfig) -> tuple[float, bool]:
    """Write the new logits of `row` into `out`; return the entropy in nats and whether the row moves.

    `w` are the centred logits in units of log 2: `2^w` takes a quarter of the time of `e^u`.
    """
    z = row.float()
    w = (z - z.max()).mul_(_LOG2_E).clamp_(min=_NOTHING)
    e = w.exp2()
    total = e.sum().item()
    mean = torch.dot(e, w).item() / total
    entropy = max(math.log(total) - mean * _LN2, 0.0) if total >= 1 else math.nan  # NaN: there is no distribution
    if not active or config.n_grad_steps == 0 or not entropy >= config.threshold:
        out.copy_(row)
        return entropy, False
    shift, unit = None, 1.0
    if config.optimizer == "sgd":
        u = w.mul_(_LN2)[None]
        shift = _descend(u, *_measure(u)[:2], config)[0]
    elif _is_binnable(config):
        u = _centred(z, _DUST)
        p, mean_u, entropy_u = _measure(u)
        shift = _descend_binned(u, p, mean_u.item(), entropy_u.item(), config)
    if shift is None:
        shift, unit = _descend_fused(w, e, total, mean, config), _LN2
    if row.dtype == torch.float32:
        torch.add(row, shift, alpha=unit, out=out)
    else:
        out.copy_(torch.add(row, shift, alpha=unit))  # rounded once
    return entropy, True


def _is_binnable(config: EntropyMinConfig) -> bool:
    reach = config.n_grad_steps * config.learning_rate
    return config.n_grad_steps >= _STEPS_FOR_BINS and reach <= _BIN_REACH and config.kl_weight <= _BIN_REACH


def _descend_fused(w: Tensor, e: Tensor, total: float, mean: float, config: EntropyMinConfig) -> Tensor:
    """The displacement `[V]` of one row by Adam, every entry computed, in units of log 2. `e` is overwritten.

    `e = 2^w`, `total` its sum, `mean` that of w under p. In these units the descent direction in nats is
    `p (w - mean - kl / ln 2) ln 2 + kl p_0`, and Adam's step, its rate times nats, is divided by ln 2. torch's fused
    kernel does the whole of Adam in one pass.
    """
    x, m, v = w.clone(), torch.zeros_like(w), torch.zeros_like(w)
    descent = (w - mean).mul_(e).mul_(_LN2 / total)
    pull = None
    for step in range(1, config.n_grad_steps + 1):
        if step > 1:
            if pull is None:
                pull, e = e.mul_(config.kl_weight / total), x.exp2()
            else:
                torch.exp2(x, out=e)
            total = e.sum().item()
            mean = torch.dot(e, x).item() / total
            if math.log(total) - mean * _LN2 < config.threshold:
                break
            torch.sub(x, mean + config.kl_weight * _LOG2_E, out=descent)
            torch.addcmul(pull, descent, e, value=_LN2 / total, out=descent)
        torch._fused_adam_(
            [x],
            [descent],
            [m],
            [v],
            [],
            [_COUNTS[step]],
            lr=config.learning_rate * _LOG2_E,
            beta1=ADAM_BETA1,
            beta2=ADAM_BETA2,
            eps=ADAM_EPSILON,
            weight_decay=0.0,
            amsgrad=False,
            maximize=True,
        )
    return x.sub_(w)


def _displaced(rows: Tensor, shift: Tensor) -> Tensor:
    """`rows + shift`, rounded once to the dtype of `rows`; half precision is summed in float32."""
    return (rows + shift).to(rows.dtype)


def _descend(u: Tensor, p: Tensor, mean: Tensor, config: EntropyMinConfig, moving: Tensor | None = None) -> Tensor:
    """The displacement `[N, V]` of centred rows, every entry computed.

    `moving` are the rows that move at the first step (all if None). With it nothing is read back to the host.
    """
    on_host = moving is None
    moving = torch.ones_like(mean, dtype=torch.bool) if moving is None else moving
    shift = torch.zeros_like(u)
    pull = p * config.kl_weight
    descent = (u - mean[:, None]).mul_(p)
    m = v = descent  # Adam's sums, from the first step on
    for step in range(1, config.n_grad_steps + 1):
        if step > 1:
            moved = u + shift
            p = moved.softmax(-1)
            mean = torch.linalg.vecdot(p, moved)
            entropy = moved.amax(-1) - p.amax(-1).log_() - mean
            moving = moving & (entropy >= config.threshold)
            if on_host and not moving.any():
                break
            descent = moved.sub_((mean + config.kl_weight)[:, None]).mul_(p).add_(pull)
        if config.optimizer == "sgd":
            numerator, denominator, rate = descent, torch.ones_like(mean)[:, None], config.learning_rate
        else:
            if step == 1:
                m, v, root = descent, descent.square(), descent.abs()
            else:
                m = torch.add(descent, m, alpha=ADAM_BETA1)
                root = v.mul_(ADAM_BETA2).addcmul_(descent, descent).sqrt()
            rate, epsilon = _adam_scales(step, config.learning_rate)
            numerator, denominator = m, root.add_(epsilon)
        if not (on_host and moving.all()):
            numerator = torch.where(moving[:, None], numerator, 0)
        shift.addcdiv_(numerator, denominator, value=rate)
    return shift


# The binned form is used while the logits move less than this in all, and for no stronger pull than this.
_BIN_REACH = 1.5


def _descend_binned(u: Tensor, p: Tensor, mean: float, entropy: float, config: EntropyMinConfig) -> Tensor | None:
    """The displacement `[V]` of one centred row by Adam, with the tail in bins; None if too little of it is tail.

    Adam's displacement of an entry is a function of its own `log p_0` and a few scalars of the row (H and log Z at each
    step). It jumps where the gradient changes sign, at log p = -H, and is smooth in the tail, log p < -(H + margin),
    where the gradient keeps its sign: so entries above are computed one by one, in whole blocks, and those below in
    bins of equal width w in log p. A bin holds its exact mass and moves as its centre of mass does, so H and log Z are
    right to second order in w = 0.03; a tail entry's logit is off by at most w/2 times the displacement's slope, about
    0.1 a unit of reach, which is under 2e-3 of a probability that is itself under e^-(H + margin).
    """
    edge = _MARGIN - mean  # log p < -(H + margin) is u < mean - margin
    if edge >= -_DUST - 1:
        return None
    size = u.numel()
    if size % _BLOCK:
        u = torch.nn.functional.pad(u, (0, -size % _BLOCK), value=_DUST)
        p = torch.nn.functional.pad(p, (0, -size % _BLOCK))
    blocks = u.view(-1, _BLOCK)
    large = (blocks.amax(1) > -edge).nonzero().view(-1)
    if 2 * large.numel() > blocks.shape[0]:
        return None
    single = blocks.index_select(0, large).view(-1)
    n = _BINS + single.numel()
    width = (-_DUST * (1 + 1e-5) - edge) / _BINS
    place = torch.rsub(u, -edge / width, alpha=1 / width).long()
    place.view(-1, _BLOCK).index_copy_(0, large, torch.arange(_BINS, n).view(-1, _BLOCK))
    mass = torch.zeros(n).scatter_add_(0, place, p)
    moment = torch.zeros(n).scatter_add_(0, place, p * u)[:_BINS]
    centres = moment.div_(mass[:_BINS].clamp(min=1e-30))  # an empty bin's is never looked at
    u = torch.cat([centres, single])
    log_p_max = -entropy - mean
    p = (u + log_p_max).exp_()
    pull = p * config.kl_weight
    descent = (u - mean).mul_(p)
    m, v = descent, descent.square()
    rate, epsilon = _adam_scales(1, config.learning_rate)
    shift = torch.zeros_like(p).addcdiv_(m, descent.abs().add_(epsilon), value=rate)
    for step in range(2, config.n_grad_steps + 1):
        grown = shift.exp()
        weight = mass * grown
        moved = u + shift
        z = weight.sum().item()
        mean = torch.dot(weight, moved).item() / z
        if math.log(z) - log_p_max - mean < config.threshold:
            break
        # p (u - mean) - kl (p - p_0), with p = p_0 e^shift / z
        descent = torch.addcmul(pull, moved.sub_(mean + config.kl_weight), grown.mul_(p), value=1 / z)
        m = torch.add(descent, m, alpha=ADAM_BETA1)
        v.mul_(ADAM_BETA2).addcmul_(descent, descent)
        rate, epsilon = _adam_scales(step, config.learning_rate)
        shift.addcdiv_(m, v.sqrt().add_(epsilon), value=rate)
    return shift.index_select(0, place)[:size]


# --- adaptive temperature ----------------------------------------------------------------------------------------


@torch.no_grad()
def _temper(rows: Tensor, live: Tensor, config: EntropyMinConfig) -> tuple[Tensor, Tensor, Tensor]:
    """`adaptive_temperature` on `[N, V]`: new rows, entropies before `[N]`, changed `[N]`."""
    if rows.device.type == "cpu" and rows.shape[1] >= _LONG_ROW and rows.shape[0] > 1:
        out, before, moving = zip(*(_temper(row[None], keep[None], config) for row, keep in zip(rows, live)))
        return torch.cat(out), torch.cat(before), torch.cat(moving)
    u = _centred(rows, _NOTHING)
    before = _measure(u)[2]
    target = (config.target_ratio * before).clamp(min=config.threshold)
    temperature = _largest_temperature(u, target, config)
    moving = live & before.isfinite() & (temperature != 1)
    scaled = (rows.float() if rows.dtype != torch.float64 else rows) / temperature[:, None]
    return torch.where(moving[:, None], scaled.to(rows.dtype), rows), before, moving


def _largest_temperature(u: Tensor, target: Tensor, config: EntropyMinConfig) -> Tensor:
    """The τ `[N]` of `adaptive_temperature`, by Newton steps on log τ kept inside a shrinking bracket.

    `dH/d log τ = Var_p(u/τ)`. It aims half a tolerance below the target, so that what it accepts never lies above.
    """
    low = torch.full_like(target, math.log(config.tmin))
    high = torch.full_like(target, math.log(config.tmax))
    aim, slack = target - config.tol / 2, config.tol / 2
    log_t, done = high.clone(), torch.zeros_like(target, dtype=torch.bool)
    for iteration in range(config.max_iter):
        y = u * torch.exp(-log_t)[:, None]
        p, mean, entropy = _measure(y)
        variance = torch.linalg.vecdot(p, (y - mean[:, None]).square_())
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
