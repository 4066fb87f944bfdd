"""The program and the command that the page hands out give what the page showed."""

import contextlib
import io
import json
import shlex
import subprocess
import sys
from typing import Any

import pytest
from em_hf.app.decoding import comparison
from em_hf.app.request import DecodeRequest
from em_hf.app.snippets import command_line, python_program

PROMPT = 'Kim\'s 51 "oranges".\nOmar has 19 more; $HOME `id` \\ how many? é🍎'


@pytest.mark.filterwarnings("ignore:entropy_min does not change")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": 3, "temperature": 0.8, "threshold": 0.1, "n_grad_steps": 10},
        {"temperature": 0.0},
        {"entropy_min": False},
    ],
    ids=str,
)
def test_the_python_program_prints_both_texts(changes: dict) -> None:
    request = DecodeRequest(prompt=PROMPT, max_new_tokens=24, **changes)
    shown = comparison(["pocket-reasoner"], request)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(python_program(request, 24), {})
    assert printed.getvalue() == f"{shown['plain']['text']}\n\n{shown['em']['text']}\n"


@pytest.mark.parametrize("prompt", [PROMPT, "--help"])
def test_the_command_line_gives_the_same_comparison(prompt: str) -> None:
    request = DecodeRequest(prompt=prompt, max_new_tokens=20, seed=5, threshold=0.05, n_grad_steps=8)
    line = command_line(request)
    assert line is not None
    words = shlex.split(line)
    run = "import sys; from em_hf.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", run, words[1], "--json", *words[2:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = comparison(["pocket-reasoner"], request)
    printed = json.loads(done.stdout)
    assert_equal_but_for_rounding({name: printed[name] for name in shown}, shown)


def assert_equal_but_for_rounding(one: Any, other: Any) -> None:
    """Another process may have another number of threads, which changes the order of the model's sums."""
    if isinstance(other, dict):
        assert one.keys() == other.keys()
        for name in other:
            assert_equal_but_for_rounding(one[name], other[name])
    elif isinstance(other, list):
        assert len(one) == len(other)
        for mine, its in zip(one, other, strict=True):
            assert_equal_but_for_rounding(mine, its)
    else:
        assert one == (pytest.approx(other, rel=1e-3, abs=1e-4) if isinstance(other, float) else other)


def test_greedy_decoding_has_no_command() -> None:
    assert command_line(DecodeRequest(prompt="x", temperature=0.0)) is None
