"""Word problems as people type them, plain and hard, and the three splits that never share one."""

import hashlib
import random
from collections.abc import Iterator

from em_hf.pocket.steps import LARGEST, LARGEST_HARD, OutOfRange, Story
from em_hf.pocket.stories import HARD_STORIES, STORIES
from em_hf.pocket.teller import Teller

SPLITS = ("train", "validation", "test")
LEVELS = ("plain", "hard")
STEPS = {"plain": (1, 3), "hard": (4, 5)}  # the fewest and the most of each level


def problems(split: str, n: int, seed: int, *, level: str = "plain") -> list[dict[str, str]]:
    """`n` different word problems of a split, each with `prompt`, `solution` and `answer`.

    The same arguments give the same problems, and fewer are the first of more. A prompt and its solution make a text
    when a line break stands between them. The splits share no problem, not even under another name or wording: the
    equations of a problem alone decide its split.

    Args:
        split: "train", "validation" or "test".
        n: how many, at least 0.
        seed: of the random choices; another seed gives other problems, of which a few may be the same.
        level: "plain" for one to three steps and results up to 200, or "hard" for four or five steps and results up to
            500.

    Raises:
        ValueError: an unknown split or level, or a negative `n`.

    Example:
        >>> [problem["answer"] for problem in problems("test", 2, seed=0)]
        ['4', '20']
    """
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}")
    found = stories(split, seed, level=level)
    chosen = (next(found) for _ in range(n))
    return [{"prompt": story.prompt, "solution": story.solution(), "answer": story.answer} for story in chosen]


def stories(split: str, seed: int, *, level: str = "plain", invented: float = 0.0) -> Iterator[Story]:
    """The problems of a split one after the other, no prompt twice.

    Args:
        level: as `problems` has it.
        invented: the share of names and things that are invented words.

    Raises:
        ValueError: an unknown split or level.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}; got {level!r}")
    name = f"{split} {seed}" if level == "plain" else f"{level} {split} {seed}"
    return _stories(split, random.Random(name), level, invented)


def _stories(split: str, rng: random.Random, level: str, invented: float) -> Iterator[Story]:
    tellings, weights = zip(*(STORIES if level == "plain" else HARD_STORIES), strict=True)
    seen: set[str] = set()
    while True:
        (telling,) = rng.choices(tellings, weights)
        length = rng.randint(*STEPS[level])
        for _ in range(20):  # other numbers for the same story, so that no kind becomes rare
            story = Story(largest=LARGEST if level == "plain" else LARGEST_HARD)
            try:
                telling(Teller(rng, story, invented), length)
            except OutOfRange:
                continue
            break
        else:
            continue
        if split_of(story.equations) == split and story.prompt not in seen:
            seen.add(story.prompt)
            yield story


def split_of(equations: tuple[str, ...]) -> str:
    """The split that a problem with these equations belongs to: 8 in 10 train, 1 validation, 1 test."""
    digest = hashlib.sha256("; ".join(equations).encode()).digest()
    return {0: "test", 1: "validation"}.get(digest[0] % 10, "train")
