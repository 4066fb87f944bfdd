"""EMFTTrainer: loss and gradient against the enumerated objective and the formula, and what it leaves alone."""

from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch
from transformers import GenerationConfig

from em_hf import EMFTConfig, EMFTTrainer, EntropyMinConfig, enable_entropy_min
from tests.reference import entropy


def trainer(model: Any, tokenizer: Any, folder: Any, prompts: list[str] | None = None, **settings: Any) -> EMFTTrainer:
    args = EMFTConfig(
        output_dir=str(folder),
        **{
            "max_steps": 2,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-2,
            "max_completion_length": 3,
            "report_to": "none",
            "use_cpu": True,
            "save_strategy": "no",
            "logging_steps": 1,
            "disable_tqdm": True,
            **settings,
        },
    )
    rows = [{"prompt": prompt} for prompt in (prompts or ["ab", "c", "bca", "d"])]
    return EMFTTrainer(model, args, train_dataset=rows, processing_class=tokenizer)


def enumerated(model: Any, prompt: list[int], length: int) -> torch.Tensor:
    """E_y[Σ_t H_t] over every completion y of at most `length` tokens: Σ_prefixes P(prefix) · H(·|prefix)."""
    total = torch.zeros((), dtype=torch.float64)

    def visit(prefix: list[int], probability: torch.Tensor, left: int) -> None:
        nonlocal total
        z = model(torch.tensor([prompt + prefix])).logits[0, -1].double()
        total = total + probability.detach() * entropy(z)
        if left > 1:
            for token, p in enumerate(z.softmax(-1)):
                if token != 1:
                    visit([*prefix, token], probability * p, left - 1)

    visit([], torch.ones((), dtype=torch.float64), length)
    return total


def test_the_loss_and_its_gradient_are_in_the_mean_those_of_the_enumerated_objective(
    letter_model: Callable, letters: Any, tmp_path: Any
) -> None:
    """The gradient goes through the entropies, not through the sampling probabilities: 1/N Σ_i Σ_t ∇H_t."""
    model = letter_model().eval()
    wanted = (enumerated(model, [2, 3], 3) + enumerated(model, [4], 3)) / 2
    direction = torch.autograd.grad(wanted, model.lm_head.weight)[0]
    samples = 6000
    t = trainer(model, letters, tmp_path, num_generations=samples)
    torch.manual_seed(0)
    inputs = t._encode([{"prompt": "ab"}, {"prompt": "c"}])
    loss = t.compute_loss(model, inputs)
    gradient = torch.autograd.grad(loss, model.lm_head.weight)[0]
    # a sum of three entropies of at most log 8 has a deviation under 2: 4 standard errors of 12,000 samples are 0.075
    assert float(loss.detach()) == pytest.approx(float(wanted), abs=0.075)
    cosine = torch.nn.functional.cosine_similarity(gradient.flatten().double(), direction.flatten().double(), dim=0)
    assert float(cosine) > 0.999
    assert float(gradient.norm() / direction.norm()) == pytest.approx(1, abs=0.03)


def test_both_reductions_are_the_formula_on_the_samples_drawn(
    letter_model: Callable, letters: Any, tmp_path: Any
) -> None:
    model = letter_model().eval()
    t = trainer(model, letters, tmp_path, num_generations=3)
    inputs = t._encode([{"prompt": "ab"}, {"prompt": "cab"}])
    torch.manual_seed(5)
    sequences = t.sample(model, inputs)
    sums, tokens = [], 0
    for row, prompt in zip(sequences.tolist(), [[2, 3]] * 3 + [[4, 2, 3]] * 3):
        completion = row[3:]
        completion = completion[: completion.index(1) + 1] if 1 in completion else completion
        z = model(torch.tensor([prompt + completion])).logits[0]
        sums.append(sum(float(entropy(z[len(prompt) - 1 + i])) for i in range(len(completion))))
        tokens += len(completion)
    for reduction, wanted in (("sum", sum(sums) / 6), ("token_mean", sum(sums) / tokens)):
        t.args.loss_reduction = reduction
        torch.manual_seed(5)
        assert float(t.compute_loss(model, inputs)) == pytest.approx(wanted, abs=1e-4)


def test_training_lowers_the_entropy_and_logs_it(letter_model: Callable, letters: Any, tmp_path: Any) -> None:
    t = trainer(letter_model(), letters, tmp_path, max_steps=25, per_device_train_batch_size=4, num_generations=8)
    t.train()
    logged = [line for line in t.state.log_history if "entropy" in line]
    assert len(logged) == 25
    assert logged[-1]["entropy"] < 0.5 * logged[0]["entropy"]
    assert all(1 <= line["completion_length"] <= 3 for line in logged)
    assert all(line["tokens"] == round(line["completion_length"] * 32) for line in logged)


def test_labels_are_never_looked_at(letter_model: Callable, letters: Any, tmp_path: Any) -> None:
    def weights(rows: list[dict]) -> torch.Tensor:
        model = letter_model()
        t = trainer(model, letters, tmp_path)
        t.train_dataset = rows
        t.train()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    prompts = ["ab", "c", "bca", "d"]
    labelled = weights([{"prompt": p, "answer": str(i)} for i, p in enumerate(prompts)])
    shuffled = weights([{"prompt": p, "answer": str(9 - i)} for i, p in enumerate(prompts)])
    assert torch.equal(labelled, weights([{"prompt": p} for p in prompts])) and torch.equal(labelled, shuffled)


def test_gradient_accumulation_is_the_mean_of_its_batches(letter_model: Callable, letters: Any, tmp_path: Any) -> None:
    """With completions of one token nothing depends on what was sampled, so both ways must meet."""
    prompts = ["ab", "c", "bca", "d"]

    def weights(batch: int, accumulation: int) -> torch.Tensor:
        model = letter_model()
        t = trainer(
            model,
            letters,
            tmp_path,
            prompts,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            max_completion_length=1,
            optim="sgd",
        )
        t.train()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    torch.testing.assert_close(weights(4, 1), weights(1, 4), atol=1e-6, rtol=1e-5)


def test_it_samples_from_the_policy_itself_whatever_the_models_generation_config_says(
    letter_model: Callable, letters: Any, tmp_path: Any
) -> None:
    model = letter_model().eval()
    own = GenerationConfig(top_k=1, repetition_penalty=50.0, eos_token_id=1, pad_token_id=0, num_beams=3)
    model.generation_config = own
    enable_entropy_min(model, EntropyMinConfig(n_grad_steps=100))
    t = trainer(model, letters, tmp_path, num_generations=4000, max_completion_length=1)
    torch.manual_seed(0)
    drawn = t.sample(model, t._encode([{"prompt": "ab"}]))[:, -1]
    p = model(torch.tensor([[2, 3]])).logits[0, -1].softmax(-1).detach()
    counts = torch.bincount(drawn, minlength=8).float()
    assert float(((counts - 4000 * p) ** 2 / (4000 * p)).sum()) < 24.3  # 99.9% of chi-square, 7 degrees of freedom
    assert model.generation_config is own


def test_dropout_is_off_while_sampling_and_on_in_the_loss(letter_model: Callable, letters: Any, tmp_path: Any) -> None:
    model = letter_model(attention_dropout=0.9)
    t = trainer(model, letters, tmp_path)
    seen = []
    generate = model.generate
    model.generate = lambda *a, **k: (seen.append(model.training), generate(*a, **k))[1]
    model.train()
    t.compute_loss(model, t._encode([{"prompt": "ab"}]))
    assert seen == [False] and model.training


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_generations", 0), ("max_completion_length", 0), ("temperature", 0.0), ("loss_reduction", "mean")],
)
def test_a_wrong_setting_names_the_field(field: str, value: object, tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=field):
        EMFTConfig(output_dir=str(tmp_path), **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("lora", [False, True])
def test_gradient_checkpointing_changes_memory_and_not_the_weights(
    letter_model: Callable, letters: Any, tmp_path: Any, lora: bool
) -> None:
    def weights(checkpointing: bool) -> torch.Tensor:
        model = letter_model(num_hidden_layers=2)
        if lora:
            torch.manual_seed(0)
            model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear"))
        t = trainer(model, letters, tmp_path, gradient_checkpointing=checkpointing)
        t.train()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    plain, checkpointed = weights(False), weights(True)
    torch.testing.assert_close(checkpointed, plain, atol=1e-6, rtol=1e-5)


def test_a_peft_config_makes_an_adapter_and_trains_only_that(
    letter_model: Callable, letters: Any, tmp_path: Any
) -> None:
    model = letter_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    args = trainer(letter_model(), letters, tmp_path).args
    config = peft.LoraConfig(r=2, target_modules="all-linear")
    rows = [{"prompt": "ab"}, {"prompt": "c"}]
    t = EMFTTrainer(model, args, train_dataset=rows, processing_class=letters, peft_config=config)
    t.train()
    moved = {name: p for name, p in t.model.named_parameters() if "lora_B" in name}
    assert moved and all(float(p.detach().abs().max()) > 0 for p in moved.values())
    frozen = t.model.unload().state_dict()
    assert all(torch.equal(frozen[name], p) for name, p in before.items())


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("reduction", ["sum", "token_mean"])
def test_the_kl_term_is_the_exact_divergence_from_the_model_before_training(
    lora: bool, reduction: str, letter_model: Callable, letters: Any, tmp_path: Any
) -> None:
    """Loss and gradient against whole logits in float64: H + β Σ_v p (log p - log q), token by token."""
    before = letter_model().eval()
    model = letter_model()
    if lora:
        model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear"))
    t = trainer(
        model,
        letters,
        tmp_path,
        num_generations=3,
        beta=0.7,
        temperature=1.3,
        loss_temperature=0.8,
        loss_reduction=reduction,
    )
    torch.manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.add_(torch.randn_like(value) * 0.2)
    model.eval()
    inputs = t._encode([{"prompt": "ab"}, {"prompt": "cab"}])
    torch.manual_seed(5)
    sequences = t.sample(model, inputs)
    parameters = [value for value in model.parameters() if value.requires_grad]
    entropies, kls, tokens = [], [], 0
    for row, prompt in zip(sequences, inputs["attention_mask"].repeat_interleave(3, 0), strict=True):
        start = int((prompt == 0).sum())
        y = row[len(prompt) :].tolist()
        y = y[: y.index(1) + 1] if 1 in y else y
        ids = torch.tensor([row[start : len(prompt)].tolist() + y])
        log_p = (model(ids).logits[0].double()[-len(y) - 1 : -1] / 0.8).log_softmax(-1)
        log_q = (before(ids).logits[0].double()[-len(y) - 1 : -1] / 0.8).log_softmax(-1)
        entropies.append(-(log_p.exp() * log_p).sum())
        kls.append((log_p.exp() * (log_p - log_q.detach())).sum())
        tokens += len(y)
    whole = sum(entropies) + 0.7 * sum(kls)
    wanted = whole / (6 if reduction == "sum" else tokens)
    torch.manual_seed(5)
    loss = t.compute_loss(model, inputs)
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    assert float(sum(kls).detach()) > 0.1
    for ours, theirs in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(wanted, parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_heavy_kl_term_keeps_the_model_where_it_was(letter_model: Callable, letters: Any, tmp_path: Any) -> None:
    def moved(beta: float) -> float:
        model = letter_model()
        t = trainer(model, letters, tmp_path, beta=beta, max_steps=60, learning_rate=2e-3, seed=3)
        t.train()
        assert ("kl" in t.state.log_history[-2]) == (beta > 0)
        x = torch.tensor([[2, 3, 4]])
        p, q = model.eval()(x).logits.softmax(-1), letter_model().eval()(x).logits.softmax(-1)
        return float((p - q).abs().sum().detach())

    assert moved(10.0) < 0.3 * moved(0.0)
