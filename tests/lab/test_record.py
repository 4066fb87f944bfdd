"""The record: figures of hand-made measurements, as one would work them out by hand."""

from pathlib import Path
from typing import Any

import pytest

from em_hf.lab.plan import EM_INF, Diagnosing, Job, LabSettings, Matching, Measuring, Training, of_strategy, sweep
from em_hf.lab.record import record_of
from em_hf.lab.run import open_folder, write_json

SETTINGS = LabSettings(
    seeds={"em-ft": 2, "rloo": 1},
    problems=4,
    hard_problems=3,
    kind_problems=2,
    answers=2,
    chosen_on=2,
    pass_samples=4,
    thresholds=(0.1,),
    grad_steps=(1, 3),
    learning_rates=(0.1,),
    kl_weights=(0.0,),
    misled_seeds=1,
)
BASE = "pocket-reasoner"


def put(folder: Path, job: Job, right: list[float] | None = None, **more: Any) -> None:
    if isinstance(job, Training):
        (folder / "runs" / job.name).mkdir(parents=True)
        write_json(folder / "runs" / job.name / "run.json", {"status": "finished", **more})
        return
    found = {
        "right": right,
        "steps": right,
        "strategy": "words",
        **{name: [2.0, 4.0] for name in ("tokens", "flops", "seconds")},
    }
    write_json(folder / "measured" / f"{job.name}.json", {**found, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    open_folder(tmp_path, SETTINGS)
    return tmp_path


def test_of_nothing_there_is_an_empty_record_that_names_all_that_is_missing(folder: Path) -> None:
    record = record_of(SETTINGS, folder)
    assert record["done"] == 0 and record["runs_done"] == 0 and record["runs_planned"] == 3
    assert record["methods"] == record["decoding"] == record["pass"] == record["sweep"] == record["best"] == []
    assert {"em-ft-0", "em-ft-1", "rloo-0", "misled-em-ft-0", f"{BASE}_equal-entropy_2"} <= set(record["missing"])


def test_a_methods_row_is_the_mean_over_seeds_and_problems_and_its_differences(folder: Path) -> None:
    put(folder, of_strategy(SETTINGS, BASE, "sampling"), [0.5, 0.0, 1.0, 0.5])
    for seed, right in enumerate(([1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0])):
        compute = {"flops": 10.0 * (seed + 1), "seconds": 4.0}
        put(folder, Training("em-ft", seed, BASE), compute=compute)
        put(folder, Measuring(f"em-ft-{seed}", "sampling", 4), right)
    put(folder, Training("rloo", 0, BASE), compute={"flops": 60.0, "seconds": 8.0})
    put(folder, Measuring("rloo-0", "sampling", 4), [1.0, 1.0, 1.0, 1.0])
    base, em, rloo = record_of(SETTINGS, folder)["methods"]
    assert base["method"] == "base" and base["sampled"]["mean"] == 0.5 and base["over_base"] is None
    assert em["seeds"] == 2 and em["sampled"]["mean"] == 0.75 and em["seed_means"] == [0.75, 0.75]
    assert em["over_base"]["mean"] == 0.25 and em["over_rloo"]["mean"] == -0.25 and em["over_grpo"] is None
    assert em["flops"] == 15.0 and em["seconds"] == 4.0 and em["labels"] == "none"
    assert base["hard_greedy"] is em["hard_greedy"] is em["hard_greedy_over_base"] is None
    assert rloo["over_rloo"] is None and rloo["over_base"]["mean"] == 0.5 and rloo["labels"] == "answers"
    for row in (em, rloo):
        assert row["over_base"]["low"] <= row["over_base"]["mean"] <= row["over_base"]["high"]
    assert (rloo["sampled"]["low"], rloo["sampled"]["high"]) == (1.0, 1.0)


def test_on_hard_problems_a_method_is_compared_with_the_base_models_greedy_answers(folder: Path) -> None:
    put(folder, of_strategy(SETTINGS, BASE, "sampling"), [0.5, 0.0, 1.0, 0.5])
    put(folder, of_strategy(SETTINGS, BASE, "greedy", "hard"), [1.0, 0.0, 0.0])
    put(folder, Training("rloo", 0, BASE), compute={"flops": 60.0, "seconds": 8.0})
    put(folder, Measuring("rloo-0", "sampling", 4), [1.0, 1.0, 1.0, 1.0])
    put(folder, Measuring("rloo-0", "greedy", 3, data="hard"), [1.0, 1.0, 0.0])
    base, rloo = record_of(SETTINGS, folder)["methods"]
    assert base["hard_greedy"]["mean"] == pytest.approx(1 / 3) and base["hard_greedy_over_base"] is None
    assert rloo["hard_greedy"]["mean"] == pytest.approx(2 / 3) and rloo["hard_sampled"] is None
    assert rloo["hard_greedy_over_base"]["mean"] == pytest.approx(1 / 3)


def test_a_strategy_is_compared_with_em_inf_problem_by_problem(folder: Path) -> None:
    put(folder, of_strategy(SETTINGS, BASE, "em-inf"), [1.0, 1.0, 0.5, 0.5])
    put(folder, of_strategy(SETTINGS, BASE, "min-p"), [0.5, 0.5, 0.0, 0.0])
    nats = {"em-inf": 0.01, "min-p": 0.012, "sampling": 0.05}
    put(folder, Matching(BASE, 2), nats=nats, settings={})
    rows = {row["strategy"]: row for row in record_of(SETTINGS, folder)["decoding"]}
    assert rows["min-p"]["em_inf_over_it"] == {"mean": 0.5, "low": 0.5, "high": 0.5}, "the same gain on each problem"
    assert "em_inf_over_it" not in rows["em-inf"] and rows["min-p"]["nats_left"] == 0.012
    assert rows["em-inf"]["tokens"] == rows["em-inf"]["seconds"] == 3.0


def test_pass_k_is_of_problems_with_any_right_answer_where_k_are_all_there_are(folder: Path) -> None:
    put(folder, Measuring(BASE, "sampling", 4, samples=4), [0.25, 0.0, 1.0, 0.75], votes_4=[0.0, 0.0, 1.0, 1.0])
    put(folder, Measuring("rloo-0", "sampling", 4, samples=4), [1.0, 0.0, 1.0, 0.0])
    base, rloo = record_of(SETTINGS, folder)["pass"]
    assert base["pass_1"]["mean"] == 0.5 and base["pass_k"]["mean"] == 0.75 and "over_base_1" not in base
    assert base["votes_4"]["mean"] == 0.5 and base["data"] == "test"
    assert rloo["over_base_1"]["mean"] == 0.0 and rloo["over_base_k"]["mean"] == -0.25


def test_the_misled_model_is_compared_with_its_own_sampling_on_each_kind(folder: Path) -> None:
    put(folder, Measuring("pocket-misled", "sampling", 2, data="fewer"), [1.0, 0.0])
    put(folder, Measuring("pocket-misled", "em-inf", 2, data="fewer"), [0.0, 0.0])
    put(folder, Measuring("misled-em-ft-0", "sampling", 2, data="fewer"), [1.0, 0.0])
    put(folder, Diagnosing("pocket-misled", "fewer", 2), verdict="harmful", sentence="Do not.")
    found = record_of(SETTINGS, folder)["misled"]
    rows = {row["way"]: row for row in found["rows"]}
    assert set(rows) == {"sampling", "EM-INF", "EM-FT, sampled"} and rows["sampling"]["over_sampling"] is None
    assert rows["EM-INF"]["over_sampling"]["mean"] == -0.5 and rows["EM-FT, sampled"]["over_sampling"]["mean"] == 0.0
    assert found["diagnoses"] == [
        {"model": "pocket-misled", "data": "fewer", "verdict": "harmful", "sentence": "Do not."}
    ]


def test_the_guards_verdict_stands_beside_the_same_seed_without_it(folder: Path) -> None:
    settings = LabSettings(**{**SETTINGS.to_dict(), "seeds": {"em-rl-token": 1}})
    verdict = {"collapsed": True, "step": 30, "why": "the KL", "best_step": 20}
    compute = {"flops": 1.0, "seconds": 1.0}
    put(folder, Training("em-rl-token", 0, BASE), compute=compute)
    put(folder, Training("em-rl-token", 0, BASE, guard=True), compute=compute, guard=verdict)
    put(folder, Measuring("guarded-em-rl-token-0", "sampling", 4), [1.0, 1.0, 0.0, 0.0])
    put(folder, Measuring("em-rl-token-0", "sampling", 4), [0.0, 0.0, 0.0, 1.0])
    (row,) = record_of(settings, folder)["guarded"]
    assert {name: row[name] for name in verdict} == verdict and (row["method"], row["seed"]) == ("em-rl-token", 0)
    assert row["sampled"]["mean"] == 0.5 and row["unguarded"]["mean"] == 0.25


def test_the_sweeps_points_are_compared_with_plain_sampling(folder: Path) -> None:
    put(folder, of_strategy(SETTINGS, BASE, "sampling"), [0.5, 0.5, 0.5, 0.5])
    first, *_ = sweep(SETTINGS, BASE)
    put(folder, first, [1.0, 1.0, 1.0, 0.0])
    (row,) = record_of(SETTINGS, folder)["sweep"]
    assert row["point"] == {"threshold": 0.1, "n_grad_steps": 1} and row["over_sampling"]["mean"] == 0.25
    assert row["settings"] == {"threshold": 0.1, "n_grad_steps": 1, "learning_rate": EM_INF["learning_rate"]} | {
        "kl_weight": EM_INF["kl_weight"]
    }
