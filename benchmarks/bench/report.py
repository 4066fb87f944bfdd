"""The report: tables, exponents, what was left out, and two plots."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench.growth import Curve
from benchmarks.bench.lines import Line
from benchmarks.common import cpu_name, describe, table

HEADER = ("em-hf", "against", "of", "ratio", "em-hf's", "the other's", "pairs", "target")


def machine() -> str:
    """Return the processor's name and core count as a file name. All parts are measured on the processor."""
    name = f"{cpu_name()} {os.cpu_count()} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def text(
    record: Mapping[str, Any],
    lines: Sequence[Line],
    curves: Sequence[Curve],
    left_out: Mapping[str, str],
    plots: Sequence[str] = (),
) -> str:
    """Return the report as Markdown."""
    parts = [
        f"# em-hf beside its alternatives, on {record['cpu']}",
        describe(record)
        + f" {record['threads']} thread(s) of torch, {record['scale']} size, {record['seconds'] / 60:.1f} minutes.",
        "A ratio is em-hf's over the other's, pair by pair, as `median (q1-q3)`: below 1, em-hf takes less. Both sides "
        "were measured in the same run and took turns. Throughput in tokens/s; its ratio is of the time.",
    ]
    if record["scale"] != "full":
        parts.append("**Not a record**: few repeats and small sizes.")
    for section in dict.fromkeys(line.section for line in lines):
        rows = [line.row() for line in lines if line.section == section]
        parts.append(f"## {section}\n\n{table(HEADER, rows)}")
    if curves:
        parts.append(f"## How cost grows\n\n{growth_table(curves)}")
    if left_out:
        parts.append("## Left out\n\n" + "\n".join(f"- {name}: {why}" for name, why in left_out.items()))
    parts += [f"![{Path(name).stem}]({name})" for name in plots]
    return "\n\n".join(parts)


def growth_table(curves: Sequence[Curve]) -> str:
    rows = [
        [
            one.what,
            one.over,
            f"{one.sizes[0]:,} to {one.sizes[-1]:,}",
            f"{one.seconds[0] * 1e3:.2f} to {one.seconds[-1] * 1e3:.2f} ms",
            f"{one.exponent:.2f}",
        ]
        for one in curves
    ]
    note = "Time grows as the size to the power of the exponent, fitted to medians by least squares in logarithms."
    return f"{note}\n\n{table(('', 'over', 'sizes', 'time', 'exponent'), rows)}"


def write_plots(lines: Sequence[Line], curves: Sequence[Curve], folder: Path, stem: str) -> list[str]:
    """Write the ratios and the growth as PNG files, and return the names of those written."""
    from matplotlib.figure import Figure

    made = []
    if lines:
        shown = lines[::-1]
        figure = Figure(figsize=(9, 1 + 0.32 * len(shown)), dpi=110, layout="constrained")
        axes = figure.subplots()
        middle = [line.ratio["median"] for line in shown]
        low = [max(0.0, line.ratio["median"] - line.ratio["q1"]) for line in shown]
        high = [max(0.0, line.ratio["q3"] - line.ratio["median"]) for line in shown]
        axes.errorbar(middle, range(len(shown)), xerr=[low, high], fmt="o", capsize=3)
        axes.axvline(1, color="grey", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_yticks(range(len(shown)), [f"{one.what} / {one.against}, {one.quantity}" for one in shown], fontsize=7)
        axes.set_xlabel("em-hf's over the other's: median and quartiles")
        made.append(f"{stem}-ratios.png")
        figure.savefig(folder / made[-1])
    if curves:
        figure = Figure(figsize=(9, 4.5), dpi=110, layout="constrained")
        for place, over in enumerate(sizes := list(dict.fromkeys(one.over for one in curves))):
            axes = figure.add_subplot(1, len(sizes), place + 1)
            for one in (one for one in curves if one.over == over):
                times = [value * 1e3 for value in one.seconds]
                axes.loglog(one.sizes, times, "o-", label=f"{one.what}: {one.exponent:.2f}")
            axes.set_xlabel(over)
            axes.set_ylabel("ms")
            axes.legend(fontsize=6)
        made.append(f"{stem}-growth.png")
        figure.savefig(folder / made[-1])
    return made
