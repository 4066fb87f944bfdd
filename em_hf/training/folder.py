"""A run folder on the disk: made, filled with a whole model or none, and its checkpoints told whole from broken."""

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from em_hf.training.processes import world_size
from em_hf.training.record import MARK

CHECKPOINTS = "checkpoints"
# What FSDP writes in place of optimizer.pt.
_SHARDED_OPTIMIZER = ("optimizer.bin", "optimizer_0")


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise OSError unless a run may be written to `folder`: it is new or empty, or a run that may be overwritten."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MARK).is_file():
        raise OSError(f"{folder} exists and is not a run of em-hf; give another --output")
    if not overwrite:
        raise OSError(f"{folder} already holds a run; give --overwrite to replace it, or another --output")


def make_folder(folder: Path) -> None:
    """Make `folder`, which `check_folder` has passed, anew and empty."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def save_whole(model: Any, tokenizer: Any, folder: Path, *, weights: dict[str, Any] | None = None) -> None:
    """Write model, tokenizer and generation config; config.json, without which nothing loads, comes last.

    Args:
        weights: the whole weights, where `model` is sharded over processes.
    """
    from em_hf.models import unwrap_model

    made = folder / ".saving"
    shutil.rmtree(made, ignore_errors=True)
    try:
        model.save_pretrained(made, **({} if weights is None else {"state_dict": weights}))
        unwrap_model(model).generation_config.save_pretrained(made)
        tokenizer.save_pretrained(made)
        (made / "README.md").unlink(missing_ok=True)  # PEFT's empty card
        last = {"config.json", "adapter_config.json"}
        for path in sorted(made.iterdir(), key=lambda path: path.name in last):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: its state parses, and optimizer, scheduler and RNG files are there.

    transformers would take the highest number even if it was half written, and load one without an optimizer silently.
    """
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    # Each of several processes writes its own random states.
    count = world_size()
    random = ["rng_state.pth"] if count == 1 else [f"rng_state_{i}.pth" for i in range(count)]
    names = (("optimizer.pt", *_SHARDED_OPTIMIZER), ("scheduler.pt",), *((name,) for name in random))
    return all(any((checkpoint / name).exists() for name in one_of) for one_of in names)


def steps_of(checkpoint: Path) -> int:
    """The number of optimizer steps after which it was written."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in `folder`, a run's `checkpoints`."""
    found = sorted(folder.glob("checkpoint-*"), key=steps_of)
    return next((path for path in reversed(found) if is_whole(path)), None)


def drop_broken_checkpoints(folder: Path) -> None:
    """Remove what is left in `folder` of checkpoints that were not written to their end."""
    for path in folder.glob("checkpoint-*"):
        if not is_whole(path):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def readable_disk_errors(folder: Path) -> Iterator[None]:
    """Turn "no space left", in the form of any library that writes here, into an OSError with the way out."""
    try:
        yield
    except Exception as error:
        if not _is_disk_full(error):
            raise
        raise OSError(
            f"{folder} could not be written, since the disk is full: free some space, then go on with "
            f"em-hf train --resume {folder}"
        ) from error


def _is_disk_full(error: Exception) -> bool:
    """safetensors gives an error of its own, and torch's writer says only that its archive came out too short."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)
    return "No space left on device" in text or (isinstance(error, RuntimeError) and "inline_container.cc" in text)
