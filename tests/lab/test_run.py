"""The lab's jobs: each done once, however often the lab is cut off; the best runs; folders that are not its own."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from em_hf.data import load_prompts
from em_hf.lab import run as lab
from em_hf.lab.plan import Job, Measuring, Training, first_chains, last_chains, matching, on_levels, tuning
from em_hf.lab.settings import LabSettings
from em_hf.pocket import problems
from em_hf.training.settings import recipe_settings

SMALL = LabSettings(
    seeds={"em-ft": 2, "em-rl-sequence": 2, "rloo": 1},
    train_levels=("plain", "hard"),
    steps=1,
    problems=4,
    kind_problems=4,
    chosen_on=4,
    strategies=("greedy", "sampling", "min-p", "em-inf"),
    pass_samples=2,
    thresholds=(0.1,),
    grad_steps=(1,),
    learning_rates=(0.1,),
    kl_weights=(0.0,),
    misled_seeds=1,
)


class Pretended:
    """Does a job in no time: notes its name, and leaves what a done one leaves. It is cut off at job number `at`."""

    def __init__(self, at: int | None = None, right: Callable[[Job], list[float]] = lambda job: [1.0, 0.0]) -> None:
        self.names: list[str] = []
        self.at, self.right = at, right

    def __call__(self, job: Job, folder: Path) -> None:
        if len(self.names) == self.at:
            raise KeyboardInterrupt
        self.names.append(job.name)
        if isinstance(job, Training):
            place = folder / "runs" / job.name
            place.mkdir(exist_ok=True)
            facts = {"status": "finished", "compute": {"flops": 1.0, "seconds": 2.0}}
            lab.write_json(place / "run.json", facts)
        else:
            lab.write_json(folder / "measured" / f"{job.name}.json", {"right": self.right(job)})


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pretended]:
    def make(**options: Any) -> Pretended:
        made = Pretended(**options)
        monkeypatch.setattr(lab, "do", made)
        return made

    return make


def test_a_lab_that_is_cut_off_anywhere_goes_on_with_what_is_missing_and_does_nothing_twice(
    pretend: Callable[..., Pretended], tmp_path: Path
) -> None:
    whole = pretend()
    lab.run_lab(SMALL, tmp_path / "whole", jobs=1)
    best = lab.best_runs(SMALL, tmp_path / "whole")
    planned = {job.name for chain in first_chains(SMALL) + last_chains(SMALL, best) for job in chain}
    assert len(whole.names) == len(set(whole.names)) and set(whole.names) == planned
    for at in (0, 7, 20, len(planned) - 1):
        first = pretend(at=at)
        with pytest.raises(KeyboardInterrupt):
            lab.run_lab(SMALL, tmp_path / str(at), jobs=1)
        second = pretend()
        lab.run_lab(SMALL, tmp_path / str(at), jobs=1)
        assert first.names + second.names == whole.names
        third = pretend()
        lab.run_lab(SMALL, tmp_path / str(at), jobs=1)
        assert third.names == []


def test_when_one_of_several_processes_is_cut_off_the_others_begin_nothing_more(
    pretend: Callable[..., Pretended], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab.open_folder(tmp_path, SMALL)
    monkeypatch.setattr(lab, "_stopping", threading.Event())
    first, second, *_ = first_chains(SMALL)
    done = pretend(at=1)
    with pytest.raises(KeyboardInterrupt):
        lab.do_chain(first, tmp_path)
    lab.do_chain(second, tmp_path)
    assert done.names == [first[0].name]


def test_more_seeds_go_on_from_fewer(pretend: Callable[..., Pretended], tmp_path: Path) -> None:
    few = pretend()
    lab.run_lab(SMALL, tmp_path, jobs=1)
    more = pretend()
    lab.run_lab(LabSettings(**{**SMALL.to_dict(), "seeds": {**SMALL.seeds, "rloo": 2}}), tmp_path, jobs=1)
    measured = {job.name for job in on_levels(SMALL, "rloo-1", "sampling", "greedy")}
    chosen_by = {f"rloo-1_sampling_{level}_validation_4x1" for level in ("plain", "hard")}
    assert set(more.names) == {"rloo-1", *measured, *chosen_by}
    assert not set(more.names) & set(few.names)


def test_a_run_that_was_cut_off_is_not_done_and_one_without_a_mark_neither(tmp_path: Path) -> None:
    lab.open_folder(tmp_path, SMALL)
    job = Training("em-ft", 0, steps=1)
    assert not lab.is_done(job, tmp_path) and lab.result_of(job, tmp_path) is None
    (tmp_path / "runs" / job.name).mkdir()
    for status, done in (("running", False), ("interrupted", False), ("failed", False), ("finished", True)):
        lab.write_json(tmp_path / "runs" / job.name / "run.json", {"status": status})
        assert lab.is_done(job, tmp_path) is done


def test_the_best_run_of_em_ft_of_em_rl_and_of_rloo_is_that_which_is_right_most_often_on_validation(
    pretend: Callable[..., Pretended], tmp_path: Path
) -> None:
    """By the mean of both levels."""
    shares = {"em-ft-0": (0.5, 0.9), "em-ft-1": (0.75, 0.5)}
    shares |= {"em-rl-sequence-0": (0.25, 0.25), "em-rl-sequence-1": (0.0, 0.25), "rloo-0": (1.0, 1.0)}

    def right(job: Job) -> list[float]:
        # On test problems the other way round: they must not choose.
        on_validation = isinstance(job, Measuring) and job.split == "validation"
        share = shares.get(getattr(job, "model", ""), (0.0, 0.0))[getattr(job, "data", "") == "hard"]
        return [share if on_validation else 1 - share]

    pretend(right=right)
    lab.run_lab(SMALL, tmp_path, jobs=1)
    assert lab.best_runs(SMALL, tmp_path) == ["em-ft-0", "em-rl-sequence-0", "rloo-0"]


def test_a_folder_of_something_else_or_of_a_lab_with_other_settings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="is there and is not a lab's"):
        lab.open_folder(tmp_path / "mine", SMALL)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is there and is not a lab's"):
        lab.open_folder(tmp_path / "file", SMALL)
    lab.open_folder(tmp_path / "lab", SMALL)
    lab.open_folder(tmp_path / "lab", SMALL)
    with pytest.raises(ValueError, match=r"other settings \(problems was 4, now 500\): give another --output"):
        lab.open_folder(tmp_path / "lab", LabSettings(**{**SMALL.to_dict(), "problems": 500}))


def test_all_runs_begin_with_the_reasoner_that_is_named(pretend: Callable[..., Pretended], tmp_path: Path) -> None:
    pretend()
    settings = LabSettings(**{**SMALL.to_dict(), "reasoner": "/made/reasoner"})
    lab.run_lab(settings, tmp_path / "lab", jobs=1)
    assert lab.source_of("pocket-reasoner", tmp_path / "lab") == "/made/reasoner"
    assert lab.source_of("pocket-misled", tmp_path / "lab") == "pocket-misled"
    assert lab.source_of("em-ft-0", tmp_path / "lab") == str(tmp_path / "lab" / "runs" / "em-ft-0")
    with pytest.raises(ValueError, match="reasoner was '/made/reasoner', now None"):
        lab.run_lab(SMALL, tmp_path / "lab", jobs=1)
    lab.run_lab(SMALL, tmp_path / "shipped", jobs=1)
    assert lab.source_of("pocket-reasoner", tmp_path / "shipped") == "pocket-reasoner"


def test_a_folder_knows_its_lab(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no lab in"):
        lab.settings_of(tmp_path)
    lab.open_folder(tmp_path, SMALL)
    assert lab.settings_of(tmp_path) == SMALL


def test_it_notes_each_command_and_commit_that_it_was_made_by_once(
    pretend: Callable[..., Pretended], tmp_path: Path
) -> None:
    pretend()
    for command in ("em-hf lab", "em-hf lab", "em-hf lab --jobs 2"):
        lab.run_lab(SMALL, tmp_path, jobs=1, command=command)
    made = lab.makings(tmp_path)
    assert [one["command"] for one in made] == ["em-hf lab", "em-hf lab --jobs 2"]
    assert set(made[0]) == {"command", "commit", "date", "cpu", "cores", "versions"} and made[0]["versions"]["torch"]
    assert not any(str(tmp_path) in json.dumps(one) for one in made)


def test_a_strategy_gets_the_settings_that_were_found_for_it_on_its_level(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab.open_folder(tmp_path, SMALL)
    for job in (matching(SMALL, "hard"), tuning(SMALL, "min-p", "plain")):
        lab.write_json(tmp_path / "measured" / f"{job.name}.json", {"strategies": job.name})
    seen: list[Any] = []
    monkeypatch.setattr(lab, "load", lambda model, folder: ("model", "tokenizer"))
    monkeypatch.setattr("em_hf.lab.measure.marked_answers", lambda *given: seen.append(given[-1]) or {"right": []})
    for strategy, level, settings in (
        ("min-p", "hard", "equal-entropy"),
        ("min-p", "plain", "tuned"),
        ("min-p", "hard", "tuned"),
        ("sampling", "hard", "stored"),
    ):
        lab.do(Measuring("pocket-reasoner", strategy, 4, data=level, settings=settings), tmp_path)  # type: ignore[arg-type]
    assert seen == [matching(SMALL, "hard").name, tuning(SMALL, "min-p", "plain").name, None, None]


def test_all_runs_train_on_problems_of_both_levels_in_equal_parts_as_many_as_they_take(tmp_path: Path) -> None:
    lab.open_folder(tmp_path, SMALL)
    jobs = [job for chain in first_chains(SMALL) for job in chain]
    lab.write_prompts(SMALL, jobs, tmp_path)
    prompts = load_prompts(str(tmp_path / lab.PROMPTS), with_solutions=True)
    # The longest run takes two steps; EM-FT's batches are the largest.
    n = 2 * recipe_settings("pocket", "em-ft")["batch_size"]
    plain, hard = (problems("train", n // 2, 0, level=level) for level in ("plain", "hard"))
    rows = [row for pair in zip(plain, hard, strict=True) for row in pair]
    assert prompts.prompts == [row["prompt"] for row in rows]
    assert prompts.solutions == [row["solution"] for row in rows] and prompts.answers == [r["answer"] for r in rows]


def test_a_run_has_the_recipes_settings_on_the_labs_prompts(tmp_path: Path) -> None:
    settings = LabSettings(**{**SMALL.to_dict(), "steps": None})
    lab.open_folder(tmp_path, settings)
    for method in ("em-ft", "rloo"):
        recipe = recipe_settings("pocket", method, "hard")
        made = lab.run_settings(Training(method, 3), tmp_path)
        assert (made.method, made.seed, made.model) == (method, 3, "pocket-reasoner")
        assert (made.guard, made.eval_problems) == (False, 0)
        assert made.limit == recipe["steps"] * recipe["batch_size"] and made.dataset == str(tmp_path / lab.PROMPTS)
        for name in (
            "steps",
            "batch_size",
            "learning_rate",
            "num_generations",
            "max_grad_norm",
            "max_completion_length",
        ):
            assert getattr(made, name) == recipe[name], name
    guarded = lab.run_settings(Training("em-rl-token", 0, guard=True), tmp_path)
    recipe = recipe_settings("pocket", "em-rl-token")
    assert guarded.guard and not guarded.early_stopping, "it sees no labels"
    assert guarded.limit == recipe["steps"] * recipe["batch_size"] + guarded.probe_problems
    smaller = LabSettings(**{**settings.to_dict(), "batch_size": 2})
    lab.write_json(tmp_path / lab.MARK, smaller.to_dict())
    assert lab.run_settings(Training("em-ft", 0, steps=5), tmp_path).limit == 10


def test_a_watched_run_is_read_sampled_and_greedily_and_is_the_run_that_it_would_be_without(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from em_hf.runs import PROBE_FILE, Reading, read_lines
    from em_hf.training.measure import measure

    settings = {**SMALL.to_dict(), "batch_size": 2, "watch_problems": 6, "watch_every": 2, "max_new_tokens": 96}
    weights = []
    for watch in (True, False):
        folder = tmp_path / str(watch)
        lab.open_folder(folder, LabSettings(**settings))
        job = Training("em-ft", 0, steps=2, watch=watch)
        lab.write_prompts(LabSettings(**settings), [job], folder)
        lab.do(job, folder)
        weights.append(load_file(folder / "runs" / "em-ft-0" / "model.safetensors"))
    assert weights[0].keys() == weights[1].keys() and all(weights[0][k].equal(weights[1][k]) for k in weights[0])

    place = tmp_path / "True" / "runs" / "em-ft-0"
    sampled, greedy = (read_lines(place / name, Reading) for name in (PROBE_FILE, lab.GREEDY_FILE))
    assert [one.step for one in sampled] == [one.step for one in greedy] == [0, 2]
    rows = problems("validation", 6, 0, level="hard")
    model = lab.load("em-ft-0", tmp_path / "True")
    for reading, way in ((sampled[1], False), (greedy[1], True)):
        prompts, answers = [row["prompt"] for row in rows], [row["answer"] for row in rows]
        row = measure(*model, prompts, answers, name="again", greedy=way, max_new_tokens=96)
        assert (row.accuracy, row.entropy) == pytest.approx((reading.accuracy, reading.entropy))
