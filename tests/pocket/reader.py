"""A reader who solves the word problems from their prompts alone, knowing nothing of how they are made."""

import re

_COME = r"(\d+) (?:\w+ )?(?:get on|come in|arrive|walk in)\."
_GO = r"(\d+) (?:\w+ |of them )?(?:get off|leave|go home|walk out)\."
_GAINS = r"buys (\d+) more|gives (?:him|her) (\d+) more|finds (\d+) more|gets (\d+) \w+ as a present"
_LOSSES = r"gives (\d+) (?:\w+|of them) to [A-Z]|eats (\d+)|loses (\d+)|sells (\d+)|takes (\d+)"
_BOUGHT_PACKS = r"buys (\d+) \w+ of (\d+)"
_SHARED = r"gives (\d+) \w+ to each of (\d+) friends"


def solve(prompt: str) -> int:
    """The answer to a word problem."""
    if "dollars" in prompt:
        return _shopping(prompt)
    if " fills " in prompt:
        return _products(r"(\d+) \w+ with (\d+)", prompt) - _sum(r"sells (\d+)|Then (\d+) \w+ get lost", prompt)
    if prompt.startswith("There are"):
        return _sum(r"^There are (\d+)", prompt) + _sum(_COME, prompt) - _sum(_GO, prompt)
    if re.search(" than | times as many ", prompt):
        return _comparison(prompt)
    start = _products(r"^\w+ has (\d+) \w+ with (\d+)", prompt) or _sum(r"^\w+ has (\d+)", prompt)
    more = _sum(_GAINS, prompt) + _products(_BOUGHT_PACKS, prompt)
    return start + more - _sum(_LOSSES, prompt) - _products(_SHARED, prompt)


def _shopping(prompt: str) -> int:
    price = _products(r"(\d+) \w+ for (\d+) dollars each", prompt) + _sum(r"an? \w+ for (\d+) dollars", prompt)
    return _sum(r"^\w+ has (\d+) dollars", prompt) - price if prompt.endswith("left?") else price


def _comparison(prompt: str) -> int:
    has: dict[str, int] = {}
    for sentence in prompt.split(". "):
        if m := re.match(r"(\w+) has (\d+) (more|fewer) \w+ than (\w+)", sentence):
            has[m[1]] = has[m[4]] + (int(m[2]) if m[3] == "more" else -int(m[2]))
        elif m := re.match(r"(\w+) has (\d+) times as many \w+ as (\w+)", sentence):
            has[m[1]] = has[m[3]] * int(m[2])
        elif m := re.match(r"(\w+) has (\d+)", sentence):
            has[m[1]] = int(m[2])
        elif m := re.match(r"Then (\w+) gives (\d+) \w+ away", sentence):
            has[m[1]] -= int(m[2])
    asked = re.search(r"How many \w+ does (\w+) have\?", prompt)
    return has[asked[1]] if asked else sum(has.values())


def _sum(pattern: str, text: str) -> int:
    return sum(int(number) for match in re.finditer(pattern, text) for number in match.groups() if number)


def _products(pattern: str, text: str) -> int:
    return sum(int(k) * int(m) for k, m in re.findall(pattern, text))
