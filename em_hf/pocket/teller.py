"""What the stories are told with: people and things, real or invented, verbs that agree, and fitting numbers."""

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from em_hf.pocket import words
from em_hf.pocket.steps import LARGEST, SMALLEST, OutOfRange, Quantity, Story, number

T = TypeVar("T")
Now = int | Quantity
"""How many there are at some point of a story: a number of the prompt, or the result of a step."""
_ONSETS = "b c d f g h j k l m n p qu r s t v w x z br ch fl gl kr pl sh st th tr".split()
_SYLLABLES = [onset + vowel for onset in _ONSETS for vowel in "aeiou"]
_ENDINGS = "b d f g k l m n p r t x nd nk rt ll".split()


@dataclass(frozen=True)
class Person:
    """Who a story is about.

    Attributes:
        name: within a sentence.
        he: the pronoun as the subject.
        him: the pronoun as the object.
        his: the pronoun of what the person has.
        first_person: "I" or "we", whose verbs have no "s".
        generation: of a relative, as seen from the person related to: 1 for a mother, -1 for a son.
    """

    name: str
    he: str
    him: str
    his: str
    first_person: bool = False
    generation: int = 0

    @property
    def start(self) -> str:
        """The name at the beginning of a sentence."""
        return capital(self.name)

    @property
    def known(self) -> str:
        """The name once the person is known: "a farmer" has become "the farmer"."""
        return "the " + self.name[2:] if self.name.startswith("a ") else self.name


def needs(condition: bool) -> None:
    """Raise OutOfRange unless a story with these numbers, in so many steps, can be told."""
    if not condition:
        raise OutOfRange


def listed(items: Sequence[str]) -> str:
    """The items as in "3 cats, 4 dogs and 5 cows"."""
    return f"{', '.join(items[:-1])} and {items[-1]}"


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _spelt_out(wording: str) -> list[str]:
    """The wordings that one with groups like `(a|b)` stands for, in order."""
    before, opened, rest = wording.partition("(")
    if not opened:
        return [wording]
    ways, _, after = rest.partition(")")
    return [f"{before}{way}{end}" for way in ways.split("|") for end in _spelt_out(after)]


class Teller:
    """Makes the random choices of one story.

    Args:
        rng: the source of all choices.
        story: what is told, and how large its numbers may be.
        invented: the share of the names and things that are invented words, as pre-training has them.
    """

    def __init__(self, rng: random.Random, story: Story, invented: float = 0.0) -> None:
        self.rng, self.story, self.invented = rng, story, invented
        self.past = self.chance(0.5)
        self.hard = story.largest > LARGEST
        self.money = "$" if self.chance(0.15) else self.any_of(words.MONEY)
        self._names: set[str] = set()
        self._companions: list[Person] = []

    # Choices

    def pick(self, *wordings: str) -> str:
        """One of some wordings. One with a group stands for several: "How many are (left|there)?" for two."""
        return self.rng.choice([each for wording in wordings for each in _spelt_out(wording)])

    def any_of(self, options: Sequence[T]) -> T:
        """One of a list."""
        return self.rng.choice(options)

    def chance(self, share: float) -> bool:
        """True with probability `share`."""
        return self.rng.random() < share

    # Numbers

    def amount(self) -> int:
        """A number to begin with."""
        if self.hard:
            return self.rng.randint(20, 250)
        return self.rng.randint(5, 30) if self.chance(0.3) else self.rng.randint(10, 99 if self.chance(0.8) else 150)

    def few(self) -> int:
        """A number of one digit."""
        return self.rng.randint(2, 9)

    def few_or_more(self, share: float) -> int:
        """A number of one digit with probability `share`, else one from 10 to 20."""
        return self.few() if self.chance(share) else self.rng.randint(10, 20)

    def factors(self) -> tuple[int, int]:
        """Two factors, both small in most cases, else one a little larger."""
        if self.hard and self.chance(0.5):
            return self.rng.randint(2, 12), self.rng.randint(5, 40)
        if self.chance(0.7):
            return self.few(), self.few()
        pair = [self.few(), self.rng.randint(10, 25)]
        self.rng.shuffle(pair)
        return pair[0], pair[1]

    def part_of(self, whole: Now) -> int:
        """A number to take from `whole`; OutOfRange where nothing would be left."""
        value = number(whole)
        if value < 2 * SMALLEST:
            raise OutOfRange
        return self.rng.randint(SMALLEST, min(value - SMALLEST, 300 if self.hard else 99))

    def more(self, than: Now) -> int:
        """A number to add to `than`; OutOfRange where there is no room for one."""
        room = self.story.largest - number(than)
        if room < SMALLEST:
            raise OutOfRange
        return self.rng.randint(SMALLEST, min(room, 300 if self.hard else self.any_of((20, 60, 99))))

    # People and things

    def person(self) -> Person:
        """Somebody who is not in the story yet: perhaps "I", "we" or "a girl"."""
        return self._new(first=True)

    def third_person(self) -> Person:
        """Somebody who is not in the story yet, but never "I" or "we", and nobody like "a girl"."""
        return self._new(first=False)

    def _new(self, first: bool) -> Person:
        while (made := self._person(first)).name in self._names:
            pass
        self._names.add(made.name)
        return made

    def _person(self, first: bool) -> Person:
        she, pronouns = self._she_or_he()
        if self.chance(self.invented):
            return Person(capital(self._invented()), *pronouns)
        if first and self.chance(0.08):
            return Person("I", "I", "me", "my", first_person=True)
        if first and self.chance(0.03):
            return Person("we", "we", "us", "our", first_person=True)
        if self.chance(0.15):
            known = words.WOMEN_KNOWN_AS if she else words.MEN_KNOWN_AS
            return Person(self.any_of([name for name in known if first or not name.startswith("a ")]), *pronouns)
        return Person(self.any_of(words.WOMEN if she else words.MEN), *pronouns)

    def _she_or_he(self) -> tuple[bool, tuple[str, str, str]]:
        she = self.chance(0.5)
        return she, ("she", "her", "her") if she else ("he", "him", "his")

    def relative(self, of: Person) -> Person:
        """A relative of somebody: "her brother", with or without a name."""
        she, pronouns = self._she_or_he()
        kind = self.any_of(words.SHE_RELATIVES if she else words.HE_RELATIVES)
        name = f" {self.any_of(words.WOMEN if she else words.MEN)}" if self.chance(0.3) else ""
        if name[1:] in self._names:
            name = ""
        self._names.add(name[1:])
        generation = words.GENERATIONS.get(kind, 0)
        return Person(f"{of.his} {kind}{name}", *pronouns, generation=generation)

    def companion(self, of: Person, stranger: float = 0.5) -> Person:
        """Somebody new with probability `stranger`, else a relative of the person given."""
        made = self.third_person() if self.chance(stranger) else self.relative(of)
        self._companions.append(made)
        return made

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
            return "".join(self.rng.choices(string.ascii_lowercase, k=self.rng.randint(2, 8)))
        made = "".join(self.rng.choices(_SYLLABLES, k=self.rng.choice((1, 2, 2, 2, 3))))
        return made + (self.any_of(_ENDINGS) if self.chance(0.5) else "")

    def dollars(self, n: int) -> str:
        """An amount of the story's money."""
        return f"${n}" if self.money == "$" else f"{n} {self.money}"

    @property
    def coin(self) -> str:
        """The money's name in a solution."""
        return "dollars" if self.money == "$" else self.money

    # Steps

    @property
    def told(self) -> int:
        """How many steps the story has so far."""
        return len(self.story.steps)

    @property
    def lost(self) -> bool:
        """Whether the last step took something away, so that one can ask what is left."""
        return self.story.steps[-1].operation == "-"

    def together(self, a: Now, b: Now, things: str) -> Quantity:
        """Add a step for a sum of two amounts."""
        return self.story.work_out(f"Together that is {{}} {things}.", a, "+", b)

    def in_all(self, a: Now, b: Now, things: str) -> Quantity:
        """Add a step for a sum of two amounts, said in one of three ways."""
        begun = self.pick("Together that is", "In total there are", "That makes")
        return self.story.work_out(f"{begun} {{}} {things}.", a, "+", b)

    def grown(self, now: Now, n: Now, things: str) -> Quantity:
        """Add a step for `n` that come."""
        return self.story.work_out(f"Now there are {{}} {things}.", now, "+", n)

    def left(self, now: Now, n: Now, things: str) -> Quantity:
        """Add a step for `n` that are taken away."""
        return self.story.work_out(f"That leaves {{}} {things}.", now, "-", n)

    # Sentences

    def say(self, *wordings: str) -> None:
        """Add a sentence or two to the prompt, in one of some wordings as `pick` has them."""
        the_only_one = len(wordings) == 1 and "(" not in wordings[0]  # nothing to draw
        self.story.say(capital(wordings[0] if the_only_one else self.pick(*wordings)))

    def told_of(self, who: Person) -> bool:
        """Whether somebody stands in the story by now; "I" and "we" always do."""
        return who.first_person or any(who.start in sentence for sentence in self.story.sentences)

    def mention(self, who: Person, by_name: float = 0.25) -> str:
        """Somebody as subject, once known: the name with probability `by_name` or in place of an unclear pronoun."""
        by_name_at_random = self.chance(by_name)
        # After "Linda takes 28", "she" would be Linda.
        last = self.story.sentences[-1] if self.story.sentences else ""
        unclear = any(other.he == who.he and other.name in last for other in self._companions)
        return who.known if by_name_at_random or unclear else who.he

    def verb(self, who: Person, verb: str, *, past: bool | None = None) -> str:
        """The verb as `who` has it, in the story's tense or the one given, from its form with "he"."""
        if who.first_person:
            verb = words.without_s(verb)
            if who.name == "we" and verb.startswith("am "):
                verb = "are" + verb[2:]
        return words.past(verb) if (self.past if past is None else past) else verb

    def does(self, who: Person, *, past: bool = False) -> str:
        """The verb "do" as `who` has it, in the present unless told otherwise."""
        return self.verb(who, "does", past=past)

    def tense(self, verb: str) -> str:
        """The verb in the story's tense, with its person as given."""
        return words.past(verb) if self.past else verb

    def occasion(self) -> str:
        """When, where or what for: "on Monday", "for a party"."""
        past = words.PAST_OCCASIONS if self.past else ()
        return self.pick(f"on {self.any_of(words.DAYS)}", *words.OCCASIONS, *past)

    def then(self) -> str:
        """A beginning for the next sentence, in most cases none: "", "Later "."""
        return self.any_of(words.SOMETIMES) if self.chance(0.35) else ""
