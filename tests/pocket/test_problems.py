"""The word problems: right, natural, reproducible, and never the same in two splits."""

import hashlib
import json
import random
import re
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from em_hf.pocket import LEVELS, problems
from em_hf.pocket.problems import SPLITS, STEPS, stories
from em_hf.pocket.steps import LARGEST, LARGEST_HARD
from em_hf.pocket.words import singular

PUBLISHED = {  # SHA-256
    "plain": "f36013e7ce5d9efe73cc3bdd45eb7b9f0f92417846129b84a6234ec018687dca",
    "hard": "dd976801b2f723d589ae25786622881d26c7781eaeb962e9d90d69e715ed157e",
}
READ = Path(__file__).with_name("read.jsonl")
EQUATION = re.compile(r"(\d+) ([-+×÷]) (\d+) = (\d+)")
NUMBERS_IN_WORDS = {"half": 2, "twice": 2, "two times": 2, "double": 2, "doubled": 2, "doubles": 2, "as many again": 2}
NUMBERS_IN_WORDS |= {"three times": 3}


def equations(solution: str) -> list[tuple[int, str, int, int]]:
    return [(int(a), sign, int(b), int(c)) for a, sign, b, c in EQUATION.findall(solution)]


def value(a: int, sign: str, b: int) -> int:
    if sign == "÷":
        assert a % b == 0
        return a // b
    return {"+": a + b, "-": a - b, "×": a * b}[sign]


def numbers_of(prompt: str) -> set[int]:
    """The numbers that a prompt gives, those in words included."""
    in_words = {number for words, number in NUMBERS_IN_WORDS.items() if words in prompt.lower()}
    return {int(number) for number in re.findall(r"\d+", prompt)} | in_words


@pytest.mark.parametrize("level", LEVELS)
def test_the_answer_is_what_a_reader_of_the_prompt_found(level: str) -> None:
    """`read.jsonl` holds problems of one seed with the answers that were worked out by reading them."""
    read = [
        row for line in READ.read_text(encoding="utf-8").splitlines() if (row := json.loads(line))["level"] == level
    ]
    made = {problem["prompt"]: problem["answer"] for problem in problems("test", 200, 21, level=level)}
    assert len(read) >= 45
    assert [row for row in read if made[row["prompt"]] != row["answer"]] == []


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_written_step_is_true_and_the_last_one_gives_the_answer(split: str, level: str) -> None:
    for problem in problems(split, 1000, seed=5, level=level):
        *lines, last = problem["solution"].split("\n")
        assert all(len(equations(line)) == 1 for line in lines)
        steps = equations(problem["solution"])
        assert all(value(a, sign, b) == c for a, sign, b, c in steps), problem["solution"]
        assert last == f"#### {steps[-1][3]}" == f"#### {problem['answer']}"


@pytest.mark.parametrize("level", LEVELS)
def test_steps_use_the_numbers_of_the_prompt_and_of_earlier_steps_and_leave_none_out(level: str) -> None:
    for problem in problems("train", 2000, seed=6, level=level):
        given = numbers_of(problem["prompt"])
        known, used = set(given), set()
        for a, _, b, c in equations(problem["solution"]):
            assert {a, b} <= known, problem
            used |= {a, b}
            known.add(c)
        assert {int(number) for number in re.findall(r"\d+", problem["prompt"])} <= used, problem


@pytest.mark.parametrize("level", LEVELS)
def test_each_level_has_its_numbers_of_steps_in_like_shares_and_all_four_operations(level: str) -> None:
    found = [equations(problem["solution"]) for problem in problems("train", 1000, seed=1, level=level)]
    shortest, longest = STEPS[level]
    lengths = Counter(len(steps) for steps in found)
    assert sorted(lengths) == list(range(shortest, longest + 1))
    assert min(lengths.values()) > 200
    signs = Counter(sign for steps in found for _, sign, _, _ in steps)
    assert set(signs) == set("+-×÷") and min(signs.values()) > 50


@pytest.mark.parametrize(("level", "largest"), [("plain", LARGEST), ("hard", LARGEST_HARD)])
def test_numbers_are_at_least_two_and_at_most_the_largest_of_the_level(level: str, largest: int) -> None:
    found = [
        number
        for problem in problems("train", 2000, seed=2, level=level)
        for a, _, b, c in equations(problem["solution"])
        for number in (a, b, c)
    ]
    assert min(found) >= 2 and largest * 0.9 < max(found) <= largest


def test_hard_problems_are_longer_and_have_larger_numbers() -> None:
    plain, hard = (problems("test", 1000, 0, level=level) for level in LEVELS)
    for measure in (
        lambda p: len(p["prompt"].split()),
        lambda p: len(equations(p["solution"])),
        lambda p: max(c for *_, c in equations(p["solution"])),
    ):
        assert sum(map(measure, hard)) > 1.5 * sum(map(measure, plain))


@pytest.mark.parametrize("level", LEVELS)
def test_no_problem_is_in_two_splits_even_under_another_name_or_wording(level: str) -> None:
    drawn = {split: problems(split, 4000, seed=3, level=level) for split in SPLITS}
    bare = {
        split: {"; ".join(m[0] for m in EQUATION.finditer(p["solution"])) for p in found}
        for split, found in drawn.items()
    }
    prompts = {split: {p["prompt"] for p in found} for split, found in drawn.items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not bare[one] & bare[other]
        assert not prompts[one] & prompts[other]


def test_one_call_gives_no_prompt_twice() -> None:
    assert len({p["prompt"] for p in problems("test", 5000, seed=0)}) == 5000


def test_the_same_arguments_give_the_same_problems_in_another_process() -> None:
    script = "import json; from em_hf.pocket import problems; print(json.dumps(problems('validation', 50, 7)))"
    made = [
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": salt}, capture_output=True, check=True, text=True
        ).stdout
        for salt in ("1", "2")
    ]
    assert json.loads(made[0]) == json.loads(made[1]) == problems("validation", 50, 7)


def test_fewer_problems_are_the_first_of_more_and_another_seed_gives_others() -> None:
    assert problems("test", 5, 0) == problems("test", 50, 0)[:5]
    assert problems("test", 50, 0) != problems("test", 50, 1)
    assert problems("test", 50, -1) != problems("test", 50, 1)
    assert problems("test", 0, 0) == []


@pytest.mark.parametrize("level", LEVELS)
def test_a_problem_is_its_prompt_its_solution_and_its_answer_as_strings(level: str) -> None:
    for problem in problems("train", 1000, seed=0, level=level):
        assert list(problem) == ["prompt", "solution", "answer"]
        assert all(isinstance(text, str) and text == text.strip() for text in problem.values())
        assert "\n" not in problem["prompt"] and "  " not in problem["prompt"]
        assert not re.search(r"[.?] [a-z]", problem["prompt"]), problem["prompt"]  # a sentence begins with a capital


def test_invented_words_are_spelled_alike_in_the_prompt_and_in_the_solution() -> None:
    texts = [f"{story.prompt} {story.solution()}" for story in islice(stories("train", 0), 20_000)]
    known = {word for text in texts for word in re.findall(r"[A-Za-z]+", text)}
    copied = 0
    for story in islice(stories("train", 0, invented=0.5), 2000):
        invented = {word for word in re.findall(r"\b[a-z]{4,}\b", story.solution()) if word not in known}
        given = set(re.findall(r"[a-z]+", story.prompt.lower()))
        assert all(word in given or singular(word) in given for word in invented), story.prompt
        copied += bool(invented)
    assert copied > 500


@pytest.mark.parametrize("level", ["easy", "", "Hard"])
def test_an_unknown_level_is_named_with_those_there_are(level: str) -> None:
    with pytest.raises(ValueError, match=rf"level must be one of plain, hard; got '{level}'"):
        problems("test", 1, 0, level=level)


@pytest.mark.parametrize("split", ["dev", "", "Train"])
def test_an_unknown_split_is_named_with_the_three_there_are(split: str) -> None:
    with pytest.raises(ValueError, match=rf"train, validation, test; got '{split}'"):
        problems(split, 1, 0)
    with pytest.raises(ValueError, match="split must be one of"):
        problems(split, 0, 0)


def test_a_negative_number_of_problems_is_refused() -> None:
    with pytest.raises(ValueError, match="n must be at least 0, got -1"):
        problems("train", -1, 0)


@pytest.mark.parametrize("level", LEVELS)
def test_a_slip_changes_one_result_and_the_rest_follows_from_it(level: str) -> None:
    rng = random.Random(0)
    slips_made = steps_seen = 0
    for story in islice(stories("train", 4, level=level), 3000):
        slips = story.draw_slips(rng, 0.12)
        right, written = equations(story.solution()), equations(story.solution(slips))
        wrong = {i for i, (a, sign, b, c) in enumerate(written) if value(a, sign, b) != c}
        assert wrong == set(slips)
        given = numbers_of(story.prompt)
        for i, (a, _, b, c) in enumerate(written):
            assert {a, b} <= given | {result for *_, result in written[:i]}
            assert 2 <= c <= story.largest
            if not wrong or i < min(wrong):
                assert written[i] == right[i]
        assert story.solution(slips).endswith(f"\n#### {written[-1][3]}")
        slips_made, steps_seen = slips_made + len(slips), steps_seen + len(written)
    # Where every slip would leave the range, or a division uneven, none is made: fewer than 12% have one.
    assert 0.1 < slips_made / steps_seen < 0.125


def test_without_slips_the_solution_is_the_right_one() -> None:
    for story in islice(stories("train", 4), 50):
        assert story.draw_slips(random.Random(0), 0.0) == {}
        assert story.solution({}) == story.solution()


@pytest.mark.parametrize("level", LEVELS)
def test_the_problems_of_the_published_figures_have_not_changed(level: str) -> None:
    text = json.dumps(problems("test", 500, 0, level=level), sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == PUBLISHED[level]


def test_importing_the_package_imports_no_heavy_library() -> None:
    script = (
        "import sys; from em_hf.pocket import POCKET_REASONER, problems; problems('train', 1, 0);"
        "print([m for m in ('torch', 'transformers', 'tokenizers', 'numpy', 'tqdm') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout
    assert out.strip() == "[]"
