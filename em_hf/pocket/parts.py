"""Stories of a whole and its parts."""

from em_hf.pocket.choices import Number, amount, extra, part, things
from em_hf.pocket.steps import OutOfRange, Story
from em_hf.pocket.telling import someone
from em_hf.pocket.words import (
    ANIMALS,
    BIRDS,
    GROUPS,
    LIVING_ARE,
    PEOPLE,
    THINGS_ARE,
    a,
    invented,
)

WHERE = (
    "on a farm|in a room|in the park|in a shop|on the table|in a box|in town|at a market|in the garden|in a basket|on "
    "the street|"
    "at a party|in a zoo|at the show"
).split("|")


def states(noun: str) -> list[str]:
    """Return words for how some of these things are, and the others are not."""
    return LIVING_ARE if noun in ANIMALS or noun in PEOPLE or noun in BIRDS else THINGS_ARE


def parts(story: Story) -> None:
    """A whole and its parts: what they make together, or what the others are."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), rng.random() < 0.4
    whole = rng.choice(sorted(GROUPS))
    kinds = rng.sample(GROUPS[whole], 3)
    if rng.random() < story.new:
        whole, kinds = "things", [things(story) for _ in kinds]
    where = f"in {a(invented(rng))}" if rng.random() < story.new / 2 else rng.choice(WHERE)
    given = dict(zip(("one", "other", "third"), kinds)) | {"whole": whole, "where": where}
    given["be"] = "were" if story.past else "are"
    if story.length == 1 and rng.random() < 0.3:
        rng.choice((_fraction, _how_many_more))(story, given)
    elif rng.random() < 0.5 or story.length > 2:
        _together(story, given)
    else:
        _the_others(story, given)


def _fraction(story: Story, given: dict[str, str]) -> None:
    k, name = story.rng.choice(((2, "half"), (2, "half"), (3, "a third"), (4, "a quarter")))
    n = k * story.rng.randint(2, min(30, story.largest // k))
    story.say(
        "[There {be} {n} {one} {where}. {name} of [them|the {one}] {be} {x}|{name} of the {n} {one} {where} {be} {x}|"
        "Of {n} {one} "
        "{name} {be} {x}]. How many[| {one}] {be} {x}?",
        n=n,
        name=name,
        x=story.rng.choice(states(given["one"])),
        **given,
    )
    story.work_out(f"That is {{}} {given['one']}.", n, "÷", k)


def _how_many_more(story: Story, given: dict[str, str]) -> None:
    n = amount(story)
    m = part(story, n)
    pair = story.rng.choice(("{n} {one} and {m} {other}", "{m} {other} and {n} {one}"))
    story.say(
        f"[There {{be}} {pair} {{where}}|A [shop|class|farmer] <have:3> {pair}|{{where}} there {{be}} {pair}]. How "
        f"many more {{one}} "
        "than {other} are there?",
        n=n,
        m=m,
        **given,
    )
    story.work_out(f"The difference is {{}} {given['one']}.", n, "-", m)


def _together(story: Story, given: dict[str, str]) -> None:
    whole = given["whole"]
    n = amount(story)
    m = extra(story, n)
    total: Number
    have = "{F} [<see>|<have>|<count>|<draw>|<buy>]"
    if story.left > 1 and story.rng.random() < 0.5:
        k = extra(story, n + m)
        total = story.work_out("Together that is {}.", n, "+", m)
        total = story.work_out(f"Together that is {{}} {whole}.", total, "+", k)
        listed = "{n} {one}, {m} {other} and {k} {third}"
    else:
        k = 0
        total = story.work_out(f"Together that is {{}} {whole}.", n, "+", m)
        listed = "{n} {one} and {m} {other}"
    story.say(
        f"[There {{be}} {listed} {{where}}|{{where}} there {{be}} {listed}|{have} {listed}|A [class|club|team|group] "
        f"<have:3> {listed}].",
        n=n,
        m=m,
        k=k,
        **given,
    )
    if story.left:
        p = part(story, total)
        story.work_out(f"That leaves {{}} {whole}.", total, "-", p)
        story.say(
            "{p} [of them|of the {whole}|{whole}|] {be} {x}. How many[| {whole}| of them] {be} not {x}?",
            "{p} [of them|of the {whole}|{whole}|] {be} {x}. How many[| {whole}] {be} [left|there without those]?",
            "{p} of [them|the {whole}] {be} [taken away|sold|gone|given away]. How many[| {whole}] {be} [left|still "
            "there]?",
            p=p,
            x=story.rng.choice(states(given["one"])),
            **given,
        )
        if story.left:
            raise OutOfRange
        return
    story.say(
        "How many [{whole} is that|{whole} are there|{whole} are there in all|{whole} is that in total|is that "
        "altogether|are there|"
        "{whole} {be} there altogether|is that in all|{whole} does that make|are there together]?",
        **given,
    )


def _the_others(story: Story, given: dict[str, str]) -> None:
    one, n = given["one"], amount(story)
    x, y, z = story.rng.sample(states(one), 3)
    p = part(story, n)
    rest = story.work_out(f"That leaves {{}} {one}.", n, "-", p)
    facts: dict[str, object] = {"n": n, "p": p, "x": x, "y": y, "z": z, **given}
    start = (
        "[There {be} {n} {one} {where}.|[We have|I have|There {be}|A shop has|A school has|A box has|A farmer has|"
        "Our class has] {n} {one}.]"
    )
    if not story.left:
        asked = (
            "and the [rest|others] {be} {y}. How many[| {one}] {be} {y}?",
            "How many[| {one}| of them] {be} not {x}?",
            "The [rest|others] {be} {y}. How many[| {one}] {be} {y}?",
            "How many[| {one}] {be} {y}?",
        )
        link, *_ = (story.rng.choice(asked),)
        middle = " " if link.startswith("and") else ". "
        story.say(
            f"{start} {{p}} [|of them |of the {{one}} |{{one}} ]{{be}} {{x}}{middle}{link}",
            f"Of {{n}} {{one}} {{where}}, {{p}} {{be}} {{x}}{middle}{link}",
            **facts,
        )
        return
    q = part(story, rest)
    story.work_out(f"That leaves {{}} {one}.", rest, "-", q)
    end = (
        "[[.|,] the [rest|others] {be} {z}. How many[| {one}] {be} {z}?|. How many[| {one}| of them] {be} [neither "
        "{x} nor {y}|{z}]?]"
    )
    story.say(
        f"{start} {{p}} [|of them |{{one}} ]{{be}} {{x}}[ and|,] {{q}} {{be}} {{y}}{end}",
        f"Of {{n}} {{one}} {{where}}, {{p}} {{be}} {{x}} and {{q}} {{be}} {{y}}{end}",
        q=q,
        **facts,
    )
