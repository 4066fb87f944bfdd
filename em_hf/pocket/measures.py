"""Stories of money, ages, distances, lengths, hours and work: everything that is measured, not counted."""

from em_hf.pocket.choices import amount, as_word, divisor, extra, few, groups, part, things, value_of
from em_hf.pocket.steps import OutOfRange, Quantity, Story
from em_hf.pocket.stories import Number, does, relative
from em_hf.pocket.telling import I, named, someone
from em_hf.pocket.words import DAYS, FOOD, TOYS, a, invented, singular

GOODS = (
    "lamp book pen ball shirt hat kite cake ticket game belt bag watch phone chair jacket scarf mug sandwich pizza magazine drink "
    "toy puzzle coat dress plant backpack sweater radio camera tent bike skirt juice coffee tea soup notebook pencil ruler cap".split()
)
PAIRS = "shoes jeans gloves boots socks pants glasses skates sandals headphones sneakers flowers groceries tools paints".split()
EARNED = "mowing lawns|washing cars|babysitting|selling lemonade|walking dogs|cleaning windows|in the garden|at work|helping a neighbor|at a market|"
SPENT = "on lunch|on a book|on food|on a toy|at the market|on a ticket|on candy|on the bus|for dinner|at the fair|on a present|on games"


def dollars(story: Story, n: int) -> str:
    return f"${n}" if story.rng.random() < 0.25 else f"{as_word(story, n)} dollars"


def _goods(story: Story) -> str:
    return invented(story.rng) if story.rng.random() < story.new else story.rng.choice(GOODS)


def _left(story: Story, money: bool = True) -> str:
    return (
        f"How much[| money] {does(story)} [have left|have now|still have|have|have then|have after that]?"
        if story.rng.random() < 0.7
        else "How [much|much money|many dollars] [is left|remains|is left over]?".replace(
            "many dollars] [is left|remains|is left over", "much] [is left|remains|is left over"
        )
    )


def purse(story: Story) -> None:
    """Money that is earned, spent and given."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), rng.random() < 0.6
    now: Number
    if story.left > 1 and rng.random() < 0.35:
        k, m = groups(story)
        story.say("{F} [<earn>|<save>|<get>|<make>] {m} [a|every|each|per] {time} for {k} {time}s." if rng.random() < 0.6 else
                  "{F} <work> {k} [hours|days] [and <earn>|for] {m} [an hour|per hour|each hour|for each].", k=as_word(story, k), m=dollars(story, m), time=rng.choice(("day", "week", "month", "hour")).replace("hour", "week"))  # fmt: skip
        now = story.work_out("That is {} dollars.", k, "×", m)
    else:
        now = amount(story)
        story.say(
            "{F} [<have> {n}|<have> {n}|<have> {n} in {his} pocket|<have> {n} at first|<save> {n}|<get> {n} for {his} birthday|<earn> {n}].",
            n=dollars(story, now),
        )
    need = story.left > 0 and rng.random() < 0.15
    while story.left > need:
        if rng.random() < 0.4:
            n = extra(story, now)
            template = rng.choice(("{he} [<earn>|<earn>|<get>|<make>|<save>] {n} [more |]{how}", "{friend} <give:3> {him} {n}[| more]", "{he} <find> {n} [in the street|in a coat|more]",
                                   "{his} [mother|father|aunt|uncle|grandma] <give:3> {him} {n}[| more]", "{he} <sell> {thing} for {n}"))  # fmt: skip
            done, op, sentence = _cap_said(story, template, n), "+", "That makes {} dollars."
        else:
            n = part(story, now)
            template = rng.choice(("{he} [<spend>|<spend>|<pay>] {n} {spent}", "{he} <buy> {thing} for {n}", "{he} <give> {n} to [{friend}|{his} brother|a friend]",
                                   "{he} <lose> {n}", "{he} <pay> {n} for {thing}", "{he} <lend> {friend} {n}"))  # fmt: skip
            done, op, sentence = _cap_said(story, template, n), "-", "That leaves {} dollars."
        now = story.work_out(sentence, now, op, n)
    if need:
        goal = value_of(now) + extra(story, now)
        story.say("{He} [<want>|<want> to buy|<need>] {thing} [that costs|for] {goal}. How much [more |more money |]<do> {he} [need|still need|have to save]?".replace("[more |more money |]", "more "),
                  thing=a(_goods(story)), goal=dollars(story, goal))  # fmt: skip
        story.work_out("That leaves {} dollars.", goal, "-", now)
        return
    story.say(_left(story))


def _cap_said(story: Story, template: str, n: int) -> bool:
    rng = story.rng
    given = {
        "n": dollars(story, n),
        "how": rng.choice(EARNED.split("|")),
        "spent": rng.choice(SPENT.split("|")),
        "thing": a(_goods(story)),
        "friend": named(rng, story.new).name,
    }
    join = (
        rng.random() < 0.3
        and not story.sentences[-1].endswith("?")
        and len(story.sentences) < 3
        and template.startswith("{he}")
    )
    story.say(
        ("" if join else rng.choice(("", "", "Then ", "Later ", f"On {rng.choice(DAYS)} ", "After that ")))
        + template
        + ".",
        **given,
    )
    if join:
        last = story.sentences.pop()
        again = rng.choice((True, False))
        he = story.who.he
        rest = last[len(he) + 1 :] if not again else ("I" if he == "I" else he) + " " + last[len(he) + 1 :]
        story.sentences[-1] = (
            story.sentences[-1].removesuffix(".")
            + rng.choice((" and ", " and then ", ", then ") if again else (" and ", " and then "))
            + rest
        )
    return join


def shopping(story: Story) -> None:
    """What goods cost together, and what is left of the money."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), rng.random() < 0.5
    change = story.length > 1 and rng.random() < 0.5
    goods = "[cost|cost|costs]"
    items: list[tuple[str, int, int]] = []  # "3 shirts at 14 dollars each", or "a belt for 19 dollars"
    steps = story.length - change
    # k single things cost k - 1 sums; each k × p one step more
    names = rng.sample(GOODS, 4)
    if rng.random() < 2 * story.new:
        names[0] = invented(rng)
    plan = {
        1: [(1, 1), (2,)],
        2: [(2, 1), (1, 1, 1), (2, 1), (1, 2)],
        3: [(2, 2), (2, 1, 1), (2, 2), (1, 2, 1)],
        4: [(2, 2, 1), (2, 1, 2)],
        5: [(2, 2, 2)],
    }
    if steps not in plan:
        raise OutOfRange
    kinds = rng.choice(plan[steps])
    for name, kind in zip(names, kinds):
        if kind == 1:
            items.append((name, 1, rng.randint(2, max(3, story.largest // 3))))
        else:
            k, m = groups(story)
            items.append((name, k, m))
    total = 0
    worked: list[Number] = []
    for name, k, price in items:
        worked.append(story.work_out(f"The {_plural(name)} cost {{}} dollars.", k, "×", price) if k > 1 else price)
    now = worked[0]
    for other in worked[1:]:
        now = story.work_out("Together that is {} dollars.", now, "+", other)
    total = value_of(now)
    if total > story.largest:
        raise OutOfRange
    money = total + story.rng.randint(2, max(2, min(60, story.largest - total))) if change else 0
    if money > story.largest:
        raise OutOfRange
    if kinds == (2,) and not change:
        name, k, price = items[0]
        t = _plural(name)
        story.say(rng.choice((
            "{apiece} costs {p}. How much do {k} {t} cost?", "One {one} costs {p}. [How much do {k} {t} cost?|What do {k} {t} cost?|What is the price of {k} {t}?|How much are {k} {t}?]",
            "{F} <buy> {k} {t} [for {p} each|at {p} each|that cost {p} each|for {p} apiece|at {p} a piece]. How much [<do> {he} pay|<do> {he} spend|money <do> {he} spend|is that|does that cost]?",
            "How much do {k} {t} cost [if|when] [one|each|one {one}] costs {p}?", "[Tickets for the {w}|A {one}|Each {one}|Every {one}] {cc} {p}. How much [do {k} cost|<do> {S} pay for {k}]?",
            "{F} <sell> {k} {t} for {p} each. How much [money |]<do> {he} [earn|make|get]?",
        )).replace("[Tickets for the {w}|A {one}|Each {one}|Every {one}] {cc}", rng.choice(("Tickets for the {w} cost", "{apiece} costs", "Each {one} costs"))),
            apiece=a(name), one=name, t=t, k=as_word(story, k), p=dollars(story, price), w=rng.choice(("show", "cinema", "circus", "concert", "game")))  # fmt: skip
        return
    first = change and rng.random() < 0.75
    if first:
        story.say("{F} [<have>|<have>|<take>|<bring>] {m}[|||| with {him}| to spend].", m=dollars(story, money))
    who = "{he}" if first else "{F}"
    separate = rng.random() < 0.25
    if separate and not first and len(items) == 2 and kinds == (1, 1):
        (one, _, p), (other, _, q) = items
        if rng.random() < 0.5:
            other = rng.choice(PAIRS)
        the = rng.choice(("{his2}", "the"))
        story.say(f"{the} {{one}} costs {{p}} and {the} {{other}} {'cost' if other.endswith('s') else 'costs'} {{q}}. [How much [is that|do they cost together|<do> {{S}} pay|do both cost|is that together|do I pay for both|"
                  f"does it cost to buy both|is that in all]?|What do both cost together?|What [<do> {{he}} pay|is the price] for both?]".replace("[How much [", "[How much "[:0] + "How much [").replace("|What do both cost together?|What [<do> {he} pay|is the price] for both?]", ""),
                  one=one, other=other, p=dollars(story, p), q=dollars(story, q), his2=story.who.his if story.who is not I else "my")  # fmt: skip
        return
    at = rng.choice(("for {p} each", "at {p} each", "for {p} each", "at {p} apiece", "that cost {p} each"))
    said = []
    for name, k, price in items:
        p = dollars(story, price)
        said.append(
            f"{as_word(story, k)} {_plural(name)} {at.format(p=p)}"
            if k > 1
            else f"{a(name)} {rng.choice(('for', 'for', 'that costs'))} {p}"
        )
    listed = " and ".join((", ".join(said[:-1]), said[-1])) if len(said) > 1 else said[0]
    verb = "buy"
    if not change and rng.random() < 0.2 and all(k > 1 for _, k, _ in items):
        verb = "sell"
    story.say(f"{who} <{verb}> {listed}.")
    if change:
        if not first:
            story.say(
                "{he} [<pay> with {m}|<give> the [seller|clerk|baker|man] {m}|<have> {m}].", m=dollars(story, money)
            )
        story.say(_left(story) if first or rng.random() < 0.5 else "How much [change |money |]<do> {he} get back?")
        story.work_out("That leaves {} dollars.", money, "-", now)
        return
    story.say("How much [money |]<do> {he} [earn|make|get]?" if verb == "sell" else
              "How much [<do> {he} pay|<do> {he} spend|<do> {he} pay in all|money <do> {he} spend|is that|does everything cost|is that in total|<do> {S} pay|<do> {S} spend]?")  # fmt: skip


def _plural(noun: str) -> str:
    if noun == "scarf":
        return "scarves"
    return noun + ("es" if noun.endswith(("s", "x", "sh", "ch")) else "s")


def one_price(story: Story) -> None:
    """The price of one thing, or change from a single purchase."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), False
    thing = _goods(story)
    draw = rng.random()
    if rng.random() < 0.3:
        _per_unit(story, thing)
        if story.left:
            raise OutOfRange
        return
    if draw < 0.35:
        n = amount(story)
        m = part(story, n)
        story.say("{F} <have> {n}. [{A} costs {m}|{F2} <buy> {thing} for {m}|A new {one} costs {m}|{F2} <want> {thing} for {m}]. [How much[| money] [will {he} have after {he} <buy> it|<do> {he} have left|<do> {S} have left|is left]?]".replace(
            "{F2}", "{He}").replace("[How much[| money] [will {he} have after {he} <buy> it|<do> {he} have left|<do> {S} have left|is left]?]", rng.choice((
                "How much[| money] will {he} have [after {he} buys it|left|then]?".replace("{he} buys", "{he} <buy>"), "How much[| money] <do> {he} have left [if {he} <buy> it|after that|]?", "How much[| money] is left?"))),
            n=dollars(story, n), m=dollars(story, m), A=a(thing), one=thing, thing=a(thing))  # fmt: skip
        story.work_out("That leaves {} dollars.", n, "-", m)
    elif draw < 0.6:
        k, m = groups(story)
        t = _plural(thing)
        story.say("{k} {t} cost {n}. How much [does one {one} cost|does one cost|does each cost|is one {one}|is one]?" if rng.random() < 0.5 else
                  "{F} [<pay>|<spend>] {n} for {k} {t}. [How much|What] does [one|each|one {one}|a {one}] cost?", k=k, n=dollars(story, k * m), t=t, one=thing)  # fmt: skip
        story.work_out("That is {} dollars.", k * m, "÷", k)
    elif draw < 0.8:
        n = amount(story)
        m = part(story, n)
        other = _goods(story)
        story.say("[{A} costs {n} and {b} costs {m}|{A} is {n} and {b} is {m}]. [How much more does the {one} cost?|How much cheaper is the {two}?|What is the difference in price?|How much more expensive is the {one}?]".replace("[A} costs", "[{A} costs") if
                  rng.random() < 2 else "", A=a(thing), b=a(other), one=thing, two=other, n=dollars(story, n), m=dollars(story, m))  # fmt: skip
        story.work_out("The difference is {} dollars.", n, "-", m)
    else:
        n = amount(story)
        m = part(story, n)
        story.say("[{thing} costs {n}|The price of {thing} is {n}]. [In the sale it [is|costs] {m} less|It is {m} cheaper today|{S} <get> {m} off]. How much does it cost [now|today|then]?".replace("[In the sale it [is|costs] {m} less|", "[In the sale it costs {m} less|"),
                  one=thing, thing=a(thing), n=dollars(story, n), m=dollars(story, m))  # fmt: skip
        story.work_out("That leaves {} dollars.", n, "-", m)
    if story.left:
        raise OutOfRange


def _per_unit(story: Story, thing: str) -> None:
    """Saving week by week, weights, and journeys at a steady speed."""
    rng, (k, m) = story.rng, groups(story)
    draw = rng.random()
    if draw < 0.25:
        time = rng.choice(("week", "day", "month"))
        story.say(rng.choice(("{F} <save> {m} [a|each|every|per] {time}. How many {time}s [<do> {he} need|does it take] to [save|get] {n}?",
                              "{F} <need> {n} for {thing}. {he} <save> {m} [a|each|every] {time}. How many {time}s [<do> {he} need|does it take|<do> {he} have to save]?")),
                  m=dollars(story, m), n=dollars(story, k * m), time=time, thing=a(thing))  # fmt: skip
        story.work_out(f"That is {{}} {time}s.", k * m, "÷", m)
    elif draw < 0.45:
        unit = rng.choice(("kg", "pounds", "grams", "tons"))
        if rng.random() < 0.75:
            story.say(
                "[One {one}|{A}|Each {one}] weighs {m} {u}. How [much|many {u}] do {k} {t} weigh?".replace(
                    "[much|many {u}]", rng.choice(("much", "many {u}"))
                ),
                one=thing,
                A=a(thing),
                m=m,
                k=as_word(story, k),
                t=_plural(thing),
                u=unit,
            )
            story.work_out(f"That is {{}} {unit}.", k, "×", m)
        else:
            story.say(
                "{k} {t} weigh {n} {u}. How [much|many {u}] does [one|one {one}|each] weigh?".replace(
                    "[much|many {u}]", "much"
                ),
                one=thing,
                n=k * m,
                k=as_word(story, k),
                t=_plural(thing),
                u=unit,
            )
            story.work_out(f"That is {{}} {unit}.", k * m, "÷", k)
    elif draw < 0.7:
        unit, mover = (
            rng.choice(("km", "miles", "meters")),
            rng.choice("car train bus truck boat plane runner snail cyclist horse ship".split()),
        )
        time = "minute" if unit == "meters" else "hour"
        if rng.random() < 0.5:
            story.say(
                "[A|The] {x} [goes|travels|moves] {m} {u} [an|per|every|each|in one] hour. How [long|many hours] does it [take|need] for {n} {u}?".replace(
                    " an ", " "
                )
                .replace("[an|", "[")
                .replace("hour", time),
                x=mover,
                m=m,
                n=k * m,
                u=unit,
            )
            story.work_out(f"That is {{}} {time}s.", k * m, "÷", m)
        else:
            story.say(
                "[A|The] {x} [goes|travels|moves] {n} {u} in {k} {time}s. How [many {u}|far] does it [go|travel|move] [in one {time}|per {time}|each {time}]?".replace(
                    "[many {u}|far]", rng.choice(("many {u}", "far"))
                ),
                x=mover,
                n=k * m,
                k=as_word(story, k),
                u=unit,
                time=time,
            )
            story.work_out(f"That is {{}} {unit}.", k * m, "÷", k)
    elif draw < 0.85:
        story.say("[Each of {k} [friends|children|people|guests] [pays|gives|gets|earns|brings] {m}|{k} [friends|children|people|workers] [pay|give|get|earn] {m} each]. How much [money |]is that[| together| in all]?".replace(
            "[Each of {k} [friends|children|people|guests] [pays|gives|gets|earns|brings] {m}|{k} [friends|children|people|workers] [pay|give|get|earn] {m} each]", rng.choice((
                "Each of {k} [friends|children|people|guests] [pays|gives|gets|earns|brings] {m}", "{k} [friends|children|people|workers] [pay|give|get|earn] {m} each"))), k=as_word(story, k), m=dollars(story, m))  # fmt: skip
        story.work_out("That is {} dollars.", k, "×", m)
    else:
        story.say(
            "{k} [friends|children|people|workers|brothers] share {n}[| equally| fairly]. How [much|much money|many dollars] does each[| of them| one] get?".replace(
                "[much|much money|many dollars]", rng.choice(("much", "much money", "many dollars"))
            ),
            k=as_word(story, k),
            n=dollars(story, k * m),
        )
        story.work_out("Each gets {} dollars.", k * m, "÷", k)


def ages(story: Story) -> None:
    """How old people are, were and will be."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new) if rng.random() < 0.2 else named(rng, story.new), False
    if story.who.person == "p":
        raise OutOfRange
    n = rng.randint(4, 70)
    years = rng.choice((" years old", "", " years old"))
    word, she = relative(story)
    name = rng.choice((f" {named(rng, story.new).name}", "", ""))
    given = {"n": n, "years": years, "word": word + name, "she": she, "rel": word}
    if story.length == 1:
        draw = rng.random()
        m = rng.randint(2, 40)
        if draw < 0.3:
            kind = rng.choice(("older", "younger"))
            if kind == "younger" and n - m < 2:
                raise OutOfRange
            story.say(
                f"{{F}} <be> {{n}}{{years}}. {{His}} {{word}} is {{m}} years {kind}. How old is [{{she}}|{{his}} {{rel}}]?",
                m=m,
                His=story.who.his.capitalize(),
                **given,
            )
            story.work_out("That is {} years.", n, "+" if kind == "older" else "-", m)
        elif draw < 0.55:
            m = rng.randint(2, n)
            if n - m < 2:
                raise OutOfRange
            pair = ["{F} <be> {n}", f"{story.who.his} {word}{name} is {m}"]
            if rng.random() < 0.5:
                story.say(
                    "{F} <be> {n}{years} and {his} {word} is {m}. How [much|many years] older <be> {S}?", m=m, **given
                )
            else:
                story.say(
                    "{F} <be> {m}{years} and {his} {word} is {n}. How [much|many years] older is [{she}|{his} {rel}]?",
                    m=m,
                    **given,
                )
            del pair
            story.work_out("The difference is {} years.", n, "-", m)
        elif draw < 0.75:
            story.say("{F} <be> {n}{years}[| now| today]. How old will {he} be in {m} years?", m=m, **given)
            story.work_out("That is {} years.", n, "+", m)
        elif draw < 0.9:
            m = part(story, n)
            story.say(
                "{F} <be> {n}{years}[| now| today]. How old was {S} {m} years ago?".replace(
                    "was {S}", "were {S}" if story.who.person == "p" else "was {S}"
                ),
                m=m,
                **given,
            )
            story.work_out("That is {} years.", n, "-", m)
        else:
            k = rng.randint(2, 5)
            story.say(
                "{F} <be> {n}{years}. {His} {word} is {times} as old. How old is {she}?",
                times="twice" if k == 2 else f"{as_word(story, k)} times",
                His=story.who.his.capitalize(),
                **given,
            )
            story.work_out("That is {} years.", k, "×", n)
        return
    if story.length > 3:
        raise OutOfRange
    story.say("{F} <be> {n}{years}.", **given)
    names = [story.who.name]
    now: Number = n
    persons = []
    last = ("", "")
    steps = story.length
    added = steps == 3 or rng.random() < 0.4
    for i in range(steps - added):
        word, she = relative(story)
        if word in names:
            raise OutOfRange
        names.append(word)
        than = (
            ""
            if i == 0 and rng.random() < 0.6
            else f" than {story.who.he if story.who is not I else 'I'}"
            if i == 0
            else f" than {story.who.his} {last[0]}"
        )
        than = than.replace(" than I", " than me") if rng.random() < 0.5 else than
        kind = rng.choice(("older", "older", "younger"))
        m = extra(story, now) if kind == "older" else part(story, now)
        if kind == "older" and m > 40:
            raise OutOfRange
        joined = i > 0 and rng.random() < 0.5
        story.say(f"{{His}} {{word}} is {m} years {kind}{than}.", His=story.who.his.capitalize(), word=word)
        if joined:
            text = story.sentences.pop()
            story.sentences[-1] = (
                story.sentences[-1].removesuffix(".") + rng.choice((", and ", " and ")) + text[0].lower() + text[1:]
            )
        now = story.work_out(f"The {word} is {{}} years old.", now, "+" if kind == "older" else "-", m)
        persons.append(now)
        last = (word, she)
    if not added:
        story.say("How old is [{his} {word}|the {word}|{she}]?", word=last[0], she=last[1])
        return
    if rng.random() < 0.5:
        m = rng.randint(2, 20)
        story.say("How old will {his} {word} be in {m} years?", word=last[0], m=m)
        story.work_out("That is {} years.", now, "+", m)
    else:
        if story.length != 2:
            raise OutOfRange
        story.say("How old are they together?" if rng.random() < 0.5 else "What is the sum of their ages?")
        story.work_out("Together that is {} years.", n, "+", now)


UNITS = (
    "km",
    "km",
    "kilometers",
    "miles",
    "miles",
    "meters",
    "m",
    "laps",
    "steps",
    "blocks",
    "minutes",
    "hours",
    "pages",
    "liters",
    "kg",
    "cm",
    "grams",
    "pounds",
)
DONE = {
    "km": "walk run drive ride hike cycle jog swim travel", "kilometers": "walk run drive ride hike cycle", "miles": "walk run drive ride hike cycle jog bike travel",
    "meters": "swim run walk climb crawl", "m": "swim run climb", "laps": "run swim ride skate", "steps": "walk climb take count", "blocks": "walk run ride",
    "minutes": "read run practice train sleep study play walk wait dance", "hours": "work sleep study drive train read play paint wait", "pages": "read write print copy fill",
    "liters": "drink use need carry", "kg": "carry lift lose gain pick harvest", "cm": "grow jump dig cut", "grams": "use eat weigh need", "pounds": "carry lift gain pick",
}  # fmt: skip


def measured(story: Story) -> None:
    """So much a day, on the way, or on one day and the next."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), rng.random() < 0.6
    unit = rng.choice(UNITS)
    verb = rng.choice(DONE[unit].split())
    how = (
        "How far" if unit in ("km", "miles", "kilometers", "meters", "m") and rng.random() < 0.4 else f"How many {unit}"
    )
    long = {
        "pages": "book",
        "km": "trail",
        "miles": "road",
        "kilometers": "trip",
        "meters": "path",
        "m": "wall",
        "minutes": "film",
        "hours": "trip",
    }.get(unit)
    given = {"u": unit, "v": verb, "day": rng.choice(DAYS), "day2": rng.choice(DAYS), "how": how, "long": long, "hobby": rng.choice(
        "the piano|the guitar|math|English|a test|a race|chess|a play".split("|"))}  # fmt: skip
    do = f"<{verb}>"
    now: Number
    goal = long is not None and rng.random() < 0.3
    if story.length == 1 and goal:
        n = amount(story)
        m = part(story, n)
        story.say(rng.choice((
            "The {long} [is {n} {u} long|has {n} {u}] and {S} <have> [done|finished|covered|{vd}] {m}[| {u}| of them]. How many {u} [are left|<do> {he} still have to {v}|does {he} have left|are still to go]?",
            "{F} <have> to {v} {n} {u}. {he} [<have>|already <have>] [done|finished] {m}[| {u}]. How [many {u}|much] [are|is] left?",
            "{F} [<want>|<plan>|<need>] to {v} {n} {u}. So far {he} <have> {vd} {m}[| {u}]. How many [more |]{u} [<do> {he} still have to {v}|are left]?",
        )).replace("{vd}", {"read": "read", "write": "written", "drive": "driven", "run": "run", "swim": "swum", "ride": "ridden", "sleep": "slept"}.get(verb, verb.rstrip("e") + "ed")).replace(
            "[are|is] left", "[are left|remain]").replace("How [many {u}|much]", "How many {u}").replace("does {he}", "<do> {he}"), n=n, m=m, **given)  # fmt: skip
        story.work_out(f"That leaves {{}} {unit}.", n, "-", m)
        return
    draw = rng.random()
    if draw < 0.45 and story.length > 0:
        k, m = groups(story)
        if story.length == 1 and rng.random() < 0.25:
            story.say(f"{{F}} {do} {{n}} {{u}} in {{k}} [days|hours|weeks], [the same|as much|equally much] [each|every] [day|time]. How many {{u}} [is that|<do> {{he}} {{v}}] [a day|each day|per day|every day]?".replace(
                "[each|every] [day|time]", "every day").replace("[days|hours|weeks]", "days").replace("[the same|as much|equally much]", "the same").replace("[is that|<do> {he} {v}]", "<do> {he} {v}"), n=k * m, k=k, **given)  # fmt: skip
            story.work_out(f"That is {{}} {unit}.", k * m, "÷", k)
            return
        if story.length == 1 and unit in ("km", "miles", "kilometers") and rng.random() < 0.4:
            vehicle = rng.choice("car train bus cyclist truck boat plane runner horse".split())
            story.say("[A|The] {x} [goes|drives|travels|runs|moves] {m} {u} [an|per|every|each|in one] hour. [How far does it [go|get] in {k} hours?".replace("[How far does it [go|get] in {k} hours?", "How [far|many {u}] does it go in {k} hours?"), x=vehicle, m=m, k=as_word(story, k), **given)  # fmt: skip
        else:
            story.say(rng.choice((
                f"{{F}} {do} {{m}} {{u}} [a|every|each|per] day for {{k}} days[|||| in a row].", f"{{F}} {do} {{m}} {{u}} [every|each|a] day. " + ("" if story.length > 1 else "[How many {u} is that in {k} days?|How many {u} <do> {he} {v} in {k} days?]"),
                f"[Every|Each] [day|morning|evening], {{S}} {do} {{m}} {{u}}[| to school| at home].", f"For {{k}} days, {{S}} {do} {{m}} {{u}} [a|every|each] day.",
            )), m=m, k=as_word(story, k), **given)  # fmt: skip
            if str(k) not in story.sentences[-1].split(str(m), 1)[-1] and "days" not in story.sentences[-1]:
                story.say(
                    f"[{{he}} <do> that {{k}} times|{{he}} <do> this for {{k}} days|That goes on for {{k}} days].",
                    k=as_word(story, k),
                )  # noqa: F541
        now = story.work_out(f"That is {{}} {unit}.", k, "×", m)
        if "?" in story.sentences[-1]:
            if story.left:
                raise OutOfRange
            return
    elif story.length > 1 or draw < 0.8:
        n = amount(story)
        m = extra(story, n)
        story.say(rng.choice((
            f"{{F}} {do} {{n}} {{u}} [on {{day}}|in the morning|before lunch|yesterday|in the first week|before noon|on the first day] and {{m}}[| {{u}}] [on {{day2}}|in the evening|after lunch|today|in the second week|in the afternoon|on the second day].",
            f"On {{day}} {{S}} {do} {{n}} {{u}}, [and |]on {{day2}} {{m}}[| {{u}}].", f"First {{S}} {do} {{n}} {{u}}, then {{m}}[| {{u}}| more].",
            f"{{F}} {do} {{n}} {{u}}[, rests and|, then {{he}}] {do} {{m}} [more|{{u}} more|more {{u}}].".replace("[, rests and|, then {he}]", rng.choice((" and then", ", then {he}"))),
        )), n=n, m=m, **given)  # fmt: skip
        now = story.work_out(f"Together that is {{}} {unit}.", n, "+", m)
    else:
        n = rng.choice((amount(story), few(story)))
        story.say("[The way to {w} is {n} {u} long|It is {n} {u} to {w}|{F} <live> {n} {u} from {w}]. [How [far|many {u}] is it there and back?|How many {u} is [a trip|the way] there and back?]".replace("[How [far|many {u}] is it there and back?|How many {u} is [a trip|the way] there and back?]",
            rng.choice(("How far is it there and back?", "How many {u} is it there and back?", "How long is the way there and back?"))) if unit in ("km", "miles", "meters", "kilometers", "m") else
            "{F} <need> {n} {u} for one [job|cake|room|page]. How many {u} <do> {he} need for two?", n=n, w=rng.choice(("school", "the lake", "town", "work", "the shop")), **given)  # fmt: skip
        story.work_out(f"That is {{}} {unit}.", 2, "×", n)
        if story.left:
            raise OutOfRange
        return
    while story.left:
        if story.left == 1 and goal:
            n = value_of(now) + extra(story, now)
            story.say(rng.choice(("The {long} [is {n} {u} long|has {n} {u}]. How many {u} [are left|<do> {he} still have to {v}|are still to go]?",
                                  "{his} goal is {n} {u}. How many {u} [are missing|are left|<do> {he} still need]?")), n=n, **given)  # fmt: skip
            story.work_out(f"That leaves {{}} {unit}.", n, "-", now)
            return
        n = extra(story, now)
        story.say(rng.choice((f"On {{day}} {{he}} {do} {{n}}[| {{u}}| more] .", f"Then {{he}} {do} {{n}} [more|more {{u}}|{{u}} more].", f"On the last day {{he}} {do} {{n}}[| {{u}}].",
                              f"{{he}} also {do} {{n}} {{u}} on {{day}}.", f"The next day {{he}} {do} {{n}}[| {{u}}].")), n=n, **given)  # fmt: skip
        now = story.work_out(f"That makes {{}} {unit}.", now, "+", n)
    story.say("[{how} <do> {he} {v} [in all|in total|altogether|]?|{how} is that in all?|What distance is that?]".replace("[{how} <do> {he} {v} [in all|in total|altogether|]?|{how} is that in all?|What distance is that?]",
              rng.choice(("{how} <do> {he} {v}[| in all| in total| altogether]?", "{how} <do> {S} {v}[| in all| in total| altogether]?", "How many {u} is that[| in all| in total| altogether]?",
                          "What distance <do> {he} {v} in [total|all]?" if unit in ("km", "miles", "meters", "kilometers", "m") else "How many {u} <do> {he} {v}?"))), **given)  # fmt: skip


PIECES = "rope ribbon string board pole wire chain plank stick thread pipe hose branch candle fence rod tape belt cloth beam log".split()


def piece(story: Story) -> None:
    """A rope that is cut, or lengths, heights and weights that change and compare."""
    rng = story.rng
    story.who, story.past = named(rng, story.new), False
    thing = rng.choice(PIECES) if rng.random() > story.new else invented(rng)
    unit = rng.choice(("meters", "meters", "cm", "feet", "m", "inches", "centimeters"))
    n = amount(story)
    given = {"thing": thing, "u": unit}
    if rng.random() < 0.35 and story.length <= 2:  # heights and weights of two or three
        word, unit = rng.choice(
            (
                ("tall", "cm"),
                ("tall", "meters"),
                ("long", "meters"),
                ("heavy", "kg"),
                ("high", "meters"),
                ("wide", "feet"),
                ("deep", "meters"),
                ("old", "years"),
            )
        )
        more = {
            "tall": "taller",
            "long": "longer",
            "heavy": "heavier",
            "high": "higher",
            "wide": "wider",
            "deep": "deeper",
            "old": "older",
        }[word]
        less = {
            "tall": "shorter",
            "long": "shorter",
            "heavy": "lighter",
            "high": "lower",
            "wide": "narrower",
            "deep": "shallower",
            "old": "younger",
        }[word]
        one, other, third = rng.sample(
            "tower tree house wall bridge river road tunnel ship lake box bag table horse snake pole street hill pine oak dog fence mountain well church".split(),
            3,
        )
        state = f"weighs {{n}} {unit}" if word == "heavy" and rng.random() < 0.6 else f"is {{n}} {unit} {word}"
        ask = "How much does the {o} weigh?" if state.startswith("weighs") else f"How {word} is the {{o}}?"
        kind = rng.random() < 0.5
        if story.length == 1 and rng.random() < 0.4:
            m = part(story, n)
            story.say(
                f"[The|A] {{one}} {state} and [the|a] {{other}} {state.replace('{n}', '{m}')}. [How much {more} is the {{one}}?|How many {unit} {more} is the {{one}}?|How much {less} is the {{other}}?|What is the difference?]",
                n=n,
                m=m,
                one=one,
                other=other,
            )
            story.work_out(f"The difference is {{}} {unit}.", n, "-", m)
            return
        story.say(f"[The|A] {{one}} {state}.", n=n, one=one)
        now: Number = n
        for i, (this, that) in enumerate(((one, other), (other, third))[: story.length]):
            kind = rng.random() < 0.5
            m = extra(story, now) if kind else part(story, now)
            story.say(
                f"The {{that}} is {{m}} {unit} {more if kind else less}{' than the {this}' if i or rng.random() < 0.6 else ''}.",
                m=m,
                this=this,
                that=that,
            )
            now = story.work_out(f"The {that} has {{}} {unit}.", now, "+" if kind else "-", m)
            last = that
        story.say(ask, o=last)
        return
    story.say("[A|The] {thing} is {n} {u} long.", n=n, **given)
    now = n
    ended = False
    while story.left:
        draw = rng.random()
        if draw < 0.3 and value_of(now) % 2 == 0 and not ended:
            story.say("[It is cut in half|{S} cuts it in half|It is cut into two equal pieces|It is folded in half|{S} cuts it into halves]." if not story.steps else
                      "[The rest|What is left|It] is [cut in half|cut into two equal pieces].", **given)  # fmt: skip
            now = story.work_out(f"That leaves {{}} {unit}.", now, "÷", 2)
            ended = True
        elif draw < 0.5 and story.left == 1:
            k = divisor(story, now)
            if ended:
                raise OutOfRange
            if rng.random() < 0.6:
                story.say(
                    "[It|The {thing}|The rest] is cut into {k} equal [pieces|parts]. How [long|many {u} long] is each [piece|part]?".replace(
                        "The rest", "The rest" if story.steps else "It"
                    ),
                    k=as_word(story, k),
                    **given,
                )
                story.work_out(f"Each has {{}} {unit}.", now, "÷", k)
            else:
                story.say(
                    "[It|The {thing}] is cut into pieces of {k} {u}. How many pieces are [there|that]?", k=k, **given
                )
                story.work_out("That is {} pieces.", now, "÷", k)
            return
        elif draw < 0.8:
            m = part(story, now)
            story.say(
                (
                    "One of the two [parts|pieces|ends] [gets|is made] {m} {u} shorter."
                    if ended
                    else "[Then |][{m} {u} are cut off|{S} cuts off {m} {u}|{m} {u} break off|{S} uses {m} {u}|{S} cuts {m} {u} from it]."
                ),
                m=m,
                **given,
            )
            now = story.work_out(f"That leaves {{}} {unit}.", now, "-", m)
        else:
            if ended:
                raise OutOfRange
            m = extra(story, now)
            story.say(
                "[{S} adds {m} {u}|It gets {m} {u} longer|{S} ties on {m} {u} more|Another {m} {u} are added].",
                m=m,
                **given,
            )
            now = story.work_out(f"That makes {{}} {unit}.", now, "+", m)
    story.say("How long is [this part|that part|the shorter part|it] [then|in the end]?" if ended and rng.random() < 0.7 else "How [long|many {u}] is [it|each half] [now|then]?" if ended else "How long is [it|the {thing}|the rest] [now|then|in the end]?".replace("the rest", "the rest" if story.steps[-1].operation == "-" else "it"), **given)  # fmt: skip


def clock(story: Story) -> None:
    """Minutes and hours, and what takes how long."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), rng.random() < 0.4
    one, other, third = rng.sample(
        "homework|the piano|football|reading|the garden|chess|cleaning|lunch|the news|a walk|a game|a film|a bath|breakfast|the bus|a test".split(
            "|"
        ),
        3,
    )
    if story.length == 1 and rng.random() < 0.35:
        k = rng.randint(2, 8)
        size, small, big = rng.choice(
            (
                (60, "minutes", "hours"),
                (7, "days", "weeks"),
                (24, "hours", "days"),
                (12, "months", "years"),
                (60, "seconds", "minutes"),
                (10, "years", "decades"),
                (12, "eggs", "dozens"),
            )
        )
        if k * size > story.largest:
            raise OutOfRange
        story.say(
            "How many {small} are [there |]in {k} {big}?"
            if rng.random() < 0.5 and big != "dozens"
            else "How many {small} are {k} {big}?"
            if big != "dozens"
            else "How many eggs are {k} dozen eggs?",
            small=small,
            big=big,
            k=k,
        )
        story.work_out(f"That is {{}} {small}.", k, "×", size)
        return
    if story.length <= 2 and rng.random() < 0.3:
        _hours_or_degrees(story)
        return
    unit = rng.choice(("minutes", "minutes", "minutes", "hours"))
    n = rng.randint(2, 90)
    m = extra(story, n)
    given = {"n": n, "m": m, "u": unit, "one": one, "other": other, "third": third}
    if story.length == 1:
        if rng.random() < 0.6:
            story.say("{F} <spend> {n} {u} on {one} and {m}[| {u}] on {other}. [How long is that?|How many {u} is that in all?|How many {u} <do> {he} need?|How long <do> {he} need for both?|How much time is that?]" if rng.random() < 0.6 else
                      "[The first part of a {x} takes|A {x} takes|A {x} lasts] {n} {u} and the [second|second one|other] {m}[| {u}]. How long [do they take together|is that in all|do both take]?", x=rng.choice(("film", "trip", "lesson", "show", "game", "flight", "class")), **given)  # fmt: skip
            story.work_out(f"Together that is {{}} {unit}.", n, "+", m)
        else:
            total = n + m
            story.say("[A {x} [takes|lasts] {t} {u}|The {x} is {t} {u} long]. {n}[| {u}] [are over|have passed|are gone]. How many {u} are left?".replace("[A {x} [takes|lasts] {t} {u}|The {x} is {t} {u} long]", rng.choice(("A {x} takes {t} {u}", "A {x} lasts {t} {u}", "The {x} is {t} {u} long"))),
                      x=rng.choice(("film", "trip", "lesson", "show", "game", "flight", "class", "holiday")), t=total, **given)  # fmt: skip
            story.work_out(f"That leaves {{}} {unit}.", total, "-", n)
        return
    if story.length == 2:
        k = extra(story, n + m)
        story.say(
            "{F} <spend> {n} {u} on {one}, {m}[| {u}] on {other} and {k}[| {u}] on {third}. [How long is that?|How many {u} is that in all?|How many {u} <do> {he} need in all?|How much time is that together?]",
            k=k,
            **given,
        )
        now = story.work_out("Together that is {}.", n, "+", m)
        story.work_out(f"Together that is {{}} {unit}.", now, "+", k)
        return
    raise OutOfRange


def _hours_or_degrees(story: Story) -> None:
    """When something ends, how long it takes, how warm it gets."""
    rng = story.rng
    x = rng.choice("film trip lesson show game flight class party concert meeting match race walk".split())
    if story.length == 1 and rng.random() < 0.5:
        n, m = rng.randint(1, 9), rng.randint(2, 8)
        if n + m > 12:
            raise OutOfRange
        if rng.random() < 0.5:
            story.say(
                "[The|A] {x} [starts|begins] at {n} o'clock and [lasts|takes] {m} hours. [When|At what time] does it end?",
                x=x,
                n=n,
                m=m,
            )
            story.work_out("That is {} o'clock.", n, "+", m)
        else:
            story.say(
                "[The|A] {x} [starts|begins] at {n} o'clock and ends at {e} o'clock. How [long does it take|long is it|many hours does it take]?".replace(
                    "[long does it take|long is it|many hours does it take]",
                    rng.choice(("long does it take", "long is it", "many hours does it take")),
                ),
                x=x,
                n=n,
                e=n + m,
            )
            story.work_out("The difference is {} hours.", n + m, "-", n)
        return
    now: Number = rng.randint(4, 40)
    story.say(
        "[In the morning|At noon|On {day}|Yesterday|At night] it [is|was] {n} degrees[| warm].".replace(
            "[is|was]", "is"
        ),
        n=now,
        day=rng.choice(DAYS),
    )
    while story.left:
        if rng.random() < 0.5:
            m = rng.randint(2, 15)
            story.say(
                "[By noon|Then|Later|In the evening|The next day] it [gets|is|becomes] {m} degrees [warmer|hotter].",
                m=m,
            )
            now = story.work_out("That makes {} degrees.", now, "+", m)
        else:
            m = part(story, now)
            story.say(
                "[By night|Then|Later|In the evening|The next day] it [gets|is|becomes] {m} degrees [colder|cooler].",
                m=m,
            )
            now = story.work_out("That leaves {} degrees.", now, "-", m)
    story.say(
        "How [warm is it|many degrees is it|cold is it] [now|then]?".replace(
            "[warm is it|many degrees is it|cold is it]",
            rng.choice(("warm is it", "many degrees is it", "many degrees are there")),
        )
    )


def team(story: Story) -> None:
    """Points, and people in groups."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), rng.random() < 0.6
    if story.length == 1 and rng.random() < 0.6:
        k, m = groups(story)
        n = k * m
        member = rng.choice("children students players kids people scouts dancers".split())
        if rng.random() < 0.6:
            story.say(
                "{n} {member} [form|make|are split into|are put into] [teams|groups] of {k}. How many [teams|groups] are there?".replace(
                    "[teams|groups]", (g := rng.choice(("teams", "groups")))
                ),
                n=n,
                k=k,
                member=member,
            )
            story.work_out(f"That is {{}} {g}.", n, "÷", k)
        else:
            story.say(
                "[There are {k} teams with {m} {member} [each|in each]|{k} groups of {m} {member} play]. How many {member} [are there|is that|are there in all]?".replace(
                    "[each|in each]", "each"
                ),
                k=k,
                m=m,
                member=member,
            )
            story.work_out(f"That is {{}} {member}.", k, "×", m)
        return
    n = amount(story)
    unit = rng.choice(("points", "goals", "points", "stars", "coins"))
    rounds = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh"]
    if story.length > 5:
        raise OutOfRange
    story.say(
        f"{{F}} [<get>|<score>|<win>|<make>] {{n}} {unit} in the first [round|game|half|level].".replace(
            "[round|game|half|level]", (r := rng.choice(("round", "game", "level")))
        ),
        n=n,
    )
    now: Number = n
    for i in range(story.length):
        if rng.random() < 0.65:
            m = extra(story, now)
            story.say(
                f"[In the {rounds[i + 1]} {r} {{he}} [<get>|<win>] {{m}}|{{he}} [<get>|<win>|<score>] {{m}}[| more| {unit}] in the {rounds[i + 1]}].".replace(
                    "[<get>|<win>] {m}|", "<get> {m}|"
                ).replace(
                    "[<get>|<win>|<score>] {m}[| more| " + unit + "]",
                    "<score> {m}" + rng.choice(("", " more", " " + unit)),
                ),
                m=m,
            )
            now = story.work_out(f"That makes {{}} {unit}.", now, "+", m)
        else:
            m = part(story, now)
            story.say(f"In the {rounds[i + 1]} {r} {{he}} <lose> {{m}}[| {unit}].", m=m)
            now = story.work_out(f"That leaves {{}} {unit}.", now, "-", m)
    story.say(
        "How many {u} [<do> {he} have|<do> {S} have|<do> {he} have now|is that|<do> {he} have in all|<do> {he} have in the end]?",
        u=unit,
    )


def bare(story: Story) -> None:
    """A sum without a story, as one types it into a calculator."""
    rng = story.rng
    story.smallest = 0
    ask = rng.choice(("What is {x}?", "{x} = ?", "{x}", "Calculate {x}.", "How much is {x}?", "{x} =", "What's {x}?", "{x}?", "Compute {x}.", "Work out {x}.", "Find {x}.", "{x} is what?",
                      "What does {x} make?", "Add it up: {x}", "Please calculate {x}.", "Solve {x}.", "Can you work out {x}?", "what is {x}", "Tell me {x}.", "Evaluate {x}.", "The result of {x}?"))  # fmt: skip
    words = rng.random() < 0.25 or ask == "Please calculate {x}."
    tight = not words and rng.random() < 0.12
    sign = {"+": "plus" if words else "+", "-": "minus" if words else rng.choice(("-", "-", "-", "−")),
            "×": rng.choice(("times", "multiplied by")) if words else rng.choice(("x", "*", "×", "x")),
            "÷": "divided by" if words else rng.choice(("/", "÷", ":", "/"))}  # fmt: skip
    if "Add" in ask and story.length > 2:
        raise OutOfRange
    op = rng.choice("++--××÷")
    n, m = _operands(story, op)
    now = story.work_out("{}", n, op, m)
    text = f"{n} {sign[op]} {m}"
    last = op
    while story.left:
        if last in "×÷":
            op = rng.choice("+-")
            m = extra(story, now) if op == "+" else part(story, now)
            now = story.work_out("{}", now, op, m)
        else:
            op = rng.choice("+-")
            m = extra(story, now) if op == "+" else part(story, now)
            now = story.work_out("{}", now, op, m)
        text += f" {sign[op]} {m}"
        last = op
    if story.length == 1 and rng.random() < 0.2:
        text2 = {"+": ("the sum of {n} and {m}", "{n} and {m} together", "{n} more than {m2}"), "-": ("{n} take away {m}", "the difference between {n} and {m}", "{m} less than {n}"),
                 "×": ("the product of {n} and {m}", "{n} times {m}"), "÷": ("{n} shared by {m}", "{n} split in {m}")}[op]  # fmt: skip
        form = rng.choice(text2)
        if "m2" not in form:
            text, tight = form.format(n=n, m=m), False
    story.sentences.append(ask.format(x=text.replace(" ", "") if tight else text))


def _operands(story: Story, op: str) -> tuple[int, int]:
    rng, largest = story.rng, story.largest
    if op == "+":
        n = rng.choice((rng.randint(0, 20), rng.randint(2, 99), rng.randint(2, largest)))
        return (n, rng.randint(0, max(0, min(99, largest - n))))
    if op == "-":
        n = rng.choice((rng.randint(2, 20), rng.randint(10, 99), rng.randint(10, largest)))
        return (n, rng.randint(0, n))
    k = rng.randint(2, 12)
    m = rng.choice((rng.randint(2, 12), rng.randint(2, max(2, largest // k))))
    if k * m > largest:
        m = largest // k
    if op == "×":
        return (k, m) if rng.random() < 0.5 else (m, k)
    return (k * m, k) if rng.random() < 0.5 or m < 2 else (k * m, m)


__all__ = [
    "FOOD",
    "TOYS",
    "Quantity",
    "ages",
    "bare",
    "clock",
    "measured",
    "one_price",
    "piece",
    "purse",
    "shopping",
    "singular",
    "team",
    "things",
]
