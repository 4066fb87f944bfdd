"""What the lab does: every method with its seeds, every strategy on both levels with equal tuning, nothing twice."""

from dataclasses import replace

import pytest

from em_hf.evaluation.strategies import STRATEGIES
from em_hf.evaluation.tuning import SPACES
from em_hf.lab.plan import (
    AT_EQUAL_ENTROPY,
    Diagnosing,
    Job,
    Matching,
    Measuring,
    Training,
    Tuning,
    family,
    first_chains,
    last_chains,
    sampled_answers,
    sweep,
    trainings,
)
from em_hf.lab.settings import LEVELS, LabSettings, lab_settings
from em_hf.methods import METHODS
from em_hf.training.settings import recipe_settings

BASE = "pocket-reasoner"
BEST = ["em-ft-2", "em-rl-sequence-2", "rloo-1"]


def all_jobs(settings: LabSettings | None = None, best: list[str] = BEST) -> list[Job]:
    settings = settings or lab_settings()
    return [job for chain in first_chains(settings) + last_chains(settings, best) for job in chain]


def test_every_method_has_three_training_seeds() -> None:
    found = trainings(lab_settings())
    seeds = {method: sorted(run.seed for run in found if run.method == method) for method in METHODS}
    assert seeds == {method: [0, 1, 2] for method in METHODS}
    assert all(run.steps is None and not run.guard for run in found), "the recipe's steps, the whole run"


def test_every_run_is_measured_sampled_and_greedily_on_both_levels() -> None:
    jobs = all_jobs()
    for run in trainings(lab_settings()):
        for level in LEVELS:
            for strategy in ("sampling", "greedy"):
                assert Measuring(run.name, strategy, 200, data=level) in jobs, run.name


def test_nothing_is_chosen_on_test_problems() -> None:
    """Runs are chosen, strategies tuned, entropies matched and diagnoses made on validation problems only."""
    jobs = all_jobs()
    for method in ("em-ft", "em-rl-sequence", "em-rl-token", "rloo"):
        for level in LEVELS:
            assert Measuring(f"{method}-0", "sampling", 100, data=level, split="validation") in jobs
    # The others have no split to give: measure.py always takes validation problems.
    assert not any(hasattr(job, "split") for job in jobs if isinstance(job, Tuning | Matching | Diagnosing))


def test_every_strategy_is_measured_on_both_levels_and_tuned_by_as_many_trials_on_as_many_problems() -> None:
    jobs = all_jobs()
    for level in LEVELS:
        tunings = [job for job in jobs if isinstance(job, Tuning) and job.data == level]
        assert {job.strategy for job in tunings} == set(SPACES) and len(tunings) == len(SPACES)
        assert {(job.trials, job.problems) for job in tunings} == {(5, 80)}
        of = [job for job in jobs if isinstance(job, Measuring) and (job.model, job.data) == (BASE, level)]
        ways = {kind: {job.strategy for job in of if job.settings == kind} for kind in ("tuned", "equal-entropy")}
        assert ways == {"tuned": set(SPACES), "equal-entropy": set(AT_EQUAL_ENTROPY)}
        assert ways["tuned"] | {"greedy", "sampling"} == set(STRATEGIES)
        for strategy in ("sampling", "em-inf"):
            assert Measuring(BASE, strategy, 200, data=level, samples=16) in of
        assert Measuring(BASE, "greedy", 200, data=level) in of


def test_settings_are_found_before_they_are_used_and_runs_trained_before_they_are_measured() -> None:
    for settings in (lab_settings(), lab_settings(quick=True)):
        for chain in first_chains(settings):
            before: list[Job] = []
            for job in chain:
                if isinstance(job, Measuring) and job.settings == "tuned":
                    assert any(isinstance(b, Tuning) and b.strategy == job.strategy for b in before)
                if isinstance(job, Measuring) and job.settings == "equal-entropy":
                    assert any(isinstance(b, Matching) and b.data == job.data for b in before)
                if not isinstance(job, Training):
                    trained = {b.name for b in before if isinstance(b, Training)}
                    assert job.model in trained | {BASE, "pocket-misled"}
                before.append(job)


@pytest.mark.parametrize("options", [{}, {"quick": True}], ids=str)
def test_no_two_jobs_have_one_name(options: dict[str, bool]) -> None:
    names = [job.name for job in all_jobs(lab_settings(**options))]
    assert len(names) == len(set(names))


def test_the_best_runs_are_measured_with_as_many_answers_as_the_base_model() -> None:
    jobs = all_jobs()
    for model in BEST:
        for level in LEVELS:
            assert Measuring(model, "sampling", 200, data=level, samples=16) in jobs


def test_a_run_of_each_em_method_goes_twice_as_far_and_every_method_has_a_run_that_is_watched() -> None:
    jobs = all_jobs()
    long = {job.name: job for job in jobs if isinstance(job, Training) and job.long}
    assert set(long) == {"long-em-ft-0", "long-em-rl-sequence-0", "long-em-rl-token-0"}
    for job in long.values():
        assert job.steps == 2 * recipe_settings("pocket", job.method)["steps"]
    watched = [job.method for job in jobs if isinstance(job, Training) and job.watch]
    assert sorted(watched) == sorted(METHODS)


def test_the_method_that_collapses_runs_with_the_guard_too_under_another_name() -> None:
    runs = [job for job in all_jobs() if isinstance(job, Training) and job.guard]
    assert [run.name for run in runs] == [f"guarded-em-rl-token-{seed}" for seed in range(2)]


def test_the_misled_model_is_measured_before_and_after_em_on_its_kind_and_on_others_and_diagnosed() -> None:
    jobs = all_jobs()
    for data in ("fewer", "others"):
        for strategy in ("sampling", "greedy", "em-inf"):
            assert Measuring("pocket-misled", strategy, 200, data=data) in jobs
        for seed in range(3):
            assert Measuring(f"misled-em-ft-{seed}", "sampling", 200, data=data) in jobs
        assert Diagnosing("pocket-misled", data, 100) in jobs
    assert Training("em-ft", 0, "pocket-misled") in jobs
    assert {Diagnosing(BASE, level, 100) for level in LEVELS} <= set(jobs)


def test_the_sweep_varies_two_settings_at_a_time_on_one_level() -> None:
    jobs = list(sweep(lab_settings()))
    points = [dict(job.entropy_min) for job in jobs]
    assert {job.data for job in jobs} == {"plain"} and len(points) == 5 * 4 + 4 * 3
    assert {frozenset(point) for point in points} == {
        frozenset({"threshold", "n_grad_steps"}),
        frozenset({"learning_rate", "kl_weight"}),
    }


def test_quick_is_a_sketch_and_seeds_is_a_most() -> None:
    quick, whole = lab_settings(quick=True), lab_settings()
    assert set(quick.seeds.values()) == {1} and set(quick.seeds) < set(METHODS)
    assert set(quick.strategies) < set(whole.strategies) and quick.problems < 20 and quick.steps == 1
    capped = lab_settings(seeds=2)
    assert set(capped.seeds.values()) == {2} and capped.misled_seeds == 2 and capped.problems == 200
    assert set(lab_settings(seeds=9).seeds.values()) == {3}
    assert LabSettings.from_dict(whole.to_dict()) == whole


def test_the_account_of_answers_counts_votes_drafts_trials_and_rollouts() -> None:
    def a_step(method: str) -> int:
        recipe = recipe_settings("pocket", method)
        return recipe["batch_size"] * recipe["num_generations"]

    settings = replace(lab_settings(), watch_problems=10, watch_every=20)
    cases: list[tuple[Job, str, int]] = [
        (Measuring(BASE, "sampling", 5, samples=16), "strategies", 80),
        (Measuring(BASE, "self-consistency", 5, settings="tuned"), "strategies", 20),
        (Measuring(BASE, "em-inf", 5, entropy_min=(("threshold", 0.1),)), "sweep", 5),
        (Measuring("em-ft-0", "sampling", 5), "trained models", 5),
        (Measuring("em-ft-0", "sampling", 5, samples=16), "pass@k", 80),
        (Measuring("misled-em-ft-0", "greedy", 5, data="fewer"), "misled model", 5),
        (Tuning(BASE, "refinement", "hard", 6, 10), "tuning", 6 * 10 * 3),
        (Matching(BASE, "hard", 7), "tuning", 7),
        (Diagnosing(BASE, "hard", 10), "diagnoses", 80),
        (Training("sft", 0), "training", 0),
        # Readings of ten problems after 0, 20 and 40 steps, sampled and greedy.
        (Training("em-ft", 0, steps=40, watch=True), "training", 40 * a_step("em-ft") + 3 * 2 * 10),
        (Training("rloo", 0, steps=10), "training", 10 * a_step("rloo")),
    ]
    for job, part, answers in cases:
        assert (family(job), sampled_answers(settings, job)) == (part, answers), job
