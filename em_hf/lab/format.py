"""How the lab's figures stand in tables and sentences: percent and points with their intervals, names of models."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from em_hf.lab.plan import MISLED, POCKET
from em_hf.methods import METHODS

Figure = Mapping[str, float]
Record = Mapping[str, Any]

KINDS = {"fewer": 'problems with "fewer"', "others": "other problems", "plain": "plain problems"}
KINDS["hard"] = "hard problems"
COMPARED = {1: "clearly above", -1: "clearly below", 0: "not clearly different from"}
NAMES = {POCKET: "the base model", MISLED: "the misled model"}


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


def direction(figure: Figure) -> int:
    """Return 1 or -1 if a difference is clearly above or below 0, beyond its interval, else 0."""
    return 1 if figure["low"] > 0 else -1 if figure["high"] < 0 else 0


def model_title(name: str) -> str:
    """A model of the lab in words: a shipped one, or a run by its method and seed."""
    if name in NAMES:
        return NAMES[name]
    method, seed = name.rsplit("-", 1)
    return f"{METHODS[method].title} (seed {seed})"


def listed(words: Iterable[str]) -> str:
    """Return `a, b and c`."""
    found = list(words)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"


def sorted_out(differences: Mapping[str, Figure], words: Mapping[int, str] = COMPARED) -> str:
    """Return the names of differences by `direction`, each group after its words."""
    parts = []
    for kind, said in words.items():
        names = [f"{name} ({points(one)})" for name, one in differences.items() if direction(one) == kind]
        parts += [f"{said} {listed(names)}"] if names else []
    return "; ".join(parts)


def bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
