"""Numbers as written, with the value and the precision that the notation gives them."""

import re
from dataclasses import dataclass
from fractions import Fraction

_DECIMAL = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_PLAIN = re.compile(
    rf"([+-]?)\s*(?:({_DECIMAL})(?:[eE]([+-]?[0-9]{{1,3}})|\s*\\(?:times|cdot)\s*10\s*\^\s*(?:\{{\s*([+-]?[0-9]{{1,3}})\s*\}}|([0-9])))?"
    r"|10\s*\^\s*(?:\{\s*([+-]?[0-9]{1,3})\s*\}|([0-9])))"
)
_FRACTION = re.compile(
    rf"([+-]?)\s*(?:\\frac\s*\{{\s*([+-]?\s*{_DECIMAL})\s*\}}\s*\{{\s*([+-]?\s*{_DECIMAL})\s*\}}"
    rf"|\(?\s*({_DECIMAL})\s*/\s*({_DECIMAL})\s*\)?)"
)
_BASE = re.compile(
    r"\(?\s*([0-9A-Za-z]+)\s*\)?\s*"
    r"(?:_\s*(?:\{\s*([0-9]{1,2}|[a-z]+)\s*\}|([0-9]))|\s*[(,]?\s*base[ -]\{?([0-9]{1,2}|[a-z]+)\}?\)?)"
)
_BASE_NAMES = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve"
    " thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety hundred"
_WORDS = {word: value for value, word in enumerate(_SMALL.split())}
_WORDS |= {word: 10 * tens for tens, word in enumerate(_TENS.split(), 2)}

NUMBER_WORDS = _WORDS.keys() - {"one"}  # "one" is a pronoun too
DIGITS = 6  # significant digits that an approximation needs to stand for the exact value
_FLOAT_DIGITS = 15  # a decimal with this many significant digits is a printed floating-point number


@dataclass(frozen=True)
class Typed:
    """The exact value as written, and the distance within which another value counts as equal."""

    value: Fraction
    slack: Fraction = Fraction(0)


def typed_number(text: str) -> Typed | None:
    r"""Return the number that a cleaned text is: a decimal or scientific notation, a fraction or a word; else None.

    A decimal of at least `DIGITS` significant digits stands for every value that it is a rounding of: its slack is one
    unit of its last place.
    """
    if len(text) > 400:
        return None
    if found := _PLAIN.fullmatch(text):
        sign = -1 if found[1] == "-" else 1
        mantissa = found[2] or "1"
        exponent = int(next((part for part in found.groups()[2:] if part), "0"))
        whole, _, places = mantissa.partition(".")
        unit = Fraction(10) ** (exponent - len(places))
        value = sign * int(whole + places or "0") * unit
        significant = len((whole + places).lstrip("0"))
        slack = unit if places and significant >= DIGITS else Fraction(0)
        if places and significant >= _FLOAT_DIGITS:
            slack = max(slack, abs(value) / 10 ** (_FLOAT_DIGITS - 1))
        return Typed(value, slack)
    if found := _FRACTION.fullmatch(text):
        above, below = (
            Fraction((part or "").replace(" ", "")) for part in (found[2] or found[4], found[3] or found[5])
        )
        if below:
            return Typed(above / below * (-1 if found[1] == "-" else 1))
        return None
    word = _WORDS.get(text.lower())
    return None if word is None else Typed(Fraction(word))


def based_number(text: str) -> tuple[str, int] | None:
    """Return (digits, base) of a number with a written base ("432_5", "(432)_{5}"), or None for other text.

    Letters alone are a number only if each is a digit of the base, as in FF_{16}, but not in x_2 or ab_{10}.
    """
    found = _BASE.fullmatch(text) if "_" in text or "base" in text else None
    if not found or len(found[1]) > 100:
        return None
    name = found[2] or found[3] or found[4]
    base = int(name) if name.isdigit() else _BASE_NAMES.index(name) + 2 if name in _BASE_NAMES else 0
    if not 2 <= base <= 36:
        return None
    if not any(c.isdigit() for c in found[1]) and (len(found[1]) < 2 or max(int(c, 36) for c in found[1]) >= base):
        return None
    return found[1].lstrip("0").upper() or "0", base
