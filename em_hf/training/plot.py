"""The plot of a finished run: entropy per step, and accuracy on held-out prompts before and after."""

from pathlib import Path
from typing import Any

from em_hf.runs import Run, read_run

PLOT_FILE = "training.png"


def plot_run(folder: Path) -> Path | None:
    """Write `training.png` into a run folder and return its path, or None without matplotlib or data to plot.

    Raises:
        RunFileError: The folder holds no readable run.
    """
    run = read_run(folder)
    steps = [line for line in run.log if line.entropy is not None]
    rows = [row for row in (run.results.rows if run.results else []) if row.accuracy is not None]
    panels = ([_entropy] if len(steps) > 1 else []) + ([_accuracy] if rows else [])
    if not panels:
        return None
    try:
        from matplotlib.figure import Figure  # not pyplot, which would choose a backend and keep the figure
    except ImportError:
        return None
    figure = Figure(figsize=(4.5 * len(panels), 3.2), dpi=120, layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        panel(axes, run)
        axes.grid(alpha=0.3)
    path = folder / PLOT_FILE
    figure.savefig(path)
    return path


def _entropy(axes: Any, run: Run) -> None:
    lines = [line for line in run.log if line.entropy is not None]
    axes.plot([line.step for line in lines], [line.entropy for line in lines], marker="." if len(lines) < 60 else None)
    axes.set(xlabel="training step", ylabel="entropy (nats per token)")
    axes.set_ylim(0, 1.05 * max(line.entropy or 0 for line in lines) or 1)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _accuracy(axes: Any, run: Run) -> None:
    rows = [row for row in (run.results.rows if run.results else []) if row.accuracy is not None]
    places = range(len(rows))
    middle = [100 * (row.accuracy or 0) for row in rows]
    low = [m - 100 * (row.low if row.low is not None else m / 100) for m, row in zip(middle, rows, strict=True)]
    high = [100 * (row.high if row.high is not None else m / 100) - m for m, row in zip(middle, rows, strict=True)]
    axes.errorbar(middle, places, xerr=[low, high], fmt="o", capsize=3)
    axes.set_yticks(places, [row.name for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel="accuracy on held-out prompts (%, 95% interval)", xlim=(0, 100))
