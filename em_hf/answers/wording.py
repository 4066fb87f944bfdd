r"""Normalize the many ways of writing the same answer: Unicode, LaTeX, Markdown, separators."""

import re
import unicodedata
from fractions import Fraction

# Marks around the content of \text{}: a unit may follow a number there, never a variable.
TEXT_OPEN, TEXT_CLOSE = "\x01", "\x02"

_SIGNS = {
    **dict.fromkeys("−–—‐‑﹣－", "-"),
    **dict.fromkeys("×✕⨯", r"\times "),
    **dict.fromkeys("·⋅∙", r"\cdot "),
    **dict.fromkeys("\u00a0\u2007\u2009\u200a\u202f\u2002\u2003", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
    "÷": "/",
    "∕": "/",
    "⁄": "/",
    "∞": r"\infty ",
    "π": r"\pi ",
    "≤": r"\le ",
    "⩽": r"\le ",
    "≥": r"\ge ",
    "⩾": r"\ge ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "±": r"\pm ",
    "∓": r"\mp ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "∠": r"\angle ",
    "⟨": r"\langle ",
    "⟩": r"\rangle ",
    "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}",
    "°": r"^\circ ",
    "º": r"^\circ ",
    "θ": r"\theta ",
    "α": r"\alpha ",
    "β": r"\beta ",
    "λ": r"\lambda ",
    "φ": r"\phi ",
    "…": r"\ldots ",
    "′": "'",
    "’": "'",
    "‘": "'",
    "“": '"',
    "”": '"',
}
_RAISED, _LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "₀₁₂₃₄₅₆₇₈₉₋₊"
_POWERS = re.compile(f"[{_RAISED}]+")
_INDICES = re.compile(f"[{_LOWERED}]+")
_RAISED_TO_PLAIN = str.maketrans(_RAISED, "0123456789-+")
_LOWERED_TO_PLAIN = str.maketrans(_LOWERED, "0123456789-+")
_ROOT = re.compile(r"(?:√|(?<!\\)\bsqrt)\s*(?:\(([^()]*)\)|\{([^{}]*)\}|([0-9.]+|[A-Za-z]))")
_CUBE_ROOT = re.compile(r"∛\s*\(?([0-9.]+|[A-Za-z])\)?")

_FORMATTING = re.compile(
    r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|mathstrut)(?![A-Za-z])|(?<!\\)\\!|(?<!\\)\\(?=\$|%|#)"
)
_SPACES = re.compile(
    r"(?<!\\)\\(?:[,;: ]|(?:quad|qquad|hspace\{[^{}]*\}|thinspace|enspace)(?![A-Za-z]))|~|(?<!\\)\\\s|\s+"
)
_TEXT = re.compile(
    r"\\(?:text(?:bf|rm|it|normal|sf|tt|up)?|math(?:rm|it|bf|sf|normal)|mbox|hbox|operatorname\*?)\s*\{([^{}]*)\}"
)
_FONT = re.compile(r"\\(?:rm|bf|it|mathbf|boldsymbol)(?![A-Za-z])")
_WHOLE_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{(.*)\}", re.DOTALL)
_RENAMED = {
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\cfrac": r"\frac",
    r"\leq": r"\le",
    r"\leqslant": r"\le",
    r"\geq": r"\ge",
    r"\geqslant": r"\ge",
    r"\neq": r"\ne",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\lbrack": "[",
    r"\rbrack": "]",
    r"\varnothing": r"\emptyset",
    r"\degree": r"^\circ",
    r"\infin": r"\infty",
    r"\dots": r"\ldots",
    r"\cdots": r"\ldots",
    r"\colon": ":",
    r"\lt": "<",
    r"\gt": ">",
    r"\euro": "€",
    r"\pounds": "£",
    r"\cent": "¢",
}
_COMMAND = re.compile(r"\\[A-Za-z]+")
_DEGREES = re.compile(r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![A-Za-z])")
_SHORT_FRACTION = re.compile(r"\\frac\s*(?:\{([^{}]*)\}|([0-9A-Za-z]))\s*(?:\{([^{}]*)\}|([0-9A-Za-z]))")
_SHORT_ROOT = re.compile(r"\\sqrt\s*([0-9A-Za-z])")
_ROUND_ROOT = re.compile(r"\\sqrt\s*\(([^()]*)\)")
_INFINITY = re.compile(r"(?<![A-Za-z\\])(?:infinity|inf|oo)(?![A-Za-z])")
_TIMES_TEN = re.compile(r"(?<=[0-9])\s*(?:[xX*]|\\times|\\cdot)\s*10\s*(?:\^|\*\*)")
_BARE_POWER = re.compile(r"(?:\^|\*\*)\s*([+-]?[0-9]+)(?![0-9.])")

# Thousands separators, but not after a bracket: (1,234) is a point.
_THOUSANDS = re.compile(r"(?<![0-9.(\[{,])([0-9]{1,3})((?:(?:,|\{,\}|,?\\!\s*|\\,)[0-9]{3})+)(?![0-9])")
_SPACED = re.compile(r"(?<![0-9.,/^_])(?<![0-9] )([1-9][0-9]{0,2})((?: [0-9]{3})+)(?! ?[0-9/])")
_REPEATING = re.compile(r"([0-9]*)\.([0-9]*)\\(?:overline|bar|dot)\s*(?:\{\s*([0-9]+)\s*\}|([0-9]))")
_REPEATING_ROUND = re.compile(r"(?<![0-9])([0-9]+)\.([0-9]*)\(([0-9]+)\)$")
_REPEATING_DOTS = re.compile(r"([0-9]*)\.([0-9]*?)([0-9]{1,6}?)\3{2,}\s*(?:\.{3}|\\ldots)")
_MIXED = re.compile(
    r"(?<![0-9.A-Za-z}\\^_/])([0-9]+)(?:(?:\s+|\s+and\s+)([0-9]+)\s*/\s*([0-9]+)|(?:\s+and\s+|\s*)\\frac\{([0-9]+)\}\{([0-9]+)\})"
    r"(?![0-9]|\s*[/^])"
)


def clean(answer: str) -> str:
    """Return `answer` in normalized form: ASCII, one LaTeX command for each meaning, no thousands separators.

    The content of a text command stays marked (`TEXT_OPEN`, `TEXT_CLOSE`), which tells a unit from a variable.
    """
    text = _ascii(answer)
    text = _delimiters(text).strip()
    if box := _WHOLE_BOX.fullmatch(text):
        text = box[1]
    text = text.replace("**", "") if text.startswith("**") and text.endswith("**") else text
    text = _THOUSANDS.sub(lambda m: m[1] + re.sub(r"[^0-9]", "", m[2]), text)
    text = text.replace("{,}", ",")
    if "\\" in text:
        text = _latex(text)
    text = " ".join(text.replace("~", " ").split()).rstrip(" ,;")
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1].rstrip()
    if len(text) < 400:
        text = _numbers(text)
    return text.strip()


def _latex(text: str) -> str:
    text = _FORMATTING.sub("", text)
    text = _SPACES.sub(" ", text)
    text = _COMMAND.sub(lambda m: _RENAMED.get(m[0], m[0]), text)
    for _ in range(3):  # nested text commands
        text = _TEXT.sub(rf" {TEXT_OPEN}\1{TEXT_CLOSE} ", text)
    text = _FONT.sub("", text)
    return _DEGREES.sub(r"^\\circ ", text)


def plain(text: str) -> str:
    """Return cleaned `text` without the marks of text commands."""
    return " ".join(text.replace(TEXT_OPEN, "").replace(TEXT_CLOSE, "").split())


def _ascii(text: str) -> str:
    if text.isascii():
        return _ROOT.sub(_root, text) if "sqrt" in text else text
    text = _ROOT.sub(_root, text)
    text = _CUBE_ROOT.sub(r"\\sqrt[3]{\1}", text)
    text = _POWERS.sub(lambda m: "^{" + m[0].translate(_RAISED_TO_PLAIN) + "}", text)
    text = _INDICES.sub(lambda m: "_{" + m[0].translate(_LOWERED_TO_PLAIN) + "}", text)
    return "".join(_character(c) for c in text)


def _root(found: re.Match[str]) -> str:
    return rf"\sqrt{{{found[1] or found[2] or found[3] or ''}}}"


def _character(character: str) -> str:
    if character.isascii():
        return character
    if character in _SIGNS:
        return _SIGNS[character]
    split = unicodedata.normalize("NFKC", character)
    if "\u2044" in split:  # a fraction in one character
        above, below = split.split("\u2044")
        return rf"\frac{{{above}}}{{{below or '1'}}}"
    return split


def _delimiters(text: str) -> str:
    """Remove the delimiters around a formula; an unclosed dollar sign before a number is money."""
    text = text.replace(r"\(", " ").replace(r"\)", " ").replace(r"\[", " ").replace(r"\]", " ").replace("$$", "$")
    pairs = len(re.findall(r"(?<!\\)\$", text))
    if pairs % 2 == 0:
        return re.sub(r"(?<!\\)\$", "", text)
    return re.sub(r"(?<!\\)\$(?!\s*[0-9.])", "", text)


def _numbers(text: str) -> str:
    text = _SPACED.sub(lambda m: m[1] + m[2].replace(" ", ""), text)
    text = _INFINITY.sub(lambda _: r"\infty", text)
    text = _ROUND_ROOT.sub(r"\\sqrt{\1}", text)
    text = _SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    if r"\frac" in text:
        text = _SHORT_FRACTION.sub(lambda m: rf"\frac{{{m[1] or m[2] or ''}}}{{{m[3] or m[4] or ''}}}", text)
    if "." in text:
        for pattern in (_REPEATING, _REPEATING_ROUND, _REPEATING_DOTS):
            text = pattern.sub(_repeating, text)
    text = _TIMES_TEN.sub(lambda _: r" \times 10^", text)
    text = _BARE_POWER.sub(r"^{\1}", text)
    return _MIXED.sub(_mixed, text)


def _repeating(found: re.Match[str]) -> str:
    whole, fixed, *period = found.groups()
    digits = next(part for part in period if part)
    if len(whole) + len(fixed) + len(digits) > 60:
        return found[0]
    nines = (10 ** len(digits) - 1) * 10 ** len(fixed)
    value = Fraction(int(f"{whole or 0}{fixed}"), 10 ** len(fixed)) + Fraction(int(digits), nines)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _mixed(found: re.Match[str]) -> str:
    if len(found[0]) > 60:
        return found[0]
    whole, above, below = (int(part) for part in found.groups() if part)
    return rf"\frac{{{whole * below + above}}}{{{below}}}" if 0 < above < below else found[0]
