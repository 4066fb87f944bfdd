"""A callback for any transformers or TRL trainer that watches the token entropy on a fixed set of prompts."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback

from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.mixin import EntropyMinGenerationMixin, disable_entropy_min, enable_entropy_min
from em_hf.models import unwrap_model
from em_hf.training.probe import probe_model
from em_hf.training.trace import Reading, Trace, plot


class EntropyCallback(TrainerCallback):
    """Measures the model on a fixed set of prompts while it trains, and lets every checkpoint carry the EM settings.

    Before the first step, every `every` steps and after the last one it samples each prompt (top_k 0, top_p 1) and logs
    `probe/entropy` and `probe/log_prob` (nats a token), `probe/completion_length` (tokens), `probe/lines`,
    `probe/repetition`, and `probe/accuracy` where answers are known, through the trainer's own logging, so that every
    tracker shows them. Training is bit for bit what it is without. With a `config`, EM-INF is enabled on the model
    while it trains, the settings are stored with it, and a second set of samples with EM-INF is logged as
    `probe/em_inf_...`.

    Every process samples the same prompts with the same seed, so sharded models work too; the main one logs.

    Args:
        trainer: the trainer it is added to; its `processing_class` must be a tokenizer.
        prompts: the probe prompts.
        answers: their final answers.
        every: steps from one reading to the next.
        config: EM-INF settings to measure with and to store.
        samples: completions a prompt.
        max_new_tokens: tokens a completion has at most.
        temperature: of the sampling.
        seed: of the sampling, the same at every reading.
        chat_template: put prompts into the tokenizer's chat template, where it has one.
        file: the readings as JSONL, by default `probe.jsonl` in the trainer's output folder; after training a plot of
            them stands beside it, where matplotlib is installed.

    Attributes:
        readings: all so far.

    Raises:
        ValueError: no prompts, answers of another number, a value out of range, or a trainer without a tokenizer.

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
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}, but must be above 0")
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
        self._trace = Trace(Path(file or Path(trainer.args.output_dir) / "probe.jsonl"))
        self._kl: float | None = None
        self._was_enabled = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.config is not None:
            model = unwrapped(self.trainer)
            self._was_enabled = isinstance(unwrap_model(model), EntropyMinGenerationMixin)
            enable_entropy_min(model, self.config)
        self.readings = earlier_readings(self.trainer, self._trace)
        # What was logged before a resumed run was interrupted.
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
            plot(self.readings, self._trace.path.with_suffix(".png"))
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
            self._trace.append({**asdict(reading), **em_inf})
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
    """The main process's value, in every process."""
    if trainer.accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]


def earlier_readings(trainer: Trainer, trace: Trace) -> list[Reading]:
    """The readings up to the step that training goes on from."""
    main = trainer.state.is_world_process_zero
    return from_main(trace.load(trainer.state.global_step) if main else [], trainer)


def log(trainer: Trainer, values: dict[str, float]) -> None:
    """Log through transformers' own `log`, so that trackers see it, and leave the step's own log as it would be.

    A subclass's `log` adds the averages of its steps and starts them anew, which would take them from the step's log;
    and the flag that asks for that log is cleared by any other.
    """
    asked = trainer.control.should_log
    Trainer.log(trainer, values)
    trainer.control.should_log = asked


def kl_in(logs: dict[str, Any] | None, otherwise: float | None) -> float | None:
    value = (logs or {}).get("kl")
    return otherwise if value is None else float(value)
