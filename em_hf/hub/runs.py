"""Run folders as `em-hf train` writes them: found, read and checked; never written here."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MARK = "run.json"
POCKETS = {
    "pocket-reasoner": "the pocket reasoner (the small word-problem model that comes with em-hf)",
    "pocket-misled": 'the misled pocket model (the small word-problem model of em-hf that reads "fewer" as "more")',
}


def pocket_in_words(base: Any) -> str | None:
    """What the pocket model of this name is; None for any other model."""
    return POCKETS.get(base) if isinstance(base, str) else None


@dataclass(frozen=True)
class Run:
    """What is known of one training run.

    Attributes:
        folder: where the trained model and its records lie.
        facts: `run.json`: name, status, method, base model, dataset, settings, versions, …
        log: `log.jsonl`: one dict a training step (step, loss, entropy in nats, completion_length in tokens, …).
        results: `results.json`: the model before and after, measured; None where nothing was measured.
    """

    folder: Path
    facts: dict[str, Any]
    log: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return str(self.facts.get("name") or self.folder.resolve().name)

    @property
    def status(self) -> str:
        return str(self.facts.get("status", "unknown"))

    @property
    def is_adapter(self) -> bool:
        """Whether the folder holds a PEFT adapter and not a whole model."""
        return (self.folder / "adapter_config.json").is_file()


def read_run(folder: str | Path) -> Run:
    """The run in `folder`, finished or not.

    Raises:
        ValueError: there is no such folder, it is not a run of em-hf, or one of its records cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no run folder at {folder}; make one with: em-hf train --output {folder}")
    if not (folder / MARK).is_file():
        raise ValueError(f"{folder} is not a run of em-hf: it has no {MARK}; name a folder that `em-hf train` wrote")
    facts = _read_json(folder / MARK)
    results = _read_json(folder / "results.json") if (folder / "results.json").is_file() else None
    return Run(folder=folder, facts=facts, log=_read_log(folder / "log.jsonl"), results=results)


def newest_run(root: str | Path = "runs") -> Run:
    """The run under `root` that finished last.

    Raises:
        ValueError: there is none; where one was begun and not finished, the message says how to go on with it.
    """
    root = Path(root)
    folders = sorted(path.parent for path in root.glob(f"*/{MARK}")) if root.is_dir() else []
    runs = [read_run(folder) for folder in folders]
    finished = [run for run in runs if run.status == "finished"]
    if finished:
        return max(finished, key=lambda run: (str(run.facts.get("finished", "")), run.folder.name))
    if runs:
        begun = max(runs, key=lambda run: (str(run.facts.get("started", "")), run.folder.name))
        raise ValueError(f"no run under {root}/ has finished; {unfinished(begun)}")
    raise ValueError(f"there is no run under {root}/; make one with: em-hf train, or name a run folder")


def unfinished(run: Run) -> str:
    """What to do about a run that has not finished, as a clause."""
    return f"the run {run.folder} is {run.status}; go on with it by: em-hf train --resume {run.folder}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}); the run folder is damaged, train again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold an object, not {type(value).__name__}; the run folder is damaged")
    return value


def _read_log(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        return [json.loads(line) for line in lines if line.strip()]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} has a line that is not JSON ({error}); the run folder is damaged") from error
