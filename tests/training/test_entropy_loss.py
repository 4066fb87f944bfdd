"""entropy_loss by hand and by the definition, and in transformers' Trainer with accumulation and padding."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments
from transformers.modeling_outputs import CausalLMOutputWithPast

from em_hf import entropy_loss
from tests.reference import entropy


def test_by_hand_the_distribution_before_a_counted_token_is_the_one_that_counts() -> None:
    """Position 0 is uniform over 4 and predicts token 1, position 1 over 2 and predicts token 2, position 2 nothing."""
    z = torch.zeros(1, 3, 4)
    z[0, 1, 2:] = -torch.inf
    z[0, 2] = torch.tensor([7.0, 1.0, 0.0, 3.0])
    outputs = CausalLMOutputWithPast(logits=z)
    both = math.log(4) + math.log(2)
    assert float(entropy_loss(outputs, torch.tensor([[5, 6, 7]]))) == pytest.approx(both / 2)
    assert float(entropy_loss(outputs, torch.tensor([[-100, -100, 7]]))) == pytest.approx(math.log(2))
    assert float(entropy_loss(outputs, torch.tensor([[5, 6, -100]]))) == pytest.approx(math.log(4))
    assert float(entropy_loss(outputs, torch.tensor([[5, 6, 7]]), num_items_in_batch=10)) == pytest.approx(both / 10)
    assert float(entropy_loss(outputs, torch.tensor([[5, 6, 7]]), torch.tensor(10))) == pytest.approx(both / 10)


def test_a_batch_in_which_nothing_counts_has_no_loss_and_no_gradient() -> None:
    z = torch.randn(2, 3, 4, requires_grad=True)
    loss = entropy_loss(CausalLMOutputWithPast(logits=z), torch.full((2, 3), -100))
    loss.backward()
    assert float(loss.detach()) == 0 and not z.grad.any()  # type: ignore[union-attr]


def test_the_gradient_is_that_of_the_definition_on_the_tokens_that_count() -> None:
    torch.manual_seed(0)
    z = torch.randn(2, 4, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[-100, -100, 3, 4], [-100, 2, 5, -100]])
    (mine,) = torch.autograd.grad(entropy_loss(CausalLMOutputWithPast(logits=z), labels), z)
    wanted = (entropy(z[0, 1]) + entropy(z[0, 2]) + entropy(z[1, 0]) + entropy(z[1, 1])) / 4
    torch.testing.assert_close(mine, torch.autograd.grad(wanted, z)[0])


def test_without_labels_it_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="needs labels"):
        entropy_loss(SimpleNamespace(logits=torch.zeros(1, 2, 3)), None)


ROWS: list[dict[str, Any]] = [
    {"input_ids": [2, 3, 4, 5, 1], "labels": [-100, -100, 4, 5, 1]},
    {"input_ids": [4, 6, 1, 0, 0], "labels": [-100, 6, 1, -100, -100], "attention_mask": [1, 1, 1, 0, 0]},
    {"input_ids": [5, 5, 2, 1, 0], "labels": [-100, -100, -100, 1, -100], "attention_mask": [1, 1, 1, 1, 0]},
    {"input_ids": [3, 2, 6, 6, 4], "labels": [-100, 2, 6, 6, 4]},
]


def one_step(model: Any, folder: Any, batch: int, accumulation: int) -> torch.Tensor:
    args = TrainingArguments(
        output_dir=str(folder),
        max_steps=1,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        learning_rate=0.1,
        optim="sgd",
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    rows = [{"attention_mask": [1] * 5, **row} for row in ROWS]
    Trainer(model, args, train_dataset=rows, compute_loss_func=entropy_loss).train()  # type: ignore[arg-type]
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(("batch", "accumulation"), [(4, 1), (1, 4), (2, 2)])
def test_a_step_of_any_trainer_goes_down_the_mean_entropy_of_all_its_tokens(
    letter_model: Callable, tmp_path: Any, batch: int, accumulation: int
) -> None:
    """However the four completions, of 3, 2, 1 and 4 tokens, are split into micro-batches."""
    reference = letter_model()
    terms = []
    for row in ROWS:
        length = 5 - row["input_ids"].count(0)
        z = reference(torch.tensor([row["input_ids"][:length]])).logits[0]
        terms += [entropy(z[i - 1]) for i in range(length) if row["labels"][i] != -100]
    assert len(terms) == 10
    parameters = list(reference.parameters())
    gradients = torch.autograd.grad(torch.stack(terms).mean(), parameters)
    wanted = torch.cat([(p.detach() - 0.1 * g).flatten() for p, g in zip(parameters, gradients)])
    trained = one_step(letter_model(), tmp_path, batch, accumulation)
    torch.testing.assert_close(trained, wanted, atol=1e-6, rtol=1e-5)
