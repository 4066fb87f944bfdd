"""A training run from its settings to its folder: load, measure, train, measure again, save; and how it goes on."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from em_hf.training.folder import (
    CHECKPOINTS,
    check_folder,
    drop_broken_checkpoints,
    last_checkpoint,
    make_folder,
    readable_disk_errors,
    save_whole,
    steps_of,
)
from em_hf.training.methods import METHODS
from em_hf.training.record import RunRecord
from em_hf.training.settings import RunSettings, load_precision, lora_config


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
    on_measure: Callable[[str, int, int], None] = lambda row, done, total: None,
) -> dict[str, Any]:
    """Train as `settings` say, into `folder`, and return what results.json holds.

    The folder has run.json (settings, versions, state), log.jsonl (a line a step), results.json (before and after, on
    held-out prompts), checkpoints/, and, once the run is finished, the model, its tokenizer and its generation config.
    Nothing is written, and nothing overwritten, before model and data are loaded and found to fit.

    Args:
        overwrite: replace a finished or broken run that stands there.
        resume: go on from the folder's last whole checkpoint, or from the start where there is none yet.
        on_step: called with each step's log.
        on_phase: called with a line on what comes next.
        on_measure: called with a result row's name, the prompts done and their number.

    Raises:
        ValueError, OSError: what the user can mend: settings, data, the folder, the disk.
        Interrupted: Ctrl-C; a checkpoint was left.
    """
    if not resume:
        check_folder(folder, overwrite=overwrite)
    if settings.lora:
        lora_config(settings)  # needs an extra: said before anything is loaded
    prompts, held_out = load_data(settings)
    model, tokenizer = load_base(settings)
    check_lengths(model, tokenizer, [*prompts.prompts, *(held_out.prompts if held_out else [])], settings)
    title = METHODS[settings.method].title
    with readable_disk_errors(folder):
        if not resume:
            make_folder(folder)
        revision = settings.revision or getattr(model.config, "_commit_hash", None)
        record = RunRecord(folder, settings, prompts, command=command, revision=revision, resume=resume)

        def measured(model: Any, *names: str) -> None:
            if held_out is None:
                on_phase("Nothing is held out, so nothing is measured.")
            elif not record.has_rows(names):
                on_phase(f"Measuring {names[0]} and {names[1]} on {len(held_out)} held-out prompts.")
                for row in measure_pair(model, tokenizer, held_out, settings, names, on_measure):
                    record.add_row(row, n=len(held_out))

        try:
            measured(model, "base", "EM-INF")
            on_phase(f"{title}: {settings.steps} steps of {settings.batch_size} prompts.")
            model, steps_done = fit(settings, model, tokenizer, prompts, folder, record, on_step, resume)
            measured(model, title, f"{title} + EM-INF")
            save_whole(model, tokenizer, folder)
            record.finish("finished", steps_done=steps_done)
        except BaseException as error:
            drop_broken_checkpoints(folder / CHECKPOINTS)  # which makes room for the record where the disk is full
            record.finish("interrupted" if isinstance(error, KeyboardInterrupt | Interrupted) else "failed")
            raise
    return record.results


def load_base(settings: RunSettings) -> tuple[Any, Any]:
    """The model to train, with the EM settings stored in it, and its tokenizer."""
    from em_hf.generation.mixin import base_of

    model, tokenizer = load(settings, settings.model, revision=settings.revision)
    if base_of(model) is not model:
        raise ValueError(
            f"model is {settings.model}, a LoRA adapter: merge it into its base model (merge_and_unload in PEFT), save "
            "that, and train on from there"
        )
    return model, tokenizer


def load(settings: RunSettings, name: str, revision: str | None = None) -> tuple[Any, Any]:
    """The model and tokenizer of that name, as this run has them: its precision, device and EM settings."""
    from em_hf.generation.config import EntropyMinConfig
    from em_hf.generation.mixin import base_of, store_config
    from em_hf.models import load_model

    model, tokenizer = load_model(
        name,
        revision=revision,
        dtype=load_precision(settings),
        device=settings.device,
        trust_remote_code=settings.trust_remote_code,
    )
    config = base_of(model).generation_config
    try:
        config.validate(strict=True)
    except ValueError:
        # Some published models have a temperature without do_sample. transformers loads that, and saves it as it came,
        # but not once something, such as our settings, has been put into it.
        config.do_sample = True
        try:
            config.validate(strict=True)
        except ValueError as error:
            why = " ".join(str(error).split())
            raise ValueError(f"{name} has a generation_config.json that would not save, so mend it: {why}") from error
    store_config(model, EntropyMinConfig.from_dict(settings.entropy_min))
    return model, tokenizer


def fit(
    settings: RunSettings,
    model: Any,
    tokenizer: Any,
    data: Any,
    folder: Path,
    record: RunRecord,
    on_step: Callable[[dict[str, float]], None],
    resume: bool,
) -> tuple[Any, int]:
    """Train, from the last whole checkpoint if resumed; the trained model and the number of steps done."""
    from transformers import PrinterCallback, set_seed

    checkpoint = last_checkpoint(folder / CHECKPOINTS) if resume else None
    if checkpoint is not None and steps_of(checkpoint) >= settings.steps:
        # All that is left to do is to measure and save; the Trainer would take another step before it looks.
        return load(settings, str(checkpoint))[0], steps_of(checkpoint)
    set_seed(settings.seed)
    with StopAtNextStep() as stop:
        callback = record.callback(on_step, lambda: stop.asked)
        build = METHODS[settings.method].builder()
        trainer = build(settings, model, tokenizer, data, folder, [callback])
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        done = trainer.state.global_step
        if stop.asked and done < settings.steps:
            raise Interrupted(f"Stopped after step {done} of {settings.steps}")
    return trainer.accelerator.unwrap_model(trainer.model), done


def measure_pair(
    model: Any,
    tokenizer: Any,
    held_out: Any,
    settings: RunSettings,
    names: tuple[str, ...],
    on_measure: Callable[[str, int, int], None],
) -> list[dict[str, Any]]:
    """A result row for the model as it is, and one with EM-INF; the model's class is as before afterwards."""
    from em_hf.generation.config import EntropyMinConfig
    from em_hf.generation.mixin import disable_entropy_min
    from em_hf.training.measure import measure

    rows = []
    for name, config in zip(names, (None, EntropyMinConfig.from_dict(settings.entropy_min)), strict=True):
        row = measure(
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
            on_progress=lambda done, name=name: on_measure(name, done, len(held_out)),  # type: ignore[misc]
        )
        rows.append(row.to_dict())
    disable_entropy_min(model)
    return rows


def load_data(settings: RunSettings) -> tuple[Any, Any]:
    """The prompts to train on, without labels unless the method needs them, and the held-out ones with answers."""
    from em_hf.data import load_prompts

    assert settings.dataset is not None
    source: dict[str, Any] = {"prompt_column": settings.prompt_column, "answer_column": settings.answer_column}
    needs = METHODS[settings.method].needs
    labels: dict[str, Any] = {"with_answers": needs == "answers", "with_solutions": needs == "solutions"}
    if settings.dataset == "pocket":
        wanted = settings.steps * settings.batch_size * settings.gradient_accumulation_steps
        prompts = load_prompts("pocket", split=settings.split, limit=wanted, **labels, **source)
        if not settings.eval_problems:
            return prompts, None
        if settings.split == "test":
            raise ValueError(
                "split is test, which holds the pocket problems to measure on: train on another, or give "
                "--eval-problems 0"
            )
        return prompts, load_prompts("pocket", split="test", limit=settings.eval_problems, **source)
    source["config"] = settings.dataset_config
    source["limit"] = settings.limit
    everything = load_prompts(settings.dataset, split=settings.split, **labels, **source)
    count = min(settings.eval_problems, len(everything) // 10)
    if not count:
        return everything, None
    if needs and everything.answers is None and everything.solutions is None:
        raise ValueError(f"{settings.method} needs {needs}, but {settings.dataset} has none: give --answer-column")
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
