"""The loss in the real ms-swift, loaded and called as its trainer does."""

import subprocess
import sys
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.reference import entropy

PLUGIN = files("em_hf.training") / "ms_swift" / "em_ft.py"


@pytest.fixture(scope="module")
def loss_map() -> Any:
    from swift.loss import loss_map
    from swift.utils import import_external_file

    path = list(sys.path)
    import_external_file(str(PLUGIN))  # what --external_plugins does
    sys.path[:] = path
    return loss_map


@pytest.fixture
def loss(loss_map: Any) -> Any:
    from swift.loss import BaseLoss

    made = loss_map["em_ft"](SimpleNamespace(), SimpleNamespace(template=SimpleNamespace(sequence_parallel_size=1)))
    assert isinstance(made, BaseLoss)
    return made


def batch() -> tuple[Any, torch.Tensor, list[float]]:
    """Outputs, labels and the entropies of the distributions before the tokens that count."""
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 8, requires_grad=True)
    labels = torch.tensor([[-100, -100, 3, 4, 1], [-100, 2, 1, -100, -100]])
    counted = [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]
    return {"logits": logits}, labels, [float(entropy(logits[row, place]).detach()) for row, place in counted]


@pytest.mark.parametrize("items", [None, 20])
def test_it_is_the_entropy_of_the_tokens_that_count_over_those_of_the_step(items: int | None, loss: Any) -> None:
    outputs, labels, wanted = batch()
    # the call of Seq2SeqTrainer.compute_loss
    found = loss(outputs, labels, num_items_in_batch=items, loss_scale=None, trainer=loss.trainer)
    assert float(found.detach()) == pytest.approx(sum(wanted) / (items or 5), abs=1e-6)
    found.backward()
    gradient = outputs["logits"].grad
    assert (gradient[0, 1:4].abs().sum(-1) > 0).all() and gradient[0, 4].abs().sum() == 0


def test_weighted_tokens_and_split_sequences_are_refused(loss: Any) -> None:
    outputs, labels, _ = batch()
    with pytest.raises(ValueError, match=r"loss_scale weighs tokens.*--loss_scale default"):
        loss(outputs, labels, loss_scale=torch.ones(2, 5))
    loss.trainer.template.sequence_parallel_size = 2
    with pytest.raises(ValueError, match="sequence_parallel_size is 2"):
        loss(outputs, labels)


def test_the_plug_ins_folder_which_comes_first_in_the_path_hides_no_package() -> None:
    code = (
        f"from swift.utils import import_external_file; import_external_file({str(PLUGIN)!r}); "
        "from importlib.util import find_spec; "
        "print([n for n in ('vllm', 'verl', 'openrlhf', 'swift') "
        "if (s := find_spec(n)) and 'em_hf' in str(s.origin)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.split("\n")[-2:] == ["[]", ""], done.stderr[-2000:]
