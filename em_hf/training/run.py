"""A training run from its settings to its folder: load, measure, train, measure again, save; and how it goes on."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from em_hf.methods import METHODS
from em_hf.training.checkpoints import (
    CHECKPOINTS,
    BestWeights,
    check_folder,
    drop_broken_checkpoints,
    last_checkpoint,
    make_folder,
    readable_disk_errors,
    save_whole,
    steps_of,
)
from em_hf.training.compute import compute_facts
from em_hf.training.distributed import check_launched, is_main, wait_for_everyone
from em_hf.training.prepare import check_lengths, load, load_base, load_data
from em_hf.training.record import LOG, PROBE, RunRecord, read_log
from em_hf.training.settings import RunSettings, lora_config


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
    check_launched()
    if not resume and is_main():
        check_folder(folder, overwrite=overwrite)
    if settings.lora:
        lora_config(settings)  # needs an extra: said before anything is loaded
    prompts, probe, held_out = load_data(settings)
    model, tokenizer = load_base(settings)
    everyone = [prompt for part in (prompts, probe, held_out) if part is not None for prompt in part.prompts]
    check_lengths(model, tokenizer, everyone, settings)
    title = METHODS[settings.method].title
    with readable_disk_errors(folder):
        if not resume and is_main():
            make_folder(folder)
        wait_for_everyone()
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
            if record.facts.get("trained"):
                model = load(settings, str(folder))[0]
            else:
                measured(model, "base", "EM-INF")
                on_phase(f"{title}: {settings.steps} steps of {settings.batch_size} prompts.")
                model, weights = fit(settings, model, tokenizer, prompts, probe, folder, record, on_step, resume)
                if is_main():
                    save_whole(model, tokenizer, folder, weights=weights)
                record.facts |= {"trained": True, "compute": compute_facts(settings, model, read_log(folder / LOG))}
                record.write()
            measured(model, title, f"{title} + EM-INF")
            record.finish("finished")
            wait_for_everyone()
        except BaseException as error:
            if is_main():
                drop_broken_checkpoints(folder / CHECKPOINTS)  # which makes room for the record where the disk is full
            record.finish("interrupted" if isinstance(error, KeyboardInterrupt | Interrupted) else "failed")
            raise
    return record.results


def fit(
    settings: RunSettings,
    model: Any,
    tokenizer: Any,
    data: Any,
    probe: Any,
    folder: Path,
    record: RunRecord,
    on_step: Callable[[dict[str, float]], None],
    resume: bool,
) -> tuple[Any, dict[str, Any] | None]:
    """Train, from the last whole checkpoint if resumed; the trained model, and its weights where it is sharded."""
    from transformers import PrinterCallback, set_seed

    checkpoint = last_checkpoint(folder / CHECKPOINTS) if resume else None
    if checkpoint is not None and steps_of(checkpoint) >= settings.steps:
        # All that is left to do is to measure and save; the Trainer would take another step before it looks.
        model = load(settings, str(checkpoint))[0]
        if settings.guard:
            record.facts["guard"] = end_of_guard(model, folder, settings.steps).to_dict()
        return model, None
    set_seed(settings.seed)
    with StopAtNextStep() as stop:
        build = METHODS[settings.method].builder()
        trainer = build(settings, model, tokenizer, data, folder, [])
        trainer.remove_callback(PrinterCallback)
        guard = add_guard(trainer, settings, probe, folder)
        trainer.add_callback(record.callback(on_step, lambda: stop.asked, guard))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        done = trainer.state.global_step
        if stop.asked and done < settings.steps:
            raise Interrupted(f"Stopped after step {done} of {settings.steps}")
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    # Every process takes part in putting sharded weights together.
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else None
    return trainer.accelerator.unwrap_model(trainer.model), weights


def add_guard(trainer: Any, settings: RunSettings, probe: Any, folder: Path) -> Any:
    """The collapse guard, on the prompts to watch where there are some; None where the run has none."""
    from em_hf.training.callbacks import EntropyCallback
    from em_hf.training.collapse import EntropyCollapseCallback

    if not settings.guard:
        return None
    watch = None
    if probe is not None:
        watch = EntropyCallback(
            trainer,
            probe.prompts,
            probe.answers,
            every=settings.probe_every,
            max_new_tokens=settings.max_completion_length,
            seed=settings.seed,
            chat_template=settings.chat_template,
            file=folder / PROBE,
        )
    # ZeRO gives no process the whole weights to keep: there the guard only stops the run.
    kept = not trainer.is_deepspeed_enabled
    guard = EntropyCollapseCallback(trainer, watch, every=settings.probe_every, restore_best=kept)
    for callback in (watch, guard):
        if callback is not None:
            trainer.add_callback(callback)
    return guard


def end_of_guard(model: Any, folder: Path, steps: int) -> Any:
    """What the guard had left to do in a run that was cut off between its last step and its end: the verdict."""
    from em_hf.training.collapse import Limits, judged, put_best_back
    from em_hf.training.trace import Trace

    best = BestWeights(model, folder / CHECKPOINTS / "best")
    probe, logs = folder / PROBE, folder / CHECKPOINTS / "guard.jsonl"
    readings = Trace(probe if probe.is_file() else logs).read(steps)
    verdict = judged(readings, Limits(), best)
    if best.facts() and readings:
        put_best_back(best, readings, verdict)
    return verdict


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
