"""Stories of money: purses, shopping, prices, and what goes by the piece."""

from em_hf.pocket.choices import (
    Number,
    a_good,
    amount,
    as_word,
    does,
    dollars,
    extra,
    groups,
    named_new,
    part,
    share,
)
from em_hf.pocket.steps import OutOfRange, Story, number
from em_hf.pocket.telling import someone
from em_hf.pocket.words import DAYS, GOODS, PAIRS, a, plural

EARNED = (
    "[mowing lawns|washing cars|babysitting|selling lemonade|walking dogs|cleaning windows|in the garden|at work|"
    "helping a neighbor|at a market|]"
)
SPENT = (
    "[on lunch|on a book|on food|on a toy|at the market|on a ticket|on candy|on the bus|for dinner|at the fair|"
    "on a present|on games]"
)
GETS = (
    "{he} [<earn>|<earn>|<get>|<make>|<save>] {n} [more |]" + EARNED,
    "{friend} <give:3> {him} {n}[| more]",
    "{he} <find> {n} [in the street|in a coat|more]",
    "{his} [mother|father|aunt|uncle|grandma] <give:3> {him} {n}[| more]",
    "{he} <sell> {thing} for {n}",
)
SPENDS = (
    "{he} [<spend>|<spend>|<pay>] {n} " + SPENT,
    "{he} <buy> {thing} for {n}",
    "{he} <give> {n} to [{friend}|{his} brother|a friend]",
    "{he} <lose> {n}",
    "{he} <pay> {n} for {thing}",
    "{he} <lend> {friend} {n}",
)
HOW_MUCH_LEFT = (
    "How much[| money] {does} [have left|have now|still have|have|have then|have after that]?",
    "How much[| money] {does} [have left|have now|still have|have left]?",
    "How [much|much money] [is left|remains|is left over]?",
)


def purse(story: Story) -> None:
    """Money that is earned, spent and given."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), rng.random() < 0.6
    now: Number
    if story.left > 1 and rng.random() < 0.35:
        k, m = groups(story)
        story.say(
            "{F} [<earn>|<save>|<get>|<make>] {m} [a|every|each|per] {time} for {k} {time}s.",
            "{F} <work> {k} [hours|days] [and <earn>|for] {m} for each.",
            k=as_word(story, k),
            m=dollars(story, m),
            time=rng.choice(("day", "week", "week", "month")),
        )
        now = story.work_out("That is {} dollars.", k, "×", m)
    else:
        now = amount(story)
        story.say(
            "{F} [<have> {n}|<have> {n}|<have> {n} in {his} pocket|<have> {n} at first|<save> {n}|<get> {n} for {his} "
            "birthday|<earn> {n}].",
            n=dollars(story, now),
        )
    need = story.left > 0 and rng.random() < 0.15
    while story.left > need:
        if rng.random() < 0.4:
            n = extra(story, now)
            _happens(story, GETS, n)
            now = story.work_out("That makes {} dollars.", now, "+", n)
        else:
            n = part(story, now)
            _happens(story, SPENDS, n)
            now = story.work_out("That leaves {} dollars.", now, "-", n)
    if need:
        goal = number(now) + extra(story, now)
        story.say(
            "{He} [<want>|<want> to buy|<need>] {thing} [that costs|for] {goal}. How much more [|money ]<do> {he} "
            "[need|still need|have to save]?",
            thing=a(a_good(story)),
            goal=dollars(story, goal),
        )
        story.work_out("That leaves {} dollars.", goal, "-", now)
        return
    story.say(*HOW_MUCH_LEFT, does=does(story))


def _happens(story: Story, ways: tuple[str, ...], n: int) -> None:
    rng = story.rng
    given = {"n": dollars(story, n), "thing": a(a_good(story)), "friend": named_new(story), "day": rng.choice(DAYS)}
    way = rng.choice(ways)
    if len(story.sentences) == 1 and way.startswith("{he}") and rng.random() < 0.3:
        story.go_on(f"[ and| and then] {way.removeprefix('{he} ')}.", f"[ and|, then| and then] {way}.", **given)
    else:
        story.say(f"[||Then |Later |On {{day}} |After that ]{way}.", **given)


# For so many steps, before any change is taken: what each good takes part in; 1 is one piece, 2 are several of a kind.
_PLANS = {
    1: ((1, 1), (2,)),
    2: ((2, 1), (1, 1, 1), (2, 1), (1, 2)),
    3: ((2, 2), (2, 1, 1), (2, 2), (1, 2, 1)),
    4: ((2, 2, 1), (2, 1, 2)),
    5: ((2, 2, 2),),
}


def shopping(story: Story) -> None:
    """What goods cost together, and what is left of the money."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), rng.random() < 0.5
    change = story.length > 1 and rng.random() < 0.5
    steps = story.length - change
    if steps not in _PLANS:
        raise OutOfRange
    names = [a_good(story, 2 * story.new), *rng.sample(GOODS, 3)]
    if names[0] in names[1:]:
        raise OutOfRange
    kinds = rng.choice(_PLANS[steps])
    items = [
        (name, *groups(story)) if kind == 2 else (name, 1, rng.randint(2, max(3, story.largest // 3)))
        for name, kind in zip(names, kinds)
    ]
    costs: list[Number] = [
        story.work_out(f"The {plural(name)} cost {{}} dollars.", k, "×", price) if k > 1 else price
        for name, k, price in items
    ]
    total = costs[0]
    for cost in costs[1:]:
        total = story.work_out("Together that is {} dollars.", total, "+", cost)
    if kinds == (2,) and not change:
        _one_kind(story, *items[0])
    elif kinds == (1, 1) and not change and rng.random() < 0.25:
        _two_prices(story, items[0][0], items[0][2], items[1][0], items[1][2])
    else:
        _basket(story, items, total, change)


def _one_kind(story: Story, name: str, k: int, price: int) -> None:
    story.say(
        "[{apiece}|One {one}|Each {one}] costs {p}. [How much do {k} {t} cost?|What do {k} {t} cost?|What is the price "
        "of {k} {t}?|How much are {k} {t}?|How much do {k} cost?|How much <do> {S} pay for {k}?]",
        "{F} <buy> {k} {t} [for {p} each|at {p} each|that cost {p} each|for {p} apiece|at {p} a piece]. How much "
        "[<do> {he} pay|<do> {he} spend|money <do> {he} spend|is that|does that cost]?",
        "How much do {k} {t} cost [if|when] [one|each|one {one}] costs {p}?",
        "Tickets for the [show|cinema|circus|concert|game] cost {p}. How much do {k} cost?",
        "{F} <sell> {k} {t} for {p} each. How much [money |]<do> {he} [earn|make|get|receive]?",
        apiece=a(name),
        one=name,
        t=plural(name),
        k=as_word(story, k),
        p=dollars(story, price),
    )


def _two_prices(story: Story, one: str, p: int, other: str, q: int) -> None:
    if story.rng.random() < 0.5:
        other = story.rng.choice(PAIRS)
    costs = "cost" if other in PAIRS else "costs"
    story.say(
        f"[The {{one}} costs {{p}} and the {{other}} {costs} {{q}}|{{his}} {{one}} costs {{p}} and {{his}} {{other}} "
        f"{costs} {{q}}]. How much [is that|do they cost together|<do> {{S}} pay|do both cost|is that together|is that "
        "in all]?",
        one=one,
        other=other,
        p=dollars(story, p),
        q=dollars(story, q),
    )


def _basket(story: Story, items: list[tuple[str, int, int]], total: Number, change: bool) -> None:
    rng = story.rng
    money = number(total) + rng.randint(2, max(2, min(60, story.largest - number(total))))
    if change and money > story.largest:
        raise OutOfRange
    first = change and rng.random() < 0.75
    if first:
        story.say("{F} [<have>|<have>|<take>|<bring>] {m}[|||| with {him}| to spend].", m=dollars(story, money))
    each = rng.choice(("for {p} each", "at {p} each", "for {p} each", "at {p} apiece", "that cost {p} each"))
    listed = []
    for name, k, price in items:
        p = dollars(story, price)
        one = rng.choice(("for", "for", "that costs"))
        listed.append(f"{as_word(story, k)} {plural(name)} {each.format(p=p)}" if k > 1 else f"{a(name)} {one} {p}")
    *others, last = listed
    sells = not change and all(k > 1 for _, k, _ in items) and rng.random() < 0.2
    who, verb = "{he}" if first else "{F}", "sell" if sells else "buy"
    story.say(f"{who} <{verb}> {', '.join(others)}{' and ' if others else ''}{last}.")
    if not change:
        story.say(
            *(
                ("How much [money |]<do> {he} [earn|make|get|receive]?",)
                if sells
                else (
                    "How much [<do> {he} pay|<do> {he} spend|<do> {he} pay in all|money <do> {he} spend]?",
                    "How much [is that|does everything cost|is that in total|<do> {S} pay|<do> {S} spend]?",
                )
            )
        )
        return
    if first:
        story.say(*HOW_MUCH_LEFT, does=does(story))
    else:
        story.say(
            "{he} [<pay> with {m}|<give> the [seller|clerk|baker|man] {m}|<have> {m}]. How much [change |money |]"
            "<do> {he} [get back|have left]?",
            m=dollars(story, money),
        )
    story.work_out("That leaves {} dollars.", money, "-", total)


def one_price(story: Story) -> None:
    """A single price: what is left after it, what one piece costs, two prices compared, a sale."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), False
    if story.length > 1:
        raise OutOfRange
    rng.choices((_rest, _one_of_several, _dearer, _sale, _saving, _weights, _shared), (35, 20, 20, 20, 12, 12, 16))[0](
        story
    )


def _rest(story: Story) -> None:
    n = amount(story)
    m = part(story, n)
    thing = a_good(story)
    story.say(
        "{F} <have> {n}. [{A} costs {m}|{he} <buy> {A} for {m}|A new {one} costs {m}|{he} <want> {A} for {m}]. "
        "[How much[| money] will {he} have [after {he} <buy> it|left|then]?|How much[| money] <do> {he} have left[| if "
        "{he} <buy> it| after that]?|How much[| money] is left?]",
        n=dollars(story, n),
        m=dollars(story, m),
        A=a(thing),
        one=thing,
    )
    story.work_out("That leaves {} dollars.", n, "-", m)


def _one_of_several(story: Story) -> None:
    (k, m), thing = groups(story), a_good(story)
    story.say(
        "{k} {t} cost {n}. How much [does one {one} cost|does one cost|does each cost|is one {one}|is one]?",
        "{F} [<pay>|<spend>] {n} for {k} {t}. [How much|What] does [one|each|one {one}|{A}] cost?",
        k=k,
        n=dollars(story, k * m),
        t=plural(thing),
        one=thing,
        A=a(thing),
    )
    story.work_out("That is {} dollars.", k * m, "÷", k)


def _dearer(story: Story) -> None:
    n = amount(story)
    m = part(story, n)
    one, other = a_good(story), a_good(story)
    if one == other:
        raise OutOfRange
    story.say(
        "[{A} costs {n} and {B} costs {m}|{A} is {n} and {B} is {m}|{B} costs {m} and {A} costs {n}]. [How much more "
        "does the {one} cost?|How much cheaper is the {two}?|What is the difference in price?|How much more expensive "
        "is "
        "the {one}?]",
        A=a(one),
        B=a(other),
        one=one,
        two=other,
        n=dollars(story, n),
        m=dollars(story, m),
    )
    story.work_out("The difference is {} dollars.", n, "-", m)


def _sale(story: Story) -> None:
    n = amount(story)
    m = part(story, n)
    story.say(
        "[{thing} costs {n}|The price of {thing} is {n}]. [In the sale it costs {m} less|It is {m} cheaper today|{S} "
        "<get> "
        "{m} off]. How much does it cost [now|today|then]?",
        thing=a(a_good(story)),
        n=dollars(story, n),
        m=dollars(story, m),
    )
    story.work_out("That leaves {} dollars.", n, "-", m)


def _saving(story: Story) -> None:
    (k, m), time = groups(story), story.rng.choice(("week", "day", "month"))
    story.say(
        "{F} <save> {m} [a|each|every|per] {time}. How many {time}s [<do> {he} need|does it take] to [save|get] {n}?",
        "{F} <need> {n} for {thing}. {he} <save> {m} [a|each|every] {time}. How many {time}s [<do> {he} need|does it "
        "take|<do> {he} have to save]?",
        m=dollars(story, m),
        n=dollars(story, k * m),
        time=time,
        thing=a(a_good(story)),
    )
    story.work_out(f"That is {{}} {time}s.", k * m, "÷", m)


def _weights(story: Story) -> None:
    (k, m), thing, unit = groups(story), a_good(story), story.rng.choice(("kg", "pounds", "grams", "tons"))
    given = {"one": thing, "A": a(thing), "k": as_word(story, k), "t": plural(thing), "u": unit}
    if story.rng.random() < 0.75:
        story.say("[One {one}|{A}|Each {one}] weighs {m} {u}. How [much|many {u}] do {k} {t} weigh?", m=m, **given)
        story.work_out(f"That is {{}} {unit}.", k, "×", m)
    else:
        story.say("{k} {t} weigh {n} {u}. How much does [one|one {one}|each] weigh?", n=k * m, **given)
        story.work_out(f"That is {{}} {unit}.", k * m, "÷", k)


def _shared(story: Story) -> None:
    if story.rng.random() < 0.5:
        k, m = groups(story)
        story.say(
            "[Each of {k} [friends|children|people|guests] [pays|gives|gets|earns|brings] {m}|{k} [friends|children|"
            "people|"
            "workers] [pay|give|get|earn] {m} each]. How much [money |]is that[| together| in all]?",
            k=as_word(story, k),
            m=dollars(story, m),
        )
        story.work_out("That is {} dollars.", k, "×", m)
        return
    k, n = share(story)
    story.say(
        "{k} [friends|children|people|workers|brothers] share {n}[| equally| fairly]. How [much|much money|many "
        "dollars] "
        "does each[| of them| one] get?",
        k=as_word(story, k),
        n=dollars(story, n),
    )
    story.work_out("Each gets {} dollars.", n, "÷", k)
