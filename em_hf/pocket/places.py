"""Stories of places that fill and empty."""

from em_hf.pocket.choices import Number, amount, as_word, extra, groups, part, things
from em_hf.pocket.steps import Story
from em_hf.pocket.telling import conjugated
from em_hf.pocket.words import (
    ANIMALS,
    AT,
    BIRDS,
    DAYS,
    ON,
    PEOPLE,
    PLANTS,
    SWIMMERS,
    THINGS,
    VEHICLES,
    a,
    invented,
    singular,
)

# Places, who or what is there, how these come, and how they go.
PLACES: tuple[tuple[str, list[str], str, str], ...] = (
    (
        "bus|train|tram|boat|ship|plane|ferry|subway|van|coach",
        PEOPLE,
        "get on|board|hop on|climb on|enter",
        "get off|leave|hop off|get out",
    ),
    (
        "library|museum|cinema|pool|hall|shop|store|room|class|cafe|restaurant|theater|gym|church|office|school|hotel|"
        "bank|club|"
        "tent|market|zoo|line|kitchen|concert|party|hospital|waiting room",
        PEOPLE,
        "come in|arrive|enter|walk in|join them|come|come back|join|show up",
        "leave|go home|walk out|go away|go out|go to bed|have to go|go",
    ),
    (
        "park|garden|playground|street|beach|square|camp|yard",
        PEOPLE,
        "arrive|come|join them|come back|come to play",
        "leave|go home|walk away|run away|go to eat",
    ),
    (
        "tree|roof|wire|fence|field|branch|wall|park|nest|cage|bush",
        BIRDS,
        "fly in|land|join them|come back|arrive|come|fly over",
        "fly away|leave|fly off|take off|fly south",
    ),
    (
        "pond|lake|sea|bay|river|tank|aquarium|pool|harbor|stream",
        SWIMMERS,
        "swim in|come|arrive|come back|join them|are added|are born",
        "swim away|leave|dive down|are caught|swim off|are taken out|go to sleep",
    ),
    (
        "barn|field|farm|zoo|meadow|stable|pen|forest|shelter|yard|cage|garden|village|valley|house",
        ANIMALS,
        "come in|arrive|walk in|are bought|are born|come back|are added|come|join them",
        "run away|leave|walk out|are sold|escape|go out|hide|fall asleep|die|are adopted|wander off",
    ),
    (
        "lot|garage|street|harbor|parking lot|station|yard|port",
        VEHICLES,
        "arrive|come|drive in|come back|park there|pull in|come in",
        "leave|drive away|go|are towed|pull out",
    ),
    (
        "shop|store|shelf|library|warehouse|kitchen|drawer|market|box|cupboard|room|fridge|bag|table|factory|truck|"
        "basket|jar|pile",
        THINGS,
        "are delivered|are added|are brought|arrive|are put in|are returned|are put back|are made|are found",
        "are sold|are taken|are used|are removed|are borrowed|are lost|are taken out|are broken|are thrown away|fall "
        "down|"
        "are lent out|disappear|are needed|are bought|are moved|are stolen",
    ),
    (
        "garden|park|field|yard|greenhouse|forest|bed|pot",
        PLANTS,
        "are planted|grow|are added|come up|sprout|bloom",
        "die|are cut|are cut down|are dug up|are sold|wither|fall|are picked|freeze",
    ),
)
WHEN = (
    "[||||Then |Later |After that |At noon |An hour later |In the evening |On {day} |Soon |Next |At the next stop |"
    "After a while "
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
    article = rng.choice(("the", a(where).split()[0]))
    given = {"t": t, "where": where, "awhere": a(where), "at": at, "spot": f"{at} {article} {where}"}
    given["be"] = conjugated("be", "p", story.past)
    now = _beginning(story, given)
    while story.left:
        both = story.left >= 2 and rng.random() < 0.3
        first_goes = rng.random() < 0.55
        moves = [first_goes, not first_goes] if both else [first_goes]
        facts: dict[str, object] = {"day": rng.choice(DAYS), **given}
        for i, goes in enumerate(moves):
            n = part(story, now) if goes else extra(story, now)
            sentence = f"That {'leaves' if goes else 'makes'} {{}} {t}."
            now = story.work_out(sentence, now, "-" if goes else "+", n)
            facts |= {f"n{i}": n, f"do{i}": _happen(story, go if goes else come)}
        if not both and first_goes:
            story.say(WHEN + "{n0} [{t} |of them |of the {t} ||]{do0}.", **facts)
        elif not both:
            story.say(
                WHEN
                + "[{n0} {t}|{n0} more|{n0} more {t}|another {n0}|another {n0} {t}|{n0}|{n0} new {t}|{n0} new ones] "
                "{do0}.",
                **facts,
            )
        elif first_goes:
            story.say(
                WHEN + "{n0}[| {t}| of them] {do0} and {n1} [|more |new ones |others |new {t} |{t} ]{do1}.", **facts
            )
        else:
            story.say(
                WHEN + "{n0}[| more| new ones| {t}| more {t}] {do0} and {n1}[| of them| {t}| others] {do1}.", **facts
            )
    _question(story, given)


def _happen(story: Story, phrases: str) -> str:
    verb, _, rest = story.rng.choice(phrases.split("|")).partition(" ")
    return f"{conjugated('be' if verb == 'are' else verb, 'p', story.past)} {rest}".strip()


def _beginning(story: Story, given: dict[str, str]) -> Number:
    rng, t = story.rng, given["t"]
    if story.left > 1 and rng.random() < 0.2:
        k, m = groups(story)
        story.say(
            "[There {be} {k} {rows} of {m} {t} {spot}|{spot} there {be} {k} {rows} [with {m} {t} each|with {m} {t} in "
            "each|of {m} "
            "{t}]|{awhere} <have:3> {k} {rows} with {m} {t} [in each|each]|The {where} <have:3> {k} {rows} of {m} "
            "{t}].",
            k=as_word(story, k),
            m=m,
            rows=rng.choice("rows lines groups rooms corners rows beds nests shelves cages".split()),
            **given,
        )
        return story.work_out(f"That is {{}} {t}.", k, "×", m)
    n = amount(story)
    if story.left > 1 and rng.random() < 0.12:
        m = extra(story, n)
        one, other = rng.choice((("left", "right"), ("upper", "lower"), ("big", "small"), ("old", "new")))
        room = singular(rng.choice("rows rooms corners halls beds nests shelves cages".split()))
        story.say(
            "[There {be} {n} {t} in the {one} {room} and {m} in the {other} {room}|In one {where} there {be} {n} {t}, "
            "in another {m}|"
            "The {one} {room} of the {where} <have:3> {n} {t} and the {other} {room} <have:3> {m}].",
            n=n,
            m=m,
            one=one,
            other=other,
            room=room,
            **given,
        )
        return story.work_out(f"Together that is {{}} {t}.", n, "+", m)
    story.say(
        "[There {be} {n} {t} {spot}|There {be} {n} {t} {spot}|{spot} there {be} {n} {t}|{awhere} <have:3> {n} {t}|{n} "
        "{t} {be} "
        "{spot}|In the morning there {be} {n} {t} {spot}].",
        n=n,
        **given,
    )
    return n


def _question(story: Story, given: dict[str, str]) -> None:
    less = story.steps[-1].operation == "-"
    there = f"{given['at']} the {given['where']}"
    still, left = ("still |", "left|") if less else ("", "in all|")
    story.say(
        f"How many {{t}} are [|{still}now ]{there}?",
        f"How many {{t}} are {there} [now|then|at the end]?",
        f"How many {{t}} are [there|there now|{left}there then|there in the end]?",
        f"How many {{t}} {{be}} {there} [then|in the end|after that]?",
        f"How many are [there now|{left}there]?",
        "How many {t} [does|<do:3>] the {where} have[| now| then]?",
        **given,
    )
