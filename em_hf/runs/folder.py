"""A run folder as a whole: its file names and its contents."""

from dataclasses import dataclass, field
from pathlib import Path

from em_hf.runs.files import PART, RunFileError, read_lines, read_record
from em_hf.runs.records import Diagnosis, Evaluation, LogLine, Results, RunFacts

RUN_FILE = "run.json"
LOG_FILE = "log.jsonl"
RESULTS_FILE = "results.json"
PROBE_FILE = "probe.jsonl"
CHECKPOINTS_FOLDER = "checkpoints"
BEST_FOLDER = "best"
GUARD_FILE = "guard.jsonl"
DIAGNOSIS_FILE = "diagnose.json"
EVALUATION_FILE = "eval.json"
ANSWERS_FOLDER = "answers"


@dataclass(frozen=True)
class Run:
    """A training run: its folder and the records in its files. `results` is None if nothing was measured.

    Attributes:
        folder: Where the trained model and its records are.
    """

    folder: Path
    facts: RunFacts
    log: list[LogLine] = field(default_factory=list)
    results: Results | None = None

    @property
    def name(self) -> str:
        return self.facts.name or self.folder.resolve().name

    @property
    def status(self) -> str:
        return self.facts.status

    @property
    def is_adapter(self) -> bool:
        """Whether the folder holds a PEFT adapter and not a whole model."""
        return (self.folder / "adapter_config.json").is_file()


def holds_run(folder: Path) -> bool:
    """Return whether a run was started in `folder`, even if it was killed before its first record was in place."""
    return any((folder / name).is_file() for name in (RUN_FILE, RUN_FILE + PART))


def read_facts(folder: Path) -> RunFacts:
    """Return the facts in `run.json`, or in its partial file if the run was killed before the first was in place.

    Raises:
        RunFileError: There is none, or it cannot be read.
    """
    path, part = folder / RUN_FILE, folder / (RUN_FILE + PART)
    if not holds_run(folder):
        raise RunFileError(
            f"{folder} is not a run of em-hf: it has no {RUN_FILE}; name a folder that `em-hf train` wrote"
        )
    if path.is_file():
        return read_record(path, RunFacts)
    try:
        return read_record(part, RunFacts)
    except RunFileError as error:
        raise RunFileError(
            f"{folder} holds no more than the beginning of a run, which was killed: give its command again"
        ) from error


def is_finished(folder: Path) -> bool:
    """Return whether `folder` holds a run that was trained to its end.

    Raises:
        RunFileError: The run's record cannot be read.
    """
    return holds_run(folder) and read_facts(folder).status == "finished"


def read_run(folder: str | Path) -> Run:
    """Return the run in `folder`, finished or not.

    Raises:
        RunFileError: There is no such folder, it is not a run of em-hf, or one of its records cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunFileError(f"there is no run folder at {folder}; make one with: em-hf train --output {folder}")
    facts, log = read_facts(folder), read_lines(folder / LOG_FILE, LogLine)
    if facts.status == "finished":
        check_steps(log, facts.steps_done, folder)
    path = folder / RESULTS_FILE
    return Run(folder, facts, log, read_record(path, Results) if path.is_file() else None)


def check_steps(log: list[LogLine], steps: int, folder: Path) -> None:
    """Raise RunFileError unless the log has one line for each of the `steps` done: figures are computed from it."""
    if [line.step for line in log] != list(range(1, steps + 1)):
        known = len({line.step for line in log} & set(range(1, steps + 1)))
        has = f"{known} of the {steps} steps done" if known < steps else f"the {steps} steps done, but not each once"
        raise RunFileError(f"{folder / LOG_FILE} has {has}; the file is damaged: train again")


def newest_run(root: str | Path = "runs") -> Run:
    """Return the run under `root` that finished last.

    Raises:
        RunFileError: There is none; if one was started but not finished, the message says how to resume it.
    """
    root = Path(root)
    folders = sorted(path.parent for path in root.glob(f"*/{RUN_FILE}")) if root.is_dir() else []
    facts = {folder: read_record(folder / RUN_FILE, RunFacts) for folder in folders}
    finished = [folder for folder in folders if facts[folder].status == "finished"]
    if finished:
        return read_run(max(finished, key=lambda folder: (facts[folder].finished or "", folder.name)))
    if folders:
        begun = max(folders, key=lambda folder: (facts[folder].started or "", folder.name))
        raise RunFileError(f"no run under {root}/ has finished; {unfinished(Run(begun, facts[begun]))}")
    raise RunFileError(f"there is no run under {root}/; make one with: em-hf train, or name a run folder")


def unfinished(run: Run) -> str:
    """Return what to do about a run that has not finished, as a clause."""
    return f"the run {run.folder} is {run.status}; go on with it by: em-hf train --resume {run.folder}"


def evaluations(folder: Path) -> list[Evaluation]:
    """Return the finished evaluations in a run's folder, each from its own subfolder."""
    found = [read_record(path, Evaluation) for path in sorted(folder.glob(f"*/{EVALUATION_FILE}"))]
    return [one for one in found if one.status == "finished"]


def diagnosis(folder: Path) -> Diagnosis | None:
    """Return the result of `em-hf diagnose` for a run's model, or None if it was not run."""
    path = folder / DIAGNOSIS_FILE
    return read_record(path, Diagnosis) if path.is_file() else None


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise OSError unless a run may be written to `folder`: it is new or empty, or a run that may be overwritten."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not holds_run(folder):
        raise OSError(f"{folder} exists and is not a run of em-hf; give another --output")
    if not overwrite:
        raise OSError(f"{folder} already holds a run; give --overwrite to replace it, or another --output")
