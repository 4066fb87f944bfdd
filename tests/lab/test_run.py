"""The lab's jobs: each done once, however often the lab is cut off; the best runs; folders that are not its own."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from em_hf.lab import run as lab
from em_hf.lab.plan import Job, LabSettings, Matching, Measuring, Training, first_chains, last_chains

SMALL = LabSettings(
    seeds={"em-ft": 2, "em-rl-sequence": 2, "rloo": 1},
    steps=1,
    problems=4,
    hard_problems=3,
    kind_problems=4,
    chosen_on=4,
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
    ways = [(n, data, way) for n, data in ((4, "test"), (3, "hard")) for way in ("sampling", "greedy")]
    measured = [Measuring("rloo-1", way, n, data) for n, data, way in ways]
    assert set(more.names) == {"rloo-1", *(job.name for job in measured)}
    assert not set(more.names) & set(few.names)


def test_a_run_that_was_cut_off_is_not_done_and_one_without_a_mark_neither(tmp_path: Path) -> None:
    lab.open_folder(tmp_path, SMALL)
    job = Training("em-ft", 0, "pocket-reasoner", 1)
    assert not lab.is_done(job, tmp_path) and lab.result_of(job, tmp_path) is None
    (tmp_path / "runs" / job.name).mkdir()
    for status, done in (("running", False), ("interrupted", False), ("failed", False), ("finished", True)):
        lab.write_json(tmp_path / "runs" / job.name / "run.json", {"status": status})
        assert lab.is_done(job, tmp_path) is done


def test_the_best_run_of_em_ft_and_of_both_em_rl_is_that_which_is_right_most_often_on_validation(
    pretend: Callable[..., Pretended], tmp_path: Path
) -> None:
    shares = {"em-ft-0": 0.5, "em-ft-1": 0.75, "em-rl-sequence-0": 0.25, "em-rl-sequence-1": 0.0, "rloo-0": 1.0}

    def right(job: Job) -> list[float]:
        # On test problems the other way round: they must not choose.
        on_validation = isinstance(job, Measuring) and job.data == "validation"
        share = shares.get(getattr(job, "model", ""), 0.0)
        return [share if on_validation else 1 - share]

    pretend(right=right)
    lab.run_lab(SMALL, tmp_path, jobs=1)
    assert lab.best_runs(SMALL, tmp_path) == ["em-ft-1", "em-rl-sequence-0"]


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


def test_the_strategies_of_equal_entropy_get_the_settings_that_were_found_for_their_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab.open_folder(tmp_path, SMALL)
    lab.write_json(tmp_path / "measured" / f"{Matching('pocket-reasoner', 4).name}.json", {"settings": "found"})
    seen: list[Any] = []
    monkeypatch.setattr(lab, "load", lambda model, folder: ("model", "tokenizer"))
    monkeypatch.setattr("em_hf.lab.measure.marked_answers", lambda *given: seen.append(given[-1]) or {"right": []})
    for strategy in ("min-p", "sampling"):
        lab.do(Measuring("pocket-reasoner", strategy, 4), tmp_path)
    assert seen == [{"settings": "found"}, None]
