"""The sentences say what the figures say: yes only where the interval leaves out 0, and no as plainly."""

from typing import Any

import pytest

from em_hf.lab.answers import QUESTIONS, answer
from tests.lab.made import EDGE, GAIN, LOSS, NULL, course, curve, diagnosis, empty_record, figure, made_record


@pytest.fixture
def record() -> dict[str, Any]:
    return made_record()


def test_of_nothing_measured_nothing_is_said() -> None:
    for number in range(1, len(QUESTIONS) + 1):
        assert answer(empty_record(), number) == []


def test_greedy_accuracy_is_raised_only_by_what_is_clearly_above_the_base_model(record: dict[str, Any]) -> None:
    said = answer(record, 1)
    assert said[0] == (
        "**Yes**, EM-FT clearly raised greedy accuracy on hard problems, but EM-RL-sequence and EM-RL-token did not."
    )
    assert said[1] == (
        "Greedily, on hard problems, EM-FT (62.0% [10.0, 90.0]) is clearly above the base model (+12.0 [+8.0, +16.0]) "
        "and Random reward (+12.0 [+8.0, +16.0]); clearly below SC-RL (-40.0 [-50.0, -30.0]); not clearly different "
        "from SSD (+1.0 [-2.0, +4.0])."
    )
    assert (
        "On plain problems EM-FT changed accuracy by +12.0 [+8.0, +16.0] sampled and +2.0 [+0.0, +5.0] greedy"
        in said[3]
    )
    for row in record["methods"]:
        row["greedy_over"] |= {"base": figure(*EDGE)} if row["greedy_over"] else {}
    assert answer(record, 1)[0] == (
        "**No**: none of EM-FT, EM-RL-sequence and EM-RL-token clearly raised greedy accuracy on hard problems."
    )
    record["methods"] = [row for row in record["methods"] if row["method"] in ("base", "em-ft")]
    assert answer(record, 1)[0] == "**No**: EM-FT did not clearly raise greedy accuracy on hard problems."


def test_em_inf_is_compared_with_every_row_at_equal_tuning_with_itself_inside_and_at_equal_entropy(
    record: dict[str, Any],
) -> None:
    tuned, inside, equal = answer(record, 2)
    assert tuned == (
        "**No**, not over greedy decoding on hard problems: with equal tuning EM-INF (80.0% [70.0, 90.0]) is clearly "
        "above sampling (+12.0 [+8.0, +16.0]); clearly below greedy (-40.0 [-50.0, -30.0]) and self-consistency (-12.0 "
        "[-16.0, -8.0]); not clearly different from min-p (-2.0 [-5.0, +0.0])."
    )
    assert inside == (
        "On hard problems EM-INF within another strategy clearly raises self-consistency (+12.0 [+8.0, +16.0])."
    )
    assert equal == (
        "At equal entropy, on hard problems, EM-INF as stored (80.0% [70.0, 90.0]) is clearly above top-p (+40.0 "
        "[+30.0, +50.0]); not clearly different from temperature (-1.0 [-4.0, +2.0])."
    )
    record["decoding"][3]["over_greedy"] = figure(*GAIN)
    assert answer(record, 2)[0].startswith("**Yes**, over greedy decoding on hard problems")


def test_a_run_past_its_peak_is_told_with_where_it_falls_and_when_the_guard_stops_it(record: dict[str, Any]) -> None:
    long, guarded = answer(record, 3)
    assert long == (
        "**EM-FT over 120 steps**: on hard validation problems the entropy of samples went from 0.060 to 0.010 nats "
        "per token. Sampled accuracy started at 40.0%, peaked at 60.0% at step 30 and ended at 20.0% (-20.0 [-10.0, "
        "+10.0] points from the start), first clearly below the peak at step 60. Greedy accuracy started at 50.0%, "
        "peaked at 55.0% at step 30 and ended at 50.0% (+0.0 [-10.0, +10.0] points from the start), at no reading "
        "clearly below the peak. The guard would not stop it; with labels it would stop it at step 90."
    )
    assert guarded == (
        "EM-RL-token (seed 0) with the guard on was stopped after step 30: on hard problems, sampled, 70.0% [60.0, "
        "80.0], +12.0 [+8.0, +16.0] points over the same run without it."
    )
    record["curves"] = [curve("em-ft", course(0.4, 0.6, 0.6, None), course(0.5, 0.5, 0.5, None), None)]
    assert "The guard would not stop it; with labels it would not stop it." in answer(record, 3)[0]


def test_what_rises_and_what_falls_among_several_answers(record: dict[str, Any]) -> None:
    base, em_inf, em_ft = answer(record, 4)
    assert base == (
        "The base model on hard problems, sampled: pass@1 70.0% [60.0, 80.0], pass@16 90.0% [80.0, 100.0] and vote@4 "
        "80.0% [70.0, 90.0]."
    )
    changes = (
        "pass@1 rises (+12.0 [+8.0, +16.0]), pass@16 falls (-40.0 [-50.0, -30.0]) and vote@4 does not clearly change "
        "(+1.0 [-2.0, +4.0])."
    )
    assert em_inf == f"EM-INF on hard problems, over the base model: {changes}"
    assert em_ft == f"EM-FT (seed 4) on hard problems, over the base model: {changes}"


def test_the_steps_of_right_answers_and_the_truth_of_all(record: dict[str, Any]) -> None:
    assert answer(record, 5) == [
        "On hard problems, 90.0% [10.0, 100.0] (EM-FT, sampling) to 99.0% [10.0, 100.0] (the base model, greedy) of "
        "the right answers also follow the generator's own steps.",
        "On hard problems the base model's equations are all true in 60.0% [10.0, 90.0] (sampling) and 80.0% [10.0, "
        "90.0] (greedy) of its answers.",
        "Sampled after EM-FT, on hard problems, they are all true less often (-40.0 [-50.0, -30.0] points).",
        "Sampled after EM-RL-sequence, on hard problems, they are all true not clearly more or less often (+1.0 [-2.0, "
        "+4.0] points).",
    ]


def test_the_diagnosis_ranks_well_only_if_the_correlation_is_clearly_above_nothing(record: dict[str, Any]) -> None:
    ranked, advice, predicted = answer(record, 6)
    assert ranked == (
        "**Yes** on hard problems: the rank correlation of its confidence measures with the gains of 3 methods is 0.80 "
        "[0.40, 0.95]; of all orders, 4.2% agree at least as well."
    )
    assert advice == (
        "Its advice on hard problems, with the measured gain in sampled accuracy: use: em-inf (+12.0 [+8.0, +16.0]) "
        "and em-ft (+1.0 [-2.0, +4.0]); doubtful: rent (-40.0 [-50.0, -30.0])."
    )
    assert predicted.endswith("it predicts +10.0 [+5.0, +15.0] points; measured: +12.0 [+8.0, +16.0].")
    record["diagnoses"] = [diagnosis({"mean": 0.8, "low": -0.1, "high": 1.0, "chance": 0.2}), diagnosis(None)]
    said = answer(record, 6)
    assert said[0].startswith("**No** on hard problems") and said[3].startswith("On hard problems there is no order")


def test_where_em_fails_is_said_as_plainly_as_where_it_helps(record: dict[str, Any]) -> None:
    fewer, others, diagnosed = answer(record, 7)
    assert fewer == (
        'On problems with "fewer" the misled model is right in 30.0% [20.0, 40.0] of its samples: EM-INF harms (30.0% '
        "[20.0, 40.0], -40.0 [-50.0, -30.0]); EM-FT, sampled makes no clear difference (30.0% [20.0, 40.0], +1.0 "
        "[-2.0, +4.0])."
    )
    assert others.endswith("EM-INF helps (30.0% [20.0, 40.0], +12.0 [+8.0, +16.0]).")
    assert diagnosed == '`em-hf diagnose` of it on problems with "fewer": harmful. It would.'


def test_the_settings_better_and_worse_than_sampling_are_counted(record: dict[str, Any]) -> None:
    assert answer(record, 8) == [
        "Of 3 settings on plain problems, 1 are clearly better than sampling and 1 clearly worse; accuracy goes from "
        "50.0% to 90.0%."
    ]
    assert LOSS[2] < 0 < GAIN[1] and NULL[1] < 0 < NULL[2], "the figures that this rests on"
