import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import note, print_json, quiet_libraries

if TYPE_CHECKING:
    from em_hf.hub import Run


@click.command("push")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--repo", metavar="OWNER/NAME", help="Repository on the Hub.  [default: your login/the run's name]")
@click.option("--to", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write a folder; no Hub.")
@click.option("--public", is_flag=True, help="Make a new repository public; without it, it is private.")
@click.option("--revision", metavar="BRANCH", help="Push to this branch, made where it is missing.  [default: main]")
@click.option("--create-pr", is_flag=True, help="Propose the change to an existing repository as a pull request.")
@click.option("--tag", help="Name the commit, as in v1.")
@click.option("--commit-message", metavar="TEXT", help="First line of the commit.  [default: Push NAME]")
@click.option("--merge", is_flag=True, help="Merge a LoRA adapter into its base model and push the whole model.")
@click.option("--overwrite", is_flag=True, help="With --to: replace FOLDER where em-hf wrote it.")
@click.option("--dry-run", is_flag=True, help="Show files, sizes, visibility and the card; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(run: Path | None, folder: Path | None, merge: bool, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Publish a training run: weights, tokenizer, settings, model card and record, in one commit.

    RUN is a folder that `em-hf train` wrote; without it, the newest finished one under runs/. The repository is private
    unless --public says otherwise. The token is that of `hf auth login`, or HF_TOKEN. Pushing a run twice changes
    nothing.

    \b
    em-hf push                                  to the Hub, private, under the run's name
    em-hf push runs/first --repo me/first-em --public
    em-hf push --to my-model                    to a folder
    """
    _check_usage(folder, options)
    if merge:
        quiet_libraries()
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from em_hf.hub import newest_run, read_run

    chosen = newest_run() if run is None else read_run(run)
    note(f"Run: {chosen.folder}")
    if folder is not None:
        _to_folder(chosen, folder, merge=merge, overwrite=options["overwrite"], dry_run=dry_run, as_json=as_json)
    elif dry_run:
        _preview(chosen, options["repo"], public=options["public"], merge=merge, as_json=as_json)
    else:
        _to_hub(chosen, merge=merge, as_json=as_json, options=options)


def _check_usage(folder: Path | None, options: dict[str, Any]) -> None:
    """--to FOLDER and the Hub's options exclude each other."""
    given = [name for name in ("repo", "public", "revision", "create_pr", "tag", "commit_message") if options[name]]
    if folder is not None and given:
        option = given[0].replace("_", "-")
        raise click.UsageError(f"--to writes a folder and --{option} is for the Hub: give one of the two")
    if folder is None and options["overwrite"]:
        raise click.UsageError("--overwrite goes with --to FOLDER; a repository on the Hub keeps its history anyway")
    if options["create_pr"] and (options["tag"] or options["revision"]):
        raise click.UsageError("--create-pr makes a branch of its own: leave --revision and --tag out")


def _to_folder(run: "Run", folder: Path, *, merge: bool, overwrite: bool, dry_run: bool, as_json: bool) -> None:
    from em_hf.hub import write_repository
    from em_hf.hub.push import check_target, planned

    facts = {"run": run.name, "folder": str(folder), "dry_run": dry_run}
    if not dry_run:
        repository = write_repository(run, folder, overwrite=overwrite, merge=merge)
        _show(facts, repository.sizes, as_json=as_json)
        note(f"Wrote the repository to {folder}.")
        return
    check_target(run, folder.resolve(), overwrite=overwrite)
    with planned(run, merge=merge) as repository:
        _show(facts, repository.sizes, card=str(repository.card), as_json=as_json)
    note(f"Dry run: nothing was written to {folder}, a folder on this machine.")


def _preview(run: "Run", repo: str | None, *, public: bool, merge: bool, as_json: bool) -> None:
    from em_hf.hub import previewed

    with previewed(run, repo, public=public, merge=merge, say=note) as preview:
        visibility = {True: "private", False: "public", None: "public" if public else "private"}[preview.private]
        facts = {"run": run.name, "repo": preview.repo_id, "visibility": visibility, "exists": preview.exists}
        sizes, card = preview.repository.sizes, str(preview.repository.card)
        _show({**facts, "dry_run": True}, sizes, card=card, as_json=as_json)
    what = "the existing" if preview.exists else "the"
    note(f"Dry run: nothing was pushed to {what} repository {preview.repo_id}, {visibility}.")


def _to_hub(run: "Run", *, merge: bool, as_json: bool, options: dict[str, Any]) -> None:
    from em_hf.hub import publish

    done = publish(
        run,
        options["repo"],
        public=options["public"],
        revision=options["revision"],
        create_pr=options["create_pr"],
        tag=options["tag"],
        message=options["commit_message"],
        merge=merge,
        say=note,
    )
    visibility = "private" if done.private else "public"
    facts = {"run": run.name, "repo": done.repo_id, "url": done.url, "commit": done.commit, "changed": done.changed}
    _show({**facts, "visibility": visibility, "dry_run": False}, done.sizes, as_json=as_json)
    if not as_json:
        click.echo(done.url)
    note(f"{'Pushed to' if done.changed else 'Nothing to change in'} {done.repo_id}, which is {visibility}.")
    if options["public"] and done.private:
        note(f"It existed and stays private; make it public at {done.url}/settings")


def _show(facts: dict[str, Any], sizes: dict[str, int], *, as_json: bool, card: str | None = None) -> None:
    """Print what was, or in a dry run would be, written."""
    if as_json:
        files = [{"path": path, "bytes": size} for path, size in sizes.items()]
        text = {} if card is None else {"card": card}
        print_json({**facts, "bytes": sum(sizes.values()), "files": files, **text})
        return
    for path, size in sizes.items():
        click.echo(f"{_readable(size):>9}  {path}")
    click.echo(f"{_readable(sum(sizes.values())):>9}  in {len(sizes)} files")
    if card is not None:
        click.echo(f"\n{card}")


def _readable(size: int) -> str:
    """A size in bytes in the largest unit that leaves at least 1."""
    for unit, bytes_in in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_in:
            return f"{size / bytes_in:.1f} {unit}"
    return f"{size} B"
