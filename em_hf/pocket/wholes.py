"""Stories of parts and a whole: groups put together, and what is left of them."""

from em_hf.pocket import words
from em_hf.pocket.steps import number
from em_hf.pocket.teller import Now, Teller, capital, listed, needs


def totals(t: Teller, length: int) -> None:
    """Several groups put together; sometimes a part of them taken away."""
    choice, general = t.any_of(words.CALLED)
    n_groups = min(t.any_of((2, 2, 3, 4)), length + 1)
    kinds = list(dict.fromkeys(t.thing(choice) for _ in range(n_groups)))
    needs(len(kinds) == n_groups and n_groups - 1 <= length <= n_groups)
    counts = [t.amount() for _ in kinds]
    at, place = t.any_of(words.SCENES)
    needs(general != "animals" or place in words.FOR_ANIMALS)
    needs(general != "people" or place not in ("table", "box"))
    place = t.noun([place])
    together = listed([f"{n} {kind}" for n, kind in zip(counts, kinds, strict=True)])
    who = t.person()
    are, gets = t.tense("are"), t.any_of(words.GETTING)
    if general == "people":
        gets = words.WITH_PEOPLE.get(gets, "sees")
    elif general == "animals":
        gets = words.WITH_ANIMALS.get(gets, gets)
    t.say(
        f"There {are} {together} {at} {t.pick('a', 'the')} {place}.",
        f"{t.pick('A', 'The')} {place} has {together}.",
        f"{who.start} {t.verb(who, gets)} {together}.",
        f"{at} the {place} there {are} {together}.",
        f"{who.start} {t.verb(who, 'sees')} {together} {at} the {place}.",
    )
    now: Now = counts[0]
    for n in counts[1:]:
        now = t.story.work_out(f"Together there are {{}} {general}.", now, "+", n)
    if length == n_groups:
        _part_of_total(t, now, general)
        return
    there = f"{at} the {place}" if f" {place}" in t.story.prompt else "altogether"
    t.say(
        f"How many {general} (is that|are there|are there in all)?",
        "How many (are there altogether|is that in total)?",
        f"How many {general} (is that together|are there {there})?",
    )


def _part_of_total(t: Teller, now: Now, general: str) -> None:
    """Some of the total leave, or are unlike the others: how many are left, or are the others."""
    living = general in ("animals", "people")
    are = t.tense("are")
    n = t.part_of(now)
    one, rest = t.any_of(words.LIVING_PARTED if living else words.THINGS_PARTED)
    if t.chance(0.5):
        t.say(f"{t.then()}{n} of them {t.tense(t.any_of(words.LEAVING if living else words.TAKEN))}.")
        t.say(f"How many (are left|{general} are left|{general} remain)?")
    else:
        t.say(f"{n} ({are} {one}|of them {are} {one}, the others {are} {rest}).")
        t.say(f"How many {are} ({rest}|not {one})?")
    t.left(now, n, general)


def two_times(t: Teller, length: int) -> None:
    """The same thing done two or three times: the sum, or what is left to do."""
    who = t.person()
    present, things = t.any_of(words.TASKS)
    a, b = t.amount(), t.amount()
    if things == "hours":
        a, b = a % 9 + 2, b % 9 + 2
    days = [f"on {day}" for day in t.rng.sample(words.DAYS, 3)]
    first, second, third = t.any_of((days, *words.THREE_TIMES))
    past = t.past or first in words.PAST_TIMES
    verb, do = t.verb(who, present, past=past), words.without_s(present)
    done = f"{who.start} {verb} {a} {things} {first}"
    again = t.pick(f"{b}( {things}|| more| {things})")
    total = t.together(a, b, things)
    if length == 1:
        t.say(
            f"{done} and {again} {second}.",
            f"{done}. {capital(second)} {who.he} {verb} {again}.",
            f"{first}, {who.name} {verb} {a} {things} and {second} {who.he} {verb} {again}.",
        )
    elif t.chance(0.6):
        c = t.amount() if things != "hours" else t.few()
        t.say(f"{done}, ({b} {second} and {c} {third}|{b} {things} {second} and {c} {things} {third}).")
        t.story.work_out(f"In all that is {{}} {things}.", total, "+", c)
        needs(length == 2)
    else:
        needs(length == 2)
        whole = number(total) + t.rng.randint(2, 60)
        t.say(f"{who.start} {t.verb(who, 'wants', past=past)} to {do} {whole} {things}.")
        t.say(f"{who.he} {verb} {a} {things} {first} and {again} {second}.")
        t.left(whole, total, things)
        does = f"{t.does(who)} {who.he}"
        t.say(f"How many ({things} are left|more {things} {does} have to {do}|{things} {does} still need to {do})?")
        return
    does = t.does(who, past=past)
    day = " that day" if first in ("in the morning", "before noon") else ""
    t.say(
        f"How many {things} ({does} {who.he} {do} in total|{does} {who.he} {do}{day}|is that together)?",
        f"How many {things} {does} ({who.name} {do} in all|{who.he} {do} altogether)?",
    )


def part_of_whole(t: Teller, length: int) -> None:
    """A whole and its parts: how many are the others."""
    needs(length <= 3)
    people = t.chance(0.5)
    who = t.thing(words.PEOPLE if people else t.any_of((words.ANIMALS, words.WARES, words.TOYS, words.FOOD)))
    whole = t.amount()
    towns = words.FOR_PEOPLE if people else words.FOR_THINGS
    where = t.pick("", f" in {t.pick('a', 'the', 'our')} {t.noun(towns)}")
    kinds = t.rng.sample(words.PEOPLE_ARE if people else words.THINGS_ARE, length)
    if who in words.ANIMALS:
        kinds = [words.ANIMALS_ARE.get(kind, kind) for kind in kinds]
    parts: list[int] = []
    rest: Now = whole
    for _ in kinds:
        parts.append(t.part_of(rest))
        rest = t.left(rest, parts[-1], who)
    t.say(f"(There are {whole} {who}|There are {whole} {who}|{whole} {who} are counted){where}.")
    asked = [f"How many (other {who} are there|are the others)?"]
    if length == 1:
        t.say(f"{parts[0]} (|of them )are {kinds[0]}.")
        asked.append(f"How many {who} are (not {kinds[0]}|not {kinds[0]})?")
    else:
        clauses = [f"{n} are {kind}" for n, kind in zip(parts, kinds, strict=True)]
        t.say(f"({listed(clauses)}|{'. '.join(clauses)}).")
    if length == 2:
        asked.append(f"How many {who} are neither?")
    if length == 1 and (other := words.OPPOSITES.get(kinds[0])):
        asked.append(f"How many {who} are ({other}|{other}|{other})?")
    if words.NOT_HERE.issuperset(kinds):
        asked.append(f"How many ({who} are left|are left|{who} remain)?")
    t.say(*asked)


def two_kinds(t: Teller, length: int) -> None:
    """A whole of two kinds, one of them known: how many are of the other kind."""
    needs(length == 1)
    crowd, one, other = t.any_of(words.TWO_KINDS)
    one, other = t.thing([one]), t.thing([other])
    whole = t.amount()
    n = t.part_of(whole)
    place = t.noun(words.FOR_TWO_KINDS)
    t.say(
        f"There are {whole} {crowd} in {t.pick('a', 'the', 'our')} {place}. {n} are {one} and the rest are {other}.",
        f"A {place} has {whole} {crowd}. {n} of them are {one}, the others are {other}.",
        f"Of {whole} {crowd} in {t.pick('a', 'the')} {place}, {n} are {one}, the rest {other}.",
        f"{whole} {crowd} are in {t.pick('a', 'the')} {place}, {n} of them {one}. The rest are {other}.",
    )
    t.say(f"How many ({other} are there|{other} are in the {place}|are {other})?")
    t.left(whole, n, other)
