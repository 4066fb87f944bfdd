"""The rank correlation, held against SciPy's and against what follows from its definition."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from em_hf.lab.ranking import rank_agreement


def test_the_correlation_is_scipys_between_predictions_and_means_over_seeds_and_problems() -> None:
    rng = np.random.default_rng(3)
    predicted = [0.9, 0.9, 0.7, 0.6, 0.95]
    runs = [rng.random((seeds, 40)) for seeds in (1, 3, 2, 3, 1)]
    found = rank_agreement(predicted, [run.tolist() for run in runs])
    assert found is not None
    assert found["mean"] == pytest.approx(spearmanr(predicted, [run.mean() for run in runs]).statistic)
    assert found["low"] <= found["mean"] <= found["high"]


def test_a_perfect_order_of_four_is_one_in_twenty_four_and_certain_where_no_problem_disagrees() -> None:
    runs = [[[level] * 10] for level in (0.1, 0.2, 0.3, 0.4)]
    found = rank_agreement([1, 2, 3, 4], runs)
    assert found is not None and (found["mean"], found["low"], found["high"]) == pytest.approx((1, 1, 1))
    assert found["chance"] == pytest.approx(1 / 24)
    upside_down = rank_agreement([4, 3, 2, 1], runs)
    assert upside_down is not None and upside_down["mean"] == pytest.approx(-1) and upside_down["chance"] == 1


def test_noisy_measurements_give_a_wide_interval() -> None:
    rng = np.random.default_rng(0)
    runs = [(rng.random((1, 30)) < p).astype(float).tolist() for p in (0.5, 0.52, 0.54)]
    found = rank_agreement([1, 2, 3], runs)
    assert found is not None and found["low"] <= -0.5 and found["high"] == 1


def test_without_an_order_there_is_no_correlation() -> None:
    assert rank_agreement([1, 2], [[[0.0, 1.0]], [[1.0, 1.0]]]) is None, "too few"
    assert rank_agreement([1, 1, 1], [[[0.1]], [[0.2]], [[0.3]]]) is None
    assert rank_agreement([1, 2, 3], [[[0.5]], [[0.5]], [[0.5]]]) is None
