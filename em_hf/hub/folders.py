"""Folders that are written whole or not at all, and what a killed writing left of them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_STAGING = "em-hf-push"


def write_whole(folder: Path, source: Path, *, last: str) -> None:
    """Copy `source` to `folder`, in place of what is there; the file `last` is copied last.

    The copy is made beside `folder` and moved into its place.

    Raises:
        OSError: writing failed; `folder` is as it was.
    """
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _copy(source, part, last=last)
        _replace(folder, part)
    except OSError as error:
        raise OSError(f"could not write {folder}: {error.strerror or error}; nothing was changed there") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def recover(folder: Path, *, mark: str) -> None:
    """Put right what a killed `write_whole` left beside `folder`: the old content goes back, a part is removed."""
    name = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in folder.name)
    left = [path for path in sorted(folder.parent.glob(f".{name}.*.*")) if _is_orphan(path, name=folder.name)]
    left = [path for path in left if path.suffix == ".part" or (path / mark).is_file()]
    for old in (path for path in left if path.suffix == ".old"):
        if not folder.exists():
            old.rename(folder)
    for path in reversed(left):  # the parts first, whose names the old ones take while they are removed
        _remove(path)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for what is only staged; those of processes that were killed are removed first."""
    for left in Path(tempfile.gettempdir()).glob(f".{_STAGING}.*.*.staged"):
        if _is_orphan(left, name=_STAGING) and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{_STAGING}.{os.getpid()}.", suffix=".staged") as folder:
        yield Path(folder)


def link(source: Path, target: Path) -> None:
    """Make `target` a link to `source`, or a copy where there are no links."""
    try:
        target.symlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _copy(source: Path, target: Path, *, last: str) -> None:
    target.mkdir()
    for path in sorted((path for path in source.rglob("*") if path.is_file()), key=lambda path: path.name == last):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def _replace(folder: Path, part: Path) -> None:
    """Put `part` in the place of `folder`; what was there comes back if that fails."""
    if not folder.exists():
        part.rename(folder)
        return
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    folder.rename(old)
    try:
        part.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    """Remove what is no longer wanted, as a part from the start: one that is killed over it leaves no half `.old`."""
    part = path.with_suffix(".part")
    with suppress(OSError):
        path.rename(part)
    shutil.rmtree(part, ignore_errors=True)


def _is_orphan(path: Path, *, name: str) -> bool:
    """Whether the process in a name such as `.NAME.PID.part` is gone, so that `path` is nobody's."""
    number = path.name.removeprefix(f".{name}.").split(".")[0]
    if path.suffix not in (".part", ".old", ".staged") or not number.isdigit() or int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # somebody else's, or no number of a process
        return False
    return False
