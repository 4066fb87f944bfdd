"""Does the lab's jobs, several at a time, each once: what stands in the folder already is not done again."""

import json
import multiprocessing
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

from em_hf.lab.environment import environment
from em_hf.lab.plan import (
    BEST_OF,
    MISLED,
    POCKET,
    Diagnosing,
    Job,
    Matching,
    Measuring,
    Training,
    Tuning,
    first_chains,
    last_chains,
    matchable,
    matching,
    on_validation,
    trainings,
    tuning,
)
from em_hf.lab.settings import HARD, PLAIN, LabSettings
from em_hf.pocket import problems
from em_hf.runs import (
    PROBE_FILE,
    ComputeFacts,
    holds_run,
    is_finished,
    read_facts,
    read_json,
    to_json,
    write_json,
    write_lines,
)
from em_hf.training.settings import RunSettings, recipe_settings

MARK, MADE, PROMPTS = "lab-settings.json", "lab-made.json", "train.jsonl"
GREEDY_FILE = "greedy.jsonl"  # in the folder of a watched run, beside PROBE_FILE
_stopping: Any = None  # of this process, when it is one of several


def open_folder(folder: Path, settings: LabSettings) -> None:
    """Make the lab's folder, or go on in one.

    Raises:
        ValueError: it holds something else, or a lab with other settings.
    """
    mark = folder / MARK
    wanted = json.loads(json.dumps(settings.to_dict()))
    if mark.is_file():
        there = read_json(mark)
        # More seeds of the same plan go on from fewer: a job's name says all that decides it.
        free = {"seeds", "misled_seeds"}
        for name, value in wanted.items():
            if name not in free and there.get(name) != value:
                raise ValueError(
                    f"{folder} holds a lab with other settings ({name} was {there.get(name)!r}, now {value!r}): give "
                    "another --output, or remove the folder"
                )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there and is not a lab's: name an empty or a new folder with --output")
    (folder / "measured").mkdir(parents=True, exist_ok=True)
    (folder / "runs").mkdir(exist_ok=True)
    write_json(mark, wanted)


def settings_of(folder: Path) -> LabSettings:
    """The settings of the lab that stands in a folder.

    Raises:
        ValueError: there is none.
    """
    if not (folder / MARK).is_file():
        raise ValueError(f"there is no lab in {folder}: run em-hf lab --output {folder} first")
    return LabSettings.from_dict(read_json(folder / MARK))


def run_lab(
    settings: LabSettings,
    folder: Path,
    *,
    jobs: int,
    command: str = "em-hf lab",
    on_done: Callable[[str, int, int], None] = lambda *_: None,
) -> None:
    """Do all that is missing in `folder`, `jobs` processes at a time, each with one thread.

    Args:
        command: what the folder's record says it was made by.
        on_done: called after every chain with its first job's name, the chains done and their number.
    """
    open_folder(folder, settings)
    note_making(folder, environment(command))
    first = first_chains(settings)
    write_prompts(settings, [job for chain in first for job in chain], folder)
    _do_all(first, folder, jobs, on_done)
    _do_all(last_chains(settings, best_runs(settings, folder)), folder, jobs, on_done)


def note_making(folder: Path, made: dict[str, Any]) -> None:
    """Add to the folder's record by which command and commit, and on which machine, its jobs were done."""
    earlier = makings(folder)
    if made not in earlier:
        write_json(folder / MADE, [*earlier, made])


def makings(folder: Path) -> list[dict[str, Any]]:
    path = folder / MADE
    return read_json(path) if path.is_file() else []


def _do_all(chains: list[list[Job]], folder: Path, jobs: int, on_done: Callable[[str, int, int], None]) -> None:
    waiting = [left for chain in chains if (left := [job for job in chain if not is_done(job, folder)])]
    total = len(waiting)
    if jobs == 1:
        prepare_process()
        for place, chain in enumerate(waiting, 1):
            do_chain(chain, folder)
            on_done(chain[0].name, place, total)
        return
    # Processes of their own: a run sets signal handlers and random states, and a fork would share torch's threads.
    context = multiprocessing.get_context("spawn")
    stopping = context.Event()
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=prepare_process, initargs=(stopping,)) as pool:
        started = {pool.submit(do_chain, chain, folder): chain[0].name for chain in waiting}
        try:
            for place, future in enumerate(as_completed(started), 1):
                future.result()
                on_done(started[future], place, total)
        except BaseException:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def prepare_process(stopping: Any = None) -> None:
    """One thread, and libraries that speak of errors only.

    Args:
        stopping: an event, after which this process begins no further job.
    """
    global _stopping
    _stopping = stopping
    os.environ["OMP_NUM_THREADS"] = "1"
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    import torch

    from em_hf.evaluation.run import quiet_lm_eval

    torch.set_num_threads(1)
    quiet_lm_eval()


def do_chain(chain: list[Job], folder: Path) -> None:
    try:
        for job in chain:
            if not is_done(job, folder) and not (_stopping and _stopping.is_set()):
                do(job, folder)
    except BaseException:
        # The pool has handed out the next chain already: after Ctrl-C, or where something is wrong, it is not begun.
        if _stopping:
            _stopping.set()
        raise


def do(job: Job, folder: Path) -> None:
    from em_hf.lab import equal_entropy, measure

    settings = settings_of(folder)
    if isinstance(job, Training):
        train_run(job, folder)
        return
    model, length = load(job.model, folder), settings.max_new_tokens
    if isinstance(job, Measuring):
        found = measure.marked_answers(*model, job, length, found_settings(job, settings, folder))
    elif isinstance(job, Tuning):
        found = measure.tuned_strategy(*model, job, length)
    elif isinstance(job, Matching):
        found = equal_entropy.equal_entropy(*model, job, length, matchable(settings))
    else:
        assert isinstance(job, Diagnosing)
        found = measure.diagnosed(*model, job, length)
    write_json(folder / "measured" / f"{job.name}.json", found)


def found_settings(job: Measuring, settings: LabSettings, folder: Path) -> dict[str, Any] | None:
    """Return what was found for a measurement whose settings are not stored, by strategy; None if nothing was."""
    if job.settings == "stored":
        return None
    finder = matching(settings, job.data) if job.settings == "equal-entropy" else None
    found = result_of(finder or tuning(settings, job.strategy, job.data), folder)
    return found and found["strategies"]


def load(model: str, folder: Path) -> tuple[Any, Any]:
    from em_hf.models import load_model

    return load_model(source_of(model, folder), device="cpu")


def source_of(model: str, folder: Path) -> str:
    """What `load_model` is given for a job's model: a shipped model's name, or a folder of the lab."""
    if model == POCKET:
        return settings_of(folder).reasoner or POCKET
    return model if model == MISLED else str(folder / "runs" / model)


def run_settings(job: Training, folder: Path) -> RunSettings:
    """Return the settings of a training run: the recipe's on the lab's own prompts, without measurements of its own.

    A method that uses no labels sees none, and neither does its guard.
    """
    lab = settings_of(folder)
    given: dict[str, Any] = {"recipe": "pocket", "method": job.method, "model": source_of(job.model, folder)}
    given |= {"dataset": str(folder / PROMPTS), "device": "cpu", "seed": job.seed, "eval_problems": 0}
    level = HARD if HARD in lab.train_levels else PLAIN
    longest = recipe_settings("pocket", job.method, level)["max_completion_length"]
    given |= {"max_completion_length": longest, "guard": job.guard}
    given |= {"steps": job.steps} if job.steps else {}
    given |= {"batch_size": lab.batch_size} if lab.batch_size else {}
    made = RunSettings.resolve(given)
    watched = made.probe_problems if job.guard else 0
    return replace(made, limit=made.steps * made.batch_size + watched)


def train_run(job: Training, folder: Path) -> None:
    from em_hf.training.run import train

    place = folder / "runs" / job.name
    train(
        run_settings(job, folder),
        place,
        resume=holds_run(place),
        command="em-hf lab",
        make_callbacks=lambda trainer: watching(trainer, settings_of(folder), place) if job.watch else [],
    )


def watching(trainer: Any, settings: LabSettings, place: Path) -> list[Any]:
    """Return callbacks that measure the model on hard validation problems as it trains, sampled and greedily."""
    from em_hf.training.callbacks import EntropyCallback

    rows = problems("validation", settings.watch_problems, 0, level=HARD)
    return [
        EntropyCallback(
            trainer,
            [row["prompt"] for row in rows],
            [row["answer"] for row in rows],
            every=settings.watch_every,
            max_new_tokens=settings.max_new_tokens,
            temperature=temperature,
            file=place / name,
        )
        for name, temperature in ((PROBE_FILE, 1.0), (GREEDY_FILE, 0.0))
    ]


def write_prompts(settings: LabSettings, jobs: list[Job], folder: Path) -> None:
    """Write the problems that all runs train on: as many as the longest takes, the levels in turn."""
    if (folder / PROMPTS).is_file():
        return
    needed = max((run_settings(job, folder).limit or 0 for job in jobs if isinstance(job, Training)), default=0)
    levels = settings.train_levels
    parts = [problems("train", -(-needed // len(levels)), 0, level=level) for level in levels]
    write_lines(folder / PROMPTS, [row for rows in zip(*parts, strict=True) for row in rows])


def is_done(job: Job, folder: Path) -> bool:
    if isinstance(job, Training):
        return is_finished(folder / "runs" / job.name)
    return (folder / "measured" / f"{job.name}.json").is_file()


def result_of(job: Job, folder: Path) -> dict[str, Any] | None:
    """What a job found, for a training run its compute facts and the guard's verdict; None while it is not done."""
    if not is_done(job, folder):
        return None
    if isinstance(job, Training):
        facts = read_facts(folder / "runs" / job.name)
        return {**to_json(facts.compute or ComputeFacts()), "guard": to_json(facts.guard)}
    return read_json(folder / "measured" / f"{job.name}.json")


def best_runs(settings: LabSettings, folder: Path) -> list[str]:
    """Return the best EM-FT, EM-RL and RLOO run of those done, by sampled accuracy on validation problems."""

    def share(run: Training) -> float | None:
        found = [result_of(job, folder) for job in on_validation(settings, run.name)]
        marks = [mark for one in found if one is not None for mark in one["right"]]
        return sum(marks) / len(marks) if all(found) else None

    best = []
    for methods in BEST_OF.values():
        shares = {run.name: share(run) for run in trainings(settings) if run.method in methods}
        known = {name: value for name, value in shares.items() if value is not None}
        if known:
            best.append(max(known, key=lambda name: known[name]))
    return best
