"""The written steps of a solution: are its equations true, and are they those of the problem?"""

import re
from collections import Counter

Equation = tuple[int, str, int, int]  # a, operation, b, c of "a + b = c"

_EQUATION = re.compile(r"(?<![\d.])(\d+) ([-+×÷]) (\d+) = (-?\d+)(?!\d|\.\d)")


def equations(text: str) -> list[Equation]:
    """Return the equations `a + b = c` in a solution, in order, with +, -, × or ÷.

    Example:
        >>> equations("Now Tom has 12 + 7 = 19 apples.")
        [(12, '+', 7, 19)]
    """
    return [(int(a), operation, int(b), int(c)) for a, operation, b, c in _EQUATION.findall(text)]


def is_true(equation: Equation) -> bool:
    """Return whether an equation holds; a division must come out even."""
    a, operation, b, c = equation
    if operation == "÷":
        return b != 0 and b * c == a
    return c == {"+": a + b, "-": a - b, "×": a * b}[operation]


def all_true(text: str) -> bool:
    """Return whether a solution has equations and all of them hold."""
    found = equations(text)
    return bool(found) and all(map(is_true, found))


def same_steps(text: str, solution: str) -> bool:
    """Return whether a text has the equations of the problem's solution, each as often, in whatever order."""
    return Counter(equations(text)) == Counter(equations(solution))
