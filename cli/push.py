from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import note, print_json, quiet_libraries

if TYPE_CHECKING:
    from em_hf.hub import Repository


@click.command("push")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--to", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write the repository here.")
@click.option("--merge", is_flag=True, help="Merge a LoRA adapter into its base model and push the whole model.")
@click.option("--overwrite", is_flag=True, help="Replace FOLDER where em-hf wrote it.")
@click.option("--dry-run", is_flag=True, help="Show files, sizes, visibility and the card; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(run: Path | None, folder: Path | None, merge: bool, overwrite: bool, dry_run: bool, as_json: bool) -> None:
    """Make the Hub repository of a training run: weights, tokenizer, settings, model card and record.

    RUN is a folder that `em-hf train` wrote; without it, the newest finished one under runs/.

    \b
    em-hf push --to my-model
    em-hf push runs/first --to my-model --overwrite
    """
    if folder is None:
        raise click.UsageError("say where to: --to FOLDER")
    if merge:
        quiet_libraries()
    from em_hf.hub import newest_run, read_run, write_repository
    from em_hf.hub.push import check_target, planned

    chosen = newest_run() if run is None else read_run(run)
    note(f"Run: {chosen.folder}")
    if not dry_run:
        repository = write_repository(chosen, folder, overwrite=overwrite, merge=merge)
        _show(repository, {"run": chosen.name, "folder": str(folder)}, as_json=as_json)
        return
    check_target(chosen, folder.resolve(), overwrite=overwrite)
    with planned(chosen, merge=merge) as repository:
        _show(repository, {"run": chosen.name, "folder": str(folder), "dry_run": True}, as_json=as_json)


def _show(repository: "Repository", facts: dict[str, Any], *, as_json: bool) -> None:
    """Print what was, or in a dry run would be, written."""
    total = sum(repository.sizes.values())
    dry = facts.get("dry_run", False)
    if as_json:
        files = [{"path": path, "bytes": size} for path, size in repository.sizes.items()]
        print_json({**facts, "bytes": total, "files": files, **({"card": str(repository.card)} if dry else {})})
        return
    for path, size in repository.sizes.items():
        click.echo(f"{_readable(size):>9}  {path}")
    click.echo(f"{_readable(total):>9}  in {len(repository.sizes)} files")
    if dry:
        click.echo(f"\n{repository.card}")
        note(f"Dry run: nothing was written to {facts['folder']}, a folder on this machine.")
    else:
        note(f"Wrote the repository to {facts['folder']}.")


def _readable(size: int) -> str:
    """A size in bytes in the largest unit that leaves at least 1."""
    for unit, bytes_in in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_in:
            return f"{size / bytes_in:.1f} {unit}"
    return f"{size} B"
