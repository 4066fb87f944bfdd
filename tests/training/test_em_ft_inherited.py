"""What EMFTTrainer has from TRL's DistillationTrainer: conversations, evaluation, tools, whole steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from em_hf import EMFTTrainer
from tests.reference import entropy
from tests.training.test_em_ft import Given, completions, sampled, trainer

TEMPLATE = (
    "{% for m in messages %}{{ {'system': 'd', 'user': 'a', 'assistant': 'e'}[m['role']] }}{{ m['content'] }} "
    "{% endfor %}{% if add_generation_prompt %}e{% endif %}"
)


def test_messages_get_the_chat_template_with_their_system_prompt_and_texts_stay_as_they_are(
    letter_model: Callable, letters: Any, tmp_path: Path
) -> None:
    letters.chat_template = TEMPLATE
    asked = [{"role": "system", "content": "bb"}, {"role": "user", "content": "c"}]
    t = trainer(letter_model(), letters, tmp_path, [asked])
    (prompt, _), *_ = completions(sampled(t, [asked]))
    assert prompt == letters("dbb ac e")["input_ids"]
    (prompt, _), *_ = completions(sampled(t, ["ab"]))
    assert prompt == letters("ab")["input_ids"]


def test_evaluation_gives_the_entropy_of_samples_and_the_best_model_can_be_loaded_at_the_end(
    letter_model: Callable, letters: Any, tmp_path: Path
) -> None:
    model = letter_model()
    settings = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "max_steps": 3}

    def kind(*args: Any, **kwargs: Any) -> EMFTTrainer:
        return Given(*args, eval_dataset=[{"prompt": prompt} for prompt in ("ab", "c", "bca")], **kwargs)

    t = trainer(model, letters, tmp_path, kind=kind, load_best_model_at_end=True, learning_rate=5e-2, **settings)

    def by_hand() -> float:
        """Of two prompts and of one, each batch's mean, weighted by its size: the mean over the samples."""
        model.eval()
        sums = []
        for prompt in ("ab", "c", "bca"):
            ids = letters(prompt)["input_ids"]
            (drawn,) = t._generate_single_turn([ids])
            z = model(torch.tensor([ids + drawn])).logits[0]
            sums.append(sum(float(entropy(z[len(ids) - 1 + i]).detach()) for i in range(len(drawn))))
        return sum(sums) / 3

    before = t.evaluate()
    assert before["eval_loss"] == pytest.approx(by_hand(), abs=1e-4)
    t.train()
    losses = {line["step"]: line["eval_loss"] for line in t.state.log_history if "eval_loss" in line}
    best = min((1, 2, 3), key=lambda step: losses[step])
    assert t.state.best_model_checkpoint.endswith(f"checkpoint-{best}")
    assert t.evaluate()["eval_loss"] == pytest.approx(losses[best], abs=1e-5)


def test_fewer_prompts_than_a_step_takes_are_refused_with_both_numbers(
    letter_model: Callable, letters: Any, tmp_path: Path
) -> None:
    t = trainer(letter_model(), letters, tmp_path, gradient_accumulation_steps=3)
    with pytest.raises(ValueError, match="4 prompts, but one step takes 6"):
        t.train()


def test_tokens_that_a_tool_wrote_are_read_but_not_in_the_loss(
    letter_model: Callable, letters: Any, tmp_path: Path
) -> None:
    model = letter_model().eval()
    t = trainer(model, letters, tmp_path, loss_reduction="token_mean")
    inputs = {
        "prompt_ids": torch.tensor([[0, 2], [3, 4]]),
        "prompt_mask": torch.tensor([[0, 1], [1, 1]]),
        "completion_ids": torch.tensor([[5, 6, 2, 1], [3, 1, 0, 0]]),
        "completion_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
        "tool_mask": torch.tensor([[1, 0, 0, 1], [1, 1, 1, 1]]),
    }
    first = model(torch.tensor([[2, 5, 6, 2, 1]])).logits[0]
    second = model(torch.tensor([[3, 4, 3, 1]])).logits[0]
    wanted = [float(entropy(z).detach()) for z in (first[0], first[3], second[1], second[2])]
    assert float(t.compute_loss(model, inputs).detach()) == pytest.approx(sum(wanted) / 4, abs=1e-5)


def test_one_generation_serves_all_micro_batches_of_a_step(
    letter_model: Callable, letters: Any, tmp_path: Path
) -> None:
    asked: list[int] = []

    class Counting(EMFTTrainer):
        def _generate_single_turn(self, prompt_ids: Any, *rest: Any, **more: Any) -> Any:
            asked.append(len(prompt_ids))
            return super()._generate_single_turn(prompt_ids, *rest, **more)

    changes = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, "num_generations": 3}
    trainer(letter_model(), letters, tmp_path, kind=Counting, max_steps=2, **changes).train()
    assert asked == [12, 12]


@pytest.mark.parametrize(("accumulation", "lengths"), [(1, (4, 2)), (2, (4, 4))])
def test_trls_entropy_coefficient_is_em_ft_over_tokens_where_micro_batches_have_as_many_tokens(
    accumulation: int, lengths: tuple[int, int], letter_model: Callable, letters: Any, tmp_path: Path
) -> None:
    """GRPO with a zero reward and `entropy_coef=-1` against token_mean, by a step of plain gradient descent.

    TRL averages the micro-batches' means, EMFTTrainer divides by the tokens of the whole step: the same with one
    micro-batch, or with several of as many tokens.
    """
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    def drawn(ids: list[int]) -> list[int]:
        return [3, 4, 5, 6][: lengths[0]] if len(ids) == 2 else [6, 2, 5, 1][: lengths[1]]

    class GivenGRPO(GRPOTrainer):
        def _generate_single_turn(self, prompt_ids: Any, *rest: Any, **more: Any) -> Any:
            return [drawn(ids) for ids in prompt_ids], None

    class GivenEMFT(EMFTTrainer):
        def _generate_single_turn(self, prompt_ids: Any, *rest: Any, **more: Any) -> Any:
            return [drawn(ids) for ids in prompt_ids]

    prompts = ["ab", "c"]
    start = letter_model().state_dict()

    def step(model: Any) -> dict[str, torch.Tensor]:
        return {name: start[name] - value.detach() for name, value in model.named_parameters()}

    sizes = {"per_device_train_batch_size": 4 // accumulation, "gradient_accumulation_steps": accumulation}
    shared = {"max_steps": 1, "learning_rate": 1.0, "max_completion_length": 4, "optim": "sgd", "use_cpu": True}
    shared |= {"report_to": "none", "max_grad_norm": 0.0, "save_strategy": "no", "lr_scheduler_type": "constant"}
    model = letter_model()
    args = GRPOConfig(
        str(tmp_path / "grpo"),
        **shared,
        **sizes,
        num_generations=2,
        entropy_coef=-1.0,
        beta=0.0,
        bf16=False,
        gradient_checkpointing=False,
        shuffle_dataset=False,
    )
    data = Dataset.from_list([{"prompt": prompt} for prompt in prompts])
    zero = lambda completions, **columns: [0.0] * len(completions)  # noqa: E731
    zero.__name__ = "zero"
    GivenGRPO(model, zero, args, train_dataset=data, processing_class=letters).train()
    theirs = step(model)

    def ours(some: list[str], batch: int) -> dict[str, torch.Tensor]:
        model = letter_model()
        more = {**shared, "per_device_train_batch_size": batch, "num_generations": 2, "loss_reduction": "token_mean"}
        trainer(model, letters, tmp_path / "ours", some, kind=GivenEMFT, **more).train()
        return step(model)

    wanted = ours(prompts, 2)
    assert max(float(value.abs().max()) for value in wanted.values()) > 1e-2
    for name, value in wanted.items():
        torch.testing.assert_close(theirs[name], value, atol=1e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


def test_logged_completions_are_all_of_the_samples_with_their_prompts(
    letter_model: Callable, letters: Any, tmp_path: Path
) -> None:
    import pandas

    t = trainer(letter_model(), letters, tmp_path, log_completions=True, max_steps=2, num_generations=3)
    t.train()
    for step in (1, 2):
        table = pandas.read_parquet(tmp_path / "completions" / f"completions_{step:05d}.parquet")
        assert sorted(table["prompt"].value_counts()) == [3, 3]
        # three letters and the blanks that this tokenizer puts between them
        assert all(len(text) <= 5 and set(text) <= set("abcde ") for text in table["completion"])


@pytest.mark.parametrize(
    ("row", "message"),
    [({"question": "2 + 3 ="}, "a row has no prompt, only question"), ({"prompt": ""}, "a row has an empty prompt")],
)
def test_rows_without_a_prompt_are_refused_in_one_line(
    row: dict[str, str], message: str, letter_model: Callable, letters: Any, tmp_path: Path
) -> None:
    t = trainer(letter_model(), letters, tmp_path)
    with pytest.raises(ValueError, match=message):
        t._generate_and_score_completions([row])
