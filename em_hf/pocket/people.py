"""Stories of several people: what they have together, and who has more."""

from itertools import pairwise

from em_hf.pocket.choices import Number, amount, as_word, divisor, extra, few, part, things
from em_hf.pocket.steps import OutOfRange, Quantity, Story, number
from em_hf.pocket.telling import Someone, conjugated, named
from em_hf.pocket.words import DONE_TO, PACKS, THINGS

VERBS = "have have find pick collect catch make buy sell win bake plant count get read score draw gather".split()


def comparison(story: Story) -> None:
    """Two to four people, together or each compared with the one before."""
    rng = story.rng
    story.past = rng.random() < 0.5
    verb = rng.choice(VERBS)
    t = things(story, DONE_TO.get(verb, THINGS))
    people = [named(rng, story.new) for _ in range(4)]
    if len({person.name for person in people}) < 4:
        raise OutOfRange
    if story.length <= 3 and rng.random() < 0.35:
        _together(story, verb, [person.name for person in people], t)
    elif story.length == 1 and rng.random() < 0.4:
        _difference(story, verb, [person.name for person in people], t)
    else:
        _chain(story, verb, people, t)


def _together(story: Story, verb: str, names: list[str], t: str) -> None:
    """Two or three people with their numbers, what they have together, and what is left of it."""
    rng, n = story.rng, amount(story)
    m = extra(story, n)
    given: dict[str, object] = {"a": names[0], "b": names[1], "c": names[2], "n": n, "m": m, "t": t}
    total = story.work_out(f"Together that is {{}} {t}.", n, "+", m)
    group = "[they|{a} and {b}|both|the two]"
    if story.left and rng.random() < 0.5:
        k = extra(story, total)
        story.say(
            f"{{a}} <{verb}:3> {{n}} {{t}}, {{b}} <{verb}:3> {{m}}[| {{t}}] and {{c}} <{verb}:3> {{k}}[| {{t}}].",
            f"{{a}} <{verb}:3> {{n}} {{t}}, {{b}} {{m}} and {{c}} {{k}}.",
            k=k,
            **given,
        )
        total = story.work_out(f"Together that is {{}} {t}.", total, "+", k)
        group = "[they|they all|all three]"
    else:
        story.say(f"{{a}} <{verb}:3> {{n}} {{t}}[ and|, and|.] {{b}} <{verb}:3> {{m}}[| {{t}}].", **given)
    if story.left:
        _of_the_total(story, t, total)
        return
    do = "did" if story.past else "do"
    story.say(
        f"How many[| {{t}}] {do} {group} {verb} [together|in all|altogether|in total]?",
        f"How many[| {{t}}] {do} {group} {verb} [together|in all|altogether|in total]?",
        "How many[| {t}] [is that in all|is that together|is that|are there together]?",
        **given,
    )


def _of_the_total(story: Story, t: str, total: Number) -> None:
    if story.rng.random() < 0.3:
        k = divisor(story, total)
        story.say(
            "They [put|pack|sort] [all of them|them all|all {t}] [in|into] {k} {packs}[|, the same number in each]. "
            "How many[| {t}] are "
            "in each?",
            k=k,
            t=t,
            packs=story.rng.choice(PACKS),
        )
        story.work_out(f"Each gets {{}} {t}.", total, "÷", k)
    else:
        gone = part(story, total)
        story.say(
            "[They|Together they] [lose {g}[| of them| {t}]|sell {g}[| of them| {t}]|use {g}[| of them| {t}]|give "
            "{g}[| of them| {t}] away]. "
            "How many[| {t}] [are left|do they have left|remain|are there then]?",
            g=gone,
            t=t,
        )
        story.work_out(f"That leaves {{}} {t}.", total, "-", gone)
    if story.left:
        raise OutOfRange


def _difference(story: Story, verb: str, names: list[str], t: str) -> None:
    n = amount(story)
    m = part(story, n)
    pair = [(names[0], n), (names[1], m)]
    story.rng.shuffle(pair)
    (a, first), (b, second) = pair
    story.say(
        f"{{a}} <{verb}:3> {{n}} {{t}}[ and|, and|, but|.] {{b}} <{verb}:3> {{m}}[| {{t}}].",
        a=a,
        b=b,
        n=first,
        m=second,
        t=t,
    )
    more = f"How many more[| {{t}}] {'did' if story.past else 'does'} {{a}} {verb} than {{b}}?"
    story.say(more, more, more, "What is the difference?", a=names[0], b=names[1], t=t)
    story.work_out(f"The difference is {{}} {t}.", n, "-", m)


def _chain(story: Story, verb: str, people: list[Someone], t: str) -> None:
    """People compared with the one before; then the last one's number, or all of them together and what is left."""
    rng = story.rng
    n = few(story) if rng.random() < 0.4 else amount(story)
    story.say(f"{{a}} <{verb}:3> {{n}} {{t}}.", a=people[0].name, n=n, t=t)
    amounts: list[Number] = [n]
    ask_total = story.length >= 2 and (story.length % 2 == 0 or rng.random() < 0.6)
    count = story.length // 2 if ask_total else story.length
    if count > 3:
        raise OutOfRange
    for one, other in pairwise(people[: count + 1]):
        amounts.append(_compared(story, verb, one, other, t, amounts[-1]))
    do = "did" if story.past else "do"
    last = people[count].name
    if not ask_total:
        story.say(f"How many[| {{t}}] {'did' if story.past else 'does'} {{a}} {verb}?", a=last, t=t)
        return
    total = amounts[0]
    for other in amounts[1:]:
        total = story.work_out(f"Together that is {{}} {t}.", total, "+", other)
    if story.left:
        _of_the_total(story, t, total)
        return
    story.say(
        f"How many[| {{t}}] {do} [they {verb} together|they {verb} in all|they {verb} altogether|they {verb}|both of "
        f"them {verb}|{{a}} and "
        f"{{b}} {verb} together]?"
        if count == 1
        else f"How many[| {{t}}] {do} [they {verb} together|they {verb} in all|they all {verb}|all "
        f"{('three', 'four')[count - 2]} {verb}]?",
        a=people[0].name,
        b=last,
        t=t,
    )


def _compared(story: Story, verb: str, one: Someone, other: Someone, t: str, base: Number) -> Quantity:
    rng = story.rng
    kind = rng.choice(("more", "more", "fewer", "fewer", "times", "half"))
    sentence = f"{other.name} {conjugated(verb, '3', story.past)} {{}} {t}."
    given: dict[str, object] = {"a": one.name, "b": other.name, "t": t}
    tell = story.go_on if rng.random() < 0.3 else story.say
    start = f"{{b}} <{verb}:3>" if tell == story.say else f"[ and|, and|,] {{b}} <{verb}:3>"
    if kind in ("more", "fewer"):
        n = extra(story, base) if kind == "more" else part(story, base)
        than = f"[than {{a}}|than {{a}}|than {one.he}|than {{a}} <do:3>|than {one.he} <do:3>]"
        tell(
            f"{start} [{{n}} {kind} {{t}} {than}|{{n}} {kind} {than}|{{n}} {kind}|{{n}} {{t}} {kind} {than}].",
            n=n,
            **given,
        )
        return story.work_out(sentence, base, "+" if kind == "more" else "-", n, fewer=kind == "fewer")
    if kind == "half":
        if number(base) % 2 or rng.random() < 0.5:
            raise OutOfRange
        tell(start + " half as many[| {t}][| as {a}].", **given)
        return story.work_out(sentence, base, "÷", 2)
    k = rng.choice((2, 2, 3, 3, 4, few(story)))
    times = rng.choice(("twice", "twice", "2 times", "two times")) if k == 2 else f"{as_word(story, k)} times"
    tell(start + " {times} as many[| {t}][| as {a}| as {a}].", times=times, **given)
    return story.work_out(sentence, k, "×", base)
