"""The sentences of the report: they say what the intervals allow, whether that is a gain, a loss or nothing."""

from typing import Any

import pytest

from em_hf.lab.answers import NOTHING, QUESTIONS, answers, means_along, spreads
from em_hf.lab.report import header, in_short, write_report
from em_hf.lab.words import judged, listed, model_title, points, share

GAIN, LOSS, NULL = (0.12, 0.08, 0.16), (-0.4, -0.5, -0.3), (0.01, -0.02, 0.04)
EDGE = (0.02, 0.0, 0.05)  # an interval that ends at 0 holds it


def figure(mean: float, low: float, high: float) -> dict[str, float]:
    return {"mean": mean, "low": low, "high": high}


def method(name: str, title: str, over: tuple, rloo: tuple | None, flops: float, **more: Any) -> dict[str, Any]:
    row = {"method": name, "title": title, "labels": "none", "seeds": 5, "sampled": figure(0.66 + over[0], 0.6, 0.9)}
    row |= {"greedy": None, "over_base": figure(*over), "over_rloo": figure(*rloo) if rloo else None}
    return {**row, "over_grpo": None, "flops": flops, "seconds": 60.0, **more}


@pytest.fixture
def record() -> dict[str, Any]:
    """A record made by hand, in which everything comes out differently."""
    base = {"method": "base", "title": "base model", "labels": "none", "seeds": 1, "sampled": figure(0.66, 0.64, 0.68)}
    base |= {"greedy": None, "over_base": None, "over_rloo": None, "over_grpo": None}

    def decoded(model: str, name: str, over: tuple | None, seconds: float, **more: Any) -> dict[str, Any]:
        row = {"model": model, "strategy": name, "settings": "s", "sampled": figure(0.8, 0.7, 0.9), "tokens": 40.0}
        row |= {"flops": 1e8, "seconds": seconds}
        return {**row, **({"em_inf_over_it": figure(*over)} if over else {}), **more}

    def passed(model: str, strategy: str, *over: tuple) -> dict[str, Any]:
        row = {"model": model, "strategy": strategy, "k": 16}
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


def test_training_raises_lowers_or_does_neither_as_its_interval_has_it(record: dict[str, Any]) -> None:
    text = answers(record)[0]
    assert "EM-FT raises it: 78.0% [60.0, 90.0], +12.0 [+8.0, +16.0] points" in text
    assert "EM-RL-sequence does not clearly change it: 67.0%" in text
    assert "EM-RL-token lowers it: 26.0% [60.0, 90.0], -40.0 [-50.0, -30.0] points" in text
    assert "EM-FT is above that, +12.0 [+8.0, +16.0], at 0.50 times the FLOPs" in text
    assert "EM-RL-sequence is not clearly apart from that, +2.0 [+0.0, +5.0], at 1.00 times the FLOPs" in text
    assert "EM-RL-token is below that" in text
    assert "GRPO" not in text, "it was not measured"


def test_the_guard_is_told_by_the_runs_it_stopped_and_what_it_saved(record: dict[str, Any]) -> None:
    text = answers(record)[0]
    assert "stops 1 of 2 runs of EM-RL-token, after step 30; the weights that it leaves are right 60.0%" in text
    assert "against 25.0% without it" in text
    record["guarded"][0]["step"] = None
    assert "stops 0 of 2 runs of EM-RL-token; the weights" in answers(record)[0]


def test_em_inf_beats_is_beaten_or_is_not_apart_and_its_time_is_a_ratio(record: dict[str, Any]) -> None:
    text = answers(record)[1]
    assert "It beats sampling (+12.0 [+8.0, +16.0] points)." in text
    assert "It is not clearly apart from adaptive-temperature (+1.0 [-2.0, +4.0] points)." in text
    assert "It is beaten by min-p (-40.0 [-50.0, -30.0] points)." in text
    assert "adaptive-temperature and min-p leave as much entropy as EM-INF" in text
    assert "not clearly apart from self-consistency of 4 answers, 80.0% [70.0, 90.0], in 0.25 times its time" in text


def test_a_null_result_everywhere_is_never_called_a_difference(record: dict[str, Any]) -> None:
    for row in record["methods"]:
        row |= {name: figure(*NULL) for name in ("over_base", "over_rloo") if row[name]}
    for row in record["decoding"] + record["pass"] + record["misled"]["rows"] + record["sweep"]:
        names = ("em_inf_over_it", "over_base_1", "over_base_k", "over_sampling")
        row |= {name: figure(*NULL) for name in names if row.get(name)}
    text = " ".join(answers(record))
    for word in ("raises", "lowers", "beats", "beaten", "above", "below", "rises", "falls"):
        assert f" {word} " not in text, word
    assert "0 of 4 settings are clearly better than sampling and 0 clearly worse" in text


def test_pass_k_is_told_apart_from_pass_1(record: dict[str, Any]) -> None:
    text = answers(record)[2]
    assert "pass@1 rises and pass@16 falls for EM-FT (seed 4) sampled (+12.0 [+8.0, +16.0] and -40.0" in text
    assert "pass@1 rises and pass@16 does not clearly change for RLOO (seed 0) sampled" in text


def test_what_em_does_to_the_misled_model_stands_beside_what_was_predicted(record: dict[str, Any]) -> None:
    text = answers(record)[3]
    assert "EM-INF lowers it: 30.0% [20.0, 40.0], -40.0 [-50.0, -30.0] points; EM-FT does not clearly change" in text
    assert "On others it is right 30.0% [20.0, 40.0], sampled; EM-INF raises it" in text
    assert 'harmful to pocket-misled on problems with "fewer"; likely to help pocket-reasoner' in text


def test_the_sweep_names_its_ends_and_how_far_each_setting_moves_the_mean(record: dict[str, Any]) -> None:
    text = answers(record)[4]
    assert "1 of 4 settings are clearly better than sampling and 1 clearly worse" in text
    assert "from 50.0% [40.0, 60.0] at threshold 0.1, n_grad_steps 3 to 90.0%" in text
    assert "25.0 points along n_grad_steps and 5.0 points along threshold" in text
    assert means_along(record["sweep"], "threshold") == pytest.approx({0.1: 0.7, 0.3: 0.65})
    assert spreads(record["sweep"]) == pytest.approx({"threshold": 0.05, "n_grad_steps": 0.25})


def test_of_nothing_measured_it_says_so_and_the_report_names_what_is_missing(record: dict[str, Any], tmp_path) -> None:
    empty = {**record, "methods": [], "guarded": [], "decoding": [], "pass": [], "sweep": [], "best": []}
    empty |= {"misled": {"rows": [], "diagnoses": []}, "missing": [f"job-{i}" for i in range(8)]}
    assert answers(empty) == [NOTHING] * len(QUESTIONS)
    text = write_report(empty, tmp_path)
    assert (
        "**Not all of the plan is done.** 10 jobs stand; missing: job-0, job-1, job-2, job-3, job-4 and 3 more" in text
    )
    assert text.count(NOTHING) == 2 * len(QUESTIONS) and "![" not in text


def test_the_report_says_how_it_was_made_and_has_all_questions_and_figures(record: dict[str, Any], tmp_path) -> None:
    text = write_report(record, tmp_path)
    assert (tmp_path / "lab.md").read_text() == text + "\n"
    assert "`em-hf lab`, commit abc1234, 2026-11-23; A CPU, 2 cores; python 3.11.7." in header(record)
    assert "All of the plan is done." in header(record)
    for i, question in enumerate(QUESTIONS, 1):
        assert f"{i}. *{question}*" in in_short(record) and f"## {i}. {question}" in text
    for cell in (share(figure(0.66, 0.64, 0.68)), points(figure(*LOSS)), "EM-RL-token (seed 0)", "0.50 times", "1.00 "):
        assert cell in text
    for name in ("lab-methods.png", "lab-strategies.png", "lab-sweep.png"):
        assert f"]({name})" in text and (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_words() -> None:
    assert [judged(figure(*one), "up", "down", "none") for one in (GAIN, LOSS, NULL, EDGE)] == [
        "up",
        "down",
        "none",
        "none",
    ]
    assert listed(["a"]) == "a" and listed(["a", "b"]) == "a and b" and listed(["a", "b", "c"]) == "a, b and c"
    assert model_title("em-rl-sequence-3") == "EM-RL-sequence (seed 3)"
    assert model_title("pocket-reasoner") == "the base model" and share(None) == points(None) == "-"
