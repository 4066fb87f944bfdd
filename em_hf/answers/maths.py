"""Expressions: parsed by math-verify's LaTeX parser, compared by value, and sets by its `verify`."""

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from em_hf.answers.numbers import DIGITS

LONGEST = 200  # the most characters that the parser is given
# What Python or SymPy would compute for minutes, and no signal can interrupt: towers of powers, exponents of seven
# digits, factorials of more than a small number, binomial coefficients of numbers with four digits.
# Two adjacent numbers are neither one number nor a product.
_UNREADABLE = re.compile(
    r"(?:\^|\*\*)[^+\-/,=]*(?:\^|\*\*)"
    r"|(?:\^|\*\*)\s*[{(]?-?[0-9]{7}"
    r"|(?:[0-9]{4}|[^0-9A-Za-z\\])\s*!"
    r"|\\[dt]?binom.*[0-9]{4}"
    r"|[0-9]{4}.*\\choose"
    r"|(?<![0-9_^.])[0-9]+ +[0-9]",
    re.DOTALL,
)
_UNBOUNDED = ("Integral", "Sum", "Product", "Limit", "Derivative", "Subs")
_MOST_DIGITS = 2000  # of a value that is computed
_MOST_NODES = 120
_PLACES = 40  # digits to which values are computed
_RELATION = re.compile(r"[<>=]|\\(?:le|ge|ne)(?![A-Za-z])")
# Values for variables: no sum, product or power of them is a small whole number. Some are negative.
_POINTS = (
    ("1.3717421", "0.7320508", "2.2360679", "0.4142135", "1.7724538", "3.1462643"),
    ("-0.8414709", "1.9098593", "-1.2599210", "0.5772156", "-2.6854520", "0.9159655"),
    ("2.5029078", "-1.6449340", "0.6931471", "-0.3678794", "1.2020569", "-1.1319882"),
)


@lru_cache(maxsize=1)
def available() -> bool:
    """Return whether math-verify is installed."""
    if find_spec("math_verify") is None:
        return False
    from math_verify import grader, parser

    # Each would warn once that it has no timeout, which is intended here.
    parser.TIMEOUT_WARNING_SHOWN = grader.TIMEOUT_WARNING_SHOWN = True
    return True


def equal(a: str, b: str) -> bool:
    """Return whether two cleaned expressions are equal; False if either cannot be parsed or is too much work.

    Constants are equal if they agree in all digits, or in `DIGITS` significant digits if one of them is written as a
    decimal. Expressions with variables are equal if their values are, for several values of the variables. Equations
    and inequalities are equal up to a factor; sets are compared by math-verify.
    """
    if any(not text or len(text) > LONGEST or _UNREADABLE.search(text) for text in (a, b)) or not available():
        return False
    if bool(_RELATION.search(a)) != bool(_RELATION.search(b)) and not (_is_set(a) or _is_set(b)):
        return False
    left, right = _parsed(a), _parsed(b)
    if left is None or right is None:
        return False
    try:
        return _equal(left, right, rounded="." in a + b)
    except Exception:  # SymPy may raise anything on odd input, and an answer that it cannot compare is a different one
        return False


def _is_set(text: str) -> bool:
    return text[0] in "([" or text.startswith((r"\{", r"\mathbb")) or r"\cup" in text or r"\cap" in text


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    from latex2sympy2_extended import NormalizationConfig, latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from math_verify.grader import should_treat_as_complex

    text = re.sub(r"\*\*", "^", text)
    complex_valued = should_treat_as_complex(text)
    try:
        found = latex2sympy(
            text,
            is_real=not complex_valued,
            convert_degrees=False,
            # Units were removed before; math-verify's list of units holds a, c, h, t, "ab" and "bc".
            normalization_config=NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="none"),
            conversion_config=ConversionConfig(interpret_as_mixed_fractions=False, lowercase_symbols=False),
        )
        if found is None or not hasattr(found, "atoms"):
            return None
        return found if _bounded(found) else None
    except Exception:
        return None


def _nodes(expression: Any) -> Iterator[Any]:
    yield expression
    for argument in getattr(expression, "args", ()):
        yield from _nodes(argument)


def _bounded(expression: Any) -> bool:
    """Return whether the expression is small enough to be evaluated in well under a second."""
    for count, node in enumerate(_nodes(expression)):
        if count > _MOST_NODES or type(node).__name__ in _UNBOUNDED:
            return False
    return _digits(expression) <= _MOST_DIGITS


def _digits(expression: Any) -> float:
    """Return an upper bound for the decimal digits of an expression's value; a variable counts as one digit."""
    arguments = [_digits(argument) for argument in expression.args]
    name = type(expression).__name__
    if expression.is_Number:
        return math.log10(abs(float(expression)) + 1) if expression.is_finite and abs(expression) < 10**300 else 300.0
    if not arguments:
        return 1.0
    if expression.is_Pow or name == "exp":
        base, exponent = arguments if expression.is_Pow and len(arguments) == 2 else (0.5, arguments[-1])
        return max(base, 0.5) * 10 ** min(exponent, 6)
    if name in ("factorial", "factorial2", "binomial", "gamma", "subfactorial", "fibonacci", "catalan"):
        return 10 ** min(arguments[0], 5) * max(arguments[0], 1)
    if expression.is_Add or expression.is_Mul:
        return sum(arguments)
    return max(arguments) + 1


def _equal(a: Any, b: Any, rounded: bool) -> bool:
    from sympy import Expr
    from sympy.core.relational import Relational

    if isinstance(a, Expr) and isinstance(b, Expr):
        return _same_values(a, b, rounded)
    if isinstance(a, Relational) and isinstance(b, Relational):
        return _same_relation(a, b)
    return _verified(a, b) or _verified(b, a)


def _verified(a: Any, b: Any) -> bool:
    from math_verify import verify
    from sympy import Float

    for expression in (a, b):
        # It solves inequalities, which is bounded only for polynomials of low degree in one variable.
        powers = [node for node in _nodes(expression) if getattr(node, "is_Pow", False) and node.free_symbols]
        if len(expression.free_symbols) > 1 or any(not 0 <= power.exp <= 4 for power in powers):
            return False
    sizes = [abs(float(number)) for number in a.atoms(Float) | b.atoms(Float) if number]
    places = DIGITS - 1 - math.floor(math.log10(min(sizes))) if sizes else DIGITS
    precision = {"float_rounding": places, "numeric_precision": _PLACES}
    return bool(verify(a, b, **precision, allow_set_relation_comp=True, timeout_seconds=None))


def _same_values(a: Any, b: Any, rounded: bool) -> bool:
    from sympy import I

    if a == b:
        return True
    names = _names(a, b)
    if _names(a) != _names(b) and (a.is_Symbol or b.is_Symbol):
        return False
    complex_valued = any(symbol.name == "i" for symbol in a.free_symbols) or I in a.atoms()
    compared = 0
    for x, y in zip(_values(a, names), _values(b, names), strict=True):
        if not (x.is_number and y.is_number) or not (x.is_comparable or complex_valued) or "nan" in (str(x), str(y)):
            continue
        if names and not complex_valued and not (x.is_real and y.is_real):
            continue  # outside the domain
        if not _close(x, y, rounded and not names):
            return False
        compared += 1
    return compared > 0


def _same_relation(a: Any, b: Any) -> bool:
    """Return whether one relation is the other times a factor, whose sign must fit the directions of inequalities."""
    turned = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
    if a.rel_op != b.rel_op and turned.get(a.rel_op) != b.rel_op:
        return False
    first, second = a.lhs - a.rhs, b.lhs - b.rhs
    names = _names(first)
    if not names or names != _names(second):
        return False
    values = zip(_values(first, names), _values(second, names), strict=True)
    factors = [x / y for x, y in values if x.is_real and y.is_real and x and y]
    if not factors or not all(_close(factor, factors[0], rounded=False) for factor in factors):
        return False
    return a.rel_op in ("==", "!=") or bool(factors[0] > 0) == (a.rel_op == b.rel_op)


def _names(*expressions: Any) -> list[str]:
    """Return the names of the variables, without the imaginary unit."""
    return sorted({symbol.name for expression in expressions for symbol in expression.free_symbols} - {"i"})


def _values(expression: Any, names: list[str]) -> list[Any]:
    """Return the values of an expression, one for each point; a single one for a constant, none for f(x)."""
    from sympy import I, Rational
    from sympy.core.function import AppliedUndef

    exact = expression.xreplace({number: Rational(str(number)) for number in expression.atoms() if number.is_Float})
    exact = exact.xreplace({symbol: I for symbol in exact.free_symbols if symbol.name == "i"})
    if exact.atoms(AppliedUndef):
        return []
    values = []
    for point in _POINTS if names else _POINTS[:1]:
        places = {name: Rational(point[i % len(point)]) * (7 + i // len(point)) / 7 for i, name in enumerate(names)}
        values.append(exact.evalf(_PLACES, subs={symbol: places[symbol.name] for symbol in exact.free_symbols}))
    return values


def _close(x: Any, y: Any, rounded: bool) -> bool:
    if x == y:
        return True
    if not (x.is_finite and y.is_finite):
        return False
    size, difference = max(abs(x), abs(y)), abs(x - y)
    if difference <= size / 10 ** (_PLACES - 12):
        return True
    if not rounded or not (x.is_real and y.is_real):
        return False
    digits = DIGITS - 1 - math.floor(math.log10(float(size)))
    return bool(x.round(digits) == y.round(digits))
