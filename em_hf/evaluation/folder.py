"""The folder of an evaluation: its settings, the answers as they arrive, and the results."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from em_hf.evaluation.settings import EvalSettings
from em_hf.evaluation.strategy import Completion
from em_hf.runs import (
    ANSWERS_FOLDER,
    EVALUATION_FILE,
    Answer,
    Evaluation,
    append_lines,
    read_lines,
    read_record,
    to_json,
    write_json,
)
from em_hf.runs.files import PART
from em_hf.settings import settings_of

Key = tuple[str, int, int]
PROMPTS_HASH = "prompts_sha256"  # the setting that tells the problems of one evaluation from those of another


class EvalFolder:
    """`eval.json` (settings, then results), `answers/<strategy>.jsonl` and lm-eval's own files in `lm_eval/`.

    Answers are appended batch by batch; an evaluation with the same settings resumes from them.

    Raises:
        ValueError: the folder contains something else, or an evaluation with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
        check_place(path)
        self.path = path
        mark = path / EVALUATION_FILE
        if mark.is_file() and overwrite:
            for other in set(path.iterdir()) - {mark}:  # the mark stays until it is replaced, in case this is killed
                shutil.rmtree(other) if other.is_dir() else other.unlink()
            self.write(Evaluation("running", dict(settings)))
        elif mark.is_file():
            _same_settings(path, read_record(mark, Evaluation).settings, to_json(settings))
        else:
            self.write(Evaluation("running", dict(settings)))

    def write(self, record: Evaluation) -> None:
        """Replace `eval.json` atomically."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / EVALUATION_FILE, record)

    def answers(self, strategy: str) -> dict[Key, Completion]:
        """Return the answers of an earlier run; a truncated line is skipped."""
        found = read_lines(self._answers(strategy), Answer, skip_broken=True)
        return {one.key: Completion(one.text, one.tokens, one.prompt_tokens, one.nats, one.seconds) for one in found}

    def keep(self, strategy: str) -> Callable[[dict[Key, Completion]], None]:
        """Return a function that appends a batch of answers to the strategy's file."""
        path = self._answers(strategy)
        path.parent.mkdir(parents=True, exist_ok=True)

        def append(new: dict[Key, Completion]) -> None:
            append_lines(path, [Answer(key, **one.to_dict()) for key, one in new.items()])

        return append

    def save_lm_eval(self, strategy: str, results: dict[str, Any], *, model: str) -> None:
        """Write lm-eval's result and sample files for this strategy, without this machine's paths."""
        from lm_eval.loggers import EvaluationTracker

        place = self.path / "lm_eval" / file_name(strategy)
        shutil.rmtree(place, ignore_errors=True)
        for config in results.get("configs", {}).values():
            for name in ("config_source", "data_dir"):
                config.get("metadata", {}).pop(name, None)
        results["config"]["model"] = results["model_name"] = model
        samples = results.pop("samples", {})
        tracker = EvaluationTracker(output_path=str(place))
        tracker.save_results_aggregated(results, samples)
        for task, rows in samples.items():
            tracker.save_results_samples(task, rows)
        # lm-eval puts them into a folder named after the model, whose name it does not know here.
        for inner in [p for p in place.iterdir() if p.is_dir()]:
            for file in inner.iterdir():
                file.replace(place / file.name)
            inner.rmdir()

    def _answers(self, strategy: str) -> Path:
        return self.path / ANSWERS_FOLDER / f"{file_name(strategy)}.jsonl"


def file_name(strategy: str) -> str:
    """Return a strategy's name as a file name valid on every system, such as `em-inf,n-grad-steps=3` with a comma."""
    return strategy.replace(":", ",")


def check_place(path: Path) -> None:
    """Refuse a folder that cannot hold an evaluation, before anything is loaded.

    Raises:
        ValueError: it is a file, or contains something else.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file: name a folder for the results")
    own = (EVALUATION_FILE, EVALUATION_FILE + PART)  # the second alone: killed before its first record was in place
    if path.is_dir() and any(path.iterdir()) and not any((path / name).is_file() for name in own):
        raise ValueError(f"{path} holds something other than an evaluation: name an empty or a new folder")


def _same_settings(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    known = settings_of(EvalSettings)
    for name in now:
        # A setting that the version of em-hf which began the evaluation did not have was at its default.
        was = before.get(name, known[name].default if name in known else None)
        if was == now[name]:
            continue
        found = f"an evaluation with other settings ({name} was {was!r}, now {now[name]!r})"
        again = "ask for the same again to go on with it, "
        if name not in {**before, **known} and PROMPTS_HASH not in before:
            found, again = f"an evaluation by an earlier em-hf, which did not record its {name}", ""
        elif name == PROMPTS_HASH:
            found = "answers to other prompts: the problems, or how they are asked, have changed since"
        raise ValueError(f"{path} holds {found}: {again}give another --output, or --overwrite")
