"""Kill training runs at random moments and resume them: `python -m tests.campaigns.kills --n 200`.

Each run is killed with SIGKILL up to four times, at a random file operation in its folder (before a file is opened for
writing, renamed, removed, ...), at a random time, or between the writing of a record and its move into place; sometimes
the last line of a log is left half written, as a kill in the middle of a write leaves it. After each kill the run is
resumed as a user would resume it. In the end it must hold exactly what an uninterrupted run holds: log, readings,
results, compute, weights. Seeded; the kills at file operations repeat exactly, those by the clock do not.
"""

import argparse
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
from pathlib import Path
from typing import Any

STEPS = 7
METHODS: dict[str, dict[str, Any]] = {
    "em-ft": {},
    "em-rl-token": {"num_generations": 2, "batch_size": 2},
    "rent": {"num_generations": 2, "batch_size": 2, "lora": True, "lora_rank": 2},
}
MODES = ("file operation", "clock", "before a move into place")
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


def settings_of(method: str, folder: Path) -> Any:
    from em_hf.training.settings import RunSettings

    given = {"model": str(folder / "model"), "dataset": str(folder / "prompts.jsonl"), "device": "cpu", "steps": STEPS}
    given |= {"batch_size": 4, "learning_rate": 1e-2, "max_completion_length": 4, "eval_problems": 4, "save_steps": 2}
    given |= {"probe_every": 2, "probe_problems": 4, "chat_template": False, "method": method, **METHODS[method]}
    return RunSettings.resolve(given)


def prepare(folder: Path) -> None:
    from tests.hub.made import make_model

    make_model(folder / "model")
    lines = [json.dumps({"prompt": f"{a} + {b} =", "answer": str(a + b)}) for a in range(1, 8) for b in range(1, 8)]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")


def life(settings: Any, run: Path) -> None:
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


def kill_at_event(run: Path, number: int) -> list[int]:
    """Kill this process before the file operation of that number in the run's folder; return the count so far."""
    count = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS or not str(arguments[0]).startswith(str(run)):
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


def in_child(work: Any, *, seconds: float | None = None) -> int | None:
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


def state(run: Path) -> dict[str, Any]:
    """All that a finished run holds, but for times and memory."""
    from safetensors.torch import load_file

    from em_hf.runs import read_run, to_json

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
        "left over": sorted(path.name for path in run.rglob("*") if path.name.endswith((".part", ".saving"))),
    }


def half_a_line(run: Path, rng: random.Random) -> None:
    """What a kill in the middle of an append leaves."""
    for name in ("log.jsonl", "probe.jsonl"):
        if (run / name).is_file() and rng.random() < 0.3:
            with (run / name).open("a") as file:
                file.write('{"step": 3, "ent')


def campaign(kills: int, seed: int, folder: Path, say: Any = lambda text: None) -> dict[str, Any]:
    """Kill `kills` times, and return the figures."""
    rng = random.Random(seed)
    in_child(lambda: prepare(folder))
    settings = {method: settings_of(method, folder) for method in METHODS}
    whole, lengths, events = {}, {}, {}
    for method in METHODS:
        run, notes = folder / f"whole-{method}", folder / f"events-{method}"

        def uninterrupted(run: Path = run, notes: Path = notes, method: str = method) -> None:
            count = kill_at_event(run, -1)
            life(settings[method], run)
            notes.write_text(str(count[0]))

        started = time.perf_counter()
        assert in_child(uninterrupted) == 0, f"{method} fails without any kill"
        lengths[method], events[method] = time.perf_counter() - started, int(notes.read_text())
        whole[method] = state(run)
    found: dict[str, Any] = {"kills": 0, "runs": 0, "by_mode": Counter(), "by_method": Counter(), "failures": []}
    while found["kills"] < kills:
        number, method = found["runs"], rng.choice(list(METHODS))
        run, error = folder / f"run-{number}", folder / f"error-{number}"
        found["runs"] += 1

        def resumed(run: Path = run, error: Path = error, method: str = method, mode: str = "", at: int = 0) -> None:
            if mode == "file operation":
                kill_at_event(run, at)
            elif mode == "before a move into place":
                kill_at_fsync(at)
            try:
                life(settings[method], run)
            except BaseException:
                error.write_text(traceback.format_exc())
                raise

        lives = []
        for _ in range(rng.randint(1, 4)):
            mode = rng.choice(MODES)
            at = rng.randint(1, events[method] if mode == "file operation" else 2 * STEPS)
            seconds = rng.uniform(0, lengths[method]) if mode == "clock" else None
            code = in_child(lambda mode=mode, at=at: resumed(mode=mode, at=at), seconds=seconds)
            if code is not None:
                break
            found["kills"] += 1
            lives.append(f"{mode} {at if seconds is None else f'{seconds:.2f} s'}")
            found["by_mode"][mode] += 1
            found["by_method"][method] += 1
            half_a_line(run, rng)
        code = in_child(resumed)
        wrong = ["it cannot be resumed"] if code else []
        if not wrong:
            after = state(run)
            wrong = [name for name, value in whole[method].items() if after[name] != value]
        if wrong:
            why = error.read_text().strip().splitlines()[-1:] if error.is_file() else []
            short = {name: str(after[name])[:600] for name in wrong if not error.is_file() and name != "weights"}
            failure = {"run": number, "method": method, "differs": wrong, "error": why, "found": short, "lives": lives}
            found["failures"].append(failure)
            say(f"run {number}: {wrong} {why}")
        else:
            shutil.rmtree(run)
        say(f"{found['kills']} kills, {found['runs']} runs, {len(found['failures'])} lost something")
    return {**found, "by_mode": dict(found["by_mode"]), "by_method": dict(found["by_method"]), "seed": seed}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200, help="kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(arguments)
    import torch
    import trl  # noqa: F401  # what a life needs is imported once, before the forks

    import em_hf.training.baselines
    import em_hf.training.collapse
    import em_hf.training.run  # noqa: F401
    from em_hf.runs import now, versions, write_json

    torch.set_num_threads(1)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(options.n, options.seed, Path(folder), lambda text: print(text, file=sys.stderr))
    found |= {"lost": len(found["failures"]), "seconds": round(time.perf_counter() - started), "date": now()}
    found["versions"] = versions()
    if options.output:
        write_json(options.output, found)
    print(json.dumps(found, indent=2))
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
