"""Curves along runs whose readings were made by hand: peak, fall, and the guard's stop."""

from pathlib import Path

import pytest

from em_hf.lab.curves import course, curve_of
from em_hf.lab.run import GREEDY_FILE
from em_hf.runs import PROBE_FILE, Reading, append_lines

PROBLEMS = 40


def reading(step: int, right: int, **more: float) -> Reading:
    """A reading with the first `right` of the problems right."""
    marks = tuple(float(i < right) for i in range(PROBLEMS))
    return Reading(step=step, accuracy=right / PROBLEMS, right=marks, **more)


def test_a_course_rises_to_its_peak_and_falls_clearly_below_it_only_beyond_chance() -> None:
    found = course([reading(0, 20), reading(10, 30), reading(20, 28), reading(30, 20), reading(40, 10)])
    assert [found[point]["step"] for point in ("start", "peak", "end")] == [0, 10, 40]
    assert found["peak"]["accuracy"] == 0.75
    assert found["gain"]["mean"] == pytest.approx(-0.25) and found["loss"]["mean"] == pytest.approx(-0.5)
    assert found["loss"]["high"] < 0
    assert found["falls_at"] == 30, "two problems of forty fewer, at step 20, may be chance"


def test_a_level_course_does_not_fall() -> None:
    found = course([reading(0, 30), reading(10, 30), reading(20, 29)])
    assert found["falls_at"] is None and found["peak"]["step"] == 0, "the first of equals is the peak"


def test_a_curve_has_both_ways_and_what_the_guard_would_do_with_and_without_labels(tmp_path: Path) -> None:
    assert curve_of(tmp_path) is None
    lengths = (40.0, 39.0, 38.0, 10.0)
    sampled = [
        reading(10 * i, n, entropy=0.1 / (i + 1), completion_length=length)
        for i, (n, length) in enumerate(zip((30, 32, 12, 5), lengths, strict=True))
    ]
    append_lines(tmp_path / PROBE_FILE, sampled)
    append_lines(tmp_path / GREEDY_FILE, [reading(10 * i, 35 - i) for i in range(4)])
    found = curve_of(tmp_path)
    assert found is not None
    assert found["readings"][1] == {"step": 10, "entropy": 0.05, "sampled": 0.8, "greedy": 0.85}
    assert found["sampled"]["peak"]["step"] == 10 and found["greedy"]["peak"]["step"] == 0
    assert found["guard_with_labels"]["step"] == 20, "accuracy is clearly below that of the start"
    assert found["guard"]["step"] == 30 and "shrank" in found["guard"]["why"], "it sees lengths only"
