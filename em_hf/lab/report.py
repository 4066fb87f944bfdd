"""lab.md: the record in tables, and the answers to the five questions in sentences made from its figures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from em_hf.evaluation.results import markdown
from em_hf.lab.plan import AT_EQUAL_ENTROPY, EM_INF, MISLED
from em_hf.lab.plots import write_plots

Figure = Mapping[str, float]
Record = Mapping[str, Any]


def write_report(record: Record, output: Path) -> str:
    """lab.md, lab.json and the plots in `output`; returns the text."""
    output.mkdir(parents=True, exist_ok=True)
    plots = write_plots(record, output)
    text = "\n\n".join(["# The lab", header(record), *_sections(record, plots)])
    (output / "lab.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (output / "lab.md").write_text(text + "\n", encoding="utf-8")
    return text


def header(record: Record) -> str:
    settings = record["settings"]
    planned, done = record["planned"], record["done"]
    whole = planned is not None and done == planned
    covers = "All of the plan is done" if whole else f"Not all of the plan is done: {done} of {planned or 'all'} jobs"
    steps = f"{settings['steps']} steps each" if settings["steps"] else "the steps of the pocket recipe"
    return (
        "\n".join(map(_making, record["made"]))
        + f"\n\n{covers}; {record['runs_done']} of {record['runs_planned']} training runs ({steps}). "
        f"{settings['problems']} held-out problems a measurement. In brackets: 95% bootstrap intervals over problems "
        "and, where a row has several, training seeds. Runs have the pocket recipe's settings, without the collapse "
        "guard. Sampling is temperature 1, top_k 0, top_p 1. Every sentence and figure here is computed from lab.json."
    )


def _making(made: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return (
        f"`{made['command']}`, commit {made['commit']}, {made['date']}; {made['cpu']}, {made['cores']} cores; "
        f"{versions}."
    )


def _sections(record: Record, plots: list[str]) -> list[str]:
    parts = []
    for title, make in (
        ("1. Does EM in training improve accuracy without labels?", training),
        ("2. Does EM-INF beat other ways to decode?", decoding),
        ("3. What happens to pass@k while pass@1 rises?", passes),
        ("4. Where does EM fail?", misled),
        ("5. How sensitive is EM-INF to its settings?", sensitivity),
    ):
        parts += [f"## {title}", make(record)]
    return [*parts, *(f"![{name.removesuffix('.png')}]({name})" for name in plots)]


NOTHING = "Not measured in this run."


def share(figure: Figure | None) -> str:
    """Percent and its interval."""
    if figure is None:
        return "-"
    return f"{100 * figure['mean']:.1f}% ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"


def points(figure: Figure | None) -> str:
    """A difference in points of percent and its interval."""
    if figure is None:
        return "-"
    return f"{100 * figure['mean']:+.1f} ({100 * figure['low']:+.1f} to {100 * figure['high']:+.1f})"


def judged(figure: Figure, better: str, worse: str, unclear: str) -> str:
    return better if figure["low"] > 0 else worse if figure["high"] < 0 else unclear


def training(record: Record) -> str:
    rows = record["methods"]
    if not rows:
        return NOTHING
    sentences = []
    for row in rows:
        if row["over_base"] is None or row["labels"] != "none":
            continue
        did = judged(row["over_base"], "improves", "lowers", "does not clearly change")
        seeds = f"{row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
        text = f"- {row['title']} {did} sampled accuracy: {share(row['sampled'])}, {points(row['over_base'])} points"
        text += f" against the base model, {seeds}"
        if row["over_rloo"] is not None:
            beside = judged(row["over_rloo"], "above", "below", "not clearly apart from")
            text += f"; {beside} RLOO with labels, {points(row['over_rloo'])}"
            rloo = next(one for one in rows if one["method"] == "rloo")
            text += f", with {row['flops'] / rloo['flops']:.2f} times its FLOPs"
        sentences.append(text + ".")
    head = ["method", "labels", "seeds", "sampled", "over base, points", "over RLOO, points", "greedy"]
    cells = [
        [
            row["title"],
            row["labels"],
            str(row["seeds"]) if "flops" in row else "-",
            share(row["sampled"]),
            points(row["over_base"]),
            points(row["over_rloo"]),
            share(row["greedy"]),
            *((f"{row['flops'] / 1e12:.2f}", f"{row['seconds']:.0f}") if "flops" in row else ("-", "-")),
        ]
        for row in rows
    ]
    return "\n".join(sentences) + "\n\n" + markdown([*head, "TFLOPs of a run", "seconds"], cells)


def decoding(record: Record) -> str:
    models = dict.fromkeys(row["model"] for row in record["decoding"])
    parts = []
    for model in models:
        rows = {row["strategy"]: row for row in record["decoding"] if row["model"] == model}
        parts.append(f"### {model}")
        if "em-inf" in rows:
            parts.append("\n".join(_beside_em_inf(rows)))
        head = ["strategy", "accuracy", "EM-INF over it, points", "nats left a token", "tokens", "MFLOPs", "ms"]
        cells = [
            [
                name,
                share(row["sampled"]),
                points(row.get("em_inf_over_it")),
                f"{row['nats_left']:.3f}" if "nats_left" in row else "-",
                f"{row['tokens']:.0f}",
                f"{row['flops'] / 1e6:.0f}",
                f"{1000 * row['seconds']:.1f}",
            ]
            for name, row in rows.items()
        ]
        parts.append(markdown(head, cells))
        parts.append("\n".join(f"- {name}: {row['settings']}" for name, row in rows.items()))
    return "\n\n".join(parts) or NOTHING


def _beside_em_inf(rows: Mapping[str, Record]) -> list[str]:
    em = rows["em-inf"]
    lines = []
    for name in ("sampling", *AT_EQUAL_ENTROPY, "self-consistency", "greedy"):
        if name not in rows:
            continue
        row = rows[name]
        found = judged(row["em_inf_over_it"], "beats", "is beaten by", "is not clearly apart from")
        equal = ", which is set to leave as much entropy" if name in AT_EQUAL_ENTROPY and "nats_left" in row else ""
        text = f"- EM-INF, {share(em['sampled'])}, {found} {name}{equal}, {share(row['sampled'])}: "
        text += f"{points(row['em_inf_over_it'])} points"
        if name == "self-consistency":
            text += (
                f", in {em['seconds'] / row['seconds']:.2f} times its time and {em['flops'] / row['flops']:.2f} times "
                "its FLOPs"
            )
        lines.append(text + ".")
    return lines


def passes(record: Record) -> str:
    rows = record["pass"]
    if not rows:
        return NOTHING
    k, sentences = rows[0]["k"], []
    for row in rows:
        if "over_base_k" not in row:
            continue
        one = judged(row["over_base_1"], "rises", "falls", "does not clearly change")
        many = judged(row["over_base_k"], "rises", "falls", "does not clearly change")
        sentences.append(
            f"- {row['model']}, {row['strategy']}: pass@1 {one}, {points(row['over_base_1'])} points against sampling "
            f"from the base model, and pass@{k} {many}, {points(row['over_base_k'])}."
        )
    cells = [[row["model"], row["strategy"], share(row["pass_1"]), share(row["pass_k"])] for row in rows]
    return "\n".join(sentences) + "\n\n" + markdown(["model", "strategy", "pass@1", f"pass@{k}"], cells)


KINDS = {"fewer": 'problems with "fewer"', "others": "other problems", "test": "its problems"}


def misled(record: Record) -> str:
    rows = record["misled"]["rows"]
    if not rows:
        return NOTHING
    sentences = []
    for row in rows:
        if row["over_sampling"] is None:
            continue
        did = judged(row["over_sampling"], "raises", "lowers", "does not clearly change")
        sentences.append(
            f"- On {KINDS[row['data']]}, {row['way']} {did} accuracy: {share(row['accuracy'])}, "
            f"{points(row['over_sampling'])} points against sampling from {MISLED}."
        )
    for one in record["misled"]["diagnoses"]:
        name = f"`em-hf diagnose` of {one['model']} on {KINDS[one['data']]}"
        sentences.append(f"- {name}, before any training: {one['verdict']}. {one['sentence']}")
    cells = [
        [KINDS[row["data"]], row["way"], str(row["seeds"]), share(row["accuracy"]), points(row["over_sampling"])]
        for row in rows
    ]
    about = (
        f'{MISLED} is the pocket reasoner, taught on one kind of problem to read "fewer" as "more" in 65% of the '
        "examples (`python -m em_hf.pocket.mislead`); EM-FT is trained on pocket problems of all kinds."
    )
    table = markdown(["problems", f"{MISLED}", "models", "accuracy", "over sampling, points"], cells)
    return f"{about}\n\n" + "\n".join(sentences) + f"\n\n{table}"


def sensitivity(record: Record) -> str:
    lines, tables = [], []
    for model in dict.fromkeys(row["model"] for row in record["sweep"]):
        rows = [row for row in record["sweep"] if row["model"] == model]
        means = {json.dumps(row["point"]): row["sampled"]["mean"] for row in rows}
        low, high = (pick(rows, key=lambda row: row["sampled"]["mean"]) for pick in (min, max))
        better = sum(row["over_sampling"]["low"] > 0 for row in rows if row["over_sampling"])
        worse = sum(row["over_sampling"]["high"] < 0 for row in rows if row["over_sampling"])
        lines.append(
            f"- {model}: of {len(means)} settings {better} are clearly better than plain sampling and {worse} clearly "
            f"worse; from {share(low['sampled'])} at {_point(low)} to {share(high['sampled'])} at {_point(high)}."
        )
        lines += [f"- {model}: {text}" for text in _along_each(rows)]
        cells = [[_point(row), share(row["sampled"]), points(row["over_sampling"])] for row in rows]
        tables.append(f"{model}\n\n" + markdown(["EM-INF", "accuracy", "over sampling, points"], cells))
    fixed = ", ".join(f"{name} {value:g}" for name, value in EM_INF.items())
    return (
        "\n".join(lines) + f"\n\nWhat a row does not name is {fixed}.\n\n" + "\n\n".join(tables) if lines else NOTHING
    )


def _along_each(rows: list[Record]) -> list[str]:
    """How far the mean accuracy moves along each of the four settings."""
    told = []
    for name in EM_INF:
        values: dict[float, list[float]] = {}
        for row in rows:
            if name in row["point"]:
                values.setdefault(row["point"][name], []).append(row["sampled"]["mean"])
        means = {value: sum(found) / len(found) for value, found in values.items()}
        if len(means) > 1:
            spread = 100 * (max(means.values()) - min(means.values()))
            along = ", ".join(f"{100 * mean:.1f}% at {value:g}" for value, mean in means.items())
            told.append(f"along {name}, the mean over the other axis moves by {spread:.1f} points ({along}).")
    return told


def _point(row: Record) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in row["point"].items())
