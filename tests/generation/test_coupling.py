"""Coupled sampling: exact in distribution for each row, and a function of seed, group and step alone."""

import pytest
import torch

from em_hf import CoupledSampling
from em_hf.generation.coupling import CoupledSamplingLogitsProcessor

# The 99.9% quantile of chi-square with 5 degrees of freedom.
CHI_SQUARE_5 = 20.515


def chi_square(counts: torch.Tensor, p: torch.Tensor) -> float:
    expected = p * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def test_each_row_has_exactly_its_own_distribution() -> None:
    scores = torch.tensor([[2.0, 1.0, 0.0, -1.0, 0.5, 0.2], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    processor = CoupledSamplingLogitsProcessor(CoupledSampling(11))
    counts = torch.zeros(2, 6)
    for step in range(20_000):
        choice = processor(torch.empty(2, step, dtype=torch.long), scores)
        counts += choice.exp()
    assert counts.sum(1).tolist() == [20_000, 20_000]
    for row in range(2):
        assert chi_square(counts[row], scores[row].softmax(-1)) < CHI_SQUARE_5


def test_steps_and_groups_are_independent_of_each_other() -> None:
    coupled = CoupledSampling(3)
    noise = torch.stack([coupled.noise(step, 2) for step in range(4000)] + [coupled.noise(0, 2, 1)])
    pairs = (noise[:-2, 0] > noise[:-2, 1]) * 2 + (noise[1:-1, 0] > noise[1:-1, 1])
    counts = torch.bincount(pairs, minlength=4).float()
    assert chi_square(counts, torch.full((4,), 0.25)) < 16.27  # 99.9%, 3 degrees of freedom
    assert not torch.equal(coupled.noise(0, 9, 0), coupled.noise(0, 9, 1))


def test_the_noise_is_standard_gumbel() -> None:
    noise = CoupledSampling(5).noise(0, 200_000)
    assert noise.dtype == torch.float64
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.01)  # Euler's constant
    assert float(noise.var()) == pytest.approx(1.6449, abs=0.02)  # π²/6


def test_a_banned_token_is_never_chosen() -> None:
    scores = torch.tensor([[0.0, -torch.inf, 0.0]])
    processor = CoupledSamplingLogitsProcessor(CoupledSampling(0))
    chosen = {int(processor(torch.empty(1, step, dtype=torch.long), scores).argmax()) for step in range(50)}
    assert chosen == {0, 2}


@pytest.mark.parametrize("seed", [-1, 0.5, "0", True])
def test_a_wrong_seed_is_an_error(seed: object) -> None:
    with pytest.raises(ValueError, match="seed"):
        CoupledSampling(seed)  # type: ignore[arg-type]
