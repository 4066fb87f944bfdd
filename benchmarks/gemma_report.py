"""What `benchmarks.gemma_protocol` compares, and its report: tables, and sentences made from the record alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common import describe
from em_hf.evaluation.results import BASES, Row, pair_of
from em_hf.lab.format import bullets, points, share
from em_hf.markdown import markdown_table
from em_hf.runs import to_json

Record = Mapping[str, Any]
# What is compared at equal budgets, of tuning and of training, beside greedy decoding and sampling.
RIVALS = (
    ("em-inf", "temperature"),
    *((f"em-ft {decoding}", f"{method} {decoding}") for decoding in BASES for method in ("ssd", "random")),
)
MEANS = {"answered": "answered", "tokens": "tokens", "nats": "entropy"}  # the record's names, and those of `em-hf eval`


def compared(answers: Mapping[str, Mapping[str, Mapping[str, list[float]]]]) -> dict[str, list[dict[str, Any]]]:
    """Return `rows`, each way on each set with its means and whether each problem is `right`, and `differences`.

    Args:
        answers: for each way of answering and each set the figures of `em-hf eval`, one number per problem.
    """
    rows, differences = [], []
    for name in dict.fromkeys(name for sets in answers.values() for name in sets):
        found = {way: Row(way, name, dict(sets[name]), samples=1) for way, sets in answers.items()}
        for way, row in found.items():
            means = {ours: sum(row.values[key]) / len(row) for ours, key in MEANS.items()}
            accuracy, right = to_json(row.figure(row.metric)), row.values[row.metric]
            rows.append({"set": name, "way": way, "accuracy": accuracy, **means, "right": right})
        against_bases = [(way, base) for base in BASES for way in found if way not in (base, "greedy")]
        for way, base in [*against_bases, *RIVALS]:
            difference = pair_of(found[way], found[base]).difference
            differences.append({"set": name, "way": way, "base": base, **to_json(difference)})
    return {"rows": rows, "differences": differences}


def report(record: Record) -> str:
    """Return the report as Markdown, or a line that says that no part is whole yet."""
    if not record["problems"]:
        return "No part is answered in every way yet: the same command goes on."
    settings = record["settings"]
    about = (
        f"{record['model']} in {settings['dtype']}, {record['problems']} test problems of each set, one answer of at "
        f"most {settings['max_new_tokens']} tokens each. Sampling is at temperature 1. In brackets: 95% bootstrap "
        "intervals over problems, paired for differences (in points); one training run of each kind, so they do not "
        "cover the choice of a training seed."
    )
    parts = [describe(record), about, overview(record)]
    for template in settings["templates"]:
        parts.append(f"## The {template} prompt")
        for name in settings["sets"]:
            parts += [f"### {name.upper()}", *_of_set(record, template, name)]
        parts += ["### Budgets", tuning(record, template), training(record, template)]
    return "\n\n".join([*parts, "## What did not differ", summary(record["differences"])])


def overview(record: Record) -> str:
    """Return one table of every accuracy: a row for each way, a column for each set in each prompt."""
    rows = record["rows"]
    places = dict.fromkeys((row["set"], row["template"]) for row in rows)
    found = {(row["set"], row["template"], row["way"]): share(row["accuracy"]) for row in rows}
    ways = dict.fromkeys(row["way"] for row in rows)
    head = ["way", *(f"{name.upper()}, {template}" for name, template in places)]
    return markdown_table(head, [[way, *(found[(*place, way)] for place in places)] for way in ways])


def _of_set(record: Record, template: str, name: str) -> list[str]:
    def here(rows: Sequence[Record]) -> list[Record]:
        return [row for row in rows if (row["template"], row["set"]) == (template, name)]

    differences = here(record["differences"])
    against = {(one["way"], one["base"]): one for one in differences}
    cells = [
        [
            row["way"],
            share(row["accuracy"]),
            *(points(against.get((row["way"], base))) for base in BASES),
            f"{100 * row['answered']:.0f}%",
            f"{row['tokens']:.1f}",
            f"{row['nats']:.3f}",
        ]
        for row in here(record["rows"])
    ]
    head = ["way", "accuracy", *(f"minus {base}" for base in BASES), "answers marked", "tokens", "nats/token"]
    equal = [one for one in differences if one["base"] not in BASES]
    lines = [f"{pair(one)}: {points(one)}" for one in equal]
    said = [sentence([one for one in differences if one["base"] == base]) for base in BASES]
    return [markdown_table(head, cells), *said, "At equal budgets:", bullets(lines), sentence(equal)]


def pair(difference: Record) -> str:
    return f"{difference['way']} minus {difference['base']}"


def verdict(difference: Record) -> str:
    """Return "above" or "below" if the interval leaves zero out on that side, else "same"."""
    return "above" if difference["low"] > 0 else "below" if difference["high"] < 0 else "same"


def sentence(differences: Sequence[Record]) -> str:
    """Say which of the differences cannot be told from zero, which are above it and which below."""
    named = {word: [pair(one) for one in differences if verdict(one) == word] for word in ("same", "above", "below")}
    said = [f"Not distinguishable from zero: {_list(named['same'])}."]
    said += [f"{word.capitalize()} zero: {_list(named[word])}." for word in ("above", "below") if named[word]]
    return " ".join(said)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def tuning(record: Record, template: str) -> str:
    """Say what each strategy's budget was and which setting it was given."""
    lines = []
    tried = [one for one in record["tuning"] if one["template"] == template]
    for name in dict.fromkeys(one["strategy"] for one in tried):
        own = [one for one in tried if one["strategy"] == name]
        best = next(one for one in own if one["chosen"])
        shares = [100 * one["accuracy"] for one in own]
        lines.append(
            f"{name}: {best['settings']}. The best of {len(own)} settings, which were right on {min(shares):.1f} to "
            f"{max(shares):.1f}%."
        )
    settings = record["settings"]
    head = f"Tuned on {settings['validation']} validation problems of each set, none of them a test problem:"
    return f"{head}\n\n{bullets(lines)}"


def training(record: Record, template: str) -> str:
    """Return a table of the runs, and how far apart their FLOPs are."""
    runs = [run for run in record["training"] if run["template"] == template]
    cells = [
        [run["method"], run["steps"], f"{run['tokens_trained']:,}", f"{run['tflops']:.1f}", f"{run['seconds']:.0f}"]
        for run in runs
    ]
    costs = [run["tflops"] for run in runs]
    said = (
        f"LoRA on unlabeled {record['settings']['sets'][0].upper()} prompts, learning rate "
        f"{record['settings']['learning_rate']:g} for all. Between the cheapest and the dearest run there are "
        f"{100 * (max(costs) / min(costs) - 1):.1f}% of FLOPs."
    )
    return f"{markdown_table(['method', 'steps', 'tokens', 'TFLOPs', 'seconds'], cells, numbers=True)}\n\n{said}"


def summary(differences: Sequence[Record]) -> str:
    """Say how many of all differences cannot be told from zero, and how many would seem to differ by chance."""
    n, same = len(differences), sum(verdict(one) == "same" for one in differences)
    return (
        f"Of {n} differences, {same} are not distinguishable from zero: their 95% intervals include it. If none of the "
        f"{n} were real, about {round(n / 20)} intervals would leave zero out by chance."
    )
