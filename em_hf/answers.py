"""Answers: found in a model's text, compared with one another, and put to the vote."""

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

_BOX_OR_BRACE = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_HASHES = re.compile(r"#{4,}")

_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textrm|mathrm|mbox)\s*\{([^{}]*)\}")
# Not behind a bracket: (1,234) is a point.
_THOUSANDS = re.compile(r"(?<![0-9.(\[,])([+-]?[0-9]{1,3})((?:(?:,|\\,|\{,\}|,?\\!\s*)[0-9]{3})+)(?![0-9])")
_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?")
_SCIENTIFIC = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?[eE][+-]?[0-9]{1,2}")
_WORDS = re.compile(r"(?=[A-Za-z ]*[A-Za-z]{4})[A-Za-z ]+")

_LONGEST = 200  # characters that math-verify is given
# What Python or SymPy would work out for minutes, and no signal can stop: towers of powers, exponents of seven digits,
# factorials of more than a small number, binomial coefficients of numbers with four digits.
_ENDLESS = re.compile(
    r"(?:\^|\*\*)[^+\-/,=]*(?:\^|\*\*)"
    r"|(?:\^|\*\*)\s*[{(]?[0-9]{7}"
    r"|(?:[0-9]{4}|[^0-9A-Za-z\\])\s*!"
    r"|\\[dt]?binom.*[0-9]{4}"
    r"|[0-9]{4}.*\\choose",
    re.DOTALL,
)


def extract_answer(text: str) -> str | None:
    r"""The final answer in `text`: what the last complete `\boxed{}` holds, else what follows the last `####`.

    Braces in a box may be nested, and an escaped brace is no brace. After `####` the answer goes to the end of the
    line. An empty box, or nothing after `####`, counts as none at all. None where there is no answer.
    """
    return _last_box(text) or _after_hashes(text)


def _last_box(text: str) -> str | None:
    open_braces: list[re.Match[str]] = []
    last, last_start = None, -1
    for found in _BOX_OR_BRACE.finditer(text):
        if found[0].endswith("{") and found[0] != r"\{":
            open_braces.append(found)
        elif found[0] == "}" and open_braces:
            opened = open_braces.pop()
            content = text[opened.end() : found.start()].strip()
            if opened[0] != "{" and content and opened.start() > last_start:
                last, last_start = content, opened.start()
    return last


def _after_hashes(text: str) -> str | None:
    for part in reversed(_HASHES.split(text)[1:]):
        if line := part.partition("\n")[0].strip():
            return line
    return None


def same_answer(a: str | None, b: str | None) -> bool:
    """Whether answer `b` says the same as the gold answer `a`.

    Equal after normalising (dollar signs, thousands separators, a full stop at the end, the way a number is written);
    else equal to math-verify, where that is installed. None is the same as nothing, not even as None. The order counts:
    math-verify reads the gold answer more strictly than the other. It is called without its timeouts, which work in a
    main thread only; an answer over 200 characters, or one that would take it minutes, is compared as text.
    """
    if a is None or b is None:
        return False
    return _same_normal(_normal(a), _normal(b))


def majority(answers: Sequence[str | None]) -> str | None:
    """The most frequent of `answers`, in the wording that came first; None only where every entry is None.

    An answer counts for the first one before it that it is the same as (`same_answer`). None is not counted, and of
    equally frequent answers the first seen wins.
    """
    groups = _groups(answers)
    return max(groups, key=len)[0][1] if groups else None


def agreement(answers: Sequence[str | None]) -> list[float]:
    """For each of `answers`, the share of them that say the same, itself included; 0 for None."""
    shares = [0.0] * len(answers)
    for group in _groups(answers):
        for place, _ in group:
            shares[place] = len(group) / len(answers)
    return shares


def _groups(answers: Sequence[str | None]) -> list[list[tuple[int, str]]]:
    """The places and wordings of answers that are the same, in the order in which each group was first seen."""
    group_of: dict[str, list[tuple[int, str]]] = {}
    firsts: dict[str, list[tuple[int, str]]] = {}  # the normal form of a group's first answer -> the group
    for place, answer in enumerate(answers):
        if answer is None:
            continue
        normal = _normal(answer)
        if normal not in group_of:
            same = next((group for first, group in firsts.items() if _same_normal(first, normal)), None)
            if same is None:
                same = firsts[normal] = []
            group_of[normal] = same
        group_of[normal].append((place, answer))
    return list(firsts.values())


def _normal(answer: str) -> str:
    """The wording that answers with the same meaning share, as far as that needs no mathematics."""
    text = answer.replace("\\$", "").replace("$", "").strip()
    if whole := _TEXT_COMMAND.fullmatch(text):
        text = whole[1]
    text = " ".join(text.split())
    if text.endswith("."):
        text = text[:-1].rstrip()
    text = _THOUSANDS.sub(lambda m: m[1] + re.sub(r"[^0-9]", "", m[2]), text)
    return _plain_number(text) or (text.casefold() if _WORDS.fullmatch(text) else text)


def _plain_number(text: str) -> str | None:
    """A number without a plus, needless zeros or an exponent: "+07.50" and "75e-1" -> "7.5"; None for other text."""
    if _SCIENTIFIC.fullmatch(text):
        text = format(Decimal(text), "f")
    found = _NUMBER.fullmatch(text)
    if not found or not (found[2] or found[3]):
        return None
    whole, fraction = found[2].lstrip("0") or "0", (found[3] or "").rstrip("0")
    number = f"{whole}.{fraction}" if fraction else whole
    return f"-{number}" if found[1] == "-" and number != "0" else number


def _same_normal(gold: str, answer: str) -> bool:
    if gold == answer:
        return True
    # math-verify reads a word as the product of its letters: "team" would be "meat".
    if not gold or not answer or _WORDS.fullmatch(gold) or _WORDS.fullmatch(answer):
        return False
    # Nothing is left to work out for whole numbers, by far the most frequent case.
    if gold.lstrip("-").isdecimal() and answer.lstrip("-").isdecimal():
        return False
    if any(len(text) > _LONGEST or _ENDLESS.search(text) for text in (gold, answer)):
        return False
    return _verify(gold, answer) if _has_math_verify() else False


@lru_cache(maxsize=1)
def _has_math_verify() -> bool:
    if find_spec("math_verify") is None:
        return False
    from math_verify import grader, parser

    # Each would warn once that it has no timeout, which is meant here.
    parser.TIMEOUT_WARNING_SHOWN = grader.TIMEOUT_WARNING_SHOWN = True
    return True


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    from math_verify import parse

    return parse(f"${text}$", parsing_timeout=None)


@lru_cache(maxsize=4096)
def _verify(gold: str, answer: str) -> bool:
    from math_verify import verify

    return bool(verify(_parsed(gold), _parsed(answer), timeout_seconds=None))
