"""Run folders as `em-hf train` writes them: found, read and checked."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from em_hf import runs

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
    """Return the run in `folder`, finished or not.

    Raises:
        ValueError: There is no such folder, it is not a run of em-hf, or one of its records cannot be read.
    """
    return in_words(runs.read_run(folder))


def newest_run(root: str | Path = "runs") -> Run:
    """Return the run under `root` that finished last.

    Raises:
        ValueError: There is none; if one was begun and not finished, the message says how to go on with it.
    """
    return in_words(runs.newest_run(root))


def unfinished(run: Run) -> str:
    """Return what to do about a run that has not finished, as a clause."""
    return runs.unfinished(run)  # type: ignore[arg-type]


def in_words(run: runs.Run) -> Run:
    """Return the run with its records as plain values, as the card and the provenance show them."""
    log = [{name: value for name, value in runs.to_json(line).items() if value is not None} for line in run.log]
    results = None if run.results is None else {k: v for k, v in runs.to_json(run.results).items() if v is not None}
    return Run(run.folder, runs.to_json(run.facts), log, results)
