"""Write the reference pages that are made from the code: `python -m docs.reference` (`make docs` calls it).

They are not committed, so they cannot differ from the code: the commands from click, the settings from their
dataclasses, the methods from the registry, the API page from the public names, and llms.txt from the other pages.
"""

import re
from pathlib import Path

import click
from em_hf.cli.main import COMMANDS, cli

import em_hf
from em_hf.methods import METHODS
from em_hf.settings import markdown_table
from em_hf.training.settings import RunSettings

DOCS = Path(__file__).parent


def cli_page() -> str:
    """Return every command with its whole help."""
    parts = ["# Command line\n"]
    for name in ("", *COMMANDS):
        command = cli if not name else cli.get_command(click.Context(cli), name)
        assert command is not None
        context = click.Context(command, info_name=f"em-hf {name}".strip(), max_content_width=100, terminal_width=100)
        full = [p for p in command.params if isinstance(p, click.Option) and "--help-all" in p.opts]
        text = whole_help(command, context) if full else command.get_help(context)
        parts.append(f"## em-hf {name}".rstrip() + f"\n\n```text\n{text.strip()}\n```\n")
    return "\n".join(parts)


def whole_help(command: click.Command, context: click.Context) -> str:
    """Return what `--help-all` prints."""
    from click.testing import CliRunner

    name = str(context.info_name).removeprefix("em-hf ")
    return CliRunner().invoke(cli, [name, "--help-all"], terminal_width=100, prog_name="em-hf").output


def settings_page() -> str:
    """Return a table of the settings of a training run."""
    return (
        "# Settings of a training run\n\nEach is an option of `em-hf train` and a key of its `--config` file.\n\n"
        f"{markdown_table(RunSettings)}\n"
    )


def methods_page() -> str:
    """Return a section per training method."""
    parts = ["# Training methods\n"]
    for name, method in METHODS.items():
        labels = method.needs or "none"
        rows = [f"`em-hf train --method {name}`: {method.summary}.", f"**Objective**: {method.objective}."]
        rows.append(f"**Labels**: {labels}. **Source**: {method.source or 'ours'}.")
        parts.append(f"## {method.title}\n\n" + "\n\n".join(rows) + "\n")
    return "\n".join(parts)


def api_page() -> str:
    """Return the page that mkdocstrings fills from the docstrings of the public names."""
    homes = {name: em_hf._HOME[name] for name in em_hf.__all__ if name in em_hf._HOME}
    return "# Python API\n\n" + "\n".join(f"::: {home}.{name}\n" for name, home in sorted(homes.items()))


def llms_txt() -> str:
    """Return the index for language models: every page with its first sentence."""
    lines = ["# em-hf", "", "> Entropy minimization for language models inside the Hugging Face tools.", ""]
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        title = text.splitlines()[0].lstrip("# ")
        body = next((part for part in text.split("\n\n")[1:] if part and part[0].isalpha()), "")
        lines.append(f"- [{title}]({path.stem}/): {re.split(r'(?<=[.?:]) ', body.strip())[0]}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write all of them."""
    folder = DOCS / "reference"
    folder.mkdir(exist_ok=True)
    pages = {"cli": cli_page(), "settings": settings_page(), "methods": methods_page(), "api": api_page()}
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (DOCS / "llms.txt").write_text(llms_txt(), encoding="utf-8")


if __name__ == "__main__":
    main()
