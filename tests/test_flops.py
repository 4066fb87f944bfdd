"""The compute rule against the paper's own counts and modules small enough to count by hand."""

import pytest
import torch

from em_hf.flops import inference_flops, parameter_count, training_flops


def test_a_step_of_em_ft_and_of_rl_cost_what_the_paper_counts() -> None:
    p, n = 7_000_000_000, 1000
    # EM-FT: n tokens sampled and trained on; RL: four samples, each scored by the reference and trained on
    assert inference_flops(p, n) + training_flops(p, n) == 8 * p * n
    assert inference_flops(p, 4 * n) + inference_flops(p, 4 * n) + training_flops(p, 4 * n) == 40 * p * n


def test_whole_numbers_stay_exact_where_floats_would_not() -> None:
    assert training_flops(10**12 + 1, 10**12 + 1) == 6 * (10**24 + 2 * 10**12 + 1)


def test_tied_weights_count_once_and_frozen_ones_count() -> None:
    head = torch.nn.Linear(3, 5, bias=True)
    embedding = torch.nn.Embedding(5, 3)
    embedding.weight = head.weight
    head.bias.requires_grad_(False)
    assert parameter_count(torch.nn.ModuleList([embedding, head])) == 15 + 5


@pytest.mark.parametrize(("rule", "arguments"), [(training_flops, (-1, 2)), (inference_flops, (2, -1))])
def test_negative_counts_are_refused(rule, arguments) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        rule(*arguments)
