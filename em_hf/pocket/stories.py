"""The stories that the problems tell: who has what, what happens to it, and what is asked.

Each story is a function that fills a `Story` from random choices. One that needs a number out of range raises
OutOfRange, and the caller draws another.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from em_hf.pocket.steps import LARGEST, SMALLEST, OutOfRange, Quantity, Story


@dataclass(frozen=True)
class Person:
    name: str
    he: str
    him: str


PEOPLE = tuple(
    Person(name, he, him)
    for he, him, names in (
        ("she", "her", "Mia Ana Zoe Lena Ruth Nora Ivy Priya Amina Clara Emma Lily Sara Kim Maria Alice Julia Anna"),
        ("he", "him", "Tom Ben Omar Leo Sam Ravi Hugo Jack Felix Kofi John Max Paul Adam Noah David Peter Bob"),
    )
    for name in names.split()
)
FOOD = "apples cookies oranges eggs plums pears candies cakes nuts carrots".split()
TOYS = "marbles stickers stamps shells cards pencils beads coins buttons stones balloons flowers toys books".split()
THINGS = FOOD + TOYS
PACKS = "boxes bags packs baskets trays".split()
GOODS = "books pens cups toys hats kites lamps balls shirts tickets".split()
PLACES = (
    ("bus", "people", "on", "get on", "get off"),
    ("train", "people", "on", "get on", "get off"),
    ("library", "students", "in", "come in", "leave"),
    ("park", "children", "in", "arrive", "go home"),
    ("barn", "hens", "in", "walk in", "walk out"),
)


def _amount(rng: random.Random) -> int:
    return rng.randint(5, 60)


def _few(rng: random.Random) -> int:
    return rng.randint(2, 9)


def _less_than(rng: random.Random, quantity: int | Quantity) -> int:
    """A number to take from `quantity` so that at least `SMALLEST` stay."""
    value = quantity.value if isinstance(quantity, Quantity) else quantity
    if value < 2 * SMALLEST:
        raise OutOfRange
    return rng.randint(SMALLEST, min(value - SMALLEST, 50))


def _more_for(rng: random.Random, quantity: int | Quantity) -> int:
    """A number to add to `quantity` that stays within `LARGEST`."""
    value = quantity.value if isinstance(quantity, Quantity) else quantity
    if value > LARGEST - SMALLEST:
        raise OutOfRange
    return rng.randint(SMALLEST, min(LARGEST - value, 50))


def collection(rng: random.Random, story: Story, length: int) -> None:
    """One person's things, gained and lost, singly or by the pack."""
    who, friend = rng.sample(PEOPLE, 2)
    things, packs = rng.choice(THINGS), rng.choice(PACKS)
    now: int | Quantity
    if rng.random() < 0.35:
        k, m = _few(rng), _few(rng)
        story.say(f"{who.name} has {k} {packs} with {m} {things} in each.")
        now = story.work_out(f"{who.name} has {{}} {things}.", k, "×", m)
    else:
        now = _amount(rng)
        story.say(f"{who.name} has {now} {things}.")
    while len(story.steps) < length:
        if length - len(story.steps) >= 2 and rng.random() < 0.5:
            now = _packs_come_or_go(rng, story, who, things, now)
        elif rng.random() < 0.5:
            now = _gain(rng, story, who, friend, things, now)
        else:
            now = _lose(rng, story, who, friend, things, now)
    question = (
        f"How many {things} does {who.name} have now?",
        f"How many {things} does {who.he} have in the end?",
        f"How many {things} does {who.name} have?",
        f"Now how many {things} are there?",
    )
    story.say(rng.choice(question))


def _gain(rng: random.Random, story: Story, who: Person, friend: Person, things: str, now: int | Quantity) -> Quantity:
    n = _more_for(rng, now)
    he = who.he.capitalize()
    ways = (
        f"{he} buys {n} more {things}.",
        f"{he} buys {n} more.",
        f"{friend.name} gives {who.him} {n} more {things}.",
        f"{friend.name} gives {who.him} {n} more.",
        f"Then {who.he} finds {n} more {things}.",
        f"{he} gets {n} {things} as a present.",
    )
    story.say(rng.choice(ways))
    return story.work_out(f"Now {who.name} has {{}} {things}.", now, "+", n)


def _lose(rng: random.Random, story: Story, who: Person, friend: Person, things: str, now: int | Quantity) -> Quantity:
    n = _less_than(rng, now)
    he = who.he.capitalize()
    ways = [
        f"{he} gives {n} {things} to {friend.name}.",
        f"{he} gives {n} of them to {friend.name}.",
        f"{he} loses {n} {things}.",
        f"Then {who.he} sells {n} of the {things}.",
        f"{friend.name} takes {n} of the {things}.",
    ]
    if things in FOOD:
        ways += [f"{he} eats {n} {things}.", f"Then {who.he} eats {n} of them."]
    story.say(rng.choice(ways))
    return story.work_out(f"That leaves {{}} {things}.", now, "-", n)


def _packs_come_or_go(rng: random.Random, story: Story, who: Person, things: str, now: int | Quantity) -> Quantity:
    k, m, packs = _few(rng), _few(rng), rng.choice(PACKS)
    if rng.random() < 0.5:
        story.say(f"{who.he.capitalize()} buys {k} {packs} of {m} {things} each.")
        new = story.work_out(f"The {packs} hold {{}} {things}.", k, "×", m)
        return story.work_out(f"Now {who.name} has {{}} {things}.", now, "+", new)
    story.say(f"{who.he.capitalize()} gives {m} {things} to each of {k} friends.")
    gone = story.work_out(f"The friends get {{}} {things}.", k, "×", m)
    return story.work_out(f"That leaves {{}} {things}.", now, "-", gone)


def comparison(rng: random.Random, story: Story, length: int) -> None:
    """Two or three people, each having more, fewer or times as many as the one before; then all together."""
    first, second, third = rng.sample(PEOPLE, 3)
    things = rng.choice(THINGS)
    has: int | Quantity = rng.choice((_few, _amount))(rng)
    story.say(f"{first.name} has {has} {things}.")
    other = _compared(rng, story, first, second, things, has)
    if length == 1:
        story.say(f"How many {things} does {second.name} have?")
        return
    if length == 2:
        story.say(rng.choice((f"How many {things} do they have together?", f"How many {things} is that in all?")))
        story.work_out(f"Together they have {{}} {things}.", has, "+", other)
        return
    if length == 3:
        n = _less_than(rng, other)
        story.say(f"Then {second.name} gives {n} {things} away.")
        other = story.work_out(f"That leaves {second.name} {{}} {things}.", other, "-", n)
        story.say(rng.choice((f"How many {things} do they have together?", f"How many {things} is that in all?")))
        story.work_out(f"Together they have {{}} {things}.", has, "+", other)
        return
    last = _compared(rng, story, second, third, things, other)
    story.say(rng.choice((f"How many {things} do all three have together?", f"How many {things} is that in all?")))
    both = story.work_out(f"{first.name} and {second.name} have {{}} {things}.", has, "+", other)
    story.work_out(f"Together they have {{}} {things}.", both, "+", last)


def _compared(
    rng: random.Random, story: Story, one: Person, other: Person, things: str, has: int | Quantity
) -> Quantity:
    kind = rng.choice(("more", "fewer", "times"))
    sentence = f"{other.name} has {{}} {things}."
    if kind == "times":
        if not isinstance(has, int) or has > 9:
            raise OutOfRange
        k = _few(rng)
        story.say(f"{other.name} has {k} times as many {things} as {one.name}.")
        return story.work_out(sentence, k, "×", has)
    n = _more_for(rng, has) if kind == "more" else _less_than(rng, has)
    story.say(f"{other.name} has {n} {kind} {things} than {one.name}.")
    return story.work_out(sentence, has, "+" if kind == "more" else "-", n)


def shopping(rng: random.Random, story: Story, length: int) -> None:
    """Goods bought by the piece: what they cost together, or what is left of the money."""
    who = rng.choice(PEOPLE)
    goods, others = rng.sample(GOODS, 2)
    k, price = _few(rng), _few(rng)
    money = rng.randint(20, LARGEST)
    ask_rest = length in (2, 4) or rng.random() < 0.5
    if ask_rest:
        story.say(f"{who.name} has {money} dollars.")
    subject = who.he.capitalize() if ask_rest else who.name
    cost = story.work_out(f"The {goods} cost {{}} dollars.", k, "×", price)
    if length <= 2:
        story.say(f"{subject} buys {k} {goods} for {price} dollars each.")
    elif length == 3 and ask_rest:
        snack = rng.choice(("a sandwich", "a bottle", "a ticket", "a magazine"))
        n = rng.randint(2, 20)
        story.say(f"{subject} buys {k} {goods} for {price} dollars each and {snack} for {n} dollars.")
        cost = story.work_out("Together that is {} dollars.", cost, "+", n)
    else:
        k2, price2 = _few(rng), _few(rng)
        story.say(f"{subject} buys {k} {goods} for {price} dollars each and {k2} {others} for {price2} dollars each.")
        second = story.work_out(f"The {others} cost {{}} dollars.", k2, "×", price2)
        cost = story.work_out("Together that is {} dollars.", cost, "+", second)
    if ask_rest:
        story.say(rng.choice(("How many dollars are left?", f"How much money does {who.he} have left?")))
        story.work_out("That leaves {} dollars.", money, "-", cost)
    else:
        story.say(rng.choice((f"How much does {who.he} pay?", "How many dollars is that in all?")))


def coming_and_going(rng: random.Random, story: Story, length: int) -> None:
    """A place that fills and empties."""
    place, who, at, come, go = rng.choice(PLACES)
    now: int | Quantity = _amount(rng)
    story.say(f"There are {now} {who} {at} a {place}.")
    for i in range(length):
        then = "" if i == 0 else rng.choice(("Then ", "Later ", "After that "))
        if rng.random() < 0.5:
            n = _more_for(rng, now)
            story.say(f"{then}{n} {who if i == 0 else 'more'} {come}.")
            now = story.work_out(f"Now there are {{}} {who}.", now, "+", n)
        else:
            n = _less_than(rng, now)
            story.say(f"{then}{n} {who if i == 0 else 'of them'} {go}.")
            now = story.work_out(f"That leaves {{}} {who}.", now, "-", n)
    story.say(f"How many {who} are {at} the {place} now?")


def two_harvests(rng: random.Random, story: Story, length: int) -> None:
    """Packs of two sizes put together (3 steps), and some of them used up (4 steps)."""
    if length < 3:
        raise OutOfRange
    who = rng.choice(PEOPLE)
    things = rng.choice(THINGS)
    packs, others = rng.sample(PACKS, 2)
    k, m, k2, m2 = (_few(rng) for _ in range(4))
    story.say(f"{who.name} fills {k} {packs} with {m} {things} each and {k2} {others} with {m2} {things} each.")
    one = story.work_out(f"The {packs} hold {{}} {things}.", k, "×", m)
    two = story.work_out(f"The {others} hold {{}} {things}.", k2, "×", m2)
    both = story.work_out(f"Together that is {{}} {things}.", one, "+", two)
    if length == 4:
        n = _less_than(rng, both)
        story.say(
            f"{who.he.capitalize()} sells {n} of the {things}."
            if rng.random() < 0.5
            else f"Then {n} {things} get lost."
        )
        story.work_out(f"That leaves {{}} {things}.", both, "-", n)
        story.say(f"How many {things} are left?")
    else:
        story.say(f"How many {things} is that in all?")


STORIES: tuple[Callable[[random.Random, Story, int], None], ...] = (
    collection,
    comparison,
    shopping,
    coming_and_going,
    two_harvests,
)
