"""What a run writes into its folder as it progresses: its state, a line per step, and the measured rows."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from em_hf import runs
from em_hf.runs import DatasetFacts, LogLine, ResultRow, Results, RunFacts
from em_hf.training.distributed import any_process, is_main, world_size
from em_hf.training.settings import RunSettings

LOGGED = {  # what a trainer logs, and its name in a LogLine
    "loss": "loss",
    "entropy": "entropy",
    "reward": "reward",
    "kl": "kl",
    "completion_length": "completion_length",
    "completions/mean_length": "completion_length",
    "tokens": "tokens",
    "tokens_with_prompts": "tokens_with_prompts",
    "num_tokens": "tokens_with_prompts",  # TRL's running total
    "mean_token_accuracy": "token_accuracy",
    "grad_norm": "grad_norm",
}


class Diverged(ValueError):
    """Training produced NaN or infinity and cannot continue."""

    def __init__(self, what: str, settings: RunSettings) -> None:
        super().__init__(
            f"the run diverged: {what}; start again with a smaller --learning-rate (it is {settings.learning_rate:g})"
        )


class RunRecorder:
    """Keeps a run's `facts` and `results`, and writes them; only the main process writes.

    Args:
        prompts: The prompts to train on.
        resume: Continue the records in the folder.

    Raises:
        ValueError: The resumed run was started with other data or a different number of processes.
    """

    def __init__(
        self,
        folder: Path,
        settings: RunSettings,
        prompts: Any,
        *,
        command: str,
        resume: bool,
    ) -> None:
        self.folder, self.settings, self.writes = folder, settings, is_main()
        earlier = runs.read_run(folder) if resume else None
        if earlier is not None:
            _check_same(earlier, prompts)
        self.results = (earlier.results if earlier else None) or Results()
        self.facts = RunFacts.of_method(
            settings.method,
            "running",
            name=folder.name,
            base_model=settings.model,
            base_revision=settings.revision,
            dataset=DatasetFacts(
                name=prompts.name,
                split=prompts.split,
                level=prompts.level,
                prompt_column=prompts.prompt_column,
                answer_column=prompts.answer_column,
                n=len(prompts),
                fingerprint=prompts.fingerprint,
            ),
            settings=asdict(settings),
            entropy_min=settings.entropy_min,
            lora=settings.lora,
            seed=settings.seed,
            processes=world_size(),
            command=command,
            started=runs.now(),
        )
        if earlier is not None:
            for name in ("command", "started", "steps_done", "guard", "trained", "compute"):
                setattr(self.facts, name, getattr(earlier.facts, name))
        self.write()

    @property
    def log(self) -> list[LogLine]:
        """The lines of the steps done so far."""
        return runs.read_lines(self.folder / runs.LOG_FILE, LogLine)

    def write(self) -> None:
        if self.writes:
            runs.write_json(self.folder / runs.RUN_FILE, self.facts)

    def has_rows(self, names: Iterable[str]) -> bool:
        return set(names) <= {row.name for row in self.results.rows}

    def add_row(self, row: ResultRow, *, n: int) -> None:
        """Add a result row, measured on `n` prompts, in place of any earlier one with its name."""
        self.results.sampling = {
            "temperature": 1.0,
            "top_k": 0,
            "top_p": 1.0,
            "max_new_tokens": self.settings.max_completion_length,
            "seed": self.settings.seed,
            "samples": self.settings.eval_samples,
        }
        self.results.n = n
        self.results.rows = [old for old in self.results.rows if old.name != row.name] + [row]
        if self.writes:
            runs.write_json(self.folder / runs.RESULTS_FILE, self.results)

    def finish(self, status: runs.Status) -> None:
        self.facts.status, self.facts.finished = status, runs.now()
        try:
            self.write()
        except OSError:
            if status == "finished":  # failing to record another failure would only hide it
                raise

    def callback(
        self, on_step: Callable[[dict[str, float]], None], stop_asked: Callable[[], bool], guard: Any = None
    ) -> "RecordingCallback":
        """Return the callback to add to the trainer, after all others."""
        return RecordingCallback(self, on_step, stop_asked, guard)


class RecordingCallback(TrainerCallback):
    """Writes the log and the guard's verdict, and ends the run with a checkpoint once a stop is asked for."""

    def __init__(
        self,
        record: RunRecorder,
        on_step: Callable[[dict[str, float]], None],
        stop_asked: Callable[[], bool],
        guard: Any,
    ) -> None:
        self.record, self.on_step, self.stop_asked, self.guard = record, on_step, stop_asked, guard
        self.path = record.folder / runs.LOG_FILE
        self.started = time.perf_counter()
        self.tokens_so_far: float = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.record.writes:
            return
        kept = runs.drop_lines_after(self.path, LogLine, state.global_step)
        runs.check_steps(kept, state.global_step, self.record.folder)
        self.started = time.perf_counter() - ((kept[-1].seconds or 0.0) if kept else 0.0)
        self.tokens_so_far = (
            state.num_input_tokens_seen
        )  # TRL's RL trainers continue counting from here; SFT's restarts

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.record.facts.steps_done = state.global_step
        if any_process(self.stop_asked()):
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.guard is not None:
            self.record.facts.guard = self.guard.verdict
        self.record.write()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" not in logs or not self.record.writes:
            return
        line = LogLine(state.global_step, round(time.perf_counter() - self.started, 3))
        for theirs, ours in LOGGED.items():
            if logs.get(theirs) is not None:
                setattr(line, ours, logs[theirs])
        if line.loss is not None and not math.isfinite(line.loss):
            raise Diverged(f"the loss of step {line.step} is {line.loss}", self.record.settings)
        count_tokens(line, self.tokens_so_far, self.record.settings)
        self.tokens_so_far = logs.get("num_tokens", 0)
        runs.append_lines(self.path, [line])
        self.on_step({name: value for name, value in asdict(line).items() if value is not None})


def count_tokens(line: LogLine, counted_before: float, settings: RunSettings) -> None:
    """Turn TRL's running count of tokens into that of the step, and add the count of sampled ones."""
    if line.tokens is not None or line.tokens_with_prompts is None:
        return
    if line.tokens_with_prompts >= counted_before:
        line.tokens_with_prompts -= counted_before
    if line.completion_length is not None:
        samples = settings.samples_per_batch * settings.gradient_accumulation_steps * world_size()
        line.tokens = round(line.completion_length * samples)


def _check_same(earlier: runs.Run, prompts: Any) -> None:
    facts = earlier.facts
    if facts.processes != world_size():
        raise ValueError(
            f"{earlier.folder} was begun in {facts.processes} processes, not {world_size()}, so the run could not go "
            f"on as it was: give --num-processes {facts.processes}"
        )
    if facts.dataset is None or facts.dataset.fingerprint != prompts.fingerprint:
        raise ValueError(
            f"{prompts.name} has changed since {earlier.folder} was begun, so the run cannot go on as it was: restore "
            "the dataset, or start a new run"
        )
