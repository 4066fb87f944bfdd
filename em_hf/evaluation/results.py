"""Evaluation results: one row per strategy and task, every figure with its interval, and paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

import numpy as np

from em_hf.evaluation.strategy import Completion
from em_hf.flops import inference_flops
from em_hf.markdown import markdown_table
from em_hf.runs import EvaluationRow, Figure
from em_hf.stats import bootstrap_interval, paired_interval, share_interval

# The strategies that every other is compared with.
BASES = ("greedy", "sampling")
COSTS = ("tokens", "entropy", "flops", "seconds")
# Names that tasks give the main figure, which tables show; our tasks use the first.
MAIN = ("pass@1", "exact_match", "acc")
# Name prefixes of figures that are shares of problems, or of the answers to one.
SHARES = ("pass@", "maj@", "answered", "exact_match", "acc")


@dataclass(frozen=True)
class Row:
    """One strategy on one task.

    Attributes:
        values: for each figure, one number per problem: the task's metrics as lm-eval computed them, and per answer the
            `tokens` drawn, their mean `entropy` (nats per token of the model's own distributions; not from vLLM),
            `flops` (2PD, where D counts every token that passed through the model, including prompts) and `seconds`.
        samples: answers per problem.
    """

    strategy: str
    task: str
    values: dict[str, list[float]]
    samples: int
    seed: int = 0

    def __len__(self) -> int:
        return len(self.values[self.metric])

    @property
    def metric(self) -> str:
        """The name of the main figure."""
        found = next((name for name in MAIN if name in self.values), None)
        return found or next(name for name in self.values if name not in COSTS)

    def figure(self, name: str) -> Figure | None:
        """Return the mean and interval of a figure, or None if the task has none of that name."""
        values = self.values.get(name)
        if not values:
            return None
        interval = share_interval if name.startswith(SHARES) else bootstrap_interval
        return Figure(sum(values) / len(values), *interval(values, seed=self.seed))

    def figures(self) -> dict[str, Figure]:
        return {name: figure for name in self.values if (figure := self.figure(name)) is not None}

    def record(self) -> EvaluationRow:
        """Return the row as stored in `eval.json`."""
        return EvaluationRow(
            self.strategy, self.task, len(self), self.samples, self.metric, self.figures(), self.values
        )


def rows_of(
    strategy: str,
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
    completions: Mapping[tuple[str, int, int], Completion],
    parameters: int | None,
    *,
    seed: int,
) -> list[Row]:
    """Return the rows of a strategy from lm-eval's samples and from what the answers cost.

    Args:
        samples: each task's samples, as lm-eval logs them.
        completions: by task, problem and sample; tasks that only compare likelihoods have none.
        parameters: the model's parameter count P; None if unknown, and rows then have no FLOPs.

    Raises:
        ValueError: a task has no figure per problem.
    """
    rows = []
    for task, logged in samples.items():
        first = logged[0]["filter"]
        logged = [sample for sample in logged if sample["filter"] == first]
        values = figures_per_problem(task, [{name: one.get(name) for name in logged[0]["metrics"]} for one in logged])
        taken = [_of_problem(completions, task, sample["doc_id"]) for sample in logged]
        if all(taken):
            unknown = {"entropy"} if any(one.nats is None for ones in taken for one in ones) else set()
            unknown |= {"flops"} if parameters is None else set()
            values |= {n: [_mean_cost(n, ones, parameters or 0) for ones in taken] for n in COSTS if n not in unknown}
        rows.append(Row(strategy, task, values, max(1, len(taken[0])), seed))
    return rows


def figures_per_problem(task: str, metrics: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Return the metrics that are a number for each problem; the rest exist for all problems together only.

    Args:
        metrics: what the task computed for each problem.

    Raises:
        ValueError: there is none, and so nothing that an interval or a difference could be computed from.
    """
    found = {
        name: [float(one[name]) for one in metrics]
        for name in metrics[0]
        if all(isinstance(one[name], Real | np.bool_) for one in metrics)
    }
    if not found:
        raise ValueError(
            f"{task} has no figure per problem, from which intervals are computed ({', '.join(metrics[0])} can only be "
            "had for all problems together): leave it out, or evaluate it with lm-eval itself"
        )
    return found


def _of_problem(completions: Mapping[tuple[str, int, int], Completion], task: str, problem: int) -> list[Completion]:
    found: list[Completion] = []
    while (key := (task, problem, len(found))) in completions:
        found.append(completions[key])
    return found


def _mean_cost(name: str, ones: Sequence[Completion], parameters: int) -> float:
    tokens = sum(one.tokens for one in ones)
    if name == "entropy":
        return sum(one.nats or 0.0 for one in ones) / max(1, tokens)
    if name == "flops":
        return inference_flops(parameters, tokens + sum(one.prompt_tokens for one in ones)) / len(ones)
    return (tokens if name == "tokens" else sum(one.seconds for one in ones)) / len(ones)


@dataclass(frozen=True)
class Pair:
    """`strategy` minus `base` on the same problems, and the ratio of their FLOPs."""

    task: str
    strategy: str
    base: str
    difference: Figure
    flops_ratio: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def pairs_of(rows: Sequence[Row]) -> list[Pair]:
    """Return each row's paired differences in the main figure from greedy decoding and from sampling.

    If a task was evaluated under neither, the first of its rows is the base.
    """
    found = []
    for task in dict.fromkeys(row.task for row in rows):
        group = [row for row in rows if row.task == task]
        bases = [row for name in BASES for row in group if row.strategy == name] or group[:1]
        found += [pair_of(row, base) for row in group if row is not bases[0] for base in bases if row is not base]
    return found


def pair_of(row: Row, base: Row) -> Pair:
    """Return how two rows of the same problems differ in the main figure, and the ratio of their FLOPs."""
    difference = Figure(*paired_interval(row.values[row.metric], base.values[row.metric], seed=row.seed))
    ratio = None
    if "flops" in row.values and "flops" in base.values:
        ratio = sum(row.values["flops"]) / sum(base.values["flops"])
    return Pair(row.task, row.strategy, base.strategy, difference, ratio)


def table(rows: Sequence[Row]) -> str:
    """Return Markdown: accuracy in percent and what an answer costs, each with its interval in brackets."""
    names = dict.fromkeys(name for row in rows for name in row.values)
    more = [name for name in names if name.startswith(("pass@", "maj@")) or name in ("answered", "steps")]
    more = [name for name in more if name != "pass@1"]
    header = ["task", "strategy", "problems", "accuracy, %", *(f"{name}, %" for name in more)]
    header += ["tokens", "nats/token", "GFLOPs", "seconds"]
    lines = []
    for row in rows:
        cells = [row.task, row.strategy, f"{len(row)} × {row.samples}", _cell(row.figure(row.metric), 100, 1)]
        cells += [_cell(row.figure(name), 100, 1) for name in more]
        cells += [_cell(row.figure("tokens"), 1, 1), _cell(row.figure("entropy"), 1, 3)]
        cells += [_cell(row.figure("flops"), 1e-9, 3), _cell(row.figure("seconds"), 1, 2)]
        lines.append(cells)
    return markdown_table(header, lines)


def pairs_table(pairs: Sequence[Pair]) -> str:
    """Return Markdown: differences of accuracy in percentage points, with intervals, and ratios of FLOPs."""
    lines = [
        [
            pair.task,
            f"{pair.strategy} minus {pair.base}",
            _cell(pair.difference, 100, 1, sign="+"),
            "" if pair.flops_ratio is None else f"{pair.flops_ratio:.2f}",
        ]
        for pair in pairs
    ]
    return markdown_table(["task", "paired difference", "points", "FLOPs, times"], lines)


def narrow(rows: Sequence[Row], pairs: Sequence[Pair]) -> str:
    """Return for each task a table of accuracy and costs and one of differences, at most 100 columns wide."""
    parts = []
    for task in dict.fromkeys(row.task for row in rows):
        group = [row for row in rows if row.task == task]
        lines = [
            [
                _short(row.strategy),
                _cell(row.figure(row.metric), 100, 1),
                _mean(row.figure("tokens"), 1, 1),
                _mean(row.figure("entropy"), 1, 3),
                _mean(row.figure("flops"), 1e-9, 2),
                _mean(row.figure("seconds"), 1, 2),
            ]
            for row in group
        ]
        title = f"{task}: {len(group[0])} problems, {group[0].samples} answer{'s'[: group[0].samples > 1]} each"
        parts.append(
            f"{title}\n\n{markdown_table(['strategy', 'accuracy, %', 'tokens', 'nats', 'GFLOPs', 's'], lines)}"
        )
        if theirs := [pair for pair in pairs if pair.task == task]:
            parts.append(_differences(theirs))
    return "\n\n".join(parts)


def _differences(pairs: Sequence[Pair]) -> str:
    bases = sorted({pair.base for pair in pairs}, key=lambda base: (base not in BASES, base))
    found = {(pair.strategy, pair.base): _cell(pair.difference, 100, 1, sign="+") for pair in pairs}
    names = dict.fromkeys(pair.strategy for pair in pairs)
    lines = [[_short(name), *(found.get((name, base), "") for base in bases)] for name in names]
    return markdown_table(["points of accuracy", *(f"minus {_short(base)}" for base in bases)], lines)


def _short(name: str, width: int = 34) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"


def _mean(figure: Figure | None, scale: float, digits: int) -> str:
    return "" if figure is None else f"{figure.mean * scale:.{digits}f}"


def _cell(figure: Figure | None, scale: float, digits: int, sign: str = "") -> str:
    if figure is None:
        return ""
    low, high = (f"{value * scale:{sign}.{digits}f}" for value in (figure.low, figure.high))
    return f"{figure.mean * scale:{sign}.{digits}f} ({low} to {high})"
