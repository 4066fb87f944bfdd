"""Will EM help this model? From a few labelled problems: does confidence track correctness, and what would change?

EM makes a model more confident in what it is already most confident in. It helps if, among the answers to one problem,
the more confident ones are right, and harms if they are wrong; both show before any training.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from em_hf.evaluation.confidence import MEASURES, Sample
from em_hf.evaluation.results import Figure
from em_hf.markdown import markdown_table
from em_hf.stats import bootstrap_interval, share_interval

# The measure of confidence that each method raises; training methods are named as in `em_hf.methods`. EM-INF and EM-FT
# sharpen every token's distribution, and so make likely answers likelier.
SHARPENING = ("em-inf", "em-ft")
METHODS = {
    **dict.fromkeys(SHARPENING, "sequence"),
    "em-rl-sequence": "sequence",
    "em-rl-token": "token entropy, summed",
    "rent": "token entropy, mean",
    "self-certainty": "self-certainty",
    "sc-rl": "self-consistency",
}
COVERAGES = (0.1, 0.25, 0.5, 0.75, 1.0)
# A sharper distribution gains if right answers are the more confident ones more often than not. As a reward, a measure
# that ranked right above wrong less often than this did not help the pocket reasoner in training.
ENOUGH_TO_SHARPEN, ENOUGH_TO_REWARD = 0.5, 0.7
_RESAMPLES = 300


@dataclass(frozen=True)
class Measure:
    """The relation of a measure of confidence to correctness.

    Attributes:
        overall: AUROC over all answers: the chance that a right one is more confident than a wrong one.
        within: the same among the answers to one problem, averaged over the problems that have both kinds, or None if
            there are none. This is what a reward can teach.
        risk_coverage: accuracy of the most confident fraction of all answers, for each fraction.
    """

    name: str
    overall: Figure | None
    within: Figure | None
    risk_coverage: dict[float, float]


@dataclass(frozen=True)
class Prediction:
    """Predicted accuracy under EM-INF with a threshold, from reweighting the same answers.

    `gain` is relative to plain sampling. `effective` is the effective sample size as a share of the answers; if it is
    small, the prediction rests on few answers and should be checked by generating again.
    """

    threshold: float
    accuracy: Figure
    gain: Figure
    effective: float


@dataclass(frozen=True)
class Diagnosis:
    """The findings, and the conclusions that follow from them."""

    problems: int
    samples: int
    accuracy: Figure
    mixed: int
    misled: Figure | None
    measures: dict[str, Measure]
    predictions: list[Prediction]
    verdict: str
    sentence: str
    advice: dict[str, str]
    threshold: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def diagnose(samples: Sequence[Sample], *, seed: int = 0) -> Diagnosis:
    """Return the diagnosis from sampled answers, the same number per problem.

    Args:
        seed: seed of the bootstrap, which resamples problems.

    Raises:
        ValueError: there are no answers, or only one per problem.
    """
    groups = _groups(samples)
    if not groups or min(map(len, groups)) < 2:
        raise ValueError("at least two answers to each problem are needed: ask for more samples")
    rights = [float(np.mean([s.right for s in group])) for group in groups]
    measures = {name: _measure(name, groups, seed) for name in MEASURES}
    predictions = [_predict(name, groups, seed) for name in samples[0].log_weights]
    best = max(predictions, key=lambda p: p.accuracy.mean, default=None)
    gain = None if best is None else best.gain
    advice = {method: _advice(method, measures[measure].within, gain) for method, measure in METHODS.items()}
    verdict = _verdict(advice)
    mixed = [group for group in groups if 0 < sum(s.right for s in group) < len(group)]
    misled = [float(_auroc("sequence", group) < 0.5) for group in mixed]
    return Diagnosis(
        problems=len(groups),
        samples=len(groups[0]),
        accuracy=_figure(rights, seed, share_interval),
        mixed=len(mixed),
        misled=_figure(misled, seed, share_interval) if misled else None,
        measures=measures,
        predictions=predictions,
        verdict=verdict,
        sentence=_sentence(verdict, advice, measures["sequence"].within, gain, misled),
        advice=advice,
        threshold=best.threshold if best is not None and best.gain.low > 0 else None,
    )


def _groups(samples: Sequence[Sample]) -> list[list[Sample]]:
    groups: dict[int, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.problem, []).append(sample)
    return list(groups.values())


def _figure(
    values: Sequence[float], seed: int, interval: Callable[..., tuple[float, float]] = bootstrap_interval
) -> Figure:
    numbers = [float(value) for value in values]
    return Figure(float(np.mean(numbers)), *interval(numbers, seed=seed))


def _auroc(name: str, samples: Sequence[Sample]) -> float:
    """Return the chance that a right answer is more confident than a wrong one, ties counting half; needs both."""
    from scipy.stats import rankdata

    right = np.array([s.right for s in samples], dtype=bool)
    ranks, n = rankdata([s.confidence[name] for s in samples])[right], right.sum()
    return float((ranks.mean() - (n + 1) / 2) / (len(right) - n))


def _both_kinds(samples: Sequence[Sample]) -> bool:
    return 0 < sum(s.right for s in samples) < len(samples)


def _measure(name: str, groups: list[list[Sample]], seed: int) -> Measure:
    everything = [sample for group in groups for sample in group]
    overall = None
    if _both_kinds(everything):
        rng = np.random.default_rng(seed)
        draws = ([s for i in rng.integers(len(groups), size=len(groups)) for s in groups[i]] for _ in range(_RESAMPLES))
        aucs = [_auroc(name, draw) for draw in draws if _both_kinds(draw)]
        low, high = np.quantile(aucs, (0.025, 0.975))
        overall = Figure(_auroc(name, everything), float(low), float(high))
    within = [_auroc(name, group) for group in groups if _both_kinds(group)]
    surest = sorted(everything, key=lambda s: s.confidence[name], reverse=True)
    parts = {part: surest[: max(1, round(part * len(surest)))] for part in COVERAGES}
    return Measure(
        name,
        overall,
        _figure(within, seed, share_interval) if within else None,
        {part: float(np.mean([s.right for s in chosen])) for part, chosen in parts.items()},
    )


def _predict(threshold: float, groups: list[list[Sample]], seed: int) -> Prediction:
    """Predict by self-normalized importance sampling per problem: answers count by how much likelier they become."""
    accuracies, gains, effective = [], [], []
    for group in groups:
        logs = np.array([s.log_weights[threshold] for s in group])
        weights = np.exp(logs - logs.max())
        right = np.array([s.right for s in group], dtype=float)
        accuracies.append(float(weights @ right / weights.sum()))
        gains.append(accuracies[-1] - float(right.mean()))
        effective.append(float(weights.sum() ** 2 / (weights**2).sum()) / len(group))
    return Prediction(threshold, _figure(accuracies, seed), _figure(gains, seed), float(np.mean(effective)))


def _advice(method: str, within: Figure | None, gain: Figure | None) -> str:
    """Return "use", "doubtful", "do not use" or "no evidence" for a method.

    Args:
        within: how often its measure ranks a right answer above a wrong one to the same problem.
        gain: what EM-INF is predicted to gain at its best threshold, or None if no threshold was requested.
    """
    if within is None:
        return "no evidence"
    sharpens = method in SHARPENING
    if within.high < 0.5 or (sharpens and gain is not None and gain.high < 0):
        return "do not use"
    enough = within.low > (ENOUGH_TO_SHARPEN if sharpens else ENOUGH_TO_REWARD)
    return "use" if enough and not (sharpens and gain is not None and gain.low <= 0) else "doubtful"


def _verdict(advice: dict[str, str]) -> str:
    """Return "likely" if any method is recommended, "harmful" if sharpening is advised against, else "unlikely"."""
    if "use" in advice.values():
        return "likely"
    return "harmful" if "do not use" in (advice[method] for method in SHARPENING) else "unlikely"


def _sentence(
    verdict: str, advice: dict[str, str], within: Figure | None, gain: Figure | None, misled: Sequence[float]
) -> str:
    if within is None:
        why = "no problem has both right and wrong answers, so there is nothing to choose between"
        return f"EM is unlikely to help this model on such problems: {why}."
    ranks = f"among the answers to one problem a right one is likelier than a wrong one {_percent(within)} of the time"
    if verdict == "harmful":
        costs = "the model is surer of its wrong answers"
        if within.high >= 0.5:
            costs = "every threshold of EM-INF is predicted to cost accuracy"
        return f"EM would be harmful to this model on such problems: {ranks}, and {costs}."
    if verdict == "unlikely":
        lacks = "that is not clearly enough"
        if within.low > ENOUGH_TO_SHARPEN and gain is not None:
            lacks = "no threshold of EM-INF is predicted to gain clearly"
        return f"EM is unlikely to help this model on such problems: {ranks}, and {lacks}."
    text = f"EM is likely to help this model on such problems, with {_listed(advice, 'use')}: {ranks}."
    if "doubtful" in advice.values():
        text += f" Whether {_listed(advice, 'doubtful')} would is doubtful."
    if misled and np.mean(misled) > 0.1:
        text += (
            f" On {100 * np.mean(misled):.0f}% of the problems with both kinds the wrong answers are the surer ones."
        )
    return text


def _listed(advice: dict[str, str], which: str) -> str:
    names = [method for method, one in advice.items() if one == which]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _percent(figure: Figure) -> str:
    return f"{100 * figure.mean:.0f}% ({100 * figure.low:.0f} to {100 * figure.high:.0f})"


def _shown(figure: Figure | None) -> str:
    return "-" if figure is None else f"{figure.mean:.2f} ({figure.low:.2f} to {figure.high:.2f})"


def describe(found: Diagnosis) -> str:
    """Return the diagnosis as text, for a terminal."""
    parts = [
        f"{found.sentence}\n\n{found.problems} problems, {found.samples} answers each at temperature 1; right: "
        f"{_percent(found.accuracy)}; {found.mixed} problems have right and wrong answers.",
        markdown_table(
            ["confidence", "AUROC, all", "AUROC, within a problem", *(f"surest {c:.0%}" for c in COVERAGES)],
            [
                [name, _shown(m.overall), _shown(m.within), *(f"{100 * v:.0f}%" for v in m.risk_coverage.values())]
                for name, m in found.measures.items()
            ],
        ),
        markdown_table(
            ["method", "goes by", "advice"], [[name, METHODS[name], advice] for name, advice in found.advice.items()]
        ),
    ]
    if found.predictions:
        parts.append(
            markdown_table(
                ["EM-INF threshold, nats", "predicted accuracy", "predicted gain, points", "answers in effect"],
                [
                    [
                        f"{p.threshold:g}",
                        _percent(p.accuracy),
                        f"{100 * p.gain.mean:+.1f} ({100 * p.gain.low:+.1f} to {100 * p.gain.high:+.1f})",
                        f"{100 * p.effective:.0f}%",
                    ]
                    for p in found.predictions
                ],
            )
        )
        suggestion = (
            f"Suggested: EntropyMinConfig(threshold={found.threshold:g})"
            if found.threshold is not None
            else "No threshold is predicted to gain clearly"
        )
        parts.append(f"{suggestion}; predicted from the same answers, weighed anew, not generated again.")
    return "\n\n".join(parts)
