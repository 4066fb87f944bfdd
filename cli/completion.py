"""`em-hf completion`: the Tab key completes commands, options and their values."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from em_hf.settings import setting

from .common import note
from .options import Command, setting_options

MARK = "# em-hf completion"


@dataclass(frozen=True)
class CompletionOptions:
    """Options for the shell, and whether to install the script."""

    shell: Literal["bash", "zsh", "fish"] | None = setting(
        None, help="Shell to complete in.", group="output", unset="that of $SHELL"
    )
    install: bool = setting(False, help="Install the script for this user instead of printing it.", group="output")


@click.command("completion", cls=Command, epilog="Example: em-hf completion --install")
@setting_options(CompletionOptions)
def command(shell: str | None, install: bool) -> None:
    """Print the shell completion script, or install it with --install.

    With it the Tab key completes commands, options, methods and files.
    """
    chosen = shell or Path(os.environ.get("SHELL", "")).name
    if chosen not in ("bash", "zsh", "fish"):
        raise click.UsageError("the shell is not known from $SHELL: give --shell bash, zsh or fish")
    script = completion_script(chosen)
    if not install:
        click.echo(script)
        return
    for path in install_script(chosen, script, Path.home()):
        note(f"Wrote {path}.")
    note("Open a new terminal, type em-hf and press Tab.")


def completion_script(shell: str) -> str:
    """Return click's completion script for a shell."""
    from click.shell_completion import get_completion_class

    from .main import cli

    found = get_completion_class(shell)
    assert found is not None  # click supports all three
    made = found(cli, {}, "em-hf", "_EM_HF_COMPLETE")
    return made.source_template % made.source_vars()


def install_script(shell: str, script: str, home: Path) -> list[Path]:
    """Write the script where the shell finds it, and return the files written; a second call changes nothing more.

    fish reads its completions folder; bash and zsh load the script from a line in their startup file.
    """
    if shell == "fish":
        target = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "fish" / "completions" / "em-hf.fish"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(script, encoding="utf-8")
        return [target]
    target = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "em-hf" / f"completion.{shell}"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(script, encoding="utf-8")
    start = Path(os.environ.get("ZDOTDIR") or home) / ".zshrc" if shell == "zsh" else home / ".bashrc"
    there = start.read_text(encoding="utf-8") if start.is_file() else ""
    if MARK in there:
        return [target]
    compinit = "autoload -Uz compinit && compinit\n" if shell == "zsh" and "compinit" not in there else ""
    gap = "" if not there or there.endswith("\n") else "\n"
    with start.open("a", encoding="utf-8") as file:
        file.write(f'{gap}{MARK}\n{compinit}[ -r "{target}" ] && . "{target}"\n')
    return [target, start]
