"""Stories of things: who has how many, what comes and goes, who has more, how many there are in all.

Each story is a function that fills a `Story` from random choices. One that needs a number out of range raises
OutOfRange, and the caller draws another.
"""

from em_hf.pocket.choices import amount, as_word, divisor, extra, few, groups, part, things, value_of
from em_hf.pocket.steps import OutOfRange, Quantity, Story
from em_hf.pocket.telling import conjugated, named, someone
from em_hf.pocket.words import (
    ANIMALS,
    AT,
    BIRDS,
    COLORS,
    DAYS,
    DONE_TO,
    FOOD,
    GROUPS,
    LIVING_ARE,
    ON,
    PACKS,
    PEOPLE,
    PLANTS,
    RELATIVES,
    SHE_RELATIVES,
    SWIMMERS,
    THINGS,
    THINGS_ARE,
    VEHICLES,
    a,
    invented,
    singular,
)

Number = int | Quantity


def does(story: Story) -> str:
    """The question form of the subject: "does Tom", "did she", "do I"."""
    verb = conjugated("do", story.who.person, story.past)
    return f"{verb} {story.rng.choice((story.who.name, story.who.name, story.who.he))}"


def has(story: Story) -> str:
    return (
        "You have"
        if story.who.person == "1"
        else f"{_cap(story.who.name)} {'have' if story.who.person == 'p' else 'has'}"
    )


def _cap(name: str) -> str:
    return name[0].upper() + name[1:]


def collection(story: Story) -> None:
    """Things that somebody has, gets and gives away."""
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
        return
    story.say(
        rng.choice(
            (
                "How many {t} {does} [have|have now|now have|have left|have in the end|have in all]?",
                "How many {t} {does} [still have|have then|have after that|end up with|have altogether]?",
                "[Now how many {t} are there|How many {t} are there now|How many {t} are left]?",
                "How many {t} [remain|are left over|are left now]?",
                "What is the number of {t} now?",
                "How many [does that leave|is that|are left|are there now]?",
            )
            if story.steps[-1].operation == "-"
            else (
                "How many {t} {does} [have|have now|now have|have in the end|have in all|have in total]?",
                "How many {t} {does} [have then|have after that|end up with|have altogether]?",
                "[Now how many {t} are there|How many {t} are there now|How many {t} are there in all]?",
                "What is the number of {t} now?",
                "How many [is that|are there now|is that in all|is that altogether|does that make]?",
            )
        ),
        t=t,
        does=does(story),
    )


def _beginning(story: Story, t: str) -> Number:
    rng = story.rng
    way = rng.random() if story.left > 1 else 1.0
    if way < 0.22:
        return _in_packs(story, t)
    if way < 0.34:
        n = amount(story)
        m = extra(story, n)
        one, other = rng.sample(COLORS, 2)
        story.say(
            rng.choice(
                (
                    "{F} <have> {n} {one} {t} and {m} {other} [ones|{t}].",
                    "{F} [<buy>|<get>|<find>|<collect>|<pick>] {n} {t} on {day} and {m} on {next}.",
                    "In the [morning|first hour|spring] {F} [<make>|<find>|<collect>|<get>|<buy>] {n} {t} and [later|after "
                    "lunch|in the evening] {m} more.",
                )
            ),
            n=n, m=m, t=t, one=one, other=other, day=rng.choice(DAYS), next=rng.choice(DAYS),
        )  # fmt: skip
        return story.work_out(f"Together that is {{}} {t}.", n, "+", m)
    if way < 0.42:
        k, m = groups(story)
        story.say(
            rng.choice(
                (
                    "{F} <get> the same [share|part] of {n} {t} as each of the {k} [children|people] in the [house|group|club].",
                    "{n} {t} are [divided|split] [equally|evenly|fairly] among {k} [people|children|cousins], and {S} <get> one [share|part].",
                    "{k} people, {S} and others, [divide|split] {n} {t} [equally|evenly].",
                )
                if k > 2
                else ("{F} and a friend share {n} {t} [equally|evenly].",)
            ),
            k=k, n=k * m, t=t,
        )  # fmt: skip
        return story.work_out(f"Each gets {{}} {t}.", k * m, "÷", k)
    if way < 0.50:
        n = amount(story)
        other = named(rng, story.new)
        story.say("{o} <have:3> {n} {t}.", o=other.name, n=n, t=t)
        if rng.random() < 0.5:
            m = extra(story, n)
            story.say(
                "{F} <have> {m} [more|more than {o}|{t} more than {o}|more {t} than {o}].", o=other.name, m=m, t=t
            )
            return story.work_out(f"{has(story)} {{}} {t}.", n, "+", m)
        k = few(story)
        times = "twice" if k == 2 else f"{as_word(story, k)} times"
        story.say("{F} <have> {times} as many[| {t}][| as {o}].", o=other.name, times=times, t=t)
        return story.work_out(f"{has(story)} {{}} {t}.", k, "×", n)
    n = amount(story)
    story.say(
        rng.choice(
            (
                "{F} <have> {n} {t}.", "{F} <have> {n} {t}.", "{F} <have> {n} {t} [in a {pack}|at home|on the table|to sell].",
                "{F} [<buy>|<find>|<collect>|<pick>|<get>|<make>|<order>|<bring>|<win>|<receive>|<gather>|<prepare>] {n} {t}.",
                "At first {F} <have> {n} {t}.", "There are {n} {t} in {his} {pack}." if story.who.person != "3" else
                "There are {n} {t} in {F}'s [{pack}|room|kitchen|garden|bag].", "{F} [<start>|<begin>] with {n} {t}.",
                "{F} [<own>|<carry>|<keep>|<hold>] {n} {t}.",
            )
        ),
        n=n, t=t, pack=singular(rng.choice(PACKS)),
    )  # fmt: skip
    return n


def _in_packs(story: Story, t: str) -> Quantity:
    rng, (k, m) = story.rng, groups(story)
    packs = invented(rng) + "s" if rng.random() < story.new else rng.choice(PACKS)
    order = rng.random()
    if order < 0.2:
        story.say(
            "[{one} holds|One {pack} holds|There are {m} {t} in {one}|Each {pack} has] {m} {t}[|]."
            " {F} [<buy>|<have>|<fill>|<get>|<carry>] {k} {packs}."
            if rng.random() < 0.7
            else "A {pack} [holds|contains|has] {m} {t}. {F} [<buy>|<have>|<order>|<take>] {k} of them.",
            one=a(singular(packs)), pack=singular(packs), packs=packs, m=m, t=t, k=as_word(story, k),
        )  # fmt: skip
    else:
        story.say(
            "{F} [<have>|<buy>|<get>|<fill>|<pack>|<bring>] {k} {packs} [with {m} {t} in each|with {m} {t} each|of {m} {t}|"
            "of {m} {t} each|that hold {m} {t} each|with {m} {t} in each one|, each with {m} {t}|with {m} {t} per {pack}].",
            packs=packs, pack=singular(packs), m=m, t=t, k=as_word(story, k),
        )  # fmt: skip
    return story.work_out(f"That is {{}} {t}.", k, "×", m)


_THEN = "[||||Then |Later |After that |The next day |In the evening |Now |On {day} |Next |Today |Afterwards ]"
_AND = "[||||then |later |also ]"


def _change(story: Story, t: str, now: Number, food: bool) -> Quantity:
    rng = story.rng
    if story.left >= 2 and rng.random() < 0.12:
        k, m = groups(story)
        given = {"k": as_word(story, k), "m": m, "t": t, "packs": rng.choice(PACKS), "day": rng.choice(DAYS)}
        if rng.random() < 0.5:
            story.say(
                _THEN + "{he} [<buy>|<get>|<find>|<receive>] {k} {packs} [of {m}[| {t}] each|with {m}[| {t}] in each]."
                if rng.random() < 0.7
                else _THEN + "{k} [friends|people|children] each [give|bring] {him} {m} {t}.",
                **given,
            )
            new = story.work_out(f"That is {{}} {t}.", k, "×", m)
            return story.work_out(f"That makes {{}} {t}.", now, "+", new)
        story.say(
            _THEN + "{he} [<give>|<sell>|<send>] {m} {t} to each of {k} [friends|people|children|cousins]."
            if rng.random() < 0.5
            else _THEN
            + "{he} [<sell>|<give away>|<use>] {k} {packs} [of {m}[| {t}] each|with {m}[| {t}] in each].".replace(
                "<give away>", "<give>"
            ),
            **given,
        )
        gone = story.work_out(f"That is {{}} {t}.", k, "×", m)
        return story.work_out(f"That leaves {{}} {t}.", now, "-", gone)
    if story.left >= 2 and rng.random() < 0.06:
        n = extra(story, now)
        m = extra(story, n)
        story.say(
            _THEN + "{he} [<get>|<buy>|<find>] {n} [more|more {t}] and [then|again|later] {m} more.",
            n=n,
            m=m,
            t=t,
            day=rng.choice(DAYS),
        )
        now = story.work_out(f"That makes {{}} {t}.", now, "+", n)
        return story.work_out(f"That makes {{}} {t}.", now, "+", m)
    if rng.random() < 0.05 and value_of(now) % 2 == 0:
        story.say(_THEN + "{he} [<give>|<sell>|<lose>] half of [them|the {t}|{his} {t}].", t=t, day=rng.choice(DAYS))
        return story.work_out(f"That leaves {{}} {t}.", now, "÷", 2)
    if rng.random() < 0.45:
        return _gain(story, t, now, food)
    return _loss(story, t, now, food)


_RELATIVE = (
    "[friend|mother|father|sister|brother|aunt|uncle|cousin|neighbor|teacher|grandmother|grandfather|son|daughter]"
)


def _gain(story: Story, t: str, now: Number, food: bool) -> Quantity:
    rng, n = story.rng, extra(story, now)
    friend = named(rng, story.new).name
    made = (
        "|<bake>|<cook>|<make>|<prepare>" if food else "|<make>|<draw>|<build>|<win>|<order>|<print>|<paint>|<borrow>"
    )
    ways = (
        "{he} [<buy>|<get>|<find>|<receive>|<collect>|<pick>|<gather>|<earn>|<add>|<take>|<bring>|<pick up>] {n} more[| {t}].",
        "{he} [<buy>|<get>|<find>|<collect>|<gather>"
        + made
        + "] [{n} more {t}|{n} more|another {n}|another {n} {t}|{n} {t}|{n} "
        "new {t}|{n} new ones].",
        "{friend} <give:3> {him} {n} [more|more {t}|{t}|others].",
        "[{his} |a ]" + _RELATIVE + " [<give:3>|<bring:3>|<send:3>|<buy:3>|<lend:3>] {him} {n} [more|more {t}|{t}].",
        "{he} <get> {n} [{t}|more|more {t}] [as a present|for {his} birthday|from {friend}|from {his} "
        + _RELATIVE
        + "].",
        "{n} more[| {t}] [are added|are delivered|are brought|come in the mail|are given to {him}|arrive].",
        "{n} [new ones|new {t}] [are bought|are made|are added|are found].",
        "{friend} [<put:3>|<add:3>] {n} more.",
    )
    template = rng.choice(ways).replace("<pick up>", "<pick>")
    if story.past:
        template = template.replace(" are ", " were ").replace("[are", "[were").replace("|are", "|were")
        template = template.replace("come in the mail", "came in the mail").replace("|arrive]", "|arrived]")
    if template.startswith("{he}") and rng.random() < 0.12 and story.sentences and not story.steps:
        _joined(story, " and " + _AND + template[5:-1], n=n, t=t, friend=friend)
    else:
        story.say(_THEN + template, n=n, t=t, friend=friend, day=rng.choice(DAYS))
    return story.work_out(f"That makes {{}} {t}.", now, "+", n)


def _joined(story: Story, template: str, **given: object) -> None:
    """Go on within the last sentence."""
    last = story.sentences.pop()
    story.say("x" + template + ".", **given)
    story.sentences.append(last.removesuffix(".") + story.sentences.pop()[1:])


def _loss(story: Story, t: str, now: Number, food: bool) -> Quantity:
    rng, n = story.rng, part(story, now)
    friend = named(rng, story.new).name
    verbs = "<give>|<sell>|<lose>|<use>|<break>|<drop>|<throw>|<return>|<hide>|<need>|<donate>|<trade>"
    if food:
        verbs = "<eat>|<eat>|<sell>|<cook>|<use>|<drop>|<burn>|<serve>|<share>|<taste>|<need>"
    ways = (
        "{he} [" + verbs + "] {n} [of them|{t}|of the {t}|of {his} {t}].",
        "{he} <give> {n} [of them|{t}] to [{friend}|{his} " + _RELATIVE + "|a friend|the poor|the dog|the school].",
        "{he} <give> {friend} {n} [{t}|of them|of the {t}].",
        "{he} <give> [{n} of them|{n}|{n} {t}] away.",
        "{friend} [<take:3>|<borrow:3>|<steal:3>|<buy:3>|<get:3>|" + ("<eat:3>" if food else "<break:3>") + "] {n} [of them|of the {t}|{t}].".replace("<steal:3>", "<take:3>"),
        "[{his} |a |the ]" + _RELATIVE + " [<take:3>|<use:3>|<need:3>|" + ("<eat:3>" if food else "<lose:3>") + "] {n} [of them|of the {t}|{t}].",
        "{n} [|of them |of the {t} |{t} ][are eaten|are sold|are stolen|are bad|are given away|are thrown away|are burnt]." if food
        else "{n} [|of them |of the {t} |{t} ][are sold|are stolen|are broken|are lost|are given away|are thrown away|get lost|break].",
        "{he} [<throw> {n} [of them|{t}] away|<put> {n} [of them|{t}] in the bin|<give> {n} [of them|{t}] to a [museum|neighbor]]."
        if rng.random() < 0.5 else "{his} [guests|friends|children|brothers|cousins] [<take:p>|<use:p>|" + ("<eat:p>" if food else "<want:p>") + "] {n}[| of them| {t}].",
        "{he} <use> {n} [of them |{t} ]for [a cake|dinner|a party|a show|lunch|breakfast|the guests|a game].",
    )  # fmt: skip
    template = rng.choice(ways)
    if story.past:
        template = (
            template.replace("][are", "][were").replace("|are", "|were").replace("|get lost|break]", "|got lost|broke]")
        )
    if template.startswith("{he}") and rng.random() < 0.15 and story.sentences and not story.steps:
        _joined(story, " and " + _AND + template[5:-1], n=n, t=t, friend=friend)
    else:
        story.say(_THEN + template, n=as_word(story, n), t=t, friend=friend, day=rng.choice(DAYS))
    return story.work_out(f"That leaves {{}} {t}.", now, "-", n)


def _share(story: Story, t: str, now: Number) -> None:
    k = divisor(story, now)
    what = story.rng.choice(
        ("[them|the {t}|all {t}]" if not story.steps else "[them|the rest|what is left|all of them]",)
    )
    story.say(
        "{he} [<share>|<divide>] " + what + " [equally |evenly |fairly |]among {k} [children|friends|people|kids|students|"
        "cousins]. How many {t} [does each child get|does each get|does each of them get|does each one get|are there for "
        "each|will each person get]?",
        k=as_word(story, k), t=t,
    )  # fmt: skip
    story.work_out(f"Each gets {{}} {t}.", now, "÷", k)


def _pack(story: Story, t: str, now: Number) -> None:
    k = divisor(story, now)
    packs = story.rng.choice(PACKS)
    if story.rng.random() < 0.5:
        story.say(
            "{he} [<put>|<pack>] [them|the {t}] in {packs} of {k}. How many {packs} [are that|<do> {he} need|are there|<do> "
            "{he} fill|<can> {he} fill]?",
            k=k, t=t, packs=packs,
        )  # fmt: skip
        story.work_out(f"That is {{}} {packs}.", now, "÷", k)
        return
    story.say(
        "{he} [<put>|<pack>|<sort>] [them|the {t}] [equally |evenly ]into {k} {packs}. How many {t} are [there |]in each [|{pack}]?",
        k=k, t=t, packs=packs, pack=singular(packs),
    )  # fmt: skip
    story.work_out(f"Each gets {{}} {t}.", now, "÷", k)


def _sell(story: Story, t: str, now: Number) -> None:
    k = few(story)
    story.say(
        "{he} [<sell>|<sell>|<sold>] [them|all of them|the {t}|each|every {one}] for {k} dollars[ each|]. How much [money |]"
        "<do> {he} [get|earn|make|take in]?".replace("<sold>", "<sell>"),
        k=k, t=t, one=singular(t),
    ) if story.rng.random() < 0.3 else story.say(
        "{he} <sell> [them|all of them|the {t}|each one] for {k} dollars [each|a piece|per {one}]. How [much|much money|many "
        "dollars] <do> {he} [get|earn|make|take in|get for them]?".replace("each one] for {k} dollars [each", "all] for {k} dollars [each"),
        k=k, t=t, one=singular(t),
    )  # fmt: skip
    story.work_out("That is {} dollars.", now, "×", k)


def _need(story: Story, t: str, now: Number) -> None:
    goal = value_of(now) + extra(story, now)
    story.say(
        "{he} [<need>|<want>|<need>] {goal}[| {t}| in all| in total]. How many [more|more {t}] [<do> {he} need|<do> {S} need|are "
        "missing|<do> {he} still need|<do> {he} have to get|<must> {he} find]?".replace("|<must> {he} find", ""),
        goal=goal, t=t,
    )  # fmt: skip
    story.work_out(f"That leaves {{}} {t}.", goal, "-", now)


PLACES = (
    ("bus|train|tram|boat|ship|plane|ferry|subway|van|coach", PEOPLE, "get on|board|hop on|climb on|enter", "get off|leave|hop off|get out"),
    ("library|museum|cinema|pool|hall|shop|store|room|class|cafe|restaurant|theater|gym|church|office|school|hotel|bank|club|tent|"
     "market|zoo|museum|line|kitchen|concert|party|hospital|waiting room", PEOPLE,
     "come in|arrive|enter|walk in|join them|come|come back|join|show up", "leave|go home|walk out|go away|go out|go to bed|have to go|go"),
    ("park|garden|playground|street|beach|square|camp|yard", PEOPLE,
     "arrive|come|join them|come back|come to play", "leave|go home|walk away|run away|go to eat"),
    ("tree|roof|wire|fence|field|branch|wall|park|nest|cage|bush", BIRDS, "fly in|land|join them|come back|arrive|come|fly over",
     "fly away|leave|fly off|take off|fly south"),
    ("pond|lake|sea|bay|river|tank|aquarium|pool|harbor|stream", SWIMMERS, "swim in|come|arrive|come back|join them|are added|are born",
     "swim away|leave|dive down|are caught|swim off|are taken out|go to sleep"),
    ("barn|field|farm|zoo|meadow|stable|pen|forest|shelter|yard|cage|garden|village|valley|house", ANIMALS,
     "come in|arrive|walk in|are bought|are born|come back|are added|come|join them",
     "run away|leave|walk out|are sold|escape|go out|hide|fall asleep|die|are adopted|wander off"),
    ("lot|garage|street|harbor|parking lot|station|yard|port", VEHICLES,
     "arrive|come|drive in|come back|park there|pull in|come in", "leave|drive away|go|are towed|pull out"),
    ("shop|store|shelf|library|warehouse|kitchen|drawer|market|box|cupboard|room|fridge|bag|table|factory|truck|basket|jar|pile", THINGS,
     "are delivered|are added|are brought|arrive|are put in|are returned|are put back|are made|are found",
     "are sold|are taken|are used|are removed|are borrowed|are lost|are taken out|are broken|are thrown away|fall down|are lent out|disappear|"
     "are needed|are bought|are moved|are stolen"),
    ("garden|park|field|yard|greenhouse|forest|bed|pot", PLANTS, "are planted|grow|are added|come up|sprout|bloom",
     "die|are cut|are cut down|are dug up|are sold|wither|fall|are picked|freeze"),
)  # fmt: skip
_PAST_OF = {
    "are": "were", "get": "got", "board": "boarded", "hop": "hopped", "climb": "climbed", "enter": "entered", "leave": "left",
    "come": "came", "arrive": "arrived", "walk": "walked", "join": "joined", "show": "showed", "go": "went", "run": "ran",
    "fly": "flew", "land": "landed", "take": "took", "swim": "swam", "dive": "dived", "escape": "escaped", "hide": "hid",
    "fall": "fell", "die": "died", "wander": "wandered", "drive": "drove", "park": "parked", "pull": "pulled",
    "disappear": "disappeared", "grow": "grew", "sprout": "sprouted", "bloom": "bloomed", "dry": "dried",
    "wither": "withered", "freeze": "froze", "have": "had",
}  # fmt: skip


def _happen(story: Story, phrases: str) -> str:
    first, _, rest = story.rng.choice(phrases.split("|")).partition(" ")
    return f"{_PAST_OF[first] if story.past else first} {rest}".strip()


_TIMES = (
    "[||||Then |Later |After that |At noon |An hour later |In the evening |On {day} |Soon |Next |At the next stop |After a while "
    "|During the night |The next day |In the afternoon |By {day} |Today |After lunch |Now ]"
)


def place(story: Story) -> None:
    """A place that fills and empties."""
    rng = story.rng
    story.past = rng.random() < 0.5
    names, kinds, come, go = rng.choice(PLACES)
    t = things(story, kinds)
    where = rng.choice(names.split("|"))
    at = "on" if where in ON else "at" if where in AT else "in"
    if rng.random() < story.new / 2:
        where = invented(rng)
    be = "were" if story.past else "are"
    spot = f"{at} {rng.choice(('the', a(where).split()[0]))} {where}"
    given = {"t": t, "be": be, "spot": spot, "where": where, "at": at, "day": rng.choice(DAYS)}
    now: Number
    if story.left > 1 and rng.random() < 0.3:
        k, m = groups(story)
        rows = rng.choice(("rows", "lines", "groups", "rooms", "corners", "rows", "beds", "nests", "shelves", "cages"))
        if rng.random() < 0.6:
            story.say(
                "[There {be} {k} {rows} of {m} {t} {spot}|{spot} there {be} {k} {rows} [with {m} {t} each|with {m} {t} in each|of {m} {t}]|"
                "A {where} has {k} {rows} with {m} {t} [in each|each]|The {where} has {k} {rows} of {m} {t}].",
                k=as_word(story, k), m=m, rows=rows, **given,
            )  # fmt: skip
            now = story.work_out(f"That is {{}} {t}.", k, "×", m)
        else:
            n = amount(story)
            m = extra(story, n)
            one, other = rng.choice(
                (("first", "second"), ("left", "right"), ("upper", "lower"), ("big", "small"), ("old", "new"))
            )
            room = singular(rows)
            story.say(
                "[The {one} {room} of the {where} has {n} {t} and the {other} {room} has {m}|There {be} {n} {t} in the {one} {room} and {m} in "
                "the {other} {room}|In one {where} there {be} {n} {t}, in another {m}].",
                n=n, m=m, one=one, other=other, room=room, **given,
            )  # fmt: skip
            now = story.work_out(f"Together that is {{}} {t}.", n, "+", m)
    else:
        now = amount(story)
        story.say(
            "[There {be} {n} {t} {spot}|There {be} {n} {t} {spot}|{spot} there {be} {n} {t}|A {where} has {n} {t}|{n} {t} {be} {spot}|"
            "In the morning there {be} {n} {t} {spot}].".replace("has", "had" if story.past else "has"),
            n=now, **given,
        )  # fmt: skip
    parted = False
    while story.left:
        if not parted and story.left >= 2 and rng.random() < 0.35:
            n, m = part(story, now), extra(story, 0)
            if rng.random() < 0.6:
                story.say(
                    _TIMES + "{n}[| {t}| of them] {go} and {m} [|more |new ones |others |new {t} |{t} ]{come}.",
                    n=n, m=m, go=_happen(story, go), come=_happen(story, come), **given,
                )  # fmt: skip
                now = story.work_out(f"That leaves {{}} {t}.", now, "-", n)
                now = story.work_out(f"That makes {{}} {t}.", now, "+", m)
            else:
                story.say(
                    _TIMES + "{m}[| more| new ones| {t}| more {t}] {come} and {n}[| of them| {t}| others] {go}.",
                    n=n, m=m, go=_happen(story, go), come=_happen(story, come), **given,
                )  # fmt: skip
                now = story.work_out(f"That makes {{}} {t}.", now, "+", m)
                now = story.work_out(f"That leaves {{}} {t}.", now, "-", n)
        elif rng.random() < 0.45:
            n = extra(story, now)
            story.say(
                _TIMES + "[{n} {t} {come}|{n} more {come}|{n} more {t} {come}|another {n}[| {t}] {come}|{n} {come}|{n} new {t} {come}|{n} new ones {come}].",
                n=n, come=_happen(story, come), **given,
            )  # fmt: skip
            now = story.work_out(f"That makes {{}} {t}.", now, "+", n)
        else:
            n = part(story, now)
            story.say(
                _TIMES + "[{n} {t} {go}|{n} of them {go}|{n} {go}|{n} of the {t} {go}|{n} {go}].",
                n=n, go=_happen(story, go), **given,
            )  # fmt: skip
            now = story.work_out(f"That leaves {{}} {t}.", now, "-", n)
    still = "still |" if story.steps[-1].operation == "-" else "|"
    left = "left|" if story.steps[-1].operation == "-" else "in all|"
    story.say(
        "[How many {t} are [" + still + "now ]{spot2}[| now| then]?|How many {t} are {spot2} [now|then|at the end]?|How many {t} are [there|there now|"
        + left + "there then|there in the end]?|How many {t} {be} {spot2} [then|in the end|after that]?|How many are [there now|" + left + "there]?|"
        "How many {t} does the {where} have[| now| then]?]".replace("does", "did" if story.past and rng.random() < 0.3 else "does"),
        spot2=f"{at} the {where}", **given,
    )  # fmt: skip


def parts(story: Story) -> None:
    """A whole and its parts: what they make together, or what the others are."""
    rng = story.rng
    story.past = rng.random() < 0.4
    be = "were" if story.past else "are"
    whole = rng.choice(sorted(GROUPS))
    one, other, third = (
        (rng.sample(GROUPS[whole], 3)) if rng.random() > story.new else [things(story) for _ in range(3)]
    )
    where = rng.choice(("on a farm", "in a room", "in the park", "in a shop", "on the table", "in a box", "in town", "at a market", "in the garden",
                        "in a basket", "on the street", "at a party", "in a zoo", "at the show", f"in a {invented(rng)}"))  # fmt: skip
    if one not in GROUPS[whole]:
        whole = "things"
    given = {"be": be, "one": one, "other": other, "third": third, "whole": whole, "where": where}
    n = amount(story)
    if story.length == 1 and rng.random() < 0.3:
        _half_or_more(story, n, given)
        return
    if rng.random() < 0.5 or story.length > 3:  # parts, then the whole and more
        m = extra(story, n)
        total: Number
        story.who = someone(rng, story.new)
        if story.left > 1 and rng.random() < 0.5:
            story.say("[There {be} {n} {one}, {m} {other} and {k} {third} {where}|{where} there {be} {n} {one}, {m} {other} and {k} {third}|"
                      "{F} [<see>|<have>|<count>|<draw>] {n} {one}, {m} {other} and {k} {third}].", n=n, m=m, k=(k := extra(story, n + m)), **given)  # fmt: skip
            total = story.work_out("Together that is {}.", n, "+", m)
            total = story.work_out(f"Together that is {{}} {whole}.", total, "+", k)
        else:
            story.say("[There {be} {n} {one} and {m} {other} {where}|{where} there {be} {n} {one} and {m} {other}|A [class|club|team|group] has "
                      "{n} {one} and {m} {other}|{F} [<see>|<have>|<count>|<draw>|<buy>] {n} {one} and {m} {other}|[He|She] has {n} {one} and {m} {other}].",
                      n=n, m=m, **given)  # fmt: skip
            total = story.work_out(f"Together that is {{}} {whole}.", n, "+", m)
        if story.left:
            p = part(story, total)
            x = rng.choice(_states(one))
            gone = rng.choice(("{p} [of them|of the {whole}|{whole}|] {be} {x}. How many[| {whole}| of them] {be} not {x}?",
                               "{p} [of them|of the {whole}|{whole}|] {be} {x}. How many[| {whole}] {be} [left|there without those]?",
                               "{p} of [them|the {whole}] {be} [taken away|sold|gone|given away]. How many[| {whole}] {be} [left|still there]?"))  # fmt: skip
            if story.left == 1:
                story.say(gone, p=p, x=x, **given)
                story.work_out(f"That leaves {{}} {whole}.", total, "-", p)
                return
            raise OutOfRange
        story.say(
            "How many [{whole} is that|{whole} are there|{whole} are there in all|{whole} is that in total|is that altogether|are there|{whole} {be} "
            "there altogether|is that in all|{whole} does that make|are there together]?",
            **given,
        )  # fmt: skip
        return
    # the whole, then what is left for the others
    whole = one
    total = n
    given["whole"] = whole
    x, y, z = rng.sample(_states(one), 3)
    p = part(story, total)
    intro = rng.choice(("There {be} {n} {whole} {where}.", "[We have|I have|There {be}|A shop has|A school has|A box has|A farmer has|Our class has] {n} {whole}.",
                        "Of {n} {whole} {where},"))  # fmt: skip
    comma = intro.endswith(",")
    if story.left == 1:
        story.say(intro + rng.choice((" {p} [|of them |of the {whole} |{whole} ]{be} {x}", " {p} {be} {x}")) + rng.choice((
            " and the [rest|others] {be} {y}. How many[| {whole}] {be} {y}?", ". How many[| {whole}| of them] {be} not {x}?",
            ". The [rest|others] {be} {y}. How many[| {whole}] {be} {y}?", ". How many[| {whole}] {be} {y}?")), n=n, p=p, x=x, y=y, **given)  # fmt: skip
        story.work_out(f"That leaves {{}} {whole}.", total, "-", p)
        return
    if story.left > 2:
        raise OutOfRange
    if n - p - 2 < 2:
        raise OutOfRange
    q = rng.randint(2, n - p - 2)
    mid = " {p} [|of them |{whole} ]{be} {x}[ and|,] {q} {be} {y}" if not comma else " {p} {be} {x} and {q} {be} {y}"
    story.say(intro + mid + rng.choice((
        ". The [rest|others] {be} {z}. How many[| {whole}] {be} {z}?", ". How many[| {whole}| of them] {be} [neither {x} nor {y}|{z}]?",
        ", the [rest|others] {be} {z}. How many[| {whole}] {be} {z}?")), n=n, p=p, q=q, x=x, y=y, z=z, **given)  # fmt: skip
    rest = story.work_out(f"That leaves {{}} {whole}.", total, "-", p)
    story.work_out(f"That leaves {{}} {whole}.", rest, "-", q)


def _states(noun: str) -> list[str]:
    """Words for how some of these things are, and the others are not."""
    return LIVING_ARE if noun in ANIMALS or noun in PEOPLE or noun in BIRDS else THINGS_ARE


def _half_or_more(story: Story, n: int, given: dict[str, str]) -> None:
    """A fraction of a whole, or how many more there are of one kind than of another."""
    rng = story.rng
    if rng.random() < 0.5:
        k, name = rng.choice(((2, "half"), (2, "half"), (3, "a third"), (4, "a quarter")))
        n = k * rng.randint(2, min(30, story.largest // k))
        x = rng.choice(_states(given["one"]))
        story.say(
            "[There {be} {n} {one} {where}. {name} of [them|the {one}] {be} {x}|{name} of the {n} {one} {where} {be} {x}|Of {n} {one} {name} {be} {x}]. "
            "How many[| {one}] {be} {x}?",
            n=n, name=name, x=x, **given,
        )  # fmt: skip
        story.work_out(f"That is {{}} {given['one']}.", n, "÷", k)
        return
    m = part(story, n)
    if rng.random() < 0.5:
        story.say(
            "[There {be} {n} {one} and {m} {other} {where}|A shop has {n} {one} and {m} {other}|{where} there {be} {n} {one} and {m} {other}].",
            n=n,
            m=m,
            **given,
        )
    else:
        story.say(
            "[There {be} {m} {other} and {n} {one} {where}|A shop has {m} {other} and {n} {one}|{where} there {be} {m} {other} and {n} {one}].",
            n=n,
            m=m,
            **given,
        )
    story.say("How many more {one} than {other} [are there|are there|does that make]?", **given)
    story.work_out(f"The difference is {{}} {given['one']}.", n, "-", m)


def comparison(story: Story) -> None:
    """Two to four people, each with more, fewer or times as many as the one before."""
    rng = story.rng
    story.past = rng.random() < 0.5
    verb = story_verb = rng.choice(
        "have have find pick collect catch make buy sell win bake plant count get read score draw gather".split()
    )
    t = things(story, DONE_TO.get(verb, THINGS))
    people = [named(rng, story.new) for _ in range(4)]
    if len({person.name for person in people}) < 4:
        raise OutOfRange
    does_ = "did" if story.past else "does"
    first = people[0]
    if story.length <= 3 and rng.random() < 0.35:
        _together(story, verb, [person.name for person in people], t)
        return
    if story.length == 1 and rng.random() < 0.4:
        n = amount(story)
        m = part(story, n)
        second = people[1]
        pair = [(first.name, n), (second.name, m)]
        rng.shuffle(pair)
        story.say(f"{{a}} <{verb}:3> {{n}} {{t}}[ and|, while|.] {{b}} <{verb}:3> {{m}}[| {{t}}].".replace("[ and|, while|.]", rng.choice((" and", ", and", ", but"))),
                  a=pair[0][0], n=pair[0][1], b=pair[1][0], m=pair[1][1], t=t)  # fmt: skip
        story.say(
            f"How many more[| {{t}}] {does_} {{a}} {verb} than {{b}}?"
            if rng.random() < 0.8
            else "What is the difference?",
            a=first.name,
            b=second.name,
            t=t,
        )
        story.work_out(f"The difference is {{}} {t}.", n, "-", m)
        return
    n = few(story) if rng.random() < 0.4 else amount(story)
    story.say(f"{{a}} <{verb}:3> {{n}} {{t}}.", a=first.name, n=n, t=t)
    amounts: list[Number] = [n]
    ask_total = story.length >= 2 and (story.length % 2 == 0 or rng.random() < 0.6)
    # a chain of c comparisons and then a sum of all takes 2c steps; with a change at the end one more
    count = story.length // 2 if ask_total else story.length
    if count > 3:
        raise OutOfRange
    for i in range(count):
        amounts.append(_compared(story, verb, people[i], people[i + 1], t, amounts[-1], people[0]))
        if rng.random() < 0.3:
            last_said = story.sentences.pop()
            story.sentences[-1] = (
                story.sentences[-1].removesuffix(".") + rng.choice((" and ", ", and ", ", ")) + last_said
            )
    last = people[count]
    if not ask_total:
        story.say(f"How many[| {{t}}] {does_} {{a}} {story_verb}?", a=last.name, t=t)
        return
    total = amounts[0]
    for other in amounts[1:]:
        total = story.work_out(f"Together that is {{}} {t}.", total, "+", other)
    if story.left:
        gone = part(story, total)
        story.say("They [mix them|pool them|pool all {t}] and [eat|use|sell|lose|give away|break] {g}[| of them]. How many[| {t}] [are left|do "
                  "they have left|remain|do they still have]?" if rng.random() < 0.6 else "[Together they|They] [sell|lose|eat|give away|use] {g} [of them|of the {t}|{t}]."
                  " How many[| {t}] [are left|do they have left|remain]?", g=gone, t=t)  # fmt: skip
        story.work_out(f"That leaves {{}} {t}.", total, "-", gone)
        return
    story.say(
        f"How many[| {{t}}] {'did' if story.past else 'do'} [they {verb} together|they {verb} in all|they {verb} altogether|they {verb}|"
        f"{'both' if count == 1 else 'all'} of them {verb}|{{a}} and {{b}} {verb} together]?" if count == 1 else
        f"How many[| {{t}}] {'did' if story.past else 'do'} [they {verb} together|they {verb} in all|they all {verb}|all {('two', 'three', 'four')[count - 1]} {verb}]?",
        a=first.name, b=last.name, t=t,
    )  # fmt: skip


def _together(story: Story, verb: str, names: list[str], t: str) -> None:
    """Two or three people with their numbers, what they have together, and what is left of it."""
    rng, n = story.rng, amount(story)
    m = extra(story, n)
    given: dict[str, object] = {"a": names[0], "b": names[1], "c": names[2], "n": n, "m": m, "t": t}
    group = "[they|{a} and {b}|both|the two]"
    link = rng.choice((" and", ", and", "."))
    total = story.work_out(f"Together that is {{}} {t}.", n, "+", m)
    if story.left and rng.random() < 0.5:
        k = extra(story, total)
        story.say(f"{{a}} <{verb}:3> {{n}} {{t}}, {{b}} <{verb}:3> {{m}}[| {{t}}] and {{c}} <{verb}:3> {{k}}[| {{t}}]." if rng.random() < 0.5 else
                  f"{{a}} <{verb}:3> {{n}} {{t}}, {{b}} {{m}} and {{c}} {{k}}.", k=k, **given)  # fmt: skip
        total = story.work_out(f"Together that is {{}} {t}.", total, "+", k)
        group = "[they|they all|all three]"
    else:
        story.say(f"{{a}} <{verb}:3> {{n}} {{t}}{link} {{b}} <{verb}:3> {{m}}[| {{t}}].", **given)
    if story.left:
        if rng.random() < 0.3:
            k = divisor(story, total)
            story.say(
                "They [put|pack|sort] [all of them|them all|all {t}] [in|into] {k} {packs}[|, the same number in each]. How many[| {t}] are in each?",
                k=k,
                t=t,
                packs=rng.choice(PACKS),
            )
            story.work_out(f"Each gets {{}} {t}.", total, "÷", k)
        else:
            gone = part(story, total)
            story.say(
                "Together they [lose|sell|use|give away|break] {g}[| of them]. How many[| {t}] [are left|do they have left|remain|are there then]?",
                g=gone,
                t=t,
            )
            story.work_out(f"That leaves {{}} {t}.", total, "-", gone)
        if story.left:
            raise OutOfRange
        return
    do = "did" if story.past else "do"
    story.say(f"How many[| {{t}}] {do} {group} {verb} [together|in all|altogether|in total]?" if rng.random() < 0.8 else
              "How many[| {t}] [is that in all|is that together|is that|are there together]?", **given)  # fmt: skip


def _compared(story: Story, verb: str, one, other, t: str, amount_: Number, first) -> Quantity:  # type: ignore[no-untyped-def]
    rng = story.rng
    kind = rng.choice(("more", "more", "fewer", "fewer", "times", "half"))
    sentence = f"{other.name} {conjugated(verb, '3', story.past)} {{}} {t}."
    start = f"{{b}} <{verb}:3>"
    than = "[than {a}|than {a}|than {he2}|than {a} <do:3>|than {he2} <do:3>]"
    given = {"a": one.name, "b": other.name, "he2": one.him, "t": t}
    given["he2"] = one.he
    if kind == "times":
        k = rng.choice((2, 2, 3, 3, 4, few(story)))
        times = rng.choice(("twice", "twice", "2 times", "two times")) if k == 2 else f"{as_word(story, k)} times"
        story.say(start + " {times} as many[| {t}][| as {a}| as {a}].", times=times, **given)
        return story.work_out(sentence, k, "×", amount_)
    if kind == "half":
        if value_of(amount_) % 2 or rng.random() < 0.5:
            raise OutOfRange
        story.say(start + " half as many[| {t}][| as {a}].", **given)
        return story.work_out(sentence, amount_, "÷", 2)
    if kind == "more":
        n = extra(story, amount_)
        story.say(
            start + " [{n} more {t} " + than + "|{n} more " + than + "|{n} more|{n} {t} more " + than + "].",
            n=n,
            **given,
        )
        return story.work_out(sentence, amount_, "+", n)
    n = part(story, amount_)
    story.say(
        start + " [{n} fewer {t} " + than + "|{n} fewer " + than + "|{n} fewer|{n} {t} fewer " + than + "].",
        n=n,
        **given,
    )
    return story.work_out(sentence, amount_, "-", n, fewer=True)


def repeated(story: Story) -> None:
    """The same number again and again: a day, a pack, a leg, a row; or one number shared out."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), rng.random() < 0.5
    k, m = groups(story)
    t = things(story)
    where = rng.choice("hall school house garden room shop theater box field album museum park bus ship farm".split())
    packs = invented(rng) + "s" if rng.random() < 2 * story.new else rng.choice((*PACKS, *THINGS, *ANIMALS, *"rows tables rooms houses nests pages teams shelves floors "
            "weeks cages benches vans walls children people boys girls students".split()))  # fmt: skip
    one = singular(packs)
    if t == packs:
        raise OutOfRange
    given = {
        "k": as_word(story, k),
        "kk": k,
        "m": m,
        "n": k * m,
        "t": t,
        "packs": packs,
        "pack": one,
        "apack": a(one),
        "where": where,
    }
    fits = (("legs", 8, "spider"), ("legs", 4, "dog"), ("legs", 4, "chair"), ("legs", 6, "ant"), ("legs", 6, "beetle"), ("wheels", 4, "car"),
            ("wheels", 3, "tricycle"), ("wheels", 2, "bike"), ("arms", 8, "octopus"), ("wings", 2, "bird"), ("days", 7, "week"), ("strings", 6, "guitar"),
            ("sides", 3, "triangle"), ("corners", 4, "square"), ("fingers", 5, "hand"), ("months", 12, "year"), ("legs", 4, "table"), ("eggs", 12, "carton"),
            ("players", 11, "team"), ("eyes", 2, "cat"), ("shoes", 2, "pair"), ("petals", 5, "flower"), ("points", 5, "star"), ("hours", 24, "day"))  # fmt: skip
    draw = rng.random()
    if draw < 0.1:
        t, m, one = rng.choice(fits)
        packs = one + ("es" if one.endswith("s") else "s")
        given |= {
            "t": t,
            "m": m,
            "pack": one,
            "apack": a(one),
            "packs": packs if one != "octopus" else "octopuses",
            "kk": k,
        }
        story.say("{apack} has {m} {t}. [How many {t} do {k} {packs} have?|How many {t} are there on {k} {packs}?|How many {t} have {k} {packs}?|How many {t} is "
                  "that for {k} {packs}?]" if rng.random() < 0.8 else "[Every|Each] {pack} has {m} {t}. How many {t} do {k} {packs} have[| together| in all]?", **given)  # fmt: skip
        story.work_out(f"That is {{}} {t}.", k, "×", m)
        if story.left:
            raise OutOfRange
        return
    if draw < 0.42 and story.left == 1:
        story.say(rng.choice((
            "{apack} [has|holds|contains] {m} {t}. How many {t} [do {k} {packs} have|do {k} {packs} hold|are in {k} {packs}|are there in {k} {packs}]?",
            "[Each|Every] {pack} [has|holds|contains] {m} {t}. How many {t} [do {k} {packs} have|are in {k} {packs}|are there in {k} {packs}]?",
            "The {where} has {k} [rows|lines] of {m} {t}. How many {t} [are there|does the {where} have|is that|are in the {where}]?",
            "There are {k} {packs} [in the {where} |in a {where} |]with {m} {t} each. How many {t} [are there|are there in all|is that]?",
            "There are {m} {t} in [each|every|one] {pack}. How many {t} are [there |]in {k} {packs}?",
            "{F} <have> {k} {packs} [with {m} {t} each|of {m} {t}|with {m} {t} in each]. How many {t} [<do> {he} have|<do> {S} have|is that|are there in all]?",
            "{k} {packs} [have|get|hold] {m} {t} each. How many {t} [is that|are there|do they have together|is that in all]?",
            "{F} [<put>|<stack>|<lay>|<plant>] {k} rows of {m} {t}. How many {t} [are there|is that|<do> {he} need]?",
            "How many {t} are [there |]in {k} {packs} [with {m} each|of {m} {t} each|if each has {m}|with {m} {t} each]?",
            "{F} [<give>|<hand>] {m} {t} to each of {k} [friends|children|people|guests]. How many {t} [<do> {he} give away|is that|<do> {he} need]?",
        )), **given)  # fmt: skip
        story.work_out(f"That is {{}} {t}.", k, "×", m)
        return
    if draw < 0.65 and story.left <= 2:
        group = rng.choice(
            "children friends people kids students guests families monkeys dogs girls boys teams classes players cousins workers".split()
        )
        given |= {"group": group, "member": singular(group)}
        if rng.random() < 0.65:
            story.say(rng.choice((
                "{F} [<share>|<divide>|<split>] {n} {t} [equally |evenly |fairly |][among|between] {k} {group}. How many {t} [does each {member} get|does each get|does "
                "every {member} get|is that for each|are there for each]?",
                "{k} {group} share {n} {t}[| equally| evenly| fairly]. How many {t} [does each get|does each {member} get|are there for each {member}|does every {member} get|does each "
                "of them get]?",
                "{n} {t} are [shared|divided|split] [equally |evenly |fairly |][among|between] {k} {group}. How many[| {t}] does each[| {member}| one] get?",
                "{F} <have> {n} {t} for {k} {group}. [Each|Every] {member} gets the same number. How many {t} [does each {member} get|is that each|does each get]?",
                "{F} [<give>|<hand>] {n} {t} to {k} {group}, the same number to each. How many[| {t}] does each[| {member}] get?",
                "[If|When] {k} {group} share {n} {t}[| equally], how many[| {t}] does each[| {member}| one] get?",
                "{F} [<put>|<pack>|<sort>|<place>] {n} {t} [equally |evenly |]into {k} {packs}. How many {t} are in each[| {pack}]?",
                "There are {n} {t} in {k} {packs}, the same number in each. How many {t} are in [one|each] {pack}?",
            )), **given)  # fmt: skip
            got = story.work_out(f"Each gets {{}} {t}.", k * m, "÷", k)
            if story.left:
                g, word = part(story, got), rng.choice(("eat", "lose", "give away", "use", "sell"))
                member = singular(group)
                last = story.sentences.pop()
                story.sentences.append(re_question(last))
                story.say("One [{member}|of them] <{v}:3> {g}[| of them| {t}]. How many[| {t}] does [he|she|that {member}] have [left|now]?".replace("{v}", word.split()[0])
                          .replace("{g}", "{g} away" if " " in word else "{g}").replace("{g} away[| of them| {t}]", "{g} away"), g=g, member=member, t=t)  # fmt: skip
                story.work_out(f"That leaves {{}} {t}.", got, "-", g)
            return
        story.say(rng.choice((
            "{F} [<pack>|<put>|<place>] {n} {t} [in|into] {packs} of {m}. How many {packs} [<do> {he} need|<do> {he} fill|are there|is that|are needed]?",
            "{n} {t} are [put|packed|sorted] into {packs} [of {m}|with {m} in each]. How many {packs} are [there|needed|that|filled]?",
            "{F} <have> {n} {t}. {he} [<put>|<pack>] {m} [|of them |{t} ]in each {pack}. How many {packs} [<do> {he} need|<do> {he} fill|are there|does that make]?",
            "{apack} holds {m} {t}. How many {packs} are [needed|there] for {n} {t}?",
            "[Each|Every] {pack} [gets|holds|has] {m} {t}. There are {n} {t}. How many {packs} are there?",
        )), **given)  # fmt: skip
        got = story.work_out(f"That is {{}} {packs}.", k * m, "÷", m)
        if story.left:
            raise OutOfRange
        return
    if story.left < 2:
        raise OutOfRange
    given["time"] = rng.choice(("day", "day", "week", "hour", "month"))
    if story.left == 3 and rng.random() < 0.4:
        _two_kinds(story, t, given)
        return
    # so many a day, and then something more
    now: Number
    story.say(rng.choice((
        "{F} [<find>|<make>|<read>|<buy>|<sell>|<pick>|<collect>|<bake>|<write>|<get>|<paint>|<need>|<count>] {m} {t} [a|every|each|per] day for {k} days.",
        "For {k} {time}s, {S} [<find>|<make>|<buy>|<pick>|<collect>|<draw>|<get>] {m} {t} [each|every] {time}.",
        "{F} [<plant>|<lay>|<put>|<set>] {k} [rows|lines] [with|of] {m} {t}[| each].",
        "{k} {packs} have {m} {t} each.", "There are {k} {packs} with {m} {t} each.",
    )), **given)  # fmt: skip
    now = story.work_out(f"That is {{}} {t}.", k, "×", m)
    while story.left:
        if rng.random() < 0.5:
            n = extra(story, now)
            story.say(rng.choice(("[Then|Later|After that|On the last day|On {day}] {n} [more|more {t}|{t}] are added.", "{he} [<get>|<find>|<make>|<buy>] {n} [more|more {t}] [on {day}|later|after that|].",
                                  "There are {n} [more|more {t}|other {t}] [in the {where}|outside|on the floor].")), n=n, day=rng.choice(DAYS), **{k_: v for k_, v in given.items() if k_ not in ("n",)})  # fmt: skip
            now = story.work_out(f"That makes {{}} {t}.", now, "+", n)
        else:
            n = part(story, now)
            story.say(rng.choice(("[Then|Later|After that|] {n} [|of them |{t} ]are [taken away|lost|sold|broken|thrown away|given away|bad].", "{he} [<lose>|<sell>|<use>|<give>|<take>] {n} [of them|{t}] [away|on {day}|later|].",
                                  "{n} of [them|the {t}] [break|get lost|are missing|disappear].")), n=n, day=rng.choice(DAYS), **{k_: v for k_, v in given.items() if k_ not in ("n",)})  # fmt: skip
            now = story.work_out(f"That leaves {{}} {t}.", now, "-", n)
    story.say("How many {t} [are there|are there now|are there in the end|is that|is that in all|are there in all]?" if story.steps[-1].operation == "+" else
              "How many {t} are [left|there|there now|left over|left in the end]?", t=t)  # fmt: skip


def _two_kinds(story: Story, t: str, given: dict[str, object]) -> None:
    """Packs of two sizes."""
    (k, m), (k2, m2) = groups(story), groups(story)
    other = story.rng.choice(PACKS)
    if other == given["packs"]:
        raise OutOfRange
    story.say("[There are|{F} <have>|{F} [<buy>|<fill>|<get>]] {k} {packs} [with|of] {m} {t}[| each] and {k2} {other} [with|of] {m2} {t}[| each]. How many {t} [are there|is that|are there in all|"
              "is that altogether]?".replace("{F} [<buy>|<fill>|<get>]", "{F} <fill>"), **{**given, "k": k, "m": m}, k2=k2, m2=m2, other=other)  # fmt: skip
    one = story.work_out(f"The {given['packs']} have {{}} {t}.", k, "×", m)
    two = story.work_out(f"The {other} have {{}} {t}.", k2, "×", m2)
    story.work_out(f"Together that is {{}} {t}.", one, "+", two)


def re_question(text: str) -> str:
    """The text without its last sentence."""
    cut = max(text.rfind(". "), text.rfind(", how"))
    if cut < 0:
        raise OutOfRange
    return (
        text[:cut].rstrip(",.").removeprefix("When ").removeprefix("If ").strip().capitalize() + "."
        if text.startswith(("When ", "If "))
        else text[:cut] + "."
    )


def before(story: Story) -> None:
    """What there was at first, or what has changed, when the end is known."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), True
    t = things(story)
    n = amount(story)
    friend = named(rng, story.new).name
    does_ = f"did {rng.choice((story.who.name, story.who.he))}"
    draw = rng.random()
    given = {"t": t, "friend": friend, "does": does_, "now": "do" if story.who.person in "1p" else "does"}
    if story.length == 1:
        if draw < 0.35:
            m = part(story, n)
            story.say("{F} <have> {n} {t}. [Now {he} <havenow> {m}|Now {m} are left|Now there are {m}|In the evening {he} <have> {m} left|{he} [<give>|<sell>|<lose>] some and <have> {m} left]. "
                      "How many[| {t}] [are gone|{does} lose|{does} use|{does} give away|are missing]?".replace("<havenow>", "have" if story.who.person in "1p" else "has"), n=n, m=m, **given)  # fmt: skip
            story.work_out(f"That leaves {{}} {t}.", n, "-", m)
        elif draw < 0.65:
            m = extra(story, n)
            story.say(
                "{F} [<give>|<sell>|<lose>|<use>|<eat>] {n} {t} [and|. Then {he}] <have> {m} left. How many[| {t}] {does} have [at first|before|in the beginning|to begin with]?",
                n=n,
                m=m,
                **given,
            )
            story.work_out(f"At first that was {{}} {t}.", m, "+", n)
        else:
            m = part(story, n)
            story.say(rng.choice((
                "{F} <need:x> {n} {t} and has {m}. How many more[| {t}] {nd} {he} need?", "{F} has {m} {t} and wants {n}. How many more[| {t}] {nd} {he} need?",
                "{F} <have> {m} {t}. [After {his} birthday|After a trip|Later] {he} <have> {n}. How many[| {t}] {does} get?",
                "There are {n} {t} in the {where} and {m} are [ready|done|finished|painted|counted]. How many [are not|still have to be {done}|are left to do]?",
            )).replace("<need:x>", "needs" if story.who.person == "3" else "need").replace(" has {m}", " has {m}" if story.who.person == "3" else " have {m}").replace(
                " wants", " wants" if story.who.person == "3" else " want"), n=n, m=m, nd=given["now"], done="done", where=rng.choice(("room", "shop", "book", "list", "hall")), **given)  # fmt: skip
            story.work_out(f"That leaves {{}} {t}.", n, "-", m)
        return
    if story.length == 2:
        m = extra(story, n)
        k = extra(story, n + m)
        story.say("{F} [<give>|<sell>|<lend>] {n} {t} to {friend} and {m} to {friend2}. [Now {k} are left|{he} <have> {k} left]. How many[| {t}] {does} have [at first|before|in the beginning]?",
                  n=n, m=m, k=k, friend2=named(rng, story.new).name, **given)  # fmt: skip
        both = story.work_out(f"Together that is {{}} {t}.", n, "+", m)
        story.work_out(f"At first that was {{}} {t}.", both, "+", k)
        return
    raise OutOfRange


def relative(story: Story) -> tuple[str, str]:
    """Somebody's relative, with its pronoun."""
    word = story.rng.choice(RELATIVES)
    return word, "she" if word in SHE_RELATIVES else "he"
