"""Folders that are written whole or not at all, and the cleanup after a killed write."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_STAGING = "em-hf-push"


def write_whole(folder: Path, source: Path, *, last: str) -> None:
    """Replace `folder` with a copy of `source`; the file `last` is copied last.

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
    """Repair what a killed `write_whole` left beside `folder`: restore the old content, remove partial copies."""
    name = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in folder.name)
    left = [path for path in sorted(folder.parent.glob(f".{name}.*.*")) if _is_orphan(path, name=folder.name)]
    left = [path for path in left if path.suffix == ".part" or (path / mark).is_file()]
    for old in (path for path in left if path.suffix == ".old"):
        if not folder.exists():
            old.rename(folder)
    for path in reversed(left):  # parts first: old folders take their names while being removed
        _remove(path)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a folder for staging; first remove those that killed processes left."""
    for left in Path(tempfile.gettempdir()).glob(f".{_STAGING}.*.*.staged"):
        if _is_orphan(left, name=_STAGING) and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{_STAGING}.{os.getpid()}.", suffix=".staged") as folder:
        yield Path(folder)


def link(source: Path, target: Path) -> None:
    """Make `target` a link to `source`, or a copy where links are not supported."""
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
    """Replace `folder` with `part`; restore the old content if that fails."""
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
    """Remove `path`, renamed to a part first, so that a kill leaves no half-removed `.old`."""
    part = path.with_suffix(".part")
    with suppress(OSError):
        path.rename(part)
    shutil.rmtree(part, ignore_errors=True)


def _is_orphan(path: Path, *, name: str) -> bool:
    """Return whether the process in a name such as `.NAME.PID.part` is gone, so that `path` has no owner."""
    number = path.name.removeprefix(f".{name}.").split(".")[0]
    if path.suffix not in (".part", ".old", ".staged") or not number.isdigit() or int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's process, or not a process id
        return False
    return False
