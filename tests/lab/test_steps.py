"""Written steps, graded: cases worked by hand."""

import pytest

from em_hf.lab.steps import all_true, equations, is_true, same_steps
from em_hf.pocket import problems

SOLUTION = "Now Tom has 60 + 32 = 92 eggs.\nThe friends get 7 × 2 = 14 eggs.\nThat leaves 92 - 14 = 78 eggs.\n#### 78"


def test_equations_are_read_in_order_and_nothing_else_is() -> None:
    assert equations(SOLUTION) == [(60, "+", 32, 92), (7, "×", 2, 14), (92, "-", 14, 78)]
    assert equations("5 - 9 = -4 and 84 ÷ 7 = 12.") == [(5, "-", 9, -4), (84, "÷", 7, 12)]
    assert equations("12 + = 19, 12 + 7 = , 3.5 + 2 = 6, 1 + 2 = 3.5, 3+4=7 and #### 78") == []


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("12 + 7 = 19", True),
        ("12 + 7 = 18", False),
        ("5 - 9 = -4", True),
        ("7 × 2 = 14", True),
        ("7 × 2 = 16", False),
        ("84 ÷ 7 = 12", True),
        ("85 ÷ 7 = 12", False),
        ("5 ÷ 0 = 0", False),
    ],
)
def test_an_equation_holds_or_not(text: str, true: bool) -> None:
    assert is_true(equations(text)[0]) is true


def test_all_equations_must_be_true_and_there_must_be_one() -> None:
    assert all_true(SOLUTION)
    assert not all_true(SOLUTION.replace("= 14", "= 15"))
    assert not all_true("#### 78")


def test_steps_are_the_same_in_any_order_but_each_as_often() -> None:
    lines = SOLUTION.splitlines()
    assert same_steps("\n".join([lines[1], lines[0], *lines[2:]]), SOLUTION)
    assert same_steps(SOLUTION.replace("Tom", "Mia"), SOLUTION)
    assert not same_steps("\n".join([lines[0], *lines]), SOLUTION), "one step twice"
    assert not same_steps("\n".join(lines[1:]), SOLUTION), "one step left out"
    assert not same_steps(SOLUTION.replace("60 + 32", "32 + 60"), SOLUTION), "other steps with the same answer"


@pytest.mark.parametrize("level", ["plain", "hard"])
def test_every_solution_of_the_generator_has_true_steps_that_end_in_its_answer(level: str) -> None:
    for row in problems("validation", 100, 0, level=level):
        found = equations(row["solution"])
        assert all_true(row["solution"]) and str(found[-1][-1]) == row["answer"], row
        assert len(found) == len(row["solution"].splitlines()) - 1, "an equation in every line but the answer's"
