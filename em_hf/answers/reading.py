"""What an answer means: its reading, cached per wording, and the comparison of two readings."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache

from em_hf.answers import maths
from em_hf.answers.numbers import Typed, based_number, typed_number
from em_hf.answers.units import PRODUCT, SCALES, WORKING, Unit, split_unit, stem
from em_hf.answers.wording import TEXT_CLOSE, TEXT_OPEN, clean, plain

_LONGEST = 2000  # characters; a longer answer is compared only by its wording
_MOST_PARTS = 50
_CHOICE = re.compile(
    rf"(?:{TEXT_OPEN}?\s*\(\s*{TEXT_OPEN}?([A-Z])\x02?\s*\)\s*\x02?|{TEXT_OPEN}?\s*([A-Z])\s*[).:]\s*\x02?)\s*[.:]?\s*(.*)"
)
_OPTION = re.compile(r"(?:option|choice|answer)\s*:?\s*\(?([A-Z])\)?", re.IGNORECASE)
_SIMPLE = re.compile(r"-?[0-9]{1,300}(?:\.[0-9]{1,50})?")
_PERCENT = re.compile(r"(.*[0-9)}])\s*(?:%|\x01?\s*(?:percent|per cent|percentage|pct)\.?\s*\x02?)\s*$", re.IGNORECASE)
_LETTERS = re.compile(r"[^\W\d_]+(?:[ '.,:-]+[^\W\d_]+)*[.!]?")
_PERCENT_WORD = re.compile(r"(?<=[0-9)}])\s*(\x01?)\s*per ?cent(?![A-Za-z])", re.IGNORECASE)
_ONE_TEXT = re.compile(rf"{TEXT_OPEN}([^{TEXT_OPEN}{TEXT_CLOSE}]*[0-9][^{TEXT_OPEN}{TEXT_CLOSE}]*){TEXT_CLOSE}")
_FIRST_TEXT = re.compile(rf"^{TEXT_OPEN}([^0-9{TEXT_OPEN}{TEXT_CLOSE}]*){TEXT_CLOSE}(?=.)")
_APPROXIMATELY = re.compile(
    r"^(?:\\(?:approx|sim|simeq|cong)(?![A-Za-z])|(?:about|approximately|approx\.?|around|roughly)(?![A-Za-z]))\s*"
    r"(?=[-+]?\s*[$€£]?\s*(?:[0-9.]|\\(?:frac|sqrt|pi)))",
    re.IGNORECASE,
)
# "Total cost: 230", "The answer is 230"
_PHRASE = re.compile(
    r"^([^\W\d_](?:[^\W\d]|[ '-])+?)(?:\s*\([^()0-9=]*\))?\s*([=:]|(?<= )is(?= )|\\approx(?![A-Za-z]))\s*"
    r"(.*(?:[0-9]|\\pi).*)$"
)
_OPERATORS = WORKING - {"is", "for", "with", "by", "base", "percent", "percentage"} | set(
    "no none never twice double cot sec csc det".split()
)
_GENERAL = frozenset("the a an of in is all altogether final answer result solution value total number amount".split())
# A variable, a function's value, a length or an angle. 3(2) = 6 and a(2) = 6 are arithmetic and an equation.
_NAMED = re.compile(
    r"^([A-Za-z](?:_(?:\{[^{}]*\}|\w+))?|\\[a-z]+|[A-Za-z]\([a-z]\)|[fghpqEFGHPQ]'*\((?:-?[0-9.]+|[A-Z])\)"
    r"|(?:m\s*)?\\angle\s*(?:[A-Z]{1,3}|\{[A-Z]{1,3}\})|[A-Z]{2}|\\(?:overline|overrightarrow)\s*\{[A-Z]{2}\}|\|[A-Z]{2}\|)"
    r"\s*(?:=|\\in(?![A-Za-z])|\\approx(?![A-Za-z]))\s*(.+)$"
)
_ARITHMETIC = re.compile(r"^[-+*/^0-9(){}.\s]*(?:\\(?:frac|times|cdot|sqrt|div)[-+*/^0-9(){}.\s]*)*=\s*([^=]+)$")
_JOINED = re.compile(
    r"[,;]|(?:\s|(?<=\x02))(?:and|or|\x01\s*,?\s*(?:and|or)\s*\x02)(?=\s)|\\(?:land|lor|vee)(?![A-Za-z])"
)
_MATRIX = re.compile(r"\\begin\{([pbvBV]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}")
_PAIRS = {"(": ")", "[": "]", r"\{": r"\}", r"\langle": r"\rangle"}
_TOKEN = re.compile(r"\\[{}]|\\[lr]angle|[()\[\]{}]")
_EMPTY_SET = re.compile(r"\\emptyset|\\\{\s*\\\}|\{\s*\}|(?:the )?empty set", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """A parsed answer.

    `kind` is "word", "letter", "choice", "number", "based", "list", "set", "matrix", a pair of brackets such as "[)",
    "union", or "expression". Only the fields that belong to the kind are filled in. `name` is the variable before the
    value, `label` the distinctive words of a phrase there.
    """

    text: str
    kind: str
    number: Typed | None = None
    base: tuple[str, int] | None = None
    parts: tuple["Reading", ...] = ()
    shape: tuple[int, ...] = ()
    percent: bool = False
    unit: Unit | None = None
    dozens: bool = False
    name: str | None = None
    label: frozenset[str] = frozenset()
    choice: str | None = None
    whole: str = field(default="", compare=False)


@lru_cache(maxsize=8192)
def read(answer: str) -> Reading:
    """Return the reading of an answer as it was written."""
    if _SIMPLE.fullmatch(answer):
        return Reading(answer, "number", number=typed_number(answer))
    if len(answer) > _LONGEST:
        return Reading(" ".join(answer.split()), "word")
    return _read(clean(answer))


def _read(text: str, depth: int = 0) -> Reading:
    bare = plain(text)
    if depth > 4:
        return Reading(bare, "word")
    if (found := _OPTION.fullmatch(bare)) and found[1].isupper():
        return Reading(bare, "choice", choice=found[1])
    if (found := _CHOICE.fullmatch(text)) and "," not in found[0][:3]:
        said = (_read(found[3], depth + 1),) if found[3] else ()
        return Reading(bare, "choice", choice=found[1] or found[2], parts=said)
    if found := _ONE_TEXT.fullmatch(text):
        text = found[1].strip()
    if _EMPTY_SET.fullmatch(bare):
        return Reading(r"\emptyset", "set")
    if word := _word(text, bare):
        return word
    if (found := _NAMED.match(text)) and len(_split(text)) == 1:
        rest = found[2].rpartition("=")[2].strip() if "=" in found[2] else found[2]
        if rest and not re.search(r"[<>]|\\(?:le|ge|ne)(?![A-Za-z])", rest):
            return replace(_read(rest, depth + 1), name=plain(found[1]), whole=bare)
    if introduced := _introduced(_FIRST_TEXT.sub(r"\1 ", text).strip(), depth):
        return replace(introduced, whole=bare)
    if (found := _ARITHMETIC.match(bare)) and found[1].strip():
        return replace(_read(found[1].strip(), depth + 1), whole=bare)
    if structured := _structure(text, depth):
        return structured
    if found := _PERCENT.fullmatch(text):
        return replace(_scalar(plain(found[1]), 1), percent=True, whole=bare)
    text = _PERCENT_WORD.sub(r"% \1", text)
    body, unit, scale = split_unit(text)
    if body != text or unit:
        if (found := _PERCENT.fullmatch(body)) and scale == 1:
            return replace(_scalar(plain(found[1]), 1), percent=True, unit=unit, whole=bare)
        inner = _structure(body, depth) or _scalar(plain(body), scale)
        if scale == 1 or inner.number is not None:
            return replace(inner, unit=unit, dozens=scale == SCALES["dozen"], whole=bare)
    return _scalar(bare, 1)


def _introduced(text: str, depth: int) -> Reading | None:
    """Return the reading of the value that a phrase or a word such as "about" introduces, or None if nothing does."""
    if found := _APPROXIMATELY.match(text):
        return _read(text[found.end() :], depth + 1)
    found = _PHRASE.match(text)
    if not found or len(_split(text)) > 1 or (words := _name_words(found[1])) is None:
        return None
    value = found[3].rpartition("=")[2].strip() if found[2] == "=" else found[3]
    if not value or re.search(r"[<>]|\\(?:le|ge|ne)(?![A-Za-z])|[.?!] +[A-Z]", found[3]):
        return None
    if found[2] == "is" and not (_APPROXIMATELY.match(value) or re.match(r"[-+$€£(\[]*(?:[0-9.]|\\)", value)):
        return None
    reading = _read(value, depth + 1)
    return replace(reading, label=reading.label | words)


def _name_words(phrase: str) -> frozenset[str] | None:
    """Return the words that tell a named quantity from others, or None if the phrase may be one to calculate with."""
    words = phrase.split()
    pieces = [piece for word in words for piece in word.split("-")]
    if not any(len(piece) > 2 and not PRODUCT.fullmatch(piece) for piece in pieces):
        return None
    for before, piece in zip(["", *pieces], pieces, strict=False):
        variable = len(piece) < 2 and not (piece in ("a", "I") or (piece.isupper() and before) or before == "of")
        if variable or piece.lower() in _OPERATORS or ("-" in phrase and PRODUCT.fullmatch(piece)):
            return None
    return frozenset(stem(word) for word in words if word.lower() not in _GENERAL)


def _word(text: str, bare: str) -> Reading | None:
    if not _LETTERS.fullmatch(bare) or (_JOINED.search(text) and TEXT_OPEN not in text and len(bare) < 4):
        return None
    if typed_number(bare):
        return Reading(bare, "number", number=typed_number(bare))
    if len(bare) == 1 or (TEXT_OPEN not in text and PRODUCT.fullmatch(bare)):
        return Reading(bare, "letter" if len(bare) == 1 else "expression")
    if _JOINED.search(f" {bare} ") and not re.search(r"[.!]", bare):
        return None
    return Reading(bare.rstrip(".!").casefold(), "word")


def _scalar(text: str, scale: int) -> Reading:
    typed = typed_number(text)
    if typed:
        return Reading(text, "number", number=Typed(typed.value * scale, typed.slack * scale))
    based = based_number(text)
    if based and based[1] == 10 and based[0].isdecimal():
        return Reading(text, "number", number=Typed(Fraction(based[0])))
    if based:
        return Reading(text, "based", base=based)
    return Reading(text, "expression")


def _structure(text: str, depth: int) -> Reading | None:
    """Return the reading of a matrix, list, set, tuple, interval or union of these, or None for a single value."""
    text = text.strip()
    if found := _MATRIX.fullmatch(text):
        if found[1] == "vmatrix":
            return None
        rows = [row.split("&") for row in re.split(r"\\\\|\\cr(?![a-z])", found[2]) if row.strip()]
        cells = [_read(cell.strip(), depth + 1) for row in rows for cell in row]
        return Reading(plain(text), "matrix", parts=tuple(cells), shape=tuple(len(row) for row in rows))
    if r"\cup" in text and len(sets := _split(text, re.compile(r"\\cup(?![A-Za-z])"))) > 1:
        return Reading(plain(text), "union", parts=tuple(_read(part, depth + 1) for part in sets))
    parts = _split(text)
    if len(parts) > 1:
        readings = [r for part in parts for r in _alternatives(part, depth)] if all(parts) else []
        return Reading(plain(text), "list", parts=tuple(readings)) if readings else None
    if r"\pm" in text and len(found_both := _alternatives(text, depth)) > 1:
        return Reading(plain(text), "list", parts=tuple(found_both))
    for opening, closing in _PAIRS.items():
        if text.startswith(opening):
            for end in (closing, {")": "]", "]": ")"}.get(closing, closing)):
                if text.endswith(end) and _encloses(text, opening, end):
                    return _bracketed(text, opening, end, depth)
    if text.startswith("{") and text.endswith("}") and _encloses(text, "{", "}"):
        return _bracketed(text, r"\{", r"\}", depth, inner=text[1:-1])
    return None


def _bracketed(text: str, opening: str, end: str, depth: int, inner: str | None = None) -> Reading | None:
    inner = text[len(opening) : -len(end)] if inner is None else inner
    parts = _split(inner)
    is_set = opening == r"\{"
    if len(parts) == 1 and not is_set:
        return _read(inner.strip(), depth + 1) if opening == "(" and end == ")" else None
    if not all(parts) or (is_set and re.search(r"\\mid(?![A-Za-z])|(?<!\\)[|:]", inner)):
        return None
    if is_set:
        readings = [r for part in parts for r in _alternatives(part, depth)]
        return Reading(plain(text), "set", parts=tuple(readings))
    brackets = "()" if opening == r"\langle" else opening + end
    return Reading(plain(text), brackets, parts=tuple(_read(part, depth + 1) for part in parts))


def _alternatives(text: str, depth: int) -> list[Reading]:
    r"""Return both values of an expression with \pm, else the single one."""
    if r"\pm" not in text:
        return [_read(text, depth + 1)]
    plus = text.replace(r"\pm", "+").replace(r"\mp", "-")
    minus = text.replace(r"\pm", "-").replace(r"\mp", "+")
    return [_read(version.strip().removeprefix("+").strip(), depth + 1) for version in (plus, minus)]


def _encloses(text: str, opening: str, end: str) -> bool:
    """Return whether the first bracket of `text` is closed by the last one."""
    open_brackets = 0
    for found in _TOKEN.finditer(text):
        if found[0] in ("(", "[", "{", r"\{", r"\langle"):
            open_brackets += 1
        else:
            open_brackets -= 1
            if open_brackets == 0:
                return found.end() == len(text)
    return False


def _split(text: str, separator: re.Pattern[str] = _JOINED) -> list[str]:
    """Return `text` split at the separators outside all brackets; an interval's brackets need not match."""
    cuts, level = [0], 0
    tokens = re.compile(rf"({_TOKEN.pattern})|(?:{separator.pattern})")
    ends = []
    for found in tokens.finditer(text):
        if found[1]:
            level += 1 if found[1] in ("(", "[", "{", r"\{", r"\langle") else -1
        elif level == 0:
            ends.append(found.start())
            cuts.append(found.end())
    parts = [text[start:stop].strip() for start, stop in zip(cuts, [*ends, len(text)], strict=True)]
    if len(parts) > 2:  # "1, 2, and 3"
        parts = [part for i, part in enumerate(parts) if part or i in (0, len(parts) - 1)]
    parts = [re.sub(r"^(?:\x01\s*)?(?:and|or)(?:\s*\x02)?\s+", "", part) for part in parts]
    return parts if len(parts) <= _MOST_PARTS else [text]


def same(a: Reading, b: Reading) -> bool:
    """Return whether two readings are equivalent; symmetric, and true of a reading and itself."""
    if a == b or _squeezed(a.whole or a.text) == _squeezed(b.whole or b.text):
        return True
    if a.kind == "choice" or b.kind == "choice":
        return _same_choice(a, b)
    if (a.name and b.name and a.name != b.name) or (a.name and "=" in b.text) or (b.name and "=" in a.text):
        return maths.equal(*sorted((a.whole or a.text, b.whole or b.text)))
    if a.unit and b.unit and not a.unit.agrees(b.unit):
        return False
    if a.label and b.label and not (a.label <= b.label or b.label <= a.label):
        return False
    if "list" in (a.kind, b.kind) and a.kind != b.kind:
        return _same_list(a, b) if a.kind == "list" else _same_list(b, a)
    if a.kind == b.kind and a.parts and b.parts:
        return _same_parts(a, b)
    if a.parts or b.parts:
        described = "union" in (a.kind, b.kind) or "expression" in (a.kind, b.kind)
        return described and _is_region(a) and _is_region(b) and maths.equal(*sorted((a.text, b.text)))
    return _same_scalar(a, b)


def _squeezed(text: str) -> str:
    """Return `text` without spaces, except those between two letters or digits."""
    return re.sub(r"(?<![0-9A-Za-z]) | (?![0-9A-Za-z])", "", text)


def _same_choice(a: Reading, b: Reading) -> bool:
    if a.kind == b.kind:
        return a.choice == b.choice
    choice, other = (a, b) if a.kind == "choice" else (b, a)
    if other.kind == "letter":
        return other.text == choice.choice
    return any(same(part, other) for part in choice.parts)


def _same_list(listed: Reading, other: Reading) -> bool:
    """Return whether a bare list equals a set of its elements, or a tuple of them in the same order."""
    if other.kind == "set":
        return _matched(listed.parts, other.parts)
    if other.kind in ("()", "[]"):
        return _in_order(listed.parts, other.parts)
    return False


def _same_parts(a: Reading, b: Reading) -> bool:
    if a.kind == "matrix":
        return a.shape == b.shape and _in_order(a.parts, b.parts)
    if a.kind in ("list", "set", "union"):
        one = _distinct(a.parts) if a.kind == "set" else a.parts
        other = _distinct(b.parts) if b.kind == "set" else b.parts
        return _matched(one, other) or (a.kind == "union" and maths.equal(*sorted((a.text, b.text))))
    return _in_order(a.parts, b.parts)


def _in_order(a: Sequence[Reading], b: Sequence[Reading]) -> bool:
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))


def _matched(a: Sequence[Reading], b: Sequence[Reading]) -> bool:
    """Return whether each of `a` has its own match in `b`, with none left over."""
    left = list(b)
    if len(a) != len(b):
        return False
    for x in a:
        match = next((y for y in left if same(x, y)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _distinct(parts: Sequence[Reading]) -> list[Reading]:
    kept: list[Reading] = []
    for part in parts:
        if not any(same(part, other) for other in kept):
            kept.append(part)
    return kept


def _is_region(reading: Reading) -> bool:
    """Return whether a reading can denote a set of real numbers: an interval, a union, a set, or an inequality."""
    return reading.kind in ("()", "[]", "(]", "[)", "union", "set") or bool(
        reading.kind == "expression" and re.search(r"[<>]|\\(?:le|ge|ne)(?![A-Za-z])|\\mathbb", reading.text)
    )


def _same_scalar(a: Reading, b: Reading) -> bool:
    kinds = {a.kind, b.kind}
    if "based" in kinds:
        return a.base == b.base
    if kinds & {"word", "letter"}:
        return a.kind == b.kind and a.text == b.text
    ratio = a.unit.size / b.unit.size if a.unit and b.unit and a.unit.dimensions else Fraction(1)
    if a.number and b.number:
        left, right = Typed(a.number.value * ratio, a.number.slack * ratio), b.number
        if _near(left, right):
            return True
        if a.percent != b.percent:  # 40% is 40 and 0.4
            return _near(_over(100, left), right) if a.percent else _near(left, _over(100, right))
        if a.dozens != b.dozens and not (b if a.dozens else a).unit:  # 5 dozen eggs are 60, and 5 of what was asked for
            return _near(_over(12, left), right) if a.dozens else _near(left, _over(12, right))
        return False
    if ratio != 1:
        return False
    return maths.equal(*sorted((a.text, b.text)))


def _over(divisor: int, number: Typed) -> Typed:
    return Typed(number.value / divisor, number.slack / divisor)


def _near(a: Typed, b: Typed) -> bool:
    return a.value == b.value or abs(a.value - b.value) < max(a.slack, b.slack)
