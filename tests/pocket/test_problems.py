"""The word problems: right, in range, reproducible, and never the same in two splits."""

import hashlib
import json
import random
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from em_hf.pocket.people import comparison
from em_hf.pocket.problems import KINDS, LEVELS, SPLITS, drawn, problems, stories
from em_hf.pocket.sums import bare
from tests.pocket.reader import is_chain, solve_comparison, solve_sum

ROOT = Path(__file__).parents[2]
PUBLISHED = "d3da5127ac0d904f1c923a548145a4be686834cc531a35e38e72bd3d881b48bb"  # SHA-256
EQUATION = re.compile(r"(\d+) ([-+×÷]) (\d+) = (\d+)")
WORDS = {word: n for n, word in enumerate("two three four five six seven eight nine ten eleven twelve".split(), 2)}
# What a number not written in digits can stand for.
UNSAID = {"twice": 2, "half": 2, "third": 3, "quarter": 4, "back": 2, "friend": 2, "two": 2}
FACTS = {"hours": 60, "minutes": 60, "weeks": 7, "days": 24, "years": 12, "decades": 10}

# Read and worked out by hand, two of each kind of story.
BY_HAND = [
    ("collection", "Quaudbie had 32 candies. 7 more candies were delivered. How many candies did Quaudbie have?", 39),
    (
        "collection",
        "Two friends had 60 cucumbers. 7 more cucumbers were added. Next Iris borrowed 12 cucumbers. What is the "
        "number of cucumbers now?",
        55,
    ),
    ("place", "The roof had eight rows of 2 swans. Then 14 left. How many swans were on the roof in the end?", 2),
    ("place", "There are 19 dancers in a club. After that 7 dancers come. How many are there?", 26),
    ("parts", "In a basket there are 13 daisies, 14 tulips and 14 lilies. How many are there together?", 41),
    ("parts", "A group had 86 actors, 22 soldiers and 14 fans. How many is that altogether?", 122),
    ("comparison", "Peter counts 20 noodles, Wanda 61 and Ken 4. How many do they all count altogether?", 85),
    ("comparison", "Mo picked 6 beans, and Kwame picked 19 beans. How many more beans did Kwame pick than Mo?", 13),
    ("repeated", "Nick puts 3 lines of 3 plums. Then 7 plums are bad. How many plums are there?", 2),
    ("repeated", "For 3 weeks, the girls made 7 spiders every week. They got 69 more. How many spiders is that?", 90),
    ("before", "Anna needs 119 cars and has 98. How many more does she need?", 21),
    ("before", "Max sold 19 magazines to Simon and 13 to Omar. He had 21 left. How many did Max have before?", 53),
    (
        "purse",
        "Clara earned 8 dollars each day for six days. She paid 45 dollars for a bike. How much money is left?",
        3,
    ),
    ("purse", "I earned 98 dollars. I needed a hat for 107 dollars. How much more money did I have to save?", 9),
    (
        "shopping",
        "The scouts had 70 dollars to spend. They bought 5 watches at eight dollars each. How much money did they "
        "have left?",
        30,
    ),
    (
        "shopping",
        "George bought a notebook for 39 dollars and a camera for 10 dollars. How much does everything cost?",
        49,
    ),
    ("one_price", "Kayla has 56 dollars. A new juice costs 33 dollars. How much is left?", 23),
    ("one_price", "Yask has $59. A new lubmurdyee costs 45 dollars. How much money will he have after he buys it?", 14),
    ("ages", "Rosie is 41 years old. Her neighbor is 27 years older. How old will her neighbor be in 15 years?", 83),
    ("ages", "Clara is 48. Her brother is 27 years older. How old will her brother be in 12 years?", 87),
    (
        "measured",
        "Oscar dug 5 cm 6 times. The next day he dug 87 cm. He also dug 21 cm on Saturday. How many cm did he dig?",
        138,
    ),
    ("measured", "In 11 days Kate did 66 km, the same every day. How many km did she do per day?", 6),
    ("piece", "A log is 18 meters long. Then 4 meters are cut off. Max adds 25 meters. How long is it then?", 39),
    (
        "piece",
        "The cloth is 98 meters long. The cloth is divided into two equal parts. How long is each half then?",
        49,
    ),
    ("clock", "I spend 14 hours on the garden, 55 on lunch and 20 hours on chess. How long is that?", 89),
    (
        "clock",
        "In the morning it is 19 degrees. Later it is 7 degrees cooler. By noon it becomes 15 degrees hotter. How "
        "many degrees are there now?",
        27,
    ),
    ("team", "10 groups of 3 players play. How many players are there?", 30),
    ("team", "5 groups of 35 workers play. How many workers is that?", 175),
    ("bare", "66 - 58?", 8),
    ("bare", "What is 13 and 26 together?", 39),
]


def equations(solution: str) -> list[tuple[int, str, int, int]]:
    return [(int(a), sign, int(b), int(c)) for a, sign, b, c in EQUATION.findall(solution)]


def value(a: int, sign: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "×": a * b, "÷": a // b if b and a % b == 0 else -1}[sign]


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS], ids=lambda kind: kind.__name__)
def test_the_answers_are_those_found_by_hand(kind: object) -> None:
    name = kind.__name__  # type: ignore[attr-defined]
    found = drawn("test", random.Random(f"golden {name}"), LEVELS["plain"], kinds=((kind, 1.0),))  # type: ignore[arg-type]
    made = [(name, story.prompt, int(story.answer)) for story in islice(found, 2)]
    assert made == [row for row in BY_HAND if row[0] == name]


@pytest.mark.parametrize("split", SPLITS)
def test_a_sum_is_what_a_reader_of_it_finds(split: str) -> None:
    for story in islice(drawn(split, random.Random(5), LEVELS["plain"], kinds=((bare, 1.0),)), 2000):
        assert str(solve_sum(story.prompt)) == story.answer, story.prompt


@pytest.mark.parametrize("level", LEVELS)
def test_a_comparison_is_what_a_reader_of_it_finds(level: str) -> None:
    found = islice(drawn("train", random.Random(6), LEVELS[level], kinds=((comparison, 1.0),)), 2000)
    chains = [story for story in found if is_chain(story.prompt)]
    assert len(chains) > 500
    for story in chains:
        assert str(solve_comparison(story.prompt)) == story.answer, story.prompt


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_written_step_is_true_and_the_last_one_gives_the_answer(split: str, level: str) -> None:
    for problem in problems(split, 1000, seed=5, level=level):
        *lines, last = problem["solution"].split("\n")
        assert all(len(equations(line)) == 1 for line in lines)
        steps = equations(problem["solution"])
        assert all(value(a, sign, b) == c for a, sign, b, c in steps), problem["solution"]
        assert last == f"#### {steps[-1][3]}" == f"#### {problem['answer']}"


def test_steps_use_the_numbers_of_the_prompt_and_of_earlier_steps_and_leave_none_out() -> None:
    for problem in problems("train", 3000, seed=6):
        said = re.findall(r"\d+|[a-z]+", problem["prompt"].lower())
        digits = {int(word) for word in said if word.isdigit()}
        known = digits | {WORDS.get(word) or UNSAID.get(word) or FACTS.get(word) or -1 for word in said}
        used: set[int] = set()
        for a, _, b, c in equations(problem["solution"]):
            assert {a, b} <= known, problem
            used |= {a, b}
            known.add(c)
        assert digits <= used, problem


def test_plain_problems_have_1_to_3_steps_hard_ones_4_to_6_and_all_operations_occur() -> None:
    for level, lengths in (("plain", {1, 2, 3}), ("hard", {4, 5, 6})):
        found = [equations(problem["solution"]) for problem in problems("train", 1500, seed=1, level=level)]
        counts = [len(steps) for steps in found]
        assert set(counts) == lengths and min(counts.count(length) for length in lengths) > 150
        signs = [sign for steps in found for _, sign, _, _ in steps]
        assert min(signs.count(sign) for sign in "+-×÷") > 50


@pytest.mark.parametrize("level", LEVELS)
def test_numbers_stay_in_the_range_of_the_level(level: str) -> None:
    largest = {"plain": 200, "hard": 500}[level]
    for problem in problems("train", 2000, seed=2, level=level):
        for a, sign, b, c in equations(problem["solution"]):
            assert 0 <= min(a, b, c) and max(a, b, c) <= largest
            assert sign not in "×÷" or min(a, b) <= 24 or min(b, c) <= 12


def test_names_and_things_are_invented_now_and_then() -> None:
    text = " ".join(problem["prompt"] for problem in problems("test", 4000, seed=1))
    counts = {}
    for word in re.findall(r"[a-z]{4,}", text.lower()):
        counts[word] = counts.get(word, 0) + 1
    assert sum(count <= 4 for count in counts.values()) > 300


def test_no_problem_is_in_two_splits_even_under_another_name_or_wording_or_level() -> None:
    drawn_ = {split: [p for level in LEVELS for p in problems(split, 3000, seed=3, level=level)] for split in SPLITS}
    bare_ = {
        split: {"; ".join(m[0] for m in EQUATION.finditer(p["solution"])) for p in found}
        for split, found in drawn_.items()
    }
    prompts = {split: {p["prompt"] for p in found} for split, found in drawn_.items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not bare_[one] & bare_[other]
        assert not prompts[one] & prompts[other]


@pytest.mark.parametrize("level", LEVELS)
def test_one_call_gives_no_prompt_twice(level: str) -> None:
    assert len({p["prompt"] for p in problems("test", 3000, seed=0, level=level)}) == 3000


def test_the_same_arguments_give_the_same_problems_in_another_process() -> None:
    script = "import json; from em_hf.pocket.problems import problems; print(json.dumps(problems('validation', 50, 7)))"
    made = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": salt},
            capture_output=True,
            check=True,
            text=True,
            cwd=ROOT,
        ).stdout
        for salt in ("1", "2")
    ]
    assert json.loads(made[0]) == json.loads(made[1]) == problems("validation", 50, 7)


def test_fewer_problems_are_the_first_of_more_and_another_seed_gives_others() -> None:
    assert problems("test", 5, 0) == problems("test", 50, 0)[:5]
    assert problems("test", 50, 0) != problems("test", 50, 1)
    assert problems("test", 50, -1) != problems("test", 50, 1)
    assert problems("test", 0, 0) == []


def test_a_problem_is_its_prompt_its_solution_and_its_answer_as_strings_and_no_template_shows() -> None:
    for level in LEVELS:
        for problem in problems("train", 2000, seed=0, level=level):
            assert list(problem) == ["prompt", "solution", "answer"]
            assert all(isinstance(text, str) and text == text.strip() for text in problem.values())
            assert not re.search(r"[\[\]<>{}|@_\n]|  | [,.]|\.\.|\b(\w+) \1\b", problem["prompt"]), problem["prompt"]


@pytest.mark.parametrize("split", ["dev", "", "Train"])
def test_an_unknown_split_is_named_with_the_three_there_are(split: str) -> None:
    with pytest.raises(ValueError, match=rf"train, validation, test; got '{split}'"):
        problems(split, 1, 0)
    with pytest.raises(ValueError, match="split must be one of"):
        problems(split, 0, 0)


def test_an_unknown_level_is_named_with_the_two_there_are() -> None:
    with pytest.raises(ValueError, match="level must be one of plain, hard; got 'easy'"):
        problems("test", 1, 0, level="easy")


def test_a_negative_number_of_problems_is_refused() -> None:
    with pytest.raises(ValueError, match="n must be at least 0, got -1"):
        problems("train", -1, 0)


@pytest.mark.parametrize("level", LEVELS)
def test_a_slip_changes_one_result_and_the_rest_follows_from_it(level: str) -> None:
    rng = random.Random(0)
    slips_made = steps_seen = 0
    for story in islice(stories("train", 4, level=level), 2000):
        slips = story.draw_slips(rng, 0.12)
        right, written = equations(story.solution()), equations(story.solution(slips))
        wrong = {i for i, (a, sign, b, c) in enumerate(written) if value(a, sign, b) != c}
        assert wrong == set(slips)
        for i in range(len(written)):
            if not wrong or i < min(wrong):
                assert written[i] == right[i]
        assert all(0 <= c <= LEVELS[level].largest for *_, c in written)
        assert story.solution(slips).endswith(f"#### {written[-1][3]}")
        slips_made, steps_seen = slips_made + len(slips), steps_seen + len(written)
    # Where every slip would leave the range, or break a division, none is made: a little under 12% have one.
    assert 0.095 < slips_made / steps_seen < 0.125


def test_without_slips_the_solution_is_the_right_one() -> None:
    for story in islice(stories("train", 4), 50):
        assert story.draw_slips(random.Random(0), 0.0) == {}
        assert story.solution({}) == story.solution()


def test_the_problems_have_not_changed() -> None:
    text = json.dumps([problems("test", 500, 0, level=level) for level in LEVELS], sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == PUBLISHED


def test_the_grammar_needs_no_library_and_no_em_hf() -> None:
    script = (
        "import sys; from em_hf.pocket.problems import problems; problems('train', 1, 0);"
        "print([m for m in ('torch', 'transformers', 'tokenizers', 'numpy', 'em_hf') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True, cwd=ROOT).stdout
    assert out.strip() == "[]"
