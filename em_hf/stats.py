"""Uncertainty of measured means: bootstrap intervals over problems, paired and over training seeds; and pass@k."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_DRAWS_AT_ONCE = 1 << 20


def bootstrap_interval(
    values: Sequence[float], *, level: float = 0.95, n_resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval `(low, high)` of the mean of `values` (Efron, 1979).

    Problems are drawn with replacement, as many as there are; the interval holds the middle `level` of the means of
    `n_resamples` such draws. Memory does not grow with `n_resamples` times the number of problems.

    Args:
        values: One number per problem.
        level: Share of the means that the interval holds, between 0 and 1.
        n_resamples: Number of draws.
        seed: Seed of the draws.

    Raises:
        ValueError: `values` is empty, not one-dimensional or not finite, or another argument is out of range.
    """
    numbers = _one_number_each("values", values)
    if not 0 < level < 1:
        raise ValueError(f"level is {level!r}, but must be between 0 and 1, such as 0.95")
    if n_resamples < 1:
        raise ValueError(f"n_resamples is {n_resamples!r}, but must be at least 1")
    if seed < 0:
        raise ValueError(f"seed is {seed!r}, but must be at least 0")
    rng, n = np.random.default_rng(seed), len(numbers)
    means = np.empty(n_resamples)
    chunk = max(1, _DRAWS_AT_ONCE // n)
    for start in range(0, n_resamples, chunk):
        size = min(chunk, n_resamples - start)
        means[start : start + size] = numbers[rng.integers(n, size=(size, n))].mean(1)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def share_interval(
    values: Sequence[float], *, level: float = 0.95, n_resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Return the interval `(low, high)` of a mean of shares, one number from 0 to 1 per problem: accuracy, pass@k.

    It is that of `bootstrap_interval`, unless every problem has 0 or every problem has 1. Then all draws are the same,
    and the bootstrap interval would have zero width however few problems there are, so the exact binomial bound of
    Clopper and Pearson (1934) is used: none of 20 right is an accuracy of 0 to 16.8%.

    Raises:
        ValueError: As for `bootstrap_interval`, or a value is outside 0 to 1.
    """
    low, high = bootstrap_interval(values, level=level, n_resamples=n_resamples, seed=seed)
    least, most = min(values), max(values)
    if least < 0 or most > 1:
        raise ValueError(f"values go from {least!r} to {most!r}, but shares must be between 0 and 1")
    bound = ((1 - level) / 2) ** (1 / len(values))
    if most == 0:
        return 0.0, 1 - bound
    if least == 1:
        return bound, 1.0
    return low, high


def paired_interval(
    a: Sequence[float], b: Sequence[float], *, level: float = 0.95, n_resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Return the mean of `a - b` and its bootstrap interval, `(mean, low, high)`; `a[i]` and `b[i]` share a problem.

    A problem is drawn with both of its numbers, so that difficulty common to both does not widen the interval.

    Raises:
        ValueError: As for `bootstrap_interval`, or `a` and `b` differ in length.
    """
    first, second = _one_number_each("a", a), _one_number_each("b", b)
    if len(first) != len(second):
        raise ValueError(f"a has {len(first)} values and b {len(second)}, but they must be of the same problems")
    differences = first - second
    low, high = bootstrap_interval(differences.tolist(), level=level, n_resamples=n_resamples, seed=seed)
    return float(differences.mean()), low, high


def seeds_interval(
    runs: Sequence[Sequence[float]],
    against: Sequence[Sequence[float]] | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return the mean over runs and problems and an interval that covers the choice of both, `(mean, low, high)`.

    This is the bootstrap of a crossed design (Owen, 2007): runs are drawn with replacement, and so are problems, the
    same ones for all runs. So `runs[s][i]` and `runs[t][i]` must be of the same problem. With a single run only the
    problems vary.

    Args:
        runs: For each training seed one number per problem.
        against: Other runs on the same problems, whose mean is subtracted; their seeds are drawn independently, their
            problems with those of `runs`.

    Raises:
        ValueError: As for `bootstrap_interval`, or rows differ in length.
    """
    first = _one_row_a_run("runs", runs)
    second = np.zeros((1, first.shape[1])) if against is None else _one_row_a_run("against", against)
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"runs are of {first.shape[1]} problems and against of {second.shape[1]}: they must be the same problems"
        )
    bootstrap_interval([0.0], level=level, n_resamples=n_resamples, seed=seed)  # checks the other arguments
    rng, problems = np.random.default_rng(seed), first.shape[1]
    means = np.empty(n_resamples)
    chunk = max(1, _DRAWS_AT_ONCE // problems)
    for start in range(0, n_resamples, chunk):
        size = min(chunk, n_resamples - start)
        drawn = _drawn_mean(first, size, rng) - _drawn_mean(second, size, rng)
        means[start : start + size] = np.take_along_axis(drawn, rng.integers(problems, size=drawn.shape), 1).mean(1)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(first.mean() - second.mean()), float(low), float(high)


def ratio_interval(
    parts: Sequence[Sequence[float]],
    wholes: Sequence[Sequence[float]],
    *,
    level: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return the sum of `parts` over the sum of `wholes` and its interval, `(ratio, low, high)`.

    Such as the right answers with right steps among all right answers. Runs and problems are drawn as in
    `seeds_interval`, each with its part and its whole; a draw whose whole is 0 has no ratio and is left out.

    Args:
        parts: For each training seed one number per problem.
        wholes: The same, at least as large.

    Raises:
        ValueError: As for `bootstrap_interval`, the shapes differ, or the wholes are all 0.
    """
    above, below = _one_row_a_run("parts", parts), _one_row_a_run("wholes", wholes)
    if above.shape != below.shape:
        raise ValueError(f"parts has shape {list(above.shape)} and wholes {list(below.shape)}: they must be the same")
    if not below.any():
        raise ValueError("wholes are all 0, but a ratio needs one above 0")
    bootstrap_interval([0.0], level=level, n_resamples=n_resamples, seed=seed)  # checks the other arguments
    rng, (runs, problems) = np.random.default_rng(seed), above.shape
    ratios: list[NDArray[np.float64]] = []
    chunk = max(1, _DRAWS_AT_ONCE // problems)
    for start in range(0, n_resamples, chunk):
        size = min(chunk, n_resamples - start)
        counts = rng.multinomial(runs, np.full(runs, 1 / runs), size=size)
        drawn = rng.integers(problems, size=(size, problems))
        part, whole = (np.take_along_axis(counts @ rows, drawn, 1).sum(1) for rows in (above, below))
        ratios.append(part[whole > 0] / whole[whole > 0])
    low, high = np.quantile(np.concatenate(ratios), ((1 - level) / 2, (1 + level) / 2))
    return float(above.sum() / below.sum()), float(low), float(high)


def _drawn_mean(runs: NDArray[np.float64], size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return `size` means over runs drawn with replacement, `[size, problems]`."""
    counts = rng.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), size=size)
    return counts @ runs / len(runs)


def _one_row_a_run(name: str, runs: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    if not len(runs):
        raise ValueError(f"{name} is empty, but must hold at least one run")
    rows = [_one_number_each(f"{name}[{i}]", row) for i, row in enumerate(runs)]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"{name} has rows of different length, but all must be of the same problems")
    return np.stack(rows)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the probability that at least one of `k` samples is right, from `n` samples of which `c` were right.

    This is the unbiased estimate `1 - C(n-c, k) / C(n, k)` (Chen et al., 2021, equation 1), in integers up to the
    last step.

    Raises:
        ValueError: Not 0 <= c <= n, or not 1 <= k <= n.
    """
    if n < 1:
        raise ValueError(f"n is {n!r}, but must be at least 1")
    if not 0 <= c <= n:
        raise ValueError(f"c is {c!r}, but must be between 0 and n = {n}")
    if not 1 <= k <= n:
        raise ValueError(f"k is {k!r}, but must be between 1 and n = {n}: draw more samples, or ask for a smaller k")
    ways = math.comb(n, k)
    return (ways - math.comb(n - c, k)) / ways


def _one_number_each(name: str, values: Sequence[float]) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1:
        raise ValueError(f"{name} has shape {list(numbers.shape)}, but must be one-dimensional, one number per problem")
    if not len(numbers):
        raise ValueError(f"{name} is empty, but must hold at least one number")
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} holds NaN or infinity, but must be finite: leave out problems without a result")
    return numbers
