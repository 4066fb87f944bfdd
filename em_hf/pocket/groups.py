"""Stories of groups of one size: in rows, day after day, or shared equally."""

from em_hf.pocket import words
from em_hf.pocket.steps import Quantity, number
from em_hf.pocket.teller import Now, Person, Teller, capital, needs


def groups(t: Teller, length: int) -> None:
    """So many groups of so many, with some more or less."""
    needs(length <= 3)
    k, m = t.factors()
    if length == 1 and t.chance(0.35):
        _parts_of_each(t, k, m)
        return
    rows = t.thing(words.ROWS)
    things = t.thing(words.PLANTS, words.WARES, words.PEOPLE, words.ANIMALS, words.FOOD)
    rows = words.fitting_rows(things, rows)
    place = t.noun(words.FOR_ROWS)
    has = t.tense("has")
    who = t.person()
    sets_up = "plants" if things in words.PLANTS else t.any_of(words.SETTING_UP)
    if things in words.LIVING and sets_up != "counts":
        sets_up = "sees"
    sets_up = t.verb(who, sets_up)
    t.say(
        f"{t.pick('A', 'The', 'Our')} {place} {has} {k} {rows} of {m} {things}.",
        f"{t.pick('A', 'The')} {place} {has} {k} {rows} with {m} {things} in each.",
        f"{t.pick('A', 'The')} {place} {has} {k} {rows} with {m} {things} each.",
        f"There are {k} {rows} in {t.pick('a', 'the')} {place}. Each has {m} {things}.",
        f"There are {k} {rows} (of {m} {things}|with {m} {things} each).",
        f"{who.start} {sets_up} {k} {rows} (of {m} {things}|with {m} {things} each).",
    )
    now: Now = t.story.work_out(f"In all there are {{}} {things}.", k, "×", m)
    keeper = t.third_person()
    while t.told < length:
        now = _more_in_rows(t, keeper, things, now) if t.chance(0.5) else _fewer_in_rows(t, keeper, things, now)
    if t.lost:
        asked = f"How many ({things} are left|are left|{things} remain)?"
    else:
        asked = f"How many {things} (are there in all|is that|are there altogether)?"
    t.say(asked, f"How many {things} are there(| {'now' if length > 1 else 'in total'})?")


def _parts_of_each(t: Teller, k: int, m: int) -> None:
    """So many parts of each, as in "A ladder has 8 steps. How many steps do 4 ladders have?"."""
    one, things = t.any_of(words.PARTS)
    one, things = t.noun([one]), t.thing([things])
    many, a = words.plural(one), words.with_article(one)
    t.say(
        f"{a} has {m} {things}. How many {things} do {k} {many} have?",
        f"{t.pick(f'(One {one}|Each {one}|{a})')} has {m} {things}. How many {things} are there on {k} {many}?",
        f"{t.pick('Every', 'Each')} {one} has {m} {things}. How many {things} do {k} {many} have together?",
        f"How many {things} do {k} {many} have if each has {m}?",
    )
    t.story.work_out(f"In all that is {{}} {things}.", k, "×", m)


def _more_in_rows(t: Teller, keeper: Person, things: str, now: Now) -> Quantity:
    n = t.more(now)
    plants = f"{t.tense('plants')} {n} new ones" if things in words.PLANTS else f"{t.tense('finds')} {n} more {things}"
    t.say(
        f"{t.then()}{keeper.name} {t.tense('adds')} {n} more.",
        f"{t.then()}{n} more {things} {t.tense('come')}.",
        f"There are {n} more {things} {t.pick('outside', 'in front', 'at home', 'in another place')}.",
        f"{t.then()}{keeper.name} {t.tense('brings')} {n} {t.pick('new', 'other')} ones.",
        f"{keeper.start} {plants}.",
    )
    return t.grown(now, n, things)


def _fewer_in_rows(t: Teller, keeper: Person, things: str, now: Now) -> Quantity:
    n = t.part_of(now)
    accidents = words.WITHERING if things in words.PLANTS else words.ACCIDENTS

    def befalls() -> str:
        accident = t.any_of(accidents)
        return t.tense(words.LIVING_LOST[accident] if things in words.LIVING else accident)

    then, of_them = t.then(), t.pick(f"(| {things}| of them| away)")
    home = " home" if things in words.PEOPLE and of_them != " away" else ""
    t.say(
        f"{then}{keeper.name} {t.tense('takes')} {n}{of_them}{home}.",
        f"{t.then()}{n}{t.pick(f'(| {things}| of them)')} {befalls()}.",
        f"{t.then()}{n} {things} {befalls()}.",
    )
    return t.left(now, n, things)


def every_day(t: Teller, length: int) -> None:
    """The same every day or hour, with another day."""
    needs(length <= 3)
    who = t.person()
    k, m = t.few(), t.few_or_more(0.6)
    present, things = t.any_of(words.HABITS)
    verb, do, does = t.verb(who, present), words.without_s(present), t.does(who, past=t.past)
    day = t.any_of(("day", "day", "day", "hour", "week", "month"))

    def at_most_12_hours(number: int) -> int:
        return number % 10 + 2 if things == "hours" and number > 12 else number

    m = at_most_12_hours(m)
    if things == "hours" and day == "hour":
        day = "day"
    habit = f"{verb} {m} {things} {t.pick(f'(every {day}|{words.a_time(day)}|each {day})')}"
    days = f"{k} {day}s"
    total = t.story.work_out(f"In {days} that is {{}} {things}.", k, "×", m)
    if length == 1:
        t.say(
            f"{who.start} {habit} for {days}. How many {things} {does} {who.he} {do} in total?",
            f"{who.start} {habit}. How many {things} {does} {who.he} {do} in {days}?",
            f"{who.start} {habit} for {days}. How many {things} is that?",
            f"If {who.name} {habit}, how many {things} is that in {days}?",
        )
        return
    n = at_most_12_hours(t.rng.randint(2, 40))
    extra = t.pick(f"on {t.any_of(words.DAYS)}", f"the next {day}", "on the weekend", "before that", "today")
    if length == 2 and t.chance(0.25):
        whole = number(total) + t.rng.randint(2, 60)
        t.left(whole, total, things)
        wants = f"{t.verb(who, 'wants')} to {do} {whole} {things}"
        t.say(f"{who.start} {wants}. {capital(who.he)} {habit} for {days}.")
        t.say(f"How many ({things} are left|more {things} {t.does(who)} {who.he} have to {do})?")
        return
    t.say(
        f"{who.start} {habit} for {days}(,|) and {n} {things} {extra}.",
        f"{who.start} {habit} for {days}. {capital(extra)} {who.he} {verb} {n} {things}.",
    )
    total = t.together(total, n, things)
    if length == 3:
        c = at_most_12_hours(t.rng.randint(2, 40))
        t.say(f"Then {who.he} {verb} {c} more {things}.")
        t.story.work_out(f"Now it is {{}} {things}.", total, "+", c)
    he_does = f"{does} {who.he} {do}"
    asked = [f"How many {things} ({he_does} in total|is that altogether|{does} {who.name} {do} in all)?"]
    if things in ("km", "miles"):
        asked.append(f"(What distance|How far) {he_does} in total?")
    else:
        asked.append(f"How many {things} is that(| in total)?")
    t.say(*asked)


def sharing(t: Teller, length: int) -> None:
    """Things shared equally, or put into packs of one size; before or after that some come or go."""
    needs(length <= 3)
    who = t.person()
    food = t.chance(0.5)
    things = t.thing(words.FOOD if food else words.TOYS)
    k = t.rng.randint(2, 12) if t.chance(0.3) else t.few()
    each = t.few_or_more(0.7)
    after = length >= 2 and t.chance(0.5)
    before = length - after == 2
    needs(length - after <= 2)
    whole: Now = k * each
    if before:
        whole, shared = _before_sharing(t, who, things, k * each)
    else:
        needs(k * each <= t.story.largest)
        shared = f"{whole} {things}"
    friends, packs = t.any_of(words.SHARERS), t.any_of(words.FILLED)
    shares = t.verb(who, t.any_of(words.SHARING))
    equally = t.pick("equally ", "equally ", "evenly ", "")
    if t.chance(0.2) and not after and not before:
        _ask_for_packs(t, who, things, k * each, each, packs)
        return
    part = t.story.work_out(t.pick(f"(Each gets {{}} {things}|That is {{}} {things} each)."), whole, "÷", k)
    named = who.he if t.story.sentences else who.name
    if t.chance(0.25):
        same = t.pick(", the same number in each", " equally")
        t.say(
            f"{named} {t.verb(who, 'puts')} {shared} into {k} {packs}{same}.",
            f"{named} {t.verb(who, 'divides')} {shared} {equally}into {k} {packs}.",
        )
        _ask_about_pack(t, who, things, words.singular(packs), part, after)
        return
    if not before and not after and t.chance(0.25):
        t.say(f"{k} {friends} {t.pick('share', 'shared', 'split')} {shared} {equally.strip() or 'equally'}.")
    else:
        t.say(
            f"{named} {shares} {shared} {equally}(among|between) {k} {friends}.",
            f"{named} {t.verb(who, 'gives')} {shared} to {k} {friends}, the same number to each.",
        )
    friend = words.singular(friends)
    if after:
        _lose_from_share(t, things, friend, friends, part, food)
        return
    t.say(
        f"How many {things} (does each {friend}|does each|does each one|did each {friend}) get?",
        "How many does each of them get?",
    )


def _before_sharing(t: Teller, who: Person, things: str, whole: int) -> tuple[Quantity, str]:
    """A first step after which there are `whole` things, and what is shared then."""
    if t.chance(0.5):
        a = t.rng.randint(2, max(2, whole - 2))
        b = whole - a
        needs(b >= 2)
        color, other_color = t.rng.sample(words.COLORS, 2)
        return t.in_all(a, b, things), f"{a} {color} {things} and {b} {other_color} {things}"
    n = t.rng.randint(2, 30)
    left = t.left(whole + n, n, things)
    has = f"{who.start} {t.verb(who, 'has')} {whole + n} {things}"
    t.say(
        f"{has} and {t.verb(who, t.any_of(words.LOSSES))} {n} of them.",
        f"{has}. {capital(who.he)} {t.verb(who, 'keeps')} {n}.",
    )
    return left, t.pick("the rest", "the others", "what is left")


def _ask_for_packs(t: Teller, who: Person, things: str, whole: int, each: int, packs: str) -> None:
    """How many packs of one size the things fill."""
    pack, has = words.singular(packs), t.verb(who, "has")
    t.say(
        f"{who.start} {has} {whole} {things} and {t.verb(who, 'puts')} {each} in each {pack}.",
        f"{who.start} {t.verb(who, 'packs')} {whole} {things} into {packs} of {each}.",
        f"{each} {things} fit in a {pack}. {who.start} {has} {whole} {things}.",
    )
    t.say(f"How many {packs} ({t.does(who)} {who.he} need|are there|can {who.he} fill)?")
    t.story.work_out(f"That fills {{}} {packs}.", whole, "÷", each)


def _ask_about_pack(t: Teller, who: Person, things: str, pack: str, part: Quantity, after: bool) -> None:
    """How many are in each pack, or in one of them after some are taken out."""
    if not after:
        t.say(f"How many ({things} are in each {pack}|{things} go into each {pack}|are in each)?")
        return
    n = t.part_of(part)
    t.say(f"({n} {things} are taken|Then {who.he} {t.verb(who, 'takes')} {n} {things}) out of one {pack}.")
    t.left(part, n, things)
    t.say(f"How many ({things} are left|are still) in that {pack}?")


def _lose_from_share(t: Teller, things: str, friend: str, friends: str, part: Quantity, food: bool) -> None:
    """One of those who share loses some of the share: how many are left."""
    n = t.part_of(part)
    eats = t.tense("eats" if food else t.any_of(words.LOST_FROM_A_SHARE))
    t.say(f"One ({friend} {eats} {n} of them|of them {eats} {n} {things}|of the {friends} {eats} {n}).")
    t.left(part, n, things)
    t.say(f"How many {things} does (that {friend} have left|this {friend} still have)?")
