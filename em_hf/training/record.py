"""The files of a run folder: run.json, log.jsonl and results.json, each written whole or not at all."""

import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from em_hf.methods import METHODS
from em_hf.training.distributed import any_process, is_main, world_size
from em_hf.training.settings import RunSettings

MARK = "run.json"
LOG = "log.jsonl"
PROBE = "probe.jsonl"
LOGGED = {  # what a trainer logs, and its name in log.jsonl
    "loss": "loss",
    "entropy": "entropy",
    "reward": "reward",
    "kl": "kl",
    "completion_length": "completion_length",
    "completions/mean_length": "completion_length",
    "tokens": "tokens",
    "tokens_with_prompts": "tokens_with_prompts",
    "num_tokens": "tokens_with_prompts",  # of TRL, since it began to count
    "mean_token_accuracy": "token_accuracy",
    "grad_norm": "grad_norm",
}


class RunRecord:
    """run.json, log.jsonl and results.json of a run, each written whole or not at all."""

    def __init__(
        self,
        folder: Path,
        settings: RunSettings,
        prompts: Any,
        *,
        command: str,
        revision: str | None,
        resume: bool,
    ) -> None:
        self.folder, self.settings, self.writes = folder, settings, is_main()
        self.results: dict[str, Any] = {"rows": []}
        if resume and (folder / "results.json").is_file():
            self.results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        earlier = json.loads((folder / MARK).read_text(encoding="utf-8")) if resume else {}
        processes = earlier.get("processes", world_size())
        if processes != world_size():
            raise ValueError(
                f"{folder} was begun in {processes} processes, not {world_size()}, so the run could not go on as "
                f"it was: give --num-processes {processes}"
            )
        if resume and earlier["dataset"]["fingerprint"] != prompts.fingerprint:
            raise ValueError(
                f"{prompts.name} has changed since {folder} was begun, so the run cannot go on as it was: restore the "
                "dataset, or start a new run"
            )
        self.facts: dict[str, Any] = {
            "em_hf": metadata.version("em-hf"),
            "name": folder.name,
            "status": "running",
            "method": settings.method,
            "method_title": METHODS[settings.method].title,
            "objective": METHODS[settings.method].objective,
            "labels": METHODS[settings.method].needs,
            "loop": METHODS[settings.method].loop,
            "source": METHODS[settings.method].source,
            "base_model": settings.model,
            "base_revision": revision,
            "dataset": {
                "name": prompts.name,
                "split": prompts.split,
                "prompt_column": prompts.prompt_column,
                "answer_column": prompts.answer_column,
                "n": len(prompts),
                "fingerprint": prompts.fingerprint,
            },
            "settings": asdict(settings),
            "entropy_min": settings.entropy_min,
            "lora": settings.lora,
            "seed": settings.seed,
            "processes": world_size(),
            "versions": versions(),
            "command": earlier.get("command", command),
            "started": earlier.get("started", now()),
            "finished": None,
            "steps_done": earlier.get("steps_done", 0),
        }
        self.facts |= {name: earlier[name] for name in ("guard", "trained", "compute") if name in earlier}
        self.write()

    def write(self) -> None:
        if self.writes:
            write_json(self.folder / MARK, self.facts)

    def has_rows(self, names: Iterable[str]) -> bool:
        return set(names) <= {row["name"] for row in self.results["rows"]}

    def add_row(self, row: dict[str, Any], *, n: int) -> None:
        """Put a result row, measured on `n` prompts, into results.json."""
        self.results["sampling"] = {
            "temperature": 1.0,
            "top_k": 0,
            "top_p": 1.0,
            "max_new_tokens": self.settings.max_completion_length,
            "seed": self.settings.seed,
            "samples": self.settings.eval_samples,
        }
        self.results["n"] = n
        self.results["rows"] = [old for old in self.results["rows"] if old["name"] != row["name"]] + [row]
        if self.writes:
            write_json(self.folder / "results.json", self.results)

    def finish(self, status: str, steps_done: int | None = None) -> None:
        self.facts |= {"status": status, "finished": now()}
        if steps_done is not None:
            self.facts["steps_done"] = steps_done
        try:
            self.write()
        except OSError:
            if status == "finished":  # a failure to note another failure would only hide it
                raise

    def callback(
        self, on_step: Callable[[dict[str, float]], None], stop_asked: Callable[[], bool], guard: Any = None
    ) -> Any:
        """Writes the log and the guard's verdict, and ends the run with a checkpoint when Ctrl-C was pressed."""
        from transformers import TrainerCallback

        record, log = self, self.folder / LOG

        class Callback(TrainerCallback):
            started = time.perf_counter()
            tokens_so_far = 0.0

            def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if not record.writes:
                    return
                # Steps after the checkpoint are done again.
                kept = [line for line in read_log(log) if line["step"] <= state.global_step]
                log.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
                self.started = time.perf_counter() - (kept[-1]["seconds"] if kept else 0)
                self.tokens_so_far = (
                    state.num_input_tokens_seen
                )  # from which TRL's RL trainers go on; SFT's begins anew

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                record.facts["steps_done"] = state.global_step
                if any_process(stop_asked()):
                    control.should_save = control.should_training_stop = True

            def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if guard is not None:
                    record.facts["guard"] = guard.verdict.to_dict()
                record.write()

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
                if "loss" not in logs or not record.writes:
                    return
                line = {"step": state.global_step, "seconds": round(time.perf_counter() - self.started, 3)}
                line |= {ours: logs[theirs] for theirs, ours in LOGGED.items() if logs.get(theirs) is not None}
                count_tokens(line, self.tokens_so_far, record.settings)
                self.tokens_so_far = logs.get("num_tokens", 0)
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                on_step(line)

        return Callback()


def count_tokens(line: dict[str, Any], counted_before: float, settings: RunSettings) -> None:
    """Where the trainer is TRL's: make its count of tokens that of the step, and add that of the sampled ones."""
    if "tokens" in line or "tokens_with_prompts" not in line:
        return
    if line["tokens_with_prompts"] >= counted_before:
        line["tokens_with_prompts"] -= counted_before
    if "completion_length" in line:
        prompts = settings.batch_size * settings.gradient_accumulation_steps * world_size()
        line["tokens"] = round(line["completion_length"] * prompts * settings.num_generations)


def read_log(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def write_json(path: Path, value: Any) -> None:
    """Write and move into place, so that a reader never finds half a file."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in ("torch", "transformers", "accelerate", "trl", "peft", "datasets", "safetensors", "huggingface-hub"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
