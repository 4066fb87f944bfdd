"""`em-hf push`: publish a training run to the Hub, or write its repository into a folder."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from em_hf.settings import setting

from .common import load_libraries, note, print_json
from .options import Command, Option, json_option, setting_options

if TYPE_CHECKING:
    from em_hf.hub import Recipe, Run


@dataclass(frozen=True)
class PushOptions:
    """Options for where to publish a run, and what to publish with it."""

    repo: str | None = setting(
        None, help="Repository on the Hub.", group="output", metavar="OWNER/NAME", unset="your login/the run's name"
    )
    to: Path | None = setting(None, help="Write a folder instead of pushing.", group="output", metavar="FOLDER")
    public: bool = setting(False, help="Make a new repository public instead of private.", group="output")
    revision: str | None = setting(
        None, help="Branch to push to, made where it is missing.", group="output", metavar="BRANCH", unset="main"
    )
    create_pr: bool = setting(
        False, help="Propose the change to an existing repository as a pull request.", group="output"
    )
    tag: str | None = setting(None, help="Tag of the commit, such as v1.", group="output")
    commit_message: str | None = setting(None, help="First line of the commit.", group="output", unset="Push NAME")
    merge: bool = setting(
        False, help="Merge a LoRA adapter into its base model and push the whole model.", group="model"
    )
    recipe_only: bool = setting(
        False, help="Push no run: only EM-INF, for any model's custom_generate=.", group="model"
    )
    space: bool = setting(False, help="Push a Space too, which shows the model with and without EM-INF.", group="scale")
    space_hardware: Literal["cpu-basic", "zero-a10g"] | None = setting(
        None, help="Hardware of a new Space.", group="scale", unset="cpu-basic"
    )
    completions: int | None = setting(
        None, help="Push a dataset of this many prompts' completions too.", group="data", low=1
    )
    overwrite: bool = setting(False, help="With --to: replace the folder, if em-hf wrote it.", group="output")


@click.command("push", cls=Command)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@setting_options(PushOptions)
@click.option("--dry-run", cls=Option, is_flag=True, help="Show files, sizes, visibility and the card; write nothing.")
@json_option
def command(run: Path | None, **options: Any) -> None:
    """Publish a training run: weights, tokenizer, settings, model card and record, in one commit.

    RUN is a folder that `em-hf train` wrote; without it, the newest finished one under runs/. The repository is private
    unless --public says otherwise. The token is that of `hf auth login`, or HF_TOKEN. Pushing a run twice changes
    nothing.

    \b
    em-hf push                                  to the Hub, private, under the run's name
    em-hf push runs/first --repo me/first-em --public
    em-hf push --to my-model                    to a folder
    """
    _check_usage(run, options)
    if options["merge"] or options["completions"]:
        load_libraries()
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    source = _source(run, recipe_only=options["recipe_only"])
    if options["to"] is not None:
        _to_folder(source, options["to"], options)
    elif options["dry_run"]:
        _preview(source, options)
    else:
        _to_hub(source, options)


def _check_usage(run: Path | None, options: dict[str, Any]) -> None:
    """Raise UsageError for options that do not go together, such as --to and the Hub's, or --recipe-only and a run."""
    hub_only = ("repo", "public", "revision", "create_pr", "tag", "commit_message", "space", "completions")
    given = [name for name in hub_only if options[name]]
    if options["to"] is not None and given:
        option = given[0].replace("_", "-")
        raise click.UsageError(f"--to writes a folder and --{option} is for the Hub: give one of the two")
    if options["to"] is None and options["overwrite"]:
        raise click.UsageError("--overwrite goes with --to FOLDER; a repository on the Hub keeps its history anyway")
    if options["create_pr"] and (options["tag"] or options["revision"]):
        raise click.UsageError("--create-pr makes a branch of its own: leave --revision and --tag out")
    if options["space_hardware"] and not options["space"]:
        raise click.UsageError("--space-hardware goes with --space")
    if options["recipe_only"] and (options["space"] or options["completions"]):
        raise click.UsageError("--recipe-only pushes no model: leave --space and --completions out")
    if options["create_pr"] and (options["space"] or options["completions"]):
        raise click.UsageError("--create-pr changes nothing yet: push --space and --completions once it is merged")
    if options["recipe_only"] and (run is not None or options["merge"]):
        raise click.UsageError("--recipe-only pushes no run: leave RUN and --merge out")


def _source(run: Path | None, *, recipe_only: bool) -> "Run | Recipe":
    from em_hf.hub import Recipe, newest_run, read_run

    if recipe_only:
        return Recipe()
    chosen = newest_run() if run is None else read_run(run)
    note(f"Run: {chosen.folder}")
    return chosen


def _to_folder(source: "Run | Recipe", folder: Path, options: dict[str, Any]) -> None:
    from em_hf.hub import write_repository
    from em_hf.hub.export import check_target, staged

    facts = {"run": source.name, "folder": str(folder), "dry_run": options["dry_run"]}
    if not options["dry_run"]:
        repository = write_repository(source, folder, overwrite=options["overwrite"], merge=options["merge"])
        _show(facts, repository.sizes, as_json=options["as_json"])
        note(f"Wrote the repository to {folder}.")
        return
    check_target(source, folder.resolve(), overwrite=options["overwrite"])
    with staged(source, merge=options["merge"]) as repository:
        _show(facts, repository.sizes, card=str(repository.card), as_json=options["as_json"])
    note(f"Dry run: nothing was written to {folder}, a folder on this machine.")


def _preview(source: "Run | Recipe", options: dict[str, Any]) -> None:
    from em_hf.hub import previewed

    chosen = {name: options[name] for name in ("public", "create_pr", "merge")}
    with previewed(source, options["repo"], say=note, **chosen) as preview:
        private = not options["public"] if preview.private is None else preview.private
        visibility = "private" if private else "public"
        facts = {"run": source.name, "repo": preview.repo_id, "visibility": visibility, "exists": preview.exists}
        sizes, card = preview.repository.sizes, str(preview.repository.card)
        _show({**facts, "dry_run": True}, sizes, card=card, as_json=options["as_json"])
    what = "the existing" if preview.exists else "the"
    for what_else, suffix in (("space", "space"), ("completions", "completions")):
        if options[what_else]:
            note(f"And a {what_else if what_else == 'space' else 'dataset'}: {preview.repo_id}-{suffix}.")
    note(f"Dry run: nothing was pushed to {what} repository {preview.repo_id}, {visibility}.")


def _to_hub(source: "Run | Recipe", options: dict[str, Any]) -> None:
    from em_hf.hub import publish

    chosen = {name: options[name] for name in ("public", "revision", "create_pr", "tag", "merge")}
    done = publish(source, options["repo"], message=options["commit_message"], say=note, **chosen)
    visibility = "private" if done.private else "public"
    facts = {"run": source.name, "repo": done.repo_id, "url": done.url, "commit": done.commit, "changed": done.changed}
    beside = _beside(source, done.repo_id, options)
    _show({**facts, "visibility": visibility, "dry_run": False, **beside}, done.sizes, as_json=options["as_json"])
    if not options["as_json"]:
        click.echo("\n".join([done.url, *beside.values()]))
    note(f"{'Pushed to' if done.changed else 'Nothing to change in'} {done.repo_id}, which is {visibility}.")
    if options["public"] and done.private:
        note(f"It existed and stays private; make it public at {done.url}/settings")


def _beside(source: "Run | Recipe", model: str, options: dict[str, Any]) -> dict[str, str]:
    """Publish the dataset of completions and the Space if requested, and return the URL of each by its kind."""
    from em_hf.hub import Run, publish_completions, publish_space

    pushed = {}
    if options["completions"]:
        assert isinstance(source, Run)
        count = options["completions"]
        pushed["completions"] = publish_completions(source, model, count, public=options["public"], say=note)
    if options["space"]:
        hardware = options["space_hardware"]
        pushed["space"] = publish_space(model, public=options["public"], hardware=hardware, say=note)
    for done in pushed.values():
        note(f"{'Pushed to' if done.changed else 'Nothing to change in'} {done.url}.")
    return {what: done.url for what, done in pushed.items()}


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
    """Return a size in bytes as text, in the largest unit that gives at least 1."""
    for unit, bytes_in in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_in:
            return f"{size / bytes_in:.1f} {unit}"
    return f"{size} B"
