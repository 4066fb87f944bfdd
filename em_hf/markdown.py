"""Markdown tables for results, settings, cards, the docs and the benchmarks."""

from collections.abc import Iterable, Sequence
from typing import Any

from em_hf.messages import one_line


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: bool = False, aligned: bool = True
) -> str:
    """Return a Markdown table; bars and line breaks within a cell do not split it.

    Args:
        header: Titles of the columns.
        rows: One cell per column each, shown by `str`; booleans become yes and no, lists are joined by commas.
        numbers: Whether all columns but the first are right-aligned.
        aligned: Whether columns are padded, so that the table is readable as plain text.

    Example:
        >>> print(markdown_table(["strategy", "right"], [["greedy", 98]], numbers=True))
        | strategy | right |
        |----------|------:|
        | greedy   |    98 |
    """
    lines = [[_cell(cell) for cell in line] for line in (header, *rows)]
    widths = [max(len(line[i]) for line in lines) if aligned else 0 for i in range(len(header))]
    rule = "|".join("-" * (width + 1) + (":" if numbers and i else "-") for i, width in enumerate(widths))
    if not aligned:
        rule = "|".join([" --- "] * len(header))

    def shown(line: Sequence[str]) -> str:
        cells = [
            cell.rjust(width) if numbers and i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    return "\n".join([shown(lines[0]), f"|{rule}|", *map(shown, lines[1:])])


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    return one_line(str(value).replace("|", "\\|"))
