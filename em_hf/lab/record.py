"""The lab's results as one record, which the report and the plots are made from; every figure with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from em_hf.evaluation.diagnose import METHODS as DIAGNOSED
from em_hf.lab.curves import curve_of
from em_hf.lab.plan import (
    KINDS,
    MISLED,
    POCKET,
    Job,
    Measuring,
    as_stored,
    at_equal_entropy,
    diagnosing,
    first_chains,
    guarded_runs,
    last_chains,
    long_runs,
    many_answers,
    matchable,
    matching,
    misled_runs,
    sweep,
    trainings,
    tunable,
    tuned,
    tuning,
)
from em_hf.lab.ranking import rank_agreement
from em_hf.lab.run import best_runs, is_done, makings, result_of
from em_hf.lab.settings import EM_METHODS, LEVELS, PLAIN, LabSettings
from em_hf.methods import METHODS
from em_hf.stats import paired_interval, pass_at_k, ratio_interval, seeds_interval

Values = list[list[float]]

RIVALS = ("random", "format", "ssd", "sc-rl", "rloo")  # what EM training is compared with, beside the base model


@dataclass(frozen=True)
class Lab:
    """A lab's folder and settings, and what its jobs found."""

    settings: LabSettings
    folder: Path

    def of(self, job: Job) -> dict[str, Any] | None:
        return result_of(job, self.folder)

    def marks(self, jobs: Sequence[Job], name: str = "right") -> Values:
        """Return a mark of each job that is done, one number per problem."""
        return [found[name] for job in jobs if (found := self.of(job)) is not None]

    def base(self, strategy: str, level: str, name: str = "right") -> Values:
        return self.marks([as_stored(self.settings, strategy, level)], name)

    def trained(self, method: str, strategy: str, level: str, name: str = "right") -> Values:
        """Return a mark of each run of a method."""
        runs = [run.name for run in trainings(self.settings) if run.method == method]
        return self.marks([Measuring(run, strategy, self.settings.problems, data=level) for run in runs], name)


def record_of(settings: LabSettings, folder: Path) -> dict[str, Any]:
    """Return what stands in the lab's folder so far, and the names of the jobs that are missing.

    What is to be done on the best runs is known once there are some.
    """
    lab, best = Lab(settings, folder), best_runs(settings, folder)
    jobs = [job for chain in first_chains(settings) + last_chains(settings, best) for job in chain]
    runs = trainings(settings)
    return {
        "made": makings(folder),
        "settings": settings.to_dict(),
        "done": sum(is_done(job, folder) for job in jobs),
        "missing": [job.name for job in jobs if not is_done(job, folder)],
        "runs_done": sum(is_done(run, folder) for run in runs),
        "runs_planned": len(runs),
        "best": best,
        "methods": [row for level in LEVELS for row in methods(lab, level)],
        "decoding": [row for level in LEVELS for row in decoding(lab, level)],
        "curves": curves(lab),
        "guarded": guarded(lab),
        "pass": [row for level in LEVELS for row in passes(lab, level, best)],
        "steps": [row for level in LEVELS for row in written_steps(lab, level)],
        "diagnoses": [row for level in LEVELS if (row := diagnosis(lab, level)) is not None],
        "misled": misled(lab),
        "sweep": swept(lab),
    }


def interval(values: Values, against: Values | None = None) -> dict[str, float] | None:
    """Return the mean over seeds and problems, or its difference to that of others; None if either was not measured."""
    if not values or against == []:
        return None
    return figure(seeds_interval(values, against))


def figure(found: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("mean", "low", "high"), found, strict=True))


def methods(lab: Lab, level: str) -> list[dict[str, Any]]:
    """Return the base model and each method on a level: sampled, greedy, each over the base; a run's compute.

    The EM methods are also compared with their `RIVALS`.
    """
    rows = []
    base = {way: lab.base(way, level) for way in ("sampling", "greedy")}
    for method in ("", *lab.settings.seeds):
        marks = {way: lab.trained(method, way, level) if method else base[way] for way in base}
        if not marks["sampling"]:
            continue
        row: dict[str, Any] = {"level": level, "method": method or "base", "seeds": len(marks["sampling"])}
        row["title"] = METHODS[method].title if method else "base model"
        row["labels"] = (METHODS[method].needs or "none") if method else "none"
        for name, way in (("sampled", "sampling"), ("greedy", "greedy")):
            others = {"base": base[way]} if method else {}
            others |= {rival: lab.trained(rival, way, level) for rival in RIVALS if method in EM_METHODS}
            row[name] = interval(marks[way])
            row[f"{name}_over"] = {other: interval(marks[way], theirs) for other, theirs in others.items()}
        if method:
            costs = [lab.of(run) for run in trainings(lab.settings) if run.method == method]
            made = [cost["flops"] for cost in costs if cost is not None]
            row["flops"] = sum(made) / len(made)
        rows.append(row)
    return rows


def decoding(lab: Lab, level: str) -> list[dict[str, Any]]:
    """Return every strategy on the base model: as stored, tuned, and at EM-INF's entropy.

    Each is compared with greedy decoding, with sampling, with EM-INF (tuned; as stored at equal entropy), and one that
    has EM-INF within it with the same one without.
    """
    settings, ways = lab.settings, lab.settings.strategies
    stored = [way for way in ways if way in ("greedy", "sampling", "em-inf")]
    jobs = {("stored", way): as_stored(settings, way, level) for way in stored}
    jobs |= {("tuned", way): tuned(settings, way, level) for way in tunable(settings)}
    jobs |= {("equal-entropy", way): at_equal_entropy(settings, way, level) for way in matchable(settings)}
    found = {key: one for key, job in jobs.items() if (one := lab.of(job)) is not None}
    matched = lab.of(matching(settings, level))
    rows = []
    for (kind, way), one in found.items():
        row: dict[str, Any] = {"level": level, "kind": kind, "strategy": way, "settings": one["strategy"]}
        row["sampled"] = interval([one["right"]])
        row |= {key: sum(one[key]) / len(one[key]) for key in ("tokens", "flops", "seconds")}
        others = {
            "over_greedy": ("stored", "greedy"),
            "over_sampling": ("stored", "sampling"),
            "over_em_inf": ("stored" if kind == "equal-entropy" else "tuned", "em-inf"),
            "over_without": (kind, way.removeprefix("em-inf+")),
        }
        for name, other in others.items():
            if other != (kind, way) and other in found:
                row[name] = figure(paired_interval(one["right"], found[other]["right"]))
        if kind == "tuned" and (trials := lab.of(tuning(settings, way, level))) is not None:
            row["trials"] = trials["trials"]
        if matched and kind != "tuned" and way in matched["nats"]:
            row["nats_left"] = matched["nats"][way]
        rows.append(row)
    return rows


def curves(lab: Lab) -> list[dict[str, Any]]:
    """Return the curve of every watched run that is done, the long ones first."""
    rows = []
    for run in [*long_runs(lab.settings), *trainings(lab.settings)]:
        if run.watch and is_done(run, lab.folder):
            curve = curve_of(lab.folder / "runs" / run.name)
            if curve is not None:
                rows.append({"method": run.method, "seed": run.seed, "long": run.long, **curve})
    return rows


def guarded(lab: Lab) -> list[dict[str, Any]]:
    """Return the runs with the collapse guard: its verdict, and sampled accuracy with the weights that it left."""
    rows = []
    for run in guarded_runs(lab.settings):
        plain = replace(run, guard=False)
        for level in LEVELS:
            jobs = [Measuring(one.name, "sampling", lab.settings.problems, data=level) for one in (run, plain)]
            found, with_guard, without = lab.of(run), lab.marks(jobs[:1]), lab.marks(jobs[1:])
            if found is not None and with_guard and without:
                row = {"run": plain.name, "level": level, **found["guard"]}
                row |= {"sampled": interval(with_guard), "unguarded": interval(without)}
                rows.append({**row, "gain": interval(with_guard, without)})
    return rows


def passes(lab: Lab, level: str, best: Sequence[str]) -> list[dict[str, Any]]:
    """Return pass@1, pass@k and votes of the base model and the best runs, each also over the base model's sampling."""
    k = lab.settings.pass_samples

    def of(model: str, strategy: str) -> dict[str, list[float]] | None:
        found = lab.of(many_answers(lab.settings, model, strategy, level))
        if found is None:
            return None
        some = [pass_at_k(k, round(share * k), k) for share in found["right"]]
        votes = {f"vote@{size}": values for size, values in found["votes"].items()}
        return {"pass@1": found["right"], f"pass@{k}": some, **votes}

    base = of(POCKET, "sampling")
    rows = []
    for model, strategy in [(POCKET, "sampling"), (POCKET, "em-inf"), *((name, "sampling") for name in best)]:
        if (values := of(model, strategy)) is not None:
            row: dict[str, Any] = {"level": level, "model": model, "strategy": strategy, "k": k}
            row["figures"] = {name: interval([numbers]) for name, numbers in values.items()}
            if base is not None and (model, strategy) != (POCKET, "sampling"):
                row["over_base"] = {name: interval([numbers], [base[name]]) for name, numbers in values.items()}
            rows.append(row)
    return rows


def written_steps(lab: Lab, level: str) -> list[dict[str, Any]]:
    """Return how often written steps are true, and how often a right answer has the generator's own steps."""
    sources = [("base", way, lab.base(way, level, "true")) for way in ("sampling", "greedy", "em-inf")]
    ways = ("sampling", "greedy")
    sources += [(m, way, lab.trained(m, way, level, "true")) for m in lab.settings.seeds for way in ways]
    rows = []
    for method, way, true in sources:
        if not true:
            continue
        right, faithful = (
            lab.base(way, level, name) if method == "base" else lab.trained(method, way, level, name)
            for name in ("right", "faithful")
        )
        row: dict[str, Any] = {"level": level, "method": method, "strategy": way, "true": interval(true)}
        row["over_base"] = None if method == "base" else interval(true, lab.base(way, level, "true"))
        row["faithful"] = figure(ratio_interval(faithful, right)) if any(map(any, right)) else None
        rows.append(row)
    return rows


def diagnosis(lab: Lab, level: str) -> dict[str, Any] | None:
    """Return what `em-hf diagnose` says of the base model, and what each method that it knows then gained."""
    said = lab.of(diagnosing(lab.settings, POCKET, level))
    base = lab.base("sampling", level)
    if said is None or not base:
        return None
    rows, runs = [], []
    for method, measure in DIAGNOSED.items():
        marks = lab.base(method, level) if method == "em-inf" else lab.trained(method, "sampling", level)
        within = said["measures"][measure]["within"]
        if marks and within is not None:
            rows.append({"method": method, "advice": said["advice"][method], "auroc": within["mean"]})
            rows[-1]["gain"] = interval(marks, base)
            runs.append(marks)
    return {
        "level": level,
        "verdict": said["verdict"],
        "sentence": said["sentence"],
        "methods": rows,
        "agreement": rank_agreement([row["auroc"] for row in rows], runs),
        "em_inf_predicted": said["predictions"][0]["gain"] if said["predictions"] else None,
    }


def misled(lab: Lab) -> dict[str, Any]:
    """Return the misled model on its kind of problem and on others: before, under EM-INF, after EM-FT; diagnoses."""
    n, rows = lab.settings.kind_problems, []
    runs = [run.name for run in misled_runs(lab.settings)]
    ways = [("sampling", [MISLED], "sampling"), ("greedy", [MISLED], "greedy"), ("EM-INF", [MISLED], "em-inf")]
    ways += [("EM-FT, sampled", runs, "sampling"), ("EM-FT, greedy", runs, "greedy")]
    for data in KINDS:
        base = lab.marks([Measuring(MISLED, "sampling", n, data=data)])
        for title, models, strategy in ways:
            values = lab.marks([Measuring(model, strategy, n, data=data) for model in models])
            if values:
                row: dict[str, Any] = {"data": data, "way": title, "seeds": len(values), "accuracy": interval(values)}
                row["over_sampling"] = interval(values, base) if title != "sampling" else None
                rows.append(row)
    asked = [(MISLED, data) for data in KINDS]
    said = [(model, data, lab.of(diagnosing(lab.settings, model, data))) for model, data in asked]
    diagnoses = [
        {"model": model, "data": data, "verdict": one["verdict"], "sentence": one["sentence"]}
        for model, data, one in said
        if one is not None
    ]
    return {"rows": rows, "diagnoses": diagnoses}


def swept(lab: Lab) -> list[dict[str, Any]]:
    """Return each point of the two grids: accuracy, and its difference to plain sampling on the same problems."""
    base = lab.base("sampling", PLAIN)
    rows = []
    for job in sweep(lab.settings):
        if (found := lab.of(job)) is not None:
            row: dict[str, Any] = {"point": dict(job.entropy_min), "sampled": interval([found["right"]])}
            row["over_sampling"] = interval([found["right"]], base)
            rows.append(row)
    return rows
