"""The outcome of decoding two rows, in a sentence or two: `em-hf generate`, the app and Python all show this one."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from em_hf.answers import extract_answer, same_answer

if TYPE_CHECKING:
    from em_hf.compare.side_by_side import Step, Token

NAMES = ("Plain", "EM-INF")
JOINER = "\u200d"  # between the parts of an emoji
ISOLATE, END_ISOLATE = "\u2068", "\u2069"  # between them, text from right to left does not turn what is around it


@dataclass(frozen=True)
class Divergence:
    """The first token in which two rows differ.

    Attributes:
        index (int): Its index among the new tokens.
        plain (str), em (str): The token that each row drew; special tokens by name.
        chance_plain (float): The probability of the plain row's token, at temperature 1.
        chance_left (float): That probability after EM-INF.
        chance_em (float): The probability of the other row's token after EM-INF.
    """

    index: int
    plain: str
    em: str
    chance_plain: float
    chance_left: float
    chance_em: float

    def sentence(self) -> str:
        """Describe what happened in one sentence."""
        plain, em = _quoted(self.plain), _quoted(self.em)
        if plain == em:  # they differ in the space before the word
            plain, em = (_quoted(text.replace(" ", "␣")) for text in (self.plain, self.em))
        return (
            f"Plain drew {plain} ({_percent(self.chance_plain)}); EM-INF left it {_percent(self.chance_left)} and "
            f"drew {em}."
        )


@dataclass(frozen=True)
class Verdict:
    """The outcome of a finished decode.

    Attributes:
        sentence (str): One sentence or two.
        marks (tuple of two str): "right", "wrong" or "" for each row.
    """

    sentence: str
    marks: tuple[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {"sentence": self.sentence, "marks": list(self.marks)}


def verdict(
    steps: "Sequence[Step]",
    *,
    names: Sequence[str] = NAMES,
    em: bool = True,
    answer: str | None = None,
    limit: int | None = None,
) -> Verdict:
    """Describe the outcome of decoding two rows: where they diverge, and what each answers.

    Args:
        steps (sequence of Step): The finished decode.
        names (sequence of two str): The names of the rows.
        em (bool, default True): Whether the second row was decoded with EM-INF.
        answer (str, optional): The known answer of the prompt.
        limit (int, optional): The most tokens that a row could have.
    """
    rows: list[list[Token]] = [[row for step in steps if (row := step.rows[which]) is not None] for which in (0, 1)]
    found = [extract_answer("".join(token.text for token in row if not token.special)) for row in rows]
    marks = ("", "")
    if answer is not None:
        right = [one is not None and same_answer(answer, one) for one in found]
        marks = ("right" if right[0] else "wrong", "right" if right[1] else "wrong")
    parts = [_difference(steps, names, em), _answers(found, marks, names)]
    if any(row and len(row) == limit and not row[-1].special for row in rows):
        parts.append(f"Text that had not ended after {limit} tokens was cut off.")
    return Verdict(" ".join(part for part in parts if part), marks)


def first_difference(steps: "Sequence[Step]") -> int | None:
    """Return the index of the first step whose rows do not all have the same token, or None if there is none."""
    for step in steps:
        if len({None if token is None else token.token_id for token in step.rows}) > 1:
            return step.index
    return None


def divergence(steps: "Sequence[Step]") -> Divergence | None:
    """Return the first step whose two rows drew different tokens, or None if there is none."""
    index = first_difference(steps)
    step = next((step for step in steps if step.index == index), None)
    if step is None or step.rows[0] is None or step.rows[1] is None or len(step.rows[1].chances) < 2:
        return None
    plain, em = step.rows[0], step.rows[1]
    return Divergence(step.index, plain.text, em.text, plain.chances[0], em.chances[0], em.chances[1])


def _difference(steps: "Sequence[Step]", names: Sequence[str], em: bool) -> str:
    index = first_difference(steps)
    if index is not None:
        parted = divergence(steps) if em else None
        if parted is not None:
            return parted.sentence()
        rows = next(step.rows for step in steps if step.index == index)
        drew = [f"{name} {'had ended' if t is None else f'drew {_quoted(t.text)}'}" for name, t in zip(names, rows)]
        return ", ".join(drew) + "."
    if not em:
        return "Both drew the same tokens."
    adjusted = sum(step.rows[1] is not None and step.rows[1].adjusted for step in steps)
    return (
        f"Both drew the same tokens: EM-INF adjusted {adjusted or 'none'} of {len(steps)} steps"
        f"{', and no draw changed' if adjusted else ''}."
    )


def _answers(found: Sequence[str | None], marks: Sequence[str], names: Sequence[str]) -> str:
    if not any(found):
        return "Neither gives an answer." if any(marks) else ""
    if found[0] == found[1]:
        return f"Both answer {found[0]}" + (f", which is {marks[0]}." if marks[0] else ".")
    told = [f"{name} {'gives no answer' if one is None else f'answers {one}'}" for name, one in zip(names, found)]
    if any(marks):
        told = [f"{text}, which is {mark}" if one else text for text, mark, one in zip(told, marks, found)]
    return "; ".join(told) + "."


def _quoted(text: str) -> str:
    blank = {"": "part of a character", " ": "a space", "\n": "a line break"}
    word = text.strip()
    if text in blank or not word or not word.replace(JOINER, "").isprintable():
        return blank.get(text) or repr(text)
    from_right = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in word)
    return f"{ISOLATE}“{word}”{END_ISOLATE}" if from_right else f"“{word}”"


def _percent(p: float) -> str:
    return f"{100 * p:.1f}%" if p >= 0.0005 else "less than 0.1%"
