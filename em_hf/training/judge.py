"""When training has gone wrong: the signs of collapse in a run's readings, in the order in which they are believed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from em_hf.stats import paired_interval
from em_hf.training.trace import Reading

RESAMPLES = 2000


@dataclass(frozen=True)
class Limits:
    """What a run may do before it is stopped.

    Args:
        patience: readings in a row whose accuracy is, beyond its interval, below the best one's.
        max_kl: nats a token from the reference model, as the trainer logs it.
        min_length: completion length, and written lines, as a share of the start's.
        max_repetition: repeated 4-grams, a share of a completion, above the start's.
        min_entropy: token entropy, as a share of the start's.
    """

    patience: int = 3
    max_kl: float = 0.2
    min_length: float = 0.6
    max_repetition: float = 0.3
    min_entropy: float = 0.05


@dataclass(frozen=True)
class Verdict:
    """How a guarded run ended.

    Args:
        collapsed: whether it was stopped for a collapse.
        step: at which it was stopped, for a collapse or early; None if it was not.
        why: it was stopped, in one line.
        best_step: after which the best weights were kept.
    """

    collapsed: bool = False
    step: int | None = None
    why: str | None = None
    best_step: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge(readings: Sequence[Reading], limits: Limits) -> Verdict:
    """The verdict on a run with these readings, the first of them from its start."""
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
    """The first of the most accurate readings; without answers the last reading."""
    known = [reading for reading in readings if reading.accuracy is not None]
    return max(known, key=lambda reading: reading.accuracy or 0.0) if known else readings[-1]


def collapse(readings: Sequence[Reading], limits: Limits) -> str | None:
    """Why the last reading is one of a collapsed model; None if it is not.

    Validation accuracy speaks first, then KL, then length. A model whose accuracy is known and has not fallen is well,
    however short or sure of itself it has become, since that is what entropy minimization aims at. For the same reason
    low entropy or repetition alone says nothing: they count with a falling accuracy, or together.
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
        return f"the KL to the reference model is {now.kl:.2f} nats a token, above {limits.max_kl}{fallen}"
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
    """Why to stop early: the last `patience` readings are all less accurate than the best; None if they are not."""
    top = best(readings)
    last = readings[-patience:]
    if len(last) < patience or top in last or any(significantly_worse(reading, top) is None for reading in last):
        return None
    return f"validation accuracy has been below its best for {patience} readings ({significantly_worse(last[-1], top)})"


@lru_cache(maxsize=4096)  # the whole history is judged again at each reading
def significantly_worse(now: Reading, then: Reading) -> str | None:
    """How much less accurate `now` is than `then`, problem by problem; None within the 95% interval, or not known."""
    if now.right is None or then.right is None or len(now.right) != len(then.right):
        return None
    mean, low, high = paired_interval(now.right, then.right, n_resamples=RESAMPLES)
    if high >= 0:
        return None
    return (
        f"{now.accuracy:.1%} at step {now.step}, {then.accuracy:.1%} at step {then.step}: {mean * 100:+.1f} points, "
        f"95% interval {low * 100:+.1f} to {high * 100:+.1f}"
    )
