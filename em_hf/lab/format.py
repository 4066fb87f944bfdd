"""How the lab's figures stand in a table: percent and points with their intervals, names of models."""

from collections.abc import Mapping, Sequence
from typing import Any

from em_hf.lab.plan import MISLED, POCKET
from em_hf.methods import METHODS

Figure = Mapping[str, float]
Record = Mapping[str, Any]

KINDS = {
    "fewer": 'problems with "fewer"',
    "others": "other problems",
    "test": "plain problems",
    "hard": "hard problems",
}


def share(figure: Figure | None) -> str:
    """Percent and its interval."""
    if figure is None:
        return "-"
    return f"{100 * figure['mean']:.1f}% [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


def points(figure: Figure | None) -> str:
    """A difference in points of percent and its interval."""
    if figure is None:
        return "-"
    return f"{100 * figure['mean']:+.1f} [{100 * figure['low']:+.1f}, {100 * figure['high']:+.1f}]"


def model_title(name: str) -> str:
    """A model of the lab in words: a shipped one, or a run by its method and seed."""
    if name == POCKET:
        return "the base model"
    if name == MISLED:
        return "the misled model"
    method, seed = name.rsplit("-", 1)
    return f"{METHODS[method].title} (seed {seed})"


def point(row: Record) -> str:
    """The settings of a row of the sweep, such as `threshold 0.1, n_grad_steps 3`."""
    return ", ".join(f"{name} {value:g}" for name, value in row["point"].items())


def bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
