"""What was measured along a run: where accuracy peaks and falls, and when the collapse guard would stop it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from em_hf.lab.run import GREEDY_FILE
from em_hf.runs import PROBE_FILE, Reading, read_lines
from em_hf.stats import paired_interval
from em_hf.training.collapse import Limits, judge, significantly_worse


def curve_of(place: Path) -> dict[str, Any] | None:
    """Return the readings of a watched run, the course of its sampled and greedy accuracy, and the guard's verdicts.

    `guard` goes by what it sees without labels, `guard_with_labels` also by accuracy, as with `--early-stopping`. None
    if the run was not watched.
    """
    sampled, greedy = (read_lines(place / name, Reading) for name in (PROBE_FILE, GREEDY_FILE))
    if not sampled or not greedy:
        return None
    unlabeled = [replace(reading, accuracy=None, right=None) for reading in sampled]
    return {
        "readings": [
            {"step": one.step, "entropy": one.entropy, "sampled": one.accuracy, "greedy": two.accuracy}
            for one, two in zip(sampled, greedy, strict=False)
        ],
        "sampled": course(sampled),
        "greedy": course(greedy),
        "guard": judge(unlabeled, Limits()).to_dict(),
        "guard_with_labels": judge(sampled, Limits()).to_dict(),
    }


def course(readings: Sequence[Reading]) -> dict[str, Any]:
    """Return the accuracy at the start, the first peak and the end of a run, and how it changes between them.

    `gain` is the end minus the start and `loss` the end minus the peak, paired by problem; `falls_at` is the first step
    after the peak whose accuracy is below it beyond the 95% interval, or None. The peak is the highest of several noisy
    readings, so a run that stays level ends somewhat below it.
    """
    start, end = readings[0], readings[-1]
    peak = max(readings, key=lambda reading: reading.accuracy or 0.0)
    after = [reading for reading in readings if reading.step > peak.step]
    fallen = next((reading.step for reading in after if significantly_worse(reading, peak) is not None), None)
    points = {"start": start, "peak": peak, "end": end}
    found: dict[str, Any] = {
        name: {"step": one.step, "accuracy": one.accuracy, "entropy": one.entropy} for name, one in points.items()
    }
    return {**found, "gain": _difference(end, start), "loss": _difference(end, peak), "falls_at": fallen}


def _difference(now: Reading, then: Reading) -> dict[str, float]:
    assert now.right is not None and then.right is not None
    mean, low, high = paired_interval(now.right, then.right)
    return {"mean": mean, "low": low, "high": high}
