"""The README's code runs: Python blocks whole, `em-hf` lines as far as the command line can check them."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from em_hf.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def command_lines() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("em-hf ")]


# What needs vLLM runs where it is installed: tests/vllm/test_readme.py.
HERE = [code for code in blocks("python") if "vllm" not in code]


@pytest.mark.parametrize("code", HERE, ids=lambda code: code.strip().splitlines()[-1][:50])
def test_every_python_block_runs(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_is_one_that_exists(line: str, tmp_path: Path) -> None:
    name, *arguments = shlex.split(line)[1:]
    assert name in COMMANDS or name.startswith("-")
    command = cli.get_command(click.Context(cli), name)
    if command is not None:
        try:
            command.make_context(name, arguments)
        except click.exceptions.Exit as done:  # --list-methods and its like
            assert done.exit_code == 0


def test_there_is_something_to_run() -> None:
    assert len(blocks("python")) >= 2 and len(command_lines()) >= 5


def test_every_file_it_links_to_exists() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_every_command_and_every_make_target_is_named() -> None:
    for name in COMMANDS:
        assert f"em-hf {name}" in README, name
    for target in ("demo", "app", "lab", "test", "vllm-venv", "test-vllm", "check", "bench"):
        assert f"make {target}" in README
