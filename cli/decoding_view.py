"""Decoded text on a terminal: as it is drawn, coloured by entropy, both texts side by side where there is room."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from em_hf.compare.repeat import Repeated
    from em_hf.compare.side_by_side import Comparison, Decoded, Step

TITLES = ("Plain", "EM-INF")
SIDE_BY_SIDE = 100  # columns
# From this many nats on, a token has this style.
STYLES = ((1.5, "red"), (0.5, "yellow"), (0.1, "cyan"), (0.0, ""))
LEGEND = "Entropy of each token: plain under 0.1 nats, cyan, yellow from 0.5, red from 1.5; underlined: EM-INF acted."
BARS = " ▁▂▃▄▅▆▇█"
FULL_BAR_NATS = 3.0


class View:
    """Two texts that grow token by token."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.texts = (Text(), Text())

    def add(self, step: "Step") -> None:
        for text, token in zip(self.texts, step.rows, strict=True):
            if token is not None and not token.special:
                style = next(style for nats, style in STYLES if token.entropy_before >= nats)
                text.append(token.text, f"{style} underline".strip() if token.adjusted else style)

    def render(self) -> RenderableType:
        if self.width < SIDE_BY_SIDE:
            parts = [(Text(title, "bold"), text, Text()) for title, text in zip(TITLES, self.texts, strict=True)]
            return Group(*(part for group in parts for part in group))
        table = Table(box=None, expand=True, padding=(0, 2, 0, 0), header_style="bold")
        for title in TITLES:
            table.add_column(title, ratio=1, overflow="fold")
        table.add_row(*self.texts)
        return table


def show_live(steps: "Iterable[Step]", console: Console) -> "list[Step]":
    """Show the steps of a decode as they come, where the console is a terminal, and return them all."""
    done, view = [], View(console.width)
    if not console.is_terminal:
        return list(steps)
    with Live(view.render(), console=console, auto_refresh=False, vertical_overflow="visible") as live:
        for step in steps:
            done.append(step)
            view.add(step)
            live.update(view.render(), refresh=True)
    if not console.no_color:
        console.print(f"\n{LEGEND}", style="dim", highlight=False)
    return done


def summary(result: "Comparison") -> str:
    """Return what EM-INF did in one sentence, and the entropy of both texts."""
    if result.divergence is not None:
        first = result.divergence.sentence()
    elif result.diverges_at is None:
        first = "The outputs are identical."
    else:
        first = f"The outputs differ from token {result.diverges_at} on."
    plain, em = result.plain, result.em
    share = 100 * sum(em.adjusted) / max(1, len(em.tokens))
    return (
        f"{first}\n\n"
        f"Plain:  {len(plain.tokens)} tokens, {_mean(plain.entropy_before):.2f} nats per token\n"
        f"EM-INF: {len(em.tokens)} tokens, {_mean(em.entropy_before):.2f} nats per token before EM-INF, "
        f"{_mean(em.entropy_after):.2f} after; it acted on {share:.0f}% of them"
    )


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))


def trace_table(result: "Comparison") -> str:
    """Return a line per token: both tokens, their entropies in nats, and what EM-INF left of the second."""
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
    from em_hf.evaluation.results import markdown

    counts: dict[str | None, list[int]] = {}
    for column, tally in enumerate((result.plain, result.em)):
        for given in tally.answers:
            known = next((key for key in counts if key == given or same_answer(key, given)), given)
            counts.setdefault(known, [0, 0])[column] += 1
    rows = [
        [
            ("(none)" if given is None else given[:40]) + (" *" if answer and same_answer(answer, given) else ""),
            *(f"{n:>3} {'█' * round(20 * n / result.n)}" for n in numbers),
        ]
        for given, numbers in sorted(counts.items(), key=lambda item: -sum(item[1]))
    ]
    text = f"Final answers of {result.n} samples, the i-th of both from the same random numbers:\n\n"
    text += markdown(["answer", "plain", "EM-INF"], rows)
    if answer is not None and result.gain is not None:
        shares = " and ".join(f"{100 * (tally.accuracy or 0):.0f}%" for tally in (result.plain, result.em))
        mean, low, high = (100 * value for value in result.gain)
        text += f"\n\n* the right answer: {shares} of the samples, a difference of {mean:+.0f} points "
        text += f"({low:+.0f} to {high:+.0f})."
    return text
