"""The labels of numbers: a unit of measurement, a currency, or what was counted."""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from em_hf.answers.numbers import NUMBER_WORDS, typed_number
from em_hf.answers.wording import TEXT_CLOSE, TEXT_OPEN, plain


@dataclass(frozen=True)
class Unit:
    """A unit: powers of base dimensions and its size in them; without dimensions, the words for what was counted."""

    dimensions: frozenset[tuple[str, int]] = frozenset()
    size: Fraction = Fraction(1)
    words: frozenset[str] = frozenset()

    def agrees(self, other: "Unit") -> bool:
        """Return whether amounts in the two units can be equal: same dimensions, or one side has all the words."""
        if self.dimensions or other.dimensions:
            return self.dimensions == other.dimensions
        return self.words <= other.words or other.words <= self.words


# Name -> dimension and size: "name, name: size" for each dimension.
_MEASURES = {
    "length": "m meter metre: 1; in inch inches: 0.0254; ft foot feet: 0.3048; yd yard: 0.9144;"
    " mi mile: 1609.344; nmi: 1852; ly lightyear: 9460730472580800",
    "mass": "g gram gramme: 1/1000; t ton tonne: 1000; lb lbs pound £: 0.45359237; oz ounce: 0.028349523125;"
    " stone: 6.35029318",
    "time": "s sec second: 1; min minute: 60; h hr hour: 3600; day: 86400; wk week: 604800; fortnight: 1209600",
    "years": "month: 1/12; yr year: 1; decade: 10; century centuries: 100",
    "dollars": "$ dollar usd buck: 1; cent ¢: 1/100; quarter: 1/4; dime: 1/10; nickel: 1/20",
    "euros": "€ euro eur: 1",
    "yen": "¥ yen jpy: 1",
    "rupees": "₹ rs rupee inr: 1",
    "yuan": "yuan rmb cny: 1",
    "rubles": "₽ ruble rouble: 1",
    "won": "₩ won krw: 1",
    "angle": "° degree deg: 1",
    "radians": "rad radian: 1",
    "celsius": "celsius °c: 1",
    "fahrenheit": "fahrenheit °f: 1",
    "kelvin": "K kelvin: 1",
    "current": "A amp ampere: 1",
    "amount": "mol mole: 1",
    "units": "unit: 1",
    "bytes": "byte: 1; kb kilobyte: 1000; mb megabyte: 1000000; gb gigabyte: 1000000000; bit: 1/8",
}
# Names, and the size and unit that they abbreviate; a slash comes before the divisors.
_DERIVED = (
    ("l liter litre", 1, "dm^3"),
    ("gal gallon", Fraction("3.785411784"), "dm^3"),
    ("quart qt", Fraction("0.946352946"), "dm^3"),
    ("pint pt", Fraction("0.473176473"), "dm^3"),
    ("cc", 1, "cm^3"),
    ("acre", Fraction("4046.8564224"), "m^2"),
    ("hectare ha", 10000, "m^2"),
    ("mph", 1, "mi/h"),
    ("kmh kph kmph", 1, "km/h"),
    ("mps", 1, "m/s"),
    ("fps", 1, "ft/s"),
    ("N newton", 1, "kg m/s^2"),
    ("J joule", 1, "kg m^2/s^2"),
    ("eV", Fraction("1.602176634e-19"), "kg m^2/s^2"),
    ("W watt", 1, "kg m^2/s^3"),
    ("Pa pascal", 1, "kg/m s^2"),
    ("Hz hertz", 1, "/s"),
    ("C coulomb", 1, "A s"),
    ("V volt", 1, "kg m^2/s^3 A"),
    ("Ω ohm", 1, "kg m^2/s^3 A^2"),
    ("F farad", 1, "s^4 A^2/kg m^2"),
    ("T tesla", 1, "kg/s^2 A"),
)
_PREFIXES = {
    "n": -9, "µ": -6, "μ": -6, "u": -6, "m": -3, "c": -2, "d": -1, "k": 3, "M": 6, "G": 9,
    "nano": -9, "micro": -6, "milli": -3, "centi": -2, "deci": -1, "kilo": 3, "mega": 6, "giga": 9,
}  # fmt: skip
_PREFIXED = set(
    "m g s l L N J W Pa Hz V A F mol meter metre gram liter litre second newton joule watt volt hertz ohm Ω eV".split()
)

SCALES = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "dozens": 12,
}
# Words after a number that operate on it: no unit begins with one.
WORKING = frozenset(
    "and or to out minus plus times over mod choose squared cubed factorial pi sqrt negative half halves third thirds"
    " quarter quarters fourths fifths sixths sevenths eighths ninths tenths hundredths thousandths divided multiplied"
    " more less than is are if when for where not sin cos tan log ln exp base percent percentage pct with by".split()
)
# Those that compare or share out instead, if no other number follows: "5 more", "3 times as many", "5 for each child".
_COMPARING = frozenset("more less fewer times for with by quarters".split())
_OPERANDS = (
    WORKING - _COMPARING - {"than", "to", "over"}
    | NUMBER_WORDS
    | SCALES.keys()
    | {"twice", "double", "triple", "remainder"}
)
_AROUND = frozenset(
    "a an the of in total altogether all each long tall high wide deep old away left remaining per about"
    " approximately".split()
)
_SHORT_WORDS = _AROUND | {"am", "pm"}
_PLURALS = {
    "people": "person",
    "children": "child",
    "men": "man",
    "women": "woman",
    "mice": "mouse",
    "geese": "goose",
    "feet": "foot",
}
# Letters side by side that are a product of variables; "ab" is one, "tip" is a word.
PRODUCT = re.compile(r"[b-df-hj-np-tv-z]{2,3}|[abc]{2,3}")
# Single letters that are units after a space; elsewhere a letter is a variable.
_LETTERS = frozenset("g m s h l L".split())

_CURRENCY = re.compile(
    r"^([-+]?)\s*(?:US|CA|AU|A|C)?([$€£¥₹₽₩])\s*([-+]?)\s*(?=[0-9.\\])|^(Rs\.?|USD|EUR|INR)\s*(?=[0-9])"
)
_CURRENCY_AFTER = re.compile(r"(?<=[0-9}])\s*([$€£¥₹₽₩¢])$")
_DEGREES = re.compile(r"\s*\^\\circ\s*(?:\x01?\s*([CF])\s*\x02?)?$")
_IN_TEXT = rf"{TEXT_OPEN}[^{TEXT_OPEN}]*{TEXT_CLOSE}"
_TEXT_LABEL = re.compile(
    rf"^(.*?[^\s/])\s*(/?\s*{TEXT_OPEN}[^{TEXT_OPEN}]*{TEXT_CLOSE})((?:\s*(?:/|\^\s*\{{?-?[0-9]\}}?|{_IN_TEXT}))*)$"
)
_LETTER = r"[A-Za-zµμΩ]"
_PLAIN_LABEL = re.compile(
    r"^(.*?(?:[0-9})\]!%]|\\pi(?= )|(?<=[0-9 ])[a-z](?= )))(\s*/?\s*)"
    rf"({_LETTER}(?:[.'-]|{_LETTER})*"
    rf"(?:(?:\s*/\s*|\s+|\s*\\cdot\s*)(?:\(|{_LETTER})(?:[.')-]|{_LETTER})*|\s*\^\s*\{{?-?[1-4]\}}?)*)$"
)
_FRACTION_LABEL = re.compile(
    rf"^(.*[0-9}}])\s*\\frac\{{([ A-Za-z{TEXT_OPEN}{TEXT_CLOSE}]+)\}}\{{([ A-Za-z^0-9{TEXT_OPEN}{TEXT_CLOSE}]+)\}}$"
)
_BRACKETED = re.compile(r"^(.*[0-9}])\s*\(\s*([A-Za-z][A-Za-z .'-]*)\s*\)$")
_POWER = re.compile(r"(.*?)(?:\^\s*\{?(-?[0-9]+)\}?|(?<=[a-z])([23]))$")


def split_unit(text: str) -> tuple[str, Unit | None, int]:
    """Take the unit off the end (or a currency off the front) of a cleaned answer.

    Returns:
        The rest, the unit or None, and the factor given by a scale word ("5 thousand" -> "5", None, 1000).
    """
    if not re.search(r"[0-9]|\\(?:frac|sqrt|pi)", text):
        return text, None, 1
    if found := _CURRENCY.match(text):
        body = (found[1] or found[3] or "") + text[found.end() :]
        rest, _, scale = split_unit(body) if body else (body, None, 1)
        return rest, parse_unit((found[2] or found[4]).rstrip(".").lower()), scale
    if found := _CURRENCY_AFTER.search(text):
        return text[: found.start()], parse_unit(found[1]), 1
    if found := _DEGREES.search(text):
        name = f"°{found[1].lower()}" if found[1] else "°"
        return text[: found.start()], parse_unit(name), 1
    if found := _TEXT_LABEL.match(text):
        return _labelled(text, found[1], plain(found[2] + " " + found[3]), spaced=True, in_text=True)
    if (found := _BRACKETED.match(text)) and (len(found[2]) > 2 or parse_unit(found[2])):
        return _labelled(text, found[1], found[2], spaced=True, in_text=True)
    if (found := _FRACTION_LABEL.match(text)) and parse_unit(label := f"{plain(found[2])}/{plain(found[3])}"):
        return found[1], parse_unit(label), 1
    if (found := _PLAIN_LABEL.match(text)) and "/" in found[2]:
        divisor = found[3].split()[0]
        is_word = len(divisor) > 2 and divisor.lower() not in WORKING and not PRODUCT.fullmatch(divisor)
        if _is_number(found[1]) and (is_word or (len(divisor) > 1 and parse_unit(divisor))):
            return _labelled(text, found[1], f"per {found[3]}", spaced=True, in_text=True)
    elif found:
        return _labelled(text, found[1], found[3], spaced=bool(found[2]), in_text=False)
    return text, None, 1


def _labelled(text: str, body: str, label: str, *, spaced: bool, in_text: bool) -> tuple[str, Unit | None, int]:
    words = label.replace("/", " per ").split()
    scale = 1
    while words and words[0].lower() in SCALES:
        scale *= SCALES[words.pop(0).lower()]
    if not words:
        return (body.strip(), None, scale) if scale > 1 else (text, None, 1)
    if words[0].lower() in WORKING:
        return (body.strip(), _compared(words), scale) if _compares(body, words, in_text) else (text, None, 1)
    label = " ".join(words)
    if not spaced and (len(label) < 2 or label in ("mg", "th", "st", "nd", "rd")):
        return (body, None, 1) if label in ("th", "st", "nd", "rd") else (text, None, 1)
    unit = _longest_unit(words)
    if unit is None and spaced and (in_text or all(len(w) > 2 or w.lower() in _SHORT_WORDS for w in words)):
        unit = _counted(words) if any(c.isalpha() for c in label) else None
    elif unit is not None and not in_text and len(label) == 1 and label not in _LETTERS:
        unit = None
    return (body.strip(), unit, scale) if unit else (text, None, 1)


def _is_number(text: str) -> bool:
    return typed_number(plain(text).rstrip("% ")) is not None


def _compares(body: str, words: list[str], in_text: bool) -> bool:
    """Return whether the words after a number compare it or share it out, and hold nothing to calculate with."""
    first, *others = (word.lower() for word in words)
    if first not in _COMPARING or not _is_number(body) or (first == "quarters" and others[:1] == ["of"]):
        return False
    pieces = {piece for word in others for piece in word.split("-")}
    if pieces & _OPERANDS or any(len(word) < 2 and word != "a" for word in others):
        return False
    return in_text or all(len(word) > 2 or word in _AROUND | {"as", "to"} or parse_unit(word) for word in others)


def _compared(words: list[str]) -> Unit | None:
    """Return what was counted in "5 more apples than Tom", "3 times as many" or "6 quarters"; None if it is unsaid."""
    first, *others = (word.lower() for word in words)
    if first in ("times", "quarters"):
        return parse_unit(first) or Unit(words=frozenset({"time"}))
    if first in ("for", "with", "by"):
        return None
    counted = others[: others.index("than")] if "than" in others else others
    unit = _longest_unit(words[1 : len(counted) + 1]) or _counted(counted)
    return unit if unit.dimensions or unit.words else None


def _counted(words: list[str]) -> Unit:
    return Unit(words=frozenset(stem(w) for w in words if w.lower() not in _AROUND and w.isascii()))


def _longest_unit(words: list[str]) -> Unit | None:
    for end in range(len(words), 0, -1):
        if unit := parse_unit(" ".join(words[:end])):
            return unit
    return None


def stem(word: str) -> str:
    """Return an English word in lower case without the ending of its plural."""
    word = word.lower().strip(".'-")
    if word in _PLURALS:
        return _PLURALS[word]
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@lru_cache(maxsize=2048)
def parse_unit(text: str) -> Unit | None:
    """Return the unit that `text` names ("km/h", "square feet", "miles per hour"), or None if it names none."""
    text = re.sub(r"\\cdot|[()·]", " ", text.replace(" per ", " / ").replace("/", " / "))
    text = re.sub(r"\s*\^\s*", "^", text).strip().rstrip(".")
    sign, raised, size = 1, 1, Fraction(1)
    powers: dict[str, int] = {}
    last: Unit | None = None
    for token in text.split():
        lower = token.lower().rstrip(".")
        if token == "/":
            sign = -1
            continue
        if lower in ("square", "sq", "cubic", "cu"):
            raised = 2 if lower.startswith("sq") else 3
            continue
        if lower in ("squared", "cubed") and last is not None:
            unit: Unit | None = last
            power = 1 if lower == "squared" else 2
        else:
            found = _POWER.fullmatch(token)
            name, exponent = (found[1], found[2] or found[3]) if found else (token, None)
            unit = _named(name.rstrip("."))
            power = int(exponent) if exponent else raised
        if unit is None or abs(power) > 6:
            return None
        for dimension, p in unit.dimensions:
            powers[dimension] = powers.get(dimension, 0) + sign * power * p
        size *= unit.size ** (sign * power)
        last, raised = unit, 1
    dimensions = frozenset((d, p) for d, p in powers.items() if p)
    return Unit(dimensions, size) if dimensions else None


def _named(name: str) -> Unit | None:
    units = _units()
    lower = name.lower()
    for key in (name, lower, lower.removesuffix("s"), lower.removesuffix("es")):
        if key in units and (len(key) > 1 or key == name):
            return units[key]
    return None


@lru_cache(maxsize=1)
def _units() -> dict[str, Unit]:
    units: dict[str, Unit] = {}
    for dimension, entries in _MEASURES.items():
        for entry in filter(None, (part.strip() for part in entries.split(";"))):
            names, value = entry.split(": ")
            for name in names.split():
                units[name] = Unit(frozenset({(dimension, 1)}), Fraction(value))
    _add_prefixes(units)
    for names, size, meaning in _DERIVED:
        unit = _composed(meaning, units)
        for name in names.split():
            units[name] = Unit(unit.dimensions, unit.size * size)
    units["L"] = units["l"]
    _add_prefixes(units)
    return units


def _add_prefixes(units: dict[str, Unit]) -> None:
    for name in _PREFIXED & units.keys():
        for prefix, power in _PREFIXES.items():
            if (len(prefix) > 1) == (len(name) > 3 and name != "kmph"):
                units.setdefault(prefix + name, Unit(units[name].dimensions, units[name].size * Fraction(10) ** power))


def _composed(text: str, units: dict[str, Unit]) -> Unit:
    """Parse the notation of `_DERIVED`: names with powers, those after the first slash in the denominator."""
    powers: dict[str, int] = {}
    size = Fraction(1)
    above, _, below = text.partition("/")
    for sign, names in ((1, above), (-1, below)):
        for token in names.split():
            name, _, exponent = token.partition("^")
            power = sign * int(exponent or 1)
            for dimension, p in units[name].dimensions:
                powers[dimension] = powers.get(dimension, 0) + p * power
            size *= units[name].size ** power
    return Unit(frozenset((d, p) for d, p in powers.items() if p), size)
