"""A callback for any transformers or TRL trainer that stops a collapse and puts the best weights back."""

import logging
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback

from em_hf.training.best import BestWeights
from em_hf.training.callbacks import EntropyCallback, earlier_readings, from_main, unwrapped
from em_hf.training.judge import Limits, Verdict, judge
from em_hf.training.trace import Reading, Trace

logger = logging.getLogger(__name__)


class EntropyCollapseCallback(TrainerCallback):
    """Stops a run that collapses, keeps the best weights, and puts them into the model at the end.

    Entropy minimization can collapse: completions shrink to nothing or repeat themselves, or the entropy falls to zero
    while the answers get worse. The guard looks at each reading of the probe (`em_hf.training.judge` has the rules):
    validation accuracy speaks first, then the KL that the trainer logs, then the length of completions; low entropy or
    repetition only where the accuracy falls, or both together. It also stops early, when the accuracy has been below
    its best, beyond the 95% interval over problems, for `patience` readings.

    The best weights are the most accurate ones, or without answers the last healthy ones. The trainable weights alone
    are kept, in `best` of the output folder. A resumed run goes on with the readings and the weights kept before.

    Args:
        trainer: the trainer it is added to.
        probe: its probe, added to the same trainer; give that one answers, since accuracy tells most. None: the guard
            knows only what the trainer logs (`entropy`, `completion_length`, `kl`).
        every: without a probe, the steps whose logs are averaged into a reading.
        patience: readings below the best before the run stops early.
        max_kl: nats a token.
        min_length: completion length, as a share of the start's.
        restore_best: keep the best weights, and put them into the model when training ends, collapsed or not.

    Attributes:
        verdict: how it went; `verdict.to_dict()` gives collapsed, step, why and best_step.

    Raises:
        ValueError: a value out of range.
    """

    def __init__(
        self,
        trainer: Trainer,
        probe: EntropyCallback | None = None,
        *,
        every: int = 10,
        patience: int = 3,
        max_kl: float = Limits.max_kl,
        min_length: float = Limits.min_length,
        restore_best: bool = True,
    ) -> None:
        for name, value in (("every", every), ("patience", patience)):
            if value < 1:
                raise ValueError(f"{name} is {value}, but must be at least 1")
        if not max_kl > 0:
            raise ValueError(f"max_kl is {max_kl}, but must be above 0")
        if not 0 <= min_length < 1:
            raise ValueError(f"min_length is {min_length}, but must be at least 0 and below 1")
        self.trainer, self.probe, self.every, self.restore_best = trainer, probe, every, restore_best
        self.limits = Limits(patience=patience, max_kl=max_kl, min_length=min_length)
        self.verdict = Verdict()
        self.folder = Path(trainer.args.output_dir) / "best"
        self._trace = Trace(Path(trainer.args.output_dir) / "guard.jsonl")
        self._own: list[Reading] = []
        self._window: dict[str, list[float]] = {}
        self._weights: BestWeights | None = None
        self._begun = False
        if probe is not None:
            probe.listeners.append(self._observe)

    @property
    def readings(self) -> list[Reading]:
        """What is judged: the probe's readings, or those from the trainer's logs."""
        return self._own if self.probe is None else self.probe.readings

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._begin()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A resumed run that had been stopped stops again; by now every callback has begun."""
        self.verdict = self._judged()
        if self.verdict.step is not None:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self.probe is not None or "loss" not in (logs or {}):  # the last log, of the whole run, has none
            return
        for name, value in numbers_in(logs).items():
            self._window.setdefault(name, []).append(value)
        if state.global_step % self.every == 0 and self._window:
            means: dict[str, Any] = {name: math.fsum(values) / len(values) for name, values in self._window.items()}
            self._window = {}
            reading = from_main(Reading(step=state.global_step, **means), self.trainer)
            self._own.append(reading)
            if state.is_world_process_zero:
                self._trace.append(asdict(reading))
            self._observe(reading)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._begun = False
        if self._weights is None or self._weights.facts() is None:
            return
        put_best_back(self._weights, self.readings, self.verdict, says=state.is_world_process_zero)

    def _begin(self) -> None:
        """Make ready, once a training: the probe's first reading may come before this callback's own turn."""
        if self._begun:
            return
        self._begun, self._window = True, {}
        main = self.trainer.state.is_world_process_zero
        if self.restore_best:
            tokenizer = self.trainer.processing_class
            self._weights = BestWeights(unwrapped(self.trainer), self.folder, tokenizer=tokenizer, writes=main)
            if main and self.trainer.state.global_step == 0:
                self._weights.file.unlink(missing_ok=True)
        if self.probe is None:
            self._own = earlier_readings(self.trainer, self._trace)
            done = self._own[-1].step if self._own else 0
            for logs in self.trainer.state.log_history:  # of a resumed run, since its last reading
                if logs.get("step", 0) > done:
                    self._collect(logs)

    def _collect(self, logs: dict[str, Any] | None) -> None:
        for name, value in numbers_in(logs).items():
            self._window.setdefault(name, []).append(value)

    def _judged(self) -> Verdict:
        """The verdict on the readings; the best step is the one whose weights are kept.

        Weights kept before a run was killed may be of a step that is yet to be done again: they still are the best.
        """
        return from_main(judged(self.readings, self.limits, self._weights), self.trainer)

    def _observe(self, reading: Reading) -> None:
        self._begin()
        self.verdict = self._judged()
        if self.verdict.step is not None:
            self.trainer.control.should_training_stop = True
            if self.trainer.state.is_world_process_zero:
                what = "collapsed" if self.verdict.collapsed else "is stopped early"
                logger.warning("Training %s at step %s: %s.", what, self.verdict.step, self.verdict.why)
        elif self._weights is not None and self._is_best(reading, from_main(self._weights.facts(), self.trainer)):
            self._weights.keep(step=reading.step, accuracy=reading.accuracy)
            self.verdict = replace(self.verdict, best_step=reading.step)

    @staticmethod
    def _is_best(reading: Reading, kept: dict[str, str] | None) -> bool:
        if kept is None or reading.accuracy is None or kept["accuracy"] == "None":
            return True
        return reading.accuracy > float(kept["accuracy"])


def judged(readings: list[Reading], limits: Limits, weights: BestWeights | None) -> Verdict:
    kept, verdict = None if weights is None else weights.facts(), judge(readings, limits)
    return verdict if kept is None else replace(verdict, best_step=int(kept["step"]))


def put_best_back(weights: BestWeights, readings: list[Reading], verdict: Verdict, *, says: bool = True) -> None:
    """What the guard does when training ends. Without answers the last weights of a healthy run are its best."""
    if readings[0].accuracy is None and not verdict.collapsed:
        return
    weights.restore()
    if says and verdict.best_step != readings[-1].step:
        logger.warning("The weights after step %s, the best, are back in the model.", verdict.best_step)


def numbers_in(logs: dict[str, Any] | None) -> dict[str, float]:
    """What a trainer's log says of entropy, length and KL, under the names of a reading."""
    names = {"entropy": "entropy", "completion_length": "completion_length", "kl": "kl"}
    names["completions/mean_length"] = "completion_length"
    return {ours: float(logs[theirs]) for theirs, ours in names.items() if logs and logs.get(theirs) is not None}
