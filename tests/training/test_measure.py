"""What is measured, on models whose behaviour is known: accuracy, interval, entropy and length."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from em_hf import EntropyMinConfig
from em_hf.training.measure import measure, share_right
from tests.reference import entropy


@pytest.fixture
def biased(letter_model: Callable) -> Callable[[list[float]], Any]:
    """Makes a model whose next-token distribution is the same everywhere: softmax of the given eight logits."""

    def make(logits: list[float]) -> Any:
        model = letter_model()
        with torch.no_grad():
            # the last norm gives a vector of ones: all that is left of the input is thrown away
            for layer in model.model.layers:
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
            model.model.embed_tokens.weight.fill_(1.0)
            model.model.norm.weight.fill_(1.0)
            model.lm_head.weight.copy_(torch.tensor(logits)[:, None].expand(-1, 16) / 16)
        return model.eval()

    return make


# pad, eos, a, b, c, d, e, space
LOGITS = [-30.0, 0.0, 1.0, 1.0, -30.0, -30.0, -30.0, -30.0]


def test_entropy_and_length_are_those_of_the_known_distribution(biased: Callable, letters: Any) -> None:
    """Every step has the same distribution, with an end of sequence of probability 1/(1 + 2e) in it."""
    model = biased(LOGITS)
    found = measure(model, letters, ["ab", "c"] * 200, None, name="row", max_new_tokens=3, samples=4, seed=1)
    assert found.entropy == pytest.approx(float(entropy(torch.tensor(LOGITS).double())), abs=1e-4)
    go_on = 1 - 1 / (1 + 2 * math.e)
    # 1 + q + q² tokens in the mean, of 1,600 samples with a deviation under 1: four standard errors are 0.1
    assert found.completion_length == pytest.approx(1 + go_on + go_on**2, abs=0.1)
    assert (found.name, found.accuracy, found.low, found.high) == ("row", None, None, None)


def test_the_entropy_shown_with_em_inf_is_the_one_before_it(biased: Callable, letters: Any) -> None:
    model = biased(LOGITS)
    settings = EntropyMinConfig(n_grad_steps=50, kl_weight=0.0)
    found = measure(model, letters, ["ab"] * 50, None, name="row", entropy_min=settings, max_new_tokens=3)
    assert found.entropy == pytest.approx(float(entropy(torch.tensor(LOGITS).double())), abs=1e-4)


def test_em_inf_moves_what_is_sampled(biased: Callable, letters: Any) -> None:
    """The end of sequence is the likeliest token; with its entropy minimized nothing else is left of it."""
    model = biased([-30.0, 2.0, 1.0, 0.0, -30.0, -30.0, -30.0, -30.0])
    settings = EntropyMinConfig(n_grad_steps=100, kl_weight=0.0, threshold=0.0, learning_rate=0.5)
    plain = measure(model, letters, ["ab"] * 200, None, name="plain", max_new_tokens=4)
    moved = measure(model, letters, ["ab"] * 200, None, name="moved", entropy_min=settings, max_new_tokens=4)
    assert plain.completion_length > 1.2
    assert moved.completion_length == 1


def test_greedy_takes_the_likeliest_token_and_nothing_else(biased: Callable, letters: Any) -> None:
    """End of sequence has 1/(1 + 2/e) of the probability: greedily it is all there is."""
    model = biased([-30.0, 2.0, 1.0, 1.0, -30.0, -30.0, -30.0, -30.0])
    found = [measure(model, letters, ["ab"] * 50, None, name="g", greedy=g, max_new_tokens=4) for g in (True, False)]
    assert found[0].completion_length == 1 < found[1].completion_length
    assert found[0].entropy == pytest.approx(float(entropy(torch.tensor([2.0, 1.0, 1.0]).double())), abs=1e-4)


def test_accuracy_is_the_share_of_right_samples_with_its_interval(
    biased: Callable, letters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first token is "a" for certain: right for three problems in four, and the interval surrounds that share."""
    monkeypatch.setattr("em_hf.training.measure.extract_answer", lambda text: text.replace(" ", "")[:1])
    model = biased([-30.0, -30.0, 30.0, -30.0, -30.0, -30.0, -30.0, -30.0])
    prompts, answers = ["ab", "c", "dd", "e"] * 25, ["a", "a", "b", "a"] * 25
    seen: list[int] = []
    found = measure(model, letters, prompts, answers, name="row", max_new_tokens=2, samples=8, on_progress=seen.append)
    assert found.accuracy == 0.75
    assert found.low is not None and found.high is not None
    assert 0.65 <= found.low < 0.75 < found.high <= 0.85  # 0.75 ± 1.96 · √(0.75 · 0.25 / 100) = 0.67 to 0.83
    assert seen == [32, 64, 96, 100]  # 256 rows at a time


def test_a_text_is_right_by_its_final_answer() -> None:
    assert share_right("7", ["so 7\n#### 7", "#### 8", "no answer", r"\boxed{7}"]) == 0.5


def test_measuring_leaves_random_state_mode_and_generation_config_alone(biased: Callable, letters: Any) -> None:
    model = biased(LOGITS)
    own = GenerationConfig(top_k=1, repetition_penalty=9.0, eos_token_id=1, pad_token_id=0)
    model.generation_config = own
    model.train()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    found = measure(model, letters, ["ab"] * 100, None, name="row", max_new_tokens=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training and model.generation_config is own
    # with that config's top_k of 1 every sample would be three tokens long
    assert found.completion_length < 2.9
    again = measure(model, letters, ["ab"] * 100, None, name="row", max_new_tokens=3)
    assert again.completion_length == found.completion_length  # the same seed


def test_each_prompt_is_held_against_its_own_answer(
    letter_model: Callable, letters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that repeats the last letter, on prompts of mixed lengths, which are sorted and batched inside."""
    monkeypatch.setattr("em_hf.training.measure.extract_answer", lambda text: text.replace(" ", "")[:1])
    model = letter_model()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(8, 16))
        model.model.norm.weight.fill_(1.0)
        model.lm_head.weight.copy_(20 * torch.eye(8, 16))
    prompts = ["aaab", "c", "ad", "bbbbba", "bd", "abc"] * 50
    answers = [prompt[-1] for prompt in prompts]
    found = measure(model.eval(), letters, prompts, answers, name="row", max_new_tokens=1, samples=3)
    # All 300 right: the exact bound is the 300th root of 0.025.
    assert (found.accuracy, found.low, found.high) == (1.0, pytest.approx(0.025 ** (1 / 300)), 1.0)
    shifted = measure(model, letters, prompts, answers[1:] + answers[:1], name="row", max_new_tokens=1)
    assert shifted.accuracy == 0
