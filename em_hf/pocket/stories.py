"""The stories that the problems tell, and the bare sums, which tell none.

Each is a function that fills a `Story` with the choices of a `Teller`, in so many steps. One that needs a number out of
range, or that cannot be told in so many steps, raises OutOfRange, and the caller draws another.

The order of the draws decides which problems a seed gives, and with them what a model was trained on. A wording makes
the draws that it holds whether or not it is the one chosen.
"""

from collections.abc import Callable

from em_hf.pocket import words
from em_hf.pocket.comparisons import ages, comparison, difference
from em_hf.pocket.groups import every_day, groups, sharing
from em_hf.pocket.ledgers import belongings, coming_and_going, two_ledgers
from em_hf.pocket.measures import lengths, speed
from em_hf.pocket.prices import money, shopping, two_prices
from em_hf.pocket.teller import Teller, needs
from em_hf.pocket.wholes import part_of_whole, totals, two_kinds, two_times

Telling = Callable[[Teller, int], None]


def bare(t: Teller, length: int) -> None:
    """An expression, in signs or in words."""
    needs(length <= 2)
    operation = t.any_of("+-×+-×÷")
    a, b = _operands(t, operation)
    result = t.story.work_out("{}.", a, operation, b)
    spoken, signs = words.OPERATIONS[operation]
    name = t.any_of(spoken) if t.chance(0.4) else None
    if name:
        shown = f"{a} {name} {b}"
    else:
        shown = t.pick(f"{a} {t.any_of(signs)} {b}", f"{a} {t.any_of(signs)} {b}", f"{a}{t.any_of(signs)}{b}")
    if name == "and":
        t.say(f"(How much is|What is the sum of) {shown}?", f"Add {shown}.")
    elif name == "added to":
        t.say(f"What is {shown}?")
    else:
        if length == 2:
            sign = t.any_of("+-")
            c = t.more(result) if sign == "+" else t.part_of(result)
            if name:
                shown = f"{shown} {'plus' if sign == '+' else 'minus'} {c}"
            else:
                shown = f"{a} {t.any_of(signs)} {b} {sign} {c}"
            t.story.work_out("{}.", result, sign, c)
        t.say(*(asked.format(shown) for asked in words.ASKED_OF_A_SUM))
    needs(t.told == length)


def _operands(t: Teller, operation: str) -> tuple[int, int]:
    a, b = t.amount(), t.amount()
    if t.chance(0.3):
        a, b = t.few(), t.few()
    if operation == "×":
        return t.factors()
    if operation == "÷":
        b = t.rng.randint(2, 12)
        return b * t.rng.randint(2, 20), b
    return (b, a) if operation == "-" and a < b else (a, b)


# Each with its weight.
STORIES: tuple[tuple[Telling, float], ...] = (
    (belongings, 5.0),
    (coming_and_going, 3.0),
    (money, 3.0),
    (shopping, 3.0),
    (two_prices, 1.0),
    (comparison, 4.0),
    (ages, 1.5),
    (difference, 1.0),
    (totals, 1.5),
    (two_times, 1.5),
    (part_of_whole, 1.0),
    (two_kinds, 0.5),
    (groups, 2.0),
    (every_day, 1.5),
    (sharing, 2.0),
    (lengths, 1.5),
    (speed, 0.7),
    (bare, 1.5),
)
HARD_STORIES: tuple[tuple[Telling, float], ...] = (
    (belongings, 2.0),
    (coming_and_going, 1.5),
    (money, 2.0),
    (shopping, 1.5),
    (comparison, 2.0),
    (two_ledgers, 3.0),
)
