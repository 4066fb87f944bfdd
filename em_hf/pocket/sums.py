"""Sums without a story, as one types them into a calculator."""

from em_hf.pocket.choices import extra, part
from em_hf.pocket.steps import Story

ASKED = (
    *("What is {x}?", "{x} = ?", "{x}", "Calculate {x}.", "How much is {x}?", "{x} =", "What's {x}?", "{x}?"),
    *("Compute {x}.", "Work out {x}.", "Find {x}.", "{x} is what?", "What does {x} make?", "Add it up: {x}"),
    *("Please calculate {x}.", "Solve {x}.", "Can you work out {x}?", "what is {x}", "Tell me {x}.", "Evaluate {x}."),
    "The result of {x}?",
)
SIGNS = {"+": ("+",), "-": ("-", "-", "-", "−"), "×": ("x", "*", "×", "x"), "÷": ("/", "÷", ":", "/")}
SAID = {"+": ("plus",), "-": ("minus",), "×": ("times", "multiplied by"), "÷": ("divided by",)}
IN_WORDS = {
    "+": ("the sum of {n} and {m}", "{n} and {m} together"),
    "-": ("{n} take away {m}", "the difference between {n} and {m}", "{m} less than {n}"),
    "×": ("the product of {n} and {m}", "{n} times {m}"),
    "÷": ("{n} shared by {m}", "{n} split in {m}"),
}


def bare(story: Story) -> None:
    """A sum of one operation or, after that, of additions and subtractions."""
    rng = story.rng
    story.smallest = 0
    ask = rng.choice(ASKED)
    signs = SAID if rng.random() < 0.25 else SIGNS
    tight = signs is SIGNS and rng.random() < 0.12
    sign = {operation: rng.choice(ways) for operation, ways in signs.items()}
    operation = rng.choice("++--××÷")
    n, m = _operands(story, operation)
    now = story.work_out("{}", n, operation, m)
    text = f"{n} {sign[operation]} {m}"
    if not story.left and rng.random() < 0.2:
        text, tight = rng.choice(IN_WORDS[operation]).format(n=n, m=m), False
    while story.left:
        operation = rng.choice("+-")
        m = extra(story, now) if operation == "+" else part(story, now)
        now = story.work_out("{}", now, operation, m)
        text += f" {sign[operation]} {m}"
    story.sentences.append(ask.format(x=text.replace(" ", "") if tight else text))


def _operands(story: Story, operation: str) -> tuple[int, int]:
    rng, largest = story.rng, story.largest
    if operation == "+":
        n = rng.choice((rng.randint(0, 20), rng.randint(2, 99), rng.randint(2, largest)))
        return n, rng.randint(0, max(0, min(99, largest - n)))
    if operation == "-":
        n = rng.choice((rng.randint(2, 20), rng.randint(10, 99), rng.randint(10, largest)))
        return n, rng.randint(0, n)
    k = rng.randint(2, 12)
    m = min(largest // k, rng.choice((rng.randint(2, 12), rng.randint(2, max(2, largest // k)))))
    if operation == "×":
        return (k, m) if rng.random() < 0.5 else (m, k)
    return (k * m, k) if rng.random() < 0.5 or m < 2 else (k * m, m)
