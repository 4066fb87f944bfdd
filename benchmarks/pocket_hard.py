"""Training on the pocket reasoner's hard problems: does any method raise greedy accuracy there, at its best rate?

    python -m benchmarks.pocket_hard [--work FOLDER] [--jobs N] [--quick] [--output FILE.json]

The lab's runs train on plain problems; these train on hard ones, otherwise with the pocket recipe and without a guard.
Each method is tried at equally many learning rates, fractions of the recipe's. The one that is right most often on hard
validation problems, greedily, is trained with the other seeds too, and measured on the lab's test problems. Runs and
measurements that are already under `--work` are not repeated.
"""

import argparse
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.common import describe, environment, table, write
from em_hf.lab.answers import raised_greedy
from em_hf.lab.format import bullets
from em_hf.lab.measure import marked_answers
from em_hf.lab.plan import Measuring, Training, as_stored, on_levels, trainings
from em_hf.lab.record import Lab, methods
from em_hf.lab.report import methods_table
from em_hf.lab.run import do_chain, open_folder, prepare_process
from em_hf.lab.settings import HARD, LEVELS, LabSettings
from em_hf.methods import METHODS
from em_hf.models import load_model
from em_hf.runs import holds_run, is_finished, read_json, write_json
from em_hf.settings import POCKET_NAME
from em_hf.training.run import train
from em_hf.training.settings import RunSettings, recipe_settings

TRAINED = ("em-ft", "em-rl-sequence", "ssd", "random", "rloo")
FRACTIONS = (1.0, 0.25, 0.0625)  # of the recipe's learning rate
SETTINGS = LabSettings(seeds=dict.fromkeys(TRAINED, 3), train_levels=(HARD,), tune_trials=3, tune_problems=200)
QUICK = LabSettings(
    seeds=dict.fromkeys(("em-ft", "rloo"), 2),
    train_levels=(HARD,),
    steps=1,
    batch_size=4,
    problems=8,
    pass_samples=1,
    chosen_on=4,
    tune_trials=2,
    tune_problems=4,
)


def rates(settings: LabSettings, method: str) -> list[float]:
    """Return the learning rates that are tried, the recipe's first."""
    recipe = recipe_settings("pocket", method, HARD)["learning_rate"]
    return [recipe * fraction for fraction in FRACTIONS[: settings.tune_trials]]


def tried_name(method: str, rate: float) -> str:
    return f"{method}-{rate:g}"


def train_into(place: Path, settings: LabSettings, method: str, rate: float, seed: int) -> None:
    """Train on hard problems with the pocket recipe's other settings, or finish what was begun."""
    if is_finished(place):
        return
    given: dict[str, Any] = {"recipe": "pocket", "method": method, "level": HARD, "learning_rate": rate, "seed": seed}
    given |= {"device": "cpu", "guard": False, "probe_problems": 0, "eval_problems": 0}
    given |= {"steps": settings.steps} if settings.steps else {}
    given |= {"batch_size": settings.batch_size} if settings.batch_size else {}
    train(RunSettings.resolve(given), place, resume=holds_run(place))


def do_trial(trial: tuple[str, float], *, settings: LabSettings, folder: Path) -> None:
    """Train a method's first seed at a rate, and mark greedy answers to hard validation problems."""
    method, rate = trial
    place = folder / "tried" / tried_name(method, rate)
    train_into(place, settings, method, rate, seed=0)
    mark(str(place), place.with_name(f"{place.name}.json"), settings)


def mark(model: str, result: Path, settings: LabSettings) -> None:
    """Mark a model's greedy answers to hard validation problems, unless `result` has them."""
    if result.is_file():
        return
    job = Measuring(result.stem, "greedy", settings.tune_problems, data=HARD, split="validation")
    found = marked_answers(*load_model(model, device="cpu"), job, settings.max_new_tokens)
    write_json(result, found["right"])


def solved(result: Path) -> float:
    """Return the share of problems that `mark` found right."""
    right = read_json(result)
    return sum(right) / len(right)


def trials(settings: LabSettings, folder: Path) -> list[dict[str, Any]]:
    """Return every trial's greedy accuracy on validation problems; of the best of a method the smallest is chosen."""
    rows = []
    for method in settings.seeds:
        tried = {rate: folder / "tried" / f"{tried_name(method, rate)}.json" for rate in rates(settings, method)}
        shares = {rate: solved(file) for rate, file in tried.items()}
        chosen = min(rate for rate, share in shares.items() if share == max(shares.values()))
        rows += [{"method": method, "rate": r, "greedy": share, "chosen": r == chosen} for r, share in shares.items()]
    return rows


def do_run(run: Training, *, chosen: dict[str, float], settings: LabSettings, folder: Path) -> None:
    """Train a seed at the method's chosen rate, and measure it as the lab does; the trial is the first seed."""
    place, rate = folder / "runs" / run.name, chosen[run.method]
    if run.seed == 0 and not place.exists():
        shutil.copytree(folder / "tried" / tried_name(run.method, rate), place)
    train_into(place, settings, run.method, rate, run.seed)
    do_chain(list(on_levels(settings, run.name, "sampling", "greedy")), folder)


def go_on(settings: LabSettings, folder: Path, *, jobs: int) -> dict[str, Any]:
    """Do what is missing in the folder, `jobs` processes at a time, and return what was found."""
    open_folder(folder, settings)
    (folder / "tried").mkdir(exist_ok=True)
    do = partial(in_processes, jobs)
    every = [(method, rate) for method in settings.seeds for rate in rates(settings, method)]
    do(partial(do_trial, settings=settings, folder=folder), every)
    tried = trials(settings, folder)
    chosen = {row["method"]: row["rate"] for row in tried if row["chosen"]}
    do(partial(do_run, chosen=chosen, settings=settings, folder=folder), trainings(settings))
    base = [[as_stored(settings, way, level)] for way in ("greedy", "sampling") for level in LEVELS]
    do(partial(do_chain, folder=folder), base)
    untouched = folder / "tried" / "base.json"
    mark(POCKET_NAME, untouched, settings)
    found = [row for level in LEVELS for row in methods(Lab(settings, folder), level)]
    return {"settings": settings.to_dict(), "untouched": solved(untouched), "tried": tried, "methods": found}


def in_processes(jobs: int, work: Callable[[Any], None], items: Iterable[Any]) -> None:
    prepare_process()
    if jobs == 1:
        list(map(work, items))
        return
    # Processes of their own: a run sets random states and signal handlers, and a fork would share torch's threads.
    with ProcessPoolExecutor(jobs, get_context("spawn"), prepare_process) as pool:
        list(pool.map(work, items))


def report(record: dict[str, Any]) -> str:
    """Return the tables, and the lab's sentences on greedy accuracy."""
    settings = record["settings"]
    about = (
        f"Trained on hard problems. {settings['problems']} test problems of each level; in brackets 95% bootstrap "
        "intervals over problems and training seeds."
    )
    tuning = (
        f"Learning rates, by greedy accuracy on {settings['tune_problems']} hard validation problems after the first "
        "seed's run; of equal ones the smallest."
    )
    parts = [describe(record), about, bullets(list(raised_greedy(record)))]
    parts += [methods_table(record, level) for level in reversed(LEVELS)]
    return "\n\n".join([*parts, tuning, tuning_table(record)])


def tuning_table(record: dict[str, Any]) -> str:
    """Return the table of the rates that were tried, with the untouched model first."""
    rows = [["base model", "-", f"{100 * record['untouched']:.1f}", ""]]
    for one in record["tried"]:
        chosen = "chosen" if one["chosen"] else ""
        rows.append([METHODS[one["method"]].title, f"{one['rate']:g}", f"{100 * one['greedy']:.1f}", chosen])
    return table(["method", "learning rate", "greedy, %", ""], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/pocket-hard"), help="runs, kept to go on from")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes, each with one thread")
    parser.add_argument("--quick", action="store_true", help="a sketch: one step a run, eight problems")
    parser.add_argument("--output", type=Path, help="JSON to write; the report goes beside it as .md")
    options = parser.parse_args(arguments)
    made = environment("benchmarks.pocket_hard")
    record = {**made, **go_on(QUICK if options.quick else SETTINGS, options.work, jobs=options.jobs)}
    text = report(record)
    print(text)
    write(options.output, record, text)


if __name__ == "__main__":
    main()
