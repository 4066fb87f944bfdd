"""The code in README and docs runs: Python blocks whole, `em-hf` lines as far as the command line can check them."""

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
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LONGEST_README = 1200  # words outside code


def blocks(language: str) -> list[str]:
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    return [code for text in texts for code in re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.S | re.M)]


def command_lines() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in dict.fromkeys(lines) if line.startswith("em-hf ")]


# What needs vLLM runs where it is installed: tests/vllm/test_readme.py. The first block has a test of its own.
HERE = [code for code in blocks("python")[1:] if "vllm" not in code]


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
    assert len(HERE) >= 5 and len(command_lines()) >= 15


# The links of the site's own pages are checked where it is built: tests/test_docs.py.
LINKING = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/README.md")
]


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_readme_names_every_command_and_every_make_target_and_stays_short() -> None:
    for name in set(COMMANDS) - {"completion"}:
        assert f"em-hf {name}" in README, name
    for target in ("demo", "app", "lab", "test", "vllm-venv", "test-vllm", "check", "bench", "docs"):
        assert f"make {target}" in README
    prose = re.sub(r"^```.*?^```", "", README, flags=re.S | re.M)
    assert len(prose.split()) <= LONGEST_README


def test_the_first_block_prints_what_stands_below_it(tmp_path: Path) -> None:
    found = re.search(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", README, flags=re.S | re.M)
    assert found is not None and len(found[1].splitlines()) <= 12
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-c", found[1]]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.stdout == found[2]


def test_the_first_table_shows_greedy_decoding_and_says_what_the_lab_measured() -> None:
    import json

    lab = json.loads((ROOT / "benchmarks" / "results" / "lab.json").read_text(encoding="utf-8"))
    rows = {(row["level"], row["title"]): row for row in lab["methods"]}
    names = {"untouched": "base model", "EM-FT,": "EM-FT", "EM-RL-sequence,": "EM-RL-sequence"}
    names |= {"EM-RL-token,": "EM-RL-token", "RLOO with labels,": "RLOO"}
    for beginning, title in names.items():
        expected = [
            100 * rows[level, title][how][part]
            for level in ("plain", "hard")
            for how in ("sampled", "greedy")
            for part in ("mean", "low", "high")
        ]
        assert figures_of(beginning) == pytest.approx(expected, abs=0.051), beginning
    stored = {
        row["level"]: row["sampled"]
        for row in lab["decoding"]
        if row["kind"] == "stored" and row["strategy"] == "em-inf"
    }
    expected = [100 * stored[level][part] for level in ("plain", "hard") for part in ("mean", "low", "high")]
    assert figures_of("EM-INF,") == pytest.approx(expected, abs=0.051)


def figures_of(beginning: str) -> list[float]:
    line = next(line for line in README.splitlines() if line.startswith(f"| {beginning}"))
    return [float(figure) for figure in re.findall(r"\d+\.\d", line)]
