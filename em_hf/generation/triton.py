"""EM-INF by logit optimization as one Triton kernel, for rows of logits on a GPU; used by `minimize.py`.

How far a step moves an entry is a function of its own logit and a few numbers of its row. So the displacement `d` after
k steps follows from the original logit and those numbers for the k steps, and no optimizer state is stored:

    y = z - max z + d,   p = e^y / Z,   -∂H/∂z - kl_weight ∂KL/∂z = p (y - mean) + kl_weight (p_0 - p)

Each pass over a row recomputes `d` and sums `Z` and `mean = Σ p y`, from which H = log Z - mean follows. A row is read
once and written unchanged; one that moves is read once more for each of its steps, and written again. The kernel works
in units of log 2, since a GPU computes 2^x; Adam does not depend on the unit, apart from its rate and epsilon. Nothing
is read back to the host: a row that has stopped skips its passes on the device.

The same kernel is launched in one of two ways. With at least as many rows as the GPU has multiprocessors, each program
makes all passes over one row: one launch. With fewer, a row is split over up to 64 programs and every pass is a launch,
n_grad_steps + 1 in all: the sums of the parts are combined between launches. The two sum in different orders, so a row
may differ in the last digit of a float32 between batches of different sizes.

Importing this module needs triton, which PyTorch's GPU builds include. With TRITON_INTERPRET=1 set in the environment
beforehand, the kernel runs on CPU tensors.
"""
# Triton functions take no annotations except constexpr.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import math
from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from em_hf.generation.backends import register_backend
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.minimize import ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON, Result

_BETA1, _BETA2, _EPSILON = tl.constexpr(ADAM_BETA1), tl.constexpr(ADAM_BETA2), tl.constexpr(ADAM_EPSILON)
_LOG2_E, _LN2 = tl.constexpr(1 / math.log(2)), tl.constexpr(math.log(2))
_LOWEST = tl.constexpr(torch.finfo(torch.float32).min)
# In units of log 2. A logit this far below the largest has probability 0 in float32; banned tokens are put here.
_NOTHING = tl.constexpr(-1e4)

# The values kept per row and step, in a slot of _SLOT numbers; slot k + 1 belongs to the sums after k steps.
_SLOT = tl.constexpr(8)
_LOG_Z, _MEAN = tl.constexpr(0), tl.constexpr(1)  # log2 Z, and the mean of y under p
_RATE, _EPSILON_NOW = tl.constexpr(2), tl.constexpr(4)  # the size of the next step, and Adam's epsilon in it
_GOES_ON = tl.constexpr(3)  # whether that step is made
_SUM1, _SUM2 = tl.constexpr(5), tl.constexpr(6)  # Σ β1^i and Σ β2^i: m / _SUM1 and v / _SUM2 are free of bias
# Slot 0 precedes all sums: the sums Σ β^i are 0 there, _GOES_ON says whether the row is active, and:
_LARGEST = tl.constexpr(0)  # the largest logit of the row

_BLOCK = 4096  # entries a program processes at a time, eight per thread
_WARPS = 16
_MAX_SPLIT = 64
# None of 100 Adam steps is longer than this many learning rates, whatever the gradients: by Cauchy-Schwarz
# m / sqrt(v) <= sqrt(Σ (β1² / β2)^i) < 2.3 for the sums without their factors, and sqrt(c2) / c1 < 1.
_LONGEST_STEP = 2.3
# While entries move less than this in total, e^y is safe in float32 without subtracting the new maximum.
_SAFE_REACH = 40.0


@triton.jit
def _add_to_sums(top, total, moment, value, UNIT: tl.constexpr):
    """Update each lane's largest value, `Σ 2^w` and `Σ 2^w w` with `value`, where w = UNIT (value - largest)."""
    new_top = tl.maximum(top, value)
    base = tl.maximum(new_top, _LOWEST)
    fall = tl.maximum((tl.maximum(top, _LOWEST) - base) * UNIT, _NOTHING)
    scale = tl.exp2(fall)
    w = tl.maximum((value - base) * UNIT, _NOTHING)
    e = tl.exp2(w)
    return new_top, total * scale + e, scale * (moment + total * fall) + e * w


@triton.jit
def _sums_of_lanes(top, total, moment, unit):
    """Combine the lanes of `_add_to_sums` into three scalars."""
    all_top = tl.max(top, 0)
    fall = tl.maximum((tl.maximum(top, _LOWEST) - tl.maximum(all_top, _LOWEST)) * unit, _NOTHING)
    scale = tl.exp2(fall)
    return all_top, tl.sum(total * scale, 0), tl.sum(scale * (moment + total * fall), 0)


@triton.jit
def _centred(rows, place, end, numbers):
    """Return logits in float32 and `w`, their difference from the largest of their row in units of log 2."""
    z = tl.load(rows + place, mask=place < end, other=float("-inf")).to(tl.float32)
    largest = tl.maximum(tl.load(numbers + _LARGEST), _LOWEST)
    return z, tl.maximum((z - largest) * _LOG2_E, _NOTHING)


@triton.jit
def _displacement(w, count, numbers, pull, ADAM: tl.constexpr):
    """Return how far `count` >= 1 steps move the entries `w`; `numbers` as `_settle` leaves them, pull = kl / log 2.

    Adam's m and v are sums without the factors 1 - β. A division x / y is computed as x · rsqrt(y²): y is never below
    1e-8, and these two operations cost less than one division.
    """
    first = numbers + _SLOT
    log_z, mean = tl.load(first + _LOG_Z), tl.load(first + _MEAN)
    p0 = tl.exp2(w - log_z)
    descent = p0 * (w - mean)
    m, v = descent, descent * descent
    shift = tl.load(first + _RATE) * descent
    if ADAM:  # m / sqrt(v) is a sign at the first step
        size = tl.abs(descent) + tl.load(first + _EPSILON_NOW)
        shift *= tl.rsqrt(size * size)
    for step in range(1, count):
        slot = numbers + _SLOT * (step + 1)
        y = w + shift
        p = tl.exp2(y - tl.load(slot + _LOG_Z))
        descent = p * (y - tl.load(slot + _MEAN)) + (p0 - p) * pull
        if ADAM:
            m = m * _BETA1 + descent
            v = v * _BETA2 + descent * descent
            size = tl.sqrt(v) + tl.load(slot + _EPSILON_NOW)
            shift += tl.load(slot + _RATE) * (m * tl.rsqrt(size * size))
        else:
            shift += tl.load(slot + _RATE) * descent
    return shift


@triton.jit
def _copy_and_sum(rows, out, start, end, BLOCK: tl.constexpr):
    """Copy the row into `out` and return its sums. A NaN counts as +inf: either way there is no distribution."""
    lanes = tl.arange(0, BLOCK)
    top = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.full([BLOCK], 0.0, tl.float32)
    moment = tl.full([BLOCK], 0.0, tl.float32)
    for offset in range(start, end, BLOCK):
        place = offset + lanes
        kept = place < end
        z = tl.load(rows + place, mask=kept, other=float("-inf"))
        tl.store(out + place, z, mask=kept)
        value = z.to(tl.float32)
        value = tl.where(value == value, value, float("inf"))
        top, total, moment = _add_to_sums(top, total, moment, value, _LOG2_E)
    return _sums_of_lanes(top, total, moment, _LOG2_E)


@triton.jit
def _move_and_sum(rows, count, numbers, pull, start, end, ADAM: tl.constexpr, NEAR: tl.constexpr, BLOCK: tl.constexpr):
    """Return the sums of the row after `count` steps. NEAR: entries have moved so little that 0 can be the base."""
    lanes = tl.arange(0, BLOCK)
    total = tl.full([BLOCK], 0.0, tl.float32)
    moment = tl.full([BLOCK], 0.0, tl.float32)
    if NEAR:
        top = tl.full([BLOCK], 0.0, tl.float32)
    else:
        top = tl.full([BLOCK], float("-inf"), tl.float32)
    for offset in range(start, end, BLOCK):
        _, w = _centred(rows, offset + lanes, end, numbers)
        y = w + _displacement(w, count, numbers, pull, ADAM)
        if NEAR:
            e = tl.exp2(y)
            total += e
            moment += e * y
        else:
            top, total, moment = _add_to_sums(top, total, moment, y, 1.0)
    return _sums_of_lanes(top, total, moment, 1.0)


@triton.jit
def _move_and_write(rows, out, count, numbers, pull, start, end, ADAM: tl.constexpr, BLOCK: tl.constexpr):
    """Write the row after `count` steps into `out`, rounded once."""
    lanes = tl.arange(0, BLOCK)
    for offset in range(start, end, BLOCK):
        place = offset + lanes
        z, w = _centred(rows, place, end, numbers)
        moved = z + _displacement(w, count, numbers, pull, ADAM) * _LN2
        tl.store(out + place, moved.to(out.dtype.element_ty), mask=place < end)


@triton.jit
def _settle(step, threshold, rate, sums, numbers, ADAM: tl.constexpr, SPLIT: tl.constexpr):
    """Fill the slot after `step` steps from the sums of a row's parts; return entropy (nats) and whether it goes on.

    The bias corrections are m / Σ β1^i and v / Σ β2^i, which avoid 1 - β^k, inaccurate in float32 for β2.
    """
    unit = tl.where(step == 0, _LOG2_E, 1.0)
    parts = sums + 3 * (step * SPLIT + tl.arange(0, SPLIT))
    top, total, moment = _sums_of_lanes(tl.load(parts), tl.load(parts + 1), tl.load(parts + 2), unit)
    mean = moment / total
    log_z = tl.log2(total)
    entropy = tl.maximum((log_z - mean) * _LN2, 0.0)
    if step == 0:  # entries are relative to the largest, and the row may have no distribution
        entropy = tl.where((top > float("-inf")) & (top < float("inf")), entropy, float("nan"))
        tl.store(numbers + _LARGEST, top)
        top = 0.0
    past = numbers + _SLOT * step
    goes_on = (tl.load(past + _GOES_ON) > 0) & (entropy >= threshold)
    sum1, sum2 = tl.load(past + _SUM1) * _BETA1 + 1.0, tl.load(past + _SUM2) * _BETA2 + 1.0
    root = tl.sqrt(sum2)
    slot = past + _SLOT
    tl.store(slot + _LOG_Z, top + log_z)
    tl.store(slot + _MEAN, top + mean)
    if ADAM:
        tl.store(slot + _RATE, root / sum1 * rate * _LOG2_E)
    else:
        tl.store(slot + _RATE, rate)
    tl.store(slot + _GOES_ON, goes_on.to(tl.float32))
    tl.store(slot + _EPSILON_NOW, root * _EPSILON * _LOG2_E)
    tl.store(slot + _SUM1, sum1)
    tl.store(slot + _SUM2, sum2)
    return entropy, goes_on


@triton.jit(do_not_specialize=["first", "last", "steps"])
def _passes(
    rows, out, active, before, adjusted, sums, numbers, stride, size, first, last, steps, threshold, rate, kl_weight,
    ADAM: tl.constexpr, NEAR: tl.constexpr, SPLIT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run passes `first` to `last` over one part of one row: 0 copies and sums, `steps` writes, those between sum."""
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    rows += row * stride
    out += row * size
    sums += row * (steps + 1) * SPLIT * 3
    numbers += (row * SPLIT + part) * (steps + 1) * _SLOT  # per part, so that no two programs write to one place
    length = ((size + BLOCK - 1) // BLOCK + SPLIT - 1) // SPLIT * BLOCK
    start = part * length
    end = tl.minimum(start + length, size)
    pull = kl_weight * _LOG2_E
    for step in range(first, last + 1):
        mine = sums + 3 * (step * SPLIT + part)
        if step == 0:
            tl.store(numbers + _GOES_ON, tl.load(active + row).to(tl.float32))
            tl.store(numbers + _SUM1, 0.0)
            tl.store(numbers + _SUM2, 0.0)
            top, total, moment = _copy_and_sum(rows, out, start, end, BLOCK)
            tl.store(mine, top)
            tl.store(mine + 1, total)
            tl.store(mine + 2, moment)
        else:
            entropy, goes_on = _settle(step - 1, threshold, rate, sums, numbers, ADAM, SPLIT)
            if step == 1:
                tl.store(before + row, entropy, mask=part == 0)
                tl.store(adjusted + row, goes_on.to(tl.uint8), mask=part == 0)
            tl.debug_barrier()
            if step < steps:
                if goes_on:
                    top, total, moment = _move_and_sum(rows, step, numbers, pull, start, end, ADAM, NEAR, BLOCK)
                    tl.store(mine, top)
                    tl.store(mine + 1, total)
                    tl.store(mine + 2, moment)
            else:
                count = 0
                for past in range(0, steps):
                    count += (tl.load(numbers + _SLOT * (past + 1) + _GOES_ON) > 0).to(tl.int32)
                if count > 0:
                    _move_and_write(rows, out, count, numbers, pull, start, end, ADAM, BLOCK)
        tl.debug_barrier()  # makes the stores visible to all threads of the program in its next pass


def split_of(rows: int, size: int, processors: int, block: int = _BLOCK) -> int:
    """Return how many programs share a row: 1 (one launch) if the rows alone keep all multiprocessors busy."""
    if rows >= processors:
        return 1
    wanted = min(_MAX_SPLIT, -(-2 * processors // rows), -(-size // block))
    return 1 << (wanted - 1).bit_length() if wanted > 1 else 1


@torch.library.custom_op("em_hf::minimize_entropy", mutates_args=())
def minimize_entropy_rows(
    rows: Tensor,
    active: Tensor,
    threshold: float,
    n_grad_steps: int,
    learning_rate: float,
    kl_weight: float,
    adam: bool,
    split: int = 0,
    block: int = _BLOCK,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run `minimize_entropy` on float32, bfloat16 or float16 rows `[N, V]`, all on one device.

    Args:
        active: bool `[N]`, the rows to process.
        split: programs that share a row, a power of two; 1 makes all passes in one launch; 0 chooses by size.
        block: entries a program processes at a time, a power of two.

    Returns:
        New rows `[N, V]`, entropies before in nats `[N]`, whether each row changed `[N]`.
    """
    count, size = rows.shape
    rows = rows if rows.stride(1) == 1 else rows.contiguous()
    out = torch.empty((count, size), dtype=rows.dtype, device=rows.device)
    before = torch.empty(count, dtype=torch.float32, device=rows.device)
    adjusted = torch.empty(count, dtype=torch.bool, device=rows.device)
    if count == 0:
        return out, before, adjusted
    if n_grad_steps == 0:
        active = torch.zeros_like(active)
    steps = max(n_grad_steps, 1)
    if split == 0:
        processors = torch.cuda.get_device_properties(rows.device).multi_processor_count if rows.is_cuda else 1
        split = split_of(count, size, processors, block)
    sums = torch.empty(count * (steps + 1) * split * 3, dtype=torch.float32, device=rows.device)
    numbers = torch.empty(count * split * (steps + 1) * _SLOT.value, dtype=torch.float32, device=rows.device)
    launches = [(0, steps)] if split == 1 else [(step, step) for step in range(steps + 1)]
    with torch.cuda.device(rows.device) if rows.is_cuda else nullcontext():
        for first, last in launches:
            _passes[(count, split)](
                rows,
                out,
                active.contiguous().view(torch.uint8),
                before,
                adjusted.view(torch.uint8),
                sums,
                numbers,
                rows.stride(0),
                size,
                first,
                last,
                steps,
                threshold,
                learning_rate,
                kl_weight,
                ADAM=adam,
                NEAR=adam and steps * learning_rate * _LONGEST_STEP < _SAFE_REACH,
                SPLIT=split,
                BLOCK=block,
                num_warps=_WARPS,
                enable_fp_fusion=True,
            )
    return out, before, adjusted


@minimize_entropy_rows.register_fake
def _shapes(rows: Tensor, active: Tensor, *settings: object, **named: object) -> tuple[Tensor, Tensor, Tensor]:
    count = rows.shape[0]
    return (
        torch.empty(rows.shape, dtype=rows.dtype, device=rows.device),
        rows.new_empty(count, dtype=torch.float32),
        rows.new_empty(count, dtype=torch.bool),
    )


def optimize_on_gpu(rows: Tensor, live: Tensor, config: EntropyMinConfig) -> Result | None:
    """Run `minimize_entropy` on rows `[N, V]` on a GPU; return None for float64, which the kernel does not support."""
    if rows.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return None
    adam = config.optimizer == "adam"
    return torch.ops.em_hf.minimize_entropy(
        rows, live, config.threshold, config.n_grad_steps, config.learning_rate, config.kl_weight, adam
    )


def probe() -> None:
    """Compile the kernel and launch it on the current GPU; if that fails, let Triton's exception propagate."""
    rows = torch.zeros(1, 8, dtype=torch.float32, device="cuda")
    minimize_entropy_rows(rows, torch.ones(1, dtype=torch.bool, device="cuda"), 0.3, 1, 0.1, 0.05, True)


if torch.cuda.is_available():
    probe()
    register_backend("cuda", optimize_on_gpu)
