"""Stories of things that come in equal lots or are dealt out, and of what there was before."""

from em_hf.pocket.choices import Number, amount, as_word, does, extra, groups, named_new, part, share, things
from em_hf.pocket.steps import OutOfRange, Story
from em_hf.pocket.telling import someone
from em_hf.pocket.words import ANIMALS, DAYS, PACKS, THINGS, a, invented, plural, singular

FITTED = (
    ("legs", 8, "spider"), ("legs", 4, "dog"), ("legs", 4, "chair"), ("legs", 6, "ant"), ("legs", 6, "beetle"),
    ("wheels", 4, "car"), ("wheels", 3, "tricycle"), ("wheels", 2, "bike"), ("arms", 8, "squid"),
    ("wings", 2, "bird"), ("days", 7, "week"), ("strings", 6, "guitar"), ("sides", 3, "triangle"),
    ("corners", 4, "square"), ("fingers", 5, "hand"), ("months", 12, "year"), ("legs", 4, "table"),
    ("eggs", 12, "carton"), ("players", 11, "team"), ("eyes", 2, "cat"), ("shoes", 2, "pair"),
    ("petals", 5, "flower"), ("points", 5, "star"), ("hours", 24, "day"),
)  # fmt: skip
HOLDERS = (
    "rows tables rooms houses nests pages teams shelves floors weeks cages benches vans walls children boys girls"
).split()
HALLS = "hall school house garden room shop theater box field album museum park bus ship farm".split()
SHARERS = (
    "children friends people kids students guests families monkeys dogs girls boys teams classes players "
    "cousins workers"
).split()


def repeated(story: Story) -> None:
    """The same number again and again, or one number dealt out."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), rng.random() < 0.5
    t = things(story)
    packs = plural(invented(rng)) if rng.random() < 2 * story.new else rng.choice((*PACKS, *THINGS, *ANIMALS, *HOLDERS))
    if t == packs:
        raise OutOfRange
    given = {"t": t, "packs": packs, "pack": singular(packs), "apack": a(singular(packs)), "where": rng.choice(HALLS)}
    if story.left == 1:
        rng.choices((_fitted, _lots, _dealt, _packed), (10, 35, 20, 15))[0](story, given)
    elif story.left == 2 and rng.random() < 0.25:
        _dealt(story, given)
    elif story.left == 3 and rng.random() < 0.4:
        _two_kinds(story, given)
    else:
        _and_then(story, given)


def _fitted(story: Story, given: dict[str, str]) -> None:
    k = story.rng.randint(2, 12)
    t, m, one = story.rng.choice(FITTED)
    if k * m > story.largest:
        raise OutOfRange
    story.say(
        "[{one}|Every {pack}|Each {pack}] has {m} {t}. How many {t} [do {k} {packs} have|are there on {k} {packs}|is "
        "that for {k} "
        "{packs}|have {k} {packs}|do {k} {packs} have together]?",
        one=a(one),
        pack=one,
        packs=plural(one),
        m=m,
        t=t,
        k=as_word(story, k),
    )
    story.work_out(f"That is {{}} {t}.", k, "×", m)


def _lots(story: Story, given: dict[str, str]) -> None:
    k, m = groups(story)
    story.say(
        "[{apack}|Each {pack}|Every {pack}] [has|holds|contains] {m} {t}. How many {t} [do {k} {packs} have|do {k} "
        "{packs} hold|are in "
        "{k} {packs}|are there in {k} {packs}]?",
        "The {where} has {k} [rows|lines] of {m} {t}. How many {t} [are there|does the {where} have|is that|are in "
        "the {where}]?",
        "There are {k} {packs} [in the {where} |in a {where} |]with {m} {t} each. How many {t} [are there|are there "
        "in all|is that]?",
        "There are {m} {t} in [each|every|one] {pack}. How many {t} are [there |]in {k} {packs}?",
        "{F} <have> {k} {packs} [with {m} {t} each|of {m} {t}|with {m} {t} in each]. How many {t} [<do> {he} have|"
        "<do> {S} have|is "
        "that|are there in all]?",
        "{k} {packs} [have|get|hold] {m} {t} each. How many {t} [is that|are there|do they have together|is that in "
        "all]?",
        "{F} [<put>|<stack>|<lay>|<plant>] {k} rows of {m} {t}. How many {t} [are there|is that|<do> {he} need]?",
        "How many {t} are [there |]in {k} {packs} [with {m} each|of {m} {t} each|if each has {m}|with {m} {t} each]?",
        "{F} [<give>|<hand>] {m} {t} to each of {k} [friends|children|people|guests]. How many {t} [<do> {he} give "
        "away|is that|<do> "
        "{he} need]?",
        k=as_word(story, k),
        m=m,
        **given,
    )
    story.work_out(f"That is {{}} {given['t']}.", k, "×", m)


def _dealt(story: Story, given: dict[str, str]) -> None:
    rng, (k, n) = story.rng, share(story)
    group = rng.choice(SHARERS)
    facts: dict[str, object] = {"k": as_word(story, k), "n": n, "group": group, "member": singular(group), **given}
    got = story.work_out(f"Each gets {{}} {given['t']}.", n, "÷", k)
    told = rng.choice(
        (
            "{F} [<share>|<divide>|<split>] {n} {t} [equally |evenly |fairly |][among|between] {k} {group}",
            "{k} {group} share {n} {t}[| equally| evenly| fairly]",
            "{n} {t} are [shared|divided|split] [equally |evenly |fairly |][among|between] {k} {group}",
            "{F} <have> {n} {t} for {k} {group}. [Each|Every] {member} gets the same number",
            "{F} [<give>|<hand>] {n} {t} to {k} {group}, the same number to each",
        )
    )
    if story.left:
        g = part(story, got)
        story.say(f"{told}. One [{{member}}|of them] [<eat:3> {{g}}|<lose:3> {{g}}|<sell:3> {{g}}|<give:3> {{g}} "
                  f"away][| {{t}}]. How many[| {{t}}] does [he|she|that "
                  "{member}] have [left|now]?", g=g, **facts)  # fmt: skip
        story.work_out(f"That leaves {{}} {given['t']}.", got, "-", g)
        return
    story.say(
        f"{told}. How many {{t}} [does each {{member}} get|does each get|does every {{member}} get|is that for each|"
        f"are there for each|"
        "does each one get|does each of them get]?",
        "[If|When] {k} {group} share {n} {t}[| equally], how many[| {t}] does each[| {member}| one] get?",
        "{F} [<put>|<pack>|<sort>|<place>] {n} {t} [equally |evenly |]into {k} {packs}. How many {t} are in each[| "
        "{pack}]?",
        "There are {n} {t} in {k} {packs}, the same number in each. How many {t} are in [one|each] {pack}?",
        **facts,
    )


def _packed(story: Story, given: dict[str, str]) -> None:
    k, m = groups(story)
    story.say(
        "{F} [<pack>|<put>|<place>] {n} {t} [in|into] {packs} of {m}. How many {packs} [<do> {he} need|<do> {he} fill|"
        "are there|is that|"
        "are needed]?",
        "{n} {t} are [put|packed|sorted] into {packs} [of {m}|with {m} in each]. How many {packs} are [there|needed|"
        "that|filled]?",
        "{F} <have> {n} {t}. {he} [<put>|<pack>] {m} [|of them |{t} ]in each {pack}. How many {packs} [<do> {he} need|"
        "<do> {he} fill|are "
        "there|does that make]?",
        "{apack} holds {m} {t}. How many {packs} are [needed|there] for {n} {t}?",
        "[Each|Every] {pack} [gets|holds|has] {m} {t}. There are {n} {t}. How many {packs} are there?",
        n=k * m,
        m=m,
        **given,
    )
    story.work_out(f"That is {{}} {given['packs']}.", k * m, "÷", m)


def _two_kinds(story: Story, given: dict[str, str]) -> None:
    (k, m), (k2, m2) = groups(story), groups(story)
    other = story.rng.choice(PACKS)
    if other == given["packs"]:
        raise OutOfRange
    story.say(
        "[There are|{F} <have>|{F} [<buy>|<fill>|<get>]] {k} {packs} [with|of] {m} {t}[| each] and {k2} {other} [with|"
        "of] {m2} {t}[| "
        "each]. How many {t} [are there|is that|are there in all|is that altogether]?",
        k=k,
        m=m,
        k2=k2,
        m2=m2,
        other=other,
        **given,
    )
    one = story.work_out(f"The {given['packs']} have {{}} {given['t']}.", k, "×", m)
    two = story.work_out(f"The {other} have {{}} {given['t']}.", k2, "×", m2)
    story.work_out(f"Together that is {{}} {given['t']}.", one, "+", two)


def _and_then(story: Story, given: dict[str, str]) -> None:
    """So many a day, or equal lots, and then more or fewer of them."""
    rng, (k, m), t = story.rng, groups(story), given["t"]
    facts: dict[str, object] = {
        "time": rng.choice(("day", "day", "week", "hour", "month")),
        "k": as_word(story, k),
        "m": m,
        **given,
    }
    story.say(
        "{F} [<find>|<make>|<buy>|<sell>|<pick>|<collect>|<get>|<paint>|<need>|<count>] {m} {t} [a|every|each|per] "
        "{time} for {k} "
        "{time}s.",
        "For {k} {time}s, {S} [<find>|<make>|<buy>|<pick>|<collect>|<draw>|<get>] {m} {t} [each|every] {time}.",
        "{F} [<plant>|<lay>|<put>|<set>] {k} [rows|lines] [with|of] {m} {t}[| each].",
        "{k} {packs} have {m} {t} each.",
        "There are {k} {packs} with {m} {t} each.",
        **facts,
    )
    now: Number = story.work_out(f"That is {{}} {t}.", k, "×", m)
    while story.left:
        facts["day"] = rng.choice(DAYS)
        if rng.random() < 0.5:
            n = extra(story, now)
            story.say(
                "[Then|Later|After that|On {day}|] {n} [more|more {t}|{t}] <be:p> added.",
                "{he} [<get>|<find>|<make>|<buy>] {n} [more|more {t}] [on {day}|later|after that|].",
                "There are {n} [more|more {t}|other {t}] [in the {where}|outside|on the floor].",
                n=n,
                **facts,
            )
            now = story.work_out(f"That makes {{}} {t}.", now, "+", n)
        else:
            n = part(story, now)
            story.say(
                "[Then|Later|After that|] {n} [|of them |{t} ]<be:p> [taken away|lost|sold|broken|thrown away|given "
                "away|bad].",
                "{he} [<lose> {n} [of them|{t}]|<sell> {n} [of them|{t}]|<give> {n} [of them|{t}] away] [on {day}|"
                "later|].",
                "{n} of [them|the {t}] [<break:p>|<get:p> lost|<be:p> missing|<disappear:p>].",
                n=n,
                **facts,
            )
            now = story.work_out(f"That leaves {{}} {t}.", now, "-", n)
    more = story.steps[-1].operation == "+"
    story.say(
        "How many {t} [are there|are there now|are there in the end|is that|is that in all|are there in all]?"
        if more
        else "How many {t} are [left|there|there now|left over|left in the end]?",
        t=t,
    )


def before(story: Story) -> None:
    """What there was at first, or what has changed, when the end is known."""
    story.who, story.past = someone(story.rng, story.new), True
    t = things(story)
    given = {"t": t, "does": does(story), "friend": named_new(story), "friend2": named_new(story)}
    if story.length == 1:
        story.rng.choice((_what_is_gone, _what_was_first, _what_is_missing))(story, given)
    elif story.length == 2:
        n = amount(story)
        m = extra(story, n)
        k = extra(story, n + m)
        story.say(
            "{F} [<give>|<sell>|<lend>] {n} {t} to {friend} and {m} to {friend2}. [Now {k} are left|{he} <have> {k} "
            "left]. How many[| "
            "{t}] {does} have [at first|before|in the beginning]?",
            n=n,
            m=m,
            k=k,
            **given,
        )
        both = story.work_out(f"Together that is {{}} {t}.", n, "+", m)
        story.work_out(f"At first that was {{}} {t}.", both, "+", k)
    else:
        raise OutOfRange


def _what_is_gone(story: Story, given: dict[str, str]) -> None:
    n = amount(story)
    m = part(story, n)
    story.say(
        "{F} <have> {n} {t}. [Now {m} are left|Now there are {m}|In the evening {he} <have> {m} left|{he} [<give> "
        "some away|<sell> some|"
        "<lose> some] and <have> {m} left]. How many[| {t}] [are gone|{does} lose|{does} use|{does} give away|are "
        "missing]?",
        n=n,
        m=m,
        **given,
    )
    story.work_out(f"That leaves {{}} {given['t']}.", n, "-", m)


def _what_was_first(story: Story, given: dict[str, str]) -> None:
    n = amount(story)
    m = extra(story, n)
    story.say(
        "{F} [<give> away|<sell>|<lose>|<use>] {n} {t} [and|. Then {he}] <have> {m} left. How many[| {t}] {does} have "
        "[at first|before|"
        "in the beginning|to begin with]?",
        n=n,
        m=m,
        **given,
    )
    story.work_out(f"At first that was {{}} {given['t']}.", m, "+", n)


def _what_is_missing(story: Story, given: dict[str, str]) -> None:
    n = amount(story)
    m = part(story, n)
    story.past = False
    story.say(
        "{F} <need> {n} {t} and <have> {m}. How many more[| {t}] <do> {he} need?",
        "{F} <have> {m} {t} and <want> {n}. How many more[| {t}] <do> {he} need?",
        "{F} <have> {m} {t}. [After {his} birthday|After a trip|Later] {he} <have> {n}. How many[| {t}] <do> {he} get?",
        "There are {n} {t} in the {where} and {m} are [ready|done|finished|painted|counted]. How many [are not|still "
        "have to be done|are "
        "left to do]?",
        n=n,
        m=m,
        where=story.rng.choice(("room", "shop", "book", "list", "hall")),
        **given,
    )
    story.work_out(f"That leaves {{}} {given['t']}.", n, "-", m)
