"""Stories of what somebody has, or of who is in a place: some come and some go, step by step."""

from dataclasses import dataclass

from em_hf.pocket import words
from em_hf.pocket.steps import Quantity, number
from em_hf.pocket.teller import Now, Person, Teller, needs


@dataclass(frozen=True)
class _Holding:
    """What a story counts: the things of one kind that somebody has."""

    who: Person
    things: str
    food: bool


def belongings(t: Teller, length: int) -> None:
    """One person's things, gained and lost, singly or by the pack."""
    who, kind = t.person(), t.any_of((words.FOOD, words.TOYS, words.TOYS, words.WARES))
    things = t.thing(kind)
    _ledger(t, _Holding(who, things, food=kind is words.FOOD), length)
    name = t.mention(who, by_name=0.3)
    do = f"{t.does(who)} {name}"
    asked = [
        f"How many {things} ({do} have now|{do} have|{do} have in the end|are there now)?",
        f"How many {do} have now?",
    ]
    if t.lost:
        asked.append(f"How many {things} (are left|{do} have left|{do} still have|are left|remain)?")
        asked.append(f"How many (are left|{things} did {name} have left)?")
    else:
        asked.append(f"How many {things} {do} have in total?")
    t.say(*asked)


def two_ledgers(t: Teller, length: int) -> None:
    """Two people's things, each gained and lost, then put together or compared."""
    needs(length >= 4)
    things = t.thing()
    one, other = t.third_person(), t.third_person()
    food = things in words.FOOD
    split = t.rng.randint(1, length - 2)
    a = _ledger(t, _Holding(one, things, food), split)
    b = _ledger(t, _Holding(other, things, food), length - 1)
    if t.chance(0.7):
        t.story.work_out(f"Together they have {{}} {things}.", a, "+", b)
        t.say(f"How many {things} do (they have together|{one.known} and {other.known} have in all)?")
        return
    needs(number(a) > number(b))
    t.story.work_out(f"The difference is {{}} {things}.", a, "-", b)
    t.say(f"How many more {things} does {one.known} have than {other.known}?")


def _ledger(t: Teller, held: _Holding, until: int) -> Now:
    """What somebody has at first and what happens to it, until the story has so many steps."""
    now = _beginning(t, held)
    while t.told < until:
        now = _change(t, held, now, until - t.told)
    needs(t.told == until)
    return now


def _beginning(t: Teller, held: _Holding) -> Now:
    """What somebody has at first: a number, so many packs, or two lots."""
    who, things = held.who, held.things
    has, gets = t.verb(who, "has"), t.verb(who, t.any_of(words.GETTING))
    draw = t.rng.random()
    if draw < 0.27:
        return _packs_at_first(t, who, things, gets)
    if draw < 0.37:
        return _two_lots_at_first(t, who, things, gets)
    now = t.amount()
    t.say(
        f"{who.start} ({has}|{gets}|{gets}|{t.verb(who, 'starts')} with) {now} {things}.",
        f"At first {who.name} {has} {now} {things}.",
        f"{who.start} {has} {now} {things} in a {t.noun(words.CONTAINERS)}.",
        f"This morning {who.name} {words.past(t.any_of(words.GETTING))} {now} {t.any_of(words.COLORS)} {things}.",
        f"{who.start} {gets} {now} {things} {t.occasion()}.",
    )
    return now


def _packs_at_first(t: Teller, who: Person, things: str, gets: str) -> Quantity:
    k, m = t.factors()
    packs = t.thing(words.PACKS)
    pack = words.singular(packs)
    where = t.pick("", "", f" at the {t.noun(words.MARKETS)}")
    gets_packs = f"{who.start} {gets} {k} {packs}"
    fills = "filled" if who.first_person else t.verb(who, "fills")
    t.say(
        f"{gets_packs} (with {m} {things} in each|of {m} {things} each).",
        f"{gets_packs} of {things}({where}. There are {m} {things} in each {pack}|. Each {pack} has {m} {things}).",
        f"{t.pick('A', 'One', 'Each')} {pack} holds {m} {things}. {gets_packs}.",
        f"There are {m} {things} in a {pack}. {gets_packs}{where}.",
        f"{gets_packs}. There are {m} {things} in each.",
        f"{who.start} {t.verb(who, 'has')} {k} {packs} with {m} {things} in each of them.",
        f"{who.start} {fills} {k} {packs} with {m} {things} each.",
    )
    return t.story.work_out(t.pick(f"(The {packs} hold|In all that is) {{}} {things}."), k, "×", m)


def _two_lots_at_first(t: Teller, who: Person, things: str, gets: str) -> Quantity:
    """Things of two kinds, or gotten at two times."""
    a, b = t.amount(), t.amount()
    color, other_color = t.rng.sample(words.COLORS, 2)
    if t.chance(0.5):
        t.say(f"{who.start} {gets} {a} {color} {things} and {b} {other_color} {things}.")
        return t.in_all(a, b, things)
    days = [f"on {day}" for day in t.rng.sample(words.DAYS, 2)]
    first, second = t.any_of((days, *words.TWO_TIMES))
    verb = t.any_of(words.GETTING_TWICE)
    if first in words.PAST_TIMES:
        t.say(f"{who.start} {words.past(verb)} {a} {things} {first} and {b} {things} {second}.")
    else:
        again = t.pick("", f"{things} ", "more ")
        t.say(f"{who.start} {t.verb(who, verb)} {a} {things} {first} and {b} {again}{second}.")
    return t.in_all(a, b, things)


def _change(t: Teller, held: _Holding, now: Now, steps_left: int) -> Quantity:
    """Something that happens to somebody's things, in one or two steps."""
    draw = t.rng.random()
    if steps_left >= 2 and draw < 0.22:
        return _packs_come_or_go(t, held, now)
    if draw < 0.30:
        return _doubled_or_halved(t, held, now)
    return _gain(t, held, now) if draw < 0.58 else _lose(t, held, now)


def _gain(t: Teller, held: _Holding, now: Now) -> Quantity:
    who, things = held.who, held.things
    n = t.more(now)
    then, he = t.then(), t.mention(who)
    extra = t.any_of(words.EXTRA)
    bare = [] if "×" in {step.operation for step in t.story.steps} else [f"{n} more", f"another {n}", f"{n} new ones"]
    what = t.pick(f"{n} ({extra} {things}|more {things}|{things})", *bare)  # "12 more" might be packs
    giver = t.companion(who).name
    tail = t.pick("", "", "", f" {t.occasion()}", f" from {giver}")
    t.say(
        f"{then}{he} {t.verb(who, t.any_of(words.GAINS))} {what}{tail}.",
        f"{then}{he} {t.verb(who, t.any_of(words.GAINS))} {what}.",
        f"{then}{he} {t.verb(who, 'gets')} {what} from {giver}.",
        f"{then}{giver} ({t.tense('gives')} {who.him}|{t.tense('brings')} {who.him}|{t.tense('adds')}) {what}.",
    )
    return t.story.work_out(t.pick(f"(Now there are|That makes) {{}} {things}."), now, "+", n)


def _lose(t: Teller, held: _Holding, now: Now) -> Quantity:
    who, things = held.who, held.things
    n = t.part_of(now)
    then, he = t.then(), t.mention(who)
    what = t.pick(f"{n}( {things}| of them|| of the {things}| of {who.his} {things})")
    taker = t.companion(who).name
    losses = words.LOSSES + 2 * words.EATING if held.food else words.LOSSES
    accidents = words.ACCIDENTS + words.SPOILING if held.food else words.ACCIDENTS
    ways = [
        f"{then}{he} {t.verb(who, t.any_of(losses))} {what}.",
        f"{then}{he} {t.verb(who, t.any_of(losses))} {what}.",
        f"{then}{he} {t.verb(who, t.any_of(losses))} {what} {t.any_of(words.OUTINGS)}.",
        f"{then}{he} {t.verb(who, 'gives')} ({what} to {taker}|{taker} {n}{t.pick('', f' {things}', ' of them')}).",
        f"{then}{taker} {t.tense('takes')} {what}.",
        f"{then}{n}{t.pick(f'(| {things}| of them| of the {things})')} {t.tense(t.any_of(accidents))}.",
    ]
    if held.food:
        ways.append(f"{then}{taker} {t.tense('eats')} {what}.")
        ways.append(f"{who.his} {t.any_of(words.EATERS)} {t.pick('ate', 'ate', 'took')} {n}.")
    t.say(*ways)
    return t.story.work_out(t.pick(f"(That leaves|Now there are) {{}} {things}."), now, "-", n)


def _packs_come_or_go(t: Teller, held: _Holding, now: Now) -> Quantity:
    who, things = held.who, held.things
    k, m = t.few(), t.few()
    packs = t.any_of(words.PACKS)
    then, he = t.then(), t.mention(who)
    if t.chance(0.5):
        t.say(
            f"{then}{he} {t.verb(who, t.any_of(words.GAINS))} {k} {packs} of {m} {things} each.",
            f"{then}{he} {t.verb(who, 'buys')} {k} more {packs} with {m} {things} in each.",
            f"{then}{he} {t.verb(who, 'gets')} {m} {things} from each of {k} friends.",
        )
        new = t.story.work_out(f"The new ones are {{}} {things}.", k, "×", m)
        return t.grown(now, new, things)
    people = t.any_of(words.GIVEN_TO)
    t.say(
        f"{then}{he} {t.verb(who, 'gives')} ({m} {things} to each of {k} {people}|{k} {people} {m} {things} each).",
        f"{then}{he} {t.verb(who, 'sells')} {k} {packs} of {m} {things} each.",
        f"{then}{k} {people} {t.tense('take')} {m} {things} each.",
    )
    gone = t.story.work_out(f"That takes {{}} {things}.", k, "×", m)
    return t.left(now, gone, things)


def _doubled_or_halved(t: Teller, held: _Holding, now: Now) -> Quantity:
    who, things = held.who, held.things
    he, then = t.mention(who), t.then()
    again = f"{t.verb(who, 'buys')} as many again as {who.he} {t.verb(who, 'has')}"
    if t.chance(0.5) and 2 * number(now) <= t.story.largest:
        t.say(
            f"{then}{he} ({t.verb(who, 'doubles')} the number of {things}|{again}).",
            f"{then}the number of {things} {t.tense('doubles')}.",
        )
        return t.story.work_out(f"Now there are {{}} {things}.", now, "×", 2)
    needs(number(now) % 2 == 0)
    t.say(
        f"{then}{he} {t.verb(who, 'gives')} half of {t.pick(f'(them|the {things})')} away.",
        f"{then}{he} {t.verb(who, 'loses')} half of {t.pick(f'(them|the {things})')}.",
        f"{then}{he} {t.verb(who, 'sells')} half of {t.pick(f'(them|the {things})')}.",
        f"{then}half of {t.pick(f'(them|the {things})')} {t.tense(t.any_of(words.ACCIDENTS))}.",
    )
    return t.story.work_out(f"Half of them is {{}} {things}.", now, "÷", 2)


def coming_and_going(t: Teller, length: int) -> None:
    """A place that fills and empties."""
    place = t.any_of(words.PLACES)
    name, who = t.noun(place.names), t.thing(place.visitors)
    now = _crowd_at_first(t, place.at, name, who)
    by_day = t.chance(0.15)
    while t.told < length:
        day = f"on {words.DAYS[t.told]}"
        then, when = (f"{day} ", f" {day}") if by_day else (t.then(), "")
        if length - t.told >= 2 and t.chance(0.3):
            now = _go_and_come(t, place, who, now, then)
        else:
            now = _come_or_go(t, place, who, now, then, when)
    there = f"{place.at} the {name}"
    asked = [
        f"How many {who} are ({there} now|{there}|there now|there {there} then|{there} in the end|there in the end)?"
    ]
    if t.lost:
        asked.append(f"How many ({who} are left|are left|{who} are still there|{who} are left {there}|{who} remain)?")
        asked.append(f"How many ({who} are still {there}|stayed)?")
    t.say(*asked)


def _crowd_at_first(t: Teller, at: str, name: str, who: str) -> Now:
    """How many are in a place at first: a number, so many rows, or two kinds."""
    where = t.pick(f"{at} ({words.with_article(name)}|the {name}|our {name}|the {name})")
    are = t.tense("are")
    when = t.pick("", "", "", "", " this morning", " at noon", " at first", " in the morning", " yesterday", " today")
    draw = t.rng.random()
    if draw < 0.2:
        k, m = t.factors()
        rows = t.any_of(words.ROWS)
        t.say(
            f"There {are} {k} {rows} with {m} {who} in each {where}.",
            f"{where} there {are} {k} {rows}( of {m} {who}|. Each has {m} {who}).",
        )
        return t.story.work_out(f"In all there are {{}} {who}.", k, "×", m)
    if draw < 0.32:
        a, b = t.amount(), t.amount()
        color, other_color = t.rng.sample(words.COLORS, 2)
        t.say(
            f"There {are} {a} {color} {who} and {b} {other_color} {who} {where}.",
            f"{where} there {are} {a} {color} and {b} {other_color} {who}.",
        )
        return t.story.work_out(f"Together there are {{}} {who}.", a, "+", b)
    now = t.amount()
    t.say(
        f"There {are} {now} {who} {where}({when}|).",
        f"{now} {who} {are} {where}.",
        f"{where} there {are} {now} {who}.",
        f"{t.pick('a', 'the', 'our')} {name} {t.tense('has')} {now} {who}.",
        f"{t.pick('A', 'The')} {name} {t.tense('starts')} with {now} {who}.",
    )
    return now


def _go_and_come(t: Teller, place: words.Place, who: str, now: Now, then: str) -> Quantity:
    """Some go and others come, as in "At the market 19 get off and 12 get on"."""
    n = t.part_of(now)
    go, come = t.tense(t.any_of(place.go)), t.tense(t.any_of(place.come))
    now = t.left(now, n, who)
    m = t.more(now)
    stop = t.pick("", "", f"at the {t.noun(words.STOPS)} ")
    joint = t.pick(" and ", " and ", ", and ", ", then ", ". Then ")
    goers, comers = t.pick("", f" {who}", " of them"), t.pick("", " more", " new ones", " others")
    t.say(f"{then or stop}{n}{goers} {go}{joint}{m}{comers} {come}.")
    return t.grown(now, m, who)


def _come_or_go(t: Teller, place: words.Place, who: str, now: Now, then: str, when: str) -> Quantity:
    comes = t.chance(0.5)
    n = t.more(now) if comes else t.part_of(now)
    verb = t.tense(t.any_of(place.come if comes else place.go))
    if comes:
        what = t.pick(f"{n} (more {who}|more|{who}|new {who})", f"another {n}")
    else:
        what = t.pick(f"{n}(| of them| {who}| of the {who})")
    t.say(f"({then}{what} {verb}|{then}{what} {verb}|{what} {verb}{when}).")
    return t.grown(now, n, who) if comes else t.left(now, n, who)
