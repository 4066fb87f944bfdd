"""What the lab does: every method with its seeds, every strategy on the base and the best models, nothing twice."""

import pytest

from em_hf.lab.plan import (
    EM_INF,
    OF_THE_SWEEP,
    STRATEGIES,
    Diagnosing,
    Job,
    Matching,
    Measuring,
    Training,
    first_chains,
    lab_settings,
    last_chains,
    sweep,
    trainings,
)
from em_hf.methods import METHODS
from em_hf.pocket import em_inf_settings


def all_jobs(best: tuple[str, ...] = ("em-ft-2", "em-rl-sequence-4"), **options: bool) -> list[Job]:
    settings = lab_settings(**options)
    return [job for chain in first_chains(settings) + last_chains(settings, list(best)) for job in chain]


def test_em_and_rloo_have_five_training_seeds_and_the_other_methods_three() -> None:
    found = trainings(lab_settings())
    seeds = {method: sorted(run.seed for run in found if run.method == method) for method in METHODS}
    five = ("em-ft", "em-rl-sequence", "em-rl-token", "rloo")
    assert seeds == {method: list(range(5 if method in five else 3)) for method in METHODS}
    assert all(run.steps is None and not run.guard for run in found), "the recipe's steps, the whole run"


def test_every_run_is_measured_sampled_and_greedily_on_500_plain_and_300_hard_held_out_problems() -> None:
    jobs = all_jobs()
    for run in trainings(lab_settings()):
        for strategy in ("sampling", "greedy"):
            assert Measuring(run.name, strategy, 500) in jobs, run.name
            assert Measuring(run.name, strategy, 300, data="hard") in jobs, run.name


def test_every_strategy_pass_16_and_the_sweep_are_on_the_base_and_both_best_models_and_with_full_on_all() -> None:
    def measured(jobs: list[Job], model: str) -> tuple[set[str], set[int], int]:
        of = [job for job in jobs if isinstance(job, Measuring) and job.model == model and job.data == "test"]
        swept = [job for job in of if job.entropy_min]
        assert Matching(model, 200) in jobs or model not in ("pocket-reasoner", "em-ft-2", "em-rl-sequence-4")
        return {job.strategy for job in of}, {job.samples for job in of}, len(swept)

    jobs = all_jobs()
    for model in ("pocket-reasoner", "em-ft-2", "em-rl-sequence-4"):
        strategies, samples, points = measured(jobs, model)
        assert strategies == set(STRATEGIES) and 16 in samples and points == 32, model
    assert measured(jobs, "grpo-1") == ({"sampling", "greedy"}, {1}, 0)
    everything = all_jobs(full=True)
    for run in trainings(lab_settings()):
        strategies, samples, points = measured(everything, run.name)
        assert strategies == set(STRATEGIES) and 16 in samples and points == 32, run.name


@pytest.mark.parametrize("options", [{}, {"quick": True}, {"full": True}], ids=str)
def test_no_two_jobs_have_one_name_and_every_model_is_trained_before_it_is_measured(options: dict[str, bool]) -> None:
    settings = lab_settings(**options)
    chains = first_chains(settings) + last_chains(settings, ["em-ft-0", "em-rl-token-0"])
    by_name: dict[str, Job] = {}
    for job in (job for chain in chains for job in chain):
        assert by_name.setdefault(job.name, job) == job
    for chain in first_chains(settings):
        trained = {job.name for job in chain if isinstance(job, Training)}
        for job in chain:
            if isinstance(job, (Measuring, Matching, Diagnosing)):
                assert job.model in trained | {"pocket-reasoner", "pocket-misled"}


def test_the_misled_model_is_measured_before_and_after_em_on_its_kind_and_on_others_and_diagnosed() -> None:
    jobs = all_jobs()
    for data in ("fewer", "others"):
        for strategy in ("sampling", "greedy", "em-inf"):
            assert Measuring("pocket-misled", strategy, 300, data=data) in jobs
        for seed in range(3):
            assert Measuring(f"misled-em-ft-{seed}", "sampling", 300, data=data) in jobs
        assert Diagnosing("pocket-misled", data, 100) in jobs
    assert Training("em-ft", 0, "pocket-misled") in jobs and Diagnosing("pocket-reasoner", "test", 100) in jobs


def test_the_sweep_varies_two_settings_at_a_time_about_those_stored_with_the_model() -> None:
    settings = lab_settings()
    points = [dict(job.entropy_min) for job in sweep(settings, "pocket-reasoner")]
    assert {frozenset(point) for point in points} == {
        frozenset({"threshold", "n_grad_steps"}),
        frozenset({"learning_rate", "kl_weight"}),
    }
    assert len(points) == len({tuple(sorted(point.items())) for point in points}) == 5 * 4 + 4 * 3
    stored = em_inf_settings()
    assert {name: EM_INF[name] for name in OF_THE_SWEEP} == {name: stored[name] for name in OF_THE_SWEEP}
    for grid in (("threshold", "n_grad_steps"), ("learning_rate", "kl_weight")):
        assert {name: stored[name] for name in grid} in points


def test_the_method_that_collapses_runs_with_the_guard_too_under_another_name() -> None:
    runs = [job for job in all_jobs() if isinstance(job, Training) and job.guard]
    assert [run.name for run in runs] == [f"guarded-em-rl-token-{seed}" for seed in range(2)]


def test_quick_has_every_method_once_and_seeds_is_a_most() -> None:
    quick = lab_settings(quick=True)
    assert quick.seeds == dict.fromkeys(METHODS, 1) and quick.problems < 100 and quick.steps is not None
    capped = lab_settings(seeds=2)
    assert set(capped.seeds.values()) == {2} and capped.misled_seeds == 2 and capped.problems == 500
    assert set(lab_settings(seeds=9).seeds.values()) == {5, 3}
