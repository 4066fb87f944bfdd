"""lab.md: the lab's figures as tables, one section per question; docs/results.md says what they mean."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from em_hf.lab.format import KINDS, Record, bullets, model_title, point, points, share
from em_hf.lab.plan import EM_INF, MISLED
from em_hf.lab.plots import write_plots
from em_hf.markdown import markdown_table

NOTHING = "Not measured yet."
QUESTIONS = (
    "Does EM in training improve accuracy without labels?",
    "Does EM-INF beat other ways to decode?",
    "What happens to pass@k while pass@1 rises?",
    "Where does EM fail?",
    "How sensitive is EM-INF to its settings?",
)


def write_report(record: Record, output: Path) -> str:
    """Write lab.md, lab.json and the plots into `output`, and return the text of lab.md."""
    output.mkdir(parents=True, exist_ok=True)
    plots = write_plots(record, output)
    text = "\n\n".join(["# The lab", header(record), *_sections(record, plots)])
    (output / "lab.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (output / "lab.md").write_text(text + "\n", encoding="utf-8")
    return text


def header(record: Record) -> str:
    settings = record["settings"]
    steps = f"{settings['steps']} steps each" if settings["steps"] else "the steps of the pocket recipe"
    return (
        "\n".join(map(_making, record["made"])) + f"\n\n{_done(record)} {record['runs_done']} of "
        f"{record['runs_planned']} training runs ({steps}). {settings['problems']} held-out problems per measurement. "
        "In brackets: 95% bootstrap intervals over problems and, where a row has several, training seeds. Runs have "
        "the pocket recipe's settings, without the collapse guard unless stated. Sampling is temperature 1, top_k 0, "
        "top_p 1. FLOPs are 6 x parameters x tokens learned from and 2 x parameters x tokens sampled. Figures are "
        "computed from lab.json."
    )


def _making(made: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return (
        f"`{made['command']}`, commit {made['commit']}, {made['date']}; {made['cpu']}, {made['cores']} cores; "
        f"{versions}."
    )


def _done(record: Record) -> str:
    missing, best = record["missing"], record["best"]
    if not missing and best:
        return "All of the plan is done."
    first = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    later = "" if best else " (and then what is measured on the best models)"
    return f"**Not all of the plan is done.** {record['done']} jobs stand; missing: {first or 'none so far'}{later}."


def _sections(record: Record, plots: list[str]) -> list[str]:
    parts = []
    for i, (question, make) in enumerate(zip(QUESTIONS, (training, decoding, passes, misled, sensitivity)), 1):
        parts += [f"## {i}. {question}", make(record) or NOTHING]
    return [*parts, *(f"![{name.removesuffix('.png')}]({name})" for name in plots)]


def training(record: Record) -> str:
    if not record["methods"]:
        return ""
    head = ["method", "labels", "seeds", "sampled", "over base", "over RLOO", "over GRPO", "greedy"]
    cells = [
        [
            row["title"],
            row["labels"],
            str(row["seeds"]) if "flops" in row else "-",
            share(row["sampled"]),
            *(points(row[name]) for name in ("over_base", "over_rloo", "over_grpo")),
            share(row["greedy"]),
            *((f"{row['flops'] / 1e12:.2f}", f"{row['seconds']:.0f}") if "flops" in row else ("-", "-")),
        ]
        for row in record["methods"]
    ]
    table = markdown_table([*head, "TFLOPs of a run", "seconds of a run"], cells)
    said = (
        "Differences are in points. Seconds are wall-clock time of a run with one thread, beside other runs: compare "
        "FLOPs. The base model gave several answers to each problem, a run one."
    )
    return "\n\n".join([table, said, *_guards(record["guarded"])])


def _guards(rows: list[Record]) -> list[str]:
    if not rows:
        return []
    cells = [
        [
            model_title(f"{row['method']}-{row['seed']}"),
            "-" if row["step"] is None else str(row["step"]),
            row["why"] or "-",
            "-" if row["best_step"] is None else str(row["best_step"]),
            share(row["sampled"]),
            share(row["unguarded"]),
        ]
        for row in rows
    ]
    head = ["with the collapse guard", "stopped after step", "why", "weights of step", "sampled", "without the guard"]
    return [markdown_table(head, cells)]


def decoding(record: Record) -> str:
    models = dict.fromkeys(row["model"] for row in record["decoding"])
    parts = []
    for model in models:
        rows = {row["strategy"]: row for row in record["decoding"] if row["model"] == model}
        head = ["strategy", "accuracy", "EM-INF over it", "nats left a token", "tokens", "MFLOPs", "ms"]
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
        parts.append(f"On {model_title(model)}, `{model}`:")
        parts.append(markdown_table(head, cells))
        parts.append(bullets([f"{name}: {row['settings']}" for name, row in rows.items()]))
    if parts:
        parts.append(
            "Tokens, FLOPs and milliseconds of processor time are of one answer. What leaves as much entropy as EM-INF "
            "was found on validation problems. In refinement the model is told to check its answer, in words that it "
            "has never seen."
        )
    return "\n\n".join(filter(None, parts))


def passes(record: Record) -> str:
    rows = record["pass"]
    if not rows:
        return ""
    cells = [
        [
            model_title(row["model"]),
            row["strategy"],
            *(share(row[name]) for name in ("pass_1", "pass_k")),
            *(points(row.get(name)) for name in ("over_base_1", "over_base_k")),
        ]
        for row in rows
    ]
    k = rows[0]["k"]
    head = ["model", "strategy", "pass@1", f"pass@{k}", "pass@1 over the base", f"pass@{k} over the base"]
    return markdown_table(head, cells) + f"\n\nFrom the same {k} answers to each problem; differences in points."


def misled(record: Record) -> str:
    rows = record["misled"]["rows"]
    if not rows:
        return ""
    lines = [
        f"`em-hf diagnose` of {one['model']} on {KINDS[one['data']]}: {one['verdict']}. {one['sentence']}"
        for one in record["misled"]["diagnoses"]
    ]
    cells = [
        [KINDS[row["data"]], row["way"], str(row["seeds"]), share(row["accuracy"]), points(row["over_sampling"])]
        for row in rows
    ]
    about = (
        f'{MISLED} is the pocket reasoner, taught on one kind of problem to read "fewer" as "more" '
        "(scripts/mislead.py); EM-FT is trained on pocket problems of all kinds, with no answers."
    )
    table = markdown_table(["problems", MISLED, "models", "accuracy", "over sampling, points"], cells)
    return "\n\n".join([about, table, *([bullets(lines)] if lines else [])])


def sensitivity(record: Record) -> str:
    parts = []
    for model in dict.fromkeys(row["model"] for row in record["sweep"]):
        rows = [row for row in record["sweep"] if row["model"] == model]
        cells = [[point(row), share(row["sampled"]), points(row["over_sampling"])] for row in rows]
        parts.append(f"On {model_title(model)}, `{model}`:")
        parts.append(markdown_table(["EM-INF", "accuracy", "over sampling, points"], cells))
        means = [
            [f"{name} {value:g}", f"{100 * mean:.1f}%"] for name in EM_INF for value, mean in means_along(rows, name)
        ]
        parts.append(markdown_table(["EM-INF", "mean over the grid's other setting"], means))
    if parts:
        fixed = ", ".join(f"{name} {value:g}" for name, value in EM_INF.items())
        parts.append(f"What a row does not name is {fixed}.")
    return "\n\n".join(parts)


def means_along(rows: list[Record], name: str) -> list[tuple[float, float]]:
    """Return each value of a setting with the mean accuracy over the values of the other one in its grid."""
    values: dict[float, list[float]] = {}
    for row in rows:
        if name in row["point"]:
            values.setdefault(row["point"][name], []).append(row["sampled"]["mean"])
    return [(value, sum(found) / len(found)) for value, found in sorted(values.items())]
