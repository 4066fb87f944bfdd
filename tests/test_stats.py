import math
import tracemalloc
from itertools import combinations, product
from statistics import NormalDist, mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from em_hf.stats import (
    bootstrap_interval,
    paired_interval,
    pass_at_k,
    ratio_interval,
    seeds_interval,
    share_interval,
)

numbers = st.lists(st.floats(-100, 100), min_size=1, max_size=20)


def test_the_interval_of_three_problems_is_that_of_all_27_draws() -> None:
    # Means of all draws of three from (0, 0, 1): 0 in 8 of 27, 1/3 in 12, 2/3 in 6, 1 in 1 (3.7%).
    draws = sorted(mean(draw) for draw in product((0, 0, 1), repeat=3))
    assert (draws.count(0), draws.count(1)) == (8, 1)
    low, high = bootstrap_interval([0, 0, 1], level=0.9)  # 5% above: 1 is beyond it
    assert (low, high) == (0, pytest.approx(2 / 3))
    assert bootstrap_interval([0, 0, 1], level=0.95) == (0, 1)  # 2.5% above: 1 is within it


def test_the_interval_of_many_problems_is_the_normal_one() -> None:
    values = [1.0] * 300 + [0.0] * 700
    half = NormalDist().inv_cdf(0.975) * math.sqrt(0.3 * 0.7 / 1000)
    low, high = bootstrap_interval(values)
    # The quantile of 10,000 resamples has a standard error of 2.7% of the half width; 4 of these are allowed.
    assert low == pytest.approx(0.3 - half, abs=0.11 * half)
    assert high == pytest.approx(0.3 + half, abs=0.11 * half)


def test_nineteen_in_twenty_intervals_hold_the_true_mean() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(300):
        low, high = bootstrap_interval(rng.normal(2.0, 1.0, 60).tolist(), n_resamples=500, seed=seed)
        held += low <= 2.0 <= high
    assert 0.90 <= held / 300 <= 0.98  # 95% less the bootstrap's known 1%, give or take three standard errors


@given(numbers, st.integers(0, 5))
def test_the_interval_lies_within_the_values_and_the_same_seed_gives_it_again(values: list[float], seed: int) -> None:
    low, high = bootstrap_interval(values, n_resamples=50, seed=seed)
    slack = 1e-9  # of the mean's rounding
    assert min(values) - slack <= low <= high <= max(values) + slack
    assert (low, high) == bootstrap_interval(values, n_resamples=50, seed=seed)


@given(numbers, st.floats(0.1, 10), st.floats(-100, 100))
def test_the_interval_moves_and_grows_with_the_values(values: list[float], scale: float, shift: float) -> None:
    low, high = bootstrap_interval(values, n_resamples=50)
    moved = bootstrap_interval([scale * value + shift for value in values], n_resamples=50)
    assert moved == pytest.approx((scale * low + shift, scale * high + shift), abs=1e-9)


def test_a_higher_level_gives_a_wider_interval_and_another_seed_another_one() -> None:
    values = [math.sin(i) for i in range(50)]
    low, high = bootstrap_interval(values, level=0.8)
    wide_low, wide_high = bootstrap_interval(values, level=0.99)
    assert wide_low < low < high < wide_high
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_a_thousand_resamples_of_ten_thousand_problems_fit_into_little_memory() -> None:
    values = np.random.default_rng(0).random(10_000).tolist()
    tracemalloc.start()
    bootstrap_interval(values, n_resamples=1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * 2**20  # all draws at once would be 80 MB of indices alone


def test_where_no_problem_succeeds_the_interval_of_the_share_is_clopper_and_pearsons() -> None:
    for n in (1, 20, 100):
        exact = binomtest(0, n).proportion_ci(0.95, method="exact")
        assert share_interval([0.0] * n) == pytest.approx((exact.low, exact.high))
        exact = binomtest(n, n).proportion_ci(0.9, method="exact")
        assert share_interval([1.0] * n, level=0.9) == pytest.approx((exact.low, exact.high))


@given(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=2, max_size=20).filter(lambda v: 0 < sum(v) < len(v)))
def test_where_some_succeed_the_interval_of_the_share_is_the_bootstraps(values: list[float]) -> None:
    assert share_interval(values, n_resamples=50) == bootstrap_interval(values, n_resamples=50)


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_share_outside_zero_to_one_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="shares must be between 0 and 1"):
        share_interval([0.5, value])


def test_the_paired_interval_is_that_of_the_differences_drawn_problem_by_problem() -> None:
    # b is always 0.25 below a: however problems are drawn, so is the mean, though a and b themselves vary widely.
    a = [float(i % 7) for i in range(40)]
    assert paired_interval(a, [value - 0.25 for value in a]) == pytest.approx((0.25, 0.25, 0.25))


def test_the_paired_interval_is_narrower_than_two_separate_ones_for_paired_problems() -> None:
    rng = np.random.default_rng(0)
    hardness = rng.normal(0, 1, 200)
    a, b = hardness + 0.5 + rng.normal(0, 0.1, 200), hardness + rng.normal(0, 0.1, 200)
    difference, low, high = paired_interval(a.tolist(), b.tolist())
    assert difference == pytest.approx(mean(a.tolist()) - mean(b.tolist()))
    standard_error = float((a - b).std(ddof=1)) / math.sqrt(200)
    assert high - low == pytest.approx(2 * 1.96 * standard_error, rel=0.1)
    assert low < 0.5 < high


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=10))
def test_swapping_the_two_sides_turns_the_paired_interval_round(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    difference, low, high = paired_interval(a, b, n_resamples=99)
    assert paired_interval(b, a, n_resamples=99) == pytest.approx((-difference, -high, -low), abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_pass_at_k_is_the_share_of_all_choices_of_k_samples_that_hold_a_right_one(n: int) -> None:
    for c in range(n + 1):
        for k in range(1, n + 1):
            choices = list(combinations([True] * c + [False] * (n - c), k))
            assert pass_at_k(n, c, k) == sum(map(any, choices)) / len(choices)


def test_pass_at_k_of_large_numbers_neither_overflows_nor_rounds_away() -> None:
    assert pass_at_k(100_000, 1, 1) == 1e-5
    assert pass_at_k(100_000, 50_000, 1000) == 1.0
    assert pass_at_k(10_000, 3, 5000) == pytest.approx(1 - 0.5**3, abs=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([]), "values is empty"),
        (lambda: bootstrap_interval([[1.0], [2.0]]), r"values has shape \[2, 1\]"),  # type: ignore[list-item]
        (lambda: bootstrap_interval([1.0, math.nan]), "values holds NaN"),
        (lambda: bootstrap_interval([1.0], level=1.0), "level is 1.0"),
        (lambda: bootstrap_interval([1.0], level=95), "level is 95"),
        (lambda: bootstrap_interval([1.0], n_resamples=0), "n_resamples is 0"),
        (lambda: bootstrap_interval([1.0], seed=-1), "seed is -1"),
        (lambda: paired_interval([1.0, 2.0], [1.0]), "a has 2 values and b 1"),
        (lambda: paired_interval([1.0], [math.inf]), "b holds NaN or infinity"),
        (lambda: paired_interval([], []), "a is empty"),
        (lambda: pass_at_k(0, 0, 1), "n is 0"),
        (lambda: pass_at_k(4, 5, 1), "c is 5, but must be between 0 and n = 4"),
        (lambda: pass_at_k(4, -1, 1), "c is -1"),
        (lambda: pass_at_k(4, 2, 5), "k is 5, but must be between 1 and n = 4"),
        (lambda: pass_at_k(4, 2, 0), "k is 0"),
    ],
)
def test_a_wrong_argument_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_interval_over_seeds_is_that_of_drawing_seeds_and_problems_one_by_one() -> None:
    rng = np.random.default_rng(1)
    runs = rng.random((4, 30)) + rng.normal(0, 0.3, (4, 1))
    other = rng.random((3, 30))
    draws = []
    for _ in range(4000):
        at = rng.integers(30, size=30)
        a, b = rng.integers(4, size=4), rng.integers(3, size=3)
        draws.append(runs[a][:, at].mean() - other[b][:, at].mean())
    mean, low, high = seeds_interval(runs.tolist(), other.tolist())
    assert mean == pytest.approx(runs.mean() - other.mean())
    assert (low, high) == pytest.approx(np.quantile(draws, (0.025, 0.975)), abs=0.02)


def test_seeds_that_differ_widen_the_interval_and_equal_ones_leave_that_of_the_problems() -> None:
    row = [float(i % 3 == 0) for i in range(60)]
    _, low, high = seeds_interval([row, row, row])
    assert (low, high) == pytest.approx(bootstrap_interval(row), abs=0.02)
    _, lower, higher = seeds_interval([row, [value + 1 for value in row], [value - 1 for value in row]])
    assert higher - lower > 2 * (high - low)
    mean, low, high = seeds_interval([row, row], [[value - 0.25 for value in row]])
    assert (mean, low, high) == pytest.approx((0.25, 0.25, 0.25)), "problems are drawn with both their numbers"


def test_a_ratio_is_of_sums_and_its_interval_that_of_drawn_problems_and_runs() -> None:
    rng = np.random.default_rng(4)
    wholes = rng.random((3, 50)).round(1)
    parts = wholes * rng.random((3, 50))
    draws = []
    for _ in range(4000):  # the same bootstrap, one draw at a time
        runs, problems = rng.integers(3, size=3), rng.integers(50, size=50)
        draws.append(parts[runs][:, problems].sum() / wholes[runs][:, problems].sum())
    ratio, low, high = ratio_interval(parts.tolist(), wholes.tolist())
    assert ratio == pytest.approx(parts.sum() / wholes.sum())
    assert (low, high) == pytest.approx(np.quantile(draws, (0.025, 0.975)), abs=0.01)


def test_a_ratio_of_a_fixed_share_has_no_width_and_that_of_ones_is_a_mean() -> None:
    rows = [[1.0, 0.0, 0.5, 1.0], [0.0, 0.0, 1.0, 1.0]]
    assert ratio_interval([[value / 4 for value in row] for row in rows], rows) == pytest.approx((0.25, 0.25, 0.25))
    values = [float(i % 3 == 0) for i in range(60)]
    _, low, high = ratio_interval([values], [[1.0] * 60])
    assert (low, high) == pytest.approx(bootstrap_interval(values), abs=0.02)
    ratio, low, high = ratio_interval([[1.0, 0.0]], [[1.0, 0.0]])
    assert (ratio, low, high) == (1.0, 1.0, 1.0), "draws with nothing to divide by are left out"


@pytest.mark.parametrize(
    ("parts", "wholes", "message"),
    [
        ([[0.0, 0.0]], [[0.0, 0.0]], "wholes are all 0"),
        ([[1.0]], [[1.0, 1.0]], "must be the same"),
        ([], [[1.0]], "parts is empty"),
        ([[math.inf]], [[1.0]], "parts\\[0\\] holds NaN or infinity"),
    ],
)
def test_a_ratio_that_cannot_be_is_refused(parts: list, wholes: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ratio_interval(parts, wholes)


@pytest.mark.parametrize(
    ("runs", "against", "message"),
    [
        ([], None, "runs is empty"),
        ([[1.0], [1.0, 2.0]], None, "rows of different length"),
        ([[1.0, 2.0]], [[1.0]], "must be the same problems"),
        ([[1.0, math.nan]], None, "runs\\[0\\] holds NaN"),
    ],
)
def test_runs_that_are_not_of_the_same_problems_are_refused(runs: list, against: list | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seeds_interval(runs, against)
