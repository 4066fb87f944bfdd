"""Measurements on the pocket reasoner, held against a plain `generate`, a plain reader and plain warpers."""

from typing import Any

import pytest
import torch

from em_hf.lab.equal_entropy import bisect, equal_entropy, sampled_logits
from em_hf.lab.measure import LENGTH, marked_answers, right_steps, rows_of, strategy_of
from em_hf.lab.plan import EM_INF, Matching, Measuring
from em_hf.models import load_model
from em_hf.pocket import problems

FOUND = {"settings": {"temperature": 0.7, "min_p": 0.04, "adaptive": {"threshold": 0.1, "target_ratio": 0.25}}}


@pytest.fixture(scope="module")
def pocket() -> tuple[Any, Any]:
    return load_model("pocket-reasoner", device="cpu")


@pytest.fixture(scope="module")
def matched(pocket: tuple[Any, Any]) -> dict[str, Any]:
    return equal_entropy(*pocket, Matching("pocket-reasoner", 40))


def test_greedy_answers_are_marked_as_those_of_plain_generation(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    found = marked_answers(model, tokenizer, Measuring("pocket-reasoner", "greedy", 60), None)
    for i, row in enumerate(problems("test", 60, 0)):
        inputs = tokenizer(row["prompt"], return_tensors="pt")
        made = model.generate(**inputs, do_sample=False, max_new_tokens=LENGTH)[0, inputs.input_ids.shape[1] :]
        given = tokenizer.decode(made, skip_special_tokens=True).rpartition("####")[2].strip()
        assert found["right"][i] == (given == row["answer"]), row["prompt"]
        assert found["tokens"][i] == len(made)
        through = len(made) + inputs.input_ids.shape[1]
        assert found["flops"][i] == 2 * model.num_parameters() * through
    assert all(seconds > 0 for seconds in found["seconds"])


def test_several_answers_to_a_problem_give_its_share_and_the_same_seed_the_same_answers(
    pocket: tuple[Any, Any],
) -> None:
    job = Measuring("pocket-reasoner", "sampling", 12, samples=8)
    torch.manual_seed(5)
    found = marked_answers(*pocket, job, None)
    assert {share * 8 % 1 for share in found["right"]} == {0.0} and 0 < sum(found["right"]) < 12
    torch.manual_seed(6)
    assert marked_answers(*pocket, job, None)["right"] == found["right"]


def test_the_kinds_of_problem_are_told_apart_and_held_out() -> None:
    fewer, others = rows_of("fewer", 30), rows_of("others", 30)
    assert all("fewer" in row["prompt"] for row in fewer) and not any("fewer" in row["prompt"] for row in others)
    assert len(fewer) == len(others) == 30 and rows_of("test", 10) == problems("test", 10, 0)
    assert rows_of("hard", 10) == problems("test", 10, 0, level="hard")
    assert not {row["prompt"] for row in rows_of("validation", 200)} & {row["prompt"] for row in rows_of("test", 200)}


def test_steps_are_graded_by_the_solutions_equations_and_answers_vote(pocket: tuple[Any, Any]) -> None:
    assert right_steps("2 + 3 = 5\n5 × 2 = 11", "2 + 3 = 5 nuts.\n5 × 2 = 10 nuts.") == 0.5
    assert right_steps("", "2 + 3 = 5") == 0 and right_steps("2 + 3 = 5. 7 - 1 = 6.", "2 + 3 = 5") == 1
    found = marked_answers(*pocket, Measuring("pocket-reasoner", "sampling", 6, data="hard", samples=4), None)
    assert len(found["votes_4"]) == 6 and set(found["votes_4"]) <= {0.0, 1.0} and "votes_16" not in found
    # An answer is right only where its last step is.
    assert all(0 <= steps <= 1 for steps in found["steps"]) and sum(found["steps"]) >= sum(found["right"]) / 2


def test_a_strategy_has_the_labs_settings_and_the_baselines_those_of_equal_entropy() -> None:
    def of(name: str, **more: Any) -> Any:
        return strategy_of(Measuring("pocket-reasoner", name, 1, **more), FOUND)

    assert (of("fixed-temperature").temperature, of("min-p").min_p) == (0.7, 0.04)
    assert of("fixed-temperature").entropy_min is of("min-p").entropy_min is None
    adaptive = of("adaptive-temperature").entropy_min
    assert (adaptive.method, adaptive.target_ratio, adaptive.threshold) == ("adaptive_temperature", 0.25, 0.1)
    em = of("em-inf", entropy_min=(("threshold", 0.6),)).entropy_min.to_dict()
    assert {name: em[name] for name in EM_INF} == {**EM_INF, "threshold": 0.6}
    assert of("self-consistency").answers == 4 and of("em-inf+refinement").rounds == 3
    with pytest.raises(ValueError, match="needs the settings of equal entropy"):
        strategy_of(Measuring("pocket-reasoner", "min-p", 1), None)


def test_equal_entropy_is_equal_under_transformers_own_temperature_and_min_p(
    pocket: tuple[Any, Any], matched: dict[str, Any]
) -> None:
    model, tokenizer = pocket
    logits = sampled_logits(model, tokenizer, [row["prompt"] for row in problems("validation", 40, 0)])
    settings, nats = matched["settings"], matched["nats"]

    def mean(logits: torch.Tensor) -> float:
        return float(torch.distributions.Categorical(logits=logits.double()).entropy().mean())

    def min_p(logits: torch.Tensor) -> torch.Tensor:
        p = logits.softmax(-1)
        return p.masked_fill(p < settings["min_p"] * p.max(-1, keepdim=True).values, 0).log().clamp(min=-1e9)

    assert mean(logits) == pytest.approx(nats["sampling"], rel=1e-3)
    assert mean(logits / settings["temperature"]) == pytest.approx(nats["fixed-temperature"], rel=1e-3)
    assert mean(min_p(logits)) == pytest.approx(nats["min-p"], rel=1e-3)
    for name in ("fixed-temperature", "adaptive-temperature"):
        assert nats[name] == pytest.approx(nats["em-inf"], rel=0.01), name
    # min-p cuts off token by token, so that its entropy moves in jumps.
    assert nats["min-p"] == pytest.approx(nats["em-inf"], rel=0.05)
    assert nats["em-inf"] < 0.7 * nats["sampling"]


def test_the_logits_are_of_tokens_up_to_each_answers_end(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    prompts = [row["prompt"] for row in problems("validation", 6, 0)]
    both, first, second = (sampled_logits(model, tokenizer, some) for some in (prompts, prompts[:1], prompts[:1]))
    assert torch.equal(first, second) and first.shape[1] == model.config.vocab_size
    assert len(prompts) < len(both) < len(prompts) * LENGTH


def test_the_search_finds_the_root_of_what_falls() -> None:
    number, value = bisect(lambda t: t * t, 0.25, 1.0, 0.0)
    assert number == pytest.approx(0.5, abs=1e-3) and value == pytest.approx(0.25, abs=1e-3)
    number, value = bisect(lambda p: 1 - p, 0.9, 0.0, 1.0)
    assert number == pytest.approx(0.1, abs=1e-3) and value == pytest.approx(0.9, abs=1e-3)
