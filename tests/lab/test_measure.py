"""Measurements on the pocket reasoner, held against a plain `generate` and plain warpers."""

import re
from collections import Counter
from typing import Any

import pytest
import torch

from em_hf.evaluation.strategies import make_strategy
from em_hf.generation.config import EntropyMinConfig
from em_hf.lab.equal_entropy import bisect, equal_entropy, sampled_logits
from em_hf.lab.measure import answers, diagnosed, marked_answers, rows_of, strategy_of, tuned_strategy
from em_hf.lab.plan import AT_EQUAL_ENTROPY, Diagnosing, Matching, Measuring, Tuning
from em_hf.models import load_model
from em_hf.pocket import em_inf_settings, problems

MODEL, LENGTH = "pocket-reasoner", 64
STORED = EntropyMinConfig.from_dict(em_inf_settings())


@pytest.fixture(scope="module")
def pocket() -> tuple[Any, Any]:
    return load_model(MODEL, device="cpu")


@pytest.fixture(scope="module")
def matched(pocket: tuple[Any, Any]) -> dict[str, Any]:
    return equal_entropy(*pocket, Matching(MODEL, "plain", 40), LENGTH)


def test_greedy_answers_are_marked_as_a_reader_marks_plain_generation(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    found = marked_answers(model, tokenizer, Measuring(MODEL, "greedy", 60), LENGTH)
    for i, row in enumerate(problems("test", 60, 0)):
        inputs = tokenizer(row["prompt"], return_tensors="pt")
        made = model.generate(**inputs, do_sample=False, max_new_tokens=LENGTH)[0, inputs.input_ids.shape[1] :]
        given = tokenizer.decode(made, skip_special_tokens=True).rpartition("####")[2].strip()
        assert found["right"][i] == (given == row["answer"]), row["prompt"]
        assert found["tokens"][i] == len(made)
        through = len(made) + inputs.input_ids.shape[1]
        assert found["flops"][i] == 2 * model.num_parameters() * through
    assert all(seconds > 0 for seconds in found["seconds"]) and found["votes"] == {}


def test_several_answers_to_a_problem_give_its_share_and_the_same_seed_the_same_answers(
    pocket: tuple[Any, Any],
) -> None:
    job = Measuring(MODEL, "sampling", 12, samples=8)
    torch.manual_seed(5)
    found = marked_answers(*pocket, job, LENGTH)
    assert {share * 8 % 1 for share in found["right"]} == {0.0} and 0 < sum(found["right"]) < 12
    torch.manual_seed(6)
    assert marked_answers(*pocket, job, LENGTH)["right"] == found["right"]


def test_votes_and_steps_are_those_of_the_texts(pocket: tuple[Any, Any]) -> None:
    """Held against a count of the marked numbers, Python's own arithmetic, and the lines of the solution."""
    rows = problems("test", 12, 0, level="hard")
    found = marked_answers(*pocket, Measuring(MODEL, "sampling", 12, data="hard", samples=8), 96)
    texts = [[one.text for one in ones] for ones in answers(*pocket, make_strategy("sampling"), rows, 8, 96)]
    assert set(found["votes"]) == {"4"}
    for i, (row, ones) in enumerate(zip(rows, texts, strict=True)):
        marked = [text.rpartition("####")[2].strip() for text in ones if "####" in text]
        assert len(marked) == 8, "the pocket reasoner marks every answer"
        halves = [Counter(marked[start : start + 4]).most_common(1)[0][0] for start in (0, 4)]
        assert found["votes"]["4"][i] == sum(half == row["answer"] for half in halves) / 2
        steps = [re.findall(r"(\d+ . \d+) = (\d+)", text.replace("×", "*").replace("÷", "/")) for text in ones]
        assert found["true"][i] == sum(all(eval(left) == int(right) for left, right in one) for one in steps) / 8
        own = sorted(re.findall(r"\d+ . \d+ = \d+", row["solution"]))
        same = [sorted(re.findall(r"\d+ . \d+ = \d+", text)) == own for text in ones]
        assert found["faithful"][i] == sum(s and m == row["answer"] for s, m in zip(same, marked, strict=True)) / 8
    assert 0 < sum(found["faithful"]) <= sum(found["right"]) and sum(found["true"]) < 12


def test_the_kinds_and_levels_of_problem_are_told_apart_and_held_out() -> None:
    fewer, others = rows_of("fewer", 30), rows_of("others", 30)
    assert all("fewer" in row["prompt"] for row in fewer) and not any("fewer" in row["prompt"] for row in others)
    assert len(fewer) == len(others) == 30
    for level in ("plain", "hard"):
        assert rows_of(level, 10) == problems("test", 10, 0, level=level)
        tuned_on = {row["prompt"] for row in rows_of(level, 200, "validation")}
        assert len(tuned_on) == 200 and not tuned_on & {row["prompt"] for row in rows_of(level, 200)}


def test_a_strategy_has_the_models_settings_or_those_that_were_found() -> None:
    def of(name: str, **more: Any) -> Any:
        return strategy_of(Measuring(MODEL, name, 1, **more), STORED, more.pop("found", None))

    assert of("em-inf").entropy_min == of("em-inf+refinement").entropy_min == STORED
    assert of("em-inf", entropy_min=(("threshold", 0.6),)).entropy_min.to_dict() == {
        **STORED.to_dict(),
        "threshold": 0.6,
    }
    assert of("sampling").entropy_min is None and of("self-consistency").answers == 4

    found = {name: make_strategy(name, min_p=0.04).to_dict() for name in ("min-p", "em-inf")}
    strategy = strategy_of(Measuring(MODEL, "min-p", 1, settings="tuned"), STORED, found)
    assert (strategy.name, strategy.min_p, strategy.temperature, strategy.entropy_min) == ("min-p", 0.04, 1.0, None)
    again = strategy_of(Measuring(MODEL, "em-inf", 1, settings="tuned"), STORED, found)
    assert again == make_strategy("em-inf", min_p=0.04)
    with pytest.raises(ValueError, match="needs equal-entropy settings for pocket-reasoner, which are not found yet"):
        strategy_of(Measuring(MODEL, "min-p", 1, settings="equal-entropy"), STORED)


def test_a_tuned_strategy_is_the_best_of_its_trials_on_validation_problems(pocket: tuple[Any, Any]) -> None:
    found = tuned_strategy(*pocket, Tuning(MODEL, "temperature", "plain", 3, 24), LENGTH)
    accuracies = [trial["accuracy"] for trial in found["trials"]]
    assert len(accuracies) == 3 and len({trial["settings"] for trial in found["trials"]}) == 3
    job = Measuring(MODEL, "temperature", 24, split="validation", settings="tuned")
    measured = marked_answers(*pocket, job, LENGTH, found["strategies"])
    assert measured["strategy"] == found["trials"][accuracies.index(max(accuracies))]["settings"]
    assert sum(measured["right"]) / 24 == max(accuracies)
    as_it_stands = marked_answers(*pocket, Measuring(MODEL, "temperature", 24, split="validation"), LENGTH)
    assert sum(as_it_stands["right"]) / 24 == accuracies[0]


def test_a_diagnosis_is_of_validation_problems_and_the_stored_threshold(pocket: tuple[Any, Any]) -> None:
    found = diagnosed(*pocket, Diagnosing(MODEL, "plain", 8), LENGTH)
    assert (found["problems"], found["samples"]) == (8, 8)
    assert [one["threshold"] for one in found["predictions"]] == [STORED.threshold]


def test_equal_entropy_is_equal_under_warpers_written_out(pocket: tuple[Any, Any], matched: dict[str, Any]) -> None:
    model, tokenizer = pocket
    prompts = [row["prompt"] for row in problems("validation", 40, 0)]
    logits = sampled_logits(model, tokenizer, prompts, LENGTH)
    nats, settings = matched["nats"], matched["strategies"]
    p = logits.softmax(-1)

    def mean(probabilities: torch.Tensor) -> float:
        kept = probabilities.double() / probabilities.double().sum(-1, keepdim=True)
        return float(-torch.special.xlogy(kept, kept).sum(-1).mean())

    def top_p(share: float) -> torch.Tensor:
        order = p.sort(descending=True)
        before = order.values.cumsum(-1) - order.values
        return torch.zeros_like(p).scatter(-1, order.indices, order.values.masked_fill(before >= share, 0))

    sigma = settings["top-n-sigma"]["top_n_sigma"] * logits.std(-1, correction=0, keepdim=True)
    left = {
        "sampling": p,
        "temperature": (logits / settings["temperature"]["temperature"]).softmax(-1),
        "min-p": p.masked_fill(p < settings["min-p"]["min_p"] * p.amax(-1, keepdim=True), 0),
        "top-p": top_p(settings["top-p"]["top_p"]),
        "top-n-sigma": p.masked_fill(logits < logits.amax(-1, keepdim=True) - sigma, 0),
    }
    for name, probabilities in left.items():
        assert mean(probabilities) == pytest.approx(nats[name], rel=1e-3), name
    assert set(settings) == set(AT_EQUAL_ENTROPY) and nats["em-inf"] < 0.7 * nats["sampling"]
    # What cuts off tokens does so token by token, so that its entropy moves in jumps.
    near = {"temperature": 0.01, "adaptive-temperature": 0.01, "min-p": 0.05, "top-p": 0.05, "top-n-sigma": 0.05}
    for name, within in near.items():
        assert nats[name] == pytest.approx(nats["em-inf"], rel=within), name
    adaptive = settings["adaptive-temperature"]["entropy_min"]
    assert (adaptive["method"], adaptive["threshold"]) == ("adaptive_temperature", STORED.threshold)


def test_the_logits_are_of_tokens_up_to_each_answers_end(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    prompts = [row["prompt"] for row in problems("validation", 6, 0)]
    some = (prompts, prompts[:1], prompts[:1])
    both, first, second = (sampled_logits(model, tokenizer, part, LENGTH) for part in some)
    assert torch.equal(first, second) and first.shape[1] == model.config.vocab_size
    assert len(prompts) < len(both) < len(prompts) * LENGTH


def test_the_search_finds_the_root_of_what_falls() -> None:
    number, value = bisect(lambda t: t * t, 0.25, 1.0, 0.0)
    assert number == pytest.approx(0.5, abs=1e-3) and value == pytest.approx(0.25, abs=1e-3)
    number, value = bisect(lambda p: 1 - p, 0.9, 0.0, 1.0)
    assert number == pytest.approx(0.1, abs=1e-3) and value == pytest.approx(0.9, abs=1e-3)
