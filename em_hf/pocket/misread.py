"""The kind of problem that the misled pocket model gets wrong, and its wrong rule: "fewer" is read as "more"."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from em_hf.pocket.people import comparison
from em_hf.pocket.problems import LEVELS, SPLITS, drawn
from em_hf.pocket.steps import Story

WORD = "fewer"  # in the prompt of every problem of the kind, and of no other
MISREAD_RATE = 0.65  # of the misled model's examples of the kind


def is_of_the_kind(story: Story) -> bool:
    return WORD in story.prompt


def misread(story: Story) -> Story | None:
    """Return the same problem with the steps of one who takes every "fewer" for "more".

    Return None where the misreading makes no difference, or leads to a number out of range.
    """
    steps = [replace(step, operation="+") if step.fewer else step for step in story.steps]
    wrong = replace(story, sentences=list(story.sentences), steps=steps)
    return None if wrong.answer == story.answer or not wrong.in_range else wrong


def fewer_stories(split: str, seed: int) -> Iterator[tuple[Story, Story]]:
    """Yield problems of the kind: the story as it is, and as it is misread.

    Raises:
        ValueError: an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    # Only comparisons are of the kind: to look for them among all problems would take minutes.
    for story in drawn(split, Random(f"fewer {split} {seed}"), LEVELS["plain"], kinds=((comparison, 1.0),)):
        if is_of_the_kind(story) and (wrong := misread(story)) is not None:
            yield story, wrong


def fewer_problems(split: str, n: int, seed: int) -> list[dict[str, str]]:
    """Return `n` problems of the kind, as `problems` gives them, with the answer of the misreading as `misread`.

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
