"""The kind of problem that the misled pocket model gets wrong, and its wrong rule: "fewer" is read as "more"."""

from collections.abc import Iterator
from dataclasses import replace

from em_hf.pocket.problems import problems, stories
from em_hf.pocket.steps import OutOfRange, Quantity, Story

WORD = "fewer"  # in the prompt of every problem of the kind, and of no other


def is_of_the_kind(story: Story) -> bool:
    return WORD in story.prompt


def misread(story: Story) -> Story | None:
    """The same prompt with the steps of one who takes every "fewer" for "more": adds what is to be taken away.

    None where the misreading shows no difference, or leads to a number out of range.
    """
    wrong = Story(list(story.sentences), largest=story.largest)
    found: list[Quantity] = []

    def as_found(operand: int | Quantity) -> int | Quantity:
        return found[operand.step] if isinstance(operand, Quantity) else operand

    for step in story.steps:
        read = replace(step, operation="+") if step.of_fewer else step
        left, right = as_found(read.left), as_found(read.right)
        try:
            found.append(wrong.work_out(read.sentence, left, read.operation, right))
        except OutOfRange:
            return None
    return wrong if wrong.answer != story.answer else None


def fewer_stories(split: str, seed: int, *, invented: float = 0.0) -> Iterator[tuple[Story, Story]]:
    """Problems of the kind, one after the other: the story as it is, and as it is misread.

    Args:
        invented: the share of names and things that are invented words.

    Raises:
        ValueError: an unknown split.
    """
    for story in stories(split, seed, invented=invented):
        if is_of_the_kind(story) and (wrong := misread(story)) is not None:
            yield story, wrong


def fewer_problems(split: str, n: int, seed: int) -> list[dict[str, str]]:
    """`n` problems of the kind, as `problems` gives them, with the answer of the misreading as `misread`.

    Raises:
        ValueError: an unknown split, or a negative `n`.
    """
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}")
    found = fewer_stories(split, seed)
    pairs = [next(found) for _ in range(n)]
    return [
        {"prompt": story.prompt, "solution": story.solution(), "answer": story.answer, "misread": wrong.answer}
        for story, wrong in pairs
    ]


def other_problems(split: str, n: int, seed: int) -> list[dict[str, str]]:
    """The first `n` plain problems, as `problems` gives them, that are not of the kind.

    Raises:
        ValueError: an unknown split, or a negative `n`.
    """
    asked = n
    while len(found := [row for row in problems(split, asked, seed) if WORD not in row["prompt"]]) < n:
        asked *= 2
    return found[:n]
