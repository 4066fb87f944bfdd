"""EM-INF by logit optimization for long rows on a CPU, with torch alone; the fallback if numba is missing.

In a row of a hundred thousand logits, nearly all entries are improbable, and computing each of them at every step is
wasteful. How far Adam moves an entry depends only on its own `log p` and on a few numbers of its row (`H` and `log Z`
at each step). As a function of `log p`, that displacement jumps at `log p = -H`, where the gradient changes sign, and
is smooth far below. So the row is split in two:

- the *likely* entries, `log p > -(H + 1.5)`, in whole blocks of 64, are computed one by one;
- the *tail* goes into 1,024 bins of equal width `w` in `log p`. A bin holds the exact mass of its entries and moves as
  their centre of mass does; afterwards each tail entry gets the displacement of its bin.

Each step then costs as much as about a thousand entries, whatever the length of the row and the number of steps. Sums
over the row are accurate to second order in w = 0.03. A tail entry's logit is off by at most w/2 times the
displacement's slope, about 0.1 per unit of `n_grad_steps x learning_rate`: under 2e-3 of a probability that is itself
below `e^-(H + 1.5)`. If more than half of the blocks are likely, the row is left to the plain implementation.
"""

import math

import torch
from torch import Tensor

from em_hf.generation.backends import register_backend
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.minimize import (
    ADAM_BETA1,
    ADAM_BETA2,
    LONG_ROW,
    Result,
    adam_scales,
    displaced,
    measure,
    one_by_one,
    optimize_plainly,
)

_BLOCK = 64
_BINS = 1024
_MARGIN = 1.5
# Bins reach down to e^-32 of the largest probability. Entries below that go into the last bin: 262,144 of them hold
# 3.3e-9 of the mass and 1.1e-7 nats, less than float32 resolves.
_DUST = -32.0
# The upper limit on how far the logits may move in total, and on the KL weight.
_REACH = 1.5


def optimize_binned(rows: Tensor, live: Tensor, config: EntropyMinConfig) -> Result | None:
    """Run `minimize_entropy` on long rows `[N, V]` that Adam moves only a little; return None for all others."""
    reach = config.n_grad_steps * config.learning_rate
    is_short = rows.shape[1] < LONG_ROW or config.n_grad_steps < 2
    if is_short or config.optimizer != "adam" or reach > _REACH or config.kl_weight > _REACH or not len(rows):
        return None
    return one_by_one(_optimize_row, rows, live, config)


def _optimize_row(rows: Tensor, live: Tensor, config: EntropyMinConfig) -> Result:
    """Optimize one row, `[1, V]`."""
    u, p, means, before = measure(rows)
    mean, entropy = means.item(), before.item()
    if not (bool(live) and entropy >= config.threshold):
        return rows.clone(), before, torch.zeros_like(live)
    shift = _displacement(u[0].clamp_(min=_DUST), p[0], mean, entropy, config)
    if shift is None:
        return optimize_plainly(rows, live, config)
    return displaced(rows, shift), before, torch.ones_like(live)


def _displacement(u: Tensor, p: Tensor, mean: float, entropy: float, config: EntropyMinConfig) -> Tensor | None:
    """Return how far the steps move each entry `[V]` of a centred row, or None if too little of it is tail."""
    edge = _MARGIN - mean  # log p < -(H + margin) is u < mean - margin
    if edge >= -_DUST - 1:
        return None
    size = u.numel()
    if size % _BLOCK:
        u = torch.nn.functional.pad(u, (0, -size % _BLOCK), value=_DUST)
        p = torch.nn.functional.pad(p, (0, -size % _BLOCK))
    blocks = u.view(-1, _BLOCK)
    likely = (blocks.amax(1) > -edge).nonzero().view(-1)
    if 2 * likely.numel() > blocks.shape[0]:
        return None
    single = blocks.index_select(0, likely).view(-1)
    n = _BINS + single.numel()
    width = (-_DUST * (1 + 1e-5) - edge) / _BINS
    place = torch.rsub(u, -edge / width, alpha=1 / width).long()
    place.view(-1, _BLOCK).index_copy_(0, likely, torch.arange(_BINS, n, device=u.device).view(-1, _BLOCK))
    mass = torch.zeros(n, dtype=u.dtype, device=u.device).scatter_add_(0, place, p)
    moment = torch.zeros(n, dtype=u.dtype, device=u.device).scatter_add_(0, place, p * u)[:_BINS]
    centres = moment.div_(mass[:_BINS].clamp(min=1e-30))  # an empty bin's centre has no effect
    u = torch.cat([centres, single])
    log_p_max = -entropy - mean
    p = (u + log_p_max).exp_()
    pull = p * config.kl_weight
    descent = (u - mean).mul_(p)
    m, v = descent, descent.square()
    rate, epsilon = adam_scales(1, config.learning_rate)
    shift = torch.zeros_like(p).addcdiv_(m, descent.abs().add_(epsilon), value=rate)
    for step in range(2, config.n_grad_steps + 1):
        grown = shift.exp()
        weight = mass * grown
        moved = u + shift
        z = weight.sum().item()
        mean = (weight * moved).sum().item() / z
        if math.log(z) - log_p_max - mean < config.threshold:
            break
        # p (u - mean) - kl (p - p_0), with p = p_0 e^shift / z
        descent = torch.addcmul(pull, moved.sub_(mean + config.kl_weight), grown.mul_(p), value=1 / z)
        m = torch.add(descent, m, alpha=ADAM_BETA1)
        v.mul_(ADAM_BETA2).addcmul_(descent, descent)
        rate, epsilon = adam_scales(step, config.learning_rate)
        shift.addcdiv_(m, v.sqrt().add_(epsilon), value=rate)
    return shift.index_select(0, place)[:size]


register_backend("cpu", optimize_binned, replace=False)
