"""A Space and a dataset of completions, pushed beside a model: what they hold, and what can go wrong."""

import base64
import json
import subprocess
import sys
import venv
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from huggingface_hub import RepoCard

from em_hf import __version__
from em_hf.hub import read_run
from em_hf.hub.completions import staged_completions
from em_hf.hub.space import _packed, own_wheel
from tests.hub.conftest import Pusher, repo_of
from tests.hub.server import Failure, Hub

FILE = {"path": "app.py", "content": base64.b64encode(b"mine").decode(), "encoding": "base64"}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel() -> tuple[str, bytes]:
    return own_wheel()


def test_the_wheel_holds_the_whole_package_and_the_same_source_gives_the_same_bytes(wheel: tuple[str, bytes]) -> None:
    name, packed = wheel
    assert name == f"em_hf-{__version__}-py3-none-any.whl" and own_wheel.__wrapped__() == wheel
    names = set(zipfile.ZipFile(BytesIO(packed)).namelist())
    for part in ("em_hf/entropy.py", "em_hf/app/main.py", "em_hf/cli/main.py", "em_hf/pocket/reasoner/config.json"):
        assert part in names
    assert not any("tests" in name or "build/" in name for name in names)


def test_a_wheel_packed_from_an_installation_installs_again(wheel: tuple[str, bytes], tmp_path: Path) -> None:
    """Installed from a wheel, em-hf has no source tree: what is packed from it must be as good."""
    from importlib import metadata

    (tmp_path / wheel[0]).write_bytes(wheel[1])
    python = make_venv(tmp_path / "first")
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([python, *pip, tmp_path / wheel[0]], check=True)
    (site,) = (tmp_path / "first").glob("lib/python*/site-packages")
    name, again = _packed(metadata.Distribution.at(next(site.glob("em_hf-*.dist-info"))))
    assert name == wheel[0]
    first, second = (zipfile.ZipFile(BytesIO(data)) for data in (wheel[1], again))
    assert {n for n in first.namelist() if not n.endswith("/")} == set(second.namelist())
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / name).write_bytes(again)
    python = make_venv(tmp_path / "second")
    subprocess.run([python, *pip, tmp_path / "again" / name], check=True)
    shown = subprocess.run([python, "-c", "import em_hf; print(em_hf.__version__)"], capture_output=True, text=True)
    assert shown.stdout.strip() == __version__


def make_venv(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


def test_a_space_is_the_app_set_up_for_the_pushed_model_and_a_second_push_changes_nothing(
    hub: Hub, push: Pusher, run: Path
) -> None:
    model = repo_of(run)
    done = push(run, "--space")
    assert done.code == 0, done.err
    assert f"{hub.url}/spaces/{model}-space" in done.out and "as the secret HF_TOKEN" in done.err
    files = hub.content(f"{model}-space", kind="space")
    assert json.loads(files["models.json"]) == [model]
    card = RepoCard(files["README.md"].decode())
    assert card.data.sdk == "gradio" and card.data.app_file == "app.py" and card.data.models == [model]
    wheel_name = next(name for name in files if name.endswith(".whl"))
    assert f"./{wheel_name}" in files["requirements.txt"].decode().splitlines()
    assert files["app.py"] == (ROOT / "app" / "app.py").read_bytes()
    space = hub.repo(f"{model}-space", "space")
    assert space.private and len(space.messages) == 2
    again = push(run, "--space")
    assert again.code == 0 and "Nothing to change in" in again.err
    assert len(space.messages) == 2


def test_a_space_that_must_be_paid_for_says_what_to_do(hub: Hub, push: Pusher, run: Path) -> None:
    assert push(run).code == 0
    hub.failures["create"] = Failure(402, "Payment required")
    done = push(run, "--space", "--space-hardware", "cpu-basic")
    assert done.code == 1 and "--space-hardware zero-a10g" in done.error and "em-hf app --model alice/" in done.error


def test_somebodys_own_space_is_not_overwritten(hub: Hub, push: Pusher, run: Path) -> None:
    repo = f"{repo_of(run)}-space"
    theirs = hub.store.create("space", repo, private=False)
    hub.store.commit(
        theirs,
        "main",
        [{"key": "header", "value": {"summary": "mine"}}, {"key": "file", "value": FILE}],
        pull_request=False,
    )
    done = push(run, "--space")
    assert done.code == 1 and f"{repo} exists and em-hf did not write it (app.py, but no em_hf.json)" in done.error
    assert hub.content(repo, kind="space")["app.py"] == b"mine"


def test_a_dataset_of_completions_has_the_entropy_of_every_token(
    hub: Hub, push: Pusher, run: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"question": f"What is {i}?", "answer": str(i)}) + "\n" for i in range(5)))
    facts = json.loads((run / "run.json").read_text())
    facts["dataset"] |= {"name": str(prompts), "split": "train", "prompt_column": "question"}
    (run / "run.json").write_text(json.dumps(facts))
    done = push(run, "--completions", "3", "--json")
    assert done.code == 0, done.err
    url = json.loads(done.out)["completions"]
    assert url.endswith(f"/datasets/{repo_of(run)}-completions")
    files = hub.content(f"{repo_of(run)}-completions", kind="dataset")
    rows = [json.loads(line) for line in files["data/completions.jsonl"].decode().splitlines()]
    assert len(rows) == 6 and {row["em_inf"] for row in rows} == {False, True}
    assert {row["prompt"] for row in rows} == {f"What is {i}?" for i in range(3)}
    assert all(row["entropy"] and min(row["entropy"]) >= 0 and row["correct"] in (True, False) for row in rows)
    card = files["README.md"].decode()
    assert "3 prompts of `prompts.jsonl`" in card and str(tmp_path) not in card


def test_completions_of_a_run_on_hard_problems_are_of_hard_ones(run: Path) -> None:
    from em_hf.pocket import problems

    facts = json.loads((run / "run.json").read_text())
    facts["dataset"] |= {"name": "pocket", "split": "train", "level": "hard", "prompt_column": "prompt"}
    (run / "run.json").write_text(json.dumps(facts))
    with staged_completions(read_run(run), 2) as repository:
        lines = (repository.folder / "data" / "completions.jsonl").read_text().splitlines()
        assert "2 prompts of `pocket-hard`" in (repository.folder / "README.md").read_text()
    expected = [row["prompt"] for row in problems("test", 2, 0, level="hard")]
    assert [json.loads(line)["prompt"] for line in lines[::2]] == expected


def test_completions_of_messages_are_those_of_the_text_that_the_chat_template_writes(run: Path, tmp_path: Path) -> None:
    (run / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
    )
    chats = [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{i} + 1?"}] for i in range(3)]
    texts = [f"s:Be brief.;u:{i} + 1?;a:" for i in range(3)]
    facts = json.loads((run / "run.json").read_text())
    found = []
    for prompts, chat_template in ((chats, True), (texts, False)):
        file = tmp_path / f"{chat_template}.jsonl"
        file.write_text("".join(json.dumps({"prompt": prompt, "answer": "7"}) + "\n" for prompt in prompts))
        facts["dataset"] |= {"name": str(file), "split": "train", "prompt_column": "prompt"}
        facts["settings"] |= {"chat_template": chat_template}
        (run / "run.json").write_text(json.dumps(facts))
        with staged_completions(read_run(run), 3) as repository:
            lines = (repository.folder / "data" / "completions.jsonl").read_text().splitlines()
        found.append([json.loads(line) for line in lines])
    assert [row["prompt"] for row in found[0][::2]] == chats
    assert [row["prompt"] for row in found[1][::2]] == texts
    for told, plain in zip(*found, strict=True):
        assert {**told, "prompt": None} == {**plain, "prompt": None}


@pytest.mark.parametrize(
    "words",
    [
        ("--space", "--to", "folder"),
        ("--recipe-only", "--space"),
        ("--space-hardware", "zero-a10g"),
        ("--create-pr", "--completions", "3"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(push: Pusher, words: tuple[str, ...]) -> None:
    assert push(*words).code == 2


def test_python_runs_the_uploaded_space_on_the_pocket_reasoner(wheel: tuple[str, bytes]) -> None:
    """Importing what app.py imports is enough here; the app's own tests start it."""
    source = (ROOT / "app" / "app.py").read_text()
    module = next(line.split()[1] for line in source.splitlines() if line.startswith("from em_hf.app"))
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
