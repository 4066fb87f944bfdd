"""The record: figures of hand-made measurements, as one would work them out by hand."""

from pathlib import Path
from typing import Any

import pytest

from em_hf.lab.plan import (
    POCKET,
    Job,
    Measuring,
    Training,
    as_stored,
    at_equal_entropy,
    diagnosing,
    guarded_runs,
    long_runs,
    many_answers,
    matching,
    sweep,
    tuned,
    tuning,
)
from em_hf.lab.record import record_of
from em_hf.lab.run import GREEDY_FILE, open_folder, write_json
from em_hf.lab.settings import LabSettings
from em_hf.runs import PROBE_FILE, Reading, append_lines

SETTINGS = LabSettings(
    seeds={"em-ft": 2, "em-rl-token": 1, "random": 1},
    strategies=("greedy", "sampling", "min-p", "em-inf", "self-consistency", "em-inf+self-consistency"),
    problems=4,
    answers=2,
    pass_samples=4,
    chosen_on=2,
    kind_problems=2,
    diagnosed_on=2,
    thresholds=(0.1,),
    grad_steps=(1, 3),
    learning_rates=(0.1,),
    kl_weights=(0.0,),
    misled_seeds=1,
)


def put(folder: Path, job: Job, right: list[float] | None = None, **more: Any) -> None:
    if isinstance(job, Training):
        place = folder / "runs" / job.name
        place.mkdir(parents=True)
        write_json(place / "run.json", {"status": "finished", "compute": {"flops": 10.0, "seconds": 4.0}, **more})
        return
    found = {"right": right, "true": right, "faithful": right, "strategy": "words", "votes": {}}
    found |= {name: [2.0, 4.0] for name in ("tokens", "flops", "seconds")}
    write_json(folder / "measured" / f"{job.name}.json", {**found, **more})


def trained(run: str, way: str = "sampling", level: str = "plain") -> Measuring:
    return Measuring(run, way, 4, data=level)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    open_folder(tmp_path, SETTINGS)
    return tmp_path


def test_of_nothing_there_is_an_empty_record_that_names_all_that_is_missing(folder: Path) -> None:
    record = record_of(SETTINGS, folder)
    assert record["done"] == 0 and record["runs_done"] == 0 and record["runs_planned"] == 4
    for name in ("methods", "decoding", "curves", "guarded", "pass", "steps", "diagnoses", "sweep", "best"):
        assert record[name] == [], name
    assert {"em-ft-0", "em-ft-1", "long-em-ft-0", "guarded-em-rl-token-0", "misled-em-ft-0"} <= set(record["missing"])


def test_a_methods_row_is_the_mean_over_seeds_and_problems_and_its_differences(folder: Path) -> None:
    put(folder, as_stored(SETTINGS, "sampling", "hard"), [0.5, 0.0, 1.0, 0.5])
    put(folder, as_stored(SETTINGS, "greedy", "hard"), [1.0, 0.0, 1.0, 0.0])
    for seed, right in enumerate(([1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0])):
        put(folder, Training("em-ft", seed), compute={"flops": 10.0 * (seed + 1), "seconds": 4.0})
        put(folder, trained(f"em-ft-{seed}", level="hard"), right)
        put(folder, trained(f"em-ft-{seed}", "greedy", "hard"), right)
    put(folder, Training("random", 0))
    put(folder, trained("random-0", level="hard"), [1.0, 1.0, 1.0, 1.0])
    base, em, random = record_of(SETTINGS, folder)["methods"]
    assert {row["level"] for row in (base, em, random)} == {"hard"}, "nothing was measured on plain problems"
    assert (base["method"], base["sampled"]["mean"], base["greedy"]["mean"]) == ("base", 0.5, 0.5)
    assert base["sampled_over"] == base["greedy_over"] == {} and "flops" not in base
    assert em["seeds"] == 2 and em["sampled"]["mean"] == 0.75 and em["flops"] == 15.0 and em["labels"] == "none"
    assert em["sampled_over"]["base"]["mean"] == 0.25 and em["sampled_over"]["random"]["mean"] == -0.25
    assert em["greedy_over"]["base"]["mean"] == 0.25 and em["greedy_over"]["random"] is None, "not measured greedily"
    assert em["greedy_over"]["ssd"] is None, "not in this plan"
    assert random["greedy"] is None and set(random["sampled_over"]) == {"base"}, "only EM is compared with its rivals"
    for row in (em, random):
        over = row["sampled_over"]["base"]
        assert over["low"] <= over["mean"] <= over["high"]


def test_a_strategy_is_compared_with_greedy_sampling_em_inf_and_itself_without_em_inf(folder: Path) -> None:
    put(folder, as_stored(SETTINGS, "greedy", "plain"), [1.0, 1.0, 1.0, 0.0])
    put(folder, as_stored(SETTINGS, "sampling", "plain"), [0.5, 0.5, 0.0, 0.0])
    put(folder, as_stored(SETTINGS, "em-inf", "plain"), [1.0, 0.5, 0.5, 0.0])
    put(folder, at_equal_entropy(SETTINGS, "min-p", "plain"), [0.5, 0.0, 0.0, 0.0], strategy="as much entropy")
    put(folder, tuned(SETTINGS, "em-inf", "plain"), [1.0, 1.0, 0.5, 0.5])
    put(folder, tuned(SETTINGS, "min-p", "plain"), [0.5, 0.5, 0.0, 0.0])
    put(folder, tuned(SETTINGS, "self-consistency", "plain"), [1.0, 0.0, 0.0, 0.0])
    put(folder, tuned(SETTINGS, "em-inf+self-consistency", "plain"), [1.0, 1.0, 1.0, 0.0])
    trials = [{"strategy": "min-p", "settings": "words", "accuracy": 0.5}]
    put(folder, tuning(SETTINGS, "min-p", "plain"), trials=trials)
    nats = {"em-inf": 0.01, "min-p": 0.012, "sampling": 0.05}
    put(folder, matching(SETTINGS, "plain"), nats=nats, strategies={})
    rows = {(row["kind"], row["strategy"]): row for row in record_of(SETTINGS, folder)["decoding"]}
    min_p = rows["tuned", "min-p"]
    assert min_p["over_em_inf"] == {"mean": -0.5, "low": -0.5, "high": -0.5}, "the same loss on each problem"
    assert (min_p["over_greedy"]["mean"], min_p["over_sampling"]["mean"]) == (-0.5, 0.0)
    assert min_p["trials"] == trials and "over_without" not in min_p and "nats_left" not in min_p
    assert min_p["tokens"] == min_p["seconds"] == 3.0
    equal = rows["equal-entropy", "min-p"]
    assert equal["over_em_inf"]["mean"] == 0.125 - 0.5, "against EM-INF as stored, not tuned"
    assert equal["nats_left"] == 0.012 and equal["settings"] == "as much entropy"
    assert rows["tuned", "em-inf+self-consistency"]["over_without"]["mean"] == 0.5
    assert "over_em_inf" not in rows["tuned", "em-inf"] and "over_greedy" not in rows["stored", "greedy"]
    assert rows["stored", "greedy"]["over_em_inf"]["mean"] == 0.0


def test_pass_k_is_of_problems_with_any_right_answer_where_k_are_all_there_are(folder: Path) -> None:
    base = many_answers(SETTINGS, POCKET, "sampling", "hard")
    put(folder, base, [0.25, 0.0, 1.0, 0.75], votes={"4": [0.0, 0.0, 1.0, 1.0]})
    put(
        folder, many_answers(SETTINGS, "em-ft-1", "sampling", "hard"), [1.0, 0.0, 1.0, 0.0], votes={"4": [1.0, 0, 1, 0]}
    )
    for seed, right in enumerate(([0.0, 0.0], [1.0, 0.0])):
        put(folder, Training("em-ft", seed))
        for level in ("plain", "hard"):
            put(folder, Measuring(f"em-ft-{seed}", "sampling", 2, data=level, split="validation"), right)
    record = record_of(SETTINGS, folder)
    assert record["best"] == ["em-ft-1"]
    first, em = record["pass"]
    means = {name: figure["mean"] for name, figure in first["figures"].items()}
    assert means == {"pass@1": 0.5, "pass@4": 0.75, "vote@4": 0.5} and "over_base" not in first
    assert (em["level"], em["model"]) == ("hard", "em-ft-1")
    assert {name: one["mean"] for name, one in em["over_base"].items()} == {"pass@1": 0, "pass@4": -0.25, "vote@4": 0}


def test_steps_are_true_of_all_answers_and_the_generators_of_right_ones(folder: Path) -> None:
    right, true, own = [1.0, 0.5, 0.0, 0.5], [1.0, 1.0, 0.5, 0.5], [0.5, 0.5, 0.0, 0.0]
    put(folder, as_stored(SETTINGS, "sampling", "plain"), right, true=true, faithful=own)
    put(folder, trained("em-ft-0"), [0.0] * 4, true=[0.0] * 4, faithful=[0.0] * 4)
    put(folder, Training("em-ft", 0))
    base, em = record_of(SETTINGS, folder)["steps"]
    assert base["true"]["mean"] == 0.75 and base["faithful"]["mean"] == 0.5, "half of the right ones"
    assert base["over_base"] is None and em["over_base"]["mean"] == -0.75
    assert em["faithful"] is None, "none is right"


def test_a_curve_is_of_a_watched_run_and_the_long_ones_come_first(folder: Path) -> None:
    (long, *_) = long_runs(SETTINGS)
    for run in (Training("random", 0, watch=True), long):
        put(folder, run)
        for name, marks in ((PROBE_FILE, (1.0, 0.0)), (GREEDY_FILE, (1.0, 1.0))):
            readings = [Reading(step=step, entropy=0.1, accuracy=sum(marks) / 2, right=marks) for step in (0, 10)]
            append_lines(folder / "runs" / run.name / name, readings)
    first, second = record_of(SETTINGS, folder)["curves"]
    assert (first["method"], first["long"], second["method"], second["long"]) == ("em-ft", True, "random", False)
    assert first["readings"][1] == {"step": 10, "entropy": 0.1, "sampled": 0.5, "greedy": 1.0}


def test_the_guards_verdict_stands_beside_the_same_seed_without_it(folder: Path) -> None:
    verdict = {"collapsed": True, "step": 30, "why": "the KL", "best_step": 20}
    (run,) = guarded_runs(SETTINGS)
    put(folder, Training("em-rl-token", 0))
    put(folder, run, guard=verdict)
    put(folder, trained("guarded-em-rl-token-0"), [1.0, 1.0, 0.0, 0.0])
    put(folder, trained("em-rl-token-0"), [0.0, 0.0, 0.0, 1.0])
    (row,) = record_of(SETTINGS, folder)["guarded"]
    assert {name: row[name] for name in verdict} == verdict and (row["run"], row["level"]) == ("em-rl-token-0", "plain")
    assert row["sampled"]["mean"] == 0.5 and row["unguarded"]["mean"] == 0.25 and row["gain"]["mean"] == 0.25


def test_the_diagnosis_is_ranked_against_what_was_gained(folder: Path) -> None:
    put(folder, as_stored(SETTINGS, "sampling", "plain"), [0.5, 0.5, 0.5, 0.5])
    put(folder, as_stored(SETTINGS, "em-inf", "plain"), [1.0, 1.0, 1.0, 1.0])
    put(folder, trained("em-ft-0"), [1.0, 1.0, 1.0, 0.5])
    put(folder, trained("em-rl-token-0"), [0.0, 0.0, 0.0, 0.0])
    for method in ("em-ft", "em-rl-token"):
        put(folder, Training(method, 0))
    figure = {"low": 0.5, "high": 1.0}
    measures = {"sequence": {"within": {"mean": 0.9, **figure}}}
    measures["token entropy, summed"] = {"within": {"mean": 0.6, **figure}}
    measures |= {name: {"within": None} for name in ("token entropy, mean", "self-certainty", "self-consistency")}
    advice = dict.fromkeys(("em-inf", "em-ft", "em-rl-sequence"), "use")
    advice |= dict.fromkeys(("em-rl-token", "rent", "self-certainty", "sc-rl"), "doubtful")
    said = {"verdict": "likely", "sentence": "It will.", "measures": measures, "advice": advice}
    said["predictions"] = [{"gain": {"mean": 0.4, "low": 0.3, "high": 0.5}}]
    put(folder, diagnosing(SETTINGS, POCKET, "plain"), **said)
    (row,) = record_of(SETTINGS, folder)["diagnoses"]
    assert [(one["method"], one["advice"], one["auroc"], one["gain"]["mean"]) for one in row["methods"]] == [
        ("em-inf", "use", 0.9, 0.5),
        ("em-ft", "use", 0.9, 0.375),
        ("em-rl-token", "doubtful", 0.6, -0.5),
    ]
    # Ranks 2.5, 2.5, 1 against 3, 2, 1.
    assert row["agreement"]["mean"] == pytest.approx(0.866, abs=1e-3)
    assert row["em_inf_predicted"]["mean"] == 0.4


def test_the_misled_model_is_compared_with_its_own_sampling_on_each_kind(folder: Path) -> None:
    put(folder, Measuring("pocket-misled", "sampling", 2, data="fewer"), [1.0, 0.0])
    put(folder, Measuring("pocket-misled", "em-inf", 2, data="fewer"), [0.0, 0.0])
    put(folder, Measuring("misled-em-ft-0", "sampling", 2, data="fewer"), [1.0, 0.0])
    put(folder, diagnosing(SETTINGS, "pocket-misled", "fewer"), verdict="harmful", sentence="Do not.")
    found = record_of(SETTINGS, folder)["misled"]
    rows = {row["way"]: row for row in found["rows"]}
    assert set(rows) == {"sampling", "EM-INF", "EM-FT, sampled"} and rows["sampling"]["over_sampling"] is None
    assert rows["EM-INF"]["over_sampling"]["mean"] == -0.5 and rows["EM-FT, sampled"]["over_sampling"]["mean"] == 0.0
    assert found["diagnoses"] == [
        {"model": "pocket-misled", "data": "fewer", "verdict": "harmful", "sentence": "Do not."}
    ]


def test_the_sweeps_points_are_compared_with_plain_sampling(folder: Path) -> None:
    put(folder, as_stored(SETTINGS, "sampling", "plain"), [0.5, 0.5, 0.5, 0.5])
    first, *_ = sweep(SETTINGS)
    put(folder, first, [1.0, 1.0, 1.0, 0.0])
    (row,) = record_of(SETTINGS, folder)["sweep"]
    assert row["point"] == {"threshold": 0.1, "n_grad_steps": 1} and row["over_sampling"]["mean"] == 0.25
