"""A training run from its settings to its folder: load, measure, train, measure again, save; and how it goes on."""

import errno
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from em_hf.training.methods import METHODS
from em_hf.training.record import MARK, RunRecord
from em_hf.training.settings import RunSettings


class Interrupted(Exception):
    """The run stopped on request, at a checkpoint from which it can go on."""


def train(
    settings: RunSettings,
    folder: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    command: str = "",
    on_step: Callable[[dict[str, float]], None] = lambda logs: None,
    on_phase: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Train as `settings` say, into `folder`, and return what results.json holds.

    The folder has run.json (settings, versions, state), log.jsonl (a line a step), results.json (before and after, on
    held-out prompts), checkpoints/, and, once the run is finished, the model, its tokenizer and its generation config.

    Args:
        overwrite: replace a finished or broken run that stands there.
        resume: go on from the folder's last whole checkpoint.
        on_step: called with each step's log.
        on_phase: called with a line on what comes next.

    Raises:
        ValueError, OSError: what the user can mend: settings, data, the folder, the disk.
        Interrupted: Ctrl-C; a checkpoint was left.
    """
    from transformers import set_seed

    from em_hf.generation.config import EntropyMinConfig
    from em_hf.generation.mixin import disable_entropy_min, store_config
    from em_hf.models import load_model

    if not resume:
        prepare_folder(folder, overwrite=overwrite)
    prompts, held_out = load_data(settings)
    dtype = "float32" if settings.dtype == "auto" else settings.dtype
    model, tokenizer = load_model(
        settings.model,
        revision=settings.revision,
        dtype=dtype,
        device=settings.device,
        trust_remote_code=settings.trust_remote_code,
    )
    check_lengths(model, tokenizer, [*prompts.prompts, *(held_out.prompts if held_out else [])], settings)
    record = RunRecord(folder, settings, prompts, command, resume)
    method = METHODS[settings.method]
    try:
        em_inf = EntropyMinConfig.from_dict(settings.entropy_min)
        store_config(model, em_inf)
        if held_out and not record.has_rows(2):
            on_phase(f"Measuring the base model on {len(held_out)} held-out prompts.")
            for name, config in (("base", None), ("EM-INF", em_inf)):
                record.add_row(measured(model, tokenizer, held_out, settings, name, config))
            disable_entropy_min(model)
        set_seed(settings.seed)
        with StopAtNextStep() as stop:
            callback = record.callback(on_step, lambda: stop.asked)
            trainer = method.builder()(settings, model, tokenizer, prompts.prompts, folder, [callback])
            from transformers import PrinterCallback

            trainer.remove_callback(PrinterCallback)
            on_phase(f"{method.title}: {settings.steps} steps of {settings.batch_size} prompts.")
            checkpoint = last_checkpoint(folder / "checkpoints") if resume else None
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            if stop.asked and trainer.state.global_step < settings.steps:
                raise Interrupted(f"stopped after step {trainer.state.global_step} of {settings.steps}")
        model = trainer.accelerator.unwrap_model(trainer.model)
        if held_out:
            on_phase(f"Measuring the trained model on {len(held_out)} held-out prompts.")
            for name, config in ((method.title, None), (f"{method.title} + EM-INF", em_inf)):
                record.add_row(measured(model, tokenizer, held_out, settings, name, config))
            disable_entropy_min(model)
        save_whole(model, tokenizer, folder)
        record.finish("finished", steps_done=trainer.state.global_step)
        return record.results
    except (KeyboardInterrupt, Interrupted):
        record.finish("interrupted")
        raise
    except BaseException:
        record.finish("failed")
        raise


def measured(
    model: Any, tokenizer: Any, held_out: Any, settings: RunSettings, name: str, config: Any
) -> dict[str, Any]:
    from em_hf.training.measure import measure

    return measure(
        model,
        tokenizer,
        held_out.prompts,
        held_out.answers,
        name=name,
        entropy_min=config,
        max_new_tokens=settings.max_completion_length,
        samples=settings.eval_samples,
        seed=settings.seed,
        chat_template=settings.chat_template,
    ).to_dict()


def load_data(settings: RunSettings) -> tuple[Any, Any]:
    """The prompts to train on, without answers unless the method needs them, and the held-out ones with answers."""
    from em_hf.data import load_prompts

    assert settings.dataset is not None
    source: dict[str, Any] = {
        "config": settings.dataset_config,
        "prompt_column": settings.prompt_column,
        "answer_column": settings.answer_column,
    }
    needs_answers = METHODS[settings.method].needs_answers
    wanted = settings.steps * settings.batch_size * settings.gradient_accumulation_steps
    if settings.dataset == "pocket":
        train = load_prompts("pocket", split=settings.split, limit=wanted, with_answers=needs_answers)
        held_out = (
            load_prompts("pocket", split="test", limit=settings.eval_problems) if settings.eval_problems else None
        )
        return train, held_out
    everything = load_prompts(settings.dataset, split=settings.split, with_answers=needs_answers, **source)
    count = min(settings.eval_problems, len(everything) // 10)
    if not count:
        return everything, None
    answered = load_prompts(settings.dataset, split=settings.split, with_answers=True, **source)
    return everything.split_off(count)[0], answered.split_off(count)[1]


def check_lengths(model: Any, tokenizer: Any, prompts: list[str], settings: RunSettings) -> None:
    """Refuse a prompt that, with its completion, does not fit into the model's context."""
    from em_hf.models import context_length, encode_prompts

    limit = context_length(model)
    if limit is None:
        return
    room = limit - settings.max_completion_length
    if room < 1:
        raise ValueError(
            f"max_completion_length is {settings.max_completion_length}, but the context of {settings.model} has only "
            f"{limit} tokens; give --max-completion-length less"
        )
    for start in range(0, len(prompts), 1000):
        encode_prompts(tokenizer, prompts[start : start + 1000], chat_template=settings.chat_template, limit=room)


def prepare_folder(folder: Path, *, overwrite: bool) -> None:
    """Make an empty run folder. One that stands there is touched only if it is a run, and overwriting was asked for."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / MARK).is_file():
            raise OSError(f"{folder} exists and is not a run of em-hf; give another --output")
        if not overwrite:
            raise OSError(f"{folder} already holds a run; give --overwrite to replace it, or another --output")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def save_whole(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write model, tokenizer and generation config; config.json, without which nothing loads, comes last."""
    from em_hf.generation.mixin import base_of

    made = folder / ".saving"
    shutil.rmtree(made, ignore_errors=True)
    model.save_pretrained(made)
    base_of(model).generation_config.save_pretrained(made)
    tokenizer.save_pretrained(made)
    last = {"config.json", "adapter_config.json"}
    for path in sorted(made.iterdir(), key=lambda path: path.name in last):
        path.replace(folder / path.name)
    made.rmdir()


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole: with a state that parses, and optimizer, scheduler and random state.

    transformers would take the highest number even if it was half written, and load one without an optimizer silently.
    """
    needed = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
    for path in sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rsplit("-", 1)[1]), reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if all((path / name).is_file() for name in needed):
            return path
    return None


class StopAtNextStep:
    """Within: the first Ctrl-C asks for a stop after the step under way; a second one interrupts at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "StopAtNextStep":
        try:
            self._old = signal.signal(signal.SIGINT, self._ask)
        except ValueError:  # not the main thread: Ctrl-C does not come here
            self._old = None
        return self

    def _ask(self, *args: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *args: Any) -> None:
        if self._old is not None:
            signal.signal(signal.SIGINT, self._old)


@contextmanager
def readable_disk_errors(folder: Path) -> Iterator[None]:
    """Turn "no space left" into a line that names the folder and the way out."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC or "No space left" in str(error):
            raise OSError(f"the disk is full: {folder} could not be written; free some space, then --resume") from error
        raise
