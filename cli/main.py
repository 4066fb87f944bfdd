"""`em-hf`: the group. Commands are imported when they are named, and heavy libraries only when a command runs."""

import os
import sys
from importlib import import_module

import click

from em_hf import __version__

COMMANDS = ("train", "push", "generate", "eval", "diagnose", "lab", "app", "env")


class LazyGroup(click.Group):
    """A click group whose commands live in modules of this package, under their own names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return import_module(f".{name}", __package__).command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "auto_envvar_prefix": "EM_HF"},
    epilog="Every command runs without any option, on the pocket reasoner that comes with the package.",
)
@click.version_option(__version__, prog_name="em-hf")
def cli() -> None:
    """Entropy minimization for language models: train, publish and decode, without a label."""


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    A known kind of failure is one line on stderr; `EM_HF_DEBUG=1` shows its traceback.
    """
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("EM_HF_DEBUG"):
            raise
        click.echo(f"Error: {' '.join(str(error).split()) or type(error).__name__}", err=True)
        sys.exit(1)
