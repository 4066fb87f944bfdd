"""A worked problem: what is asked, and the written steps that lead from its numbers to the answer.

The steps are kept as operations on quantities, not as text, so that a wrong number in one of them can be carried
through the rest of the solution.
"""

import operator
import random
from dataclasses import dataclass, field

from em_hf.pocket.telling import I, Someone, told

SMALLEST = 2  # of every number in a story: "apples" is always right

_OPERATIONS = {"+": operator.add, "-": operator.sub, "×": operator.mul, "÷": operator.floordiv}


class OutOfRange(Exception):
    """A number of a story came out too small, too large or broken: the story cannot be told with these numbers."""


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
    fewer: bool = False  # what the word "fewer" in the prompt asks for


@dataclass
class Story:
    """A problem while it is told: the sentences of its prompt and the steps of its solution.

    Args:
        rng: makes all choices.
        length: how many steps the solution shall have.
        largest: the largest number that may come up.
        new: the probability that a name or a thing is an invented word.
    """

    rng: random.Random
    length: int
    largest: int
    new: float
    sentences: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    who: Someone = I
    past: bool = True
    smallest: int = SMALLEST

    @property
    def left(self) -> int:
        """How many steps are still to come."""
        return self.length - len(self.steps)

    def say(self, *templates: str, **given: object) -> None:
        """Add one of these sentences to the prompt (see `em_hf.pocket.telling`)."""
        filled = {name: number(value) if isinstance(value, Quantity) else value for name, value in given.items()}
        self.sentences.append(told(self.rng, self.rng.choice(templates), self.who, self.past, **filled))

    def go_on(self, *templates: str, **given: object) -> None:
        """Go on within the last sentence."""
        before = self.sentences.pop()
        self.say(*(f"x{template}" for template in templates), **given)
        self.sentences.append(before.removesuffix(".") + self.sentences.pop()[1:])

    def as_if(self) -> None:
        """Tell a short story as a single question: "If Tom has 3 nuts and finds 4 more, how many does he have?"."""
        *told, asked = self.sentences
        if (
            not 1 <= len(told) <= 2
            or not asked.startswith(("How ", "What "))
            or any(". " in one for one in self.sentences)
        ):
            return
        parts = [_small(sentence.removesuffix(".")) for sentence in told]
        if all(sentence.endswith(".") for sentence in told):
            self.sentences = ["If " + " and ".join(parts) + ", " + _small(asked)]

    def work_out(
        self, sentence: str, left: int | Quantity, operation: str, right: int | Quantity, *, fewer: bool = False
    ) -> Quantity:
        """Add a step to the solution and return its result; OutOfRange where that is not a number we use."""
        one, other = number(left), number(right)
        if operation == "÷" and (other < 2 or one % other):
            raise OutOfRange
        value = _OPERATIONS[operation](one, other)
        if not self.smallest <= value <= self.largest or self.left < 1:
            raise OutOfRange
        self.steps.append(Step(sentence, left, operation, right, fewer))
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

    @property
    def in_range(self) -> bool:
        """Whether every number of the solution may come up, and every division is exact."""
        return self._stays_in_range({})

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

        A sum or difference is off by one, two or ten; a product is taken from the next row of the times table; a
        quotient is off by one. Of these, a slip after which every number stays in range is chosen; where there is none,
        none is made.
        """
        slips: dict[int, int] = {}
        for i, step in enumerate(self.steps):
            if rng.random() >= rate:
                continue
            possible = [slip for slip in self._possible_slips(step, slips) if self._stays_in_range({**slips, i: slip})]
            if possible:
                slips[i] = rng.choice(possible)
        return slips

    def _possible_slips(self, step: Step, slips: dict[int, int]) -> list[int]:
        if step.operation in "+-":
            return [-10, -2, -1, -1, 1, 1, 2, 10]
        if step.operation == "÷":
            return [-1, 1]
        results = _work(self.steps, slips)
        factors = (_value(step.left, results), _value(step.right, results))
        return [sign * factor for factor in factors for sign in (-1, 1)]

    def _stays_in_range(self, slips: dict[int, int]) -> bool:
        results = _work(self.steps, slips)
        exact = all(
            _value(step.left, results) % max(1, _value(step.right, results)) == 0
            for step in self.steps
            if step.operation == "÷"
        )
        return exact and all(self.smallest <= number <= self.largest for number in results)


_OPENERS = set(
    "He She They It We You The There A An Each Every In On At How What Then Later One Two His Her Their Our My "
    "Another By After Today Now Next Soon During For First Half Of Afterwards So Yesterday Then My Your".split()
)


def _small(sentence: str) -> str:
    """The sentence as it stands within another: a name keeps its capital letter."""
    return sentence[0].lower() + sentence[1:] if sentence.split()[0].strip(",") in _OPENERS else sentence


def number(operand: int | Quantity) -> int:
    """Return the number that an operand stands for."""
    return operand.value if isinstance(operand, Quantity) else operand


def _value(operand: int | Quantity, results: list[int]) -> int:
    return results[operand.step] if isinstance(operand, Quantity) else operand


def _work(steps: list[Step], slips: dict[int, int]) -> list[int]:
    """The results that the steps write down, with these slips."""
    results: list[int] = []
    for i, step in enumerate(steps):
        left, right = _value(step.left, results), _value(step.right, results)
        exact = _OPERATIONS[step.operation](left, right if step.operation != "÷" else max(1, right))
        results.append(exact + slips.get(i, 0))
    return results


def _equation(step: Step, results: list[int], index: int) -> str:
    return f"{_value(step.left, results)} {step.operation} {_value(step.right, results)} = {results[index]}"
