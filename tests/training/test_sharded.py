"""EM-FT's loss of a model sharded by FSDP2 in two processes against the same model whole in one.

accelerate leaves FSDP out on a CPU without a word, so the model is sharded with `fully_shard` itself.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.letters import letter_tokenizer
from tests.reference import entropy
from tests.training import processes_worker as one_process
from tests.training.processes import in_two_processes
from tests.training.sharded_worker import CASES, batch, make_model, sampled


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sharded")
    one_process.make_model(made).save_pretrained(made / "model")
    letter_tokenizer().save_pretrained(made / "model")
    return made


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Any]:
    return in_two_processes("tests.training.sharded_worker", folder)


def whole(case: dict[str, Any], dtype: torch.dtype = torch.float32) -> tuple[list[float], dict[str, Any]]:
    """Each process's loss from whole logits by the definition, and the gradient of their mean."""
    model = make_model(**case).to(dtype)
    losses = []
    for rank in (0, 1):
        ids, attention, mask = batch(rank)
        positions = (attention.cumsum(-1) - 1).clamp(min=0)
        z = model(input_ids=ids, attention_mask=attention, position_ids=positions).logits[:, 3:-1].float()
        losses.append(torch.stack([entropy(row) for row in z[mask]]).sum())
    (sum(losses) / 2).backward()  # type: ignore[union-attr]
    return [float(loss.detach()) for loss in losses], {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_of_a_sharded_model_are_those_of_the_whole_one(name: str, results: dict[str, Any]) -> None:
    losses, gradients = whole(CASES[name])
    found = results[name]
    assert found["losses"] == pytest.approx(losses, rel=1e-5)
    assert losses[0] != pytest.approx(losses[1], rel=1e-2)  # two batches, or averaging would go unnoticed
    assert found["gradients"].keys() == gradients.keys()
    for parameter, gradient in gradients.items():
        mine = found["gradients"][parameter]
        if gradient is None:
            assert mine is None, parameter
        else:
            torch.testing.assert_close(mine, gradient, atol=1e-5, rtol=1e-4, msg=lambda m, p=parameter: f"{p}: {m}")


def test_mixed_precision_is_as_exact_as_the_whole_model_in_that_precision(results: dict[str, Any]) -> None:
    """Weights in float32, multiplied in bfloat16: the error is bfloat16's own, and sharding adds none."""
    _, exact = whole({})
    _, rounded = whole({}, torch.bfloat16)
    for parameter, gradient in exact.items():
        mine = results["bfloat16"]["gradients"][parameter]
        assert mine.dtype == torch.float32
        error, usual = (mine - gradient).norm(), (rounded[parameter].float() - gradient).norm()
        assert float(error) < 1.5 * float(usual), parameter


def assert_close(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_the_trainer_gives_a_sharded_model_the_weights_of_a_whole_one(
    results: dict[str, Any], tmp_path: Path, letters: Any
) -> None:
    whole_model = one_process.em_ft(tmp_path, letters)
    assert_close(results["trained"]["given"]["weights"], whole_model["weights"])
    assert results["trained"]["given"]["logs"][-1] == pytest.approx(whole_model["logs"][-1], abs=1e-4)


def test_the_callbacks_probe_a_sharded_model_and_put_its_best_weights_back(
    results: dict[str, Any], tmp_path: Path, letters: Any, folder: Path
) -> None:
    whole_model = one_process.watched(tmp_path, letters)
    found = results["trained"]["watched"]
    assert found["verdict"] == whole_model["verdict"] and found["verdict"]["best_step"] == 2
    for mine, wanted in zip(found["readings"], whole_model["readings"], strict=True):
        assert mine["entropy"] == pytest.approx(wanted["entropy"], abs=1e-3)
    assert_close(found["weights"], whole_model["weights"])
    kept = load_file(folder / "watched" / "best" / "model.safetensors")
    assert all(torch.equal(kept[name], value) for name, value in found["weights"].items())


def test_processes_sample_from_a_sharded_model_what_they_would_from_a_whole_one(
    results: dict[str, Any], tmp_path: Path, letters: Any
) -> None:
    """Both must take part in every forward pass until the last sample has ended."""
    for rank, drawn in enumerate(results["trained"]["sampled"]):
        assert drawn == sampled(one_process.make_model(tmp_path), letters, tmp_path, rank)
    assert max(map(len, results["trained"]["sampled"][1])) > 1
