"""A reader who solves sums and comparisons from their prompts alone, knowing nothing of how they are made."""

import operator
import re

_WORDS = {word: n for n, word in enumerate("two three four five six seven eight nine ten eleven twelve".split(), 2)}
_SIGNS = {
    "plus": "+", "minus": "-", "times": "*", "multiplied by": "*", "divided by": "/", "x": "*", "×": "*", "÷": "/",
    ":": "/", "−": "-", "take away": "-",
}  # fmt: skip
_DONE = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv}
_PAIRS = {
    r"the sum of (\d+) and (\d+)": "+",
    r"(\d+) and (\d+) together": "+",
    r"the difference between (\d+) and (\d+)": "-",
    r"the product of (\d+) and (\d+)": "*",
    r"(\d+) (?:shared by|split in) (\d+)": "/",
}


def solve_sum(prompt: str) -> int:
    """The value of a sum without a story, multiplications and divisions first."""
    for pattern, sign in _PAIRS.items():
        if found := re.search(pattern, prompt):
            return _DONE[sign](int(found[1]), int(found[2]))
    if found := re.search(r"(\d+) less than (\d+)", prompt):
        return int(found[2]) - int(found[1])
    for word in sorted(_SIGNS, key=len, reverse=True):
        prompt = re.sub(rf"(?<=\d)\s*{re.escape(word)}\s*(?=\d)", _SIGNS[word], prompt)
    found = re.search(r"\d+(\s*[-+*/]\s*\d+)+", prompt)
    assert found, prompt
    total, sign, product = 0, 1, None
    pieces = re.findall(r"\d+|[-+*/]", found[0])
    product = int(pieces[0])
    for operation, number in zip(pieces[1::2], map(int, pieces[2::2])):
        if operation in "*/":
            product = _DONE[operation](product, number)
        else:
            total, product, sign = total + sign * product, number, 1 if operation == "+" else -1
    return total + sign * product


def solve_comparison(prompt: str, *, fewer: str = "fewer") -> int:
    """What somebody has, or all have together, of people compared in a chain.

    Args:
        fewer: how the reader takes this word: "more" for one who reads it wrongly.
    """
    *_, question = re.split(r"(?<=[.,]) (?=[Hh]ow|What)", prompt)
    told = prompt[: -len(question)].removeprefix("If ")
    has: dict[str, int] = {}
    last = ""
    for clause in re.split(r"\. |, and |, but | and |, |\.", told):
        if not clause.strip():
            continue
        name, _, rest = clause.strip().partition(" ")
        if found := re.search(r"(\d+) (?:\w+ )?(more|fewer)(?: \w+)?(?: than (\w+))?", rest):
            reference = found[3] if found[3] in has else last
            more = (fewer if found[2] == "fewer" else "more") == "more"
            has[name] = has[reference] + (int(found[1]) if more else -int(found[1]))
        elif found := re.search(r"(twice|half|(\w+) times) as many(?: \w+)?(?: as (\w+))?", rest):
            reference = found[3] if found[3] in has else last
            if found[1] == "half":
                has[name] = has[reference] // 2
            else:
                k = 2 if found[1] == "twice" else _WORDS.get(found[2], 0) or int(found[2])
                has[name] = k * has[reference]
        elif found := re.search(r"\d+", rest):
            has[name] = int(found[0])
        last = name
    asked = [name for name in has if re.search(rf"\b{name}\b", question)]
    return has[asked[0]] if len(asked) == 1 else sum(has.values())


def is_chain(prompt: str) -> bool:
    """Whether a prompt is one that `solve_comparison` reads: a chain, without things lost at the end."""
    chain = re.search(r" (more|fewer)( \w+)?( than|[.,]| and)| as many", prompt)
    return bool(chain) and not re.search(r"[Tt]hey |[Tt]ogether they|How many more", prompt.partition("How many")[0])
