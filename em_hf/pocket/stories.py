"""The stories that the problems tell: who has what, what happens to it, and what is asked.

Each story is a function that fills a `Story` with the choices of a `Teller`, in so many steps. One that needs a number
out of range, or that cannot be told in so many steps, raises OutOfRange, and the caller draws another.
"""

from collections.abc import Callable

from em_hf.pocket import words
from em_hf.pocket.steps import OutOfRange, Quantity, number
from em_hf.pocket.teller import Person, Teller, capital

Now = int | Quantity


def _total(t: Teller, things: str) -> str:
    """How a solution says a sum."""
    return t.pick(
        f"Together that is {{}} {things}.", f"In total there are {{}} {things}.", f"That makes {{}} {things}."
    )


def _needs(condition: bool) -> None:
    if not condition:
        raise OutOfRange


# Somebody's things, or the things in a place, gained and lost


def belongings(t: Teller, length: int) -> None:
    """One person's things, gained and lost, singly or by the pack."""
    who, kind = t.person(), t.any_of(("food", "toys", "toys", "wares"))
    things = t.thing({"food": words.FOOD, "toys": words.TOYS, "wares": words.WARES}[kind])
    now = _beginning(t, who, things)
    while len(t.story.steps) < length:
        now = _change(t, who, things, now, kind, length - len(t.story.steps))
    _needs(len(t.story.steps) == length)
    lost = t.story.steps[-1].operation == "-"
    name = who.known if t.chance(0.3) else who.he
    do = t.does(who)
    asked = [
        f"How many {things} {do} {name} have now?",
        f"How many {things} {do} {name} have?",
        f"How many {things} {do} {name} have in the end?",
        f"How many {things} are there now?",
        f"How many {do} {name} have now?",
        f"How many {things} {do} {name} have in total?" if not lost else f"How many {things} are left?",
    ]
    if lost:
        asked += [
            f"How many {things} {do} {name} have left?",
            f"How many {things} {do} {name} still have?",
            f"How many {things} are left?",
            f"How many {things} remain?",
            f"How many are left?",
            f"How many {things} {t.does(who, past=True)} {name} have left?",
        ]
    t.say(t.any_of(asked))


def _beginning(t: Teller, who: Person, things: str) -> Now:
    """What somebody has at first: a number, so many packs, or two kinds."""
    he, has = who.he, t.verb(who, "has", "had")
    verb = t.verb(who, *t.any_of(words.GETTING))
    draw = t.rng.random()
    if draw < 0.27:
        k, m = t.factors()
        packs = t.thing(words.PACKS)
        pack = words.singular(packs)
        where = t.pick("", "", f" at the {t.noun(('market', 'shop', 'store', 'fair'))}")
        t.say(
            t.pick(
                f"{who.start} {verb} {k} {packs} with {m} {things} in each.",
                f"{who.start} {verb} {k} {packs} of {m} {things} each.",
                f"{who.start} {verb} {k} {packs} of {things}{where}. There are {m} {things} in each {pack}.",
                f"{who.start} {verb} {k} {packs} of {things}. Each {pack} has {m} {things}.",
                f"{t.pick('A', 'One', 'Each')} {pack} holds {m} {things}. {who.start} {verb} {k} {packs}.",
                f"There are {m} {things} in a {pack}. {who.start} {verb} {k} {packs}{where}.",
                f"{who.start} {verb} {k} {packs}. There are {m} {things} in each.",
                f"{who.start} {has} {k} {packs} with {m} {things} in each of them.",
                f"{who.start} fills {k} {packs} with {m} {things} each."
                if not who.i and not t.past
                else f"{who.start} filled {k} {packs} with {m} {things} each.",
            )
        )
        return t.story.work_out(t.pick(f"The {packs} hold {{}} {things}.", f"In all that is {{}} {things}."), k, "×", m)
    if draw < 0.37:
        a, b = t.amount(), t.amount()
        first, second = t.rng.sample(words.COLORS, 2)
        two = t.chance(0.5)
        if two:
            t.say(f"{who.start} {verb} {a} {first} {things} and {b} {second} {things}.")
        else:
            days = t.rng.sample(words.DAYS, 2)
            one, other = t.any_of((
                (f"on {days[0]}", f"on {days[1]}"), ("in the morning", "in the afternoon"),
                ("before noon", "in the evening"), ("yesterday", "today"), ("last week", "this week"),
            ))  # fmt: skip
            made = t.any_of((("buys", "bought"), ("picks", "picked"), ("makes", "made"), ("finds", "found")))
            if one == "yesterday" or one == "last week":
                t.say(f"{who.start} {made[1]} {a} {things} {one} and {b} {things} {other}.")
            else:
                t.say(
                    f"{who.start} {t.verb(who, *made)} {a} {things} {one} and {b} {t.pick('', things + ' ', 'more ')}{other}."
                )
        return t.story.work_out(_total(t, things), a, "+", b)
    now = t.amount()
    t.say(
        t.pick(
            f"{who.start} {has} {now} {things}.",
            f"{who.start} {verb} {now} {things}.",
            f"{who.start} {verb} {now} {things}.",
            f"{who.start} {t.verb(who, 'starts', 'started')} with {now} {things}.",
            f"At first {who.name} {has} {now} {things}.",
            f"{who.start} {has} {now} {things} in a {t.noun([words.singular(p) for p in words.PACKS])}.",
            f"This morning {who.name} {t.any_of(words.GETTING)[1]} {now} {t.any_of(words.COLORS)} {things}.",
            f"{who.start} {verb} {now} {things} {_when(t)}.",
        )
    )
    return now


def _when(t: Teller) -> str:
    return t.pick(
        f"on {t.any_of(words.DAYS)}", "this morning", "at the market", "in the garden", "for a party", "for school",
        "last week", "yesterday", "for the class", "at home", "on the beach", "in the woods", "for a cake",
    )  # fmt: skip


def _change(t: Teller, who: Person, things: str, now: Now, kind: str, left: int) -> Quantity:
    """Something that happens to somebody's things, in one or two steps."""
    draw = t.rng.random()
    if left >= 2 and draw < 0.22:
        return _packs_come_or_go(t, who, things, now)
    if draw < 0.30:
        return _doubled_or_shared(t, who, things, now)
    return _gain(t, who, things, now) if draw < 0.58 else _lose(t, who, things, now, kind)


def _subject(t: Teller, who: Person) -> str:
    return who.known if t.chance(0.25) else who.he


def _gain(t: Teller, who: Person, things: str, now: Now) -> Quantity:
    n = t.more(now)
    then, he = t.then(), _subject(t, who)
    more = t.any_of(words.EXTRA)
    what = t.pick(
        f"{n} more", f"{n} {more} {things}", f"{n} more {things}", f"{n} {things}", f"another {n}", f"{n} new ones"
    )
    other = t.person(first=False) if t.chance(0.5) else t.relative(who)
    gives = ("gives", "gave")[t.past]
    tail = t.pick("", "", "", f" {_when(t)}", f" from {other.name}")
    ways = [
        f"{then}{he} {t.verb(who, *t.any_of(words.GAINS))} {what}{tail}.",
        f"{then}{he} {t.verb(who, *t.any_of(words.GAINS))} {what}.",
        f"{then}{he} {t.verb(who, 'gets', 'got')} {what} from {other.name}.",
        f"{then}{other.name} {gives} {who.him} {what}.",
        f"{then}{other.name} {('brings', 'brought')[t.past]} {who.him} {what}.",
        f"{then}{other.name} {('adds', 'added')[t.past]} {what}.",
    ]
    t.say(t.any_of(ways))
    return t.story.work_out(t.pick(f"Now there are {{}} {things}.", f"That makes {{}} {things}."), now, "+", n)


def _lose(t: Teller, who: Person, things: str, now: Now, kind: str) -> Quantity:
    n = t.part_of(now)
    then, he = t.then(), _subject(t, who)
    what = t.pick(f"{n} {things}", f"{n} of them", f"{n}", f"{n} of the {things}", f"{n} of {who.his} {things}")
    other = t.person(first=False) if t.chance(0.5) else t.relative(who)
    verbs = [*words.LOSSES, *(words.EATING * 2 if kind == "food" else ())]
    befalls = [*words.ACCIDENTS, *(words.SPOILING if kind == "food" else ())]
    ways = [
        f"{then}{he} {t.verb(who, *t.any_of(verbs))} {what}.",
        f"{then}{he} {t.verb(who, *t.any_of(verbs))} {what}.",
        f"{then}{he} {t.verb(who, *t.any_of(verbs))} {what} {t.pick('at', 'on', 'in', 'near')} the "
        f"{t.noun(('party', 'school', 'way', 'market', 'picnic', 'game', 'fair', 'park', 'train', 'garden'))}.",
        f"{then}{he} {t.verb(who, 'gives', 'gave')} {what} to {other.name}.",
        f"{then}{he} {t.verb(who, 'gives', 'gave')} {other.name} {n}{t.pick('', f' {things}', ' of them')}.",
        f"{then}{other.name} {('takes', 'took')[t.past]} {what}.",
        f"{then}{n}{t.pick('', f' {things}', ' of them', f' of the {things}')} {t.tense(t.any_of(befalls))}.",
    ]
    if kind == "food":
        ways.append(f"{then}{other.name} {('eats', 'ate')[t.past]} {what}.")
        ways.append(
            f"{capital(who.his)} {t.pick('guests', 'friends', 'children', 'family')} {t.pick('ate', 'ate', 'took')} {n}."
        )
    t.say(t.any_of(ways))
    return t.story.work_out(t.pick(f"That leaves {{}} {things}.", f"Now there are {{}} {things}."), now, "-", n)


def _packs_come_or_go(t: Teller, who: Person, things: str, now: Now) -> Quantity:
    k, m = t.few(), t.few()
    packs = t.any_of(words.PACKS)
    then, he = t.then(), _subject(t, who)
    if t.chance(0.5):
        t.say(
            t.pick(
                f"{then}{he} {t.verb(who, *t.any_of(words.GAINS))} {k} {packs} of {m} {things} each.",
                f"{then}{he} {t.verb(who, 'buys', 'bought')} {k} more {packs} with {m} {things} in each.",
                f"{then}{he} {t.verb(who, 'gets', 'got')} {m} {things} from each of {k} friends.",
            )
        )
        new = t.story.work_out(f"The new ones are {{}} {things}.", k, "×", m)
        return t.story.work_out(f"Now there are {{}} {things}.", now, "+", new)
    friends = t.any_of(("friends", "children", "people", "students", "cousins", "neighbors"))
    t.say(
        t.pick(
            f"{then}{he} {t.verb(who, 'gives', 'gave')} {m} {things} to each of {k} {friends}.",
            f"{then}{he} {t.verb(who, 'gives', 'gave')} {k} {friends} {m} {things} each.",
            f"{then}{he} {t.verb(who, 'sells', 'sold')} {k} {packs} of {m} {things} each.",
            f"{then}{k} {friends} {('take', 'took')[t.past]} {m} {things} each.",
        )
    )
    gone = t.story.work_out(f"That takes {{}} {things}.", k, "×", m)
    return t.story.work_out(f"That leaves {{}} {things}.", now, "-", gone)


def _doubled_or_shared(t: Teller, who: Person, things: str, now: Now) -> Quantity:
    he, then = _subject(t, who), t.then()
    if t.chance(0.5) and 2 * number(now) <= t.story.largest:
        t.say(t.pick(
            f"{then}{he} {t.verb(who, 'doubles', 'doubled')} the number of {things}.",
            f"{then}{he} {t.verb(who, 'buys', 'bought')} as many again.",
            f"{then}the number of {things} {('doubles', 'doubled')[t.past]}.",
        ))  # fmt: skip
        return t.story.work_out(f"Now there are {{}} {things}.", now, "×", 2)
    _needs(number(now) % 2 == 0)
    t.say(t.pick(
        f"{then}{he} {t.verb(who, 'gives', 'gave')} half of {t.pick('them', f'the {things}')} away.",
        f"{then}{he} {t.verb(who, 'loses', 'lost')} half of {t.pick('them', f'the {things}')}.",
        f"{then}{he} {t.verb(who, 'sells', 'sold')} half of {t.pick('them', f'the {things}')}.",
        f"{then}half of {t.pick('them', f'the {things}')} {t.tense(t.any_of(words.ACCIDENTS))}.",
    ))  # fmt: skip
    return t.story.work_out(f"Half of them is {{}} {things}.", now, "÷", 2)


def coming_and_going(t: Teller, length: int) -> None:
    """A place that fills and empties."""
    place, kinds, at, come, go = t.any_of(words.PLACES)
    place, who = t.noun(place.split(";")), t.thing(kinds.split())
    a = "an" if place[0] in "aeiou" else "a"
    where = t.pick(f"{at} {a} {place}", f"{at} the {place}", f"{at} our {place}", f"{at} the {place}")
    are = ("are", "were")[t.past]
    when = t.pick("", "", "", "", "this morning", "at noon", "at first", "in the morning", "yesterday", "today")
    draw = t.rng.random()
    now: Now
    if draw < 0.2:
        k, m = t.factors()
        rows = t.any_of(words.PLACED)
        t.say(t.pick(
            f"There {are} {k} {rows} with {m} {who} in each {where}.",
            f"{where} there {are} {k} {rows} of {m} {who}.",
            f"{where} there {are} {k} {rows}. Each has {m} {who}.",
        ))  # fmt: skip
        now = t.story.work_out(f"In all there are {{}} {who}.", k, "×", m)
    elif draw < 0.32:
        a1, b1 = t.amount(), t.amount()
        one, two = t.rng.sample(words.COLORS, 2)
        t.say(t.pick(
            f"There {are} {a1} {one} {who} and {b1} {two} {who} {where}.",
            f"{where} there {are} {a1} {one} and {b1} {two} {who}.",
        ))  # fmt: skip
        now = t.story.work_out(f"Together there are {{}} {who}.", a1, "+", b1)
    else:
        now = t.amount()
        t.say(t.pick(
            f"There {are} {now} {who} {where}{' ' + when if when else ''}.",
            f"There {are} {now} {who} {where}.",
            f"{now} {who} {are} {where}.",
            f"{where} there {are} {now} {who}.",
            f"{capital(t.pick('a', 'the', 'our'))} {place} {('has', 'had')[t.past]} {now} {who}.",
            f"{t.pick('A', 'The')} {place} {('starts', 'started')[t.past]} with {now} {who}.",
        ))  # fmt: skip
    days = sorted(t.rng.sample(range(7), 7)) if t.chance(0.15) else []
    while len(t.story.steps) < length:
        day = f"on {words.DAYS[days[len(t.story.steps) % 7]]} " if days else t.then()
        both = length - len(t.story.steps) >= 2 and t.chance(0.3)
        if both:  # "At the market 19 get off and 12 get on."
            n = t.part_of(now)
            out, into = t.tense(t.any_of(go)), t.tense(t.any_of(come))
            left = t.story.work_out(f"That leaves {{}} {who}.", now, "-", n)
            m = t.more(left)
            stop = t.pick("", "", f"at the {t.noun(('station', 'next stop', 'school', 'bridge', 'church'))} ")
            joint = t.pick(" and ", " and ", ", and ", ", then ", ". Then ")
            t.say(
                f"{day or stop}{n}{t.pick('', ' ' + who, ' of them')} {out}{joint}{m}{t.pick('', ' more', ' new ones', ' others')} {into}."
            )
            now = t.story.work_out(f"Now there are {{}} {who}.", left, "+", m)
            continue
        comes = t.chance(0.5)
        n = t.more(now) if comes else t.part_of(now)
        verb = t.tense(t.any_of(come if comes else go))
        what = t.pick(f"{n} more {who}", f"{n} more", f"{n} {who}", f"{n} new {who}", f"another {n}") if comes else t.pick(
            f"{n}", f"{n} of them", f"{n} {who}", f"{n} of the {who}"
        )  # fmt: skip
        t.say(
            t.pick(f"{day}{what} {verb}.", f"{day}{what} {verb}.", f"{what} {verb}{' ' + day.strip() if days else ''}.")
        )
        sentence = f"Now there are {{}} {who}." if comes else f"That leaves {{}} {who}."
        now = t.story.work_out(sentence, now, "+" if comes else "-", n)
    _needs(len(t.story.steps) == length)
    asked = [
        f"How many {who} are {at} the {place} now?",
        f"How many {who} are {at} the {place}?",
        f"How many {who} are there now?",
        f"How many {who} are there {at} the {place} then?",
        f"How many {who} are {at} the {place} in the end?",
        f"How many {who} are there in the end?",
    ]
    if t.story.steps[-1].operation == "-":
        asked += [
            f"How many {who} are left?", f"How many are left?", f"How many {who} are still there?",
            f"How many {who} are left {at} the {place}?", f"How many {who} remain?",
            f"How many {who} are still {at} the {place}?", f"How many stayed?",
        ]  # fmt: skip
    t.say(t.any_of(asked))


def money(t: Teller, length: int) -> None:
    """Money earned and spent."""
    who = t.person()
    he = who.he
    now: Now = t.amount()
    t.say(t.pick(
        f"{who.start} {t.verb(who, 'has', 'had')} {t.dollars(now)}.",
        f"{who.start} {t.verb(who, 'has', 'had')} {t.dollars(now)} in {who.his} {t.pick('wallet', 'pocket', 'piggy bank', 'purse')}.",
        f"{who.start} saved {t.dollars(now)}.",
        f"{who.start} got {t.dollars(now)} for {who.his} birthday.",
        f"{who.start} {t.verb(who, 'starts', 'started')} with {t.dollars(now)}.",
    ))  # fmt: skip
    first = True
    while len(t.story.steps) < length:
        left = length - len(t.story.steps)
        if left >= 2 and t.chance(0.45):
            now = _purchase(t, who, now, left)
        elif left == 2 and t.chance(0.3):  # earned and spent in one sentence
            n = t.more(now)
            one = _filled(t, who, words.EARNINGS, n)
            now = t.story.work_out(f"Now there are {{}} {t.coin}.", now, "+", n)
            m = t.part_of(now)
            t.say(f"{he} {one} and then {_filled(t, who, words.SPENDINGS, m)}.")
            now = t.story.work_out(f"That leaves {{}} {t.coin}.", now, "-", m)
        elif t.chance(0.4):
            n = t.more(now)
            t.say(f"{t.then()}{_subject(t, who)} {_filled(t, who, words.EARNINGS, n)}.")
            now = t.story.work_out(f"Now there are {{}} {t.coin}.", now, "+", n)
        elif length == 1 and first and t.chance(0.5):
            n = t.part_of(now)
            ware = t.any_of(words.TWO_WARES)
            t.say(f"{t.pick('A', 'A new', 'The')} {ware} {('costs', 'cost')[t.past]} {t.dollars(n)}.")
            will = t.pick("will", "would") if not t.past else "would"
            t.story.work_out(f"That leaves {{}} {t.coin}.", now, "-", n)
            t.say(t.pick(
                f"How much money {will} {he} have left after buying it?",
                f"How much {will} {he} have after {he} {t.verb(who, 'buys', 'bought')} it?",
                f"{he.capitalize() if he != 'I' else 'I'} {t.verb(who, 'buys', 'bought')} it. How much is left?",
                f"How much money {will} {he} have left?",
            ))  # fmt: skip
            return
        else:
            n = t.part_of(now)
            t.say(f"{t.then()}{_subject(t, who)} {_filled(t, who, words.SPENDINGS, n)}.")
            now = t.story.work_out(f"That leaves {{}} {t.coin}.", now, "-", n)
        first = False
    _needs(len(t.story.steps) == length)
    do, name, coin = t.does(who), _subject(t, who), t.coin
    asked = [
        f"How much {do} {name} have now?",
        f"How much money {do} {name} have now?",
        f"How many {coin} {do} {name} have now?",
        f"How much money {do} {name} have in the end?",
    ]
    if t.story.steps[-1].operation == "-":
        asked += [
            f"How much {do} {name} have left?", f"How much money {do} {name} have left?", "How much is left?",
            f"How many {coin} are left?", f"How much money is left?", f"How many {coin} {do} {name} have left?",
            f"How much {t.does(who, past=True)} {name} have left?",
        ]  # fmt: skip
    t.say(t.any_of(asked))


def _filled(t: Teller, who: Person, ways: tuple[tuple[str, str], ...], n: int) -> str:
    """What somebody does with so much money, with its verb in the right form."""
    present, past = t.any_of(ways)
    text = past if t.past else present
    made = text.format(
        t.dollars(n),
        his=who.his,
        ware=t.any_of(words.ONE_WARE),
        relative=t.any_of(words.SHE_RELATIVES + words.HE_RELATIVES),
        friend=t.person(first=False).name,
    )
    return t.verb(who, made, made)


def _purchase(t: Teller, who: Person, now: Now, left: int) -> Quantity:
    """Several pieces at one price, perhaps with another thing, paid from the money."""
    k, price = t.few(), t.few() if t.chance(0.7) else t.rng.randint(10, 20)
    things = t.thing(words.WARES, words.TOYS, words.FOOD)
    buys = t.verb(who, *t.any_of((("buys", "bought"), ("buys", "bought"), ("orders", "ordered"))))
    each = t.pick(
        f"{k} {things} for {t.dollars(price)} each",
        f"{k} {things} at {t.dollars(price)} each",
        f"{k} {things} for {t.dollars(price)} apiece",
        f"{k} {things} that cost {t.dollars(price)} each",
    )
    cost = t.story.work_out(f"The {things} cost {{}} {t.coin}.", k, "×", price)
    if left >= 3 and t.chance(0.6):
        n = t.rng.randint(2, 40)
        t.say(f"{t.then()}{who.he} {buys} {each} and {t.any_of(words.ONE_WARE)} for {t.dollars(n)}.")
        cost = t.story.work_out(f"Together that is {{}} {t.coin}.", cost, "+", n)
    else:
        t.say(f"{t.then()}{who.he} {buys} {each}.")
    return t.story.work_out(f"That leaves {{}} {t.coin}.", now, "-", cost)


# Prices


def shopping(t: Teller, length: int) -> None:
    """Things bought or sold by the piece: what they cost together."""
    who = t.person()
    things = t.thing(words.WARES, words.TOYS, words.FOOD)
    one = words.singular(things)
    k, price = t.factors() if length == 1 else (t.few(), t.few() if t.chance(0.6) else t.rng.randint(10, 20))
    if length == 1:
        costs = ("costs", "cost")[t.past]
        pays = t.pick(f"{t.does(who)} {who.name} pay", f"{t.does(who, past=True)} {who.name} pay")
        cost = t.story.work_out(f"The {things} cost {{}} {t.coin}.", k, "×", price)
        t.say(t.pick(
            f"{t.pick('One', 'A', 'Each')} {one} {costs} {t.dollars(price)}. How much do {k} {things} cost?",
            f"{t.pick('One', 'A', 'Each')} {one} {costs} {t.dollars(price)}. {who.start} {t.verb(who, 'buys', 'bought')} {k}. How much {pays}?",
            f"One {one} for the {t.noun(('fair', 'show', 'garden', 'kitchen', 'concert'))} {costs} {t.dollars(price)}. How much do {k} {things} cost?",
            f"{who.start} {t.verb(who, 'buys', 'bought')} {k} {things} for {t.dollars(price)} each. How much {pays}?",
            f"{who.start} {t.verb(who, 'buys', 'bought')} {k} {things} at {t.dollars(price)} each. What does {who.he} pay in total?"
            if not who.i else f"{who.start} bought {k} {things} at {t.dollars(price)} each. What did {who.he} pay?",
            f"If one {one} costs {t.dollars(price)}, how much do {k} {things} cost?",
            f"How much do {k} {things} cost at {t.dollars(price)} each?",
        ))  # fmt: skip
        return
    sells = t.chance(0.35)
    verb = t.verb(who, *(("sells", "sold") if sells else ("buys", "bought")))
    parts, cost = [], None
    parts.append(t.pick(
        f"{k} {things} for {t.dollars(price)} each", f"{k} {things} at {t.dollars(price)} each",
        f"{k} {things} that cost {t.dollars(price)} each",
    ))  # fmt: skip
    cost = t.story.work_out(f"The {things} {'bring' if sells else 'cost'} {{}} {t.coin}.", k, "×", price)
    while len(t.story.steps) < length:
        left = length - len(t.story.steps)
        if left >= 2 and (left != 3 or t.chance(0.5)):
            k, price = t.few(), t.few() if t.chance(0.6) else t.rng.randint(10, 20)
            others = t.thing(words.WARES, words.TOYS, words.FOOD)
            parts.append(f"{k} {others} {t.pick('for', 'at')} {t.dollars(price)} each")
            second = t.story.work_out(f"The {others} {'bring' if sells else 'cost'} {{}} {t.coin}.", k, "×", price)
            cost = t.story.work_out(f"Together that is {{}} {t.coin}.", cost, "+", second)
        else:
            n = t.rng.randint(2, 60)
            parts.append(f"{t.any_of(words.ONE_WARE)} for {t.dollars(n)}")
            cost = t.story.work_out(f"Together that is {{}} {t.coin}.", cost, "+", n)
    *most, last = parts
    if t.chance(0.25):
        t.say(f"{who.start} {verb} {parts[0]}.")
        for part in parts[1:]:
            t.say(f"{t.pick('Then ', '', '')}{who.he} also {verb} {part}.")
    else:
        t.say(f"{who.start} {verb} {', '.join(most)} and {last}.")
    do, did = t.does(who), t.does(who, past=True)
    if sells:
        t.say(t.pick(
            f"How much money {do} {who.he} get?", f"How much {did} {who.he} earn?", "How much money is that in all?",
            f"How much money {did} {who.he} take in?", f"How much {do} {who.he} make in total?",
        ))  # fmt: skip
    else:
        t.say(t.pick(
            f"How much {do} {who.he} pay?", f"How much {did} {who.he} pay in total?", "How much is that in all?",
            f"How much {do} {who.he} spend?", "What is the total cost?", f"What {did} {who.he} pay for everything?",
            f"How much money {did} {who.he} spend altogether?", f"How many {t.coin} is that together?",
        ))  # fmt: skip


def two_prices(t: Teller, length: int) -> None:
    """Two or three things, each with its price: together, or how much more one costs."""
    _needs(length <= 2)
    who = t.person()
    wares = [t.noun(words.TWO_WARES) for _ in range(3)]
    _needs(len(set(wares)) == 3)
    a, b = t.amount(), t.amount()
    costs = ("costs", "cost")[t.past]
    the = [f"{t.any_of((who.his, 'the', 'a', 'my')) if t.chance(0.5) else 'a'} {ware}" for ware in wares]
    if length == 1 and t.chance(0.3):
        _needs(a > b)
        t.say(t.pick(
            f"{the[0]} {costs} {t.dollars(a)} and {the[1]} {costs} {t.dollars(b)}.",
            f"{the[0]} {costs} {t.dollars(a)}. {capital(the[1])} {costs} {t.dollars(b)}.",
        ))  # fmt: skip
        t.say(t.pick(
            f"How much more does the {wares[0]} cost?", f"How much more expensive is the {wares[0]}?",
            f"How much cheaper is the {wares[1]}?", f"How much more is the {wares[0]} than the {wares[1]}?",
        ))  # fmt: skip
        t.story.work_out(f"The difference is {{}} {t.coin}.", a, "-", b)
        return
    both = t.story.work_out(f"Together that is {{}} {t.coin}.", a, "+", b)
    if length == 1:
        t.say(t.pick(
            f"{the[0]} {costs} {t.dollars(a)} and {the[1]} {costs} {t.dollars(b)}.",
            f"{the[0]} {costs} {t.dollars(a)}. {capital(the[1])} {costs} {t.dollars(b)}.",
            f"{who.start} {t.verb(who, 'buys', 'bought')} a {wares[0]} for {t.dollars(a)} and a {wares[1]} for {t.dollars(b)}.",
            f"{who.start} {t.verb(who, 'pays', 'paid')} {t.dollars(a)} for {the[0]} and {t.dollars(b)} for {the[1]}.",
        ))  # fmt: skip
    else:
        c = t.amount()
        t.say(t.pick(
            f"{the[0]} {costs} {t.dollars(a)}, {the[1]} {costs} {t.dollars(b)} and {the[2]} {costs} {t.dollars(c)}.",
            f"{who.start} {t.verb(who, 'buys', 'bought')} a {wares[0]} for {t.dollars(a)}, a {wares[1]} for {t.dollars(b)} and a {wares[2]} for {t.dollars(c)}.",
        ))  # fmt: skip
        t.story.work_out(f"Together that is {{}} {t.coin}.", both, "+", c)
    t.say(t.pick(
        f"How much do they cost together?", f"How much {t.does(who)} {who.name} pay for both?" if length == 1 else "How much is that in all?",
        f"What {t.does(who, past=True)} {who.name} pay in total?", "How much is that together?", "What is the total?",
    ))  # fmt: skip


# Two or more compared


def comparison(t: Teller, length: int) -> None:
    """Each has more, fewer or times as many as the one before; then one of them, or all together, or what is left."""
    people = [t.person(first=False)]
    food = t.chance(0.5)
    things = t.thing(words.FOOD if food else words.TOYS, words.PLANTS if food else words.WARES)
    present, past, base = t.any_of(words.COMPARED)
    verb = past if t.past else present
    has: list[Now] = [t.few() if t.chance(0.2) else t.amount()]
    t.say(t.pick(
        f"{people[0].start} {verb} {has[0]} {things}.",
        f"{people[0].start} {verb} {has[0]} {things}.",
        f"{people[0].start} {verb} {has[0]} {things} {_when(t)}.",
    ))  # fmt: skip
    opened = len(t.story.sentences)
    last_kind = t.any_of(("one", "together", "left")) if length > 1 else "one"
    compared = {"one": length, "together": (length + 1) // 2, "left": length // 2}[last_kind]
    _needs(1 <= compared <= 3)
    _needs(compared + {"one": 0, "together": compared, "left": compared + 1}[last_kind] == length)
    for _ in range(compared):
        other = t.person(first=False) if t.chance(0.75) else t.relative(people[-1])
        has.append(_compared(t, people[-1], other, things, has[-1], verb, base))
        people.append(other)
    if t.chance(0.4) and opened == 1 and compared == 1:  # in one sentence
        first, second = t.story.sentences
        t.story.sentences[:] = [
            f"{first[:-1]} and {second if people[1].name[0].isupper() else second[0].lower() + second[1:]}"
        ]
    do = "did" if t.past else "does"
    if last_kind == "one":
        name = people[-1].name if t.chance(0.6) or compared > 1 else people[-1].he
        t.say(t.pick(
            f"How many {things} {do} {name} {base}?", f"How many {things} {do} {name} {base}?",
            f"How many {do} {name} {base}?", f"How many {things} does {name} have?",
        ))  # fmt: skip
        return
    both: Now = has[0]
    for other_has in has[1:]:
        both = t.story.work_out(f"Together they have {{}} {things}.", both, "+", other_has)
    if last_kind == "left":
        n = t.part_of(both)
        lose = t.any_of([*words.LOSSES, *(words.EATING if food else ())])
        lost = lose[1] if t.past else words.without_s(lose[0])
        t.say(t.pick(
            f"They {lost} {n} of them.", f"Together they {lost} {n}.", f"Later they {lost} {n} of these.",
            f"Then they {lost} {n} {things}.",
        ))  # fmt: skip
        t.story.work_out(f"That leaves {{}} {things}.", both, "-", n)
        t.say(t.pick(f"How many {things} are left?", f"How many {things} do they have left?", "How many are left?"))
        return
    all_of = "all three " if compared == 2 and t.chance(0.5) else ""
    do = "did" if t.past else "do"
    t.say(t.pick(
        f"How many {things} {do} {all_of or 'they '}{base} together?",
        f"How many {things} {do} they {base} in total?", f"How many {things} do they have together?",
        f"How many {things} is that in all?", f"How many {things} {do} they {base} altogether?",
        f"What is the total number of {things}?",
    ))  # fmt: skip


def _compared(t: Teller, one: Person, other: Person, things: str, has: Now, verb: str, base: str) -> Quantity:
    kind = t.any_of(("more", "more", "fewer", "fewer", "times", "half"))
    sentence = f"{other.start} has {{}} {things}."
    did = "did" if t.past else "does"
    than = t.pick(one.name, one.name, f"{one.name} {did}", f"{one.he} {did}" if one.he != other.he else one.name)
    if kind == "times":
        k = t.any_of((2, 2, 2, 3, 3, 4, 5, 6))
        _needs(number(has) * k <= t.story.largest)
        times = {2: t.pick("twice", "twice", "2 times", "two times"), 3: t.pick("3 times", "three times")}.get(
            k, f"{k} times"
        )
        t.say(t.pick(
            f"{other.start} {verb} {times} as many {things} as {one.name}.",
            f"{other.start} {verb} {times} as many.", f"{other.start} {verb} {times} as many as {one.name}.",
        ))  # fmt: skip
        return t.story.work_out(sentence, has, "×", k)
    if kind == "half":
        t.say(t.pick(
            f"{other.start} {verb} half as many {things} as {one.name}.", f"{other.start} {verb} half as many.",
        ))  # fmt: skip
        return t.story.work_out(sentence, has, "÷", 2)
    n = t.more(has) if kind == "more" else t.part_of(has)
    t.say(t.pick(
        f"{other.start} {verb} {n} {kind} {things} than {than}.",
        f"{other.start} {verb} {n} {kind} than {than}.",
        f"{other.start} {verb} {n} {kind}.",
    ))  # fmt: skip
    return t.story.work_out(sentence, has, "+" if kind == "more" else "-", n, of_fewer=kind == "fewer")


def ages(t: Teller, length: int) -> None:
    """Who is how old: older and younger, sums, and in some years."""
    person = t.person(first=False)
    old = t.rng.randint(6, 60)
    years = t.pick("", " years old", " years old")
    t.say(f"{person.start} is {old}{years}.")
    now: Now = old
    ages_: list[Now] = [old]
    last = person
    ask_sum = length >= 2 and t.chance(0.3)
    _needs(not ask_sum or length % 2 == 0)
    for i in range(length // 2 if ask_sum else length):
        draw = t.rng.random()
        if draw < 0.15 and not ask_sum and i == length - 1:
            n = t.rng.randint(2, 30)
            t.story.work_out(f"In {n} years it is {{}} years.", now, "+", n)
            t.say(t.pick(f"How old will {last.name} be in {n} years?", f"What will be {last.his} age in {n} years?") if i == 0
                  else f"How old will {last.name} be in {n} years?")  # fmt: skip
            return
        if draw < 0.25 and not ask_sum and i == length - 1 and number(now) > 6:
            n = t.rng.randint(2, min(20, number(now) - 3))
            t.story.work_out(f"{n} years ago it was {{}} years.", now, "-", n)
            t.say(f"How old was {last.name} {n} years ago?")
            return
        other = t.relative(last) if t.chance(0.6) else t.person(first=False)
        than = t.pick("", "", f" than {last.name}", f" than {last.he if last.he != other.he else last.name}")
        if t.chance(0.15):
            t.say(f"{other.start} is twice as old{f' as {last.name}' if t.chance(0.6) else ''}.")
            now = t.story.work_out(f"{other.start} is {{}}.", now, "×", 2)
        else:
            older = t.chance(0.65)
            n = t.rng.randint(2, 40) if older else t.part_of(now)
            word = "older" if older else "younger"
            t.say(f"{other.start} is {n} years {word}{than}.")
            now = t.story.work_out(f"{other.start} is {{}}.", now, "+" if older else "-", n)
        last = other
        ages_.append(now)
    if ask_sum:
        both: Now = ages_[0]
        for age in ages_[1:]:
            both = t.story.work_out("Together they are {}.", both, "+", age)
        t.say(
            t.pick("How old are they together?", "What is the sum of their ages?", "How many years are they together?")
        )
        return
    name = last.name if t.chance(0.6) or length > 1 else last.he
    t.say(
        t.pick(
            f"How old is {name}?",
            f"How old is {name}?",
            f"What is {last.name}'s age?" if last.name[0].isupper() else f"How old is {name} now?",
        )
    )


def difference(t: Teller, length: int) -> None:
    """Two amounts: how many more the one is than the other."""
    _needs(length == 1)
    one, other = t.person(), t.person(first=False)
    if t.chance(0.5):
        other = t.relative(one)
    a, b = t.amount(), t.amount()
    _needs(a - b >= 2)
    things = t.thing()
    present, past, base = t.any_of(words.COMPARED)
    verb, second = t.verb(one, present, past), past if t.past else present
    do = t.does(one, past=t.past)
    kind = t.rng.random()
    if kind < 0.5:
        t.say(t.pick(
            f"{one.start} {verb} {a} {things} and {other.name} {second} {b} {things}.",
            f"{one.start} {verb} {a} {things} and {other.name} {second} {b}.",
            f"{one.start} {verb} {a} {things}. {other.start} {second} {b}.",
        ))  # fmt: skip
        t.say(t.pick(
            f"How many more {things} {do} {one.name} {base}?",
            f"How many more {things} {do} {one.name} {base} than {other.name}?",
            f"How many more {do} {one.name} {base} than {other.name}?",
            "What is the difference?",
        ))  # fmt: skip
        t.story.work_out(f"The difference is {{}} {things}.", a, "-", b)
        return
    first = t.person(first=False)
    older, unit, adjective = t.any_of((
        ("older", "", "old"), ("older", "years old", "old"), ("taller", "cm tall", "tall"), ("heavier", "kg", "heavy"),
        ("longer", "meters long", "long"), ("taller", "inches tall", "tall"), ("higher", "meters high", "high"),
    ))  # fmt: skip
    if older in ("longer", "higher"):
        kinds = "rope ribbon river road table wall tree bridge tower snake fence board pole".split()
        x, y = t.rng.sample(kinds, 2)
        names = (f"the {x}", f"the {y}")
        opening = (f"{t.pick('A', 'The')} {x}", f"{t.pick('a', 'the')} {y}")
    else:
        names = (first.known, other.name if not other.name.startswith("my") or not one.i else other.name)
        opening = (first.start, f"{first.his} {t.any_of(words.SHE_RELATIVES)}" if t.chance(0.5) else other.name)
        names = (first.known, opening[1])
    unit = f" {unit}" if unit else ""
    be = "is"
    t.say(t.pick(
        f"{opening[0]} {be} {a}{unit} and {opening[1]} {be} {b}{unit}.",
        f"{opening[0]} {be} {a}{unit} and {opening[1]} {be} {b}.",
        f"{opening[0]} {be} {a}{unit}. {capital(opening[1])} {be} {b}{unit}.",
    ))  # fmt: skip
    t.say(t.pick(
        f"How much {older} is {names[0]}?", f"How much {older} is {names[0]} than {names[1]}?",
        f"By how much is {names[0]} {older}?" if adjective != "old" else f"How many years {older} is {names[0]}?",
    ))  # fmt: skip
    t.story.work_out("The difference is {}.", a, "-", b)


# Parts and wholes


def totals(t: Teller, length: int) -> None:
    """Several groups put together; sometimes a part of them taken away."""
    lists = t.any_of((words.ANIMALS, words.ANIMALS, words.FOOD, words.TOYS, words.WARES, words.PLANTS, words.PEOPLE))
    n_groups = min(t.any_of((2, 2, 3, 4)), length + 1)
    kinds = list(dict.fromkeys(t.thing(lists) for _ in range(n_groups)))
    _needs(len(kinds) == n_groups and n_groups - 1 <= length <= n_groups)
    counts = [t.amount() for _ in kinds]
    general = (
        "animals" if lists is words.ANIMALS else "pieces of food" if lists is words.FOOD
        else "people" if lists is words.PEOPLE else "plants" if lists is words.PLANTS else "things"
    )  # fmt: skip
    living = lists in (words.ANIMALS, words.PEOPLE)
    place, at = t.any_of((
        ("farm", "on"), ("zoo", "in"), ("shop", "in"), ("garden", "in"), ("box", "in"), ("room", "in"), ("park", "in"),
        ("table", "on"), ("school", "in"), ("class", "in"), ("kitchen", "in"), ("field", "in"), ("hall", "in"),
    ))  # fmt: skip
    place = t.noun((place,))
    listed = [f"{n} {kind}" for n, kind in zip(counts, kinds, strict=True)]
    together = f"{', '.join(listed[:-1])} and {listed[-1]}"
    who = t.person()
    are = ("are", "were")[t.past]
    t.say(t.pick(
        f"There {are} {together} {at} {t.pick('a', 'the')} {place}.",
        f"{t.pick('A', 'The')} {place} has {together}.",
        f"{who.start} {t.verb(who, *t.any_of(words.GETTING))} {together}.",
        f"{at} the {place} there {are} {together}.",
        f"{who.start} {t.verb(who, 'sees', 'saw')} {together} {at} the {place}.",
    ))  # fmt: skip
    now: Now = counts[0]
    for n in counts[1:]:
        now = t.story.work_out(f"Together there are {{}} {general}.", now, "+", n)
    if length == n_groups:
        n = t.part_of(now)
        of_two = (
            (("asleep", "awake"), ("young", "old"), ("outside", "inside"))
            if living
            else (("broken", "fine"), ("old", "new"), ("wet", "dry"))
        )
        one, rest = t.any_of(of_two)
        if t.chance(0.5):
            befalls = (("leave", "left"), ("go away", "went away")) if living else words.ACCIDENTS[2:6]
            t.say(f"{t.then()}{n} of them {t.tense(t.any_of(befalls))}.")
            t.say(t.pick("How many are left?", f"How many {general} are left?", f"How many {general} remain?"))
        else:
            t.say(t.pick(f"{n} {are} {one}.", f"{n} of them {are} {one}, the others {are} {rest}."))
            t.say(t.pick(f"How many {are} {rest}?", f"How many {are} not {one}?"))
        t.story.work_out(f"That leaves {{}} {general}.", now, "-", n)
        return
    t.say(t.pick(
        f"How many {general} is that?", f"How many {general} are there?", f"How many {general} are there in all?",
        f"How many are there altogether?", "How many is that in total?", f"How many {general} is that together?",
        f"How many {general} are there {at} the {place}?",
    ))  # fmt: skip


def two_times(t: Teller, length: int) -> None:
    """The same thing done at several times, or two kinds of one thing, and the sum; sometimes a rest."""
    _needs(length <= 3)
    who = t.person()
    present, past, base, things = t.any_of((
        ("reads", "read", "read", "pages"), ("reads", "read", "read", "books"), ("walks", "walked", "walk", "km"),
        ("runs", "ran", "run", "miles"), ("drives", "drove", "drive", "miles"), ("sells", "sold", "sell", "tickets"),
        ("writes", "wrote", "write", "letters"), ("bakes", "baked", "bake", "cakes"), ("makes", "made", "make", "toys"),
        ("sees", "saw", "see", "birds"), ("works", "worked", "work", "hours"), ("plants", "planted", "plant", "trees"),
        ("picks", "picked", "pick", "apples"), ("swims", "swam", "swim", "laps"), ("cycles", "cycled", "cycle", "km"),
        ("learns", "learned", "learn", "words"), ("scores", "scored", "score", "points"), ("catches", "caught", "catch", "fish"),
        ("solves", "solved", "solve", "puzzles"), ("takes", "took", "take", "photos"), ("washes", "washed", "wash", "cars"),
        ("counts", "counted", "count", "stars"), ("paints", "painted", "paint", "pictures"), ("studies", "studied", "study", "minutes"),
    ))  # fmt: skip
    a, b = t.amount(), t.amount()
    days = t.rng.sample(words.DAYS, 3)
    times = t.any_of((
        (f"on {days[0]}", f"on {days[1]}", f"on {days[2]}"), ("in the morning", "in the afternoon", "in the evening"),
        ("before noon", "after noon", "at night"), ("yesterday", "today", "tonight"),
        ("last week", "this week", "on the weekend"), ("in May", "in June", "in July"), ("in the first game", "in the second game", "in the third game"),
    ))  # fmt: skip
    in_past = t.past or times[0] in ("yesterday", "last week")
    verb = t.verb(who, present, past, in_past=in_past)
    again = t.pick(f"{b} {things}", f"{b}", f"{b} more", f"{b} {things}")
    both = t.story.work_out(f"Together that is {{}} {things}.", a, "+", b)
    if length == 1:
        t.say(t.pick(
            f"{who.start} {verb} {a} {things} {times[0]} and {again} {times[1]}.",
            f"{who.start} {verb} {a} {things} {times[0]}. {capital(times[1])} {who.he} {verb} {again}.",
            f"{capital(times[0])}, {who.name} {verb} {a} {things} and {times[1]} {who.he} {verb} {again}.",
        ))  # fmt: skip
    elif t.chance(0.6):
        c = t.amount()
        t.say(t.pick(
            f"{who.start} {verb} {a} {things} {times[0]}, {b} {times[1]} and {c} {times[2]}.",
            f"{who.start} {verb} {a} {things} {times[0]}, {b} {things} {times[1]} and {c} {things} {times[2]}.",
        ))  # fmt: skip
        both = t.story.work_out(f"In all that is {{}} {things}.", both, "+", c)
        _needs(length == 2)
    else:
        _needs(length == 2)
        whole = number(both) + t.rng.randint(2, 60)
        t.say(f"{who.start} {t.verb(who, 'wants', 'wanted', in_past=in_past)} to {base} {whole} {things}.")
        t.say(f"{who.he} {verb} {a} {things} {times[0]} and {again} {times[1]}.")
        t.story.work_out(f"That leaves {{}} {things}.", whole, "-", both)
        t.say(t.pick(f"How many {things} are left?", f"How many more {things} {t.does(who)} {who.he} have to {base}?",
                     f"How many {things} {t.does(who)} {who.he} still need to {base}?"))  # fmt: skip
        return
    do = t.does(who, past=in_past)
    day = " that day" if times[0] in ("in the morning", "before noon") else ""
    t.say(t.pick(
        f"How many {things} {do} {who.he} {base} in total?", f"How many {things} {do} {who.he} {base}{day}?",
        f"How many {things} is that together?", f"How many {things} {do} {who.name} {base} in all?",
        f"How many {things} {do} {who.he} {base} altogether?",
    ))  # fmt: skip


def part_of_whole(t: Teller, length: int) -> None:
    """A whole and its parts: how many are the others."""
    _needs(length <= 3)
    n_parts = length
    people = t.chance(0.5)
    who = t.thing(words.PEOPLE if people else t.any_of((words.ANIMALS, words.WARES, words.TOYS, words.FOOD)))
    whole: Now = t.amount()
    towns = (
        "class team town village group family club".split()
        if people
        else "shop garden box field street house yard".split()
    )
    where = t.pick("", f" in {t.pick('a', 'the', 'our')} {t.noun(towns)}")
    kinds = (
        "tall;absent;wearing a hat;from France;new;on the bus;in the garden;outside;away;ill;hungry;tired" if people
        else "red;broken;old;sold;white;small;blue;missing;black;painted;damaged;wet;dirty"
    ).split(";")  # fmt: skip
    first = t.rng.sample(kinds, n_parts)
    parts = []
    for _ in range(n_parts):
        parts.append(t.part_of(whole))
        whole_before = whole
        whole = t.story.work_out(f"That leaves {{}} {who}.", whole_before, "-", parts[-1])
    total = number(t.story.steps[0].left)
    t.say(
        t.pick(
            f"There are {total} {who}{where}.", f"There are {total} {who}{where}.", f"{total} {who} are counted{where}."
        )
    )
    listed = [f"{n} are {kind}" for n, kind in zip(parts, first, strict=True)]
    if n_parts > 1:
        t.say(t.pick(f"{', '.join(listed[:-1])} and {listed[-1]}.", f"{'. '.join(listed)}."))
    else:
        t.say(t.pick(f"{listed[0]}.", f"{parts[0]} of them are {first[0]}."))
    other = {
        "ill": "well",
        "absent": "present",
        "broken": "fine",
        "missing": "there",
        "dirty": "clean",
        "wet": "dry",
    }.get(first[-1])
    asked = [f"How many other {who} are there?", "How many are the others?"]
    asked += (
        [f"How many {who} are not {first[0]}?"] * 2
        if n_parts == 1
        else [f"How many {who} are neither?"]
        if n_parts == 2
        else []
    )
    asked += [f"How many {who} are {other}?"] * 3 if other else []
    gone = {"absent", "away", "outside", "missing", "sold", "ill", "broken", "in the garden", "on the bus"}
    asked += (
        [f"How many {who} are left?", "How many are left?", f"How many {who} remain?"] if gone.issuperset(first) else []
    )
    t.say(t.any_of(asked))


def two_kinds(t: Teller, length: int) -> None:
    """A whole of two kinds, one of them known: how many are of the other kind."""
    _needs(length == 1)
    crowd, one, other = t.any_of((
        ("children", "boys", "girls"), ("kids", "girls", "boys"), ("students", "boys", "girls"), ("animals", "cows", "sheep"),
        ("animals", "cats", "dogs"), ("people", "men", "women"), ("people", "women", "men"), ("people", "adults", "children"),
        ("flowers", "roses", "tulips"), ("cars", "taxis", "vans"), ("pets", "dogs", "cats"), ("birds", "ducks", "geese"),
    ))  # fmt: skip
    one, other = t.thing((one,)), t.thing((other,))
    whole = t.amount()
    n = t.part_of(whole)
    place = t.noun(("class", "farm", "room", "park", "group", "village", "garden", "choir", "club", "team"))
    t.say(t.pick(
        f"There are {whole} {crowd} in {t.pick('a', 'the', 'our')} {place}. {n} are {one} and the rest are {other}.",
        f"A {place} has {whole} {crowd}. {n} of them are {one}, the others are {other}.",
        f"Of {whole} {crowd} in {t.pick('a', 'the')} {place}, {n} are {one}, the rest {other}.",
        f"{whole} {crowd} are in {t.pick('a', 'the')} {place}, {n} of them {one}. The rest are {other}.",
    ))  # fmt: skip
    t.say(t.pick(f"How many {other} are there?", f"How many {other} are in the {place}?", f"How many are {other}?"))
    t.story.work_out(f"That leaves {{}} {other}.", whole, "-", n)


# Groups of one size


def groups(t: Teller, length: int) -> None:
    """So many groups of so many, with some more or less."""
    _needs(length <= 3)
    k, m = t.factors()
    if length == 1 and t.chance(0.35):
        one, things = t.any_of(words.PARTS)
        one, things = t.noun((one,)), t.thing((things,))
        many = words.plural(one)
        a = "An" if one[0] in "aeiou" else "A"
        t.say(t.pick(
            f"{a} {one} has {m} {things}. How many {things} do {k} {many} have?",
            f"{t.pick('One', 'Each', a)} {one} has {m} {things}. How many {things} are there on {k} {many}?",
            f"{t.pick('Every', 'Each')} {one} has {m} {things}. How many {things} do {k} {many} have together?",
            f"How many {things} do {k} {many} have if each has {m}?",
        ))  # fmt: skip
        t.story.work_out(f"In all that is {{}} {things}.", k, "×", m)
        return
    rows = t.thing(words.PLACED)
    things = t.thing(words.PLANTS, words.WARES, words.PEOPLE, words.ANIMALS, words.FOOD)
    place = t.noun(
        "hall garden school farm room house theater field camp kitchen shop barn cellar class bakery".split()
    )
    has = ("has", "had")[t.past]
    who = t.person()
    verbs = [
        ("sets up", "set up"),
        ("counts", "counted"),
        ("paints", "painted"),
        ("arranges", "arranged"),
        ("has", "had"),
    ]
    plants = t.verb(who, *(("plants", "planted") if things in words.PLANTS else t.any_of(verbs)))
    t.say(t.pick(
        f"{t.pick('A', 'The', 'Our')} {place} {has} {k} {rows} of {m} {things}.",
        f"{t.pick('A', 'The')} {place} {has} {k} {rows} with {m} {things} in each.",
        f"{t.pick('A', 'The')} {place} {has} {k} {rows} with {m} {things} each.",
        f"There are {k} {rows} in {t.pick('a', 'the')} {place}. Each has {m} {things}.",
        f"There are {k} {rows} of {m} {things}.",
        f"There are {k} {rows} with {m} {things} each.",
        f"{who.start} {plants} {k} {rows} of {m} {things}.",
        f"{who.start} {plants} {k} {rows} with {m} {things} each.",
    ))  # fmt: skip
    now: Now = t.story.work_out(f"In all there are {{}} {things}.", k, "×", m)
    keeper = t.person(first=False)
    while len(t.story.steps) < length:
        if t.chance(0.5):
            n = t.more(now)
            t.say(t.pick(
                f"{t.then()}{keeper.name} {('adds', 'added')[t.past]} {n} more.", f"{t.then()}{n} more {things} {('come', 'came')[t.past]}.",
                f"There are {n} more {things} {t.pick('outside', 'in front', 'at home', 'in another place')}.", f"{t.then()}{keeper.name} {('brings', 'brought')[t.past]} {n} {t.pick('new', 'other')} ones.",
                f"{keeper.start} {('plants', 'planted')[t.past]} {n} new ones." if things in words.PLANTS else f"{keeper.start} {('finds', 'found')[t.past]} {n} more {things}.",
            ))  # fmt: skip
            now = t.story.work_out(f"Now there are {{}} {things}.", now, "+", n)
        else:
            n = t.part_of(now)
            befalls = words.WITHERING if things in words.PLANTS else words.ACCIDENTS
            t.say(t.pick(
                f"{t.then()}{keeper.name} {('takes', 'took')[t.past]} {n}{t.pick('', f' {things}', ' of them', ' away')}.",
                f"{t.then()}{n}{t.pick('', f' {things}', ' of them')} {t.tense(t.any_of(befalls))}.",
                f"{t.then()}{n} {things} {t.tense(t.any_of(befalls))}.",
                f"{n} of the {things} are {t.pick('broken', 'missing', 'gone')}. The rest are {t.pick('fine', 'there')}.",
            ))  # fmt: skip
            now = t.story.work_out(f"That leaves {{}} {things}.", now, "-", n)
    lost = t.story.steps[-1].operation == "-"
    t.say(t.pick(
        *([f"How many {things} are left?", "How many are left?", f"How many {things} remain?"] if lost else
          [f"How many {things} are there in all?", f"How many {things} is that?", f"How many {things} are there altogether?"]),
        f"How many {things} are there?", f"How many {things} are there now?" if length > 1 else f"How many {things} are there in total?",
    ))  # fmt: skip


def every_day(t: Teller, length: int) -> None:
    """The same every day or hour, with another day."""
    _needs(length <= 3)
    who = t.person()
    k, m = t.few(), t.few() if t.chance(0.6) else t.rng.randint(10, 20)
    present, past, base, things = t.any_of((
        ("walks", "walked", "walk", "km"), ("runs", "ran", "run", "miles"), ("reads", "read", "read", "pages"),
        ("swims", "swam", "swim", "laps"), ("cycles", "cycled", "cycle", "km"), ("drives", "drove", "drive", "miles"),
        ("works", "worked", "work", "hours"), ("bakes", "baked", "bake", "cakes"), ("writes", "wrote", "write", "pages"),
        ("earns", "earned", "earn", "dollars"), ("saves", "saved", "save", "dollars"), ("makes", "made", "make", "toys"),
        ("learns", "learned", "learn", "words"), ("drinks", "drank", "drink", "cups of tea"), ("sleeps", "slept", "sleep", "hours"),
        ("draws", "drew", "draw", "pictures"), ("eats", "ate", "eat", "apples"), ("sells", "sold", "sell", "cakes"),
        ("does", "did", "do", "push-ups"), ("practices", "practiced", "practice", "hours"), ("picks", "picked", "pick", "plums"),
    ))  # fmt: skip
    verb, again = t.verb(who, present, past), past if t.past else present
    day, days = t.any_of(
        (("day", "days"), ("day", "days"), ("day", "days"), ("hour", "hours"), ("week", "weeks"), ("month", "months"))
    )
    each = t.pick(f"every {day}", f"a {day}" if day != "hour" else "an hour", f"each {day}")
    total = t.story.work_out(f"In {k} {days} that is {{}} {things}.", k, "×", m)
    if length == 1:
        do = t.does(who, past=t.past)
        t.say(t.pick(
            f"{who.start} {verb} {m} {things} {each} for {k} {days}. How many {things} {do} {who.he} {base} in total?",
            f"{who.start} {verb} {m} {things} {each}. How many {things} {do} {who.he} {base} in {k} {days}?",
            f"{who.start} {verb} {m} {things} {each} for {k} {days}. How many {things} is that?",
            f"If {who.name} {verb} {m} {things} {each}, how many {things} is that in {k} {days}?",
        ))  # fmt: skip
        return
    n = t.rng.randint(2, 40)
    extra = t.pick(
        f"on {t.any_of(words.DAYS)}", f"on the last {day}", f"the next {day}", "on the weekend", "before that", "today"
    )
    if length == 2 and t.chance(0.25):
        whole = number(total) + t.rng.randint(2, 60)
        t.story.work_out(f"That leaves {{}} {things}.", whole, "-", total)
        t.say(
            f"{who.start} {t.verb(who, 'wants', 'wanted')} to {base} {whole} {things}. {capital(who.he)} {verb} {m} {things} {each} for {k} {days}."
        )
        t.say(t.pick(f"How many {things} are left?", f"How many more {things} {t.does(who)} {who.he} have to {base}?"))
        return
    t.say(t.pick(
        f"{who.start} {verb} {m} {things} {each} for {k} {days}, and {n} {things} {extra}.",
        f"{who.start} {verb} {m} {things} {each} for {k} {days} and {n} {things} {extra}.",
        f"{who.start} {verb} {m} {things} {each} for {k} {days}. {capital(extra)} {who.he} {t.verb(who, present, past)} {n} {things}.",
    ))  # fmt: skip
    both = t.story.work_out(f"Together that is {{}} {things}.", total, "+", n)
    if length == 3:
        c = t.rng.randint(2, 40)
        t.say(f"Then {who.he} {verb} {c} more {things}.")
        t.story.work_out(f"Now it is {{}} {things}.", both, "+", c)
    do = t.does(who, past=t.past)
    t.say(t.pick(
        f"How many {things} {do} {who.he} {base} in total?", f"How many {things} is that altogether?",
        f"How many {things} {do} {who.name} {base} in all?", f"What distance {do} {who.he} {base} in total?"
        if things in ("km", "miles") else f"How many {things} is that?", f"How far {do} {who.he} {base} in total?"
        if things in ("km", "miles") else f"How many {things} is that in total?",
    ))  # fmt: skip


# Shared equally


def sharing(t: Teller, length: int) -> None:
    """Things shared equally, or put into packs of one size; before or after that some come or go."""
    _needs(length <= 3)
    who = t.person()
    food = t.chance(0.5)
    things = t.thing(words.FOOD if food else words.TOYS)
    k = t.rng.randint(2, 12) if t.chance(0.3) else t.few()
    each = t.few() if t.chance(0.7) else t.rng.randint(10, 20)
    after = length >= 2 and t.chance(0.5)
    before = length - 1 - after
    _needs(before <= 1)
    whole: Now
    if before == 0:
        whole = k * each
        _needs(whole <= t.story.largest)
        opening = f"{whole} {things}"
    else:  # some come first, so that the number comes out even
        target = k * each
        if t.chance(0.5):
            a = t.rng.randint(2, max(2, target - 2))
            _needs(target - a >= 2)
            first, second = t.rng.sample(words.COLORS, 2)
            opening = f"{a} {first} {things} and {target - a} {second} {things}"
            whole = t.story.work_out(_total(t, things), a, "+", target - a)
        else:
            n = t.rng.randint(2, 30)
            whole = t.story.work_out(f"That leaves {{}} {things}.", target + n, "-", n)
            t.say(t.pick(
                f"{who.start} {t.verb(who, 'has', 'had')} {target + n} {things} and {t.verb(who, *t.any_of(words.LOSSES))} {n} of them.",
                f"{who.start} {t.verb(who, 'has', 'had')} {target + n} {things}. {capital(who.he)} {t.verb(who, 'keeps', 'kept')} {n}.",
            ))  # fmt: skip
            opening = t.pick("the rest", "the others", "what is left")
    friends = t.any_of("friends children people kids cousins students neighbors players brothers sisters".split())
    packs = t.any_of(words.PACKS)
    pack = words.singular(packs)
    friend = words.singular(friends)
    shares = t.verb(who, *t.any_of((("shares", "shared"), ("divides", "divided"), ("splits", "split"))))
    named = who.name if not t.story.sentences else who.he
    equally = t.pick("equally ", "equally ", "evenly ", "")
    if t.chance(0.2) and not after and before == 0:  # how many packs
        t.say(t.pick(
            f"{who.start} {t.verb(who, 'has', 'had')} {whole} {things} and {t.verb(who, 'puts', 'put')} {each} in each {pack}.",
            f"{who.start} {t.verb(who, 'packs', 'packed')} {whole} {things} into {packs} of {each}.",
            f"{each} {things} fit in a {pack}. {who.start} {t.verb(who, 'has', 'had')} {whole} {things}.",
        ))  # fmt: skip
        t.say(
            t.pick(
                f"How many {packs} {t.does(who)} {who.he} need?",
                f"How many {packs} are there?",
                f"How many {packs} can {who.he} fill?",
            )
        )
        t.story.work_out(f"That fills {{}} {packs}.", whole, "÷", each)
        return
    part = t.story.work_out(t.pick(f"Each gets {{}} {things}.", f"That is {{}} {things} each."), whole, "÷", k)
    into_packs = t.chance(0.25)
    if before == 0 and not after and not into_packs and t.chance(0.25):
        t.say(f"{k} {friends} {t.pick('share', 'shared', 'split')} {opening} {equally.strip() or 'equally'}.")
        target_name = f"each {friend}"
    elif into_packs:
        t.say(t.pick(
            f"{capital(named)} {t.verb(who, 'puts', 'put')} {opening} into {k} {packs}{t.pick(', the same number in each', ' equally')}.",
            f"{capital(named)} {t.verb(who, 'divides', 'divided')} {opening} {equally}into {k} {packs}.",
        ))  # fmt: skip
        target_name = f"each {pack}"
    else:
        t.say(t.pick(
            f"{capital(named)} {shares} {opening} {equally}among {k} {friends}.",
            f"{capital(named)} {shares} {opening} {equally}between {k} {friends}.",
            f"{capital(named)} {t.verb(who, 'gives', 'gave')} {opening} to {k} {friends}, the same number to each.",
            ))  # fmt: skip
        target_name = f"each {friend}"
    if not after:
        if into_packs:
            t.say(
                t.pick(
                    f"How many {things} are in {target_name}?",
                    f"How many {things} go into {target_name}?",
                    f"How many are in each?",
                )
            )
        else:
            t.say(t.pick(
                f"How many {things} does {target_name} get?", f"How many {things} does each get?", f"How many {things} does each one get?",
                f"How many {things} {t.does(who, past=True)} {target_name} get?", "How many does each of them get?",
            ))  # fmt: skip
        return
    n = t.part_of(part)
    if into_packs:
        t.say(
            t.pick(
                f"{n} {things} are taken out of one {pack}.",
                f"Then {who.he} {t.verb(who, 'takes', 'took')} {n} {things} out of one {pack}.",
            )
        )
        t.story.work_out(f"That leaves {{}} {things}.", part, "-", n)
        t.say(t.pick(f"How many {things} are left in that {pack}?", f"How many are still in that {pack}?"))
        return
    eats = ("eats", "ate") if food else t.any_of((("loses", "lost"), ("gives away", "gave away"), ("sells", "sold")))
    t.say(t.pick(
        f"One {friend} {eats[t.past]} {n} of them.", f"One of them {eats[t.past]} {n} {things}.", f"One of the {friends} {eats[t.past]} {n}.",
    ))  # fmt: skip
    t.story.work_out(f"That leaves {{}} {things}.", part, "-", n)
    t.say(
        t.pick(f"How many {things} does that {friend} have left?", f"How many {things} does this {friend} still have?")
    )


# Lengths, pages and time


def lengths(t: Teller, length: int) -> None:
    """A length, a book, a way or a time of which a part is done, cut off or shared."""
    _needs(length <= 3)
    what, unit, kind = t.any_of((
        ("rope", "meters", "cut"), ("ribbon", "cm", "cut"), ("board", "inches", "cut"), ("pipe", "feet", "cut"), ("string", "cm", "cut"),
        ("wire", "meters", "cut"), ("road", "km", "way"), ("trail", "miles", "way"), ("trip", "km", "way"), ("race", "km", "way"),
        ("book", "pages", "book"), ("movie", "minutes", "time"), ("film", "minutes", "time"), ("song book", "pages", "book"), ("show", "minutes", "time"),
    ))  # fmt: skip
    what = t.noun((what,)) if kind == "cut" else what
    who = t.person()
    now: Now = t.rng.randint(20, 200 if not t.hard else 600)
    long = {"cut": " long", "way": " long", "book": "", "time": " long"}[kind]
    opening = t.pick(
        f"A {what} is {now} {unit}{long}.",
        f"The {what} is {now} {unit}{long}.",
        f"{who.start} {t.verb(who, 'has', 'had')} a {what} that is {now} {unit} long.",
    )
    if kind == "book":
        opening = t.pick(
            f"The {what} has {now} {unit}.",
            f"A {what} has {now} {unit}.",
            f"{capital(who.his)} {what} has {now} {unit}.",
        )
    if kind in ("way", "time"):
        opening = t.pick(
            f"A {what} is {now} {unit} long.",
            f"The {what} {t.pick('takes', 'lasts')} {now} {unit}."
            if kind == "time"
            else f"The {what} is {now} {unit} long.",
        )
    t.say(opening)
    done = {"cut": (("cuts off", "cut off"), ("uses", "used"), ("sells", "sold")), "way": (("walks", "walked"), ("drives", "drove"), ("runs", "ran"), ("covers", "covered")),
            "book": (("reads", "read"), ("has read", "had read")), "time": (("watches", "watched"), ("has seen", "had seen"))}[kind]  # fmt: skip
    if kind == "cut" and t.chance(0.5):
        k = t.any_of((2, 2, 3, 4, 5, 6, 8, 10))
        _needs(number(now) % k == 0)
        parts = "half" if k == 2 and t.chance(0.7) else f"{k} equal {t.pick('parts', 'pieces')}"
        into = "in half" if parts == "half" else f"into {parts}"
        piece = (
            "half" if parts == "half" else t.pick("piece", "part") if "equal" not in parts else parts.split()[-1][:-1]
        )
        t.say(t.pick(f"It {t.pick('is', 'was')} cut {into}.", f"{who.start} {t.verb(who, 'cuts', 'cut')} it {into}."))
        now = t.story.work_out(f"Each {piece} is {{}} {unit}.", now, "÷", k)
        if length == 1:
            t.say(
                t.pick(
                    f"How long is each {piece}?", f"How long is one {piece}?", f"How many {unit} long is each {piece}?"
                )
            )
            return
        n = t.any_of((2, 3, 4, 5, 6))
        t.say(t.pick(
            f"{capital(who.he)} {t.verb(who, 'needs', 'needed')} {n} of these {piece if piece != 'half' else 'piece'}s.",
            f"{capital(who.he)} {t.verb(who, 'joins', 'joined')} {n} such {piece if piece != 'half' else 'piece'}s.",
        ))  # fmt: skip
        t.story.work_out(f"Together that is {{}} {unit}.", n, "×", now)
        _needs(length == 2)
        t.say(t.pick(f"How many {unit} is that?", "How long are they together?", f"How many {unit} are they together?"))
        return
    start = 0
    if length >= 2 and t.chance(0.4) and kind != "cut":
        k, m = t.few(), t.few()
        per = t.pick("day", "hour") if kind == "way" else "day"
        verb = t.any_of(done[:1])
        t.say(
            f"{who.start} {t.verb(who, *verb)} {m} {unit} {t.pick('every', 'each', 'a' if per == 'day' else 'an')} {per} for {k} {per}s."
        )
        part = t.story.work_out(f"In {k} {per}s that is {{}} {unit}.", k, "×", m)
        now = t.story.work_out(f"That leaves {{}} {unit}.", now, "-", part)
        start = 2
    for i in range(start, length):
        n = t.part_of(now)
        verb = t.any_of(done) if not (i or start) else done[0]
        name = who.name if i == 0 else who.he
        t.say(t.pick(
            f"{capital(name)} {t.verb(who, *verb)} {n} {unit}.", f"{'Then' if i else 'First'} {name} {t.verb(who, *verb)} {n} {unit}.",
            f"{capital(name)} {t.verb(who, *verb)} {n} {unit} {t.pick('on ' + t.any_of(words.DAYS), 'in the morning', 'today')}.",
            f"{capital(name)} {t.verb(who, *verb)} {n}{'' if kind == 'book' else ' ' + unit}.",
        ))  # fmt: skip
        now = t.story.work_out(f"That leaves {{}} {unit}.", now, "-", n)
    do = t.does(who)
    if kind == "cut":
        t.say(
            t.pick(
                f"How much {what} is left?",
                f"How many {unit} are left?",
                f"How long is the rest?",
                f"How long is the {what} now?",
            )
        )
    else:
        base = {"way": "go", "book": "read", "time": "watch"}[kind]
        t.say(t.pick(
            f"How many {unit} are left?", f"How many {unit} {do} {who.he} still have to {base}?", f"How many more {unit} {do} {who.he} have to {base}?",
            f"How many {unit} remain?", f"How many {unit} {do} {who.he} have left?",
        ))  # fmt: skip


def speed(t: Teller, length: int) -> None:
    """So many units an hour: a way, a time, or the units of each hour."""
    _needs(length == 1)
    who = t.person()
    k, m = t.factors()
    if k > m:
        k, m = m, k
    thing, verb, unit = t.any_of((
        ("car", "drives", "km"), ("train", "goes", "km"), ("bus", "drives", "miles"), ("boat", "sails", "miles"), ("bike", "goes", "km"),
        ("snail", "crawls", "cm"), ("plane", "flies", "miles"), ("machine", "makes", "toys"), ("printer", "prints", "pages"), ("tap", "gives", "liters"),
        ("machine", "fills", "bottles"), ("hen", "lays", "eggs"), ("factory", "builds", "cars"), ("baker", "bakes", "rolls"),
    ))  # fmt: skip
    thing = t.noun((thing,))
    base = words.without_s(verb)
    hour = t.pick("hour", "hour", "minute", "day", "week")
    an = "an" if hour == "hour" else "a"
    if t.chance(0.6):
        t.story.work_out(f"In {k} {hour}s that is {{}} {unit}.", k, "×", m)
        t.say(t.pick(
            f"A {thing} {verb} {m} {unit} {an} {hour}. How many {unit} does it {base} in {k} {hour}s?",
            f"A {thing} {verb} {m} {unit} in one {hour}. How many {unit} is that in {k} {hour}s?",
            f"A {thing} {verb} {m} {unit} every {hour} for {k} {hour}s. How many {unit} is that in total?",
        ))  # fmt: skip
    elif t.chance(0.5):
        whole = k * m
        _needs(whole <= t.story.largest)
        t.story.work_out(f"In one {hour} that is {{}} {unit}.", whole, "÷", k)
        t.say(t.pick(
            f"A {thing} {verb} {whole} {unit} in {k} {hour}s. How many {unit} does it {base} in one {hour}?",
            f"In {k} {hour}s a {thing} {verb} {whole} {unit}, always as many. How many {unit} is that {an} {hour}?",
        ))  # fmt: skip
    else:
        whole = k * m
        _needs(whole <= t.story.largest)
        t.story.work_out(f"That takes {{}} {hour}s.", whole, "÷", m)
        t.say(f"A {thing} {verb} {m} {unit} {an} {hour}. How many {hour}s does it take for {whole} {unit}?")


# Bare sums


def bare(t: Teller, length: int) -> None:
    """An expression, in signs or in words."""
    _needs(length <= 2)
    sign = t.any_of("+-×+-×÷")
    a, b = t.amount(), t.amount()
    if t.chance(0.3):
        a, b = t.few(), t.few()
    if sign == "×":
        a, b = t.factors()
    elif sign == "÷":
        b = t.rng.randint(2, 12)
        a = b * t.rng.randint(2, 20)
    elif sign == "-" and a < b:
        a, b = b, a
    first = t.story.work_out("{}.", a, sign, b)
    words_, signs = {
        "+": (("plus", "and", "added to"), ("+",)), "-": (("minus", "take away"), ("-",)),
        "×": (("times", "multiplied by"), ("x", "*", "×", "x", "*")), "÷": (("divided by",), ("/", "÷", ":")),
    }[sign]  # fmt: skip
    shown = (
        f"{a} {t.any_of(words_)} {b}"
        if t.chance(0.4)
        else t.pick(f"{a} {t.any_of(signs)} {b}", f"{a} {t.any_of(signs)} {b}", f"{a}{t.any_of(signs)}{b}")
    )
    if " and " in shown:
        asked = t.pick(f"How much is {shown}?", f"What is the sum of {shown}?", f"Add {shown}.")
    elif " added to " in shown:
        asked = f"What is {shown}?"
    else:
        if length == 2:
            other = t.any_of("+-")
            c = t.more(first) if other == "+" else t.part_of(first)
            shown = shown if any(s.isalpha() and s != "x" for s in shown) else f"{a} {t.any_of(signs)} {b}"
            shown = f"{shown} {('plus' if other == '+' else 'minus') if any(s.isalpha() and s != 'x' for s in shown) else other} {c}"
            t.story.work_out("{}.", first, other, c)
        asked = t.pick(
            f"What is {shown}?", f"{shown} = ?", f"{shown}", f"Calculate {shown}.", f"How much is {shown}?", f"{shown} =", f"{shown}?",
            f"Compute {shown}.", f"What's {shown}?", f"What does {shown} make?", f"Work out {shown}.", f"{shown} is what?",
        )  # fmt: skip
    _needs(len(t.story.steps) == length)
    t.story.say(asked)


# Hard problems


def two_ledgers(t: Teller, length: int) -> None:
    """Two people's things, each gained and lost, then put together or compared."""
    _needs(length >= 4)
    things = t.thing()
    ends: list[Now] = []
    people = [t.person(first=False), t.person(first=False)]
    kind = "food" if things in words.FOOD else "toys"
    split = t.rng.randint(1, length - 2)
    for who, until in zip(people, (split, length - 1), strict=True):
        now = _beginning(t, who, things)
        _needs(len(t.story.steps) <= until)
        while len(t.story.steps) < until:
            now = _change(t, who, things, now, kind, until - len(t.story.steps))
        _needs(len(t.story.steps) == until)
        ends.append(now)
    a, b = ends
    if t.chance(0.7):
        t.story.work_out(f"Together they have {{}} {things}.", a, "+", b)
        t.say(
            t.pick(
                f"How many {things} do they have together?",
                f"How many {things} do {people[0].known} and {people[1].known} have in all?",
            )
        )
        return
    _needs(number(a) > number(b))
    t.story.work_out(f"The difference is {{}} {things}.", a, "-", b)
    t.say(f"How many more {things} does {people[0].known} have than {people[1].known}?")


Telling = Callable[[Teller, int], None]

# Each with its weight, and the longest in steps.
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
