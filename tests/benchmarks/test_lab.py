"""The recorded lab: its report and the docs' part of it are what their commands make of lab.json."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.lab import RESULTS, ROOT, docs_block, quoted_in
from em_hf.lab.plan import lab_settings
from em_hf.lab.report import write_report

RECORD = json.loads((RESULTS / "lab.json").read_text(encoding="utf-8"))


def test_the_report_is_made_of_the_record_alone(tmp_path: Path) -> None:
    assert (RESULTS / "lab.md").read_text(encoding="utf-8") == write_report(RECORD, tmp_path) + "\n"
    for name in ("lab-methods.png", "lab-strategies.png", "lab-sweep.png"):
        assert (RESULTS / name).is_file() == (tmp_path / name).is_file()


def test_the_docs_quote_the_record() -> None:
    block = quoted_in((ROOT / "docs" / "results.md").read_text(encoding="utf-8"))
    assert block == docs_block(RECORD)
    for row in RECORD["methods"]:
        line = next(line for line in block.splitlines() if line.startswith(f"| {row['title']} "))
        assert float(re.findall(r"([\d.]+)%", line)[0]) == pytest.approx(100 * row["sampled"]["mean"], abs=0.051)


def test_the_record_is_of_the_default_plan_and_says_where_it_comes_from() -> None:
    """ssd, random and format came after the record: docs/results.md says that they are not in it."""
    planned = json.loads(json.dumps(lab_settings().to_dict()))
    later = {name: planned["seeds"].pop(name) for name in ("ssd", "random", "format")}
    assert RECORD["settings"] == planned
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in later)
    for made in RECORD["made"]:
        assert made["command"].startswith("em-hf lab") and made["commit"] and made["cpu"] and made["versions"]["torch"]


def test_every_mean_lies_in_its_interval() -> None:
    found = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if set(value) == {"mean", "low", "high"}:
                found.append(value)
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    walk(RECORD)
    assert len(found) > 20
    assert all(one["low"] - 1e-9 <= one["mean"] <= one["high"] + 1e-9 for one in found)
