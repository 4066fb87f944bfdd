"""A training run from its settings to its folder: load, measure, train, measure again, save; and how it resumes."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from em_hf import runs
from em_hf.methods import METHODS
from em_hf.runs import check_folder
from em_hf.training.checkpoints import (
    BestWeights,
    drop_damaged_checkpoints,
    last_checkpoint,
    make_folder,
    readable_checkpoint_errors,
    readable_disk_errors,
    save_whole,
    steps_of,
)
from em_hf.training.compute import compute_facts
from em_hf.training.distributed import check_launched, is_main, wait_for_everyone
from em_hf.training.prepare import check_extras, check_lengths, check_prompts, few_held_out, load, load_base, load_data
from em_hf.training.recorder import Diverged, RunRecorder
from em_hf.training.settings import RunSettings
from em_hf.training.vllm import check_vllm


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
    make_callbacks: Callable[[Any], list[Any]] = lambda trainer: [],
) -> dict[str, Any]:
    """Train with `settings`, write the run into `folder` (see `em_hf.runs`), and return the content of results.json.

    Nothing is written or overwritten before model and data are loaded and checked. Once the run is finished the folder
    has the model, its tokenizer and its generation config.

    Args:
        overwrite: Replace an existing run.
        resume: Continue from the folder's newest whole checkpoint, or from the start if there is none yet.
        on_step: Called with each step's log.
        on_phase: Called with a line about what comes next, or about a problem that was handled.
        on_measure: Called with a result row's name, the number of prompts done and their total.
        make_callbacks: Called with the trainer; returns more callbacks for it.

    Raises:
        ValueError, OSError, ImportError: Errors the user can fix: settings, data, the folder, the disk, a missing
            extra, a run that diverged. The run can be resumed.
        Interrupted: Ctrl-C was pressed; a checkpoint was saved.
    """
    from em_hf.generation.mixin import settings_of_model
    from em_hf.models import hub_commit

    check_launched()
    check_extras(settings)
    if not resume and is_main():
        check_folder(folder, overwrite=overwrite)
    if settings.vllm:
        check_vllm(settings.vllm, settings.vllm_server, settings.model)
    prompts, probe, held_out = load_data(settings)
    check_prompts(settings, prompts)
    model, tokenizer = load_base(settings)
    em_inf = settings_of_model(model)
    # What loads the base model again (a resumed run, the reference, PEFT) gets these weights, wherever a branch moves.
    revision = hub_commit(settings.model, settings.revision)
    settings = replace(settings, entropy_min=em_inf.to_dict(), revision=revision)
    everything = [part for part in (prompts, probe, held_out) if part is not None]
    note = few_held_out(settings, held_out, sum(map(len, everything)))
    everyone = [prompt for part in everything for prompt in part.prompts]
    check_lengths(model, tokenizer, everyone, settings)
    title = METHODS[settings.method].title
    with readable_disk_errors(folder):
        if not resume and is_main():
            make_folder(folder)
        wait_for_everyone()
        record = RunRecorder(folder, settings, prompts, command=command, resume=resume)

        record.results.note = note

        def measured(model: Any, sampled: str, with_em_inf: str, *, trained: bool) -> None:
            if held_out is None:
                on_phase("Nothing is held out, so nothing is measured.")
                return
            ways: dict[str, dict[str, Any]] = {sampled: {}, with_em_inf: {"entropy_min": em_inf}}
            if held_out.answers is not None:  # without them greedy decoding has nothing to show
                ways = {f"{sampled} (greedy)": {"greedy": True}, **ways}
            if record.has_rows(ways):
                return
            if note:
                on_phase(note)
            on_phase(f"Measuring {sampled} and {with_em_inf} on {len(held_out)} held-out prompts.")
            for row in measure_ways(model, tokenizer, held_out, settings, ways, on_measure, trained=trained):
                record.add_row(row, n=len(held_out))

        try:
            if record.facts.trained:
                model = load(settings, str(folder))[0]
            else:
                measured(model, "base", "EM-INF", trained=False)
                on_phase(f"{title}: {settings.steps} steps of {settings.batch_size} prompts.")
                model, weights = fit(
                    settings,
                    model,
                    tokenizer,
                    prompts,
                    probe,
                    folder,
                    record,
                    on_step,
                    on_phase,
                    make_callbacks,
                    resume,
                )
                if is_main():
                    save_whole(model, tokenizer, folder, weights=weights)
                record.facts.trained, record.facts.compute = True, compute_facts(settings, model, record.log)
                record.write()
            measured(model, title, f"{title} + EM-INF", trained=True)
            record.finish("finished")
            wait_for_everyone()
        except BaseException as error:
            if is_main():  # makes room for the record if the disk is full
                drop_damaged_checkpoints(folder / runs.CHECKPOINTS_FOLDER, thorough=False)
            record.finish("interrupted" if isinstance(error, KeyboardInterrupt | Interrupted) else "failed")
            if "probability tensor contains" in str(error):  # from torch.multinomial, for logits that are not finite
                what = f"after step {record.facts.steps_done} the model's probabilities are not finite"
                raise Diverged(what, settings) from error
            raise
    return runs.to_json(record.results)


def fit(
    settings: RunSettings,
    model: Any,
    tokenizer: Any,
    data: Any,
    probe: Any,
    folder: Path,
    record: RunRecorder,
    on_step: Callable[[dict[str, float]], None],
    on_phase: Callable[[str], None],
    make_callbacks: Callable[[Any], list[Any]],
    resume: bool,
) -> tuple[Any, dict[str, Any] | None]:
    """Train, from the newest whole checkpoint if resumed.

    Returns:
        The trained model, and its weights if it is sharded.

    Raises:
        Interrupted: A stop was requested.
        Diverged: The weights became NaN or infinite.
        ValueError: The trainer ended before its last step, though nothing stopped it.
    """
    from transformers import PrinterCallback, set_seed

    from em_hf.models import fold_head

    checkpoint = resumed_from(folder / runs.CHECKPOINTS_FOLDER, on_phase) if resume else None
    done = 0 if checkpoint is None else steps_of(checkpoint)
    if checkpoint is not None and (done >= settings.steps or (settings.guard and was_stopped(folder, done))):
        # Only measuring and saving are left; the Trainer would take another step before it checks.
        if is_main():  # removes a line that was cut off by a kill
            runs.drop_lines_after(folder / runs.LOG_FILE, runs.LogLine, done)
            if (folder / runs.PROBE_FILE).is_file():
                runs.drop_lines_after(folder / runs.PROBE_FILE, runs.Reading, done)
        wait_for_everyone()
        runs.check_steps(record.log, done, folder)
        model = load(settings, str(checkpoint))[0]
        record.facts.steps_done = done
        if settings.guard:
            record.facts.guard = end_of_guard(model, folder, done)
        return model, None
    set_seed(settings.seed)
    with StopAtNextStep(on_phase) as stop:
        build = METHODS[settings.method].builder()
        trainer = build(settings, model, tokenizer, data, folder, [])
        trainer.remove_callback(PrinterCallback)
        fold_head(trainer.model)
        guard = add_guard(trainer, settings, probe, folder)
        for callback in make_callbacks(trainer):
            trainer.add_callback(callback)
        trainer.add_callback(record.callback(on_step, lambda: stop.asked, guard))
        with readable_checkpoint_errors(checkpoint, lambda: trainer.state.global_step > done):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    done = trainer.state.global_step
    if stop.asked and done < settings.steps:
        raise Interrupted(f"Stopped after step {done} of {settings.steps}")
    if done < settings.steps and (guard is None or guard.verdict.step is None):
        raise ValueError(
            f"the trainer ended after step {done} of {settings.steps}: {METHODS[settings.method].title} found too few "
            f"prompts among the {len(data)} for a step; give more prompts, or a smaller --batch-size"
        )
    if not all(parameter.isfinite().all() for parameter in trainer.model.parameters()):
        raise Diverged(f"after step {done} the weights are not finite", settings)
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    # Every process takes part in gathering sharded weights.
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else None
    # Without the wrapper of mixed precision: what is measured now was measured in the model's own precision before.
    return trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False), weights


def resumed_from(checkpoints: Path, on_phase: Callable[[str], None]) -> Path | None:
    """Remove and report damaged checkpoints, and return the one that a resumed run continues from, if any."""
    damaged = drop_damaged_checkpoints(checkpoints) if is_main() else []
    wait_for_everyone()
    checkpoint = last_checkpoint(checkpoints)
    for what in damaged:
        on_phase(f"{what}: going on from {checkpoint.name if checkpoint else 'the start'}.")
    return checkpoint


def add_guard(trainer: Any, settings: RunSettings, probe: Any, folder: Path) -> Any:
    """Add the collapse guard, with a probe if there are prompts to watch, and return it, or None without a guard."""
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
            file=folder / runs.PROBE_FILE,
        )
    # Under ZeRO no process has the whole weights to keep, so the guard only stops the run.
    kept = not trainer.is_deepspeed_enabled
    guard = EntropyCollapseCallback(trainer, watch, every=settings.probe_every, restore_best=kept)
    for callback in (watch, guard):
        if callback is not None:
            trainer.add_callback(callback)
    return guard


def readings_of(folder: Path, steps: int) -> list[runs.Reading]:
    """Return the guard's readings up to a step, as a resumed run finds them."""
    probe, logs = folder / runs.PROBE_FILE, folder / runs.CHECKPOINTS_FOLDER / runs.GUARD_FILE
    readings = runs.read_lines(probe if probe.is_file() else logs, runs.Reading)
    return [reading for reading in readings if reading.step <= steps]


def was_stopped(folder: Path, steps: int) -> bool:
    """Return whether the guard had stopped the run after these steps, because of a collapse or early."""
    from em_hf.training.collapse import Limits, judge

    return judge(readings_of(folder, steps), Limits()).step is not None


def end_of_guard(model: Any, folder: Path, steps: int) -> runs.Verdict:
    """Finish the guard's work in a run that was killed between its last step and its end, and return the verdict."""
    from em_hf.training.collapse import Limits, judged, restore_best_weights

    readings = readings_of(folder, steps)
    best = BestWeights(model, folder / runs.CHECKPOINTS_FOLDER / runs.BEST_FOLDER)
    verdict = judged(readings, Limits(), best)
    if best.facts() and readings:
        restore_best_weights(best, readings, verdict)
    return verdict


def measure_ways(
    model: Any,
    tokenizer: Any,
    held_out: Any,
    settings: RunSettings,
    ways: dict[str, dict[str, Any]],
    on_measure: Callable[[str, int, int], None],
    *,
    trained: bool,
) -> list[runs.ResultRow]:
    """Return a result row per way of decoding (arguments of `measure`); the model's class is restored at the end."""
    from em_hf.generation.mixin import disable_entropy_min
    from em_hf.training.measure import measure

    rows = []
    for name, way in ways.items():
        row = measure(
            model,
            tokenizer,
            held_out.prompts,
            held_out.answers,
            name=name,
            trained=trained,
            max_new_tokens=settings.max_completion_length,
            samples=1 if way.get("greedy") else settings.eval_samples,
            seed=settings.seed,
            chat_template=settings.chat_template,
            on_progress=lambda done, name=name: on_measure(name, done, len(held_out)),  # type: ignore[misc]
            **way,
        )
        rows.append(row)
    disable_entropy_min(model)
    return rows


class StopAtNextStep:
    """A context where the first Ctrl-C requests a stop after the current step and says so; a second stops at once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.asked, self._say = False, say

    def __enter__(self) -> "StopAtNextStep":
        try:
            self._old = signal.signal(signal.SIGINT, self._ask)
        except ValueError:  # not the main thread, which alone receives Ctrl-C
            self._old = None
        return self

    def _ask(self, *args: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        try:
            self._say("Stopping after this step, at a checkpoint; Ctrl-C again stops at once and loses the step.")
        except RuntimeError:  # the signal came while another line was being printed
            pass

    def __exit__(self, *args: Any) -> None:
        if self._old is not None:
            signal.signal(signal.SIGINT, self._old)
