"""What the stories are told with: people and things, real or invented, verbs that agree, and fitting numbers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from em_hf.pocket import words
from em_hf.pocket.steps import SMALLEST, OutOfRange, Quantity, Story, number

T = TypeVar("T")
_SYLLABLES = [
    a + b for a in "b c d f g h j k l m n p qu r s t v w x z br ch fl gl kr pl sh st th tr".split() for b in "aeiou"
]
_ENDINGS = "b d f g k l m n p r t x nd nk rt ll".split()


@dataclass(frozen=True)
class Person:
    """Who a story is about: the name within a sentence, the pronouns, and whether verbs take the form of "I"."""

    name: str
    he: str
    him: str
    his: str
    i: bool = False

    @property
    def start(self) -> str:
        """The name at the beginning of a sentence."""
        return capital(self.name)

    @property
    def known(self) -> str:
        """The name once the person is known: "a farmer" has become "the farmer"."""
        return "the " + self.name[2:] if self.name.startswith("a ") else self.name


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


class Teller:
    """Makes the random choices of one story.

    Args:
        rng: the source of all choices.
        story: what is told, and how large its numbers may be.
        invented: the share of the names and things that are invented words, as pre-training has them.
    """

    def __init__(self, rng: random.Random, story: Story, invented: float = 0.0) -> None:
        self.rng, self.story, self.invented = rng, story, invented
        self.past = rng.random() < 0.5
        self.hard = story.largest > 200
        self.money = "$" if rng.random() < 0.15 else rng.choice(words.MONEY)
        self._names: set[str] = set()

    # Choices

    def pick(self, *options: str) -> str:
        """One of some wordings."""
        return self.rng.choice(options)

    def any_of(self, options: Sequence[T]) -> T:
        return self.rng.choice(options)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    # Numbers

    def amount(self) -> int:
        """A number to begin with."""
        if self.hard:
            return self.rng.randint(20, 400)
        return self.rng.randint(5, 30) if self.chance(0.3) else self.rng.randint(10, 99 if self.chance(0.8) else 150)

    def few(self) -> int:
        return self.rng.randint(2, 9)

    def factors(self) -> tuple[int, int]:
        """Two factors, both small in most cases, else one a little larger."""
        if self.hard and self.chance(0.5):
            return self.rng.randint(2, 12), self.rng.randint(5, 40)
        if self.chance(0.7):
            return self.few(), self.few()
        pair = [self.rng.randint(2, 9), self.rng.randint(10, 25)]
        self.rng.shuffle(pair)
        return pair[0], pair[1]

    def part_of(self, whole: int | Quantity) -> int:
        """A number to take from `whole`; OutOfRange where nothing would be left."""
        value = number(whole)
        if value < 2 * SMALLEST:
            raise OutOfRange
        return self.rng.randint(SMALLEST, min(value - SMALLEST, 300 if self.hard else 99))

    def more(self, than: int | Quantity) -> int:
        """A number to add to `than`."""
        room = self.story.largest - number(than)
        if room < SMALLEST:
            raise OutOfRange
        return self.rng.randint(SMALLEST, min(room, 300 if self.hard else self.any_of((20, 60, 99))))

    def divisor(self, of: int | Quantity) -> int:
        """A small number that divides `of` and leaves more than 1."""
        value = number(of)
        found = [k for k in range(2, 13) if value % k == 0 and value // k >= SMALLEST]
        if not found:
            raise OutOfRange
        return self.any_of(found)

    # People and things

    def person(self, *, first: bool = True) -> Person:
        """Somebody who is not in the story yet; never "I" where `first` is False."""
        made = self._person(first)
        while made.name in self._names:
            made = self._person(first)
        self._names.add(made.name)
        return made

    def _person(self, first: bool) -> Person:
        she = self.chance(0.5)
        pronouns = ("she", "her", "her") if she else ("he", "him", "his")
        if self.chance(self.invented):
            return Person(capital(self._invented()), *pronouns)
        if first and self.chance(0.08):
            return Person("I", "I", "me", "my", i=True)
        if first and self.chance(0.03):
            return Person("we", "we", "us", "our", i=True)
        if self.chance(0.15):
            known = [
                name for name in (words.WOMEN_KNOWN_AS if she else words.MEN_KNOWN_AS) if first or name[:2] != "a "
            ]
            return Person(self.any_of(known), *pronouns)
        return Person(self.any_of(words.WOMEN if she else words.MEN), *pronouns)

    def relative(self, of: Person) -> Person:
        """A relative of somebody: "her brother", with or without a name."""
        she = self.chance(0.5)
        pronouns = ("she", "her", "her") if she else ("he", "him", "his")
        kind = self.any_of(words.SHE_RELATIVES if she else words.HE_RELATIVES)
        name = f" {self.any_of(words.WOMEN if she else words.MEN)}" if self.chance(0.3) else ""
        return Person(f"{of.his} {kind}{name}", *pronouns)

    def thing(self, *lists: Sequence[str]) -> str:
        """The plural of a thing from one of the lists; `FOOD`, `TOYS` and `WARES` where none is given."""
        if self.chance(self.invented):
            return words.plural(self._invented())
        return self.any_of(self.any_of(lists or (words.FOOD, words.TOYS, words.TOYS, words.WARES)))

    def noun(self, options: Sequence[str]) -> str:
        """A singular from a list, or an invented one."""
        return self._invented() if self.chance(self.invented) else self.any_of(options)

    def _invented(self) -> str:
        if self.chance(0.3):  # any letters at all, so that no letter's place is taken for granted
            return "".join(self.rng.choices("abcdefghijklmnopqrstuvwxyz", k=self.rng.randint(2, 8)))
        made = "".join(self.rng.choices(_SYLLABLES, k=self.rng.choice((1, 2, 2, 2, 3))))
        return made + (self.any_of(_ENDINGS) if self.chance(0.5) else "")

    def dollars(self, n: int | str) -> str:
        """An amount of the story's money."""
        return f"${n}" if self.money == "$" else f"{n} {self.money}"

    @property
    def coin(self) -> str:
        """The money's name in a solution."""
        return "dollars" if self.money == "$" else self.money

    # Sentences

    def say(self, sentence: str) -> None:
        self.story.say(capital(sentence))

    def verb(self, who: Person, present: str, past: str, *, in_past: bool | None = None) -> str:
        """The verb in the story's tense, as `who` has it."""
        if self.past if in_past is None else in_past:
            return "were" + past[3:] if past.split(" ")[0] == "was" and who.name == "we" else past
        made = words.without_s(present) if who.i else present
        return "are" + made[2:] if made.split(" ")[0] == "am" and who.name == "we" else made

    def does(self, who: Person, *, past: bool = False) -> str:
        return "did" if past else "do" if who.i else "does"

    def tense(self, forms: tuple[str, str]) -> str:
        """Present or past of a verb in the plural."""
        return forms[self.past]

    def then(self) -> str:
        return self.any_of(words.SOMETIMES) if self.chance(0.35) else ""
