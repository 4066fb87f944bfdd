"""The stories that the problems tell: who has what, what happens to it, and what is asked.

Each story is a function that fills a `Story` with the choices of a `Teller`, in so many steps. One that needs a number
out of range, or that cannot be told in so many steps, raises OutOfRange, and the caller draws another.

The order of the draws decides which problems a seed gives, and with them what a model was trained on. A wording makes
the draws that it holds whether or not it is the one chosen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from em_hf.pocket import words
from em_hf.pocket.steps import Quantity, number
from em_hf.pocket.teller import Now, Person, Teller, capital, listed, needs

Telling = Callable[[Teller, int], None]


# Somebody's things, or the things in a place, gained and lost


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
        f"{who.start} {has} {now} {things} in a {t.noun([words.singular(packs) for packs in words.PACKS])}.",
        f"This morning {who.name} {words.past(t.any_of(words.GETTING))} {now} {t.any_of(words.COLORS)} {things}.",
        f"{who.start} {gets} {now} {things} {_occasion(t)}.",
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
        return _sum(t, a, b, things)
    days = [f"on {day}" for day in t.rng.sample(words.DAYS, 2)]
    first, second = t.any_of((days, *words.TWO_TIMES))
    verb = t.any_of(words.GETTING_TWICE)
    if first in words.PAST_TIMES:
        t.say(f"{who.start} {words.past(verb)} {a} {things} {first} and {b} {things} {second}.")
    else:
        again = t.pick("", f"{things} ", "more ")
        t.say(f"{who.start} {t.verb(who, verb)} {a} {things} {first} and {b} {again}{second}.")
    return _sum(t, a, b, things)


def _sum(t: Teller, a: int, b: int, things: str) -> Quantity:
    return t.story.work_out(t.pick(f"(Together that is|In total there are|That makes) {{}} {things}."), a, "+", b)


def _occasion(t: Teller) -> str:
    return t.pick(f"on {t.any_of(words.DAYS)}", *words.OCCASIONS)


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
    what = t.pick(f"{n} (more|{extra} {things}|more {things}|{things})", f"another {n}", f"{n} new ones")
    giver = t.companion(who).name
    tail = t.pick("", "", "", f" {_occasion(t)}", f" from {giver}")
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
        f"{then}{he} {t.verb(who, t.any_of(losses))} {what} {t.any_of(words.AT)} the {t.noun(words.OUTINGS)}.",
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
    if t.chance(0.5) and 2 * number(now) <= t.story.largest:
        t.say(
            f"{then}{he} ({t.verb(who, 'doubles')} the number of {things}|{t.verb(who, 'buys')} as many again).",
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
    if by_day:
        t.rng.sample(words.DAYS, 7)  # unused, but without it every problem that follows would change
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


def money(t: Teller, length: int) -> None:
    """Money earned and spent."""
    who = t.person()
    now: Now = t.amount()
    amount = t.dollars(now)
    t.say(
        f"{who.start} {t.verb(who, 'has')} {amount}(| in {who.his} {t.any_of(words.PURSES)}).",
        f"{who.start} (saved {amount}|got {amount} for {who.his} birthday|{t.verb(who, 'starts')} with {amount}).",
    )
    while t.told < length:
        steps_left = length - t.told
        if steps_left >= 2 and t.chance(0.45):
            now = _purchase(t, who, now, steps_left)
        elif steps_left == 2 and t.chance(0.3):
            now = _earn_and_spend(t, who, now)
        elif t.chance(0.4):
            n = t.more(now)
            t.say(f"{t.then()}{t.mention(who)} {_with_money(t, who, words.EARNINGS, n)}.")
            now = t.grown(now, n, t.coin)
        elif length == 1 and t.chance(0.5):
            _ask_before_purchase(t, who, now)
            return
        else:
            n = t.part_of(now)
            t.say(f"{t.then()}{t.mention(who)} {_with_money(t, who, words.SPENDINGS, n)}.")
            now = t.left(now, n, t.coin)
    do, name = t.does(who), t.mention(who)
    asked = [
        f"How (much|much money|many {t.coin}) {do} {name} have now?",
        f"How much money {do} {name} have in the end?",
    ]
    if t.lost:
        asked.append(f"How (much {do} {name} have|much money {do} {name} have|much is|many {t.coin} are) left?")
        asked.append(f"How (much money is|many {t.coin} {do} {name} have|much did {name} have) left?")
    t.say(*asked)


def _with_money(t: Teller, who: Person, ways: Sequence[str], n: int) -> str:
    """What somebody does with so much money, with its verb in the right form."""
    return t.verb(who, t.any_of(ways)).format(
        amount=t.dollars(n),
        his=who.his,
        ware=t.any_of(words.ONE_WARE),
        relative=t.any_of(words.RELATIVES),
        friend=t.third_person().name,
    )


def _earn_and_spend(t: Teller, who: Person, now: Now) -> Quantity:
    """Money earned and spent in one sentence."""
    n = t.more(now)
    earns = _with_money(t, who, words.EARNINGS, n)
    now = t.grown(now, n, t.coin)
    m = t.part_of(now)
    t.say(f"{who.he} {earns} and then {_with_money(t, who, words.SPENDINGS, m)}.")
    return t.left(now, m, t.coin)


def _ask_before_purchase(t: Teller, who: Person, now: Now) -> None:
    """The price of one thing, and what would be left of the money."""
    n = t.part_of(now)
    ware = t.any_of(words.TWO_WARES)
    t.say(f"{t.pick('A', 'A new', 'The')} {ware} {t.tense('costs')} {t.dollars(n)}.")
    will = "would" if t.past else t.pick("will", "would")
    t.left(now, n, t.coin)
    he, buys = who.he, t.verb(who, "buys")
    t.say(
        f"How much (money {will} {he} have left after buying it|{will} {he} have after {he} {buys} it)?",
        f"({he} {buys} it. How much is left|How much money {will} {he} have left)?",
    )


def _purchase(t: Teller, who: Person, now: Now, steps_left: int) -> Quantity:
    """Several pieces at one price, perhaps with another thing, paid from the money."""
    k, price = t.few(), t.few_or_more(0.7)
    amount = t.dollars(price)
    things = t.thing(words.WARES, words.TOYS, words.FOOD)
    buys = t.verb(who, t.any_of(("buys", "buys", "orders")))
    what = t.pick(f"{k} {things} (for {amount} each|at {amount} each|for {amount} apiece|that cost {amount} each)")
    cost = t.story.work_out(f"The {things} cost {{}} {t.coin}.", k, "×", price)
    if steps_left >= 3 and t.chance(0.6):
        n = t.rng.randint(2, 40)
        t.say(f"{t.then()}{who.he} {buys} {what} and {t.any_of(words.ONE_WARE)} for {t.dollars(n)}.")
        cost = t.together(cost, n, t.coin)
    else:
        t.say(f"{t.then()}{who.he} {buys} {what}.")
    return t.left(now, cost, t.coin)


# Prices


def shopping(t: Teller, length: int) -> None:
    """Things bought or sold by the piece: what they cost together."""
    who = t.person()
    things = t.thing(words.WARES, words.TOYS, words.FOOD)
    if length == 1:
        _one_price(t, who, things)
        return
    k, price = t.few(), t.few_or_more(0.6)
    sells = t.chance(0.35)
    verb, cost = (t.verb(who, "sells"), "bring") if sells else (t.verb(who, "buys"), "cost")
    parts = [t.pick(f"{k} {things} (for|at|that cost) {t.dollars(price)} each")]
    total = t.story.work_out(f"The {things} {cost} {{}} {t.coin}.", k, "×", price)
    while t.told < length:
        steps_left = length - t.told
        if steps_left >= 2 and (steps_left != 3 or t.chance(0.5)):
            k, price = t.few(), t.few_or_more(0.6)
            things = t.thing(words.WARES, words.TOYS, words.FOOD)
            parts.append(t.pick(f"{k} {things} (for|at) {t.dollars(price)} each"))
            more = t.story.work_out(f"The {things} {cost} {{}} {t.coin}.", k, "×", price)
            total = t.together(total, more, t.coin)
        else:
            n = t.rng.randint(2, 60)
            parts.append(f"{t.any_of(words.ONE_WARE)} for {t.dollars(n)}")
            total = t.together(total, n, t.coin)
    if t.chance(0.25):
        t.say(f"{who.start} {verb} {parts[0]}.")
        for part in parts[1:]:
            t.say(f"{t.pick('Then ', '', '')}{who.he} also {verb} {part}.")
    else:
        t.say(f"{who.start} {verb} {listed(parts)}.")
    _ask_for_money(t, who, sells)


def _ask_for_money(t: Teller, who: Person, sells: bool) -> None:
    do, did = f"{t.does(who)} {who.he}", f"did {who.he}"
    if sells:
        t.say(f"How much (money {do} get|{did} earn|money is that in all|money {did} take in|{do} make in total)?")
    else:
        t.say(
            f"How much ({do} pay|{did} pay in total|is that in all|{do} spend)?",
            f"What (is the total cost|{did} pay for everything)?",
            f"How (much money {did} spend altogether|many {t.coin} is that together)?",
        )


def _one_price(t: Teller, who: Person, things: str) -> None:
    """Things of one price."""
    one = words.singular(things)
    k, price = t.factors()
    costs, amount = t.tense("costs"), t.dollars(price)
    pay = t.pick(f"({t.does(who)}|did) {who.name} pay")
    t.story.work_out(f"The {things} cost {{}} {t.coin}.", k, "×", price)
    buys = t.verb(who, "buys")
    what = f"{k} {things} at {amount} each"
    if who.first_person:
        in_total = f"bought {what}. What did {who.he} pay?"
    else:
        in_total = f"{buys} {what}. What does {who.he} pay in total?"
    t.say(
        f"{t.pick('One', 'A', 'Each')} {one} {costs} {amount}. How much do {k} {things} cost?",
        f"{t.pick('One', 'A', 'Each')} {one} {costs} {amount}. {who.start} {buys} {k}. How much {pay}?",
        f"One {one} for the {t.noun(words.FAIRS)} {costs} {amount}. How much do {k} {things} cost?",
        f"{who.start} {buys} {k} {things} for {amount} each. How much {pay}?",
        f"{who.start} {in_total}",
        f"If one {one} costs {amount}, how much do {k} {things} cost?",
        f"How much do {k} {things} cost at {amount} each?",
    )


def two_prices(t: Teller, length: int) -> None:
    """Two or three things, each with its price: together, or how much more one costs."""
    needs(length <= 2)
    who = t.person()
    wares = [t.noun(words.TWO_WARES) for _ in range(3)]
    needs(len(set(wares)) == 3)
    a, b = t.amount(), t.amount()
    first, second, third = (
        f"{t.any_of((who.his, 'the', 'a', 'my')) if t.chance(0.5) else 'a'} {ware}" for ware in wares
    )
    costs, for_a, for_b = t.tense("costs"), t.dollars(a), t.dollars(b)
    both = f"{first} {costs} {for_a}( and {second}|. {capital(second)}) {costs} {for_b}."
    if length == 1 and t.chance(0.3):
        needs(a > b)
        t.say(both)
        t.say(
            f"How much (more does the {wares[0]} cost|more expensive is the {wares[0]}|cheaper is the {wares[1]})?",
            f"How much more is the {wares[0]} than the {wares[1]}?",
        )
        t.story.work_out(f"The difference is {{}} {t.coin}.", a, "-", b)
        return
    total = t.together(a, b, t.coin)
    buys, pays = f"{who.start} {t.verb(who, 'buys')}", f"{who.start} {t.verb(who, 'pays')}"
    if length == 1:
        t.say(
            both,
            f"{buys} a {wares[0]} for {for_a} and a {wares[1]} for {for_b}.",
            f"{pays} {for_a} for {first} and {for_b} for {second}.",
        )
        third_question = f"How much {t.does(who)} {who.name} pay for both?"
    else:
        c = t.amount()
        t.say(
            f"{first} {costs} {for_a}, {second} {costs} {for_b} and {third} {costs} {t.dollars(c)}.",
            f"{buys} a {wares[0]} for {for_a}, a {wares[1]} for {for_b} and a {wares[2]} for {t.dollars(c)}.",
        )
        t.together(total, c, t.coin)
        third_question = "How much is that in all?"
    t.say(
        "How much do they cost together?",
        third_question,
        f"What did {who.name} pay in total?",
        "How much is that together?",
        "What is the total?",
    )


# Two or more compared


def comparison(t: Teller, length: int) -> None:
    """Each has more, fewer or times as many as the one before; then one of them, or all together, or what is left."""
    people = [t.third_person()]
    food = t.chance(0.5)
    things = t.thing(words.FOOD, words.PLANTS) if food else t.thing(words.TOYS, words.WARES)
    verb = t.any_of(words.COMPARED)
    has: list[Now] = [t.few() if t.chance(0.2) else t.amount()]
    t.say(f"{people[0].start} {t.tense(verb)} {has[0]} {things}(|| {_occasion(t)}).")
    ending = t.any_of(("one", "together", "left")) if length > 1 else "one"
    compared = length if ending == "one" else length // 2
    steps = {"one": compared, "together": 2 * compared, "left": 2 * compared + 1}[ending]
    needs(compared <= 3 and steps == length)
    for _ in range(compared):
        other = t.companion(people[-1], stranger=0.75)
        has.append(_compared(t, people[-1], other, things, has[-1], verb))
        people.append(other)
    if t.chance(0.4) and compared == 1:  # in one sentence
        first, second = t.story.sentences
        t.story.sentences[:] = [f"{first[:-1]} and {people[1].name[0]}{second[1:]}"]
    have = words.without_s(verb)
    if ending == "one":
        do = "did" if t.past else "does"
        name = people[-1].name if t.chance(0.6) or compared > 1 else people[-1].he
        asked = f"{things} {do} {name} {have}"
        t.say(f"How many ({asked}|{asked}|{do} {name} {have}|{things} does {name} have)?")
        return
    total = has[0]
    for n in has[1:]:
        total = t.story.work_out(f"Together they have {{}} {things}.", total, "+", n)
    if ending == "left":
        _lose_together(t, things, total, food)
        return
    do = t.tense("do")
    they = "all three" if compared == 2 and t.chance(0.5) else "they"
    t.say(
        f"How many {things} ({do} {they} {have} together|{do} they {have} in total|do they have together)?",
        f"How many {things} (is that in all|{do} they {have} altogether)?",
        f"What is the total number of {things}?",
    )


def _compared(t: Teller, one: Person, other: Person, things: str, has: Now, verb: str) -> Quantity:
    """How many another person has, told by what the one before has."""
    kind = t.any_of(("more", "more", "fewer", "fewer", "times", "half"))
    sentence = f"{other.start} has {{}} {things}."
    did = "did" if t.past else "does"
    than = t.pick(one.name, one.name, f"{one.name} {did}", one.name if one.he == other.he else f"{one.he} {did}")
    gets = f"{other.start} {t.tense(verb)}"
    if kind == "times":
        k = t.any_of((2, 2, 2, 3, 3, 4, 5, 6))
        needs(number(has) * k <= t.story.largest)
        twice, thrice = t.pick("twice", "twice", "2 times", "two times"), t.pick("3 times", "three times")
        times = {2: twice, 3: thrice}.get(k, f"{k} times")
        t.say(f"{gets} {times} as many( {things} as {one.name}|| as {one.name}).")
        return t.story.work_out(sentence, has, "×", k)
    if kind == "half":
        t.say(f"{gets} half as many( {things} as {one.name}|).")
        return t.story.work_out(sentence, has, "÷", 2)
    n = t.more(has) if kind == "more" else t.part_of(has)
    t.say(f"{gets} {n} {kind}( {things} than {than}| than {than}|).")
    return t.story.work_out(sentence, has, "+" if kind == "more" else "-", n, of_fewer=kind == "fewer")


def _lose_together(t: Teller, things: str, total: Now, food: bool) -> None:
    """Some of what several people have is lost: what is left."""
    n = t.part_of(total)
    lose = t.tense(words.without_s(t.any_of(words.LOSSES + words.EATING if food else words.LOSSES)))
    they = f"they {lose} {n}"
    t.say(f"({they} of them|Together {they}|Later {they} of these|Then {they} {things}).")
    t.left(total, n, things)
    t.say(f"How many ({things} are left|{things} do they have left|are left)?")


def ages(t: Teller, length: int) -> None:
    """Who is how old: older and younger, sums, and in some years."""
    last = t.third_person()
    told: list[Now] = [t.rng.randint(6, 60)]
    t.say(f"{last.start} is {told[0]}{t.pick('', ' years old', ' years old')}.")
    in_sum = length >= 2 and t.chance(0.3)
    needs(not in_sum or length % 2 == 0)
    for i in range(length // 2 if in_sum else length):
        draw = t.rng.random()
        at_end = not in_sum and i == length - 1
        if at_end and (draw < 0.15 or (draw < 0.25 and number(told[-1]) > 6)):
            _ask_at_other_time(t, last, told[-1], later=draw < 0.15)
            return
        other = t.relative(last) if t.chance(0.6) else t.third_person()
        told.append(_older_or_younger(t, last, other, told[-1]))
        last = other
    if in_sum:
        total = told[0]
        for age in told[1:]:
            total = t.story.work_out("Together they are {}.", total, "+", age)
        t.say("How old are they together?", "What is the sum of their ages?", "How many years are they together?")
        return
    name = last.name if t.chance(0.6) or length > 1 else last.he
    age_of = f"What is {last.name}'s age?" if last.name[0].isupper() else f"How old is {name} now?"
    t.say(f"How old is {name}?", f"How old is {name}?", age_of)


def _older_or_younger(t: Teller, one: Person, other: Person, age: Now) -> Quantity:
    """How old another person is, told by the age of the one before."""
    than = t.pick("", "", f" than {one.name}", f" than {one.name if one.he == other.he else one.he}")
    if t.chance(0.15):
        t.say(f"{other.start} is twice as old{f' as {one.name}' if t.chance(0.6) else ''}.")
        return t.story.work_out(f"{other.start} is {{}}.", age, "×", 2)
    older = t.chance(0.65)
    n = t.rng.randint(2, 40) if older else t.part_of(age)
    t.say(f"{other.start} is {n} years {'older' if older else 'younger'}{than}.")
    return t.story.work_out(f"{other.start} is {{}}.", age, "+" if older else "-", n)


def _ask_at_other_time(t: Teller, who: Person, age: Now, *, later: bool) -> None:
    """How old somebody will be in some years, or was some years ago."""
    if not later:
        n = t.rng.randint(2, min(20, number(age) - 3))
        t.story.work_out(f"{n} years ago it was {{}} years.", age, "-", n)
        t.say(f"How old was {who.name} {n} years ago?")
        return
    n = t.rng.randint(2, 30)
    t.story.work_out(f"In {n} years it is {{}} years.", age, "+", n)
    if t.told == 1:
        t.say(f"(How old will {who.name} be|What will be {who.his} age) in {n} years?")
    else:
        t.say(f"How old will {who.name} be in {n} years?")


def difference(t: Teller, length: int) -> None:
    """Two amounts or sizes: how much more the one is than the other."""
    needs(length == 1)
    one, other = t.person(), t.third_person()
    if t.chance(0.5):
        other = t.relative(one)
    a, b = t.amount(), t.amount()
    needs(a - b >= 2)
    things = t.thing()
    verb = t.any_of(words.COMPARED)
    if not t.chance(0.5):
        _two_sizes(t, other, a, b)
        return
    has, also_has = t.verb(one, verb), t.tense(verb)
    t.say(
        f"{one.start} {has} {a} {things} and {other.name} {also_has} {b}( {things}|).",
        f"{one.start} {has} {a} {things}. {other.start} {also_has} {b}.",
    )
    have = f"{t.does(one, past=t.past)} {one.name} {words.without_s(verb)}"
    t.say(
        f"How many more ({things} {have}|{things} {have} than {other.name}|{have} than {other.name})?",
        "What is the difference?",
    )
    t.story.work_out(f"The difference is {{}} {things}.", a, "-", b)


def _two_sizes(t: Teller, other: Person, a: int, b: int) -> None:
    """How much older, taller, longer or the like one is than the other."""
    first = t.third_person()
    older, unit = t.any_of(words.SIZES)
    if older in ("longer", "higher"):
        one_name, other_name = t.rng.sample(words.SIZED, 2)
        start, second = f"{t.pick('A', 'The')} {one_name}", f"{t.pick('a', 'the')} {other_name}"
        one_name, other_name = f"the {one_name}", f"the {other_name}"
    else:
        start, one_name = first.start, first.known
        second = f"{first.his} {t.any_of(words.SHE_RELATIVES)}" if t.chance(0.5) else other.name
        other_name = second
    t.say(f"{start} is {a}{unit}( and {second} is {b}{unit}| and {second} is {b}|. {capital(second)} is {b}{unit}).")
    how_much = f"How many years older is {one_name}" if older == "older" else f"By how much is {one_name} {older}"
    t.say(f"(How much {older} is {one_name}|How much {older} is {one_name} than {other_name}|{how_much})?")
    t.story.work_out("The difference is {}.", a, "-", b)


# Parts and wholes


def totals(t: Teller, length: int) -> None:
    """Several groups put together; sometimes a part of them taken away."""
    choice, general = t.any_of(words.CALLED)
    n_groups = min(t.any_of((2, 2, 3, 4)), length + 1)
    kinds = list(dict.fromkeys(t.thing(choice) for _ in range(n_groups)))
    needs(len(kinds) == n_groups and n_groups - 1 <= length <= n_groups)
    counts = [t.amount() for _ in kinds]
    at, place = t.any_of(words.SCENES)
    place = t.noun([place])
    together = listed([f"{n} {kind}" for n, kind in zip(counts, kinds, strict=True)])
    who = t.person()
    are = t.tense("are")
    t.say(
        f"There {are} {together} {at} {t.pick('a', 'the')} {place}.",
        f"{t.pick('A', 'The')} {place} has {together}.",
        f"{who.start} {t.verb(who, t.any_of(words.GETTING))} {together}.",
        f"{at} the {place} there {are} {together}.",
        f"{who.start} {t.verb(who, 'sees')} {together} {at} the {place}.",
    )
    now: Now = counts[0]
    for n in counts[1:]:
        now = t.story.work_out(f"Together there are {{}} {general}.", now, "+", n)
    if length == n_groups:
        _part_of_total(t, now, general)
        return
    t.say(
        f"How many {general} (is that|are there|are there in all)?",
        "How many (are there altogether|is that in total)?",
        f"How many {general} (is that together|are there {at} the {place})?",
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
        c = t.amount()
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
    if other := words.OPPOSITES.get(kinds[-1]):
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


# Groups of one size


def groups(t: Teller, length: int) -> None:
    """So many groups of so many, with some more or less."""
    needs(length <= 3)
    k, m = t.factors()
    if length == 1 and t.chance(0.35):
        _parts_of_each(t, k, m)
        return
    rows = t.thing(words.ROWS)
    things = t.thing(words.PLANTS, words.WARES, words.PEOPLE, words.ANIMALS, words.FOOD)
    place = t.noun(words.FOR_ROWS)
    has = t.tense("has")
    who = t.person()
    sets_up = t.verb(who, "plants" if things in words.PLANTS else t.any_of(words.SETTING_UP))
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
    """So many parts of each, as in "A spider has 8 legs. How many legs do 4 spiders have?"."""
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
    t.say(
        f"{t.then()}{keeper.name} {t.tense('takes')} {n}{t.pick(f'(| {things}| of them| away)')}.",
        f"{t.then()}{n}{t.pick(f'(| {things}| of them)')} {t.tense(t.any_of(accidents))}.",
        f"{t.then()}{n} {things} {t.tense(t.any_of(accidents))}.",
        f"{n} of the {things} are {t.pick('broken', 'missing', 'gone')}. The rest are {t.pick('fine', 'there')}.",
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
    habit = f"{verb} {m} {things} {t.pick(f'(every {day}|{_a_time(day)}|each {day})')}"
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
    n = t.rng.randint(2, 40)
    extra = t.pick(
        f"on ({t.any_of(words.DAYS)}|the last {day})", f"the next {day}", "on the weekend", "before that", "today"
    )
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
        c = t.rng.randint(2, 40)
        t.say(f"Then {who.he} {verb} {c} more {things}.")
        t.story.work_out(f"Now it is {{}} {things}.", total, "+", c)
    he_does = f"{does} {who.he} {do}"
    asked = [f"How many {things} ({he_does} in total|is that altogether|{does} {who.name} {do} in all)?"]
    if things in ("km", "miles"):
        asked.append(f"(What distance|How far) {he_does} in total?")
    else:
        asked.append(f"How many {things} is that(| in total)?")
    t.say(*asked)


def _a_time(unit: str) -> str:
    return "an hour" if unit == "hour" else f"a {unit}"


# Shared equally


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
    friends, packs = t.any_of(words.SHARERS), t.any_of(words.PACKS)
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
        return _sum(t, a, b, things), f"{a} {color} {things} and {b} {other_color} {things}"
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


# Lengths, pages and time


def lengths(t: Teller, length: int) -> None:
    """A length, a book, a way or a time of which a part is done, cut off or shared."""
    needs(length <= 3)
    what, unit, kind = t.any_of(words.LENGTHS)
    if kind == "cut":
        what = t.noun([what])
    who = t.person()
    now: Now = t.rng.randint(20, 200)
    t.say(_whole_length(t, who, what, f"{now} {unit}", kind))
    if kind == "cut" and t.chance(0.5):
        _cut_up(t, who, now, unit, length)
        return
    verbs = words.PROGRESS[kind]
    if length >= 2 and t.chance(0.4) and kind != "cut":
        k, m = t.few(), t.few()
        day = t.pick("day", "hour") if kind == "way" else "day"
        verb = t.verb(who, t.any_of(verbs[:1]))
        each = t.pick(f"(every {day}|each {day}|{_a_time(day)})")
        t.say(f"{who.start} {verb} {m} {unit} {each} for {k} {day}s.")
        part = t.story.work_out(f"In {k} {day}s that is {{}} {unit}.", k, "×", m)
        now = t.left(now, part, unit)
    for i in range(t.told, length):
        n = t.part_of(now)
        verb = t.verb(who, verbs[0] if i else t.any_of(verbs))
        name = who.he if i else who.name
        when = t.pick(f"on {t.any_of(words.DAYS)}", "in the morning", "today")
        t.say(
            f"{name} {verb} {n} {unit}.",
            f"{'Then' if i else 'First'} {name} {verb} {n} {unit}.",
            f"{name} {verb} {n}( {unit} {when}|{'' if kind == 'book' else f' {unit}'}).",
        )
        now = t.left(now, n, unit)
    if kind == "cut":
        t.say(f"How (much {what} is left|many {unit} are left|long is the rest|long is the {what} now)?")
        return
    do, still_to = f"{t.does(who)} {who.he}", words.STILL_TO[kind]
    t.say(
        f"How many ({unit} are left|{unit} {do} still have to {still_to}|more {unit} {do} have to {still_to})?",
        f"How many {unit} (remain|{do} have left)?",
    )


def _whole_length(t: Teller, who: Person, what: str, size: str, kind: str) -> str:
    opening = t.pick(f"(A {what}|The {what}|{who.start} {t.verb(who, 'has')} a {what} that) is {size} long.")
    if kind == "cut":
        return opening
    if kind == "book":
        return t.pick(f"(The|A|{who.his}) {what} has {size}.")
    if kind == "time":
        return t.pick(f"A {what} is {size} long.", f"The {what} {t.pick('takes', 'lasts')} {size}.")
    return t.pick(f"(A|The) {what} is {size} long.")


def _cut_up(t: Teller, who: Person, now: Now, unit: str, length: int) -> None:
    """A length cut into equal parts: how long one is, or some of them."""
    k = t.any_of((2, 2, 3, 4, 5, 6, 8, 10))
    needs(number(now) % k == 0)
    if k == 2 and t.chance(0.7):
        part, parts, into = "half", "pieces", "in half"
    else:
        parts = t.pick("parts", "pieces")
        part, into = words.singular(parts), f"into {k} equal {parts}"
    t.say(f"It {t.pick('is', 'was')} cut {into}.", f"{who.start} {t.verb(who, 'cuts')} it {into}.")
    now = t.story.work_out(f"Each {part} is {{}} {unit}.", now, "÷", k)
    if length == 1:
        t.say(f"How (long is each {part}|long is one {part}|many {unit} long is each {part})?")
        return
    n = t.any_of((2, 3, 4, 5, 6))
    t.say(f"{who.he} ({t.verb(who, 'needs')} {n} of these|{t.verb(who, 'joins')} {n} such) {parts}.")
    t.story.work_out(f"Together that is {{}} {unit}.", n, "×", now)
    needs(length == 2)
    t.say(f"How (many {unit} is that|long are they together|many {unit} are they together)?")


def speed(t: Teller, length: int) -> None:
    """So many units an hour: a way, a time, or the units of each hour."""
    needs(length == 1)
    t.person()  # unused, but without it every problem that follows would change
    k, m = sorted(t.factors())
    whole = k * m
    thing, verb, unit = t.any_of(words.RATES)
    thing = t.noun([thing])
    go = words.without_s(verb)
    hour = t.pick("hour", "hour", "minute", "day", "week")
    hours = f"{k} {hour}s"
    if t.chance(0.6):
        t.story.work_out(f"In {hours} that is {{}} {unit}.", k, "×", m)
        t.say(
            f"A {thing} {verb} {m} {unit} {_a_time(hour)}. How many {unit} does it {go} in {hours}?",
            f"A {thing} {verb} {m} {unit} in one {hour}. How many {unit} is that in {hours}?",
            f"A {thing} {verb} {m} {unit} every {hour} for {hours}. How many {unit} is that in total?",
        )
    elif t.chance(0.5):
        t.story.work_out(f"In one {hour} that is {{}} {unit}.", whole, "÷", k)
        t.say(
            f"A {thing} {verb} {whole} {unit} in {hours}. How many {unit} does it {go} in one {hour}?",
            f"In {hours} a {thing} {verb} {whole} {unit}, always as many. How many {unit} is that {_a_time(hour)}?",
        )
    else:
        t.story.work_out(f"That takes {{}} {hour}s.", whole, "÷", m)
        t.say(f"A {thing} {verb} {m} {unit} {_a_time(hour)}. How many {hour}s does it take for {whole} {unit}?")


# Bare sums


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


# Hard problems


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
