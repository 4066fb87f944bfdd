"""The report's tables: every figure of a record made by hand stands where a reader looks for it."""

from pathlib import Path
from typing import Any

import pytest

from em_hf.lab.format import model_title, points, share
from em_hf.lab.report import NOTHING, QUESTIONS, header, write_report

GAIN, LOSS, NULL = (0.12, 0.08, 0.16), (-0.4, -0.5, -0.3), (0.01, -0.02, 0.04)
EDGE = (0.02, 0.0, 0.05)  # an interval that ends at 0 holds it

HARD = ("hard_sampled", "hard_sampled_over_base", "hard_greedy", "hard_greedy_over_base")


def figure(mean: float, low: float, high: float) -> dict[str, float]:
    return {"mean": mean, "low": low, "high": high}


def method(name: str, title: str, over: tuple, rloo: tuple | None, flops: float, **more: Any) -> dict[str, Any]:
    row = {"method": name, "title": title, "labels": "none", "seeds": 5, "sampled": figure(0.66 + over[0], 0.6, 0.9)}
    row |= {"greedy": None, "over_base": figure(*over), "over_rloo": figure(*rloo) if rloo else None}
    row |= dict.fromkeys(("over_grpo", "greedy_over_base", *HARD))
    return {**row, "flops": flops, "seconds": 60.0, **more}


@pytest.fixture
def record() -> dict[str, Any]:
    """A record made by hand, in which everything comes out differently."""
    base = {"method": "base", "title": "base model", "labels": "none", "seeds": 1, "sampled": figure(0.66, 0.64, 0.68)}
    base |= dict.fromkeys(("greedy", "over_base", "over_rloo", "over_grpo", "greedy_over_base", *HARD))
    base["hard_greedy"] = figure(0.61, 0.55, 0.67)

    def decoded(model: str, name: str, over: tuple | None, seconds: float, **more: Any) -> dict[str, Any]:
        row = {"model": model, "data": "test", "strategy": name, "settings": "s", "sampled": figure(0.8, 0.7, 0.9)}
        row |= {"steps": figure(0.85, 0.8, 0.9), "tokens": 40.0, "flops": 1e8, "seconds": seconds}
        return {**row, **({"em_inf_over_it": figure(*over)} if over else {}), **more}

    def passed(model: str, strategy: str, *over: tuple) -> dict[str, Any]:
        row = {"model": model, "data": "hard", "strategy": strategy, "k": 16, "votes_4": figure(0.75, 0.7, 0.8)}
        row |= {"pass_1": figure(0.7, 0.6, 0.8), "pass_k": figure(0.9, 0.8, 1.0)}
        return row | {f"over_base_{k}": figure(*one) for k, one in zip("1k", over)}

    def on_misled(data: str, way: str, over: tuple | None) -> dict[str, Any]:
        row = {"data": data, "way": way, "seeds": 1, "accuracy": figure(0.3, 0.2, 0.4)}
        return {**row, "over_sampling": figure(*over) if over else None}

    def swept(over: tuple, mean: float, **point: float) -> dict[str, Any]:
        row = {"model": "pocket-reasoner", "point": point, "sampled": figure(mean, mean - 0.1, mean + 0.1)}
        return {**row, "over_sampling": figure(*over)}

    return {
        "made": [
            {"command": "em-hf lab", "commit": "abc1234", "date": "2026-11-23", "cpu": "A CPU", "cores": 2}
            | {"versions": {"python": "3.11.7"}}
        ],
        "settings": {"steps": None, "problems": 500},
        "done": 10,
        "missing": [],
        "runs_done": 35,
        "runs_planned": 35,
        "best": ["em-ft-4", "em-rl-sequence-1"],
        "methods": [
            base,
            method("em-ft", "EM-FT", GAIN, GAIN, 1e12),
            method("em-rl-sequence", "EM-RL-sequence", NULL, EDGE, 2e12),
            method("em-rl-token", "EM-RL-token", LOSS, LOSS, 2e12),
            method("rloo", "RLOO", GAIN, None, 2e12, labels="answers"),
        ],
        "guarded": [
            {"method": "em-rl-token", "seed": 0, "collapsed": True, "step": 30, "why": "kl", "best_step": 20}
            | {"sampled": figure(0.7, 0.6, 0.8), "unguarded": figure(0.2, 0.1, 0.3)},
            {"method": "em-rl-token", "seed": 1, "collapsed": False, "step": None, "why": None, "best_step": 60}
            | {"sampled": figure(0.5, 0.4, 0.6), "unguarded": figure(0.3, 0.2, 0.4)},
        ],
        "decoding": [
            decoded("pocket-reasoner", "em-inf", None, 0.01),
            decoded("pocket-reasoner", "sampling", GAIN, 0.008),
            decoded("pocket-reasoner", "adaptive-temperature", NULL, 0.009, nats_left=0.02),
            decoded("pocket-reasoner", "min-p", LOSS, 0.009, nats_left=0.02),
            decoded("pocket-reasoner", "self-consistency", NULL, 0.04),
        ],
        "pass": [
            {"model": "pocket-reasoner", "strategy": "sampling", "k": 16}
            | {"pass_1": figure(0.66, 0.6, 0.7), "pass_k": figure(0.99, 0.98, 1.0)},
            passed("em-ft-4", "sampling", GAIN, LOSS),
            passed("rloo-0", "sampling", GAIN, NULL),
        ],
        "misled": {
            "rows": [
                on_misled("fewer", "sampling", None),
                on_misled("fewer", "EM-INF", LOSS),
                on_misled("fewer", "EM-FT, sampled", NULL),
                on_misled("others", "sampling", None),
                on_misled("others", "EM-INF", GAIN),
            ],
            "diagnoses": [
                {"model": "pocket-misled", "data": "fewer", "verdict": "harmful", "sentence": "It would."},
                {"model": "pocket-reasoner", "data": "test", "verdict": "likely", "sentence": "It will."},
            ],
        },
        "sweep": [
            swept(LOSS, 0.5, threshold=0.1, n_grad_steps=3),
            swept(GAIN, 0.9, threshold=0.1, n_grad_steps=10),
            swept(NULL, 0.6, threshold=0.3, n_grad_steps=3),
            swept(NULL, 0.7, threshold=0.3, n_grad_steps=10),
        ],
    }


def test_of_nothing_measured_it_says_so_and_names_what_is_missing(record: dict[str, Any], tmp_path: Path) -> None:
    empty = {**record, "methods": [], "guarded": [], "decoding": [], "pass": [], "sweep": [], "best": []}
    empty |= {"misled": {"rows": [], "diagnoses": []}, "missing": [f"job-{i}" for i in range(8)]}
    text = write_report(empty, tmp_path)
    assert (
        "**Not all of the plan is done.** 10 jobs stand; missing: job-0, job-1, job-2, job-3, job-4 and 3 more" in text
    )
    assert text.count(NOTHING) == len(QUESTIONS) and "![" not in text


def test_it_says_how_it_was_made_and_has_every_question_and_plot(record: dict[str, Any], tmp_path: Path) -> None:
    text = write_report(record, tmp_path)
    assert (tmp_path / "lab.md").read_text() == text + "\n"
    assert "`em-hf lab`, commit abc1234, 2026-11-23; A CPU, 2 cores; python 3.11.7." in header(record)
    assert "All of the plan is done." in header(record)
    for i, question in enumerate(QUESTIONS, 1):
        assert f"## {i}. {question}" in text
    for name in ("lab-methods.png", "lab-strategies.png", "lab-sweep.png"):
        assert f"]({name})" in text and (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "cells",
    [
        ("EM-RL-token", "none", "5", "26.0% [60.0, 90.0]", "-40.0 [-50.0, -30.0]", "-40.0 [-50.0, -30.0]", "-", "-"),
        ("RLOO", "answers", "5", "78.0% [60.0, 90.0]", "+12.0 [+8.0, +16.0]", "-", "-", "-", "-", "2.00", "60"),
        ("base model", "-", "-", "61.0% [55.0, 67.0]", "-"),  # on hard problems
        ("EM-RL-token (seed 0)", "30", "kl", "20", "70.0% [60.0, 80.0]", "20.0% [10.0, 30.0]"),
        ("min-p", "80.0% [70.0, 90.0]", "-40.0 [-50.0, -30.0]", "85.0% [80.0, 90.0]", "0.020", "40", "100", "9.0"),
        (
            "EM-FT (seed 4)",
            "hard problems",
            "sampling",
            "70.0% [60.0, 80.0]",
            "90.0% [80.0, 100.0]",
            "75.0% [70.0, 80.0]",
            "+12.0 [+8.0, +16.0]",
        ),
        ('problems with "fewer"', "EM-INF", "1", "30.0% [20.0, 40.0]", "-40.0 [-50.0, -30.0]"),
        ("threshold 0.1, n_grad_steps 10", "90.0% [80.0, 100.0]", "+12.0 [+8.0, +16.0]"),
        ("threshold 0.1", "70.0%"),  # the mean of 0.5 and 0.9
        ("n_grad_steps 3", "55.0%"),
    ],
)
def test_each_figure_stands_in_its_row(cells: tuple[str, ...], record: dict[str, Any], tmp_path: Path) -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in write_report(record, tmp_path).splitlines()
    ]
    assert any(row[: len(cells)] == list(cells) for row in rows)


def test_words() -> None:
    assert model_title("em-rl-sequence-3") == "EM-RL-sequence (seed 3)"
    assert model_title("pocket-reasoner") == "the base model" and share(None) == points(None) == "-"
