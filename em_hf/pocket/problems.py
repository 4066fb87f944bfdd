"""Word problems at two levels, and the three splits that never share one."""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from em_hf.pocket.collection import collection
from em_hf.pocket.lots import before, repeated
from em_hf.pocket.measures import ages, measured
from em_hf.pocket.money import one_price, purse, shopping
from em_hf.pocket.parts import parts
from em_hf.pocket.people import comparison
from em_hf.pocket.places import place
from em_hf.pocket.sizes import piece
from em_hf.pocket.steps import OutOfRange, Story
from em_hf.pocket.sums import bare
from em_hf.pocket.times import clock, team

IF = 0.05  # of the stories that can be told as one question are
SPLITS = ("train", "validation", "test")

# Kinds of story and how often each is told.
KINDS: tuple[tuple[Callable[[Story], None], float], ...] = (
    (collection, 5),
    (place, 4),
    (parts, 3),
    (comparison, 4),
    (repeated, 4),
    (before, 1.5),
    (purse, 2),
    (shopping, 3),
    (one_price, 1),
    (ages, 1.5),
    (measured, 2.5),
    (piece, 1.5),
    (clock, 1),
    (team, 1),
    (bare, 1.5),
)


@dataclass(frozen=True)
class Level:
    """How long and how large the problems of a level are.

    Args:
        lengths: the numbers of steps, each as likely as it stands here often.
        largest: the largest number that may come up.
        new: the probability that a name or a thing is an invented word.
    """

    lengths: tuple[int, ...]
    largest: int
    new: float


LEVELS = {"plain": Level((1, 1, 2, 2, 3), 200, 0.08), "hard": Level((4, 5, 6), 500, 0.08)}


def problems(split: str, n: int, seed: int, *, level: str = "plain") -> list[dict[str, str]]:
    """`n` different word problems of a split, each with `prompt`, `solution` and `answer`.

    The same arguments give the same problems, and fewer are the first of more. A prompt and its solution make a text
    when a line break stands between them. The splits share no problem, not even under another name or wording: the
    equations of a problem alone decide its split.

    Args:
        split: "train", "validation" or "test".
        n: how many, at least 0.
        seed: of the random choices; another seed gives other problems, of which a few may be the same.
        level: "plain" (1 to 3 steps, numbers up to 200) or "hard" (4 to 6 steps, numbers up to 500).

    Raises:
        ValueError: an unknown split or level, or a negative `n`.
    """
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}")
    found = stories(split, seed, level=level)
    chosen = (next(found) for _ in range(n))
    return [{"prompt": story.prompt, "solution": story.solution(), "answer": story.answer} for story in chosen]


def stories(split: str, seed: int, *, level: str = "plain") -> Iterator[Story]:
    """Yield the problems of a split one after the other, no prompt twice.

    Raises:
        ValueError: an unknown split or level.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}; got {level!r}")
    return drawn(split, random.Random(f"{split} {seed} {level}"), LEVELS[level])


def drawn(
    split: str,
    rng: random.Random,
    level: Level,
    *,
    kinds: tuple[tuple[Callable[[Story], None], float], ...] = KINDS,
    again: bool = False,
) -> Iterator[Story]:
    """Yield the problems of a split at a level, no prompt twice unless `again`."""
    tellers, weights = [teller for teller, _ in kinds], [weight for _, weight in kinds]
    seen: set[str] = set()
    while True:
        story = Story(rng, rng.choice(level.lengths), level.largest, level.new)
        try:
            rng.choices(tellers, weights)[0](story)
        except OutOfRange:
            continue
        if rng.random() < IF:
            story.as_if()
        if not story.left and split_of(story.equations) == split and story.prompt not in seen:
            if not again:
                seen.add(story.prompt)
            yield story


def split_of(equations: tuple[str, ...]) -> str:
    """The split that a problem with these equations belongs to: 8 in 10 train, 1 validation, 1 test."""
    digest = hashlib.sha256("; ".join(equations).encode()).digest()
    return {0: "test", 1: "validation"}.get(digest[0] % 10, "train")
