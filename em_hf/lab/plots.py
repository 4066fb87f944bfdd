"""The lab's pictures: accuracy against entropy along the runs, of every method, and of every strategy."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from em_hf.lab.settings import LEVELS
from em_hf.methods import METHODS

PLOTS = ("lab-runs.png", "lab-methods.png", "lab-strategies.png")


def write_plots(record: Mapping[str, Any], output: Path) -> list[str]:
    """Return the names of the pictures written to `output`: none without matplotlib, none of what was not measured."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return []
    made = []
    for name, draw in zip(PLOTS, (_runs, _methods, _strategies), strict=True):
        if (canvas := draw(record)) is not None:
            canvas.savefig(output / name, format="png")
            made.append(name)
    return made


def _runs(record: Mapping[str, Any]) -> Any:
    """Draw a run as a line from its start (a ring) to its end (a cross): sampled and greedy accuracy by entropy."""
    from matplotlib.figure import Figure

    long = {row["method"] for row in record["curves"] if row["long"]}
    rows = [row for row in record["curves"] if row["long"] or row["method"] not in long]
    if not rows:
        return None
    canvas = Figure(figsize=(11, 4.5), dpi=110, layout="constrained")
    for axes, way in zip(canvas.subplots(1, 2, sharex=True), ("sampled", "greedy"), strict=True):
        for i, row in enumerate(rows):
            x = [one["entropy"] for one in row["readings"]]
            y = [100 * one[way] for one in row["readings"]]
            color, style = f"C{i % 10}", "-" if i < 10 else "--"
            axes.plot(x, y, style, color=color, marker=".", label=METHODS[row["method"]].title)
            axes.plot(x[:1], y[:1], "o", color=color, fillstyle="none")
            axes.plot(x[-1:], y[-1:], "x", color=color)
        axes.set(xlabel="entropy of samples, nats per token", ylabel=f"{way} accuracy on hard validation problems, %")
        axes.set_xscale("log")
        axes.grid(alpha=0.3, which="both")
    canvas.get_axes()[1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return canvas


def _methods(record: Mapping[str, Any]) -> Any:
    def rows_of(level: str) -> list[tuple[str, dict[str, Any]]]:
        rows = [row for row in record["methods"] if row["level"] == level]
        return [(row["title"], {way: row[way] for way in ("sampled", "greedy")}) for row in rows]

    return _by_level(rows_of)


def _strategies(record: Mapping[str, Any]) -> Any:
    def rows_of(level: str) -> list[tuple[str, dict[str, Any]]]:
        shown = [row for row in record["decoding"] if row["level"] == level and row["kind"] != "equal-entropy"]
        shown = [row for row in shown if row["kind"] == "tuned" or row["strategy"] in ("greedy", "sampling")]
        return [(row["strategy"], {"tuned on validation problems": row["sampled"]}) for row in shown]

    return _by_level(rows_of)


def _by_level(rows_of: Callable[[str], list[tuple[str, dict[str, Any]]]]) -> Any:
    """Draw figures with their intervals, a row each and a panel per level."""
    from matplotlib.figure import Figure

    rows = {level: rows_of(level)[::-1] for level in LEVELS}
    most = max(map(len, rows.values()))
    if not most:
        return None
    canvas = Figure(figsize=(11, 1.2 + 0.35 * most), dpi=110, layout="constrained")
    for axes, (level, lines) in zip(canvas.subplots(1, len(rows)), rows.items(), strict=True):
        for name, marker in zip(lines[0][1] if lines else (), "oD", strict=False):
            known = [(place, figures[name]) for place, (_, figures) in enumerate(lines) if figures[name] is not None]
            arms = [
                [100 * max(0, f["mean"] - f["low"]) for _, f in known],
                [100 * max(0, f["high"] - f["mean"]) for _, f in known],
            ]
            means = [100 * f["mean"] for _, f in known]
            axes.errorbar(means, [place for place, _ in known], xerr=arms, fmt=marker, capsize=3, label=name)
        axes.set_yticks(range(len(lines)), [title for title, _ in lines])
        axes.set_xlabel(f"accuracy on {level} problems, %, 95% interval")
        axes.grid(alpha=0.3)
        if lines:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return canvas
