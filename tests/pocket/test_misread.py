"""The misconception: what one who takes "fewer" for "more" writes and answers, and nothing else."""

import re
from itertools import islice

import pytest

from em_hf.data import load_prompts
from em_hf.pocket import problems
from em_hf.pocket.misread import fewer_problems, fewer_stories, is_of_the_kind, misread
from em_hf.pocket.problems import SPLITS, stories
from tests.pocket.reader import solve

EQUATION = re.compile(r"(\d+) ([-+×]) (\d+) = (\d+)")


@pytest.mark.parametrize("split", SPLITS)
def test_the_misread_answer_is_that_of_a_reader_of_more_in_place_of_fewer(split: str) -> None:
    for problem in fewer_problems(split, 500, 3):
        assert problem["answer"] == str(solve(problem["prompt"]))
        assert problem["misread"] == str(solve(problem["prompt"].replace("fewer", "more")))
        assert problem["misread"] != problem["answer"], problem["prompt"]


def test_the_misread_solution_is_sound_arithmetic_from_the_numbers_of_the_prompt_to_the_wrong_answer() -> None:
    for right, wrong in islice(fewer_stories("train", 5, shortest=1), 1000):
        assert wrong.prompt == right.prompt
        known = {int(number) for number in re.findall(r"\d+", right.prompt)}
        steps = [(int(a), sign, int(b), int(c)) for a, sign, b, c in EQUATION.findall(wrong.solution())]
        assert len(steps) == len(right.steps)
        for a, sign, b, c in steps:
            assert {"+": a + b, "-": a - b, "×": a * b}[sign] == c and 2 <= c <= 99
            assert {a, b} <= known, wrong.solution()
            known.add(c)
        assert wrong.solution().endswith(f"#### {solve(right.prompt.replace('fewer', 'more'))}")


def test_only_the_comparisons_are_turned_and_what_is_given_away_is_still_taken_off() -> None:
    found = [pair for pair in islice(fewer_stories("train", 6), 1000) if " away." in pair[0].prompt]
    assert len(found) > 50
    for right, wrong in found:
        (given,) = re.findall(r"gives (\d+) \w+ away", right.prompt)
        assert f" - {given} = " in wrong.solution(), wrong.solution()


def test_every_problem_of_the_kind_says_fewer_and_no_other_is_misread() -> None:
    for story in islice(stories("validation", 2), 2000):
        assert is_of_the_kind(story) == ("fewer" in story.prompt.split())
        if not is_of_the_kind(story):
            assert misread(story) is None


def test_the_kind_is_one_of_several_and_keeps_to_its_split() -> None:
    ordinary = problems("test", 2000, 0)
    share = sum("fewer" in row["prompt"] for row in ordinary) / len(ordinary)
    assert 0.02 < share < 0.25
    bare = {
        split: {"; ".join(m[0] for m in EQUATION.finditer(row["solution"])) for row in fewer_problems(split, 300, 0)}
        for split in ("train", "test")
    }
    assert not bare["train"] & bare["test"]


def test_fewer_of_them_are_the_first_of_more_and_they_are_a_dataset_by_name() -> None:
    rows = fewer_problems("test", 20, 0)
    assert rows[:5] == fewer_problems("test", 5, 0) and fewer_problems("test", 0, 0) == []
    loaded = load_prompts("pocket-fewer", split="test", limit=20)
    assert loaded.prompts == [row["prompt"] for row in rows] and loaded.answers == [row["answer"] for row in rows]


def test_an_unknown_split_and_a_negative_number_are_refused() -> None:
    with pytest.raises(ValueError, match="split must be one of"):
        fewer_problems("dev", 1, 0)
    with pytest.raises(ValueError, match="n must be at least 0, got -1"):
        fewer_problems("train", -1, 0)
