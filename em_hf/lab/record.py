"""The lab's results as one record, from which the report and the plots are made; every figure with its interval."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from em_hf.lab.plan import (
    AT_EQUAL_ENTROPY,
    EM_INF,
    LEVELS,
    MISLED,
    POCKET,
    STRATEGIES,
    Diagnosing,
    Job,
    LabSettings,
    Matching,
    Measuring,
    Training,
    first_chains,
    guarded,
    last_chains,
    of_strategy,
    on,
    sweep,
    trainings,
)
from em_hf.lab.run import best_runs, is_done, makings, result_of
from em_hf.stats import paired_interval, pass_at_k, seeds_interval

Values = list[list[float]]


def record_of(settings: LabSettings, folder: Path) -> dict[str, Any]:
    """What stands in the lab's folder so far: `methods`, `guarded`, `decoding`, `pass`, `misled`, `sweep`; how many
    jobs are done and the names of those that are not. Without a best run yet, what is to be done on it is not known."""
    best = best_runs(settings, folder)
    jobs = [job for chain in first_chains(settings) + last_chains(settings, best) for job in chain]
    models = [run.name for run in trainings(settings)] if settings.full else best
    compared = [POCKET, *models, *(["rloo-0"] if "rloo-0" not in models else [])]
    return {
        "made": makings(folder),
        "settings": settings.to_dict(),
        "done": sum(is_done(job, folder) for job in jobs),
        "missing": [job.name for job in jobs if not is_done(job, folder)],
        "runs_done": sum(is_done(run, folder) for run in trainings(settings)),
        "runs_planned": len(trainings(settings)),
        "best": best,
        "methods": methods(settings, folder),
        "guarded": guards(settings, folder),
        "decoding": [
            row for model in (POCKET, *models) for data in LEVELS for row in decoding(settings, folder, model, data)
        ],
        "pass": [row for data in LEVELS for row in passes(settings, folder, compared, data)],
        "misled": misled(settings, folder),
        "sweep": [row for model in (POCKET, *models) for row in swept(settings, folder, model)],
    }


def interval(values: Values, against: Values | None = None) -> dict[str, float]:
    mean, low, high = seeds_interval(values, against)
    return {"mean": mean, "low": low, "high": high}


def right(jobs: Sequence[Job], folder: Path) -> Values:
    """The marks of each job that is done, one number a problem."""
    return [found["right"] for job in jobs if (found := result_of(job, folder)) is not None]


def methods(settings: LabSettings, folder: Path) -> list[dict[str, Any]]:
    """Return a row for the base model and for each method, with the compute of a run.

    On plain and on hard problems: accuracy sampled and greedy, each against the base model's; sampled on plain ones
    also against RLOO and GRPO.
    """
    from em_hf.methods import METHODS

    def marks(method: str, strategy: str, data: str = "test") -> Values:
        if not method:
            return right([of_strategy(settings, POCKET, strategy, data)], folder)
        names = [run.name for run in trainings(settings) if run.method == method]
        return right([on(settings, name, strategy, data) for name in names], folder)

    ways = [(data, strategy) for data in LEVELS for strategy in ("sampling", "greedy")]
    others = {name: marks(name, "sampling") for name in ("rloo", "grpo")}
    base = {way: marks("", way[1], way[0]) for way in ways}
    rows = []
    for method in ("", *settings.seeds):
        found = {(data, strategy): marks(method, strategy, data) for data, strategy in ways}
        sampled = found["test", "sampling"]
        if not sampled:
            continue
        row: dict[str, Any] = {"method": method or "base", "seeds": len(sampled)}
        row["title"] = METHODS[method].title if method else "base model"
        row["labels"] = (METHODS[method].needs or "none") if method else "none"
        for way, name in zip(ways, ("sampled", "greedy", "hard_sampled", "hard_greedy"), strict=True):
            row[name] = interval(found[way]) if found[way] else None
            over = "over_base" if name == "sampled" else f"{name}_over_base"
            row[over] = interval(found[way], base[way]) if method and found[way] and base[way] else None
        for name, values in others.items():
            row[f"over_{name}"] = interval(sampled, values) if method and method != name and values else None
        row["seed_means"] = [sum(values) / len(values) for values in sampled]
        if method:
            costs = [result_of(run, folder) for run in trainings(settings) if run.method == method]
            made = [cost for cost in costs if cost is not None]
            row |= {name: sum(cost[name] for cost in made) / len(made) for name in ("flops", "seconds")}
        rows.append(row)
    return rows


def guards(settings: LabSettings, folder: Path) -> list[dict[str, Any]]:
    """The runs with the collapse guard: its verdict, and accuracy with the weights that it left."""
    rows = []
    for run in guarded(settings):
        found = result_of(run, folder)
        sampled = right([Measuring(run.name, "sampling", settings.problems)], folder)
        if found is not None and sampled:
            plain = right([Measuring(replace(run, guard=False).name, "sampling", settings.problems)], folder)
            row = {"method": run.method, "seed": run.seed, **found["guard"], "sampled": interval(sampled)}
            rows.append({**row, "unguarded": interval(plain) if plain else None})
    return rows


def decoding(settings: LabSettings, folder: Path, model: str, data: str) -> list[dict[str, Any]]:
    """Return every strategy on a model, each compared with EM-INF on the same problems."""
    found = {name: result_of(of_strategy(settings, model, name, data), folder) for name in STRATEGIES}
    matched = result_of(Matching(model, settings.chosen_on), folder)
    rows = []
    for name, one in found.items():
        if one is None:
            continue
        row = {"model": model, "data": data, "strategy": name, "settings": one["strategy"]}
        row |= {"sampled": interval([one["right"]]), "steps": interval([one["steps"]])}
        row |= {key: sum(one[key]) / len(one[key]) for key in ("tokens", "flops", "seconds")}
        if (reference := found["em-inf"]) is not None and name != "em-inf":
            mean, low, high = paired_interval(reference["right"], one["right"])
            row["em_inf_over_it"] = {"mean": mean, "low": low, "high": high}
        if matched and data == "test" and name in ("sampling", "em-inf", *AT_EQUAL_ENTROPY):
            row["nats_left"] = matched["nats"][name]
        rows.append(row)
    return rows


def passes(settings: LabSettings, folder: Path, models: Sequence[str], data: str) -> list[dict[str, Any]]:
    """Return pass@1, pass@k and the votes of each model from the same answers, and pass@k over the base model's."""
    k = settings.pass_samples

    def of(model: str, strategy: str) -> dict[str, list[float]] | None:
        found = result_of(on(settings, model, strategy, data, k), folder)
        if found is None:
            return None
        votes = {name: marks for name, marks in found.items() if name.startswith("votes_")}
        return {"1": found["right"], "k": [pass_at_k(k, round(share * k), k) for share in found["right"]], **votes}

    base = of(POCKET, "sampling")
    rows = []
    for model in models:
        for strategy in ("sampling", "em-inf"):
            if (values := of(model, strategy)) is None:
                continue
            row: dict[str, Any] = {"model": model, "data": data, "strategy": strategy, "k": k}
            row |= {f"pass_{name}": interval([values[name]]) for name in "1k"}
            row |= {name: interval([marks]) for name, marks in values.items() if name.startswith("votes_")}
            if base is not None and (model, strategy) != (POCKET, "sampling"):
                row |= {f"over_base_{name}": interval([values[name]], [base[name]]) for name in "1k"}
            rows.append(row)
    return rows


def misled(settings: LabSettings, folder: Path) -> dict[str, Any]:
    """The misled model on its kind of problem and on the others: before, under EM-INF, and after EM-FT; diagnoses."""
    n, rows = settings.kind_problems, []
    runs = [Training("em-ft", seed, MISLED).name for seed in range(settings.misled_seeds)]
    ways = (("sampling", [MISLED], "sampling"), ("greedy", [MISLED], "greedy"), ("EM-INF", [MISLED], "em-inf"))
    for data in ("fewer", "others"):
        base = right([Measuring(MISLED, "sampling", n, data=data)], folder)
        for title, models, strategy in (*ways, ("EM-FT, sampled", runs, "sampling"), ("EM-FT, greedy", runs, "greedy")):
            values = right([Measuring(model, strategy, n, data=data) for model in models], folder)
            if values:
                row: dict[str, Any] = {"data": data, "way": title, "seeds": len(values), "accuracy": interval(values)}
                row["over_sampling"] = interval(values, base) if base and title != "sampling" else None
                rows.append(row)
    asked = [(MISLED, "fewer"), (MISLED, "others"), (POCKET, "test")]
    said = [(model, data, result_of(Diagnosing(model, data, min(100, n)), folder)) for model, data in asked]
    diagnoses = [
        {"model": model, "data": data, "verdict": one["verdict"], "sentence": one["sentence"]}
        for model, data, one in said
        if one is not None
    ]
    return {"rows": rows, "diagnoses": diagnoses}


def swept(settings: LabSettings, folder: Path, model: str) -> list[dict[str, Any]]:
    """Each point of the two grids: accuracy, and its difference to plain sampling on the same problems."""
    base = result_of(of_strategy(settings, model, "sampling"), folder)
    rows = []
    for job in sweep(settings, model):
        if (found := result_of(job, folder)) is not None:
            row: dict[str, Any] = {
                "model": model,
                "point": dict(job.entropy_min),
                "sampled": interval([found["right"]]),
            }
            row["settings"] = {**EM_INF, **row["point"]}
            row["over_sampling"] = interval([found["right"]], [base["right"]]) if base else None
            rows.append(row)
    return rows
