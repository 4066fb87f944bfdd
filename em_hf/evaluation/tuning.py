"""Tuning of strategies' settings on held-out validation problems, with the same number of trials for each strategy."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from em_hf.evaluation.strategies import parse_strategy
from em_hf.evaluation.strategy import Strategy

# The settings that a strategy is tuned over: lower bound, upper bound, and whether the scale is logarithmic.
SPACES: dict[str, dict[str, tuple[float, float, bool]]] = {
    "temperature": {"temperature": (0.1, 1.5, False)},
    "top-p": {"top_p": (0.5, 0.99, False)},
    "min-p": {"min_p": (0.01, 0.5, True)},
    "top-n-sigma": {"top_n_sigma": (0.3, 3.0, False)},
    "adaptive-temperature": {"target_ratio": (0.1, 0.95, False)},
    "em-inf": {"threshold": (0.02, 1.0, True), "n_grad_steps": (1, 20, True)},
    "self-consistency": {"temperature": (0.3, 1.2, False)},
    "weighted-self-consistency": {"temperature": (0.3, 1.2, False)},
    "refinement": {"temperature": (0.3, 1.2, False)},
    "em-inf+self-consistency": {"threshold": (0.02, 1.0, True), "n_grad_steps": (1, 20, True)},
    "em-inf+weighted-self-consistency": {"threshold": (0.02, 1.0, True), "n_grad_steps": (1, 20, True)},
    "em-inf+refinement": {"threshold": (0.02, 1.0, True), "n_grad_steps": (1, 20, True)},
}
# Steps that fill a line or a square evenly at any number of points: powers of the inverse golden and plastic ratios.
_STEPS = {1: (0.6180339887498949,), 2: (0.7548776662466927, 0.5698402909980532)}


@dataclass(frozen=True)
class Trial:
    """One setting of a strategy, and its mean accuracy on the validation problems (the mean over tasks)."""

    strategy: str
    settings: str
    accuracy: float


def trials_of(strategy: Strategy, n: int, given: Collection[str] = ()) -> list[Strategy]:
    """Return `n` versions of a strategy: as it stands, then with settings spread evenly over its space.

    Settings given by the user are kept. A strategy with nothing left to tune (greedy, sampling) is returned alone.

    Args:
        strategy: as returned by `make_strategies`.
        n: at least 1.
        given: names of settings that the user gave for all strategies.

    Raises:
        ValueError: `n` is below 1.
    """
    if n < 1:
        raise ValueError(f"tune is {n!r}, but must be at least 1")
    name, own = parse_strategy(strategy.name)
    space = {key: range_ for key, range_ in SPACES.get(name, {}).items() if key not in own and key not in given}
    if not space:
        return [strategy]
    made = [strategy]
    for i in range(1, n):
        point = [(0.5 + i * step) % 1 for step in _STEPS[len(space)]]
        made.append(_with(strategy, {key: _at(u, *space[key]) for key, u in zip(space, point, strict=True)}))
    return made


def _at(u: float, low: float, high: float, factors: bool) -> float:
    value = low * (high / low) ** u if factors else low + u * (high - low)
    return float(f"{value:.3g}")


def _with(strategy: Strategy, settings: dict[str, Any]) -> Strategy:
    changes: dict[str, Any] = {}
    for key, value in settings.items():
        value = max(1, math.floor(value + 0.5)) if key == "n_grad_steps" else value
        if hasattr(strategy, key):
            changes[key] = value
        else:
            config: Any = changes.get("entropy_min", strategy.entropy_min)
            changes["entropy_min"] = replace(config, **{key: value})
    return replace(strategy, **changes)


def tune(
    strategies: Sequence[Strategy],
    n: int,
    accuracy: Callable[[Strategy], float],
    on_trial: Callable[[Trial], None] = lambda trial: None,
    given: Collection[str] = (),
) -> tuple[list[Strategy], list[Trial]]:
    """Return each strategy with the best of `n` settings, and all trials; in a tie, the first wins.

    Args:
        strategies: as returned by `make_strategies`; they keep their names.
        n: settings tried per strategy that has any to tune.
        accuracy: returns a strategy's accuracy on the validation problems.
        on_trial: called with each trial as it is done.
        given: as in `trials_of`.
    """
    chosen, done = [], []
    for strategy in strategies:
        versions = trials_of(strategy, n, given)
        if len(versions) == 1:
            chosen.append(strategy)
            continue
        scores = []
        for version in versions:
            scores.append(accuracy(version))
            done.append(Trial(strategy.name, version.describe(), scores[-1]))
            on_trial(done[-1])
        chosen.append(versions[scores.index(max(scores))])
    return chosen, done
