"""Kill commands at random moments and repeat them: `python -m tests.campaigns.kills --n 200`.

What is killed: training (three methods, with resuming), `em-hf push` into a folder that holds an older repository, and
`em-hf eval` into a folder. Each is killed with SIGKILL up to six times, at a random file operation (before a file is
opened for writing, renamed, removed, ...), at a random time, or between the writing of a record and its move into
place; sometimes the last line of a log is left half written, as a kill in the middle of a write leaves it. After each
kill the command is given again, as a user would give it. In the end its folder must hold exactly what an uninterrupted
command leaves (of a run: log, readings, results, compute and weights; of a repository every byte; of an evaluation
answers and figures) and nothing beside it. A repository must be whole, the old one or the new, after every kill.
Seeded; the kills at file operations repeat exactly, those by the clock do not.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.campaigns import write_figures

STEPS = 5
METHODS: dict[str, dict[str, Any]] = {
    "em-ft": {},
    "em-rl-token": {"num_generations": 2, "batch_size": 2},
    "rent": {"num_generations": 2, "batch_size": 2, "lora": True, "lora_rank": 2},
}
# How often each command is chosen, out of ten.
SHARES = {"train em-ft": 3, "train em-rl-token": 1, "train rent": 1, "push": 3, "eval": 2}
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
OUT, TEMPORARY = "out", "tmp"


@dataclass(frozen=True)
class Work:
    """A command to kill, in a folder of its own: `out` there is what it writes, `tmp` its temporary folder.

    Attributes:
        do: the command, which goes on with what a killed one has left.
        state: all that it leaves, but for times and memory.
        prepare: what is there before.
        broken: what is wrong with what a kill has left; None where nothing is.
        logs: the files within `out` that the command as far as it has come may be appending to.
        saves: records that are moved into place, about; a command without any cannot be killed there.
    """

    do: Callable[[Path], None]
    state: Callable[[Path], dict[str, Any]]
    prepare: Callable[[Path], Any] = lambda place: None
    broken: Callable[[Path], str | None] = lambda place: None
    logs: Callable[[Path], tuple[str, ...]] = lambda place: ()
    saves: int = 0


def prepare(folder: Path) -> None:
    from tests.hub.made import make_model

    make_model(folder / "model")
    lines = [json.dumps({"prompt": f"{a} + {b} =", "answer": str(a + b)}) for a in range(1, 8) for b in range(1, 8)]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")


def left_over(place: Path) -> list[str]:
    """What must not be there once a command has ended well."""
    found = [path.name for path in place.rglob("*") if path.name.endswith((".part", ".saving", ".old", ".staged"))]
    return sorted([*found, *(path.name for path in place.iterdir() if path.name not in (OUT, TEMPORARY))])


# ---- training


def train_work(method: str, folder: Path) -> Work:
    from em_hf.training.settings import RunSettings

    given = {"model": str(folder / "model"), "dataset": str(folder / "prompts.jsonl"), "device": "cpu", "steps": STEPS}
    given |= {"batch_size": 4, "learning_rate": 1e-2, "max_completion_length": 4, "eval_problems": 4, "save_steps": 2}
    given |= {"probe_every": 2, "probe_problems": 4, "chat_template": False, "method": method, **METHODS[method]}
    settings = RunSettings.resolve(given)
    return Work(lambda place: train_on(settings, place / OUT), run_state, logs=logs_of_run, saves=2 * STEPS)


def logs_of_run(place: Path) -> tuple[str, ...]:
    """A run that is trained, and has its results to measure or nothing at all, appends to neither any more."""
    from em_hf.runs import RunFileError, read_facts

    try:
        trained = read_facts(place / OUT).trained
    except RunFileError:  # killed before there was a record
        trained = False
    return () if trained else ("log.jsonl", "probe.jsonl")


def train_on(settings: Any, run: Path) -> None:
    """Train, or go on with what a killed life has left, as a user would."""
    from em_hf.runs import RunFileError, holds_run, read_facts
    from em_hf.training.run import train
    from em_hf.training.settings import RunSettings

    resume, overwrite = holds_run(run), False
    if resume:
        try:
            facts = read_facts(run)
            if facts.status == "finished":
                return
            RunSettings.of_run(facts)
        except (RunFileError, ValueError) as error:
            if "killed" not in str(error):  # the one answer allowed: nothing was begun yet, so start again
                raise
            resume, overwrite = False, True
    train(settings, run, resume=resume, overwrite=overwrite)


def run_state(place: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    from em_hf.runs import read_run, to_json

    run = place / OUT
    found = read_run(run)
    log = [{**to_json(line), "seconds": None} for line in found.log]
    compute = {**to_json(found.facts.compute), "seconds": None, "peak_memory_bytes": None}
    rows = [{**to_json(row), "seconds": None} for row in (found.results.rows if found.results else [])]
    weights = load_file(next(run.glob("*model.safetensors")))
    return {
        "status": found.status,
        "steps": found.facts.steps_done,
        "log": log,
        "compute": compute,
        "rows": rows,
        "guard": to_json(found.facts.guard),
        "probe": (run / "probe.jsonl").read_text(),
        "weights": {name: tensor.tolist() for name, tensor in sorted(weights.items())},
        "left over": left_over(place),
    }


# ---- publishing and evaluating


def command(*words: str) -> None:
    """Run an `em-hf` command as its entry point does."""
    from em_hf.cli.main import cli

    try:
        cli.main(list(words))
    except SystemExit as stop:
        if stop.code:
            raise RuntimeError(f"exit code {stop.code}") from stop


def push_work(run: Path, folder: Path) -> Work:
    """Push a copy of `run`, made in `folder`, into a place that holds an older repository."""
    from em_hf.hub import write_repository

    whole, sources = folder / "repositories", [folder / "newer", folder / "older"]
    for source in sources:
        shutil.copytree(run, source)
        facts = json.loads((source / "run.json").read_text())
        (source / "run.json").write_text(json.dumps({**facts, "name": source.name}))
        write_repository(source, whole / source.name)
    run, older = sources
    allowed = [contents(whole / source.name) for source in sources]
    if allowed[0] == allowed[1]:
        raise RuntimeError("the two repositories are the same, so that nothing could be seen")

    def broken(place: Path) -> str | None:
        kept = [place / OUT, *place.glob(f".{OUT}.*.old")]
        return None if any(contents(folder) in allowed for folder in kept) else "no whole repository is left"

    def state(place: Path) -> dict[str, Any]:
        return {"repository": contents(place / OUT), "left over": left_over(place)}

    def push(place: Path) -> None:
        command("push", str(run), "--to", str(place / OUT), "--overwrite")

    return Work(push, state, lambda place: shutil.copytree(whole / older.name, place / OUT), broken)


def contents(folder: Path) -> dict[str, str]:
    """The hash of each file's content."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def eval_work(folder: Path) -> Work:
    words = ["eval", "--model", str(folder / "model"), "--dataset", str(folder / "prompts.jsonl"), "--device", "cpu"]
    words += ["--limit", "6", "--samples", "2", "--batch-size", "3", "--max-new-tokens", "4", "--compare", "sampling"]
    answers = tuple(f"answers/{name}.jsonl" for name in ("greedy", "sampling"))
    return Work(
        lambda place: command(*words, "--output", str(place / OUT)), eval_state, logs=lambda place: answers, saves=10
    )


def eval_state(place: Path) -> dict[str, Any]:
    from em_hf.runs import Answer, Evaluation, read_lines, read_record

    record = read_record(place / OUT / "eval.json", Evaluation)
    rows = [{"strategy": row.strategy, "values": {**row.values, "seconds": None}} for row in record.rows]
    answers = {
        path.name: {one.key: (one.text, one.tokens, one.nats and round(one.nats, 4)) for one in lines}
        for path in sorted((place / OUT / "answers").iterdir())
        if len(lines := read_lines(path, Answer, skip_broken=True)) > 0
    }
    files = [str(path.relative_to(place / OUT)).split("_20")[0] for path in (place / OUT).rglob("*") if path.is_file()]
    rounded = json.loads(json.dumps(rows), parse_float=lambda number: round(float(number), 4))
    return {
        "status": record.status,
        "rows": rounded,
        "answers": answers,
        "files": sorted(files),
        "left over": left_over(place),
    }


# ---- killing


def kill_at_event(place: Path, number: int) -> list[int]:
    """Kill this process before the file operation of that number under `place`; return the count so far."""
    count = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS or not str(arguments[0]).startswith(str(place)):
            return
        if event == "open" and not (set(str(arguments[1] or "")) & set("wax+")) and not (arguments[2] or 0) & 3:
            return
        count[0] += 1
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count


def kill_at_fsync(number: int) -> None:
    """Kill this process when the record of that number is written, and not yet moved into place."""
    fsync, count = os.fsync, 0

    def cut(descriptor: int) -> None:
        nonlocal count
        count += 1
        fsync(descriptor)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = cut  # type: ignore[assignment]


def in_child(work: Callable[[], Any], *, seconds: float | None = None) -> int | None:
    """Run `work` in a fork; its exit code, None if it was killed (after `seconds`, or by itself)."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setpgid(0, 0)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1), os.dup2(null, 2)
            work()
            code = 0
        finally:
            os._exit(code)
    timer = threading.Timer(seconds, os.kill, (child, signal.SIGKILL)) if seconds is not None else None
    if timer:
        timer.start()
    _, status = os.waitpid(child, 0)
    if timer:
        timer.cancel()
    return None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def live(work: Work, place: Path, mode: str = "", at: int = 0) -> None:
    """One life of the command, in a child; how it failed, if it did, is written beside `place`."""
    tempfile.tempdir = str(place / TEMPORARY)
    if mode == "file operation":
        kill_at_event(place, at)
    elif mode == "before a move into place":
        kill_at_fsync(at)
    try:
        work.do(place)
    except BaseException:
        error_file(place).write_text(traceback.format_exc())
        raise


def error_file(place: Path) -> Path:
    return place.with_name(f"{place.name}-error")


def new_place(work: Work, place: Path) -> Path:
    (place / TEMPORARY).mkdir(parents=True)
    work.prepare(place)
    return place


def half_a_line(work: Work, place: Path, rng: random.Random) -> None:
    """What a kill in the middle of an append leaves."""
    for name in work.logs(place):
        if (place / OUT / name).is_file() and rng.random() < 0.3:
            with (place / OUT / name).open("a") as file:
                file.write('{"step": 3, "ent')


def uninterrupted(work: Work, place: Path) -> tuple[dict[str, Any], float, int]:
    """What the command leaves, its seconds and its file operations."""
    new_place(work, place)
    notes = place.with_name(f"{place.name}-events")

    def counted() -> None:
        count = kill_at_event(place, -1)
        live(work, place)
        notes.write_text(str(count[0]))

    started = time.perf_counter()
    if in_child(counted) != 0:
        raise RuntimeError(f"{place.name} fails without any kill: {error_file(place).read_text()}")
    return work.state(place), time.perf_counter() - started, int(notes.read_text())


def campaign(
    kills: int, seed: int, folder: Path, commands: list[str], say: Any, *, seconds: float = float("inf")
) -> dict[str, Any]:
    """Kill these commands `kills` times, or for this many seconds, and return the figures."""
    rng, began = random.Random(seed), time.monotonic()
    in_child(lambda: prepare(folder))
    works = {name: train_work(name.removeprefix("train "), folder) for name in commands if name.startswith("train ")}
    whole = {name: uninterrupted(work, folder / f"whole-{name}") for name, work in works.items()}
    others: dict[str, Callable[[], Work]] = {
        "push": lambda: push_work(folder / f"whole-{next(iter(works))}" / OUT, folder),
        "eval": lambda: eval_work(folder),
    }
    for name in others.keys() & set(commands):
        works[name] = others[name]()
        whole[name] = uninterrupted(works[name], folder / f"whole-{name}")
    found: dict[str, Any] = {"kills": 0, "runs": 0, "by_mode": Counter(), "by_command": Counter(), "failures": []}
    while found["kills"] < kills and time.monotonic() - began < seconds:
        number, name = found["runs"], rng.choices(commands, [SHARES[name] for name in commands])[0]
        work, (expected, length, events) = works[name], whole[name]
        place = new_place(work, folder / f"run-{number}")
        found["runs"] += 1
        lives, wrong = [], []
        for _ in range(rng.randint(2, 6)):
            mode = rng.choice(["file operation", "clock", *(["before a move into place"] if work.saves else [])])
            at = rng.randint(1, events if mode == "file operation" else max(1, work.saves))
            after_seconds = rng.uniform(0, length) if mode == "clock" else None
            code = in_child(partial(live, work, place, mode, at), seconds=after_seconds)
            if code is not None:
                break
            found["kills"] += 1
            lives.append(f"{mode} {at if after_seconds is None else f'{after_seconds:.2f} s'}")
            found["by_mode"][mode] += 1
            found["by_command"][name] += 1
            wrong += [fault] if (fault := work.broken(place)) else []
            half_a_line(work, place, rng)
        wrong += ["it cannot be given again"] if code or in_child(partial(live, work, place)) else []
        after = {} if wrong else work.state(place)
        wrong += [part for part in after if after[part] != expected[part]]
        if wrong:
            error = error_file(place)
            why = error.read_text().strip().splitlines()[-1:] if error.is_file() else []
            short = {part: str(value)[:600] for part, value in after.items() if part in wrong and part != "weights"}
            failure = {"run": number, "command": name, "differs": wrong, "error": why, "found": short, "lives": lives}
            found["failures"].append(failure)
            say(f"run {number}: {failure}")
        shutil.rmtree(place)
        say(f"{found['kills']} kills, {found['runs']} runs, {len(found['failures'])} lost something")
    return {**found, "by_mode": dict(found["by_mode"]), "by_command": dict(found["by_command"]), "seed": seed}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200, help="kills")
    parser.add_argument("--minutes", type=float, default=60, help="stop after these, however many kills there were")
    parser.add_argument(
        "--commands", default=",".join(SHARES), help="commands to kill, a training first (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(arguments)
    import em_hf.cli.eval
    import em_hf.cli.push
    import lm_eval.tasks  # noqa: F401  # what a life needs is imported once, before the forks
    import torch
    import trl  # noqa: F401

    import em_hf.evaluation.run
    import em_hf.hub
    import em_hf.training.baselines
    import em_hf.training.collapse
    import em_hf.training.run  # noqa: F401

    torch.set_num_threads(1)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tell = partial(print, file=sys.stderr, flush=True)
        found = campaign(
            options.n, options.seed, Path(folder), options.commands.split(","), tell, seconds=60 * options.minutes
        )
    found |= {"lost": len(found["failures"]), "seconds": round(time.perf_counter() - started)}
    write_figures(options.output, "kills", found["kills"], found["lost"], found)
    print(json.dumps(found, indent=2))
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
