"""The live view of `em-hf generate`, on tokens written by hand."""

import io
import re

import pytest
from em_hf.cli.decoding_view import View, is_live, show_live
from rich.console import Console

from em_hf.compare.side_by_side import Step, Token

COLOUR = re.compile(r"\x1b\[[0-9;]*3[136]m")


def token(text: str, nats: float, adjusted: bool = False) -> Token:
    return Token(1, text, False, nats, nats / 2, adjusted, [], (0.5, 0.5))


STEPS = [
    Step(0, [token("sure", 0.05), token("sure", 0.05)], 0.0, 0.0),
    Step(1, [token(" torn", 0.7), token(" torn", 0.7, True)], 0.1, 0.0),
    Step(2, [token(" lost", 2.0), None], 0.2, 0.0),
]


def shown(width: int, no_color: bool = False, **settings: object) -> str:
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=True, color_system="standard", width=width, height=20, no_color=no_color, **settings
    )
    assert show_live(iter(STEPS), console) == STEPS
    return out.getvalue()


def test_on_a_wide_terminal_both_texts_stand_side_by_side_coloured_by_entropy() -> None:
    out = shown(120)
    last = out[out.rindex("Plain") :].splitlines()
    assert re.match(r"Plain.{30,}EM-INF", last[0]), "the titles stand in one line"
    assert "sure" in last[1] and "\x1b[33m torn\x1b[0m\x1b[31m lost\x1b[0m" in last[1]
    assert "\x1b[4;33m torn" in last[1], "underlined where EM-INF acted"
    assert "red from 1.5. Underlined: EM-INF acted." in out


def test_on_a_narrow_terminal_one_text_stands_below_the_other() -> None:
    last = shown(80)
    last = last[last.rindex("Plain") :]
    assert "EM-INF" not in last.splitlines()[0] and last.index("lost") < last.index("EM-INF")


def test_no_color_leaves_colours_out_and_says_what_the_underlines_are(monkeypatch: pytest.MonkeyPatch) -> None:
    out = shown(120, no_color=True)
    assert not COLOUR.search(out) and "Entropy of each token" not in out and "Underlined: EM-INF acted." in out
    monkeypatch.setenv("NO_COLOR", "1")
    assert Console().no_color, "which rich reads itself"


def test_nothing_is_drawn_into_a_pipe_nor_on_a_terminal_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert is_live(Console(force_terminal=True)) and not is_live(Console(file=io.StringIO()))
    monkeypatch.setenv("TERM", "dumb")
    assert not is_live(Console(force_terminal=True))


def test_of_a_text_longer_than_the_screen_the_end_is_shown_while_it_grows_and_all_of_it_afterwards() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=40, height=12)
    view = View(console)
    for i in range(60):
        view.add([token(f"word{i} ", 0.0), None])
    with console.capture() as capture:
        console.print(view.render(12))
    live = capture.get()
    assert "word59" in live and "word0 " not in live and len(live.splitlines()) <= 12
    with console.capture() as capture:
        console.print(view.render())
    assert all(f"word{i}" in capture.get() for i in range(60))
