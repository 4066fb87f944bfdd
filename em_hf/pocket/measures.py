"""Stories of lengths, pages and time."""

from em_hf.pocket import words
from em_hf.pocket.steps import number
from em_hf.pocket.teller import Now, Person, Teller, needs


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
        verb = t.verb(who, verbs[0])
        each = t.pick(f"(every {day}|each {day}|{words.a_time(day)})")
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
    """The opening sentence: how long the whole is."""
    if kind == "cut":
        return t.pick(f"(A {what}|The {what}|{who.start} {t.verb(who, 'has')} a {what} that) is {size} long.")
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
    n = min(t.any_of((2, 3, 4, 5, 6)), k)
    name = who.he if t.told_of(who) else who.name
    t.say(f"{name} ({t.verb(who, 'needs')} {n} of these|{t.verb(who, 'joins')} {n} such) {parts}.")
    t.story.work_out(f"Together that is {{}} {unit}.", n, "×", now)
    needs(length == 2)
    t.say(f"How (many {unit} is that|long are they together|many {unit} are they together)?")


def speed(t: Teller, length: int) -> None:
    """So many units an hour: a way, a time, or the units of each hour."""
    needs(length == 1)
    k, m = sorted(t.factors())
    whole = k * m
    thing, verb, unit = t.any_of(words.RATES)
    thing = t.noun([thing])
    go = words.without_s(verb)
    hour = t.pick("hour", "hour", "minute", "day", "week")
    hours, an_hour = f"{k} {hour}s", words.a_time(hour)
    if t.chance(0.6):
        t.story.work_out(f"In {hours} that is {{}} {unit}.", k, "×", m)
        t.say(
            f"A {thing} {verb} {m} {unit} {an_hour}. How many {unit} does it {go} in {hours}?",
            f"A {thing} {verb} {m} {unit} in one {hour}. How many {unit} is that in {hours}?",
            f"A {thing} {verb} {m} {unit} every {hour} for {hours}. How many {unit} is that in total?",
        )
    elif t.chance(0.5):
        t.story.work_out(f"In one {hour} that is {{}} {unit}.", whole, "÷", k)
        t.say(
            f"A {thing} {verb} {whole} {unit} in {hours}. How many {unit} does it {go} in one {hour}?",
            f"In {hours} a {thing} {verb} {whole} {unit}, always as many. How many {unit} is that {an_hour}?",
        )
    else:
        t.story.work_out(f"That takes {{}} {hour}s.", whole, "÷", m)
        t.say(f"A {thing} {verb} {m} {unit} {an_hour}. How many {hour}s does it take for {whole} {unit}?")
