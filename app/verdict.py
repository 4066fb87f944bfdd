"""The first sentence a visitor reads: what plain sampling drew, what EM-INF drew, and who is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from em_hf.answers import extract_answer, same_answer
from em_hf.compare.side_by_side import Step, Token


@dataclass(frozen=True)
class Verdict:
    """One sentence or two on a finished decode, and "right", "wrong" or "" for each of its two rows."""

    sentence: str
    marks: tuple[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {"sentence": self.sentence, "marks": list(self.marks)}


def verdict(
    steps: Sequence[Step], *, names: Sequence[str] = ("Plain", "EM-INF"), em: bool = True, answer: str | None = None
) -> Verdict:
    """Say what a decode of two rows came to.

    Args:
        steps: the finished decode.
        names: what the rows are called.
        em: whether the second row was decoded with EM-INF.
        answer: the known answer of the prompt, if any.
    """
    rows: list[list[Token]] = [[row for step in steps if (row := step.rows[which]) is not None] for which in (0, 1)]
    found = [extract_answer("".join(token.text for token in row if not token.special)) for row in rows]
    marks = ("", "")
    if answer is not None:
        right = [one is not None and same_answer(answer, one) for one in found]
        marks = ("right" if right[0] else "wrong", "right" if right[1] else "wrong")
    parts = [_parting(steps, names, em), _answers(found, marks, names)]
    return Verdict(" ".join(part for part in parts if part), marks)


def _parting(steps: Sequence[Step], names: Sequence[str], em: bool) -> str:
    for step in steps:
        first, second = step.rows[:2]
        if first is None and second is None:
            break
        if first is None or second is None or first.token_id != second.token_id:
            return f"At token {step.index} " + (_drawn(first, second) if em else _two(first, second, names))
    if not em:
        return "Both rows drew the same tokens."
    adjusted = sum(step.rows[1] is not None and step.rows[1].adjusted for step in steps)
    if not adjusted:
        return "Both rows drew the same tokens: no step reached EM-INF's threshold."
    return f"Both rows drew the same tokens: EM-INF adjusted {adjusted} of {len(steps)} steps, and no draw changed."


def _drawn(plain: Token | None, em: Token | None) -> str:
    if plain is None or em is None:
        return "one row had ended."
    before = next(c.before for c in plain.candidates if c.token_id == plain.token_id)
    left = next((c.after for c in em.candidates if c.token_id == plain.token_id), None)
    kept = _percent(left) if left is not None else f"under {_percent(min(c.after for c in em.candidates))}"
    return f"plain drew {_quoted(plain)} ({_percent(before)}). EM-INF left it {kept} and drew {_quoted(em)} instead."


def _two(first: Token | None, second: Token | None, names: Sequence[str]) -> str:
    drew = [
        f"{name} " + ("had ended" if t is None else f"drew {_quoted(t)}") for name, t in zip(names, (first, second))
    ]
    return ", ".join(drew) + "."


def _answers(found: Sequence[str | None], marks: Sequence[str], names: Sequence[str]) -> str:
    if not any(found):
        return ""
    if found[0] == found[1]:
        return f"Both answer {found[0]}" + (f", which is {marks[0]}." if marks[0] else ".")
    told = [f"{name} {'gives no answer' if one is None else f'answers {one}'}" for name, one in zip(names, found)]
    if any(marks):
        told = [f"{text}, which is {mark}" if one else text for text, mark, one in zip(told, marks, found)]
    return "; ".join(told) + "."


def _quoted(token: Token) -> str:
    text = token.text.strip() or {"\n": "a line break", " ": "a space"}.get(token.text, repr(token.text))
    return text if token.special or text.startswith("a ") else f"“{text}”"


def _percent(p: float) -> str:
    return f"{100 * p:.1f}%" if p >= 0.0005 else "less than 0.1%"
