"""How four graders judge the same answers and completions: em-hf, math-verify alone, and lm-eval's two for MATH.

The pairs of answers are those of the tests and the given cases (`EM_HF_SHARED`/cases/answers.jsonl), each with a
careful person's verdict. The completions (completions.jsonl there), each with the answer to be found in it, or none,
are passed to each grader as if they came from a model. lm-eval's minerva_math needs antlr4-python3-runtime 4.11, the
version that SymPy's LaTeX parser is made for: install it into a folder with
`pip install --no-deps --target FOLDER antlr4-python3-runtime==4.11.1` and pass that folder as `--antlr`.

    python -m benchmarks.grading --antlr FOLDER --output benchmarks/results/grading.json
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import describe, environment, quartiles, table, write
from tests.answer_pairs import PAIRS

Grader = Callable[[str, str], bool]
# Returns whether a grader is right about a completion that gives this answer, or none.
Reader = Callable[[str, str | None], bool]


def given(name: str) -> list[dict[str, Any]]:
    """Return the lines of a file of given cases, or an empty list if there is no such file."""
    path = Path(os.environ.get("EM_HF_SHARED", "../shared")) / "cases" / name
    if not path.exists():
        print(f"{name} is left out: EM_HF_SHARED does not name the folder of the given cases", file=sys.stderr)
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pairs() -> list[tuple[str, str, str, str, bool]]:
    """Return every pair: its source, its kind, the gold answer, the other answer, the verdict."""
    found = [("own", kind, a, b, same) for kind, of_kind in PAIRS.items() for a, b, same in of_kind]
    cases = given("answers.jsonl")
    return [*found, *(("given", case["kind"], case["gold"], case["answer"], case["same"]) for case in cases)]


def graders() -> dict[str, Grader]:
    """Return the graders by name; lm-eval's minerva_math only if its parser is installed."""
    from lm_eval.tasks.hendrycks_math.utils import is_equiv as hendrycks
    from math_verify import parse, verify

    from em_hf.answers import same_answer

    found: dict[str, Grader] = {
        "em-hf": same_answer,
        "math-verify": lambda gold, answer: bool(verify(parse(f"${gold}$"), parse(f"${answer}$"))),
        "hendrycks_math": lambda gold, answer: bool(hendrycks(gold, answer)),
    }
    try:
        from lm_eval.tasks.minerva_math.utils import is_equiv, normalize_final_answer
    except (ImportError, AssertionError):
        print("minerva_math is left out: see --antlr in --help", file=sys.stderr)
        return found
    normal = normalize_final_answer
    return found | {"minerva_math": lambda gold, answer: bool(is_equiv(normal(gold), normal(answer)))}


def readers(names: list[str]) -> dict[str, Reader]:
    """Return the graders of these names as readers of completions."""
    from lm_eval.tasks.hendrycks_math.utils import process_results
    from math_verify import parse, verify

    from em_hf.answers import extract_answer, same_answer

    def em_hf(text: str, gold: str | None) -> bool:
        found = extract_answer(text)
        return found is None if gold is None else same_answer(gold, found)

    def math_verify(text: str, gold: str | None) -> bool:
        found = parse(text)
        return not found if gold is None else bool(verify(parse(f"${gold}$"), found))

    def hendrycks_math(text: str, gold: str | None) -> bool:  # takes the whole text if it finds no answer
        doc = {"solution": f"\\boxed{{{gold}}}"}
        return gold is not None and bool(process_results(doc, [text])["exact_match"])

    def minerva_math(text: str, gold: str | None) -> bool:
        from lm_eval.tasks.minerva_math.utils import get_unnormalized_answer, is_equiv, normalize_final_answer

        found = get_unnormalized_answer(text)
        if gold is None:
            return found == "[invalidanswer]"
        return bool(is_equiv(normalize_final_answer(found), normalize_final_answer(gold)))

    known = {"em-hf": em_hf, "math-verify": math_verify, "hendrycks_math": hendrycks_math, "minerva_math": minerva_math}
    return {name: known[name] for name in names}


def measure() -> dict[str, Any]:
    """Measure right verdicts by kind and the time per pair for each grader, after one untimed pair."""
    cases, completions, found = pairs(), given("completions.jsonl"), graders()
    record: dict[str, Any] = {"pairs": len(cases), "completions": len(completions), "graders": {}}
    for name, grader in found.items():
        grader("2x", "x+x")
        kinds: dict[str, list[int]] = {}
        times, wrongly = [], {"accepted": 0, "refused": 0}
        for source, kind, gold, answer, same in cases:
            start = time.perf_counter()
            try:
                verdict = grader(gold, answer)
            except Exception:  # a grader that raises scores no point
                verdict = False
            times.append(time.perf_counter() - start)
            for key in (kind, f"all {source}"):
                right, of = kinds.get(key, [0, 0])
                kinds[key] = [right + (verdict == same), of + 1]
            if verdict != same:
                wrongly["accepted" if verdict else "refused"] += 1
        record["graders"][name] = {"kinds": kinds, "seconds": quartiles(times), "longest": max(times), **wrongly}
    for name, reader in readers(list(found)).items():
        read: dict[str, list[int]] = {}
        for case in completions:
            try:
                right_one = reader(case["completion"], case["extracted"])
            except Exception:
                right_one = False
            for key in (case["kind"], "all"):
                right, of = read.get(key, [0, 0])
                read[key] = [right + right_one, of + 1]
        record["graders"][name]["completions"] = read
    return record


def report(record: dict[str, Any]) -> str:
    """Return the record as Markdown tables."""
    names = list(record["graders"])
    rows = by_kind(record, "kinds")
    rows.append(["wrongly accepted", "", *(str(record["graders"][name]["accepted"]) for name in names)])
    rows.append(["wrongly refused", "", *(str(record["graders"][name]["refused"]) for name in names)])
    milliseconds = [f"{record['graders'][name]['seconds']['median'] * 1000:.2f}" for name in names]
    rows.append(["median ms per pair", "", *milliseconds])
    rows.append(["longest, ms", "", *(f"{record['graders'][name]['longest'] * 1000:.0f}" for name in names)])
    title = (
        f"Right verdicts on {record['pairs']} pairs of answers, by kind; `own` pairs are the tests', `given` ones were "
        "written by others."
    )
    parts = [describe(record), title, table(["kind", "pairs", *names], rows)]
    if record["completions"]:
        title = (
            f"Right verdicts on {record['completions']} given completions, each read as the grader reads a model's: "
            "the answer is found, or none where there is none."
        )
        parts += [title, table(["kind", "completions", *names], by_kind(record, "completions"))]
    return "\n\n".join(parts)


def by_kind(record: dict[str, Any], what: str) -> list[list[str]]:
    """Return a row per kind, totals last: its name, how many there are, and each grader's right verdicts."""
    found = [grader[what] for grader in record["graders"].values()]
    kinds = sorted({kind for one in found for kind in one}, key=lambda kind: (kind.startswith("all"), kind))
    return [[kind, str(found[0][kind][1]), *(str(one[kind][0]) for one in found)] for kind in kinds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--antlr", type=Path, help="folder with antlr4-python3-runtime 4.11, for minerva_math")
    parser.add_argument("--output", type=Path, help="write JSON here and the table beside it as Markdown")
    arguments = parser.parse_args()
    if arguments.antlr:
        sys.path.insert(0, str(arguments.antlr))
    logging.disable(logging.WARNING)
    record = environment("benchmarks.grading") | measure()
    text = report(record)
    print(text)
    write(arguments.output, record, text)


if __name__ == "__main__":
    main()
