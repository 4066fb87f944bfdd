"""EM-RL on a policy small enough to enumerate: rewards, advantages, the estimator's mean, and what it refuses."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from datasets import Dataset
from trl import RLOOConfig

from em_hf import EMRLConfig, EMRLTrainer, EntropyMinConfig
from em_hf.training.baselines import CertaintyGRPOTrainer
from em_hf.training.rewards import for_trl, rent_reward, self_certainty_reward
from em_hf.training.rollouts import rollout_arguments
from em_hf.training.settings import RunSettings
from tests.reference import entropy

EOS = 1


class Given:
    """Mixed into a trainer: the rollouts are those in `given`, as if the policy had sampled them."""

    given: list[list[int]]

    def _generate_single_turn(self, prompt_ids: Any, *rest: Any, **more: Any) -> Any:
        assert len(prompt_ids) == len(self.given)
        return [list(ids) for ids in self.given]


class GivenEMRL(Given, EMRLTrainer):
    pass


@pytest.fixture
def saved(letter_model: Callable, letters: Any, tmp_path: Path) -> Callable[..., Any]:
    """A letter model as if loaded from a folder, where TRL finds the reference policy."""

    def make(**changes: Any) -> Any:
        model = letter_model(**changes)
        model.save_pretrained(tmp_path / "model")
        letters.save_pretrained(tmp_path / "model")
        return type(model).from_pretrained(tmp_path / "model")

    return make


def trainer(kind: type, model: Any, tokenizer: Any, folder: Path, **settings: Any) -> Any:
    more = {name: settings.pop(name) for name in ("peft_config",) if name in settings}
    args = EMRLConfig(
        output_dir=str(folder),
        **{
            "max_steps": 1,
            "per_device_train_batch_size": 2,
            "num_generations": 2,
            "max_completion_length": 2,
            "report_to": "none",
            "use_cpu": True,
            "save_strategy": "no",
            "logging_steps": 1,
            "disable_tqdm": True,
            "beta": 0.0,
            **settings,
        },
    )
    data = Dataset.from_list([{"prompt": "ab"}, {"prompt": "c"}])
    return kind(model, args, train_dataset=data, processing_class=tokenizer, **more)


def scores(model: Any, prompt: list[int], completion: list[int], temperature: float = 1.0) -> tuple[Any, Any]:
    """Log-probability and entropy of each token of a completion, from the model's own logits, in float64."""
    z = model(torch.tensor([prompt + completion])).logits[0].double()[len(prompt) - 1 : -1] / temperature
    log_p = z.log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])[:, 0]
    return log_p, torch.stack([entropy(row) for row in z])


def completions(letters: int, length: int) -> list[list[int]]:
    """Every completion over `letters` ordinary tokens (2, 3 …) and EOS of at most `length` tokens."""
    ordinary = range(2, 2 + letters)
    found: list[list[int]] = []
    for n in range(length):
        found += [[*prefix, EOS] for prefix in itertools.product(ordinary, repeat=n)]
    return found + [list(full) for full in itertools.product(ordinary, repeat=length)]


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_the_estimators_mean_is_the_exact_gradient_of_the_expected_reward(
    kind: str, saved: Callable, letters: Any, tmp_path: Path
) -> None:
    """Three tokens ("a", "b", EOS), two steps, N = 2: the mean over all pairs of samples is known in closed form.

    Other tokens are made impossible, so the enumeration is complete. The reward is held constant in the gradient:
    Σ_y π(y) r(y) ∇ log π(y).
    """
    model = saved(tie_word_embeddings=False).eval()
    ban_all_but(model, [EOS, 2, 3])
    t = trainer(GivenEMRL, model, letters, tmp_path / "out", reward=kind)
    prompt = [4]
    ys = completions(2, 2)
    log_pi, reward = [], []
    for y in ys:
        log_p, h = scores(model, prompt, y)
        log_pi.append(log_p.sum())
        reward.append(float((log_p.sum() if kind == "sequence" else -h.sum()).detach()))
    pi = [math.exp(float(value.detach())) for value in log_pi]
    assert sum(pi) == pytest.approx(1, abs=1e-6)
    weight = model.model.layers[0].mlp.down_proj.weight
    objective = sum(p * r * value for p, r, value in zip(pi, reward, log_pi, strict=True))
    exact = torch.autograd.grad(objective, weight)[0]

    mean = torch.zeros_like(exact)
    for (i, first), (j, second) in itertools.product(enumerate(ys), repeat=2):
        t.given = [first, second]
        t.model.train()
        inputs = t._generate_and_score_completions([{"prompt": "c"}] * 2)
        loss = t.compute_loss(t.model, inputs)
        mean -= pi[i] * pi[j] * torch.autograd.grad(loss, weight)[0]
    torch.testing.assert_close(mean, exact, atol=2e-6, rtol=2e-5)
    assert float(exact.abs().max()) > 1e-3  # the test is about something


def ban_all_but(model: Any, tokens: list[int]) -> None:
    """Give every other token a bias of -1e4 by way of a head with one."""
    head = torch.nn.Linear(model.config.hidden_size, model.config.vocab_size)
    with torch.no_grad():
        head.weight.copy_(model.lm_head.weight)
        head.bias.fill_(-1e4)
        head.bias[tokens] = 0
    model.set_output_embeddings(head)


@pytest.mark.parametrize("kind", ["sequence", "token"])
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_rewards_and_advantages_are_the_formulas_on_completions_of_all_kinds(
    kind: str, lora: bool, beta: float, saved: Callable, letters: Any, tmp_path: Path
) -> None:
    """Prompts of different lengths; completions that end, that are padded, and that are cut off at the limit.

    The policy differs from the reference, so that a mix-up of the two would show.
    """
    model = saved()
    settings = {"peft_config": peft.LoraConfig(r=2, target_modules="all-linear")} if lora else {}
    t = trainer(
        GivenEMRL,
        model,
        letters,
        tmp_path / "out",
        reward=kind,
        beta=beta,
        per_device_train_batch_size=4,
        max_completion_length=3,
        temperature=0.7,
        **settings,
    )
    torch.manual_seed(3)
    with torch.no_grad():
        for name, value in t.model.named_parameters():
            if value.requires_grad and "norm" not in name:
                value.add_(torch.randn_like(value) * 0.3)
    t.given = [[2, 3, EOS], [EOS], [5, 5, 4], [3, 3, 3]]
    t.model.train()
    inputs = t._generate_and_score_completions([{"prompt": "ab"}] * 2 + [{"prompt": "c"}] * 2)
    rewards, kls = [], []
    reference = type(model).from_pretrained(tmp_path / "model") if beta else None
    with torch.no_grad():
        for prompt, y in zip([[2, 3], [2, 3], [4], [4]], t.given, strict=True):
            log_p, h = scores(t.model, prompt, y, 0.7)
            rewards.append(float(log_p.sum() if kind == "sequence" else -h.sum()))
            kls.append(float((log_p - scores(reference, prompt, y, 0.7)[0]).sum()) if reference else 0.0)
    penalized = [r - beta * kl for r, kl in zip(rewards, kls, strict=True)]
    name = f"{kind}_reward"
    assert list(t._logs["rewards"][name]) == pytest.approx(rewards, abs=2e-5)
    a, b, c, d = penalized
    assert inputs["advantages"].tolist() == pytest.approx([a - b, b - a, c - d, d - c], abs=5e-5)
    if beta:
        assert max(abs(kl) for kl in kls) > 0.01


def test_a_truncated_completion_that_is_masked_gets_no_reward_instead_of_the_best_one(
    saved: Callable, letters: Any, tmp_path: Path
) -> None:
    t = trainer(
        GivenEMRL,
        saved(),
        letters,
        tmp_path / "out",
        num_generations=3,
        per_device_train_batch_size=3,
        mask_truncated_completions=True,
    )
    t.given = [[2, EOS], [3, 3], [EOS]]
    t.model.train()
    inputs = t._generate_and_score_completions([{"prompt": "ab"}] * 3)
    first, cut, last = t._logs["rewards"]["sequence_reward"]
    assert math.isnan(cut) and first < 0 and last < 0
    assert inputs["advantages"].tolist() == pytest.approx([first - last, 0, last - first], abs=1e-6)


def test_rewards_are_of_the_policy_that_sampled_in_every_generation(
    saved: Callable, letters: Any, tmp_path: Path
) -> None:
    """Evaluation in between leaves nothing behind, and each generation is scored anew."""
    t = trainer(GivenEMRL, saved(), letters, tmp_path / "out", reward="token")
    t.given = [[2, EOS], [EOS]]
    rows = [{"prompt": "ab"}] * 2
    t.model.train()
    t._generate_and_score_completions(rows)
    before = list(t._logs["rewards"]["token_reward"])
    t.model.eval()
    t.prediction_step(t.model, rows, prediction_loss_only=True)
    with torch.no_grad():
        t.model.lm_head.weight.mul_(0.1)
    t.model.train()
    t._generate_and_score_completions(rows)
    wanted = [-float(scores(t.model, [2, 3], y)[1].sum().detach()) for y in t.given]
    assert list(t._logs["rewards"]["token_reward"]) == pytest.approx(wanted, abs=1e-5) and before != wanted


@pytest.mark.parametrize(
    "settings",
    [{"top_k": 20}, {"top_p": 0.9}, {"min_p": 0.1}, {"repetition_penalty": 1.1}, {"generation_kwargs": {"top_k": 5}}],
)
def test_rollouts_of_another_policy_than_the_one_rewarded_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the whole distribution"):
        EMRLConfig(output_dir=str(tmp_path), use_cpu=True, **settings)


def test_em_inf_in_rollouts_is_refused_with_the_reason(tmp_path: Path) -> None:
    for value in (True, EntropyMinConfig()):
        for asked in ({"entropy_min": value}, {"extra_args": {"entropy_min": value}}):  # generate's way and vLLM's
            with pytest.raises(ValueError, match=r"EM-INF stays off in RL rollouts.*importance ratio"):
                EMRLConfig(output_dir=str(tmp_path), use_cpu=True, generation_kwargs=asked)


def test_a_parent_that_returns_no_entropies_as_unsloths_is_refused_in_one_line(
    saved: Callable, letters: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import RLOOTrainer

    real = RLOOTrainer._get_per_token_logps_and_entropies

    def without(self: Any, *args: Any, **kwargs: Any) -> Any:  # what unsloth generates in place of TRL's
        log_probs, _, *rest = real(self, *args, **kwargs)
        return log_probs, None, *rest

    monkeypatch.setattr(RLOOTrainer, "_get_per_token_logps_and_entropies", without)
    t = trainer(GivenEMRL, saved(), letters, tmp_path / "out")
    t.given = [[2, EOS], [EOS]]
    with pytest.raises(ValueError, match=r"EM-RL needs the entropies .* unsloth .*: train without unsloth") as raised:
        t.train()
    assert "\n" not in str(raised.value)


def test_the_defaults_are_the_papers_and_fit_a_cpu(tmp_path: Path) -> None:
    args = EMRLConfig(output_dir=str(tmp_path), use_cpu=True)
    assert (args.num_generations, args.beta, args.temperature, args.top_k, args.top_p) == (4, 0.001, 1.0, 0, 1.0)
    assert not args.bf16 and not args.gradient_checkpointing
    with pytest.raises(ValueError, match="reward is 'tokens', but must be 'sequence' or 'token'"):
        EMRLConfig(output_dir=str(tmp_path), use_cpu=True, reward="tokens")


RENT, CERTAINTY = for_trl(rent_reward, "entropies"), for_trl(self_certainty_reward, "certainties")


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("reward", [RENT, CERTAINTY])
def test_the_neighbours_rewards_on_grpo_are_of_the_sampling_policy(
    lora: bool, reward: Any, saved: Callable, letters: Any, tmp_path: Path
) -> None:
    from trl import GRPOConfig

    class GivenGRPO(Given, CertaintyGRPOTrainer):
        def _generate_single_turn(self, prompt_ids: Any, *rest: Any, **more: Any) -> Any:
            return super()._generate_single_turn(prompt_ids), None

    args = GRPOConfig(
        output_dir=str(tmp_path / "out"),
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=3,
        temperature=0.7,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to="none",
        beta=0.1,
    )
    data = Dataset.from_list([{"prompt": "ab"}, {"prompt": "c"}])
    config = peft.LoraConfig(r=2, target_modules="all-linear") if lora else None
    model = saved()
    t = GivenGRPO(model, reward, args=args, train_dataset=data, processing_class=letters, peft_config=config)
    t.given = [[2, 3, EOS], [EOS], [5, 5, 4], [3, 3, 3]]
    t.model.train()
    t._generate_and_score_completions([{"prompt": "ab"}] * 2 + [{"prompt": "c"}] * 2)
    wanted = []
    for prompt, y in zip([[2, 3], [2, 3], [4], [4]], t.given, strict=True):
        z = t.model(torch.tensor([prompt + y])).logits[0].double()[len(prompt) - 1 : -1] / 0.7
        p = z.softmax(-1)
        per_token = -(p * p.log()).sum(-1) if reward is RENT else -(p * 8).log().mean(-1)
        wanted.append(float(per_token.mean().detach()) * (-1 if reward is RENT else 1))
    assert list(t._logs["rewards"][reward.__name__]) == pytest.approx(wanted, abs=2e-5)


def test_rollouts_come_from_the_vllm_server_that_the_settings_name(tmp_path: Path) -> None:
    server = {"vllm": "server", "vllm_server": "http://elsewhere:8000"}
    settings = RunSettings(method="rloo", num_generations=2, dataset="any", device="cpu", **server)
    args = RLOOConfig(**rollout_arguments(settings, tmp_path))
    assert (args.use_vllm, args.vllm_mode, args.vllm_server_base_url) == (True, "server", "http://elsewhere:8000")
