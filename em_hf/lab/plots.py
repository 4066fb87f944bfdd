"""The lab's pictures: accuracy of every method, of every strategy against its cost, and the sweep as heat maps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from em_hf.lab.plan import POCKET

GRIDS = (("threshold", "n_grad_steps"), ("learning_rate", "kl_weight"))


def write_plots(record: Mapping[str, Any], output: Path) -> list[str]:
    """The names of the pictures written to `output`; none without matplotlib, none of what was not measured."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return []
    made = []
    for name, draw in (("lab-methods", _methods), ("lab-strategies", _strategies), ("lab-sweep", _sweep)):
        if (canvas := draw(record)) is not None:
            name = f"{name}.png"
            canvas.savefig(output / name, format="png")
            made.append(name)
    return made


def _methods(record: Mapping[str, Any]) -> Any:
    from matplotlib.figure import Figure

    rows = record["methods"][::-1]
    if not rows:
        return None
    canvas = Figure(figsize=(7, 1 + 0.4 * len(rows)), dpi=110, layout="constrained")
    axes = canvas.subplots()
    for way, marker in (("sampled", "o"), ("greedy", "D")):
        known = [(place, row[way]) for place, row in enumerate(rows) if row[way] is not None]
        arms = [
            [100 * max(0, f["mean"] - f["low"]) for _, f in known],
            [100 * max(0, f["high"] - f["mean"]) for _, f in known],
        ]
        means = [100 * f["mean"] for _, f in known]
        axes.errorbar(means, [place for place, _ in known], xerr=arms, fmt=marker, capsize=3, label=way)
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axes.set_xlabel("accuracy on held-out problems, %, 95% interval")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return canvas


def _strategies(record: Mapping[str, Any]) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    rows = [row for row in record["decoding"] if row["model"] == POCKET and row["data"] == "test"]
    if not rows:
        return None
    canvas = Figure(figsize=(7, 4.5), dpi=110, layout="constrained")
    axes = canvas.subplots()
    for row in rows:
        mean, low, high = (100 * row["sampled"][name] for name in ("mean", "low", "high"))
        arms = [[max(0, mean - low)], [max(0, high - mean)]]
        axes.errorbar(1000 * row["seconds"], mean, yerr=arms, fmt="o", capsize=3, label=row["strategy"])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(ScalarFormatter())
    axes.set(xlabel="processor time of an answer, ms", ylabel="accuracy on held-out problems, %, 95% interval")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return canvas


def _sweep(record: Mapping[str, Any]) -> Any:
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(row["model"] for row in record["sweep"]))
    if not models:
        return None
    means = [100 * row["sampled"]["mean"] for row in record["sweep"]]
    canvas = Figure(figsize=(10, 3.4 * len(models)), dpi=110, layout="constrained")
    grid = canvas.subplots(len(models), 2, squeeze=False)
    for model, line in zip(models, grid, strict=True):
        for (first, second), axes in zip(GRIDS, line, strict=True):
            points = {
                (row["point"][first], row["point"][second]): 100 * row["sampled"]["mean"]
                for row in record["sweep"]
                if row["model"] == model and first in row["point"]
            }
            ups, acrosses = (sorted({key[i] for key in points}) for i in (0, 1))
            cells = [[points.get((up, across), float("nan")) for across in acrosses] for up in ups]
            if not points:
                continue
            axes.imshow(cells, origin="lower", aspect="auto", vmin=min(means), vmax=max(means))
            for i, up in enumerate(ups):
                for j, across in enumerate(acrosses):
                    if (up, across) in points:
                        # Light cells, of the larger numbers, take dark digits.
                        color = "black" if points[up, across] > (min(means) + max(means)) / 2 else "white"
                        axes.text(j, i, f"{points[up, across]:.1f}", ha="center", va="center", color=color)
            axes.set_xticks(range(len(acrosses)), [f"{value:g}" for value in acrosses])
            axes.set_yticks(range(len(ups)), [f"{value:g}" for value in ups])
            axes.set(xlabel=second, ylabel=first, title=f"{model}: accuracy under EM-INF, %")
    return canvas
