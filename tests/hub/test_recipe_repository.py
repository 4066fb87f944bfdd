"""`em-hf push --recipe-only`: a repository with EM-INF and no model, for any model's `custom_generate=`."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from em_hf import EntropyMinConfig
from em_hf.hub import Recipe, recipe_card, write_repository
from em_hf.hub.export import custom_generate_text
from tests.hub.conftest import TOKEN, Pusher, environment, repo_of
from tests.hub.server import Hub, card_errors


def test_it_holds_the_decoding_its_card_and_nothing_else(hub: Hub, push: Pusher) -> None:
    done = push("--recipe-only", "--repo", "lab/decoding", "--public")
    assert done.code == 0, done.err
    content = hub.content("lab/decoding")
    assert set(content) == {
        ".gitattributes",
        "README.md",
        "custom_generate/generate.py",
        "custom_generate/requirements.txt",
        "em_hf.json",
    }
    assert content["custom_generate/generate.py"].decode() == custom_generate_text()
    assert card_errors(content["README.md"].decode()) == []
    assert "custom_generate" in ModelCard(content["README.md"].decode()).data.tags
    again = push("--recipe-only", "--repo", "lab/decoding", "--json")
    assert json.loads(again.out)["changed"] is False


def test_without_a_name_it_is_called_entropy_min(hub: Hub, push: Pusher) -> None:
    done = push("--recipe-only", "--json")
    assert json.loads(done.out)["repo"] == "alice/entropy-min"
    assert hub.repo("alice/entropy-min").private


def test_its_card_explains_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \|", recipe_card().text, flags=re.MULTILINE)
    told = {
        name: default
        for names, defaults in rows
        for name, default in zip(re.findall(r"`(\w+)`", names), defaults.split(", "))
    }
    assert told == {field.name: str(field.default) for field in dataclasses.fields(EntropyMinConfig)}


def test_its_card_has_no_gap() -> None:
    for card in (recipe_card(), recipe_card(repo_id="me/decoding")):
        for gap in ("None", "null", "{{", "}}", "{%"):
            assert gap not in str(card), gap


def test_its_example_runs(model: Path, hub: Hub, tmp_path: Path) -> None:
    """With the model of the example's name on the Hub, which here is a tiny one."""
    name = "HuggingFaceTB/SmolLM2-135M-Instruct"
    hub.store.link(name, model)
    card = write_repository(Recipe(), tmp_path / "out").card
    (code,) = re.findall(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
    env = environment(hub, tmp_path / "home", token=None)
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path / "out", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "The capital of France is" in done.stdout


def test_it_never_takes_a_models_place(run: Path, hub: Hub, push: Pusher) -> None:
    push(run)
    before = hub.content(repo_of(run))
    done = push("--recipe-only", "--repo", repo_of(run))
    assert done.code == 1
    assert "holds a model (config.json), whose place this would take" in done.error
    assert hub.content(repo_of(run)) == before


def test_a_run_may_follow_it(run: Path, hub: Hub, push: Pusher) -> None:
    assert push("--recipe-only", "--repo", repo_of(run)).code == 0
    assert push(run).code == 0
    assert "model.safetensors" in hub.content(repo_of(run))


def test_it_is_written_to_a_folder(push: Pusher, tmp_path: Path) -> None:
    assert push("--recipe-only", "--to", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "custom_generate" / "generate.py").read_text() == custom_generate_text()
    done = push("--recipe-only", "--to", tmp_path / "out")
    assert done.code == 1 and "--overwrite" in done.error
    assert TOKEN not in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("words", [["runs/x"], ["--merge"]])
def test_it_goes_with_no_run(words: list[str], push: Pusher) -> None:
    done = push("--recipe-only", *words)
    assert done.code == 2
    assert "--recipe-only pushes no run" in done.err
