"""What the stories choose at random: numbers that stay in range, things, and how both are written."""

from em_hf.pocket.steps import OutOfRange, Quantity, Story, number
from em_hf.pocket.telling import conjugated, named
from em_hf.pocket.words import EVERYTHING, GOODS, THINGS, invented, invented_things

Number = int | Quantity

_WRITTEN = "two three four five six seven eight nine ten eleven twelve".split()


def few(story: Story) -> int:
    return story.rng.randint(2, story.rng.choice((6, 10, 12)))


def amount(story: Story) -> int:
    """Return a number to begin with, small ones as likely as large ones."""
    rng = story.rng
    return rng.randint(*rng.choice(((3, 20), (5, 60), (10, 100), (10, story.largest))))


def part(story: Story, whole: Number) -> int:
    """Return a number to take from `whole` so that enough is left."""
    most = number(whole) - story.smallest
    if most < 2:
        raise OutOfRange
    return story.rng.randint(2, story.rng.choice((most, min(most, 20))))


def extra(story: Story, quantity: Number) -> int:
    """Return a number to add to `quantity` that stays in range."""
    most = story.largest - number(quantity)
    if most < 2:
        raise OutOfRange
    return story.rng.randint(2, min(most, story.rng.choice((100, 20))))


def divisor(story: Story, quantity: Number) -> int:
    """Return a number that divides `quantity` into parts of two and more."""
    value = number(quantity)
    found = [n for n in range(2, 13) if value % n == 0 and value // n >= story.smallest]
    if not found:
        raise OutOfRange
    return story.rng.choice(found)


def groups(story: Story) -> tuple[int, int]:
    """Return how many groups, and how many in each; one of the two is at most 12."""
    k, m = few(story), few(story)
    if story.rng.random() < 0.3:
        m = story.rng.randint(2, max(2, story.largest // k))
    if k * m > story.largest:
        raise OutOfRange
    return (m, k) if m <= 12 and story.rng.random() < 0.5 else (k, m)


def share(story: Story) -> tuple[int, int]:
    """Return among how many something is shared, and how much that is."""
    k, m = groups(story)
    return k, k * m


def things(story: Story, among: list[str] = THINGS) -> str:
    """Return a noun in the plural: one of `among`, or an invented one."""
    if story.rng.random() < story.new:
        return invented_things(story.rng)
    return story.rng.choice(EVERYTHING if among is THINGS and story.rng.random() < 0.1 else among)


def a_good(story: Story, new: float | None = None) -> str:
    """Return what a shop sells, in the singular; invented with probability `new`, by default the story's."""
    is_new = story.rng.random() < (story.new if new is None else new)
    return invented(story.rng) if is_new else story.rng.choice(GOODS)


def named_new(story: Story) -> str:
    """Return a name, which may be an invented one."""
    return named(story.rng, story.new).name


def as_word(story: Story, n: int) -> str:
    """Return a number as it is written: a small one now and then as a word."""
    return _WRITTEN[n - 2] if 2 <= n <= 12 and story.rng.random() < 0.12 else str(n)


def dollars(story: Story, n: int) -> str:
    return f"${n}" if story.rng.random() < 0.25 else f"{as_word(story, n)} dollars"


def does(story: Story) -> str:
    """Return the subject as a question has it: "does Tom", "did she", "do I"."""
    verb = conjugated("do", story.who.person, story.past)
    return f"{verb} {story.rng.choice((story.who.name, story.who.name, story.who.he))}"


def has(story: Story) -> str:
    """Return how a step says what the subject has: "Tom has", "You have"."""
    if story.who.person == "1":
        return "You have"
    name = story.who.name
    return f"{name[0].upper()}{name[1:]} {'have' if story.who.person == 'p' else 'has'}"
