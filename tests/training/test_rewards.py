"""The rewards, worked by hand."""

import math
from types import SimpleNamespace

import pytest
import torch

from em_hf.training import rewards


def test_the_rewards_of_given_log_probabilities_and_entropies_are_the_formulas() -> None:
    """One completion of three tokens, one of a single token, and a truncated one that is not to be scored."""
    log_probs = [[-0.5, -1.0, -0.25], [-2.0], None]
    entropies = [[0.1, 0.2, 0.6], [1.5], None]
    certainties = [[3.0, 5.0, 1.0], [2.0], None]
    assert rewards.sequence_log_prob(log_probs=log_probs, completions=[]) == [-1.75, -2.0, None]
    assert rewards.negative_entropy(entropies=entropies) == [pytest.approx(-0.9), -1.5, None]
    assert rewards.negative_mean_entropy(entropies=entropies) == [pytest.approx(-0.3), -1.5, None]
    assert rewards.mean_self_certainty(certainties=certainties) == [3.0, 2.0, None]


@pytest.mark.parametrize(("length", "counted"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 2), (7, 3)])
def test_rents_last_third_is_rounded_up(length: int, counted: int) -> None:
    entropies = [float(2**i) for i in range(length)]
    wanted = -sum(entropies[-counted:]) / counted
    assert rewards.negative_mean_entropy_of_last_third(entropies=[entropies]) == [wanted]


def test_self_certainty_is_the_divergence_from_the_uniform_distribution() -> None:
    p = [0.5, 0.25, 0.125, 0.125]
    by_hand = sum(0.25 * math.log(0.25 / q) for q in p)
    z = torch.tensor([[math.log(q) + 7 for q in p], [3.0] * 4])
    assert rewards.self_certainty(z).tolist() == pytest.approx([by_hand, 0.0], abs=1e-6)


def test_the_vote_is_counted_within_each_group_and_no_answer_agrees_with_nothing() -> None:
    texts = ["#### 4", "so 2+2 #### 4.0", "#### 5", "I give up", r"\boxed{7}", "#### 7", "#### 7", "none"]
    messages = [[{"role": "assistant", "content": text}] for text in texts]
    wanted = [0.5, 0.5, 0.25, 0, 0.75, 0.75, 0.75, 0]
    assert rewards.vote_frequency(4)(completions=texts) == wanted
    assert rewards.vote_frequency(4)(completions=messages, prompts=None) == wanted


def test_a_group_that_is_split_over_processes_votes_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import accelerate

    everyone = ["4", "4", "5", "4", "1", "2", "1", "1"]
    monkeypatch.setattr(accelerate.utils, "gather_object", lambda own: everyone)
    monkeypatch.setattr(accelerate, "PartialState", lambda: SimpleNamespace(process_index=1))
    texts = [f"#### {answer}" for answer in everyone[2:4]]
    assert rewards.vote_frequency(4)(completions=texts) == [0.25, 0.75]


def test_a_verified_answer_is_worth_one() -> None:
    texts = ["#### 12", r"it is \boxed{\frac{1}{2}}", "12", "#### 13"]
    assert rewards.verified_answer(completions=texts, answer=["12", "0.5", "12", "12"]) == [1, 1, 0, 0]
