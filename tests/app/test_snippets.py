"""The program and the command that the page hands out give what the page showed."""

import contextlib
import io
import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from em_hf.app.decoding import comparison
from em_hf.app.examples import stored_config
from em_hf.app.request import DecodeRequest
from em_hf.app.snippets import command_line, python_program

from em_hf.compare.side_by_side import compare_decoding
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.mixin import store_config
from em_hf.models import encode_prompts, load_model

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
        exec(python_program(request, 24, request.config(stored_config("pocket-reasoner"))), {})
    assert printed.getvalue() == f"{shown['plain']['text']}\n\n{shown['em']['text']}\n"


def test_settings_stored_with_a_model_that_the_page_has_no_field_for_are_kept_everywhere(tmp_path: Path) -> None:
    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    stored = EntropyMinConfig(threshold=0.05, n_grad_steps=10, learning_rate=0.5, kl_weight=0.0)
    store_config(model, stored)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "stored")
    source = str(tmp_path / "stored")
    prompt, steps = "Tom has 12 apples. Tom buys 7 more apples. How many apples does Tom have?", 4
    request = DecodeRequest(prompt=prompt, model=source, max_new_tokens=24, seed=1, threshold=0.05, n_grad_steps=steps)
    shown = comparison([source], request)
    right = compare_decoding(
        model,
        tokenizer,
        encode_prompts(tokenizer, [prompt]),
        replace(stored, n_grad_steps=steps),
        seed=1,
        max_new_tokens=24,
    )
    assert shown["em"]["entropy_after"] == pytest.approx(right.em.entropy_after)
    program = python_program(request, 24, request.config(stored_config(source)))
    assert "EntropyMinConfig(threshold=0.05, n_grad_steps=4, learning_rate=0.5, kl_weight=0.0)" in program
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {})
    assert printed.getvalue() == f"{right.plain.text}\n\n{right.em.text}\n"


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
