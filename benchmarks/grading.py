"""How four graders judge the same pairs of answers: em-hf, math-verify alone, and lm-eval's two for MATH.

The pairs are those of the tests and the given cases (`EM_HF_SHARED`/cases/answers.jsonl, where that is there), each
with a careful person's verdict. lm-eval's minerva_math needs antlr4-python3-runtime 4.11, which SymPy's LaTeX parser is
made for: put it into a folder with `pip install --no-deps --target FOLDER antlr4-python3-runtime==4.11.1` and name that
folder with `--antlr`.

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


def pairs() -> list[tuple[str, str, str, str, bool]]:
    """Every pair: where it is from, its kind, the gold answer, the other answer, the verdict."""
    found = [("own", kind, a, b, same) for kind, of_kind in PAIRS.items() for a, b, same in of_kind]
    cases = Path(os.environ.get("EM_HF_SHARED", "../shared")) / "cases" / "answers.jsonl"
    if cases.exists():
        for line in cases.read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            found.append(("given", case["kind"], case["gold"], case["answer"], case["same"]))
    return found


def graders() -> dict[str, Grader]:
    """The graders by name; lm-eval's minerva_math only where its parser is."""
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


def measure() -> dict[str, Any]:
    """Right verdicts by kind and the time of a pair, for each grader; the clock starts after a first pair."""
    cases, found = pairs(), graders()
    record: dict[str, Any] = {"pairs": len(cases), "graders": {}}
    for name, grader in found.items():
        grader("2x", "x+x")
        kinds: dict[str, list[int]] = {}
        times, wrongly = [], {"accepted": 0, "refused": 0}
        for source, kind, gold, answer, same in cases:
            start = time.perf_counter()
            try:
                verdict = grader(gold, answer)
            except Exception:  # a grader that raises gives no point
                verdict = False
            times.append(time.perf_counter() - start)
            for key in (kind, f"all {source}"):
                right, of = kinds.get(key, [0, 0])
                kinds[key] = [right + (verdict == same), of + 1]
            if verdict != same:
                wrongly["accepted" if verdict else "refused"] += 1
        record["graders"][name] = {"kinds": kinds, "seconds": quartiles(times), "longest": max(times), **wrongly}
    return record


def report(record: dict[str, Any]) -> str:
    """The record as Markdown tables."""
    names = list(record["graders"])
    kinds = sorted(
        {kind for name in names for kind in record["graders"][name]["kinds"]}, key=lambda k: (k[:4] == "all ", k)
    )
    rows = []
    for kind in kinds:
        counts = [record["graders"][name]["kinds"][kind] for name in names]
        rows.append([kind, str(counts[0][1]), *(str(right) for right, _ in counts)])
    rows.append(["wrongly accepted", "", *(str(record["graders"][name]["accepted"]) for name in names)])
    rows.append(["wrongly refused", "", *(str(record["graders"][name]["refused"]) for name in names)])
    milliseconds = [f"{record['graders'][name]['seconds']['median'] * 1000:.2f}" for name in names]
    rows.append(["median ms per pair", "", *milliseconds])
    rows.append(["longest, ms", "", *(f"{record['graders'][name]['longest'] * 1000:.0f}" for name in names)])
    title = f"Right verdicts on {record['pairs']} pairs of answers, by kind."
    return "\n\n".join([describe(record), title, table(["kind", "pairs", *names], rows)])


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
