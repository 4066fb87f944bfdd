"""The diagnosis against naive counts, on made-up answers of known kinds, and on the pocket reasoner."""

import itertools
import math
import random
from typing import Any

import pytest
import torch

from em_hf import methods as registry
from em_hf.evaluation.confidence import MEASURES, Sample, sample_answers
from em_hf.evaluation.diagnose import METHODS, describe, diagnose
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.mixin import enable_entropy_min
from em_hf.models import load_model
from em_hf.pocket import problems
from tests.reference import minimize_entropy_row


def made(rows: list[tuple[int, bool, float]], weights: dict[float, float] | None = None) -> list[Sample]:
    """Samples from (problem, right, confidence), the same confidence in every measure; `weights` on the right ones."""
    return [
        Sample(
            problem,
            "",
            right,
            5,
            dict.fromkeys(MEASURES, confidence),
            {name: weight * right for name, weight in (weights or {}).items()},
        )
        for problem, right, confidence in rows
    ]


def grid(sure_when_right: float, problems: int = 30) -> list[tuple[int, bool, float]]:
    """Four answers a problem, two of them right, whose confidence is higher (or lower) by so much."""
    noise = itertools.cycle([0.0, 0.3, 0.1, 0.4, 0.2])
    return [
        (problem, right, sure_when_right * right + next(noise))
        for problem in range(problems)
        for right in (True, False, True, False)
    ]


def naive_auroc(rows: list[tuple[int, bool, float]]) -> float:
    right, wrong = [c for _, r, c in rows if r], [c for _, r, c in rows if not r]
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in right for b in wrong) / (len(right) * len(wrong))


def test_auroc_counts_pairs_over_all_answers_and_within_each_problem() -> None:
    rows = [(0, True, 3.0), (0, False, 1.0), (0, False, 3.0), (1, True, 0.0), (1, False, 2.0), (1, True, 5.0)]
    rows += [(2, True, 9.0), (2, True, 1.0), (2, True, 4.0)]  # no pair of both kinds
    found = diagnose(made(rows))
    measure = found.measures["sequence"]
    assert measure.overall is not None and measure.overall.mean == pytest.approx(naive_auroc(rows))
    groups = [[row for row in rows if row[0] == problem] for problem in (0, 1)]
    assert measure.within is not None
    assert measure.within.mean == pytest.approx(sum(naive_auroc(group) for group in groups) / 2)
    assert (found.problems, found.samples, found.mixed) == (3, 3, 2)
    assert found.accuracy.mean == pytest.approx((1 / 3 + 2 / 3 + 1) / 3)


def test_risk_and_coverage_are_the_accuracy_of_the_surest_part() -> None:
    rows = [(i // 2, i >= 15, float(i)) for i in range(20)]
    curve = diagnose(made(rows)).measures["sequence"].risk_coverage
    assert curve == {0.1: 1.0, 0.25: 1.0, 0.5: 0.5, 0.75: 5 / 15, 1.0: 0.25}


def test_predicted_accuracy_weighs_each_answer_by_how_much_likelier_it_becomes() -> None:
    # Two right, two wrong answers; the right ones become three times as likely: 6 of 8 parts.
    found = diagnose(made(grid(1.0), {0.3: math.log(3.0), 0.5: 0.0}))
    tripled, unchanged = found.predictions
    assert tripled.accuracy.mean == pytest.approx(0.75) and tripled.gain.mean == pytest.approx(0.25)
    assert tripled.effective == pytest.approx((3 + 3 + 1 + 1) ** 2 / (9 + 9 + 1 + 1) / 4)
    assert unchanged.gain.mean == pytest.approx(0) and unchanged.effective == pytest.approx(1)
    assert found.threshold == 0.3


def test_a_model_surer_of_its_right_answers_is_told_yes() -> None:
    found = diagnose(made(grid(1.0), {0.3: 1.0}))
    assert found.verdict == "likely" and "is likely to help" in found.sentence
    assert set(found.advice.values()) == {"use"} and "EntropyMinConfig(threshold=0.3)" in describe(found)


def test_a_model_surer_of_its_wrong_answers_is_told_that_em_would_harm_it() -> None:
    found = diagnose(made(grid(-1.0), {0.3: -1.0}))
    within = found.measures["sequence"].within
    # In none of 30 problems is a right answer surer: the exact bound.
    assert within is not None and within.high == pytest.approx(1 - 0.025 ** (1 / 30))
    assert found.verdict == "harmful" and "would be harmful" in found.sentence
    assert set(found.advice.values()) == {"do not use"} and found.threshold is None
    assert "No threshold" in describe(found)


@pytest.mark.parametrize("seed", range(8))
def test_the_verdict_agrees_with_the_advice_and_the_sentence_names_the_methods(seed: int) -> None:
    rng = random.Random(seed)
    lean, weight = rng.choice([-1.0, 0.0, 0.15, 0.3, 1.0]), rng.choice([None, -1.0, 0.0, 0.05, 1.0])
    rows = [(p, r, lean * r + rng.random()) for p in range(40) for r in (True, False, True, False)]
    found = diagnose(made(rows, None if weight is None else {0.3: weight}))
    used = [method for method, advice in found.advice.items() if advice == "use"]
    assert (found.verdict == "likely") == bool(used) and ("is likely to help" in found.sentence) == bool(used)
    assert all(method in found.sentence for method in used)
    if found.verdict == "harmful":
        assert "do not use" in found.advice.values()
    if found.threshold is not None and found.advice["em-inf"] != "use":
        assert found.measures["sequence"].within.low <= 0.5  # type: ignore[union-attr]


def test_sharpening_needs_less_than_a_reward_does() -> None:
    """Right answers are surer in 30 of 40 problems: enough for EM-INF and EM-FT, not clearly for a reward."""
    found = diagnose(made(grid(1.0, 30) + [(problem + 30, right, -c) for problem, right, c in grid(1.0, 10)]))
    assert {method for method, advice in found.advice.items() if advice == "use"} == {"em-inf", "em-ft"}
    assert "with em-inf and em-ft" in found.sentence and "em-rl-token" in found.sentence


def test_methods_go_by_the_registrys_names() -> None:
    assert set(METHODS) - {"em-inf"} <= set(registry.METHODS)


def test_three_problems_are_too_few_for_a_yes() -> None:
    # In all of them the right answers are surer. A coin that shows heads three times may be fair.
    found = diagnose(made(grid(1.0, problems=3)))
    assert found.measures["sequence"].within.mean == 1.0  # type: ignore[union-attr]
    assert found.verdict == "unlikely" and set(found.advice.values()) == {"doubtful"}


def test_a_misconception_on_some_problems_is_named_beside_the_verdict() -> None:
    rows = grid(1.0, 30) + [(problem + 30, right, -c) for problem, right, c in grid(1.0, 10)]
    found = diagnose(made(rows))
    assert found.verdict == "likely" and found.misled is not None and found.misled.mean == pytest.approx(0.25)
    assert "On 25% of the problems" in found.sentence


def test_confidence_that_says_nothing_is_no_reason_for_em() -> None:
    rows = [(p, r, float((p * 7 + i * 3) % 5)) for p in range(40) for i, r in enumerate((True, False, True, False))]
    found = diagnose(made(rows))
    assert found.verdict == "unlikely" and set(found.advice.values()) == {"doubtful"}


def test_problems_without_both_kinds_of_answer_are_no_evidence() -> None:
    found = diagnose(made([(p, p % 2 == 0, 1.0) for p in range(10) for _ in range(3)]))
    assert found.verdict == "unlikely" and "nothing to choose between" in found.sentence
    assert set(found.advice.values()) == {"no evidence"} and found.misled is None
    assert diagnose(made([(0, True, 1.0), (0, True, 2.0)])).measures["sequence"].overall is None
    describe(found)


@pytest.mark.parametrize("rows", [[], [(0, True, 1.0)], [(0, True, 1.0), (0, False, 1.0), (1, True, 1.0)]])
def test_a_single_answer_a_problem_is_too_few(rows: list) -> None:
    with pytest.raises(ValueError, match="at least two answers"):
        diagnose(made(rows))


@pytest.fixture(scope="module")
def pocket() -> tuple[Any, Any]:
    return load_model("pocket-reasoner", device="cpu")


STRONG = EntropyMinConfig(threshold=0.1, n_grad_steps=10)


def test_measures_and_weights_are_those_of_a_forward_pass_over_the_finished_answer(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    rows = problems("test", 2, 0)
    configs = {0.1: STRONG, 99.0: EntropyMinConfig(threshold=99.0)}
    prompts, answers = [r["prompt"] for r in rows], [r["answer"] for r in rows]
    found = sample_answers(model, tokenizer, prompts, answers, samples=2, configs=configs, max_new_tokens=128)
    assert [s.problem for s in found] == [0, 0, 1, 1]
    for sample in found:
        prompt = tokenizer(prompts[sample.problem])["input_ids"]
        drawn = [*tokenizer(sample.text)["input_ids"], tokenizer.eos_token_id]
        assert sample.tokens == len(drawn)
        with torch.no_grad():
            logits = model(torch.tensor([prompt + drawn])).logits[0, len(prompt) - 1 : -1]
        log_p = logits.double().log_softmax(-1)
        taken = log_p[range(len(drawn)), drawn]
        entropy = -(log_p.exp() * log_p).sum(-1)
        certainty = (-math.log(log_p.shape[-1]) - log_p.mean(-1)).mean()
        assert sample.confidence["sequence"] == pytest.approx(float(taken.sum()), abs=1e-3)
        assert sample.confidence["token entropy, summed"] == pytest.approx(-float(entropy.sum()), abs=1e-3)
        assert sample.confidence["token entropy, mean"] == pytest.approx(-float(entropy.mean()), abs=1e-4)
        assert sample.confidence["self-certainty"] == pytest.approx(float(certainty), abs=1e-3)
        new = torch.stack([minimize_entropy_row(row, threshold=0.1, n_grad_steps=10) for row in logits])
        weight = (new.double().log_softmax(-1) - log_p)[range(len(drawn)), drawn].sum()
        assert sample.log_weights[0.1] == pytest.approx(float(weight), abs=2e-3)
        assert sample.log_weights[99.0] == 0.0


def test_on_the_pocket_reasoner_it_says_yes_and_predicts_what_em_inf_then_does(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    rows = problems("test", 48, 0)
    prompts, answers = [r["prompt"] for r in rows], [r["answer"] for r in rows]
    found = diagnose(
        sample_answers(model, tokenizer, prompts, answers, configs={0.1: STRONG}, max_new_tokens=128, batch_size=192)
    )
    assert found.verdict == "likely" and found.advice["em-rl-sequence"] == "use" and found.threshold == 0.1
    (predicted,) = found.predictions
    assert predicted.gain.low > 0.1
    enable_entropy_min(model)
    original = model.generate

    def with_em(**kwargs: Any) -> Any:
        return original(**kwargs, entropy_min=STRONG)

    model.generate = with_em
    try:
        changed = sample_answers(model, tokenizer, prompts, answers, max_new_tokens=128, batch_size=192, seed=7)
    finally:
        del model.generate
    measured = diagnose(changed).accuracy
    assert predicted.accuracy.low < measured.high and measured.low < predicted.accuracy.high
    assert measured.low > found.accuracy.high, "and the gain is real"
