"""lab.md: each of the lab's questions, answered in sentences and shown in tables."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from em_hf.lab.answers import QUESTIONS, answer
from em_hf.lab.format import KINDS, Record, bullets, model_title, points, share
from em_hf.lab.plan import MISLED
from em_hf.lab.plots import write_plots
from em_hf.lab.record import RIVALS
from em_hf.lab.settings import LEVELS
from em_hf.markdown import markdown_table
from em_hf.methods import METHODS

NOTHING = "Not measured yet."
GUARDS = ("guard", "guard_with_labels")


def write_report(record: Record, output: Path) -> str:
    """Write lab.md, lab.json and the plots into `output`, and return the text of lab.md."""
    output.mkdir(parents=True, exist_ok=True)
    plots = write_plots(record, output)
    parts = ["# The lab", header(record)]
    for number, ((question, _), tables) in enumerate(zip(QUESTIONS, TABLES, strict=True), 1):
        said = [bullets(sentences)] if (sentences := answer(record, number)) else []
        parts += [f"## {number}. {question}", *(said + tables(record) or [NOTHING])]
    text = "\n\n".join([*parts, *(f"![{name.removesuffix('.png')}]({name})" for name in plots)])
    (output / "lab.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (output / "lab.md").write_text(text + "\n", encoding="utf-8")
    return text


def header(record: Record) -> str:
    settings = record["settings"]
    steps = f"steps: {settings['steps']}" if settings["steps"] else "the steps of the pocket recipe"
    return (
        "\n".join(map(_making, record["made"])) + f"\n\n{_done(record)} {record['runs_done']} of "
        f"{record['runs_planned']} training runs ({steps}), on {' and '.join(settings['train_levels'])} problems. "
        f"{settings['problems']} held-out problems of a level per measurement. In brackets: 95% bootstrap intervals "
        "over problems and, where a row has several, training seeds; a difference is clear if 0 lies outside. "
        "Differences are in points. Runs have the pocket recipe's settings, without the collapse guard unless stated. "
        "Sampling is temperature 1, top_k 0, top_p 1. Nothing was chosen on test problems. FLOPs are 6 x parameters x "
        "tokens learned from and 2 x parameters x tokens sampled. Figures are computed from lab.json."
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


def methods_table(record: Record, level: str) -> str:
    """Return the table of the base model and every method on a level."""
    rows = [row for row in record["methods"] if row["level"] == level]
    head = [level, "labels", "seeds", "sampled", "over base", "greedy", "over base, greedy", "TFLOPs of a run"]
    cells = [
        [
            row["title"],
            row["labels"],
            str(row["seeds"]) if "flops" in row else "-",
            share(row["sampled"]),
            points(row["sampled_over"].get("base")),
            share(row["greedy"]),
            points(row["greedy_over"].get("base")),
            f"{row['flops'] / 1e12:.2f}" if "flops" in row else "-",
        ]
        for row in rows
    ]
    return markdown_table(head, cells) if cells else ""


def training(record: Record) -> list[str]:
    parts = [table for level in LEVELS if (table := methods_table(record, level))]
    cells = [
        [row["level"], row["title"], way, *(points(row[f"{way}_over"].get(rival)) for rival in RIVALS)]
        for row in record["methods"]
        for way in ("sampled", "greedy")
        if "ssd" in row["sampled_over"]
    ]
    if cells:
        head = ["level", "method", "", *(f"over {METHODS[rival].title}" for rival in RIVALS)]
        parts.append(markdown_table(head, cells))
    if parts:
        parts.append("The base model gave several sampled answers to each problem, a run one.")
    return parts


def decoding(record: Record) -> list[str]:
    parts = []
    head = ["strategy", "accuracy", "over greedy", "over sampling", "over EM-INF", "tokens", "MFLOPs", "ms"]
    titles = {"tuned": "tuned", "equal-entropy": "at the entropy of EM-INF as stored"}
    for level in LEVELS:
        rows = [row for row in record["decoding"] if row["level"] == level]
        for kind, title in titles.items():
            stored = ("greedy", "sampling") if kind == "tuned" else ("em-inf",)
            shown = [r for r in rows if r["kind"] == kind or (r["kind"] == "stored" and r["strategy"] in stored)]
            if not any(row["kind"] == kind for row in shown):
                continue
            nats = ["nats left a token"] if kind == "equal-entropy" else []
            cells = [
                [
                    row["strategy"],
                    share(row["sampled"]),
                    *(points(row.get(name)) for name in ("over_greedy", "over_sampling", "over_em_inf")),
                    f"{row['tokens']:.0f}",
                    f"{row['flops'] / 1e6:.0f}",
                    f"{1000 * row['seconds']:.1f}",
                    *([f"{row['nats_left']:.3f}" if "nats_left" in row else "-"] if nats else []),
                ]
                for row in shown
            ]
            parts.append(f"On {level} problems, {title}:\n\n{markdown_table([*head, *nats], cells)}")
            parts.append(bullets([f"{row['strategy']}: {row['settings']}" for row in shown]))
    if parts:
        settings = record["settings"]
        parts.append(
            f"Every strategy that has settings to tune got the best of {settings['tune_trials']} on the same "
            f"{settings['tune_problems']} validation problems of the level, as `em-hf eval --tune` tries them. Equal "
            "entropies were found on validation problems. Tokens, FLOPs and milliseconds of processor time are of one "
            "answer. In refinement the model is told to check its answer, in words that it has never seen."
        )
    return parts


def runs_along(record: Record) -> list[str]:
    cells = []
    for row in record["curves"]:
        sampled, greedy = row["sampled"], row["greedy"]
        cells.append(
            [
                f"{METHODS[row['method']].title}{', long' if row['long'] else ''}",
                str(sampled["end"]["step"]),
                *(f"{sampled[point]['entropy']:.3f}" for point in ("start", "end")),
                *(_of_course(course) for course in (sampled, greedy)),
                *(points(course["loss"]) for course in (sampled, greedy)),
                *("-" if (step := row[guard]["step"]) is None else f"step {step}" for guard in GUARDS),
            ]
        )
    head = ["seed 0", "steps", "nats at start", "at end", "sampled: start, peak, end", "greedy: start, peak, end"]
    head += ["sampled, end over peak", "greedy, end over peak", "guard", "guard with labels"]
    parts = [markdown_table(head, cells)] if cells else []
    if cells:
        parts.append(
            "On hard validation problems, the same at every reading. A peak is the highest of several noisy readings, "
            "so a run that stays level ends below it. The guard's rules are applied to readings of runs without it."
        )
    guarded = [
        [
            model_title(row["run"]),
            row["level"],
            "-" if row["step"] is None else str(row["step"]),
            row["why"] or "-",
            "-" if row["best_step"] is None else str(row["best_step"]),
            share(row["sampled"]),
            share(row["unguarded"]),
        ]
        for row in record["guarded"]
    ]
    head = ["with the guard", "problems", "stopped after step", "why", "weights of step", "sampled", "without it"]
    return [*parts, markdown_table(head, guarded)] if guarded else parts


def _of_course(course: Record) -> str:
    start, peak, end = (f"{100 * course[point]['accuracy']:.1f}%" for point in ("start", "peak", "end"))
    return f"{start}, {peak} (step {course['peak']['step']}), {end}"


def passes(record: Record) -> list[str]:
    rows = record["pass"]
    names = dict.fromkeys(name for row in rows for name in row["figures"])
    cells = [
        [
            row["level"],
            model_title(row["model"]),
            row["strategy"],
            *(share(row["figures"].get(name)) for name in names),
            *(points(row.get("over_base", {}).get(name)) for name in names),
        ]
        for row in rows
    ]
    if not cells:
        return []
    head = ["problems", "model", "strategy", *names, *(f"{name} over the base" for name in names)]
    about = (
        f"All from the same {rows[0]['k']} answers to each problem; vote@N is the majority of N of them. The trained "
        "models are the best of their kind on validation problems."
    )
    return [markdown_table(head, cells), about]


def steps(record: Record) -> list[str]:
    cells = [
        [
            row["level"],
            "base model" if row["method"] == "base" else METHODS[row["method"]].title,
            row["strategy"],
            share(row["true"]),
            points(row["over_base"]),
            share(row["faithful"]),
        ]
        for row in record["steps"]
    ]
    head = ["problems", "model", "strategy", "all equations true", "over the base", "right by the generator's steps"]
    about = (
        "All equations true: of all answers, those with equations `a + b = c`, all of which hold. Right by the "
        "generator's steps: of the right answers, those with the equations of the generator's solution, in any order."
    )
    return [markdown_table(head, cells), about] if cells else []


def diagnoses(record: Record) -> list[str]:
    cells = [
        [row["level"], one["method"], one["advice"], f"{one['auroc']:.2f}", points(one["gain"])]
        for row in record["diagnoses"]
        for one in row["methods"]
    ]
    head = ["problems", "method", "advice", "AUROC within a problem", "measured gain, sampled"]
    said = [f"On {row['level']} problems: {row['verdict']}. {row['sentence']}" for row in record["diagnoses"]]
    return [bullets(said), markdown_table(head, cells)] if cells else []


def misled(record: Record) -> list[str]:
    cells = [
        [KINDS[row["data"]], row["way"], str(row["seeds"]), share(row["accuracy"]), points(row["over_sampling"])]
        for row in record["misled"]["rows"]
    ]
    about = (
        f'{MISLED} is the pocket reasoner, taught on one kind of problem to read "fewer" as "more" '
        "(scripts/mislead.py); EM-FT is trained on pocket problems of all kinds, with no answers."
    )
    table = markdown_table(["problems", MISLED, "models", "accuracy", "over sampling"], cells)
    return [about, table] if cells else []


def sensitivity(record: Record) -> list[str]:
    cells = [
        [
            ", ".join(f"{name} {value:g}" for name, value in row["point"].items()),
            share(row["sampled"]),
            points(row["over_sampling"]),
        ]
        for row in record["sweep"]
    ]
    about = "On plain problems; what a row does not name is stored with the model."
    return [markdown_table(["EM-INF", "accuracy", "over sampling"], cells), about] if cells else []


TABLES: tuple[Callable[[Record], list[str]], ...] = (
    training,
    decoding,
    runs_along,
    passes,
    steps,
    diagnoses,
    misled,
    sensitivity,
)
