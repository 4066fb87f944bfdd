"""A run folder on the disk: what may be overwritten, a disk that is full, and a model that is whole or absent."""

import errno
import json
import random
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from em_hf.models import load_model
from em_hf.runs import check_folder, read_run
from em_hf.training import checkpoints
from em_hf.training.checkpoints import (
    damage,
    drop_damaged_checkpoints,
    last_checkpoint,
    make_folder,
    readable_disk_errors,
    save_whole,
)


def test_a_new_an_empty_and_an_own_folder_may_be_written_and_nothing_else(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "one", overwrite=False)
    check_folder(tmp_path, overwrite=False)
    (tmp_path / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(OSError, match=r"exists and is not a run of em-hf; give another --output"):
            check_folder(tmp_path, overwrite=overwrite)
        with pytest.raises(OSError, match=r"thesis\.txt exists and is not a run"):
            check_folder(tmp_path / "thesis.txt", overwrite=overwrite)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(OSError, match="already holds a run; give --overwrite"):
        check_folder(tmp_path, overwrite=False)
    check_folder(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").is_file()
    make_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def write_checkpoint(folder: Path, step: int) -> Path:
    """A checkpoint as a Trainer leaves it, small."""
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    save_file({"w": torch.arange(4.0), "v": torch.ones(2, 3)}, made / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"state": torch.arange(100.0)}, made / name)
    (made / "config.json").write_text("{}")
    (made / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return made


NAMES = ["optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors", "trainer_state.json", "config.json"]
WAYS = ["missing", "empty", "truncated", "random", "a bit flipped"]
# Not every checkpoint has a config.json, and safetensors files have no checksum.
HARMLESS = [("config.json", "missing"), ("model.safetensors", "a bit flipped")]


@pytest.mark.parametrize(("name", "how"), [case for case in product(NAMES, WAYS) if case not in HARMLESS])
def test_a_damaged_checkpoint_is_passed_over_and_removed(name: str, how: str, tmp_path: Path) -> None:
    whole, broken = write_checkpoint(tmp_path, 2), write_checkpoint(tmp_path, 4)
    assert damage(whole) is damage(broken) is None and last_checkpoint(tmp_path) == broken
    content = bytearray((broken / name).read_bytes())
    if how == "missing":
        (broken / name).unlink()
    elif how == "a bit flipped":
        content[0 if name.endswith(".json") else len(content) // 2] ^= 1
        (broken / name).write_bytes(content)
    else:
        half = bytes(content[: len(content) // 2])
        (broken / name).write_bytes({"empty": b"", "truncated": half, "random": random.Random(0).randbytes(300)}[how])
    assert last_checkpoint(tmp_path) == whole
    (what,) = drop_damaged_checkpoints(tmp_path)
    assert what.startswith("checkpoint-4 is damaged (") and "\n" not in what and str(tmp_path) not in what
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def test_a_checkpoint_with_no_weights_or_of_another_step_is_damaged(tmp_path: Path) -> None:
    bare, other = write_checkpoint(tmp_path, 3), write_checkpoint(tmp_path, 5)
    (bare / "model.safetensors").unlink()
    other.rename(tmp_path / "checkpoint-7")
    assert damage(bare) == "the weights are missing"
    assert damage(tmp_path / "checkpoint-7") == "trainer_state.json is of another step"


def test_a_folder_killed_while_it_is_emptied_is_still_a_run_that_can_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.json").write_text('{"status": "finished"}')
    for name in ("a", "log.jsonl", "z"):
        (tmp_path / name).write_text("x")
    unlink, removed = Path.unlink, []

    def cut(self: Path, missing_ok: bool = False) -> None:
        if len(removed) == 2:
            raise KeyboardInterrupt
        removed.append(self.name)
        unlink(self, missing_ok)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "unlink", cut)
        make_folder(tmp_path)
    assert read_run(tmp_path).status == "failed"  # and no longer the finished one that it was
    check_folder(tmp_path, overwrite=True)
    make_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_only_the_beginning_of_a_first_record_is_a_run_too(tmp_path: Path) -> None:
    (tmp_path / "run.json.part").write_text('{"status": "run')
    with pytest.raises(OSError, match="already holds a run; give --overwrite"):
        check_folder(tmp_path, overwrite=False)
    check_folder(tmp_path, overwrite=True)


def test_a_file_that_ends_too_early_is_no_ctrl_d(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="ends too early"), readable_disk_errors(tmp_path):
        raise EOFError("Ran out of input")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 1387712 vs 1387604"),
    ],
)
def test_a_full_disk_is_one_line_with_the_way_out(error: Exception, tmp_path: Path) -> None:
    """Python's own, safetensors' and torch's, as they came from real file systems of 2 and 5 MB."""
    with pytest.raises(OSError, match="the disk is full") as told, readable_disk_errors(tmp_path / "run"):
        raise error
    assert f"em-hf train --resume {tmp_path / 'run'}" in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), ValueError("x"), RuntimeError("CUDA")])
def test_another_error_is_left_as_it_is(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as told, readable_disk_errors(tmp_path):
        raise error
    assert told.value is error


def test_a_model_whose_writing_is_cut_short_never_loads(
    letter_model: Callable, letters: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut after each number of moved files: only with all of them is there a model."""
    model, moved = letter_model(), 0
    replace = Path.replace

    def cut(self: Path, target: Any) -> Path:
        nonlocal moved
        if moved == limit:
            raise OSError(errno.ENOSPC, "No space left on device")
        moved += 1
        return replace(self, target)

    monkeypatch.setattr(checkpoints.Path, "replace", cut)
    for limit in range(20):
        run, moved = tmp_path / f"run-{limit}", 0
        run.mkdir()
        try:
            save_whole(model, letters, run)
        except OSError:
            assert not (run / ".saving").exists()
            with pytest.raises((OSError, ValueError)):
                load_model(str(run), device="cpu")
        else:
            break
    assert limit >= 4
    loaded, _ = load_model(str(run), device="cpu")
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
