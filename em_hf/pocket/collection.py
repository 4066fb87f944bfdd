"""Stories of things that somebody has, gets and gives away."""

from em_hf.pocket.choices import (
    Number,
    amount,
    as_word,
    divisor,
    does,
    extra,
    few,
    groups,
    has,
    named_new,
    part,
    share,
    things,
)
from em_hf.pocket.steps import Quantity, Story, number
from em_hf.pocket.telling import someone
from em_hf.pocket.words import COLORS, DAYS, FOOD, PACKS, THINGS, a, invented, singular

THEN = "[||||Then |Later |After that |The next day |In the evening |Now |On {day} |Next |Today |Afterwards ]"
RELATIVE = (
    "[friend|mother|father|sister|brother|aunt|uncle|cousin|neighbor|teacher|grandmother|grandfather|son|daughter]"
)
SOME = "[of them|{t}|of the {t}|of {his} {t}]"
MORE = "[more|more {t}|{t}]"


def collection(story: Story) -> None:
    """Things that somebody has, gets and gives away, and what becomes of them in the end."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), rng.random() < 0.6
    food = rng.random() < 0.4
    t = things(story, FOOD if food else THINGS)
    now = _beginning(story, t)
    ending = rng.choice((_share, _sell, _pack, _need)) if story.left and rng.random() < 0.25 else None
    while story.left > (ending is not None):
        now = _change(story, t, now, food)
    if ending:
        ending(story, t, now)
    elif story.steps[-1].operation == "-":
        story.say(
            "How many {t} {does} [have|have now|now have|have left|have in the end|have in all]?",
            "How many {t} {does} [still have|have then|have after that|end up with|have altogether]?",
            "[Now how many {t} are there|How many {t} are there now|How many {t} are left]?",
            "How many {t} [remain|are left over|are left now]?",
            "What is the number of {t} now?",
            "How many [does that leave|is that|are left|are there now]?",
            t=t,
            does=does(story),
        )
    else:
        story.say(
            "How many {t} {does} [have|have now|now have|have in the end|have in all|have in total]?",
            "How many {t} {does} [have then|have after that|end up with|have altogether]?",
            "[Now how many {t} are there|How many {t} are there now|How many {t} are there in all]?",
            "What is the number of {t} now?",
            "How many [is that|are there now|is that in all|is that altogether|does that make]?",
            t=t,
            does=does(story),
        )


def _beginning(story: Story, t: str) -> Number:
    way = story.rng.random() if story.left > 1 else 1.0
    if way < 0.22:
        return _in_packs(story, t)
    if way < 0.34:
        return _two_lots(story, t)
    if way < 0.42:
        return _a_share(story, t)
    if way < 0.50:
        return _more_than_another(story, t)
    n = amount(story)
    story.say(
        "{F} <have> {n} {t}[|| in a {pack}| at home| on the table| to sell].",
        "{F} <have> {n} {t}.",
        "{F} [<buy>|<find>|<collect>|<pick>|<get>|<make>|<order>|<bring>|<win>|<receive>|<gather>|<prepare>] {n} {t}.",
        "At first {F} <have> {n} {t}.",
        "There are {n} {t} in {his} {pack}."
        if story.who.person != "3"
        else "There are {n} {t} in {F}'s [{pack}|room|kitchen|garden|bag].",
        "{F} [<start>|<begin>] with {n} {t}.",
        "{F} [<own>|<carry>|<keep>|<hold>] {n} {t}.",
        n=n,
        t=t,
        pack=singular(story.rng.choice(PACKS)),
    )
    return n


def _in_packs(story: Story, t: str) -> Quantity:
    rng, (k, m) = story.rng, groups(story)
    packs = invented(rng) + "s" if rng.random() < story.new else rng.choice(PACKS)
    pack = singular(packs)
    story.say(
        *(
            (
                "[One {pack}|{apack}|Each {pack}] [holds|has|contains] {m} {t}. {F} [<buy>|<have>|<fill>|<get>|"
                "<carry>] {k} "
                "{packs}.",
                "{apack} [holds|contains|has] {m} {t}. {F} [<buy>|<have>|<order>|<take>] {k} of them.",
                "There are {m} {t} in [a|one|each|every] {pack}. {F} [<buy>|<have>|<get>] {k} {packs}.",
            )
            if rng.random() < 0.25
            else (
                "{F} [<have>|<buy>|<get>|<fill>|<pack>|<bring>] {k} {packs} [with {m} {t} in each|with {m} {t} each|"
                "of {m} "
                "{t}|of {m} {t} each|that hold {m} {t} each|with {m} {t} in each one|, each with {m} {t}|with {m} {t} "
                "per "
                "{pack}].",
            )
        ),
        packs=packs,
        pack=pack,
        apack=a(pack),
        m=m,
        t=t,
        k=as_word(story, k),
    )
    return story.work_out(f"That is {{}} {t}.", k, "×", m)


def _two_lots(story: Story, t: str) -> Quantity:
    n = amount(story)
    m = extra(story, n)
    one, other = story.rng.sample(COLORS, 2)
    story.say(
        "{F} <have> {n} {one} {t} and {m} {other} [ones|{t}].",
        "{F} [<buy>|<get>|<find>|<collect>|<pick>] {n} {t} on {day} and {m} on {next}.",
        "In the [morning|first hour|spring] {F} [<make>|<find>|<collect>|<get>|<buy>] {n} {t} and [later|after lunch|"
        "in the "
        "evening] {m} more.",
        n=n,
        m=m,
        t=t,
        one=one,
        other=other,
        day=story.rng.choice(DAYS),
        next=story.rng.choice(DAYS),
    )
    return story.work_out(f"Together that is {{}} {t}.", n, "+", m)


def _a_share(story: Story, t: str) -> Quantity:
    k, n = share(story)
    story.say(
        *(
            (
                "{F} <get> the same [share|part] of {n} {t} as each of the {k} [children|people] in the [house|group|"
                "club].",
                "{n} {t} are [divided|split] [equally|evenly|fairly] among {k} [people|children|cousins], and {S} "
                "<get> one "
                "[share|part].",
                "{k} people, {S} and others, [divide|split] {n} {t} [equally|evenly].",
            )
            if k > 2
            else ("{F} and a friend share {n} {t} [equally|evenly].",)
        ),
        k=k,
        n=n,
        t=t,
    )
    return story.work_out(f"Each gets {{}} {t}.", n, "÷", k)


def _more_than_another(story: Story, t: str) -> Quantity:
    n, other = amount(story), named_new(story)
    story.say("{o} <have:3> {n} {t}.", o=other, n=n, t=t)
    if story.rng.random() < 0.5:
        m = extra(story, n)
        story.say("{F} <have> {m} [more|more than {o}|{t} more than {o}|more {t} than {o}].", o=other, m=m, t=t)
        return story.work_out(f"{has(story)} {{}} {t}.", n, "+", m)
    k = few(story)
    times = "twice" if k == 2 else f"{as_word(story, k)} times"
    story.say("{F} <have> {times} as many[| {t}][| as {o}].", o=other, times=times, t=t)
    return story.work_out(f"{has(story)} {{}} {t}.", k, "×", n)


def _change(story: Story, t: str, now: Number, food: bool) -> Quantity:
    rng = story.rng
    if story.left >= 2 and rng.random() < 0.15:
        return _change_by_packs(story, t, now)
    if rng.random() < 0.05 and number(now) % 2 == 0:
        story.say(THEN + "{he} [<give>|<sell>|<lose>] half of [them|the {t}|{his} {t}].", t=t, day=rng.choice(DAYS))
        return story.work_out(f"That leaves {{}} {t}.", now, "÷", 2)
    if rng.random() < 0.45:
        n = extra(story, now)
        _tell_change(story, _gains(food), str(n), t)
        return story.work_out(f"That makes {{}} {t}.", now, "+", n)
    n = part(story, now)
    _tell_change(story, _losses(food), as_word(story, n), t)
    return story.work_out(f"That leaves {{}} {t}.", now, "-", n)


def _change_by_packs(story: Story, t: str, now: Number) -> Quantity:
    rng, (k, m) = story.rng, groups(story)
    given = {"k": as_word(story, k), "m": m, "t": t, "packs": rng.choice(PACKS), "day": rng.choice(DAYS)}
    if rng.random() < 0.5:
        story.say(
            THEN + "{he} [<buy>|<get>|<find>|<receive>] {k} {packs} [of {m}[| {t}] each|with {m}[| {t}] in each].",
            THEN + "{k} [friends|people|children] each [<give:p>|<bring:p>] {him} {m} {t}.",
            **given,
        )
        new = story.work_out(f"That is {{}} {t}.", k, "×", m)
        return story.work_out(f"That makes {{}} {t}.", now, "+", new)
    story.say(
        THEN + "{he} [<give>|<sell>|<send>] {m} {t} to each of {k} [friends|people|children|cousins].",
        THEN + "{he} [<sell>|<lose>|<use>] {k} {packs} [of {m}[| {t}] each|with {m}[| {t}] in each].",
        **given,
    )
    gone = story.work_out(f"That is {{}} {t}.", k, "×", m)
    return story.work_out(f"That leaves {{}} {t}.", now, "-", gone)


def _tell_change(story: Story, ways: tuple[str, ...], n: str, t: str) -> None:
    rng = story.rng
    given = {"n": n, "t": t, "friend": named_new(story), "day": rng.choice(DAYS)}
    way = rng.choice(ways)
    if way.startswith("{he}") and len(story.sentences) == 1 and rng.random() < 0.15:
        story.go_on(f" and [||||then |later |also ]{way.removeprefix('{he} ')}.", **given)
    else:
        story.say(f"{THEN}{way}.", **given)


def _gains(food: bool) -> tuple[str, ...]:
    made = "<bake>|<cook>|<make>|<prepare>" if food else "<make>|<draw>|<build>|<win>|<order>|<print>|<paint>|<borrow>"
    return (
        "{he} [<buy>|<get>|<find>|<receive>|<collect>|<pick>|<gather>|<earn>|<add>|<take>|<bring>] {n} more[| {t}]",
        f"{{he}} [<buy>|<get>|<find>|<collect>|<gather>|{made}] [{{n}} more {{t}}|{{n}} more|another {{n}}|another "
        f"{{n}} "
        "{t}|{n} {t}|{n} new {t}|{n} new ones]",
        "{friend} <give:3> {him} {n} [more|more {t}|{t}|others]",
        f"[{{his}}|a] {RELATIVE} [<give:3>|<bring:3>|<send:3>|<buy:3>|<lend:3>] {{him}} {{n}} {MORE}",
        f"{{he}} <get> {{n}} {MORE} [as a present|for {{his}} birthday|from {{friend}}|from {{his}} {RELATIVE}]",
        "{n} more[| {t}] [<be:p> added|<be:p> delivered|<be:p> brought|<come:p> in the mail|<be:p> given to {him}|"
        "<arrive:p>]",
        "{n} [new ones|new {t}] <be:p> [bought|made|added|found]",
        "{friend} [<put:3>|<add:3>] {n} more",
    )


def _losses(food: bool) -> tuple[str, ...]:
    done = "<give>|<sell>|<lose>|<use>|<break>|<drop>|<throw>|<return>|<hide>|<need>|<donate>|<trade>"
    gone = "sold|stolen|broken|lost|given away|thrown away"
    his = "<break:3>|<lose:3>"
    if food:
        done = "<eat>|<eat>|<sell>|<cook>|<use>|<drop>|<burn>|<serve>|<share>|<taste>|<need>"
        gone, his = "eaten|sold|stolen|bad|given away|thrown away|burnt", "<eat:3>"
    return (
        f"{{he}} [{done}] {{n}} {SOME}",
        f"{{he}} [{done}] {{n}} {SOME}",
        f"{{he}} <give> {{n}} [of them|{{t}}] to [{{friend}}|{{his}} {RELATIVE}|a friend|the poor|the dog|the school|"
        f"a museum]",
        "{he} <give> {friend} {n} [{t}|of them|of the {t}]",
        "{he} [<give>|<throw>] [{n} of them|{n}|{n} {t}] away",
        f"{{friend}} [<take:3>|<borrow:3>|<steal:3>|<buy:3>|<get:3>|{his}] {{n}} [of them|of the {{t}}|{{t}}]",
        f"[{{his}}|a|the] {RELATIVE} [<take:3>|<use:3>|<need:3>|{his}] {{n}} [of them|of the {{t}}|{{t}}]",
        f"{{n}} [|of them |of the {{t}} |{{t}} ]<be:p> [{gone}]",
        "{n} [|of them |of the {t} |{t} ][<get:p> lost|<break:p>|<disappear:p>|<be:p> missing]",
        "{he} [<put> {n} [of them|{t}] in the bin|<sell> {n} [of them|{t}] on the market]",
        "{his} [guests|friends|children|brothers|cousins] [<take:p>|<use:p>|<want:p>|<get:p>] {n}[| of them| {t}]",
        "{he} <use> {n} [of them |{t} ]for [a cake|dinner|a party|a show|lunch|breakfast|the guests|a game]",
    )


def _share(story: Story, t: str, now: Number) -> None:
    k = divisor(story, now)
    what = "[them|the rest|what is left|all of them]" if story.steps else "[them|the {t}|all {t}]"
    story.say(
        f"{{he}} [<share>|<divide>] {what} [equally |evenly |fairly |]among {{k}} [children|friends|people|kids|"
        f"students|"
        "cousins]. How many {t} [does each child get|does each get|does each of them get|does each one get|are there "
        "for "
        "each|will each person get]?",
        k=as_word(story, k),
        t=t,
    )
    story.work_out(f"Each gets {{}} {t}.", now, "÷", k)


def _pack(story: Story, t: str, now: Number) -> None:
    k, packs = divisor(story, now), story.rng.choice(PACKS)
    given = {"k": k, "t": t, "packs": packs, "pack": singular(packs)}
    if story.rng.random() < 0.5:
        story.say(
            "{he} [<put>|<pack>] [them|the {t}] in {packs} of {k}. How many {packs} [are that|<do> {he} need|are "
            "there|<do> {he} "
            "fill|<can> {he} fill]?",
            **given,
        )
        story.work_out(f"That is {{}} {packs}.", now, "÷", k)
    else:
        story.say(
            "{he} [<put>|<pack>|<sort>] [them|the {t}] [equally |evenly |]into {k} {packs}. How many {t} are [there |"
            "]in each[| "
            "{pack}]?",
            **given,
        )
        story.work_out(f"Each gets {{}} {t}.", now, "÷", k)


def _sell(story: Story, t: str, now: Number) -> None:
    k = few(story)
    story.say(
        "{he} <sell> [them|all of them|the {t}|all {t}] for {k} dollars [each|a piece|per {one}]. How [much|much "
        "money|many dollars] "
        "<do> {he} [get|earn|make|get for them]?",
        k=k,
        t=t,
        one=singular(t),
    )
    story.work_out("That is {} dollars.", now, "×", k)


def _need(story: Story, t: str, now: Number) -> None:
    goal = number(now) + extra(story, now)
    story.say(
        "{he} [<need>|<want>] {goal}[| {t}| in all| in total]. How many [more|more {t}] [<do> {he} need|<do> {S} need|"
        "are missing|"
        "<do> {he} still need|<do> {he} have to get]?",
        goal=goal,
        t=t,
    )
    story.work_out(f"That leaves {{}} {t}.", goal, "-", now)
