"""Campaigns, bounded and seeded (`make campaigns`): kills, wrong inputs, sandbox attacks, visitors of the app."""

import json
from pathlib import Path
from typing import Any


def write_figures(output: Path | None, name: str, tries: int, faults: int, figures: dict[str, Any]) -> None:
    """Write a campaign's figures as JSON, with what a reader needs to judge or repeat it.

    Args:
        tries: How often it tried; `benchmarks/reliability.py` makes a table of these.
        faults: How often what it tried went wrong.
        figures: What else it counted.
    """
    if output is None:
        return
    from benchmarks.common import environment

    head = {"campaign": name, "tries": tries, "faults": faults, **environment(f"tests.campaigns.{name}")}
    output.write_text(json.dumps({**head, **figures}, indent=1) + "\n", encoding="utf-8")
