"""The report's tables: every figure of a record made by hand stands where a reader looks for it."""

from pathlib import Path
from typing import Any

import pytest

from em_hf.lab.answers import QUESTIONS, answer
from em_hf.lab.format import direction, listed, model_title, points, share
from em_hf.lab.plots import PLOTS
from em_hf.lab.report import NOTHING, header, methods_table, write_report
from tests.lab.made import EDGE, GAIN, LOSS, empty_record, figure, made_record


@pytest.fixture
def record() -> dict[str, Any]:
    return made_record()


def test_of_nothing_measured_it_says_so_and_names_what_is_missing(tmp_path: Path) -> None:
    empty = {**empty_record(), "missing": [f"job-{i}" for i in range(8)]}
    text = write_report(empty, tmp_path)
    assert (
        "**Not all of the plan is done.** 10 jobs stand; missing: job-0, job-1, job-2, job-3, job-4 and 3 more" in text
    )
    assert text.count(NOTHING) == len(QUESTIONS) and "![" not in text


def test_it_says_how_it_was_made_and_has_every_question_answer_and_plot(record: dict[str, Any], tmp_path: Path) -> None:
    text = write_report(record, tmp_path)
    assert (tmp_path / "lab.md").read_text() == text + "\n"
    assert "`em-hf lab`, commit abc1234, 2026-11-23; A CPU, 2 cores; python 3.11.7." in header(record)
    assert "All of the plan is done." in header(record) and "on plain and hard problems." in header(record)
    for i, (question, _) in enumerate(QUESTIONS, 1):
        assert f"## {i}. {question}" in text
        assert answer(record, i) and all(f"- {sentence}" in text for sentence in answer(record, i))
    for name in PLOTS:
        assert f"]({name})" in text and (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def cells_of(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


@pytest.mark.parametrize(
    "cells",
    [
        ("EM-RL-token", "none", "5", "10.0% [10.0, 90.0]", "-40.0 [-50.0, -30.0]", "10.0% [10.0, 90.0]"),
        ("base model", "none", "-", "66.0% [64.0, 68.0]", "-", "90.0% [80.0, 100.0]", "-", "-"),
        ("hard", "EM-FT", "greedy", "+12.0 [+8.0, +16.0]", "-", "+1.0 [-2.0, +4.0]", "-40.0 [-50.0, -30.0]", "-"),
        ("min-p", "80.0% [70.0, 90.0]", "-", "-", "+2.0 [+0.0, +5.0]", "40", "100", "9.0"),
        ("top-p", "80.0% [70.0, 90.0]", "-", "-", "-40.0 [-50.0, -30.0]", "40", "100", "10.0", "0.020"),
        ("EM-FT, long", "120", "0.060", "0.010", "40.0%, 60.0% (step 30), 20.0%", "50.0%, 55.0% (step 30), 50.0%"),
        ("EM-RL-token (seed 0)", "hard", "30", "kl", "20", "70.0% [60.0, 80.0]", "20.0% [10.0, 30.0]"),
        ("hard", "EM-FT (seed 4)", "sampling", "70.0% [60.0, 80.0]", "90.0% [80.0, 100.0]", "80.0% [70.0, 90.0]"),
        ("hard", "EM-FT", "sampling", "50.0% [10.0, 90.0]", "-40.0 [-50.0, -30.0]", "90.0% [10.0, 100.0]"),
        ("hard", "em-ft", "use", "0.90", "+1.0 [-2.0, +4.0]"),
        ('problems with "fewer"', "EM-INF", "1", "30.0% [20.0, 40.0]", "-40.0 [-50.0, -30.0]"),
        ("threshold 0.1, n_grad_steps 10", "90.0% [80.0, 100.0]", "+12.0 [+8.0, +16.0]"),
    ],
)
def test_each_figure_stands_in_its_row(cells: tuple[str, ...], record: dict[str, Any], tmp_path: Path) -> None:
    assert any(row[: len(cells)] == list(cells) for row in cells_of(write_report(record, tmp_path)))


def test_a_table_of_methods_is_of_one_level(record: dict[str, Any]) -> None:
    plain, hard = (cells_of(methods_table(record, level)) for level in ("plain", "hard"))
    assert [row[0] for row in plain[2:]] == ["base model", "EM-FT"] and plain[0][0] == "plain"
    assert [row[0] for row in hard[2:]] == ["base model", "EM-FT", "EM-RL-sequence", "EM-RL-token", "RLOO"]


def test_words() -> None:
    assert model_title("em-rl-sequence-3") == "EM-RL-sequence (seed 3)"
    assert model_title("pocket-reasoner") == "the base model" and share(None) == points(None) == "-"
    assert listed("a") == "a" and listed("ab") == "a and b" and listed("abc") == "a, b and c"
    assert [direction(figure(*one)) for one in (GAIN, LOSS, EDGE)] == [1, -1, 0], "0 in the interval is not clear"
