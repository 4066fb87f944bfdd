"""Stories of minutes, hours, degrees, teams and points."""

from em_hf.pocket.choices import Number, amount, extra, groups, part
from em_hf.pocket.steps import OutOfRange, Story
from em_hf.pocket.telling import someone
from em_hf.pocket.words import DAYS

ACTIVITIES = (
    "homework|the piano|football|reading|the garden|chess|cleaning|lunch|the news|a walk|a game|a film|a bath|"
    "breakfast|the bus|"
    "a test|the phone|the laundry|painting"
).split("|")
EVENTS = "film trip lesson show game flight class party concert meeting match race walk".split()
FACTS = (
    (60, "minutes", "hours"), (7, "days", "weeks"), (24, "hours", "days"), (12, "months", "years"),
    (60, "seconds", "minutes"), (10, "years", "decades"),
)  # fmt: skip
PLACES = ("first", "second", "third", "fourth", "fifth", "sixth")


def clock(story: Story) -> None:
    """Minutes and hours, when things end, and how warm it gets."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), rng.random() < 0.4
    if story.length > 2:
        raise OutOfRange
    if rng.random() < 0.3:
        _degrees(story)
    elif story.length == 2:
        _three_activities(story)
    else:
        rng.choices((_facts, _end, _begin, _two_activities, _rest), (20, 12, 12, 35, 20))[0](story)


def _facts(story: Story) -> None:
    k = story.rng.randint(2, 8)
    size, small, big = story.rng.choice(FACTS)
    story.say("How many {small} [are there in|are in|are|have] {k} {big}?", small=small, big=big, k=k)
    story.work_out(f"That is {{}} {small}.", k, "×", size)


def _end(story: Story) -> None:
    n, m = story.rng.randint(2, 9), story.rng.randint(2, 8)
    if n + m > 12:
        raise OutOfRange
    story.say(
        "[The|A] {x} [starts|begins] at {n} o'clock and [lasts|takes] {m} hours. [When|At what time] does it end?",
        x=story.rng.choice(EVENTS),
        n=n,
        m=m,
    )
    story.work_out("That is {} o'clock.", n, "+", m)


def _begin(story: Story) -> None:
    n, m = story.rng.randint(2, 9), story.rng.randint(2, 8)
    if n + m > 12:
        raise OutOfRange
    story.say(
        "[The|A] {x} [starts|begins] at {n} o'clock and ends at {e} o'clock. How [long does it take|long is it|many "
        "hours does it "
        "last]?",
        "{F} <work> from {n} to {e} o'clock. How many hours is that?",
        x=story.rng.choice(EVENTS),
        n=n,
        e=n + m,
    )
    story.work_out("The difference is {} hours.", n + m, "-", n)


def _two_activities(story: Story) -> None:
    n = story.rng.randint(2, 90)
    m = extra(story, n)
    unit = story.rng.choice(("minutes", "minutes", "hours"))
    one, other = story.rng.sample(ACTIVITIES, 2)
    story.say(
        "{F} <spend> {n} {u} on {one} and {m}[| {u}] on {other}. [How long is that?|How many {u} is that in all?|How "
        "many {u} <do> "
        "{he} need?|How long <do> {he} need for both?|How much time is that?]",
        "[The first part of a {x} takes|A {x} takes|A {x} lasts] {n} {u} and the [second part|second one|other] {m}[| "
        "{u}]. How long "
        "[do they take together|is that in all|do both take]?",
        n=n,
        m=m,
        u=unit,
        one=one,
        other=other,
        x=story.rng.choice(EVENTS),
    )
    story.work_out(f"Together that is {{}} {unit}.", n, "+", m)


def _rest(story: Story) -> None:
    n = amount(story)
    m = part(story, n)
    unit = story.rng.choice(("minutes", "minutes", "seconds", "hours"))
    story.say(
        "[A {x} [takes|lasts] {n} {u}|The {x} is {n} {u} long]. {m}[| {u}] [are over|have passed|are gone]. How many "
        "{u} are left?",
        n=n,
        m=m,
        u=unit,
        x=story.rng.choice(EVENTS),
    )
    story.work_out(f"That leaves {{}} {unit}.", n, "-", m)


def _three_activities(story: Story) -> None:
    n = story.rng.randint(2, 90)
    m = extra(story, n)
    k = extra(story, n + m)
    unit = story.rng.choice(("minutes", "minutes", "hours"))
    one, other, third = story.rng.sample(ACTIVITIES, 3)
    story.say(
        "{F} <spend> {n} {u} on {one}, {m}[| {u}] on {other} and {k}[| {u}] on {third}. [How long is that?|How many "
        "{u} is that in "
        "all?|How many {u} <do> {he} need in all?|How much time is that together?]",
        n=n,
        m=m,
        k=k,
        u=unit,
        one=one,
        other=other,
        third=third,
    )
    both = story.work_out("Together that is {}.", n, "+", m)
    story.work_out(f"Together that is {{}} {unit}.", both, "+", k)


def _degrees(story: Story) -> None:
    rng = story.rng
    now: Number = rng.randint(4, 40)
    story.say("[In the morning|At noon|On {day}|At night] it is {n} degrees[| warm].", n=now, day=rng.choice(DAYS))
    while story.left:
        later = "[By noon|Then|Later|In the evening|The next day|By night] it [gets|is|becomes] {m} degrees "
        if rng.random() < 0.5:
            m = rng.randint(2, 15)
            story.say(later + "[warmer|hotter].", m=m)
            now = story.work_out("That makes {} degrees.", now, "+", m)
        else:
            m = part(story, now)
            story.say(later + "[colder|cooler].", m=m)
            now = story.work_out("That leaves {} degrees.", now, "-", m)
    story.say("How [warm is it|many degrees is it|many degrees are there] [now|then]?")


def team(story: Story) -> None:
    """People in groups, and points that are won and lost."""
    rng = story.rng
    story.who, story.past = someone(rng, story.new), rng.random() < 0.6
    if story.length > 5:
        raise OutOfRange
    if story.length == 1 and rng.random() < 0.6:
        _groups_of_people(story)
        return
    now: Number = amount(story)
    unit, game = rng.choice(("points", "goals", "points", "stars", "coins")), rng.choice(("round", "game", "level"))
    story.say("{F} [<get>|<score>|<win>|<make>] {n} {u} in the first {g}.", n=now, u=unit, g=game)
    for place in PLACES[1 : story.length + 1]:
        if rng.random() < 0.65:
            m = extra(story, now)
            story.say(
                "In the {p} {g} {he} [<get>|<win>|<score>] {m}[| more].",
                "{he} [<score>|<get>|<win>] {m}[| more| {u}] in the {p}.",
                p=place,
                g=game,
                m=m,
                u=unit,
            )
            now = story.work_out(f"That makes {{}} {unit}.", now, "+", m)
        else:
            m = part(story, now)
            story.say("In the {p} {g} {he} <lose> {m}[| {u}].", p=place, g=game, m=m, u=unit)
            now = story.work_out(f"That leaves {{}} {unit}.", now, "-", m)
    story.say(
        "How many {u} [<do> {he} have|<do> {S} have|<do> {he} have now|is that|<do> {he} have in all|<do> {he} have "
        "in the end]?",
        u=unit,
    )


def _groups_of_people(story: Story) -> None:
    rng, (k, m) = story.rng, groups(story)
    member = rng.choice("children students players kids people scouts dancers girls boys workers".split())
    team = rng.choice(("teams", "groups"))
    if rng.random() < 0.6:
        story.say(
            "{n} {member} [form|make|are split into|are put into] {team} of {k}. How many {team} are there?",
            n=k * m,
            k=k,
            member=member,
            team=team,
        )
        story.work_out(f"That is {{}} {team}.", k * m, "÷", k)
    else:
        story.say(
            "[There are {k} {team} with {m} {member} each|{k} {team} of {m} {member} play]. How many {member} [are "
            "there|is that|are "
            "there in all]?",
            k=k,
            m=m,
            member=member,
            team=team,
        )
        story.work_out(f"That is {{}} {member}.", k, "×", m)
