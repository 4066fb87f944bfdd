"""The kind of problem that the misled pocket model gets wrong, and its wrong rule: "fewer" is read as "more"."""

from collections.abc import Iterator
from dataclasses import replace

from em_hf.pocket.problems import stories
from em_hf.pocket.steps import LARGEST, Step, Story

WORD = "fewer"  # in the prompt of every problem of the kind, and of no other


def is_of_the_kind(story: Story) -> bool:
    return WORD in story.prompt


def misread(story: Story) -> Story | None:
    """The same prompt with the steps of one who takes every "fewer" for "more": adds what is to be taken away.

    None where the misreading shows no difference, or leads to a number out of range.
    """
    counts = [sentence.split() for sentence in story.sentences if WORD in sentence]
    amounts = {int(words[words.index(WORD) - 1]) for words in counts}
    # "Leo has 12 - 5 = 7 apples." is the step of "Leo has 5 fewer apples"; other subtractions are of things given away.
    steps = [_turned(step) if _compares(step, amounts) else step for step in story.steps]
    wrong = Story(list(story.sentences), steps)
    numbers = [int(word) for line in wrong.equations for word in line.split() if word.isdigit()]
    if wrong.answer == story.answer or min(numbers) < 2 or max(numbers) > LARGEST:
        return None
    return wrong


def _compares(step: Step, amounts: set[int]) -> bool:
    return step.operation == "-" and step.right in amounts and " has {} " in step.sentence


def _turned(step: Step) -> Step:
    return replace(step, operation="+")


def fewer_stories(split: str, seed: int, *, shortest: int = 2) -> Iterator[tuple[Story, Story]]:
    """Problems of the kind, one after the other: the story as it is, and as it is misread.

    Raises:
        ValueError: an unknown split.
    """
    for story in stories(split, seed, shortest=shortest):
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
