"""EM-RL and SC-RL in two processes and in one, given the same rollouts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.processes import in_two_processes
from tests.training.rollouts_worker import scored


def test_two_processes_give_the_rewards_advantages_and_weights_of_one(
    letter_model: Callable, letters: Any, tmp_path: Path
) -> None:
    for folder in ("one", "two"):
        letter_model().save_pretrained(tmp_path / folder / "model")
        letters.save_pretrained(tmp_path / folder / "model")
    one, two = scored(tmp_path / "one"), in_two_processes("tests.training.rollouts_worker", tmp_path / "two")
    assert (one["processes"], two["processes"]) == (1, 2)
    for name in ("sequence", "token", "vote"):
        for kind in ("rewards", "advantages"):
            assert two[name][kind] == pytest.approx(one[name][kind], abs=1e-5), (name, kind)
        for key, value in one[name]["weights"].items():
            torch.testing.assert_close(two[name]["weights"][key], value, atol=1e-6, rtol=1e-5)
    assert one["vote"]["rewards"] == [0.75, 0.25, 0.75, 0.75, 0.5, 0, 0.5, 0.25]
    assert len({round(reward, 4) for reward in one["sequence"]["rewards"]}) == 8
