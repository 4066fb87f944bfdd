"""The rewards, worked by hand."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from em_hf.training import rewards

LOG_PROBS = torch.tensor([[-0.5, -1.0, -0.25], [-2.0, -torch.inf, torch.nan]])
ENTROPIES = torch.tensor([[0.1, 0.2, 0.6], [1.5, torch.nan, torch.inf]])
MASK = torch.tensor([[1, 1, 1], [1, 0, 0]])


def test_the_tensor_rewards_are_the_formulas_whatever_stands_in_the_padding() -> None:
    """One completion of three tokens, one of a single token; by hand."""
    given = (LOG_PROBS, ENTROPIES, MASK)
    assert rewards.sequence_reward(*given).tolist() == [-1.75, -2.0]
    assert rewards.token_reward(*given).tolist() == pytest.approx([-0.9, -1.5])
    assert rewards.rent_reward(*given).tolist() == pytest.approx([-0.3, -1.5])
    certainties = torch.tensor([[3.0, 5.0, 1.0], [2.0, 9.0, 9.0]])
    assert rewards.self_certainty_reward(*given, certainties=certainties).tolist() == [3.0, 2.0]
    assert rewards.rent_reward(*given[:2], torch.zeros(2, 3)).tolist() == [0, 0]  # nothing counts: no division by 0


def test_self_certainty_says_that_entropies_do_not_determine_it() -> None:
    with pytest.raises(ValueError, match="needs certainties"):
        rewards.self_certainty_reward(LOG_PROBS, ENTROPIES, MASK)


@pytest.mark.parametrize(("length", "counted"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 2), (7, 3)])
def test_rents_last_third_is_rounded_up(length: int, counted: int) -> None:
    """Beside a longer completion, whose padding may not count as the end."""
    entropies = torch.zeros(2, 9, dtype=torch.float64)
    entropies[0, :length] = torch.tensor([float(2**i) for i in range(length)])
    mask = torch.ones(2, 9)
    mask[0, length:] = 0
    wanted = -sum(2**i for i in range(length)[-counted:]) / counted
    assert rewards.rent_last_third_reward(None, entropies, mask).tolist() == [wanted, 0]


def test_the_list_form_is_the_tensor_form_and_leaves_out_what_is_not_to_be_scored() -> None:
    log_probs = [[-0.5, -1.0, -0.25], [-2.0], None]
    entropies = [[0.1, 0.2, 0.6], [1.5], None]
    sequence = rewards.for_trl(rewards.sequence_reward, "log_probs")
    assert sequence(log_probs=log_probs, completions=["", "", ""], entropies=entropies) == [-1.75, -2.0, None]
    assert sequence.__name__ == "sequence_reward"
    token = rewards.for_trl(rewards.token_reward, "entropies")
    assert token(entropies=entropies) == [pytest.approx(-0.9), -1.5, None]
    both = rewards.for_trl(lambda log_probs, entropies, mask: (log_probs + entropies).sum(-1), "log_probs", "entropies")
    assert both(log_probs=log_probs, entropies=entropies) == [pytest.approx(-0.85), -0.5, None]
    assert token(entropies=[None, None]) == [None, None]


def test_in_a_plain_grpo_trainer_the_list_form_says_what_is_missing(
    letter_model: Callable, letters: Any, tmp_path: Path
) -> None:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    args = GRPOConfig(
        str(tmp_path),
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=3,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
    )
    reward = rewards.for_trl(rewards.token_reward, "entropies")
    data = Dataset.from_list([{"prompt": "ab"}] * 2)
    trainer = GRPOTrainer(letter_model(), reward, args, train_dataset=data, processing_class=letters)
    with pytest.raises(ValueError, match=r"token_reward needs the entropies .*EMRLTrainer") as raised:
        trainer.train()
    assert "\n" not in str(raised.value)


def test_the_format_reward_wants_a_marked_answer_right_or_wrong() -> None:
    texts = ["#### 12", r"\boxed{7}", "12", ""]
    assert rewards.marked_answer(completions=texts) == [1, 1, 0, 0]


def test_the_random_reward_is_a_fair_coin_that_the_seed_decides() -> None:
    torch.manual_seed(3)
    first = rewards.coin_flip(completions=[""] * 4000, answer=["1"] * 4000)
    torch.manual_seed(3)
    assert rewards.coin_flip(completions=["#### 1"] * 4000) == first
    assert set(first) == {0.0, 1.0} and abs(sum(first) / 4000 - 0.5) < 0.035  # 4.4 standard errors


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
