"""EM-FT's loss of a model sharded by FSDP2 in two processes against the same model whole in one.

accelerate leaves FSDP out on a CPU without a word, so the model is sharded with `fully_shard` itself.
"""

from typing import Any

import pytest
import torch

from tests.reference import entropy
from tests.training.processes import in_two_processes
from tests.training.sharded_worker import CASES, batch, make_model


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return in_two_processes("tests.training.sharded_worker", tmp_path_factory.mktemp("sharded"))


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
