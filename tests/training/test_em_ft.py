"""EMFTTrainer: loss and gradient against the enumerated objective and the formula, and what it leaves alone."""

from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch
from transformers import GenerationConfig

from em_hf import EMFTConfig, EMFTTrainer, EntropyMinConfig, enable_entropy_min
from tests.reference import entropy


def trainer(
    model: Any,
    tokenizer: Any,
    folder: Any,
    prompts: list[Any] | None = None,
    *,
    kind: Any = EMFTTrainer,
    **settings: Any,
) -> EMFTTrainer:
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
    return kind(model, args, train_dataset=rows, processing_class=tokenizer)


def sampled(t: EMFTTrainer, prompts: list[Any]) -> dict[str, Any]:
    """A micro-batch with samples of the current model, as the trainer hands it to the loss."""
    return t._prepare_inputs([{"prompt": prompt} for prompt in prompts])


def completions(inputs: dict[str, Any]) -> list[tuple[list[int], list[int]]]:
    """(prompt, completion) of each sample, without padding."""
    names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    rows = zip(*(inputs[name] for name in names), strict=True)
    return [(p[m.bool()].tolist(), c[n.bool()].tolist()) for p, m, c, n in rows]


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
    loss = t.compute_loss(model, sampled(t, ["ab", "c"]))
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
    inputs = sampled(t, ["ab", "cab"])
    sums, tokens = [], 0
    for prompt, completion in completions(inputs):
        assert prompt in ([2, 3], [4, 2, 3]) and 1 not in completion[:-1] and 1 <= len(completion) <= 3
        z = model(torch.tensor([prompt + completion])).logits[0]
        sums.append(sum(float(entropy(z[len(prompt) - 1 + i])) for i in range(len(completion))))
        tokens += len(completion)
    assert len(sums) == 6
    for reduction, wanted in (("sum", sum(sums) / 6), ("token_mean", sum(sums) / tokens)):
        t.args.loss_reduction = reduction
        assert float(t.compute_loss(model, inputs)) == pytest.approx(wanted, abs=1e-4)


def test_training_lowers_the_entropy_and_logs_it(letter_model: Callable, letters: Any, tmp_path: Any) -> None:
    t = trainer(letter_model(), letters, tmp_path, max_steps=25, per_device_train_batch_size=4, num_generations=8)
    t.train()
    logged = [line for line in t.state.log_history if "entropy" in line]
    assert len(logged) == 25
    assert logged[-1]["entropy"] < 0.5 * logged[0]["entropy"]
    assert all(1 <= line["completions/mean_length"] <= 3 for line in logged)
    counts = [line["num_tokens"] for line in logged]  # TRL's, of prompts and samples, since the beginning
    assert counts == sorted(counts) and counts[-1] > 25 * 32 * 2


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


class Given(EMFTTrainer):
    """The samples of a prompt are a function of the prompt: of two tokens for "ab", of one to four for the others."""

    def _generate_single_turn(self, prompt_ids: Any, *rest: Any, **more: Any) -> Any:
        return [[2 + (len(ids) + i) % 6 for i in range(1 + sum(ids) % 4)] for ids in prompt_ids]


@pytest.mark.parametrize("reduction", ["sum", "token_mean"])
def test_gradient_accumulation_gives_the_weights_of_one_batch(
    reduction: str, letter_model: Callable, letters: Any, tmp_path: Any
) -> None:
    """Micro-batches of samples that differ in length: neither reduction may weigh one micro-batch as another."""

    def weights(batch: int, accumulation: int) -> torch.Tensor:
        model = letter_model()
        sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        t = trainer(model, letters, tmp_path, loss_reduction=reduction, optim="sgd", kind=Given, beta=0.3, **sizes)
        t.train()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    torch.testing.assert_close(weights(4, 1), weights(1, 4), atol=1e-6, rtol=1e-5)
    assert len({1 + sum(letters(p)["input_ids"]) % 4 for p in ("ab", "c", "bca", "d")}) > 1


def test_it_samples_from_the_policy_itself_whatever_the_models_generation_config_says(
    letter_model: Callable, letters: Any, tmp_path: Any
) -> None:
    model = letter_model().eval()
    own = GenerationConfig(top_k=1, repetition_penalty=50.0, eos_token_id=1, pad_token_id=0, num_beams=3)
    model.generation_config = own
    enable_entropy_min(model, EntropyMinConfig(n_grad_steps=100))
    t = trainer(model, letters, tmp_path, num_generations=4000, max_completion_length=1)
    torch.manual_seed(0)
    drawn = sampled(t, ["ab"])["completion_ids"][:, 0]
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
    inputs = sampled(t, ["ab"])
    assert seen == [False] and model.training
    first, second = (float(t.compute_loss(model, inputs).detach()) for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_generations", 0),
        ("max_completion_length", 0),
        ("temperature", 0.0),
        ("loss_temperature", float("inf")),
        ("loss_reduction", "mean"),
        ("beta", -0.1),
        ("top_k", 5),
        ("top_p", 0.9),
        ("repetition_penalty", 1.2),
    ],
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
    inputs = sampled(t, ["ab", "cab"])
    parameters = [value for value in model.parameters() if value.requires_grad]
    entropies, kls, tokens = [], [], 0
    for prompt, y in completions(inputs):
        ids = torch.tensor([prompt + y])
        log_p = (model(ids).logits[0].double()[-len(y) - 1 : -1] / 0.8).log_softmax(-1)
        log_q = (before(ids).logits[0].double()[-len(y) - 1 : -1] / 0.8).log_softmax(-1)
        entropies.append(-(log_p.exp() * log_p).sum())
        kls.append((log_p.exp() * (log_p - log_q.detach())).sum())
        tokens += len(y)
    whole = sum(entropies) + 0.7 * sum(kls)
    wanted = whole / (6 if reduction == "sum" else tokens)
    loss = t.compute_loss(model, inputs)
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    assert float(sum(kls).detach()) > 0.1
    assert t._metrics["eval"]["kl"] == [pytest.approx(float(sum(kls).detach()) / tokens, rel=1e-4)]
    for ours, theirs in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(wanted, parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_heavy_kl_term_keeps_the_model_where_it_was(letter_model: Callable, letters: Any, tmp_path: Any) -> None:
    def moved(beta: float) -> float:
        model = letter_model()
        t = trainer(model, letters, tmp_path, beta=beta, max_steps=60, learning_rate=2e-3, seed=3)
        t.train()
        assert ("kl" in t.state.log_history[0]) == (beta > 0)
        x = torch.tensor([[2, 3, 4]])
        p, q = model.eval()(x).logits.softmax(-1), letter_model().eval()(x).logits.softmax(-1)
        return float((p - q).abs().sum().detach())

    assert moved(10.0) < 0.3 * moved(0.0)
