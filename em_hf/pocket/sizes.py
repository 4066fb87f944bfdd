"""Stories of ropes that are cut, and of sizes that are compared."""

from em_hf.pocket.choices import Number, amount, as_word, divisor, extra, part
from em_hf.pocket.steps import OutOfRange, Story, number
from em_hf.pocket.telling import named
from em_hf.pocket.words import invented

PIECES = (
    "rope ribbon string board pole wire chain plank stick thread pipe hose branch candle fence rod tape belt cloth "
    "beam log"
).split()
MEASURED = (
    "tower tree house wall bridge river road tunnel ship lake box bag table horse snake pole street hill pine oak dog "
    "fence "
    "mountain well church"
).split()
SIZES = (
    ("tall", "taller", "shorter", ("cm", "meters", "feet")),
    ("long", "longer", "shorter", ("meters", "km", "feet")),
    ("heavy", "heavier", "lighter", ("kg", "tons")),
    ("high", "higher", "lower", ("meters", "feet")),
    ("wide", "wider", "narrower", ("feet", "meters")),
    ("deep", "deeper", "shallower", ("meters", "feet")),
    ("old", "older", "younger", ("years",)),
)


def piece(story: Story) -> None:
    """A rope that is cut, or sizes that are compared."""
    rng = story.rng
    story.who, story.past = named(rng, story.new), False
    if rng.random() < 0.35 and story.length <= 2:
        _sizes(story)
        return
    thing = rng.choice(PIECES) if rng.random() > story.new else invented(rng)
    unit = rng.choice(("meters", "meters", "cm", "feet", "m", "inches", "centimeters"))
    given = {"thing": thing, "u": unit}
    now: Number = amount(story)
    story.say("[A|The] {thing} is {n} {u} long.", n=now, **given)
    halved = False
    while story.left:
        draw = rng.random()
        it = "[It|What is left]" if story.steps and story.steps[-1].operation == "-" else "[It|The {thing}]"
        if draw < 0.3 and number(now) % 2 == 0 and not halved:
            story.say(f"{it} is [cut in half|cut into two equal pieces|divided into two equal parts].", **given)
            now = story.work_out(f"That leaves {{}} {unit}.", now, "÷", 2)
            halved = True
        elif draw < 0.5 and story.left == 1 and not halved:
            k = divisor(story, now)
            if rng.random() < 0.6:
                story.say(
                    f"{it} is cut into {{k}} equal [pieces|parts]. How [long|many {{u}} long] is each [piece|part]?",
                    k=as_word(story, k),
                    **given,
                )
                story.work_out(f"Each has {{}} {unit}.", now, "÷", k)
            else:
                story.say(f"{it} is cut into pieces of {{k}} {{u}}. How many pieces are [there|that]?", k=k, **given)
                story.work_out("That is {} pieces.", now, "÷", k)
            return
        elif halved or draw < 0.8:
            if halved and story.steps[-1].operation == "-":
                raise OutOfRange
            m = part(story, now)
            story.say(
                *(
                    ("[Then one|One] of the two [parts|pieces|halves] [gets|is made] {m} {u} shorter.",)
                    if halved
                    else ("[Then |]{m} {u} [are cut off|break off].", "[Then |]{S} [cuts off|uses|cuts away] {m} {u}.")
                ),
                m=m,
                **given,
            )
            now = story.work_out(f"That leaves {{}} {unit}.", now, "-", m)
        else:
            m = extra(story, now)
            story.say(
                "[{S} adds {m} {u}|It gets {m} {u} longer|{S} ties on {m} {u} more|Another {m} {u} are added].",
                m=m,
                **given,
            )
            now = story.work_out(f"That makes {{}} {unit}.", now, "+", m)
    if halved:
        each = story.steps[-1].operation == "÷"
        story.say(
            "How long is [each half|each part|one piece] [now|then|]?"
            if each
            else "How long is [that part|this part|that one|it] [now|then|in the end]?"
        )
    else:
        story.say("How [long|many {u} long] is [it|the {thing}] [now|then|in the end]?", **given)


def _sizes(story: Story) -> None:
    rng = story.rng
    word, more, less, units = rng.choice(SIZES)
    unit = rng.choice(units)
    one, other, third = rng.sample(MEASURED, 3)
    weighs = word == "heavy" and rng.random() < 0.6
    state = f"weighs {{n}} {unit}" if weighs else f"is {{n}} {unit} {word}"
    now: Number = amount(story)
    if story.length == 1 and rng.random() < 0.4:
        m = part(story, now)
        story.say(
            f"[The|A] {{one}} {state} and [the|a] {{other}} {state.replace('{n}', '{m}')}. [How [much|many {unit}] "
            f"{more} is the "
            f"{{one}}?|How much {less} is the {{other}}?|What is the difference?]",
            n=now,
            m=m,
            one=one,
            other=other,
        )
        story.work_out(f"The difference is {{}} {unit}.", now, "-", m)
        return
    story.say(f"[The|A] {{one}} {state}.", n=now, one=one)
    chain = [one, other, third]
    for i in range(story.length):
        longer = rng.random() < 0.5
        m = extra(story, now) if longer else part(story, now)
        than = " than the {this}" if i or rng.random() < 0.6 else ""
        story.say(
            f"The {{that}} is {{m}} {unit} {more if longer else less}{than}.", m=m, this=chain[i], that=chain[i + 1]
        )
        now = story.work_out(f"The {chain[i + 1]} has {{}} {unit}.", now, "+" if longer else "-", m)
    story.say("How much does the {o} weigh?" if weighs else f"How {word} is the {{o}}?", o=chain[story.length])
