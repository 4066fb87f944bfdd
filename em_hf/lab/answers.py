"""What the lab answers to each of its questions, in sentences made from the record: "no" as plainly as "yes"."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from em_hf.lab.format import KINDS, Figure, Record, direction, listed, model_title, points, share, sorted_out
from em_hf.lab.plan import POCKET
from em_hf.lab.settings import EM_METHODS, HARD, LEVELS, PLAIN
from em_hf.methods import METHODS


def answer(record: Record, number: int) -> list[str]:
    """Return the sentences that answer a question (see `QUESTIONS`); none if nothing was measured for it."""
    return list(QUESTIONS[number - 1][1](record))


def raised_greedy(record: Record) -> Iterable[str]:
    rows = {(row["level"], row["method"]): row for row in record["methods"]}
    trained = [row for name in EM_METHODS if (row := rows.get((HARD, name))) and row["greedy_over"].get("base")]
    raised = {row["title"]: direction(row["greedy_over"]["base"]) for row in trained}
    if not trained:
        return
    yes, no = ([title for title, way in raised.items() if (way > 0) == wanted] for wanted in (True, False))
    if yes:
        yield f"**Yes**, {listed(yes)} clearly raised greedy accuracy on hard problems{_but_not(no)}."
    else:
        nobody = f"none of {listed(no)} clearly raised" if len(no) > 1 else f"{no[0]} did not clearly raise"
        yield f"**No**: {nobody} greedy accuracy on hard problems."
    for row in trained:
        for name, way in (("greedy", "Greedily"), ("sampled", "Sampled")):
            others = {_rival(other): one for other, one in row[f"{name}_over"].items() if one is not None}
            if others:
                who = f"{row['title']} ({share(row[name])})"
                yield f"{way}, on hard problems, {who} is {sorted_out(others)}."
        plain = rows.get((PLAIN, row["method"]))
        if plain is not None:
            both = [f"{points(plain[f'{way}_over'].get('base'))} {way}" for way in ("sampled", "greedy")]
            yield f"On plain problems {row['title']} changed accuracy by {listed(both)}, in points over the base model."


def _rival(name: str) -> str:
    return "the base model" if name == "base" else METHODS[name].title


def _but_not(names: Sequence[str]) -> str:
    return f", but {listed(names)} did not" if names else ""


def beat_decoding(record: Record) -> Iterable[str]:
    for level in LEVELS:
        rows = {(row["kind"], row["strategy"]): row for row in record["decoding"] if row["level"] == level}
        em_inf = rows.get(("tuned", "em-inf"))
        if em_inf is not None and "over_greedy" in em_inf:
            verdict = "**Yes**, over" if direction(em_inf["over_greedy"]) > 0 else "**No**, not over"
            others = {"greedy": em_inf["over_greedy"], "sampling": em_inf.get("over_sampling")}
            others |= {
                name: _minus(row["over_em_inf"])
                for (kind, name), row in rows.items()
                if kind == "tuned" and "over_em_inf" in row and "over_without" not in row
            }
            known = {name: one for name, one in others.items() if one is not None}
            who = f"EM-INF ({share(em_inf['sampled'])})"
            yield f"{verdict} greedy decoding on {level} problems: with equal tuning {who} is {sorted_out(known)}."
        within = {
            name.removeprefix("em-inf+"): row["over_without"]
            for (kind, name), row in rows.items()
            if kind == "tuned" and "over_without" in row
        }
        if within:
            words = {1: "clearly raises", -1: "clearly lowers", 0: "makes no clear difference to"}
            yield f"On {level} problems EM-INF within another strategy {sorted_out(within, words)}."
        equal = {
            name: _minus(row["over_em_inf"])
            for (kind, name), row in rows.items()
            if kind == "equal-entropy" and "over_em_inf" in row
        }
        if equal:
            who = f"EM-INF as stored ({share(rows['stored', 'em-inf']['sampled'])})"
            yield f"At equal entropy, on {level} problems, {who} is {sorted_out(equal)}."


def _minus(figure: Figure) -> dict[str, float]:
    return {"mean": 0 - figure["mean"], "low": 0 - figure["high"], "high": 0 - figure["low"]}  # 0, not -0


def along_runs(record: Record) -> Iterable[str]:
    for row in record["curves"]:
        if not row["long"]:
            continue
        title, end = METHODS[row["method"]].title, row["sampled"]["end"]
        entropies = [f"{row['sampled'][point]['entropy']:.3f}" for point in ("start", "end")]
        yield (
            f"**{title} over {end['step']} steps**: on hard validation problems the entropy of samples went from "
            f"{entropies[0]} to {entropies[1]} nats per token. {_course(row, 'sampled')}. {_course(row, 'greedy')}. "
            f"The guard {_stop(row['guard'])}; with labels it {_stop(row['guard_with_labels'])}."
        )
    for row in record["guarded"]:
        if row["level"] == HARD:
            yield (
                f"{model_title(row['run'])} with the guard on {_stopped(row)}: on hard problems, sampled, "
                f"{share(row['sampled'])}, {points(row['gain'])} points over the same run without it."
            )


def _course(row: Record, way: str) -> str:
    course = row[way]
    start, peak, end = (f"{100 * course[point]['accuracy']:.1f}%" for point in ("start", "peak", "end"))
    falls = f"first clearly below the peak at step {course['falls_at']}"
    if course["falls_at"] is None:
        falls = "at no reading clearly below the peak"
    return (
        f"{way.capitalize()} accuracy started at {start}, peaked at {peak} at step {course['peak']['step']} and ended "
        f"at {end} ({points(course['gain'])} points from the start), {falls}"
    )


def _stop(verdict: Record) -> str:
    return "would not stop it" if verdict["step"] is None else f"would stop it at step {verdict['step']}"


def _stopped(verdict: Record) -> str:
    return "was not stopped" if verdict["step"] is None else f"was stopped after step {verdict['step']}"


def variety(record: Record) -> Iterable[str]:
    for level in LEVELS:
        rows = [row for row in record["pass"] if row["level"] == level]
        for row in rows:
            who = "The base model" if (row["model"], row["strategy"]) == (POCKET, "sampling") else _who(row)
            over = row.get("over_base")
            if over is None:
                figures = listed(f"{name} {share(one)}" for name, one in row["figures"].items())
                yield f"{who} on {level} problems, sampled: {figures}."
                continue
            words = {1: "rises", -1: "falls", 0: "does not clearly change"}
            changes = listed(f"{name} {words[direction(one)]} ({points(one)})" for name, one in over.items())
            yield f"{who} on {level} problems, over the base model: {changes}."


def _who(row: Record) -> str:
    return "EM-INF" if row["strategy"] == "em-inf" else model_title(row["model"])


def true_steps(record: Record) -> Iterable[str]:
    for level in LEVELS:
        rows = [row for row in record["steps"] if row["level"] == level]
        known = [row for row in rows if row["faithful"] is not None]
        if not known:
            continue
        worst, best = (pick(known, key=lambda row: row["faithful"]["mean"]) for pick in (min, max))
        yield (
            f"On {level} problems, {share(worst['faithful'])} ({_source(worst)}) to {share(best['faithful'])} "
            f"({_source(best)}) of the right answers also follow the generator's own steps."
        )
        base = [f"{share(row['true'])} ({row['strategy']})" for row in rows if row["method"] == "base"]
        if base:
            yield f"On {level} problems the base model's equations are all true in {listed(base)} of its answers."
        ways = {row["method"]: row["over_base"] for row in rows if row["strategy"] == "sampling" and row["over_base"]}
        changes = {METHODS[name].title: one for name, one in ways.items() if name in EM_METHODS}
        for title, change in changes.items():
            words = {1: "more often", -1: "less often", 0: "not clearly more or less often"}[direction(change)]
            yield f"Sampled after {title}, on {level} problems, they are all true {words} ({points(change)} points)."


def _source(row: Record) -> str:
    name = "the base model" if row["method"] == "base" else METHODS[row["method"]].title
    return f"{name}, {row['strategy']}"


def ranked(record: Record) -> Iterable[str]:
    for row in record["diagnoses"]:
        found, n = row["agreement"], len(row["methods"])
        if found is None:
            yield f"On {row['level']} problems there is no order to compare: {n} methods measured that it tells apart."
        else:
            verdict = "**Yes**" if direction(found) > 0 else "**No**"
            yield (
                f"{verdict} on {row['level']} problems: the rank correlation of its confidence measures with the gains "
                f"of {n} methods is {found['mean']:.2f} [{found['low']:.2f}, {found['high']:.2f}]; of all orders, "
                f"{100 * found['chance']:.1f}% agree at least as well."
            )
        advice: dict[str, list[str]] = {}
        for one in row["methods"]:
            advice.setdefault(one["advice"], []).append(f"{one['method']} ({points(one['gain'])})")
        if advice:
            kinds = "; ".join(f"{kind}: {listed(names)}" for kind, names in advice.items())
            yield f"Its advice on {row['level']} problems, with the measured gain in sampled accuracy: {kinds}."
        measured = next((one["gain"] for one in row["methods"] if one["method"] == "em-inf"), None)
        if measured is not None and row["em_inf_predicted"] is not None:
            yield (
                f"For EM-INF on {row['level']} problems it predicts {points(row['em_inf_predicted'])} points; "
                f"measured: {points(measured)}."
            )


def failed(record: Record) -> Iterable[str]:
    words = {1: "helps", -1: "harms", 0: "makes no clear difference"}
    for data in ("fewer", "others"):
        rows = {row["way"]: row for row in record["misled"]["rows"] if row["data"] == data}
        changes = [
            f"{way} {words[direction(row['over_sampling'])]} ({share(row['accuracy'])}, {points(row['over_sampling'])})"
            for way, row in rows.items()
            if row["over_sampling"] is not None
        ]
        if changes and "sampling" in rows:
            before = share(rows["sampling"]["accuracy"])
            yield f"On {KINDS[data]} the misled model is right in {before} of its samples: {'; '.join(changes)}."
    for one in record["misled"]["diagnoses"]:
        yield f"`em-hf diagnose` of it on {KINDS[one['data']]}: {one['verdict']}. {one['sentence']}"


def sensitive(record: Record) -> Iterable[str]:
    rows = [row for row in record["sweep"] if row["over_sampling"] is not None]
    if rows:
        better, worse = (sum(direction(row["over_sampling"]) == way for row in rows) for way in (1, -1))
        low, high = (pick(row["sampled"]["mean"] for row in rows) for pick in (min, max))
        yield (
            f"Of {len(rows)} settings on plain problems, {better} are clearly better than sampling and {worse} clearly "
            f"worse; accuracy goes from {100 * low:.1f}% to {100 * high:.1f}%."
        )


QUESTIONS: tuple[tuple[str, Callable[[Any], Iterable[str]]], ...] = (
    ("Does EM-FT or EM-RL raise greedy accuracy on hard problems?", raised_greedy),
    ("Does EM-INF beat other ways to decode?", beat_decoding),
    ("How does accuracy change with entropy along a run, and where does it fall?", along_runs),
    ("What happens to pass@k and to votes?", variety),
    ("Are the steps right, or only the answers?", true_steps),
    ("Does `em-hf diagnose`, before any training, rank the methods as the lab does?", ranked),
    ("Where does EM fail?", failed),
    ("How sensitive is EM-INF to its settings?", sensitive),
)
