"""Stories of two or more who are compared: by what they have, their ages or their sizes."""

from em_hf.pocket import words
from em_hf.pocket.steps import Quantity, number
from em_hf.pocket.teller import Now, Person, Teller, capital, needs


def comparison(t: Teller, length: int) -> None:
    """Each has more, fewer or times as many as the one before; then one of them, or all together, or what is left."""
    people = [t.third_person()]
    food = t.chance(0.5)
    things = t.thing(words.FOOD, words.PLANTS) if food else t.thing(words.TOYS, words.WARES)
    verb = t.any_of(words.COMPARED)
    has: list[Now] = [t.few() if t.chance(0.2) else t.amount()]
    when = t.pick(f"(|| {t.occasion()})")
    ending = t.any_of(("one", "together", "left")) if length > 1 else "one"
    if ending == "left" and verb in words.NOT_KEPT:
        verb = "has"
    t.say(f"{people[0].start} {t.tense(verb)} {has[0]} {things}{when}.")
    compared = length if ending == "one" else length // 2
    steps = {"one": compared, "together": 2 * compared, "left": 2 * compared + 1}[ending]
    needs(compared <= 3 and steps == length)
    for _ in range(compared):
        other = t.companion(people[-1], stranger=0.75 if len(people) == 1 else 1.0)
        has.append(_compared(t, people[-1], other, things, has[-1], verb))
        people.append(other)
    if t.chance(0.4) and compared == 1:  # in one sentence
        first, second = t.story.sentences
        t.story.sentences[:] = [f"{first[:-1]} and {people[1].name[0]}{second[1:]}"]
    have = words.without_s(verb)
    if ending == "one":
        do = "did" if t.past else "does"
        name = people[-1].name if t.chance(0.6) or compared > 1 else people[-1].he
        asked = f"{things} {do} {name} {have}"
        t.say(f"How many ({asked}|{asked}|{do} {name} {have}|{things} does {name} {have})?")
        return
    total = has[0]
    for n in has[1:]:
        total = t.story.work_out(f"Together they have {{}} {things}.", total, "+", n)
    if ending == "left":
        _lose_together(t, things, total, food)
        return
    do = t.tense("do")
    they = "all three" if compared == 2 and t.chance(0.5) else "they"
    t.say(
        f"How many {things} ({do} {they} {have} together|{do} they {have} in total|do they {have} together)?",
        f"How many {things} (is that in all|{do} they {have} altogether)?",
        f"What is the total number of {things}?",
    )


def _compared(t: Teller, one: Person, other: Person, things: str, has: Now, verb: str) -> Quantity:
    """How many another person has, told by what the one before has."""
    kind = t.any_of(("more", "more", "fewer", "fewer", "times", "half"))
    sentence = f"{other.start} has {{}} {things}."
    did = "did" if t.past else "does"
    than = t.pick(one.name, one.name, f"{one.name} {did}", one.name if one.he == other.he else f"{one.he} {did}")
    gets = f"{other.start} {t.tense(verb)}"
    if kind == "times":
        k = t.any_of((2, 2, 2, 3, 3, 4, 5, 6))
        needs(number(has) * k <= t.story.largest)
        twice, thrice = t.pick("twice", "twice", "2 times", "two times"), t.pick("3 times", "three times")
        times = {2: twice, 3: thrice}.get(k, f"{k} times")
        t.say(f"{gets} {times} as many( {things} as {one.name}|| as {one.name}).")
        return t.story.work_out(sentence, has, "×", k)
    if kind == "half":
        t.say(f"{gets} half as many( {things} as {one.name}|).")
        return t.story.work_out(sentence, has, "÷", 2)
    n = t.more(has) if kind == "more" else t.part_of(has)
    t.say(f"{gets} {n} {kind}( {things} than {than}| than {than}|).")
    return t.story.work_out(sentence, has, "+" if kind == "more" else "-", n, of_fewer=kind == "fewer")


def _lose_together(t: Teller, things: str, total: Now, food: bool) -> None:
    """Some of what several people have is lost: what is left."""
    n = t.part_of(total)
    loss = t.any_of(words.LOSSES + words.EATING if food else words.LOSSES)
    if things in words.PLANTS and loss in words.EATING:
        loss = "gives away"
    lose = t.tense(words.without_s(loss))
    they = f"they {lose} {n}"
    t.say(f"({they} of them|Together {they}|Later {they} of these|Then {they} {things}).")
    t.left(total, n, things)
    t.say(f"How many ({things} are left|{things} do they have left|are left)?")


def ages(t: Teller, length: int) -> None:
    """Who is how old: older and younger, sums, and in some years."""
    last = t.third_person()
    known: list[Now] = [t.rng.randint(6, 60)]
    t.say(f"{last.start} is {known[0]}{t.pick('', ' years old', ' years old')}.")
    in_sum = length >= 2 and t.chance(0.3)
    needs(not in_sum or length % 2 == 0)
    for i in range(length // 2 if in_sum else length):
        draw = t.rng.random()
        at_end = not in_sum and i == length - 1
        if at_end and (draw < 0.15 or (draw < 0.25 and number(known[-1]) > 6)):
            _ask_at_other_time(t, last, known[-1], later=draw < 0.15)
            return
        # "Her uncle" after another woman's name might be the uncle of either.
        other = t.relative(last) if i == 0 and t.chance(0.6) else t.third_person()
        known.append(_older_or_younger(t, last, other, known[-1]))
        last = other
    if in_sum:
        total = known[0]
        for age in known[1:]:
            total = t.story.work_out("Together they are {}.", total, "+", age)
        t.say("How old are they together?", "What is the sum of their ages?")
        return
    name = last.name if t.chance(0.6) or length > 1 else last.he
    age_of = f"What is {last.name}'s age?" if last.name[0].isupper() else f"How old is {name} now?"
    t.say(f"How old is {name}?", f"How old is {name}?", age_of)


def _older_or_younger(t: Teller, one: Person, other: Person, age: Now) -> Quantity:
    """How old another person is, told by the age of the one before."""
    than = t.pick("", "", f" than {one.name}", f" than {one.name if one.he == other.he else one.he}")
    if t.chance(0.15) and number(age) <= 40 and other.generation <= 0:
        t.say(f"{other.start} is twice as old{f' as {one.name}' if t.chance(0.6) else ''}.")
        return t.story.work_out(f"{other.start} is {{}}.", age, "×", 2)
    older = other.generation > 0 or (other.generation == 0 and t.chance(0.65))
    apart = 18 * abs(other.generation) or 2  # years at least
    room = (80 if older else number(age) - 4) - apart
    needs(room >= 0 and (not older or number(age) <= 60))
    n = apart + t.rng.randint(0, min(room, 24))
    t.say(f"{other.start} is {n} years {'older' if older else 'younger'}{than}.")
    return t.story.work_out(f"{other.start} is {{}}.", age, "+" if older else "-", n)


def _ask_at_other_time(t: Teller, who: Person, age: Now, *, later: bool) -> None:
    """How old somebody will be in some years, or was some years ago."""
    if not later:
        n = t.rng.randint(2, min(20, number(age) - 3))
        t.story.work_out(f"{n} years ago it was {{}} years.", age, "-", n)
        t.say(f"How old was {who.name} {n} years ago?")
        return
    n = t.rng.randint(2, 30)
    t.story.work_out(f"In {n} years it is {{}} years.", age, "+", n)
    if t.told == 1:
        t.say(f"(How old will {who.name} be|What will be {who.his} age) in {n} years?")
    else:
        t.say(f"How old will {who.name} be in {n} years?")


def difference(t: Teller, length: int) -> None:
    """Two amounts or sizes: how much more the one is than the other."""
    needs(length == 1)
    one, other = t.person(), t.third_person()
    related = t.chance(0.5)
    if related:
        other = t.relative(one)
    a, b = t.amount(), t.amount()
    needs(a - b >= 2)
    things = t.thing()
    verb = t.any_of(words.COMPARED)
    if not t.chance(0.5):
        _two_sizes(t, other.name, a, b, related_to=one if related else None)
        return
    has, also_has = t.verb(one, verb), t.tense(verb)
    t.say(
        f"{one.start} {has} {a} {things} and {other.name} {also_has} {b}( {things}|).",
        f"{one.start} {has} {a} {things}. {other.start} {also_has} {b}.",
    )
    have = f"{t.does(one, past=t.past)} {one.name} {words.without_s(verb)}"
    t.say(
        f"How many more ({things} {have}|{things} {have} than {other.name}|{have} than {other.name})?",
        "What is the difference?",
    )
    t.story.work_out(f"The difference is {{}} {things}.", a, "-", b)


def _two_sizes(t: Teller, other: str, a: int, b: int, related_to: Person | None) -> None:
    """How much older, taller, longer or the like one is than the other."""
    first = t.third_person()
    if related_to:  # who is not in this story
        other = f"{first.his} {other.removeprefix(f'{related_to.his} ')}"
    older, unit = t.any_of(words.SIZES)
    if older == "older" and a > 90:
        older, unit = "heavier", " kg"
    elif older == "taller":
        unit = " cm tall"
        if a < 120:
            a, b = a + 80, b + 80
    if older in ("longer", "higher"):
        one_name, other_name = t.rng.sample(words.SIZED, 2)
        start, second = f"{t.pick('A', 'The')} {one_name}", f"{t.pick('a', 'the')} {other_name}"
        one_name, other_name = f"the {one_name}", f"the {other_name}"
    else:
        start, one_name = first.start, first.known
        second = f"{first.his} {t.any_of(words.SHE_RELATIVES)}" if t.chance(0.5) else other
        other_name = second
    t.say(f"{start} is {a}{unit}( and {second} is {b}{unit}| and {second} is {b}|. {capital(second)} is {b}{unit}).")
    by_how_much = f"How many years older is {one_name}" if older == "older" else f"By how much is {one_name} {older}"
    t.say(f"(How much {older} is {one_name}|How much {older} is {one_name} than {other_name}|{by_how_much})?")
    t.story.work_out("The difference is {}.", a, "-", b)
