"""Record a lab: `python -m benchmarks.lab FOLDER` writes its report to results/, and its first table into the docs.

FOLDER was made by `em-hf lab --output FOLDER` and holds its lab.json. If it is results/ itself, both are rewritten.
"""

import json
import re
from pathlib import Path
from typing import Any

import click

from em_hf.lab.format import points, share
from em_hf.lab.report import write_report
from em_hf.markdown import markdown_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- lab: written by python -m benchmarks.lab -->", "<!-- /lab -->"


def docs_block(record: dict[str, Any]) -> str:
    """Return the text that docs/results.md quotes from a lab's record."""
    head = ["method", "labels", "seeds", "sampled", "over base, points", "greedy", "TFLOPs of a run"]
    rows = [
        [
            row["title"],
            row["labels"],
            str(row["seeds"]) if "flops" in row else "-",
            share(row["sampled"]),
            points(row["over_base"]),
            share(row["greedy"]),
            f"{row['flops'] / 1e12:.2f}" if "flops" in row else "-",
        ]
        for row in record["methods"]
    ]
    missing = len(record["missing"])
    unfinished = [f"Of this lab {missing} jobs were not done yet."] if missing else []
    return "\n\n".join([markdown_table(head, rows), *unfinished])


def quoted_in(page: str) -> str:
    """Return the block as it is in the page's text."""
    return page.split(BEGIN, 1)[1].split(END, 1)[0].strip()


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Write the report of the lab in FOLDER to results/, and its table into docs/results.md."""
    record = json.loads((folder / "lab.json").read_text(encoding="utf-8"))
    write_report(record, RESULTS)
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
