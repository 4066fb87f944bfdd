"""A callback for any transformers or TRL trainer that stops a collapse and puts the best weights back."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from transformers import Trainer, TrainerCallback

from em_hf.runs import BEST_FOLDER, GUARD_FILE, Reading, Verdict, append_lines
from em_hf.stats import paired_interval
from em_hf.training.callbacks import EntropyCallback, earlier_readings, from_main, output_folder, unwrapped
from em_hf.training.checkpoints import BestWeights

logger = logging.getLogger(__name__)
RESAMPLES = 2000


@dataclass(frozen=True)
class Limits:
    """The thresholds beyond which a run is stopped.

    Args:
        patience: Consecutive readings whose accuracy is below the best one's, beyond its interval.
        max_kl: Nats per token from the reference model, as the trainer logs it.
        min_length: Completion length and number of written lines, as a share of those at the start.
        max_repetition: Share of repeated 4-grams in a completion, in excess of that at the start.
        min_entropy: Token entropy, as a share of that at the start.
    """

    patience: int = 3
    max_kl: float = 0.2
    min_length: float = 0.6
    max_repetition: float = 0.3
    min_entropy: float = 0.05


class EntropyCollapseCallback(TrainerCallback):
    """Stops a run that collapses, keeps the best weights, and restores them at the end.

    Entropy minimization can collapse: completions shrink to nothing or repeat themselves, or the entropy falls to zero
    while the answers get worse. The guard judges each reading of the probe (see `judge` for the rules): validation
    accuracy takes precedence, then the KL that the trainer logs, then the length of completions; low entropy and
    repetition count only if the accuracy falls, or if both occur. It also stops early, when the accuracy has been below
    its best, beyond the 95% interval over problems, for `patience` readings.

    The best weights are the most accurate ones or, without answers, the last healthy ones. Only the trainable weights
    are kept, in `best` in the output folder. A resumed run continues with the readings and weights kept before.

    Args:
        trainer (`Trainer`): The trainer it is added to.
        probe (`EntropyCallback`, *optional*): A probe added to the same trainer; give it answers, since accuracy is
            the best signal. Without a probe the guard sees only what the trainer logs (`entropy`, `completion_length`,
            `kl`).
        every (`int`, defaults to 10): Without a probe, the number of steps whose logs are averaged into a reading.
        patience (`int`, defaults to 3): Readings below the best before the run stops early.
        max_kl (`float`, defaults to 0.2): Nats per token.
        min_length (`float`, defaults to 0.6): Completion length, as a share of that at the start.
        restore_best (`bool`, defaults to True): Keep the best weights, and restore them when training ends.

    Attributes:
        verdict (`Verdict`): The outcome; `verdict.to_dict()` has the keys collapsed, step, why and best_step.

    Raises:
        ValueError: A value is out of range, or a resumed run's file lacks readings.
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
        self.folder = output_folder(trainer) / BEST_FOLDER
        self._file = output_folder(trainer) / GUARD_FILE
        self._own: list[Reading] = []
        self._window: dict[str, list[float]] = {}
        self._weights: BestWeights | None = None
        self._begun = False
        if probe is not None:
            probe.listeners.append(self._observe)

    @property
    def readings(self) -> list[Reading]:
        """The readings that are judged: the probe's, or those from the trainer's logs."""
        return self._own if self.probe is None else self.probe.readings

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._begin()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop a resumed run again if it had been stopped; at this point every callback has started."""
        self.verdict = self._judged()
        if self.verdict.step is not None:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self.probe is not None or "loss" not in (logs or {}):  # the last log, for the whole run, has none
            return
        self._collect(logs)
        if state.global_step % self.every == 0 and self._window:
            means: dict[str, Any] = {name: math.fsum(values) / len(values) for name, values in self._window.items()}
            self._window = {}
            reading = from_main(Reading(step=state.global_step, **means), self.trainer)
            self._own.append(reading)
            if state.is_world_process_zero:
                append_lines(self._file, [reading])
            self._observe(reading)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._begun = False
        if self._weights is None or self._weights.facts() is None:
            return
        restore_best_weights(self._weights, self.readings, self.verdict, says=state.is_world_process_zero)

    def _begin(self) -> None:
        """Set up, once per training: the probe's first reading may come before this callback's `on_train_begin`."""
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
            logged = [int(logs.get("step", 0)) for logs in self.trainer.state.log_history if "loss" in logs]
            self._own = earlier_readings(self.trainer, self._file, [s for s in logged if s % self.every == 0])
            done = self._own[-1].step if self._own else 0
            for logs in self.trainer.state.log_history:  # of a resumed run, since its last reading
                if logs.get("step", 0) > done:
                    self._collect(logs)

    def _collect(self, logs: dict[str, Any] | None) -> None:
        for name, value in numbers_in(logs).items():
            self._window.setdefault(name, []).append(value)

    def _judged(self) -> Verdict:
        """Return the verdict on the readings; the best step is the one whose weights are kept.

        Weights kept before a run was killed may be from a step that has yet to be repeated; they are still the best.
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
        if kept is None or reading.accuracy is None or kept.get("accuracy", "None") == "None":
            return True
        return reading.accuracy > float(kept["accuracy"])


def judged(readings: list[Reading], limits: Limits, weights: BestWeights | None) -> Verdict:
    kept, verdict = None if weights is None else weights.facts(), judge(readings, limits)
    return verdict if kept is None else replace(verdict, best_step=int(kept["step"]))


def restore_best_weights(weights: BestWeights, readings: list[Reading], verdict: Verdict, *, says: bool = True) -> None:
    """Restore the best weights when training ends; without answers, a healthy run's last weights are its best."""
    if readings[0].accuracy is None and not verdict.collapsed:
        return
    weights.restore()
    if says and verdict.best_step != readings[-1].step:
        logger.warning("The weights after step %s, the best, are back in the model.", verdict.best_step)


def numbers_in(logs: dict[str, Any] | None) -> dict[str, float]:
    """Return the entropy, length and KL in a trainer's log, under the names of a reading's fields."""
    names = {"entropy": "entropy", "completion_length": "completion_length", "kl": "kl"}
    names["completions/mean_length"] = "completion_length"
    return {ours: float(logs[theirs]) for theirs, ours in names.items() if logs and logs.get(theirs) is not None}


def judge(readings: Sequence[Reading], limits: Limits) -> Verdict:
    """Return the verdict on a run with these readings, the first of them from its start."""
    for count in range(2, len(readings) + 1):
        seen = readings[:count]
        why = collapse(seen, limits)
        if why is not None:
            return Verdict(True, seen[-1].step, why, best(seen[:-1]).step)
        why = should_stop_early(seen, limits.patience)
        if why is not None:
            return Verdict(False, seen[-1].step, why, best(seen).step)
    return Verdict(best_step=best(readings).step if readings else None)


def best(readings: Sequence[Reading]) -> Reading:
    """Return the first of the most accurate readings; without answers the last reading."""
    known = [reading for reading in readings if reading.accuracy is not None]
    return max(known, key=lambda reading: reading.accuracy or 0.0) if known else readings[-1]


def collapse(readings: Sequence[Reading], limits: Limits) -> str | None:
    """Return why the last reading shows a collapsed model, or None if it does not.

    Validation accuracy comes first, then KL, then length. A model whose accuracy is known and has not fallen is
    healthy, however brief or confident it has become: that is what entropy minimization aims at. For the same reason
    low entropy or repetition alone means nothing; they count with a falling accuracy, or together.
    """
    start, now = readings[0], readings[-1]
    below = significantly_worse(now, start)
    if below is not None:
        return f"validation accuracy fell below that of the start ({below})"
    if now.accuracy is not None and start.accuracy is not None and now.accuracy >= start.accuracy:
        return None
    fallen = ""
    if now.accuracy is not None and start.accuracy is not None:
        fallen = f", with validation accuracy down from {start.accuracy:.1%} to {now.accuracy:.1%}"
    if now.kl is not None and now.kl > limits.max_kl:
        return f"the KL to the reference model is {now.kl:.2f} nats per token, above {limits.max_kl}{fallen}"
    for name, text in (("completion_length", "tokens"), ("lines", "written lines")):
        before, after = getattr(start, name), getattr(now, name)
        if before and after is not None and after < limits.min_length * before:
            return f"completions shrank from {before:.1f} to {after:.1f} {text}{fallen}"
    signs = []
    if now.repetition is not None and now.repetition > (start.repetition or 0) + limits.max_repetition:
        signs.append(
            f"{now.repetition:.0%} of a completion's 4-grams repeat ({start.repetition or 0:.0%} at the start)"
        )
    if now.entropy is not None and start.entropy and now.entropy < limits.min_entropy * start.entropy:
        signs.append(f"the token entropy fell from {start.entropy:.3g} to {now.entropy:.3g} nats")
    return " and ".join(signs) + fallen if signs and (fallen or len(signs) == 2) else None


def should_stop_early(readings: Sequence[Reading], patience: int) -> str | None:
    """Return why to stop early if the last `patience` readings are all less accurate than the best, else None."""
    top = best(readings)
    last = readings[-patience:]
    if len(last) < patience or top in last or any(significantly_worse(reading, top) is None for reading in last):
        return None
    return f"validation accuracy has been below its best for {patience} readings ({significantly_worse(last[-1], top)})"


@lru_cache(maxsize=4096)  # the whole history is judged again at each reading
def significantly_worse(now: Reading, then: Reading) -> str | None:
    """Return how much less accurate `now` is than `then`, problem by problem; None within the 95% interval."""
    if now.right is None or then.right is None or len(now.right) != len(then.right):
        return None
    mean, low, high = paired_interval(now.right, then.right, n_resamples=RESAMPLES)
    if high >= 0:
        return None
    return (
        f"{now.accuracy:.1%} at step {now.step}, {then.accuracy:.1%} at step {then.step}: {mean * 100:+.1f} points, "
        f"95% interval {low * 100:+.1f} to {high * 100:+.1f}"
    )
