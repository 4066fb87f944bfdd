"""Two gloo processes and one, with the same global batch and samples: the same weights, rewards and advantages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.processes import in_two_processes
from tests.training.processes_worker import CASES, make_model, run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], tuple[dict[str, Any], dict[str, Any]]]:
    """What one process and two found, measured at the first call."""
    made: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def both(tokenizer: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if not made:
            folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
            for folder in folders:
                make_model(folder).save_pretrained(folder / "model")
                tokenizer.save_pretrained(folder / "model")
            made.append((run(folders[0]), in_two_processes("tests.training.processes_worker", folders[1])))
        return made[0]

    return both  # type: ignore[return-value]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_the_weights_that_one_does(name: str, results: Any, letters: Any) -> None:
    one, two = results(letters)
    begun = {n: p.detach() for n, p in make_model(Path()).named_parameters()}
    for parameter, value in one[name]["weights"].items():
        for mine in (two["weights"][0], two["weights"][1]):
            # three steps of Adam, whose step is lr · g/|g| at first, with gradients that differ in the last digits
            torch.testing.assert_close(mine[name][parameter], value, atol=2e-5, rtol=1e-4, msg=f"{name} {parameter}")
        if parameter in begun:
            assert float((value - begun[parameter]).abs().max()) > 1e-3, "it was to be trained"


@pytest.mark.parametrize("name", ["sum", "token mean", "kl", "lora"])
def test_two_processes_log_what_one_does(name: str, results: Any, letters: Any) -> None:
    one, two = results(letters)
    for mine, wanted in zip(two["found"][name]["logs"], one[name]["logs"], strict=True):
        assert mine == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("name", ["em-rl-sequence", "em-rl-token"])
def test_two_processes_give_the_rewards_and_advantages_that_one_does(name: str, results: Any, letters: Any) -> None:
    one, two = results(letters)
    mine, wanted = two["found"][name], one[name]
    assert len(wanted["advantages"]) == 3 and any(abs(a) > 0.01 for a in wanted["advantages"][0])
    for step, (a, b) in enumerate(zip(mine["advantages"], wanted["advantages"], strict=True)):
        assert a == pytest.approx(b, abs=1e-4), f"step {step}"
    for a, b in zip(mine["logs"], wanted["logs"], strict=True):
        assert a == pytest.approx(b, abs=1e-4)


def test_the_callbacks_read_the_same_write_once_and_put_the_best_weights_back_everywhere(
    results: Any, letters: Any
) -> None:
    one, two = results(letters)
    mine = two["found"]["watched"]
    assert mine["verdict"] == one["watched"]["verdict"]
    assert mine["verdict"]["best_step"] == 2 and not mine["verdict"]["collapsed"]
    assert two["logged"] == [4, 0] and mine["lines"] == 4
    for a, b in zip(mine["readings"], one["watched"]["readings"], strict=True):
        assert (a["step"], a["right"]) == (b["step"], b["right"])
    first, second = (ranks["watched"] for ranks in two["weights"])
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_checkpoint_of_two_processes_is_known_to_be_whole(results: Any, letters: Any) -> None:
    """With the random states of each, under names of their own."""
    one, two = results(letters)
    assert two["found"]["watched"]["checkpoint"] == one["watched"]["checkpoint"] == "checkpoint-3"
