"""How a sentence is told: choices of wording, verbs that agree with their subject, pronouns.

A template is a sentence with `[one|other]` for a choice of wording, `<verb>` for a verb that agrees with the subject of
the story, `<verb:p>` and `<verb:3>` for one that agrees with "they" or "she", and `{name}` for what is filled in:

    [Then|Later] {he} <buy> {n} more.    ->    Later she bought 7 more.
"""

import random
import re
from dataclasses import dataclass

from em_hf.pocket.words import HE, HER_ROLES, HIS_ROLES, SHE, THEIR_ROLES, invented

_PAST = dict(
    pair.split(":")
    for pair in (
        "have:had buy:bought find:found get:got give:gave eat:ate lose:lost sell:sold take:took make:made "
        "bake:baked break:broke throw:threw read:read write:wrote run:ran swim:swam fly:flew leave:left "
        "come:came go:went spend:spent pay:paid win:won catch:caught drive:drove ride:rode draw:drew "
        "build:built grow:grew see:saw hold:held keep:kept cost:cost put:put cut:cut bring:brought "
        "drink:drank do:did send:sent hide:hid lend:lent set:set fall:fell be:was dig:dug steal:stole freeze:froze "
        "sleep:slept begin:began hit:hit sing:sang stand:stood lay:laid can:could will:would tear:tore "
    ).split()
)


def conjugated(verb: str, person: str, past: bool) -> str:
    """Return a verb in the form that a subject takes.

    Args:
        verb: the bare infinitive, such as "carry".
        person: "1" for I, "3" for he, she and it, "p" for we and they.
        past: the past tense; else the present.
    """
    if verb == "be":
        return ({"1": "was", "3": "was", "p": "were"} if past else {"1": "am", "3": "is", "p": "are"})[person]
    if past:
        if verb in _PAST:
            return _PAST[verb]
        if verb.endswith("e"):
            return verb + "d"
        if verb.endswith("y") and verb[-2] not in "aeou":
            return verb[:-1] + "ied"
        return verb + (verb[-1] if verb in ("plan", "hop", "drop", "pop", "step", "stop", "jog", "rot") else "") + "ed"
    if person != "3" or verb in ("can", "will"):
        return verb
    if verb == "have":
        return "has"
    if verb.endswith("y") and verb[-2] not in "aeou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "o")) else "s")


@dataclass(frozen=True)
class Someone:
    """Who a story is about: a name or role, with its pronouns and the form of its verbs."""

    first: str  # the first mention: "a farmer"
    name: str  # later mentions: "the farmer"
    he: str
    him: str
    his: str
    person: str = "3"


def _she(name: str) -> Someone:
    return Someone(name, re.sub(r"^an? ", "the ", name), "she", "her", "her")


def _he(name: str) -> Someone:
    return Someone(name, re.sub(r"^an? ", "the ", name), "he", "him", "his")


I = Someone("I", "I", "I", "me", "my", "1")  # noqa: E741
WE = Someone("we", "we", "we", "us", "our", "p")


def named(rng: random.Random, new: float) -> Someone:
    """Return somebody with a name, which is an invented one with probability `new`."""
    name = invented(rng).capitalize() if rng.random() < new else None
    if rng.random() < 0.5:
        return _she(name or rng.choice(SHE))
    return _he(name or rng.choice(HE))


def someone(rng: random.Random, new: float) -> Someone:
    """Return anybody that a story may be about: mostly a name, else a role, a group, I or we."""
    draw = rng.random()
    if draw < 0.62:
        return named(rng, new)
    if draw < 0.80:
        return _she(rng.choice(HER_ROLES)) if rng.random() < 0.5 else _he(rng.choice(HIS_ROLES))
    if draw < 0.88:
        group = rng.choice(THEIR_ROLES)
        return Someone(group, group.replace("two ", "the "), "they", "them", "their", "p")
    return I if draw < 0.96 else WE


_CHOICE, _VERB = re.compile(r"\[([^\[\]]*)\]"), re.compile(r"<(\w+)(?::(\w))?>")


def told(rng: random.Random, template: str, who: Someone, past: bool, **given: object) -> str:
    """Return a template as a sentence, with a capital letter at its beginning."""
    while match := _CHOICE.search(template):
        template = template[: match.start()] + rng.choice(match[1].split("|")) + template[match.end() :]
    template = _VERB.sub(lambda match: conjugated(match[1], match[2] or who.person, past), template)
    text = template.format(
        S=who.name, F=who.first, he=who.he, him=who.him, his=who.his, He=who.he.capitalize(), **given
    )
    text = re.sub(r" +", " ", text).strip()
    text = re.sub(r" ([.,?!])", r"\1", text)
    # A sentence begins with a capital; so does one after another in the same template.
    return re.sub(r"(^|[.?!] )([a-z])", lambda match: match[1] + match[2].upper(), text)
