"""How the lab's figures stand in a sentence: percent, points, and what an interval allows to say."""

from collections.abc import Mapping, Sequence
from typing import Any

from em_hf.lab.plan import MISLED, POCKET
from em_hf.methods import METHODS

Figure = Mapping[str, float]
Record = Mapping[str, Any]

KINDS = {"fewer": 'problems with "fewer"', "others": "other problems", "test": "its problems"}


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


def judged(figure: Figure, better: str, worse: str, unclear: str) -> str:
    """Which of the three words a difference's interval allows: above 0, below 0, or with 0 in it."""
    return better if figure["low"] > 0 else worse if figure["high"] < 0 else unclear


def changed(figure: Figure, to: Figure) -> str:
    """What something did to an accuracy, which stands before as "it"."""
    did = judged(figure, "raises it", "lowers it", "does not clearly change it")
    return f"{did}: {share(to)}, {points(figure)} points"


def model_title(name: str) -> str:
    """A model of the lab in words: a shipped one, or a run by its method and seed."""
    if name == POCKET:
        return "the base model"
    if name == MISLED:
        return "the misled model"
    method, seed = name.rsplit("-", 1)
    return f"{METHODS[method].title} (seed {seed})"


def listed(parts: Sequence[str]) -> str:
    """One thing, or several with "and" before the last."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
