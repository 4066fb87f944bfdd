"""The recorded lab: its report and the docs' part of it are what their commands make of lab.json."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.lab import IMAGES, RESULTS, ROOT, docs_block, quoted_in
from em_hf.lab.answers import QUESTIONS
from em_hf.lab.plots import PLOTS
from em_hf.lab.report import write_report
from em_hf.lab.settings import lab_settings
from tests.lab.made import made_record

RECORD = json.loads((RESULTS / "lab.json").read_text(encoding="utf-8"))


def test_the_report_is_made_of_the_record_alone(tmp_path: Path) -> None:
    assert (RESULTS / "lab.md").read_text(encoding="utf-8") == write_report(RECORD, tmp_path) + "\n"
    for name in PLOTS:
        assert (RESULTS / name).is_file() == (IMAGES / name).is_file() == (tmp_path / name).is_file()


def test_the_docs_quote_the_record() -> None:
    block = quoted_in((ROOT / "docs" / "results.md").read_text(encoding="utf-8"))
    assert block == docs_block(RECORD)
    for level in ("plain", "hard"):
        table = block.split(f"| {level} ")[1].split("\n\n")[0]
        for row in RECORD["methods"]:
            if row["level"] == level:
                line = next(line for line in table.splitlines() if line.startswith(f"| {row['title']} "))
                assert float(re.findall(r"([\d.]+)%", line)[0]) == pytest.approx(
                    100 * row["sampled"]["mean"], abs=0.051
                )


def test_the_recorded_lab_is_whole_and_of_the_default_plan_and_says_where_it_comes_from() -> None:
    assert RECORD["settings"] == json.loads(json.dumps(lab_settings().to_dict()))
    assert RECORD["missing"] == [] and RECORD["runs_done"] == RECORD["runs_planned"]
    for made in RECORD["made"]:
        assert made["command"].startswith("em-hf lab") and made["commit"] and made["cpu"] and made["versions"]["torch"]


def test_the_docs_have_an_answer_to_every_question() -> None:
    """Of a record made by hand, in which everything was measured, and of the recorded one."""
    for record in (made_record(), RECORD):
        block = docs_block(record)
        for question, _ in QUESTIONS:
            assert re.search(rf"^### {re.escape(question)}\n\n- ", block, flags=re.M), question


def test_every_mean_lies_in_its_interval() -> None:
    found = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if {"mean", "low", "high"} <= set(value):
                found.append(value)
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    walk(RECORD)
    assert len(found) > 100
    assert all(one["low"] - 1e-9 <= one["mean"] <= one["high"] + 1e-9 for one in found)
