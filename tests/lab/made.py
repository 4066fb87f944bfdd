"""A lab's record made by hand, in which everything comes out differently, for the tests of its sentences and tables."""

from typing import Any

GAIN, LOSS, NULL = (0.12, 0.08, 0.16), (-0.4, -0.5, -0.3), (0.01, -0.02, 0.04)
EDGE = (0.02, 0.0, 0.05)  # an interval that ends at 0 holds it


def figure(mean: float, low: float, high: float) -> dict[str, float]:
    return {"mean": mean, "low": low, "high": high}


def method(level: str, name: str, title: str, sampled: tuple, greedy: tuple, **rivals: tuple) -> dict[str, Any]:
    """A method's row: `sampled` and `greedy` over the base, `rivals` over others in both ways."""
    row: dict[str, Any] = {"level": level, "method": name, "title": title, "labels": "none", "seeds": 5, "flops": 1e12}
    others = {rival.replace("_", "-"): figure(*over) for rival, over in rivals.items()}
    for way, over in (("sampled", sampled), ("greedy", greedy)):
        row |= {way: figure(0.5 + over[0], 0.1, 0.9), f"{way}_over": {"base": figure(*over), **others}}
    return row


def base(level: str) -> dict[str, Any]:
    row: dict[str, Any] = {"level": level, "method": "base", "title": "base model", "labels": "none", "seeds": 1}
    row |= {"sampled": figure(0.66, 0.64, 0.68), "greedy": figure(0.9, 0.8, 1.0)}
    return {**row, "sampled_over": {}, "greedy_over": {}}


def decoded(kind: str, name: str, seconds: float = 0.01, **over: tuple) -> dict[str, Any]:
    row = {"level": "hard", "kind": kind, "strategy": name, "settings": "s", "sampled": figure(0.8, 0.7, 0.9)}
    row |= {"tokens": 40.0, "flops": 1e8, "seconds": seconds, **({"nats_left": 0.02} if kind != "tuned" else {})}
    return {**row, **{f"over_{other}": figure(*one) for other, one in over.items()}}


def course(start: float, peak: float, end: float, falls_at: int | None) -> dict[str, Any]:
    points = {"start": (0, start, 0.06), "peak": (30, peak, 0.04), "end": (120, end, 0.01)}
    found: dict[str, Any] = {
        name: {"step": step, "accuracy": accuracy, "entropy": entropy}
        for name, (step, accuracy, entropy) in points.items()
    }
    found |= {"gain": figure(end - start, -0.1, 0.1), "loss": figure(end - peak, end - peak - 0.1, end - peak + 0.1)}
    return {**found, "falls_at": falls_at}


def curve(name: str, sampled: dict[str, Any], greedy: dict[str, Any], stop: int | None, **more: Any) -> dict[str, Any]:
    never = {"collapsed": False, "step": None, "why": None, "best_step": 30}
    readings = [{"step": step, "entropy": 0.06 / (step + 1), "sampled": 0.4, "greedy": 0.5} for step in (0, 30, 120)]
    row = {"method": name, "seed": 0, "long": True, "readings": readings, "sampled": sampled, "greedy": greedy}
    return {**row, "guard": never, "guard_with_labels": {**never, "step": stop}, **more}


def steps(method: str, way: str, true: float, faithful: float, over: tuple | None = None) -> dict[str, Any]:
    row = {"level": "hard", "method": method, "strategy": way, "true": figure(true, 0.1, 0.9)}
    return {**row, "faithful": figure(faithful, 0.1, 1.0), "over_base": figure(*over) if over else None}


def on_misled(data: str, way: str, over: tuple | None) -> dict[str, Any]:
    row = {"data": data, "way": way, "seeds": 1, "accuracy": figure(0.3, 0.2, 0.4)}
    return {**row, "over_sampling": figure(*over) if over else None}


def swept(over: tuple, mean: float, **point: float) -> dict[str, Any]:
    return {"point": point, "sampled": figure(mean, mean - 0.1, mean + 0.1), "over_sampling": figure(*over)}


def diagnosis(agreement: dict[str, float] | None) -> dict[str, Any]:
    methods = [("em-inf", "use", 0.9, GAIN), ("em-ft", "use", 0.9, NULL), ("rent", "doubtful", 0.6, LOSS)]
    keys = ("method", "advice", "auroc")
    rows = [{**dict(zip(keys, one[:3], strict=True)), "gain": figure(*one[3])} for one in methods]
    found = {"level": "hard", "verdict": "likely", "sentence": "It will.", "methods": rows, "agreement": agreement}
    return {**found, "em_inf_predicted": figure(0.1, 0.05, 0.15)}


def made_record() -> dict[str, Any]:
    passed = {"pass@1": figure(0.7, 0.6, 0.8), "pass@16": figure(0.9, 0.8, 1.0), "vote@4": figure(0.8, 0.7, 0.9)}
    over = dict(zip(passed, (figure(*GAIN), figure(*LOSS), figure(*NULL)), strict=True))
    guarded = {"collapsed": True, "step": 30, "why": "kl", "best_step": 20, "gain": figure(*GAIN)}
    return {
        "made": [
            {"command": "em-hf lab", "commit": "abc1234", "date": "2026-11-23", "cpu": "A CPU", "cores": 2}
            | {"versions": {"python": "3.11.7"}}
        ],
        "settings": {"steps": None, "problems": 400, "train_levels": ["plain", "hard"]}
        | {"tune_trials": 6, "tune_problems": 100},
        "done": 10,
        "missing": [],
        "runs_done": 40,
        "runs_planned": 40,
        "best": ["em-ft-4", "em-rl-sequence-1"],
        "methods": [
            base("plain"),
            method("plain", "em-ft", "EM-FT", GAIN, EDGE),
            base("hard"),
            method("hard", "em-ft", "EM-FT", GAIN, GAIN, random=GAIN, ssd=NULL, sc_rl=LOSS),
            method("hard", "em-rl-sequence", "EM-RL-sequence", NULL, EDGE, ssd=NULL),
            method("hard", "em-rl-token", "EM-RL-token", LOSS, LOSS, ssd=LOSS),
            method("hard", "rloo", "RLOO", GAIN, GAIN),
        ],
        "decoding": [
            decoded("stored", "greedy", em_inf=GAIN),
            decoded("stored", "sampling", em_inf=LOSS),
            decoded("stored", "em-inf"),
            decoded("tuned", "em-inf", greedy=LOSS, sampling=GAIN),
            decoded("tuned", "min-p", 0.009, em_inf=EDGE),
            decoded("tuned", "self-consistency", 0.04, em_inf=GAIN),
            decoded("tuned", "em-inf+self-consistency", 0.05, em_inf=GAIN, without=GAIN),
            decoded("equal-entropy", "temperature", em_inf=NULL),
            decoded("equal-entropy", "top-p", em_inf=LOSS),
        ],
        "curves": [
            curve("em-ft", course(0.4, 0.6, 0.2, 60), course(0.5, 0.55, 0.5, None), 90),
            curve("rloo", course(0.4, 0.6, 0.6, None), course(0.5, 0.5, 0.5, None), None, long=False),
        ],
        "guarded": [
            {"run": "em-rl-token-0", "level": "hard", **guarded}
            | {"sampled": figure(0.7, 0.6, 0.8), "unguarded": figure(0.2, 0.1, 0.3)}
        ],
        "pass": [
            {"level": "hard", "model": "pocket-reasoner", "strategy": "sampling", "k": 16, "figures": passed},
            {"level": "hard", "model": "pocket-reasoner", "strategy": "em-inf", "k": 16, "figures": passed}
            | {"over_base": over},
            {"level": "hard", "model": "em-ft-4", "strategy": "sampling", "k": 16, "figures": passed}
            | {"over_base": over},
        ],
        "steps": [
            steps("base", "sampling", 0.6, 0.95),
            steps("base", "greedy", 0.8, 0.99),
            steps("em-ft", "sampling", 0.5, 0.9, LOSS),
            steps("em-rl-sequence", "sampling", 0.7, 0.92, NULL),
        ],
        "diagnoses": [diagnosis({"mean": 0.8, "low": 0.4, "high": 0.95, "chance": 0.0421})],
        "misled": {
            "rows": [
                on_misled("fewer", "sampling", None),
                on_misled("fewer", "EM-INF", LOSS),
                on_misled("fewer", "EM-FT, sampled", NULL),
                on_misled("others", "sampling", None),
                on_misled("others", "EM-INF", GAIN),
            ],
            "diagnoses": [{"model": "pocket-misled", "data": "fewer", "verdict": "harmful", "sentence": "It would."}],
        },
        "sweep": [
            swept(LOSS, 0.5, threshold=0.1, n_grad_steps=3),
            swept(GAIN, 0.9, threshold=0.1, n_grad_steps=10),
            swept(NULL, 0.6, threshold=0.3, n_grad_steps=3),
        ],
    }


def empty_record() -> dict[str, Any]:
    lists = ("methods", "decoding", "curves", "guarded", "pass", "steps", "diagnoses", "sweep", "best")
    empty: dict[str, Any] = {name: [] for name in lists}
    return {**made_record(), **empty, "misled": {"rows": [], "diagnoses": []}}
