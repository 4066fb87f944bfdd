"""Record a lab: `python -m benchmarks.lab FOLDER` writes its report to results/, and its answers into the docs.

FOLDER was made by `em-hf lab --output FOLDER` and holds its lab.json. If it is results/ itself, both are rewritten.
"""

import json
import re
from pathlib import Path
from typing import Any

import click

from em_hf.lab.answers import QUESTIONS, answer
from em_hf.lab.format import bullets
from em_hf.lab.plots import PLOTS, write_plots
from em_hf.lab.report import methods_table, write_report
from em_hf.lab.settings import LEVELS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "docs" / "images"
BEGIN, END = "<!-- lab: written by python -m benchmarks.lab -->", "<!-- /lab -->"
CAPTIONS = dict(
    zip(
        PLOTS,
        (
            "Accuracy against entropy along the runs; a ring is the start, a cross the end",
            "Every method, sampled and greedy, on plain and hard problems",
            "Every strategy on the untouched model, tuned on as many validation problems",
        ),
        strict=True,
    )
)


def docs_block(record: dict[str, Any]) -> str:
    """Return the text that docs/results.md quotes from a lab's record: its answers, the methods and the pictures."""
    parts = [f"Of this lab {len(record['missing'])} jobs were not done yet."] if record["missing"] else []
    for number, (question, _) in enumerate(QUESTIONS, 1):
        if sentences := answer(record, number):
            parts += [f"### {question}", bullets(sentences)]
    parts += ["### All methods"]
    parts += [table for level in LEVELS if (table := methods_table(record, level))]
    return "\n\n".join([*parts, *(f"![{text}](images/{name})" for name, text in CAPTIONS.items())])


def quoted_in(page: str) -> str:
    """Return the block as it is in the page's text."""
    return page.split(BEGIN, 1)[1].split(END, 1)[0].strip()


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Write the report of the lab in FOLDER to results/, and its answers and pictures into docs/."""
    record = json.loads((folder / "lab.json").read_text(encoding="utf-8"))
    write_report(record, RESULTS)
    write_plots(record, IMAGES)
    path = ROOT / "docs" / "results.md"
    text = path.read_text(encoding="utf-8")
    block = f"{BEGIN}\n{docs_block(record)}\n{END}"
    text = re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: block, text, flags=re.DOTALL)
    path.write_text(text, encoding="utf-8")
    click.echo(
        f"Written: {RESULTS.relative_to(ROOT) / 'lab.md'} and docs/results.md; {len(record['missing'])} jobs missing."
    )


if __name__ == "__main__":
    main()
