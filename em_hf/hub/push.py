"""A run becomes a repository: as a folder that is whole or not there at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from em_hf.hub.repository import MARK, Recipe, Repository, merge_adapter, plan_recipe, plan_repository
from em_hf.hub.runs import Run, read_run


def source_of(run: Run | Recipe | str | Path) -> Run | Recipe:
    """What is to be pushed: itself, or the run in that folder."""
    return run if isinstance(run, Run | Recipe) else read_run(run)


@contextmanager
def planned(
    source: Run | Recipe, *, merge: bool = False, repo_id: str | None = None, license: str | None = None
) -> Iterator[Repository]:
    """The repository of `source`; a merged model lies in a temporary folder as long as the context is open."""
    if isinstance(source, Recipe):
        yield plan_recipe(repo_id=repo_id)
    elif not merge:
        yield plan_repository(source, repo_id=repo_id, license=license)
    else:
        with tempfile.TemporaryDirectory(prefix="em-hf-merge-") as merged:
            merge_adapter(source, Path(merged))
            yield plan_repository(source, weights=Path(merged), repo_id=repo_id, license=license)


def write_repository(
    run: Run | Recipe | str | Path, folder: str | Path, *, overwrite: bool = False, merge: bool = False
) -> Repository:
    """Write the complete Hub repository of `run` to `folder`.

    It is built beside `folder` and moved into place, so that a failure leaves what was there before.

    Args:
        run: a run, or its folder; or `Recipe()` for the decoding alone.
        overwrite: replace `folder` where it is a repository that em-hf wrote; any other folder is never replaced.
        merge: merge a LoRA adapter into its base model and write the whole model.

    Raises:
        ValueError: the run cannot be pushed (see `plan_repository`), or `folder` holds something else.
        OSError: writing failed; nothing is left half-written.
    """
    source = source_of(run)
    folder = Path(folder).resolve()
    check_target(source, folder, overwrite=overwrite)
    with planned(source, merge=merge) as repository:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        try:
            _write_files(repository, part)
            _replace(folder, part)
        except OSError as error:
            raise OSError(f"could not write {folder}: {error.strerror or error}; nothing was changed there") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return repository


def check_target(source: Run | Recipe, folder: Path, *, overwrite: bool) -> None:
    """Raise ValueError where `folder` must not be written to."""
    run = source.folder.resolve() if isinstance(source, Run) else None
    if run is not None and (run.is_relative_to(folder) or folder.is_relative_to(run)):
        raise ValueError(f"{folder} and the run {run} overlap; name a folder outside the run")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MARK).is_file():
        raise ValueError(f"{folder} exists and em-hf did not write it (it has no {MARK}); name another folder")
    if not overwrite:
        raise ValueError(f"{folder} exists; replace it with --overwrite, or name another folder")


def _write_files(repository: Repository, folder: Path) -> None:
    """Write every file, the mark last."""
    folder.mkdir()
    for path, source in sorted(repository.files.items(), key=lambda item: item[0] == MARK):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            target.write_bytes(source)
        else:
            shutil.copyfile(source, target)


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
    shutil.rmtree(old)
