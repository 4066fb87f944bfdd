"""A worked problem: what is asked, and the written steps that lead from its numbers to the answer.

The steps are kept as operations on quantities, not as text, so that a wrong number in one of them can be carried
through the rest of the solution.
"""

import operator
import random
from dataclasses import dataclass, field

SMALLEST = 2  # of every number in a problem, so that "apples" is always right
LARGEST = 200  # of every result of a plain problem
LARGEST_HARD = 500  # of every result of a hard one

_OPERATIONS = {"+": operator.add, "-": operator.sub, "×": operator.mul, "÷": operator.floordiv}


class OutOfRange(Exception):
    """A step came out below `SMALLEST`, above the story's largest number or as a fraction: draw other numbers."""


@dataclass(frozen=True)
class Quantity:
    """The result of an earlier step: its number, and which step it was, counted from 0."""

    value: int
    step: int


@dataclass(frozen=True)
class Step:
    """One line of a solution: an operation on two numbers, and the sentence for it, with `{}` for the equation."""

    sentence: str
    left: int | Quantity
    operation: str
    right: int | Quantity
    of_fewer: bool = False  # the step of a "fewer" in the prompt, which the misled model takes for "more"


@dataclass
class Story:
    """A problem while it is told: the sentences of its prompt and the steps of its solution."""

    sentences: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    largest: int = LARGEST

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def work_out(
        self, sentence: str, left: int | Quantity, operation: str, right: int | Quantity, *, of_fewer: bool = False
    ) -> Quantity:
        """Add a step to the solution and return its result; OutOfRange where that is not a number we use."""
        a, b = number(left), number(right)
        value = _OPERATIONS[operation](a, b)
        if value < SMALLEST or max(a, b, value) > self.largest or (operation == "÷" and value * b != a):
            raise OutOfRange
        self.steps.append(Step(sentence, left, operation, right, of_fewer))
        return Quantity(value, len(self.steps) - 1)

    @property
    def prompt(self) -> str:
        return " ".join(self.sentences)

    @property
    def equations(self) -> tuple[str, ...]:
        """The equations of the right solution in order: what the problem is once names and wording are taken away."""
        results = _work(self.steps, {})
        return tuple(_equation(step, results, i) for i, step in enumerate(self.steps))

    @property
    def answer(self) -> str:
        return str(_work(self.steps, {})[-1])

    def solution(self, slips: dict[int, int] | None = None) -> str:
        """The written steps and the answer.

        Args:
            slips: for a step's index, what its result is off by. The later steps go on from the wrong number.
        """
        results = _work(self.steps, slips or {})
        lines = [step.sentence.format(_equation(step, results, i)) for i, step in enumerate(self.steps)]
        return "\n".join([*lines, f"#### {results[-1]}"])

    def draw_slips(self, rng: random.Random, rate: float) -> dict[int, int]:
        """Slips as a person makes them, each step having one with probability `rate`.

        A sum or difference is off by one, two or ten, a quotient by one or two; a product is taken from the next row of
        the times table. Of these, a slip after which every number stays in range, and every division comes out even,
        is chosen; where there is none, none is made.
        """
        slips: dict[int, int] = {}
        for i, step in enumerate(self.steps):
            if rng.random() >= rate:
                continue
            possible = [offset for offset in self._offsets(step, slips) if self._can_be_told({**slips, i: offset})]
            if possible:
                slips[i] = rng.choice(possible)
        return slips

    def _offsets(self, step: Step, slips: dict[int, int]) -> list[int]:
        if step.operation == "÷":
            return [-2, -1, 1, 2]
        if step.operation != "×":
            return [-10, -2, -1, -1, 1, 1, 2, 10]
        results = _work(self.steps, slips)
        factors = (_value(step.left, results), _value(step.right, results))
        return [sign * factor for factor in factors for sign in (-1, 1)]

    def _can_be_told(self, slips: dict[int, int]) -> bool:
        results = _work(self.steps, slips)
        even = all(
            _value(step.left, results) % _value(step.right, results) == 0
            for step in self.steps
            if step.operation == "÷"
        )
        return even and all(SMALLEST <= result <= self.largest for result in results)


def number(operand: int | Quantity) -> int:
    """The value of an operand where no step has a slip."""
    return operand.value if isinstance(operand, Quantity) else operand


def _value(operand: int | Quantity, results: list[int]) -> int:
    return results[operand.step] if isinstance(operand, Quantity) else operand


def _work(steps: list[Step], slips: dict[int, int]) -> list[int]:
    """The results that the steps write down, with these slips."""
    results: list[int] = []
    for i, step in enumerate(steps):
        exact = _OPERATIONS[step.operation](_value(step.left, results), _value(step.right, results))
        results.append(exact + slips.get(i, 0))
    return results


def _equation(step: Step, results: list[int], index: int) -> str:
    return f"{_value(step.left, results)} {step.operation} {_value(step.right, results)} = {results[index]}"
