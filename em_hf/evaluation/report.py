"""The results of an evaluation as text, as a record, and as a plot of accuracy against cost."""

import io
import platform
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from em_hf.evaluation.folder import EvalFolder
from em_hf.evaluation.results import Figure, Row, narrow, pairs_of, pairs_table, table
from em_hf.evaluation.run import our_tasks
from em_hf.evaluation.strategy import Strategy
from em_hf.evaluation.tuning import Trial
from em_hf.runs import Benchmark, Evaluation, now, write_file

NOTE = (
    "In brackets: 95% bootstrap intervals over problems, or the exact binomial bound where all or none succeed; a "
    "difference of no width is one of problems that never differ. GFLOPs: 2PD of an answer, every token that passed "
    "through the model counted, prompts too. nats/token: of the model's own distributions."
)

SHORT_NOTE = (
    "In brackets: 95% intervals over problems. Of an answer, in the mean: tokens, entropy of the model's own "
    "distributions (nats per token), GFLOPs and seconds; --wide shows their intervals."
)
WIDTH = 100


@dataclass(frozen=True)
class Report:
    """The results as they are written to files and shown.

    Attributes:
        record: for eval.json.
        text: every figure with its interval, for eval.md.
        screen: the main figures, at most 100 columns wide.
        picture: a PNG, or None if there is none.
    """

    record: Evaluation
    text: str
    screen: str
    picture: bytes | None

    def write(self, folder: EvalFolder) -> None:
        write_file(folder.path / "eval.md", f"`{self.record.command}`\n\n{self.text}\n".encode())
        if self.picture is not None:
            write_file(folder.path / "accuracy.png", self.picture)
        folder.write(self.record)  # last, so that a finished evaluation has all files


def report(
    rows: Sequence[Row],
    strategies: Sequence[Strategy],
    settings: Mapping[str, Any],
    *,
    command: str,
    trials: Sequence[Trial] = (),
) -> Report:
    """Return the report of an evaluation; each strategy is compared with greedy decoding and with sampling.

    Args:
        trials: the trials of `tune`, if strategies were tuned.
    """
    pairs = pairs_of(rows)
    parts = [table(rows)]
    parts += [pairs_table(pairs)] if pairs else []
    lines = [f"- {strategy.name}: {strategy.describe()}" for strategy in strategies]
    head = f"{settings['model']}, seed {settings['seed']}."
    head += f" Tuned on validation problems: {len(trials)} trials in all." if trials else ""
    parts += ["\n".join([f"{head} {NOTE}", "", *lines])]
    screen = "\n\n".join([narrow(rows, pairs), "\n".join([*_wrapped(f"{head} {SHORT_NOTE}"), *_wrapped_lines(lines)])])
    record = Evaluation(
        status="finished",
        command=command,
        settings=dict(settings),
        benchmarks={} if settings.get("dataset") else _benchmarks({row.task for row in rows}),
        rows=[row.record() for row in rows],
        pairs=[pair.to_dict() for pair in pairs],
        tuning=[asdict(trial) for trial in trials],
        versions={
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("em-hf", "lm-eval", "torch", "transformers")},
        },
        date=now(),
    )
    return Report(record, "\n\n".join(parts), screen, picture(rows))


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent)


def _wrapped_lines(lines: Sequence[str]) -> list[str]:
    return [part for line in lines for part in _wrapped(line, "  ")]


def _benchmarks(tasks: set[str]) -> dict[str, Benchmark]:
    """Return the Hub dataset and the size of each of our tasks, to tell a whole benchmark from a part of one."""
    about = {name: config["metadata"] for name, config in our_tasks().items() if name in tasks}
    return {name: Benchmark(known.get("hub"), known.get("size")) for name, known in about.items()}


def picture(rows: Sequence[Row]) -> bytes | None:
    """Plot accuracy against an answer's FLOPs and seconds, with intervals; None for one row or without matplotlib."""
    rows = [row for row in rows if "flops" in row.values]
    if len(rows) < 2:
        return None
    try:
        from matplotlib.figure import Figure as Canvas  # not pyplot, which picks a display and keeps the figure
    except ImportError:
        return None
    tasks = list(dict.fromkeys(row.task for row in rows))
    canvas = Canvas(figsize=(11, 3.6 * len(tasks)), dpi=110, layout="constrained")
    grid = canvas.subplots(len(tasks), 2, squeeze=False, sharey="row")
    for task, (left, right) in zip(tasks, grid, strict=True):
        for axes, cost, label in ((left, "flops", "FLOPs of an answer"), (right, "seconds", "seconds of an answer")):
            for place, row in enumerate(row for row in rows if row.task == task):
                x, y = row.figure(cost), row.figure(row.metric)
                assert x is not None and y is not None
                axes.errorbar(
                    x.mean,
                    100 * y.mean,
                    xerr=_arms(x, 1),
                    yerr=_arms(y, 100),
                    fmt="osD^vP*X"[place % 8],
                    capsize=3,
                    label=row.strategy,
                )
            axes.set(xlabel=label, ylabel=f"{task}: accuracy, %", xlim=(0, None))
            axes.grid(alpha=0.3)
    grid[0][1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png")
    return buffer.getvalue()


def _arms(figure: Figure, scale: float) -> list[list[float]]:
    """Return the lengths of an interval's two arms; rounding can put the mean of equal numbers just outside it."""
    return [[max(0.0, scale * (figure.mean - figure.low))], [max(0.0, scale * (figure.high - figure.mean))]]
