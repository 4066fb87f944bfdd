"""The misconception: what one who takes "fewer" for "more" writes and answers, and nothing else."""

import re
from itertools import islice

import pytest

from em_hf.pocket.misread import fewer_problems, fewer_stories, is_of_the_kind, misread
from em_hf.pocket.problems import SPLITS, problems, stories
from tests.pocket.reader import is_chain, solve_comparison

EQUATION = re.compile(r"(\d+) ([-+×÷]) (\d+) = (\d+)")


@pytest.mark.parametrize("split", SPLITS)
def test_the_misread_answer_is_that_of_a_reader_of_more_in_place_of_fewer(split: str) -> None:
    rows = fewer_problems(split, 500, 3)
    chains = [row for row in rows if is_chain(row["prompt"])]
    assert len(chains) > 300
    for row in chains:
        assert row["answer"] == str(solve_comparison(row["prompt"]))
        assert row["misread"] == str(solve_comparison(row["prompt"], fewer="more"))
    assert all(row["misread"] != row["answer"] for row in rows)


def test_the_misread_solution_is_sound_arithmetic_to_the_wrong_answer() -> None:
    for right, wrong in islice(fewer_stories("train", 5), 1000):
        assert wrong.prompt == right.prompt
        steps = [(int(a), sign, int(b), int(c)) for a, sign, b, c in EQUATION.findall(wrong.solution())]
        assert len(steps) == len(right.steps)
        for a, sign, b, c in steps:
            assert {"+": a + b, "-": a - b, "×": a * b, "÷": a / b}[sign] == c and 2 <= c <= 200
        assert wrong.solution().endswith(f"#### {wrong.answer}") and steps[-1][3] == int(wrong.answer)


def test_only_the_comparisons_are_turned_and_what_is_lost_is_still_taken_off() -> None:
    found = [
        (right, lost[1])
        for pair in islice(fewer_stories("train", 6), 1500)
        if (right := pair) and (lost := re.search(r"[Tt]hey (?:lose|sell|use|give) (\d+)", pair[0].prompt))
    ]
    assert len(found) > 50
    for (_, wrong), lost in found:
        assert f" - {lost} = " in wrong.solution(), wrong.solution()
        assert wrong.solution().count(" - ") == 1 or wrong.prompt.count("fewer") < wrong.solution().count(" - ")


def test_every_problem_of_the_kind_says_fewer_and_no_other_is_misread() -> None:
    for story in islice(stories("validation", 2), 3000):
        assert is_of_the_kind(story) == bool(re.search(r"\bfewer\b", story.prompt))
        assert any(step.fewer for step in story.steps) == is_of_the_kind(story)
        if not is_of_the_kind(story):
            assert misread(story) is None


def test_the_kind_is_one_of_several_and_keeps_to_its_split() -> None:
    ordinary = problems("test", 4000, 0)
    share = sum("fewer" in row["prompt"] for row in ordinary) / len(ordinary)
    assert 0.01 < share < 0.1
    bare = {
        split: {"; ".join(m[0] for m in EQUATION.finditer(row["solution"])) for row in fewer_problems(split, 300, 0)}
        for split in ("train", "test")
    }
    assert not bare["train"] & bare["test"]


def test_fewer_of_them_are_the_first_of_more() -> None:
    rows = fewer_problems("test", 20, 0)
    assert rows[:5] == fewer_problems("test", 5, 0) and fewer_problems("test", 0, 0) == []


def test_an_unknown_split_and_a_negative_number_are_refused() -> None:
    with pytest.raises(ValueError, match="train, validation, test; got 'dev'"):
        fewer_problems("dev", 1, 0)
    with pytest.raises(ValueError, match="n must be at least 0, got -1"):
        fewer_problems("test", -1, 0)
