"""The `em-hf` command group. Commands are imported when named, and heavy libraries only when a command runs."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from em_hf.messages import did_you_mean, one_line

COMMANDS = {  # with their summaries in `em-hf --help`, which therefore imports none of them
    "train": "Train a model without labels, and measure it before and after.",
    "push": "Publish a training run on the Hub, or into a folder.",
    "generate": "Decode a prompt with and without EM-INF, and say where the two differ.",
    "eval": "Evaluate a model on benchmarks or on problems of your own.",
    "diagnose": "Say whether EM will help a model, before any training.",
    "lab": "Compare every method and strategy on the pocket reasoner.",
    "app": "Watch decoding with and without EM-INF, in a browser.",
    "env": "Print versions and devices, for a bug report.",
    "completion": "Print the shell completion script, or install it.",
}
# Errors that users can cause and whose message suffices; all others are shown with their type.
EXPLAINED = (ValueError, OSError, ImportError)
LONGEST_MESSAGE = 1000


class Group(click.Group):
    """A click group whose commands are modules of this package, and whose errors are one line each.

    Overrides `format_commands`, so that it imports nothing, and `main`, which exits with 0 on success, 1 on failure, 2
    on wrong usage and 130 on interruption. Tracebacks are shown only with `--debug` or EM_HF_DEBUG=1.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return import_module(f".{name}", __package__).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = did_you_mean(args[0], COMMANDS)
            raise click.UsageError(f"there is no command {args[0]!r}{near or '; em-hf --help lists them'}", ctx)
        return super().resolve_command(ctx, args)

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:  # type: ignore[override]
        words = list(sys.argv[1:] if args is None else args)
        extra = {"prog_name": "em-hf", **extra, "standalone_mode": False}
        try:
            check_utf8(words)
            sys.exit(super().main(words, *rest, **extra) or 0)
        except click.exceptions.Exit as stop:
            sys.exit(stop.exit_code)
        except click.exceptions.NoArgsIsHelpError as error:  # its message is the help
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            text = one_line(error.format_message(), LONGEST_MESSAGE)
            error.format_message = lambda: text  # type: ignore[method-assign]
            error.show()
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt) as stop:
            if isinstance(stop.__cause__, EOFError):  # click treats the end of any file as Ctrl-D
                fail(stop.__cause__, words)
            click.echo("Interrupted.", err=True)
            sys.exit(130)
        except Exception as error:
            fail(error, words)


def check_utf8(words: Sequence[str]) -> None:
    """Raise UsageError if an argument is not UTF-8 text, which no later code could print or store."""
    for place, word in enumerate(words, 1):
        try:
            word.encode("utf-8")
        except UnicodeEncodeError as error:
            raise click.UsageError(f"argument {place} is not UTF-8 text: {ascii(word)[:80]}") from error


def fail(error: BaseException, words: Sequence[str]) -> NoReturn:
    """Exit with 1 after one line about the error; with `--debug`, after its traceback."""
    if "--debug" in words or os.environ.get("EM_HF_DEBUG"):
        raise error
    click.echo(f"Error: {explain(error)}", err=True)
    sys.exit(1)


def explain(error: BaseException) -> str:
    """Return a description of an error in one line."""
    text = one_line(str(error), LONGEST_MESSAGE)
    if isinstance(error, EXPLAINED) and text:
        return text
    if isinstance(error, RecursionError):
        return "a file or an argument is nested too deeply to be read"
    if isinstance(error, EOFError):
        return f"a file ends too early: {text or 'it is cut off'}"
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return f"out of memory: use a smaller --batch-size, fewer tokens or a smaller model ({text[:200] or 'CPU'})"
    return f"{type(error).__name__}: {text or 'no message'}; --debug shows where"


@click.group(
    cls=Group,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 110,
        "auto_envvar_prefix": "EM_HF",
        "token_normalize_func": lambda word: word.replace("_", "-"),
    },
    epilog="Without options, every command but push uses the pocket reasoner that comes with the package.",
)
@click.version_option(package_name="em-hf", prog_name="em-hf")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """Entropy minimization for language models: train, publish and decode, without labels."""


def main() -> NoReturn:
    """Run the command line and exit."""
    cli.main()
