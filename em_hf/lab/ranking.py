"""How well predictions order the methods: a rank correlation, and what to make of it with so few of them."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

DRAWS = 2000


def rank_agreement(
    predicted: Sequence[float], runs: Sequence[Sequence[Sequence[float]]], *, seed: int = 0
) -> dict[str, float] | None:
    """Return Spearman's correlation of predictions with measured means, one of each per method.

    Args:
        predicted: One number per method; ties get their mean rank.
        runs: For each method, for each training seed, one number per problem; the same problems for all.
        seed: Of the bootstrap.

    Returns:
        `mean` (the correlation), `low` and `high` (its 95% bootstrap interval over training seeds and problems), and
        `chance`: the share of all orders of the methods that agree at least as well. None for fewer than three methods,
        or if all predictions or all means are equal.
    """
    if len(predicted) < 3:
        return None
    expected, rng = rankdata(predicted), np.random.default_rng(seed)
    tables = [np.array(rows, dtype=float) for rows in runs]
    found = rankdata([table.mean() for table in tables])
    if not expected.std() or not found.std():
        return None
    observed = float(_correlation(expected, found))
    orders = np.array(list(permutations(found)))
    problems = tables[0].shape[1]
    drawn = []
    for _ in range(DRAWS):
        chosen = rng.integers(problems, size=problems)
        means = [table[rng.integers(len(table), size=len(table))][:, chosen].mean() for table in tables]
        if len(set(means)) > 1:
            drawn.append(float(_correlation(expected, rankdata(means))))
    low, high = np.quantile(drawn, (0.025, 0.975))
    chance = float((_correlation(expected, orders) >= observed - 1e-9).mean())
    return {"mean": observed, "low": float(low), "high": float(high), "chance": chance}


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Pearson's correlation of `a` with each row of `b`."""
    x, y = a - a.mean(), b - b.mean(-1, keepdims=True)
    return (x * y).sum(-1) / np.sqrt((x**2).sum() * (y**2).sum(-1))
