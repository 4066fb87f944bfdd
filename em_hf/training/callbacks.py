"""A callback for any transformers or TRL trainer that watches the token entropy on a fixed set of prompts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from transformers import Trainer, TrainerCallback

from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.mixin import EntropyMinGenerationMixin, disable_entropy_min, enable_entropy_min
from em_hf.models import unwrap_model
from em_hf.runs import PROBE_FILE, Reading, RunFileError, append_lines, drop_lines_after, to_json
from em_hf.training.probe import probe_model


class EntropyCallback(TrainerCallback):
    """Measures the model on a fixed set of prompts while it trains, and stores the EM settings in every checkpoint.

    Before the first step, every `every` steps and after the last one it samples each prompt (top_k 0, top_p 1) and logs
    `probe/entropy` and `probe/log_prob` (nats per token), `probe/completion_length` (tokens), `probe/lines`,
    `probe/repetition`, and `probe/accuracy` if answers are known, through the trainer's own logging, so that every
    tracker shows them. Training is bit for bit the same as without the callback. With a `config`, EM-INF is enabled on
    the model while it trains, the settings are stored with it, and a second set of samples with EM-INF is logged as
    `probe/em_inf_...`.

    Every process samples the same prompts with the same seed, so sharded models work too; only the main one logs.

    Args:
        trainer (`Trainer`): The trainer it is added to; its `processing_class` must be a tokenizer.
        prompts (`Sequence[str]`): The probe prompts.
        answers (`Sequence[str]`, *optional*): Their final answers.
        every (`int`, defaults to 10): Steps between readings.
        config (`EntropyMinConfig`, *optional*): EM-INF settings to measure with and to store.
        samples (`int`, defaults to 1): Completions per prompt.
        max_new_tokens (`int`, defaults to 128): Tokens per completion at most.
        temperature (`float`, defaults to 1.0): Temperature of the sampling; 0 takes the likeliest token at each step.
        seed (`int`, defaults to 0): Seed of the sampling, the same for every reading.
        chat_template (`bool`, defaults to True): Put prompts into the tokenizer's chat template, if it has one.
        file (`str` or `Path`, *optional*): Where to write the readings as JSONL, by default `probe.jsonl` in the
            trainer's output folder. After training they are plotted next to it, if matplotlib is installed.

    Attributes:
        readings (`list[Reading]`): All readings so far.

    Raises:
        ValueError: There are no prompts or not as many answers, a value is out of range, the trainer has no tokenizer,
            or a resumed run's file lacks readings.

    Example:

    ```python
    trainer.add_callback(EntropyCallback(trainer, prompts, answers, every=5))
    ```
    """

    def __init__(
        self,
        trainer: Trainer,
        prompts: Sequence[str],
        answers: Sequence[str] | None = None,
        *,
        every: int = 10,
        config: EntropyMinConfig | None = None,
        samples: int = 1,
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        seed: int = 0,
        chat_template: bool = True,
        file: str | Path | None = None,
    ) -> None:
        if not prompts:
            raise ValueError("prompts is empty: give EntropyCallback at least one probe prompt")
        if answers is not None and len(answers) != len(prompts):
            raise ValueError(f"answers has {len(answers)} entries, but there are {len(prompts)} prompts: give each one")
        for name, value in (("every", every), ("samples", samples), ("max_new_tokens", max_new_tokens)):
            if value < 1:
                raise ValueError(f"{name} is {value}, but must be at least 1")
        if not temperature >= 0:
            raise ValueError(f"temperature is {temperature}, but must be at least 0")
        if trainer.processing_class is None:
            raise ValueError("EntropyCallback needs a tokenizer: give it to the trainer as processing_class")
        self.trainer, self.every, self.config = trainer, every, config
        self.readings: list[Reading] = []
        self.listeners: list[Callable[[Reading], None]] = []
        self._prompts, self._answers = list(prompts), None if answers is None else list(answers)
        self._sampling = {
            "samples": samples,
            "max_new_tokens": max_new_tokens,
            "temperature": temperature,
            "seed": seed,
            "chat_template": chat_template,
        }
        self._file = Path(file or output_folder(trainer) / PROBE_FILE)
        self._kl: float | None = None
        self._was_enabled = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.config is not None:
            model = unwrapped(self.trainer)
            self._was_enabled = isinstance(unwrap_model(model), EntropyMinGenerationMixin)
            enable_entropy_min(model, self.config)
        self.readings = earlier_readings(self.trainer, self._file, range(0, state.max_steps + 1, self.every))
        # The last KL logged before a resumed run was interrupted.
        self._kl = next((kl for logs in reversed(state.log_history) if (kl := kl_in(logs, None)) is not None), None)
        if not self.readings:
            self._read()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self._kl = kl_in(logs, self._kl)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.every == 0 or state.global_step >= state.max_steps:
            self._read()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            plot(self.readings, self._file.with_suffix(".png"))
        if self.config is not None and not self._was_enabled:
            disable_entropy_min(unwrapped(self.trainer))

    def _read(self) -> None:
        reading = self._take(None)
        reading = reading if self._kl is None else replace(reading, kl=self._kl)
        with_em = None if self.config is None else self._take(self.config)
        reading, with_em = from_main((reading, with_em), self.trainer)
        self.readings.append(reading)
        if self.trainer.state.is_world_process_zero:
            em_inf = {} if with_em is None else {f"em_inf_{name}": value for name, value in with_em.numbers().items()}
            append_lines(self._file, [{**to_json(reading), **em_inf}])
            log(self.trainer, {f"probe/{name}": value for name, value in {**reading.numbers(), **em_inf}.items()})
        for listener in self.listeners:
            listener(reading)

    def _take(self, entropy_min: EntropyMinConfig | None) -> Reading:
        return probe_model(
            unwrapped(self.trainer),
            self.trainer.processing_class,
            self._prompts,
            self._answers,
            step=self.trainer.state.global_step,
            entropy_min=entropy_min,
            **self._sampling,  # type: ignore[arg-type]
        )


def unwrapped(trainer: Trainer) -> Any:
    return trainer.accelerator.unwrap_model(trainer.model)


def from_main(value: Any, trainer: Trainer) -> Any:
    """Return the main process's value, in every process."""
    if trainer.accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]


def output_folder(trainer: Trainer) -> Path:
    """Return the folder that the trainer writes to; its arguments, once made, always have one."""
    return Path(cast(str, trainer.args.output_dir))


def earlier_readings(trainer: Trainer, file: Path, expected: Iterable[int]) -> list[Reading]:
    """Return the readings up to the step that training resumes from, and drop later ones from the file.

    Later readings are from steps that will be repeated. A run that starts at step 0 removes the file.

    Args:
        expected: Steps that the file must have readings for, if it exists and the run is resumed.

    Raises:
        ValueError: The file is damaged or lacks one of them; a run judged without it would end differently.
    """
    step, found = trainer.state.global_step, []
    if trainer.state.is_world_process_zero:
        if step == 0:
            file.unlink(missing_ok=True)
        known = file.is_file()
        found = drop_lines_after(file, Reading, step)
        lost = sorted({one for one in expected if one <= step} - {reading.step for reading in found})
        if known and lost:
            raise RunFileError(
                f"{file} has no reading of step {lost[0]}, so the run cannot go on as it was: restore the file, or "
                "start the run again"
            )
    return from_main(found, trainer)


def log(trainer: Trainer, values: dict[str, float]) -> None:
    """Log through transformers' own `log`, so that trackers see the values, without changing the step's own log.

    A subclass's `log` adds the averages of its steps and resets them, so the step's log would lack them; and any log
    clears the flag that requests the step's log.
    """
    asked = trainer.control.should_log
    Trainer.log(trainer, values)
    trainer.control.should_log = asked


def plot(readings: Sequence[Reading], path: Path) -> None:
    """Draw readings over steps as a PNG: entropy, completion length and, if known, accuracy. Needs matplotlib."""
    try:
        from matplotlib.figure import Figure  # not pyplot, which would choose a backend and keep the figure
    except ImportError:
        return
    shown = {"entropy": "token entropy (nats)", "completion_length": "tokens per completion", "accuracy": "accuracy"}
    known = {name: text for name, text in shown.items() if readings and getattr(readings[0], name) is not None}
    if len(readings) < 2:
        return
    figure = Figure(figsize=(4 * len(known), 3), dpi=120, layout="constrained")
    for axes, (name, text) in zip(figure.subplots(1, len(known), squeeze=False)[0], known.items(), strict=True):
        axes.plot([reading.step for reading in readings], [getattr(reading, name) for reading in readings], marker=".")
        axes.set(xlabel="training step", ylabel=text, ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.savefig(path)


def kl_in(logs: dict[str, Any] | None, otherwise: float | None) -> float | None:
    value = (logs or {}).get("kl")
    return otherwise if value is None else float(value)
