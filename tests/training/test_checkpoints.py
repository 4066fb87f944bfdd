"""A run folder on the disk: what may be overwritten, a disk that is full, and a model that is whole or absent."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from em_hf.models import load_model
from em_hf.training import checkpoints
from em_hf.training.checkpoints import (
    check_folder,
    drop_broken_checkpoints,
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
    assert list(tmp_path.iterdir()) == []


def test_broken_checkpoints_are_removed_and_whole_ones_kept(tmp_path: Path) -> None:
    for step, names in ((2, ["optimizer.pt", "scheduler.pt", "rng_state.pth"]), (4, ["optimizer.pt"])):
        made = tmp_path / f"checkpoint-{step}"
        made.mkdir()
        for name in names:
            (made / name).touch()
        (made / "trainer_state.json").write_text("{}")
    drop_broken_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


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
