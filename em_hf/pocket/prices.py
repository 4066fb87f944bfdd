"""Stories of money: earned and spent, and what things cost."""

import re
from collections.abc import Sequence

from em_hf.pocket import words
from em_hf.pocket.steps import Quantity
from em_hf.pocket.teller import Now, Person, Teller, capital, listed, needs


def money(t: Teller, length: int) -> None:
    """Money earned and spent."""
    who = t.person()
    start = t.amount()
    amount = t.dollars(start)
    t.say(
        f"{who.start} {t.verb(who, 'has')} {amount}(| in {who.his} {t.any_of(words.PURSES)}).",
        f"{who.start} (saved {amount}|got {amount} for {who.his} birthday|{t.verb(who, 'starts')} with {amount}).",
    )
    now: Now = start
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
    """Things of one price: what so many of them cost."""
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
    # Where nobody is named, a thing is nobody's.
    the_first, the_second, the_third = (re.sub("^(her|his) ", "the ", ware) for ware in (first, second, third))
    both = f"{the_first} {costs} {for_a}( and {the_second}|. {capital(the_second)}) {costs} {for_b}."
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
        how_much = f"How much {t.does(who)} {who.name} pay for both?"
    else:
        c = t.amount()
        t.say(
            f"{the_first} {costs} {for_a}, {the_second} {costs} {for_b} and {the_third} {costs} {t.dollars(c)}.",
            f"{buys} a {wares[0]} for {for_a}, a {wares[1]} for {for_b} and a {wares[2]} for {t.dollars(c)}.",
        )
        t.together(total, c, t.coin)
        how_much = "How much is that in all?"
    paid = f"What did {who.name} pay in total?"
    if not t.told_of(who):
        how_much, paid = "How much is that in all?", "What do they cost in total?"
    t.say(
        "How much do they cost together?",
        how_much,
        paid,
        "How much is that together?",
        "What is the total?",
    )
