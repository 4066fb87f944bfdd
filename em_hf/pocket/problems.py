"""Word problems of 2 to 4 steps, and the three splits that never share one."""

import hashlib
import random
from collections.abc import Iterator

from em_hf.pocket.steps import OutOfRange, Story
from em_hf.pocket.stories import STORIES

SPLITS = ("train", "validation", "test")
LEVELS = ("plain", "hard")


def problems(split: str, n: int, seed: int, *, level: str = "plain") -> list[dict[str, str]]:
    """`n` different word problems of a split, each with `prompt`, `solution` and `answer`.

    The same arguments give the same problems, and fewer are the first of more. A prompt and its solution make a text
    when a line break stands between them. The splits share no problem, not even under another name or wording: the
    equations of a problem alone decide its split.

    Args:
        split: "train", "validation" or "test".
        n: how many, at least 0.
        seed: of the random choices; another seed gives other problems, of which a few may be the same.
        level: "plain", or "hard": more steps and longer stories.

    Raises:
        ValueError: an unknown split or level, or a negative `n`.
    """
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}")
    found = stories(split, seed, level=level)
    chosen = (next(found) for _ in range(n))
    return [{"prompt": story.prompt, "solution": story.solution(), "answer": story.answer} for story in chosen]


def stories(split: str, seed: int, *, shortest: int = 2, level: str = "plain") -> Iterator[Story]:
    """The problems of a split one after the other, no prompt twice, of `shortest` (1 or 2) to 4 steps.

    Raises:
        ValueError: an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}; got {level!r}")
    if level == "hard":
        return _stories(split, random.Random(f"hard {split} {seed}"), 5, 6)
    return _stories(split, random.Random(f"{split} {seed}"), shortest, 4)


def _stories(split: str, rng: random.Random, shortest: int, longest: int) -> Iterator[Story]:
    seen: set[str] = set()
    while True:
        story = Story()
        try:
            rng.choice(STORIES)(rng, story, rng.randint(shortest, longest))
        except OutOfRange:
            continue
        if split_of(story.equations) == split and story.prompt not in seen:
            seen.add(story.prompt)
            yield story


def split_of(equations: tuple[str, ...]) -> str:
    """The split that a problem with these equations belongs to: 8 in 10 train, 1 validation, 1 test."""
    digest = hashlib.sha256("; ".join(equations).encode()).digest()
    return {0: "test", 1: "validation"}.get(digest[0] % 10, "train")
