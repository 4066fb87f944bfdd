"""EM-INF by logit optimization on a CPU, compiled by numba (`pip install em-hf[fast]`); used by `minimize.py`.

When nearly all entries of a row are improbable, computing each one at every step is wasteful. How far Adam moves an
entry is a function of its own `log p` and a few numbers of its row. For `log p` far below `-H` that function is smooth,
so entries with nearly the same `log p` move together. A row therefore takes four passes, whatever the number of steps:

1. find the largest logit;
2. compute the entropy; if it is below the threshold, copy the row and stop;
3. split the entries into the few *likely* ones, kept individually, and the *tail*, whose mass is summed in bins;
4. run the steps on the likely entries and the bins alone, then add to each logit its own or its bin's displacement.

Likely entries have `log p > -(H + 1.5)`: at `log p = -H` the gradient changes sign and Adam's step jumps, so nothing
can be binned there. Tail bins are 1/64 nat wide. A tail entry's logit is off by at most half of that times the slope
of the displacement, about a tenth of `n_grad_steps x learning_rate`: under 1e-3, of a probability that is itself below
`e^-(H + 1.5)`. Entries below `e^-32` of the largest share the last bin: 262,144 of them hold 3e-9 of the mass. If the
steps of a row reach too far for this, or are plain gradient descent, all its entries are kept individually.

Logits are in units of log 2, since 2^w is cheaper than e^u.
"""
# Functions compiled by numba have no annotations.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from itertools import pairwise

import numpy as np
import torch
from llvmlite.binding import ffi
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

from em_hf.generation.backends import register_backend
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.minimize import ADAM_BETA1, ADAM_BETA2, LONG_ROW, Result, adam_scales

# llvmlite's library gives a function for any attribute that it is asked for, `__dict__` too. Code that reads the
# attributes of all imported modules, as vLLM's CPU build does when its engine starts, would fail on it.
ffi.lib._fntab.setdefault("__dict__", {})

_F = np.float32
_LOG2_E, _LN2 = _F(1 / math.log(2)), _F(math.log(2))
_LOWEST = _F(-125.0)  # below the smallest probability of float32 arithmetic at full speed: banned tokens are put here
_DEPTH = 32 / math.log(2)  # how far the bins reach below the largest logit
_BINS = 2048
_BINS_PER_UNIT = _F((_BINS - 1) / _DEPTH)
_MARGIN = _F(1.5 / math.log(2))
_REACH = 1.5  # the tail is binned only if the logits move no farther and the KL weight is no larger than this
_BLOCK = 512
_BETA1, _BETA2 = _F(ADAM_BETA1), _F(ADAM_BETA2)
# 2^f for |f| <= 1/2: the polynomial with the smallest relative error, 9e-8.
_C0, _C1, _C2, _C3, _C4, _C5 = (_F(c) for c in (1.0, 0.69314698, 0.24022242, 0.05550732, 0.0096715, 0.00132651))


@intrinsic
def _exponent(context, w):
    """Return the float32 exponent field of 2^n, where n is the integer nearest to w."""

    def build(context, builder, signature, arguments):
        (w,) = arguments
        return builder.fptosi(builder.fadd(w, w.type(127.5)), context.get_value_type(types.int32))

    return types.int32(types.float32), build


@intrinsic
def _fraction(context, w, exponent):
    """Return w minus the integer nearest to it."""

    def build(context, builder, signature, arguments):
        w, exponent = arguments
        return builder.fsub(w, builder.sitofp(builder.sub(exponent, exponent.type(127)), w.type))

    return types.float32(types.float32, types.int32), build


@intrinsic
def _power(context, exponent):
    """Return the float32 with this exponent field and all other bits zero."""

    def build(context, builder, signature, arguments):
        (exponent,) = arguments
        return builder.bitcast(builder.shl(exponent, exponent.type(23)), context.get_value_type(types.float32))

    return types.float32(types.int32), build


def _compile(function):
    # Sums may be reordered; NaN and infinities keep their meaning.
    return njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})(function)


@_compile
def _exp2(w):
    w = _LOWEST if w < _LOWEST else w  # NaN stays NaN
    exponent = _exponent(w)  # type: ignore[call-arg, var-annotated]
    f = _fraction(w, exponent)
    return (_C0 + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * _C5))))) * _power(exponent)


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})
def _largest(z):
    """Return the largest logit; any number if the row has a NaN, since its sums are then NaN in any case."""
    top = _F(-np.inf)
    for i in range(z.size):
        top = z[i] if z[i] > top else top
    return top


@_compile
def _sums(z, top, e):
    """Return `Σ 2^w` and `Σ 2^w w`, and write each 2^w into `e`."""
    total, moment = _F(0), _F(0)
    for i in range(z.size):
        w = (z[i] - top) * _LOG2_E
        w = _LOWEST if w < _LOWEST else w
        power = _exp2(w)
        e[i] = power
        total += power
        moment += power * w
    return total, moment


@_compile
def _bin(w):
    place = -w * _BINS_PER_UNIT
    return np.int32(_F(_BINS - 1) if place > _F(_BINS - 1) else place)


@_compile
def _sort_out(z, top, e, edge, bins, likely, mass):
    """Write each entry's bin into `bins`, add the 2^w in `e` to `mass` by bin, and list the likely entries in `likely`.

    Returns the number of likely entries, those in a bin below `edge`; the masses of these bins are not used.
    """
    count = 0
    for start in range(0, z.size, _BLOCK):
        end, found = min(start + _BLOCK, z.size), 0
        for i in range(start, end):
            number = _bin((z[i] - top) * _LOG2_E)
            bins[i] = number
            found += number < edge
        for i in range(start, end):
            mass[bins[i]] += e[i]
        if found:
            for i in range(start, end):
                if bins[i] < edge:
                    likely[count] = i
                    count += 1
    return count


@_compile
def _displacements(w, count_of, total, mean, adam, threshold, steps, learning_rate, kl_weight, rates, epsilons):
    """Return how far the steps move points `[n]` at `w` with `count_of` entries each, all in units of log 2.

    `total` and `mean` are the sum of 2^w over all points and the mean of w under p. The descent direction in nats is
    `p (w - mean - kl / ln 2) ln 2 + kl p_0`; Adam's rate, like every displacement, is divided by ln 2.
    """
    n = w.size
    p0, e, d = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    m, v, shift = np.zeros(n, np.float32), np.zeros(n, np.float32), np.zeros(n, np.float32)
    for i in range(n):
        p0[i] = _exp2(w[i]) / total
    pull = kl_weight * _LOG2_E
    for step in range(steps):
        if step == 0:
            for i in range(n):
                d[i] = p0[i] * (w[i] - mean) * _LN2
        else:
            top = _F(-np.inf)
            for i in range(n):
                moved = w[i] + shift[i]
                top = moved if moved > top else top
            for i in range(n):
                moved = w[i] + shift[i] - top
                e[i] = _exp2(moved)
            total, moment = _F(0), _F(0)
            for i in range(n):
                weight = count_of[i] * e[i]
                total += weight
                moment += weight * (w[i] + shift[i] - top)
            mean = moment / total
            if _F(math.log(total)) - mean * _LN2 < threshold:
                break
            base = top + mean + pull
            scale = _LN2 / total
            for i in range(n):
                d[i] = e[i] * scale * (w[i] + shift[i] - base) + kl_weight * p0[i]
        if adam:
            for i in range(n):
                m[i] = _BETA1 * m[i] + d[i]
            for i in range(n):
                v[i] = _BETA2 * v[i] + d[i] * d[i]
            rate, epsilon = rates[step], epsilons[step]
            for i in range(n):
                shift[i] += rate * m[i] / (math.sqrt(v[i]) + epsilon)
        else:
            for i in range(n):
                shift[i] += learning_rate * _LOG2_E * d[i]
    return shift


@_compile
def _all(likely):
    for i in range(likely.size):
        likely[i] = i
    return likely.size


@_compile
def _optimize_row(z, out, active, binned, adam, threshold, steps, learning_rate, kl_weight, rates, epsilons):
    """Write the new logits of a row `[V]` into `out`; return its entropy in nats and whether it moves."""
    top = _largest(z)
    total, moment = _sums(z, top, out)
    mean = moment / total
    # A sum below 1, or NaN, does not include a largest entry: there is no distribution.
    entropy = max(_F(math.log(total)) - mean * _LN2, _F(0)) if total >= _F(0.5) else _F(np.nan)
    if not active or steps == 0 or not entropy >= threshold:
        out[:] = z
        return entropy, False
    edge = np.int32(_BINS)
    if binned:
        edge = np.int32(min(max((_MARGIN - mean) * _BINS_PER_UNIT + _F(1), _F(0)), _F(_BINS)))
    likely, mass = np.empty(z.size, np.int32), np.zeros(_BINS, np.float32)
    # Unsigned, so that indexing by them does not check for negative numbers.
    bins = np.empty(z.size if edge < _BINS else 0, np.uint16)
    count = _sort_out(z, top, out, edge, bins, likely, mass) if edge < _BINS else _all(likely)
    n = count + (_BINS - edge)
    w, count_of = np.empty(n, np.float32), np.ones(n, np.float32)
    for i in range(count):
        value = (z[likely[i]] - top) * _LOG2_E
        w[i] = _LOWEST if value < _LOWEST else value
    for i in range(edge, _BINS):
        centre = -(_F(i) + _F(0.5)) / _BINS_PER_UNIT
        w[count + i - edge] = centre
        count_of[count + i - edge] = mass[i] / _exp2(centre)
    shift = _displacements(w, count_of, total, mean, adam, threshold, steps, learning_rate, kl_weight, rates, epsilons)
    for i in range(n):
        shift[i] *= _LN2
    if edge < _BINS:
        table = mass  # the masses are no longer needed
        for i in range(edge, _BINS):
            table[i] = shift[count + i - edge]
        for i in range(z.size):
            out[i] = z[i] + table[bins[i]]
    for i in range(count):
        out[likely[i]] = z[likely[i]] + shift[i]
    return entropy, True


@_compile
def _optimize_rows(
    z, live, out, entropies, moved, binned, adam, threshold, steps, learning_rate, kl_weight, rates, epsilons
):
    """Run `_optimize_row` on each of the rows `[N, V]`."""
    for i in range(z.shape[0]):
        entropies[i], moved[i] = _optimize_row(
            z[i], out[i], live[i], binned, adam, threshold, steps, learning_rate, kl_weight, rates, epsilons
        )


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="em-inf")


def optimize_compiled(rows: Tensor, live: Tensor, config: EntropyMinConfig) -> Result | None:
    """Run `minimize_entropy` on rows `[N, V]`, in parallel on as many threads as torch uses."""
    if not len(rows):
        return None
    z = rows.float().contiguous()
    numbers = _numbers(config, z.shape[1] >= LONG_ROW)
    given = z.numpy(), live.contiguous().numpy()
    arrays = [*given, np.empty_like(given[0]), np.empty(len(z), np.float32), np.empty(len(z), np.bool_)]
    workers = min(torch.get_num_threads(), len(z))
    if workers == 1:
        _optimize_rows(*arrays, *numbers)
    else:
        bounds = [len(z) * i // workers for i in range(workers + 1)]
        parts = [[array[low:high] for array in arrays] for low, high in pairwise(bounds)]
        list(_threads(workers).map(lambda part: _optimize_rows(*part, *numbers), parts))
    out, before, moved = map(torch.from_numpy, arrays[2:])
    if rows.dtype == torch.float64:  # the displacements are float32, the logits are not
        out = torch.where(moved[:, None] & z.isfinite(), rows + (out - z), rows)
    elif rows.dtype != torch.float32:
        out = torch.where(moved[:, None], out.to(rows.dtype), rows)  # rounded once; other rows are unchanged
    return out, before, moved


@lru_cache(maxsize=64)
def _numbers(config: EntropyMinConfig, long: bool) -> tuple:
    """Return the settings in the form that the compiled functions take."""
    reach, adam = config.n_grad_steps * config.learning_rate, config.optimizer == "adam"
    binned = long and adam and reach <= _REACH and config.kl_weight <= _REACH
    scales = [adam_scales(step, config.learning_rate) for step in range(1, max(config.n_grad_steps, 1) + 1)]
    rates, epsilons = ([_F(value) for value in column] for column in zip(*scales))
    threshold = _F(min(config.threshold, 3e38))
    floats = _F(config.learning_rate), _F(config.kl_weight)
    return binned, adam, threshold, config.n_grad_steps, *floats, np.array(rates, _F) * _LOG2_E, np.array(epsilons, _F)


register_backend("cpu", optimize_compiled)
