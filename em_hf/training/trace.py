"""The readings of a probe: their file, which a killed run leaves behind whole, and their picture."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from em_hf.training.record import read_log


@dataclass(frozen=True)
class Reading:
    """What was measured after a training step; None where it is not known.

    Args:
        step: optimizer steps done.
        entropy: nats a token, of the model's own distributions (before EM-INF).
        log_prob: of the sampled tokens under the model, nats a token.
        completion_length: tokens a completion.
        lines: lines a completion that are not empty, which is how reasoning is written in steps.
        repetition: the share of a completion's 4-grams that stood in it before, 0 to 1.
        accuracy: the share of right samples, 0 to 1.
        right: the share of right samples of each prompt.
        kl: nats a token to the model before training: as the trainer logged it last, or, with an adapter, measured.
    """

    step: int
    entropy: float | None = None
    log_prob: float | None = None
    completion_length: float | None = None
    lines: float | None = None
    repetition: float | None = None
    accuracy: float | None = None
    right: tuple[float, ...] | None = None
    kl: float | None = None

    def numbers(self) -> dict[str, float]:
        """What a logger shows."""
        return {k: v for k, v in asdict(self).items() if isinstance(v, int | float) and k not in ("step", "kl")}


class Trace:
    """Readings as a JSONL file, one a line, which a killed run leaves whole but for its last line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, step: int) -> list[Reading]:
        """The readings up to `step`, that training goes on from; none for 0, a new run.

        Later ones, of steps that will be done again, and those of a run before a new one are dropped from the file too.
        """
        lines = self._lines(step)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return self.read(step)

    def read(self, step: int) -> list[Reading]:
        """The readings up to `step`; the file stays as it is."""
        known = {f.name for f in fields(Reading)}
        kept = [{name: value for name, value in line.items() if name in known} for line in self._lines(step)]
        return [Reading(**{**line, "right": line.get("right") and tuple(line["right"])}) for line in kept]

    def _lines(self, step: int) -> list[dict[str, Any]]:
        return [line for line in read_log(self.path) if line["step"] <= step] if step else []

    def append(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def plot(readings: Sequence[Reading], path: Path) -> None:
    """Readings over steps as a PNG: entropy, completion length and, if known, accuracy. Nothing without matplotlib."""
    try:
        from matplotlib.figure import Figure  # not pyplot, which would choose a screen and keep the figure
    except ImportError:
        return
    shown = {"entropy": "token entropy (nats)", "completion_length": "tokens a completion", "accuracy": "accuracy"}
    known = {name: text for name, text in shown.items() if readings and getattr(readings[0], name) is not None}
    if len(readings) < 2:
        return
    figure = Figure(figsize=(4 * len(known), 3), dpi=120, layout="constrained")
    for axes, (name, text) in zip(figure.subplots(1, len(known), squeeze=False)[0], known.items(), strict=True):
        axes.plot([reading.step for reading in readings], [getattr(reading, name) for reading in readings], marker=".")
        axes.set(xlabel="training step", ylabel=text, ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.savefig(path)
