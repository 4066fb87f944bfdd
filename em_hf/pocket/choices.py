"""What the stories choose at random: numbers that stay in range, things, and how a number is written."""

from em_hf.pocket.steps import OutOfRange, Quantity, Story
from em_hf.pocket.words import EVERYTHING, THINGS, invented_things

_WRITTEN = "two three four five six seven eight nine ten eleven twelve".split()


def value_of(quantity: int | Quantity) -> int:
    return quantity.value if isinstance(quantity, Quantity) else quantity


def few(story: Story) -> int:
    return story.rng.choice((story.rng.randint(2, 6), story.rng.randint(2, 10), story.rng.randint(2, 12)))


def amount(story: Story) -> int:
    """A number to begin with, small ones as likely as large ones."""
    rng, largest = story.rng, story.largest
    return rng.choice((rng.randint(3, 20), rng.randint(5, 60), rng.randint(10, 100), rng.randint(10, largest)))


def part(story: Story, whole: int | Quantity) -> int:
    """A number to take from `whole` so that enough is left."""
    most = value_of(whole) - story.smallest
    if most < 2:
        raise OutOfRange
    return story.rng.choice((story.rng.randint(2, most), story.rng.randint(2, min(most, 20))))


def extra(story: Story, quantity: int | Quantity) -> int:
    """A number to add to `quantity` that stays in range."""
    most = story.largest - value_of(quantity)
    if most < 2:
        raise OutOfRange
    return story.rng.choice((story.rng.randint(2, min(most, 100)), story.rng.randint(2, min(most, 20))))


def divisor(story: Story, quantity: int | Quantity) -> int:
    """A number that divides `quantity` into parts of two and more."""
    value = value_of(quantity)
    found = [n for n in range(2, 13) if value % n == 0 and value // n >= story.smallest]
    if not found:
        raise OutOfRange
    return story.rng.choice(found)


def groups(story: Story) -> tuple[int, int]:
    """How many groups, and how many in each."""
    k, m = few(story), few(story)
    if story.rng.random() < 0.3:
        m = story.rng.randint(2, max(2, story.largest // k))
    if k * m > story.largest:
        raise OutOfRange
    return (m, k) if m <= 12 and story.rng.random() < 0.5 else (k, m)


def things(story: Story, among: list[str] = THINGS) -> str:
    """A noun in the plural: one of `among`, or an invented one."""
    if story.rng.random() < story.new:
        return invented_things(story.rng)
    return story.rng.choice(EVERYTHING if among is THINGS and story.rng.random() < 0.1 else among)


def as_word(story: Story, number: int) -> str:
    """A small number now and then as a word."""
    return _WRITTEN[number - 2] if 2 <= number <= 12 and story.rng.random() < 0.12 else str(number)
