"""Stories of what is measured: ages, distances, pages and hours."""

from em_hf.pocket.choices import Number, amount, as_word, extra, few, groups, part
from em_hf.pocket.steps import OutOfRange, Story, number
from em_hf.pocket.telling import named, someone
from em_hf.pocket.words import DAYS, HE, PEERS, RELATIVES, SHE, SHE_RELATIVES, invented


def ages(story: Story) -> None:
    """How old people are, were and will be."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new) if rng.random() < 0.2 else named(rng, story.new), False
    if story.who.person == "p" or story.length > 3:
        raise OutOfRange
    if story.length == 1:
        rng.choices((_one_compared, _age_difference, _in_years, _years_ago, _times_as_old), (30, 25, 20, 15, 10))[0](
            story
        )
        return
    n = rng.randint(4, 70)
    story.say("{F} <be> {n}[ years old|].", n=n)
    now: Number = n
    ends = rng.choice(("years", "together")) if story.length == 3 or rng.random() < 0.4 else None
    relatives = rng.sample(RELATIVES, story.length - (ends is not None))
    for i, word in enumerate(relatives):
        older = rng.random() < 0.65 or (i == 0 and word not in PEERS)
        m = rng.randint(2, 40) if older else part(story, now)
        than = f" than {{his}} {relatives[i - 1]}" if i else "[|| than {he}]"
        sentence = f"{{his}} {{word}} is {{m}} years {'older' if older else 'younger'}{than}."
        if i and rng.random() < 0.5:
            story.go_on(f"[, and| and] {sentence}", word=word, m=m)
        else:
            story.say(sentence, word=word, m=m)
        now = story.work_out(f"The {word} is {{}} years old.", now, "+" if older else "-", m)
    last = relatives[-1]
    if ends is None:
        story.say("How old is [{his} {word}|the {word}|{she}]?", word=last, she=_she(last))
    elif ends == "years":
        m = rng.randint(2, 20)
        story.say("How old will {his} {word} be in {m} years?", word=last, m=m)
        story.work_out("That is {} years.", now, "+", m)
    else:
        if story.length != 2:
            raise OutOfRange
        story.say("How old are they together?", "What is the sum of their ages?")
        story.work_out("Together that is {} years.", n, "+", now)


def _she(relative: str) -> str:
    return "she" if relative in SHE_RELATIVES else "he"


def _relative(story: Story, among: list[str] = RELATIVES) -> dict[str, str]:
    """Somebody's relative, now and then with a name, and the pronoun."""
    rng = story.rng
    word = rng.choice(among)
    she = _she(word)
    name = ""
    if rng.random() < 0.3:
        name = " " + (
            invented(rng).capitalize() if rng.random() < story.new else rng.choice(SHE if she == "she" else HE)
        )
    return {"word": word + name, "rel": word, "she": she}


def _one_compared(story: Story) -> None:
    n, older = story.rng.randint(4, 70), story.rng.random() < 0.5
    m = story.rng.randint(2, 40) if older else part(story, n)
    story.say(
        f"{{F}} <be> {{n}}[| years old]. {{his}} {{word}} is {{m}} years {'older' if older else 'younger'}[| than "
        f"{{he}}]. "
        "How old is [{she}|{his} {rel}]?",
        n=n,
        m=m,
        **_relative(story, RELATIVES if older else PEERS),
    )
    story.work_out("That is {} years.", n, "+" if older else "-", m)


def _age_difference(story: Story) -> None:
    n = story.rng.randint(4, 70)
    m = part(story, n)
    if story.rng.random() < 0.5:
        story.say(
            "{F} <be> {n}[| years old] and {his} {word} is {m}. [How [much|many years] older <be> {S}?|What is the "
            "difference in years?|How many years younger is {she}?]",
            n=n,
            m=m,
            **_relative(story, PEERS),
        )
    else:
        story.say(
            "{F} <be> {m}[| years old] and {his} {word} is {n}. How [much|many years] older is [{she}|{his} {rel}]?",
            n=n,
            m=m,
            **_relative(story),
        )
    story.work_out("The difference is {} years.", n, "-", m)


def _in_years(story: Story) -> None:
    n, m = story.rng.randint(4, 70), story.rng.randint(2, 40)
    story.say("{F} <be> {n}[| years old][| now| today]. How old will {he} be in {m} years?", n=n, m=m)
    story.work_out("That is {} years.", n, "+", m)


def _years_ago(story: Story) -> None:
    n = story.rng.randint(4, 70)
    m = part(story, n)
    story.say("{F} <be> {n}[| years old][| now| today]. How old was {S} {m} years ago?", n=n, m=m)
    story.work_out("That is {} years.", n, "-", m)


def _times_as_old(story: Story) -> None:
    k = story.rng.randint(2, 5)
    n = story.rng.randint(4, 100 // k)
    times = "twice" if k == 2 else f"{as_word(story, k)} times"
    story.say(
        "{F} <be> {n}[| years old]. {his} {word} is {times} as old[| as {he}]. How old is [{she}|{his} {rel}]?",
        n=n,
        times=times,
        **_relative(story),
    )
    story.work_out("That is {} years.", k, "×", n)


LONG = ("km", "kilometers", "miles", "meters", "m")
DONE = {
    "km": "walk run drive ride hike cycle jog swim travel",
    "kilometers": "walk run drive ride hike cycle",
    "miles": "walk run drive ride hike cycle jog bike travel",
    "meters": "swim run walk climb crawl",
    "m": "swim run climb",
    "laps": "run swim ride skate",
    "steps": "walk climb take count",
    "blocks": "walk run ride",
    "minutes": "read run practice train sleep study play walk wait dance",
    "hours": "work sleep study drive train read play paint wait",
    "pages": "read write print copy fill",
    "liters": "drink use need carry",
    "kg": "carry lift lose gain pick harvest",
    "cm": "grow jump dig cut",
    "grams": "use eat need",
    "pounds": "carry lift gain pick",
}
UNITS = (*DONE, "km", "miles", "minutes", "pages")
WHOLE = {
    "pages": "book", "km": "trail", "miles": "road", "kilometers": "trip", "meters": "path", "m": "wall",
    "minutes": "film", "hours": "trip",
}  # fmt: skip
_PARTICIPLES = {
    "read": "read", "write": "written", "drive": "driven", "run": "run", "swim": "swum", "ride": "ridden",
    "sleep": "slept",
}  # fmt: skip


def measured(story: Story) -> None:
    """So much a day, on the way, or on one day and the next."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), rng.random() < 0.6
    unit = rng.choice(UNITS)
    verb = rng.choice(DONE[unit].split())
    far = unit in LONG
    given: dict[str, object] = {
        "u": unit, "v": verb, "day": rng.choice(DAYS), "day2": rng.choice(DAYS), "whole": WHOLE.get(unit),
        "how": "How far" if far and rng.random() < 0.4 else f"How many {unit}",
    }  # fmt: skip
    goal = unit in WHOLE and rng.random() < 0.3
    if story.length == 1 and (goal or rng.random() < 0.35):
        if goal:
            _still_to_go(story, unit, verb, given)
        else:
            rng.choice((_each_day, _steady if far else _each_day, _there_and_back if far else _each_day))(
                story, unit, given
            )
        return
    do = f"<{verb}>"
    now: Number
    if rng.random() < 0.5:
        k, m = groups(story)
        story.say(
            f"{{F}} {do} {{m}} {{u}} [a|every|each|per] day for {{k}} days[||| in a row].",
            f"For {{k}} days, {{S}} {do} {{m}} {{u}} [a|every|each] day.",
            f"[Every|Each] [day|morning|evening] {{S}} {do} {{m}} {{u}}. [{{he}} <do> that {{k}} times|{{he}} <do> "
            f"this for {{k}} "
            "days|That goes on for {k} days].",
            f"{{F}} {do} {{m}} {{u}} {{k}} times.",
            m=m,
            k=as_word(story, k),
            **given,
        )
        now = story.work_out(f"That is {{}} {unit}.", k, "×", m)
    else:
        n = amount(story)
        m = extra(story, n)
        when = (
            "[on {day}@and on {day2}|in the morning@and in the evening|before lunch@and after lunch|in "
            "the first week@and in the second week|before noon@and in the afternoon|on the first day@and on the "
            "second day]"
        )
        one, other = rng.choice(when.strip("[]").split("|")).split("@")
        other = other.removeprefix("and ")
        story.say(
            f"{{F}} {do} {{n}} {{u}} {one} and {{m}}[| {{u}}] {other}.",
            f"{other} {{S}} {do} {{m}} {{u}}, [and |]{one} {{n}}[| {{u}}].",
            f"First {{S}} {do} {{n}} {{u}}, then {{m}}[| {{u}}| more].",
            f"{{F}} {do} {{n}} {{u}}[ and then|, then {{he}}] {do} {{m}} [more|{{u}} more|more {{u}}].",
            n=n,
            m=m,
            **given,
        )
        now = story.work_out(f"Together that is {{}} {unit}.", n, "+", m)
    while story.left:
        if story.left == 1 and goal:
            n = number(now) + extra(story, now)
            story.say(
                "The {whole} [is {n} {u} long|has {n} {u}]. How many {u} [are left|<do> {he} still have to {v}|are "
                "still to "
                "go]?",
                "{his} goal is {n} {u}. How many {u} [are missing|are left|<do> {he} still need]?",
                n=n,
                **given,
            )
            story.work_out(f"That leaves {{}} {unit}.", n, "-", now)
            return
        n = extra(story, now)
        story.say(
            f"On {{day}} {{he}} {do} {{n}}[| {{u}}| more].",
            f"Then {{he}} {do} {{n}} [more|more {{u}}|{{u}} more].",
            f"[On the last day|The next day] {{he}} {do} {{n}}[| {{u}}].",
            f"{{he}} also {do} {{n}} {{u}} on {{day}}.",
            n=n,
            **given,
        )
        now = story.work_out(f"That makes {{}} {unit}.", now, "+", n)
    story.say(
        "{how} <do> {he} {v}[| in all| in total| altogether]?",
        "{how} <do> {S} {v}[| in all| in total| altogether]?",
        "How many {u} is that[| in all| in total| altogether]?",
        "What distance <do> {he} {v} in [total|all]?" if far else "How many {u} <do> {he} {v}?",
        **given,
    )


def _still_to_go(story: Story, unit: str, verb: str, given: dict[str, object]) -> None:
    n = amount(story)
    m = part(story, n)
    story.say(
        "The {whole} [is {n} {u} long|has {n} {u}] and {S} <have> [done|finished|covered|{done}] {m}[| {u}| of them]. "
        "How many "
        "{u} [are left|<do> {he} still have to {v}|<do> {he} have left|are still to go]?",
        "{F} <have> to {v} {n} {u}. {he} [<have>|already <have>] [done|finished] {m}[| {u}]. How many {u} [are left|"
        "remain]?",
        "{F} [<want>|<plan>|<need>] to {v} {n} {u}. So far {he} <have> {done} {m}[| {u}]. How many [more |]{u} [<do> "
        "{he} still "
        "have to {v}|are left]?",
        n=n,
        m=m,
        done=_PARTICIPLES.get(verb, verb.rstrip("e") + "ed"),
        **given,
    )
    story.work_out(f"That leaves {{}} {unit}.", n, "-", m)


def _each_day(story: Story, unit: str, given: dict[str, object]) -> None:
    k, m = groups(story)
    story.say(
        "{F} <do> {n} {u} in {k} days, the same [each|every] day. How many {u} is that [a day|each day|per day]?",
        "In {k} days {S} <do> {n} {u}, the same every day. How many {u} <do> {he} do [a day|each day|per day|every "
        "day]?",
        n=k * m,
        k=k,
        u=unit,
    )
    story.work_out(f"That is {{}} {unit}.", k * m, "÷", k)


def _steady(story: Story, unit: str, given: dict[str, object]) -> None:
    """A journey at a steady speed: how far, how long or how fast it goes."""
    rng, (k, m) = story.rng, groups(story)
    time = "minute" if unit in ("m", "meters") else "hour"
    mover = rng.choice("car train bus truck boat plane runner snail cyclist horse ship".split())
    facts: dict[str, object] = {"x": mover, "m": m, "n": k * m, "k": as_word(story, k), "u": unit, "time": time}
    asked = rng.choice(("far", "far", "long", "fast"))
    if asked == "fast":
        story.say(
            "[A|The] {x} [goes|travels|moves] {n} {u} in {k} {time}s. How [many {u}|far] does it go [in one {time}|"
            "per {time}|each "
            "{time}]?",
            **facts,
        )
        story.work_out(f"That is {{}} {unit}.", k * m, "÷", k)
        return
    start = "[A|The] {x} [goes|drives|travels|moves] {m} {u} [per|every|each|in one] {time}. "
    if asked == "far":
        story.say(start + "How [far|many {u}] does it [go|get|travel] in {k} {time}s?", **facts)
        story.work_out(f"That is {{}} {unit}.", k, "×", m)
    else:
        story.say(start + "How [long|many {time}s] does it [take|need] for {n} {u}?", **facts)
        story.work_out(f"That is {{}} {time}s.", k * m, "÷", m)


def _there_and_back(story: Story, unit: str, given: dict[str, object]) -> None:
    n = story.rng.choice((amount(story), few(story)))
    story.say(
        "[The way to {place} is {n} {u} long|It is {n} {u} to {place}|{F} <live> {n} {u} from {place}]. [How far is "
        "it there and "
        "back?|How many {u} is it there and back?|How long is the way there and back?]",
        n=n,
        u=unit,
        place=story.rng.choice(("school", "the lake", "town", "work", "the shop", "the beach")),
    )
    story.work_out(f"That is {{}} {unit}.", 2, "×", n)
