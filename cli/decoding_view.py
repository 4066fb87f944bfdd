"""Decoded text on a terminal: shown live, coloured by entropy, both texts side by side if there is room."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from em_hf.compare.repeat import Repeated
    from em_hf.compare.side_by_side import Comparison, Decoded, Step, Token

TITLES = ("Plain", "EM-INF")
SIDE_BY_SIDE = 100  # columns
SMALLEST_SCREEN = 10  # lines
# Each style with the lowest entropy, in nats, that it marks.
STYLES = ((1.5, "red"), (0.5, "yellow"), (0.1, "cyan"), (0.0, ""))
UNDERLINED = "Underlined: EM-INF acted."
LEGEND = f"Entropy of each token: uncoloured under 0.1 nats, cyan, yellow from 0.5, red from 1.5. {UNDERLINED}"
BARS = " ▁▂▃▄▅▆▇█"
FULL_BAR_NATS = 3.0


class View:
    """Two texts that grow token by token."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.texts = (Text(), Text())

    def add(self, tokens: "Sequence[Token | None]") -> None:
        for text, token in zip(self.texts, tokens, strict=True):
            if token is not None and not token.special:
                style = next(style for nats, style in STYLES if token.entropy_before >= nats)
                text.append(token.text, f"{style} underline".strip() if token.adjusted else style)

    def render(self, lines: int | None = None) -> RenderableType:
        """Return both texts, or only as much of their ends as fits in `lines` lines of the screen."""
        if self.console.width < SIDE_BY_SIDE:
            room = None if lines is None else (lines - 4) // 2
            parts = [
                (Text(title, "bold"), self._end(text, self.console.width, room), Text())
                for title, text in zip(TITLES, self.texts, strict=True)
            ]
            return Group(*(part for group in parts for part in group))
        table = Table(box=None, expand=True, padding=(0, 2, 0, 0), header_style="bold")
        for title in TITLES:
            table.add_column(title, ratio=1, overflow="fold")
        room = None if lines is None else lines - 2
        table.add_row(*(self._end(text, self.console.width // 2 - 2, room) for text in self.texts))
        return table

    def _end(self, text: Text, width: int, lines: int | None) -> Text:
        if lines is None:
            return text
        return Text("\n").join(text.wrap(self.console, width)[-lines:])


def is_live(console: Console) -> bool:
    """Return whether a console can redraw text: it must be a terminal with cursor control."""
    return console.is_terminal and not console.is_dumb_terminal


def show_live(steps: "Iterable[Step]", console: Console) -> "list[Step]":
    """Show the steps of a decode as they arrive, and return them all."""
    done, view, lines = [], View(console), max(SMALLEST_SCREEN, console.height)
    with Live(view.render(lines), console=console, auto_refresh=False, transient=True) as live:
        for step in steps:
            done.append(step)
            view.add(step.rows)
            live.update(view.render(lines), refresh=True)
    console.print(view.render())
    console.print(f"\n{UNDERLINED if console.no_color else LEGEND}", style="dim", highlight=False)
    return done


def summary(result: "Comparison") -> str:
    """Return what EM-INF did in a sentence, and the mean entropy of both texts."""
    plain, em = result.plain, result.em
    share = 100 * sum(em.adjusted) / max(1, len(em.tokens))
    parted = "Both drew the same tokens." if result.diverges_at is None else f"They part at token {result.diverges_at}."
    return (
        f"{result.sentence or parted}\n\n"
        f"Plain:  {len(plain.tokens)} tokens, {_mean(plain.entropy_before):.3f} nats per token\n"
        f"EM-INF: {len(em.tokens)} tokens, {_mean(em.entropy_before):.3f} nats per token before EM-INF, "
        f"{_mean(em.entropy_after):.3f} after; it acted on {share:.0f}% of them"
    )


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))


def trace_table(result: "Comparison") -> str:
    """Return a line per token: both tokens, their entropies in nats, and the second's after EM-INF."""
    lines = [f"{'':>5} {'plain':<26} {'nats':>5}    {'EM-INF':<26} {'nats':>5}    after"]
    for i in range(max(len(result.plain.tokens), len(result.em.tokens))):
        mark = ">" if i == result.diverges_at else " "
        lines.append(f"{mark}{i:>4} {_cell(result.plain, i)}    {_cell(result.em, i)}{_after(result.em, i)}".rstrip())
    return "\n".join(lines)


def _cell(run: "Decoded", i: int) -> str:
    """Return a token, its entropy and a bar of it (full at 3 nats)."""
    if i >= len(run.tokens):
        return " " * 34
    text = repr(run.tokens[i])
    text = text if len(text) <= 26 else text[:25] + "…"
    nats = run.entropy_before[i]
    return f"{text:<26} {nats:5.2f} {BARS[min(8, round(8 * nats / FULL_BAR_NATS))]}"


def _after(run: "Decoded", i: int) -> str:
    return f" -> {run.entropy_after[i]:.2f}" if i < len(run.tokens) and run.adjusted[i] else ""


def samples_table(result: "Repeated", answer: str | None) -> str:
    """Return how often each final answer was given, without EM-INF and with it; the known answer is marked."""
    from em_hf.answers import same_answer

    counts: dict[str | None, list[int]] = {}
    for column, tally in enumerate((result.plain, result.em)):
        for given in tally.answers:
            known = next((key for key in counts if key == given or same_answer(key, given)), given)
            counts.setdefault(known, [0, 0])[column] += 1
    title = f"Final answers of {result.n} samples, the i-th of both from the same random numbers:"
    lines = [title, "", f"{'answer':<24}{'plain':<27}EM-INF"]
    for given, numbers in sorted(counts.items(), key=lambda item: -sum(item[1])):
        right = answer is not None and given is not None and same_answer(answer, given)
        name = ("(none)" if given is None else given[:20]) + (" *" if right else "")
        bars = [f"{n:>4} {'█' * round(20 * n / result.n)}" for n in numbers]
        lines.append(f"{name:<24}{bars[0]:<27}{bars[1]}".rstrip())
    text = "\n".join(lines)
    if answer is not None and result.gain is not None:
        plain, em = (100 * (tally.accuracy or 0) for tally in (result.plain, result.em))
        mean, low, high = (100 * value for value in result.gain)
        text += f"\n\n* the right answer: {plain:.0f}% of the plain samples, {em:.0f}% with EM-INF, a difference of "
        text += f"{mean:+.0f} points ({low:+.0f} to {high:+.0f})."
    return text
