"""A line of the report: em-hf against one alternative, both measured in turn in the same run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.common import quartiles, ratios, spread


class Missing(Exception):
    """Raised if the subject of a line is not available; the message says what, and how to get it."""


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Args:
        name: "full", "quick" or "smallest" (only for tests).
        repeats: of calls that take milliseconds.
        runs: of calls that take seconds.
        tokens: per decode.
        prompts: for the strategies to answer.
        batches: batch sizes of EM-INF steps and decodes.
        loss_tokens: tokens of the EM-FT loss alone.
        step: prompts and new tokens of a whole EM-FT step.
        vocabularies, lengths: over which growth is measured.
    """

    name: str
    repeats: int
    runs: int
    tokens: int
    prompts: int
    batches: tuple[int, ...]
    loss_tokens: int
    step: tuple[int, int]
    vocabularies: tuple[int, ...]
    lengths: tuple[int, ...]


FULL = Scale("full", 24, 5, 33, 4, (1, 8, 32), 1024, (8, 64), (16_384, 49_152, 151_936, 262_144), (128, 512, 2048))
QUICK = Scale("quick", 6, 2, 9, 2, (1, 8), 512, (4, 32), (16_384, 49_152, 151_936), (128, 512, 1024))
SMALLEST = Scale("smallest", 2, 1, 2, 1, (1, 2), 256, (1, 4), (4096, 8192), (16, 32))


@dataclass(frozen=True)
class Line:
    """One comparison.

    Args:
        section: its heading in the report.
        what, against: em-hf's side and the other.
        quantity: what the ratio is of: "time", "memory", "FLOPs".
        ours, theirs: quartiles, in `unit`.
        ratio: quartiles of ours over theirs, pair by pair: below 1, em-hf takes less.
        repeats: pairs measured.
        target, met: the goal in words, and whether it was reached.
    """

    section: str
    what: str
    against: str
    quantity: str
    unit: str
    ours: dict[str, float]
    theirs: dict[str, float]
    ratio: dict[str, float]
    repeats: int
    target: str = ""
    met: bool | None = None

    def row(self) -> list[str]:
        reached = f"{self.target}: {'yes' if self.met else 'no'}" if self.target else ""
        sides = [f"{figure(side)} {self.unit}" for side in (self.ours, self.theirs)]
        return [
            self.what,
            self.against,
            self.quantity,
            spread(self.ratio, digits=3),
            *sides,
            str(self.repeats),
            reached,
        ]


def figure(q: dict[str, float]) -> str:
    """Return `median (q1-q3)` with three significant digits."""
    size = abs(q["median"])
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 4
    return spread(q, digits=digits)


def paired(
    section: str,
    what: str,
    against: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    quantity: str = "time",
    unit: str = "ms",
    factor: float = 1e3,
    **more: Any,
) -> Line:
    """Return the line of two lists of measurements that took turns; `factor` converts them to `unit`."""
    sides = [quartiles([value * factor for value in side]) for side in (ours, theirs)]
    return Line(section, what, against, quantity, unit, *sides, ratios(ours, theirs), len(ours), **more)
