"""Answers: extracted from text, compared with each other, and put to a vote."""

import re
from collections.abc import Sequence

from em_hf.answers.extract import extract_answer
from em_hf.answers.reading import Reading, read, same

__all__ = ["agreement", "extract_answer", "majority", "same_answer"]

_INTEGER = re.compile(r"-?[0-9]{1,300}")  # by far the most frequent answer


def same_answer(a: str | None, b: str | None) -> bool:
    r"""Return whether two answers are equivalent, by the rules of a maths benchmark's grader.

    Numbers are compared by their exact values; a decimal of six significant digits or more also matches the values
    that it is a rounding of (0.333333 for 1/3, not 0.333). Percent signs, currencies and units may be missing on one
    side; if both have them they must agree (10 cm is 100 mm, not 10 mm). So may what introduces or compares a value
    ("Total: 5", "about 5", "5 more", "5 for each child"); 5 dozen are 60, or 5 of what was asked for. Words are
    compared case-insensitively, single letters case-sensitively. Tuples and intervals keep their order and their
    brackets, sets and bare lists have no order. Expressions are parsed and compared by math-verify if it is installed,
    else by their wording.

    Args:
        a: an answer, such as a benchmark's; None if there is none.
        b: the other answer, such as a model's. The order of the two does not matter.

    Returns:
        False if either is None. It never raises. Answers that would take long to evaluate (towers of powers,
        integrals, more than 200 characters) are compared by their wording.

    Example:
        >>> same_answer(r"3\frac{1}{2}", "3.5"), same_answer("10 cm", "10 mm"), same_answer("(1,2)", r"\{1,2\}")
        (True, False, False)
    """
    if a is None or b is None:
        return False
    return a == b or _same(a, b)


def _same(a: str, b: str) -> bool:
    if _INTEGER.fullmatch(a) and _INTEGER.fullmatch(b):
        return int(a) == int(b)
    if _bare(a) == _bare(b):
        return True
    if not _bare(a) or not _bare(b):
        return False
    return same(read(a), read(b))


def _bare(answer: str) -> str:
    """Return `answer` without dollar signs, which mark a formula or money, and without surrounding spaces."""
    return answer.replace("\\$", "").replace("$", "").strip()


def majority(answers: Sequence[str | None]) -> str | None:
    """Return the most frequent of `answers`, in the wording that came first; None only if every entry is None.

    An answer joins the first group all of whose answers it agrees with: "40" and "0.4" both agree with "40%", but not
    with each other, so they never vote together. None is not counted, and ties go to the answer seen first.
    """
    groups = grouped(answers)
    return max(groups, key=len)[0][1] if groups else None


def agreement(answers: Sequence[str | None]) -> list[float]:
    """Return for each of `answers` the share of them that agree with it, itself included; 0 for None."""
    shares = [0.0] * len(answers)
    for group in grouped(answers):
        for place, _ in group:
            shares[place] = len(group) / len(answers)
    return shares


def grouped(answers: Sequence[str | None]) -> list[list[tuple[int, str]]]:
    """Return the positions and wordings of equivalent answers by group, in the order the groups were first seen."""
    groups: list[list[tuple[int, str]]] = []
    readings: list[list[Reading]] = []  # the distinct readings of each group
    group_of: dict[str, int] = {}
    for place, answer in enumerate(answers):
        if answer is None:
            continue
        if answer not in group_of:
            reading = read(answer)
            fitting = (i for i, known in enumerate(readings) if all(same(other, reading) for other in known))
            index = next(fitting, len(groups))
            if index == len(groups):
                groups.append([])
                readings.append([])
            if reading not in readings[index]:
                readings[index].append(reading)
            group_of[answer] = index
        groups[group_of[answer]].append((place, answer))
    return groups
