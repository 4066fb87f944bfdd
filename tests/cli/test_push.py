"""`em-hf push --to`: what it prints, where, with which exit code, and what it leaves behind."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from em_hf.cli.main import main

from tests.hub.made import make_model, record

Push = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def home(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two finished runs and a newer one that was interrupted."""
    import shutil

    for name, facts in {
        "old": {"finished": "2026-11-01T10:00:00Z"},
        "new": {"finished": "2026-11-02T10:00:00Z"},
        "cut": {"status": "interrupted", "started": "2026-11-03T10:00:00Z"},
    }.items():
        shutil.copytree(model, tmp_path / "runs" / name)
        record(tmp_path / "runs" / name, name=name, **facts)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def push(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Push:
    """Run the command in this process: exit code, stdout, stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["em-hf", "push", *words])
        with pytest.raises(SystemExit) as done:
            main()
        out, err = capsys.readouterr()
        return int(done.value.code or 0), out, err

    return run


def test_the_newest_finished_run_is_the_default(home: Path, push: Push) -> None:
    code, out, err = push("--to", "out")
    assert code == 0, err
    assert json.loads((home / "out" / "em_hf.json").read_text())["name"] == "new"
    assert "Run: runs/new" in err and "Wrote the repository to out." in err
    assert "model.safetensors" in out and "in 11 files" in out


def test_a_named_run_is_taken(home: Path, push: Push) -> None:
    assert push("runs/old", "--to", "out")[0] == 0
    assert json.loads((home / "out" / "em_hf.json").read_text())["name"] == "old"


def test_json_lists_every_file_with_its_bytes(home: Path, push: Push) -> None:
    code, out, _ = push("--to", "out", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["run"] == "new" and told["folder"] == "out"
    out_folder = home / "out"
    on_disk = {
        str(path.relative_to(out_folder)): path.stat().st_size for path in out_folder.rglob("*") if path.is_file()
    }
    assert {file["path"]: file["bytes"] for file in told["files"]} == on_disk
    assert told["bytes"] == sum(on_disk.values())


@pytest.mark.parametrize("as_json", [False, True])
def test_a_dry_run_shows_files_sizes_and_card_and_touches_nothing(as_json: bool, home: Path, push: Push) -> None:
    before = sorted(home.rglob("*"))
    code, out, err = push("--to", "out", "--dry-run", *(["--json"] if as_json else []))
    assert code == 0, err
    assert sorted(home.rglob("*")) == before
    card = json.loads(out)["card"] if as_json else out
    assert "# tiny-llama trained with EM-FT" in card and "library_name: transformers" in card
    if as_json:
        assert json.loads(out)["dry_run"] is True
    else:
        assert f"{(home / 'runs/new/config.json').stat().st_size} B  config.json" in out
        assert "nothing was written to out, a folder on this machine" in err


def test_a_dry_run_refuses_what_the_push_would(home: Path, push: Push) -> None:
    (home / "out").mkdir()
    (home / "out" / "mine.txt").write_text("mine")
    for words in (["--dry-run"], []):
        code, out, err = push("--to", "out", *words)
        assert code == 1 and out == ""
        assert err.splitlines()[-1].startswith("Error: ") and "em-hf did not write it" in err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["runs/cut", "--to", "out"], 1, "go on with it by: em-hf train --resume runs/cut"),
        (["runs/none", "--to", "out"], 1, "there is no run folder at runs/none"),
        (["runs", "--to", "out"], 1, "runs is not a run of em-hf"),
        (["runs/new", "--to", "runs/new/out"], 1, "overlap"),
        (["runs/new", "--to", "out", "--merge"], 1, "nothing to merge"),
        (["--to"], 2, "requires an argument"),
        (["--too", "out"], 2, "No such option"),
    ],
)
def test_bad_input_is_one_line_with_the_way_out(words: list[str], code: int, says: str, home: Path, push: Push) -> None:
    got, out, err = push(*words)
    assert (got, out) == (code, "")
    assert says in err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("Error")]) == 1
    assert not (home / "out").exists()


def test_without_any_run_it_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, push: Push) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = push("--to", "out")
    assert code == 1
    assert "there is no run under runs/; make one with: em-hf train" in err


def test_what_cannot_be_pushed_is_said_before_any_library_is_imported(home: Path) -> None:
    """A whole model is loaded before it goes out, which takes seconds; a run that is not finished is not."""
    code = """if True:
        import sys
        sys.argv = ["em-hf", "push", "runs/cut", "--to", "out"]
        from em_hf.cli.main import main
        try:
            main()
        except SystemExit:
            print([name for name in ("torch", "transformers", "peft") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]" and "--resume runs/cut" in done.stderr
