"""The word problems: right, natural, reproducible, and never the same in two splits."""

import hashlib
import json
import random
import re
import subprocess
import sys
from itertools import islice

import pytest

from em_hf.pocket import problems
from em_hf.pocket.problems import SPLITS, stories
from tests.pocket.reader import solve

PUBLISHED = "7526fcf6eff7ba4edde8c2f59f3875c8a22b2e6583065a0be9cdd458a4552654"  # SHA-256
EQUATION = re.compile(r"(\d+) ([-+×]) (\d+) = (\d+)")


def equations(solution: str) -> list[tuple[int, str, int, int]]:
    return [(int(a), sign, int(b), int(c)) for a, sign, b, c in EQUATION.findall(solution)]


def value(a: int, sign: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "×": a * b}[sign]


@pytest.mark.parametrize("split", SPLITS)
def test_the_answer_is_what_a_reader_of_the_prompt_finds(split: str) -> None:
    for problem in problems(split, 3000, seed=11):
        assert str(solve(problem["prompt"])) == problem["answer"], problem["prompt"]


def test_the_one_step_problems_of_pretraining_are_right_too() -> None:
    found = list(islice(stories("train", 12, shortest=1), 3000))
    assert all(str(solve(story.prompt)) == story.answer for story in found)
    assert 500 < sum(len(story.steps) == 1 for story in found) < 1000


@pytest.mark.parametrize("split", SPLITS)
def test_every_written_step_is_true_and_the_last_one_gives_the_answer(split: str) -> None:
    for problem in problems(split, 1000, seed=5):
        *lines, last = problem["solution"].split("\n")
        assert all(len(equations(line)) == 1 for line in lines)
        steps = equations(problem["solution"])
        assert all(value(a, sign, b) == c for a, sign, b, c in steps), problem["solution"]
        assert last == f"#### {steps[-1][3]}" == f"#### {problem['answer']}"


def test_steps_use_the_numbers_of_the_prompt_and_of_earlier_steps_and_leave_none_out() -> None:
    for problem in problems("train", 1000, seed=6):
        given = {int(number) for number in re.findall(r"\d+", problem["prompt"])}
        known, used = set(given), set()
        for a, _, b, c in equations(problem["solution"]):
            assert {a, b} <= known, problem
            used |= {a, b}
            known.add(c)
        assert given <= used, problem


def test_problems_have_2_to_4_steps_and_use_all_three_operations() -> None:
    found = [equations(problem["solution"]) for problem in problems("train", 1000, seed=1)]
    lengths = [len(steps) for steps in found]
    assert set(lengths) == {2, 3, 4}
    assert min(lengths.count(length) for length in (2, 3, 4)) > 200
    signs = [sign for steps in found for _, sign, _, _ in steps]
    assert min(signs.count(sign) for sign in "+-×") > 500


def test_numbers_have_at_most_two_digits_and_products_are_of_small_factors() -> None:
    for problem in problems("train", 1000, seed=2):
        for a, sign, b, c in equations(problem["solution"]):
            assert max(a, b, c) <= 99 and min(a, b, c) >= 2
            assert sign != "×" or max(a, b) <= 9


def test_no_problem_is_in_two_splits_even_under_another_name_or_wording() -> None:
    drawn = {split: problems(split, 4000, seed=3) for split in SPLITS}
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


def test_a_problem_is_its_prompt_its_solution_and_its_answer_as_strings() -> None:
    for problem in problems("train", 20, seed=0):
        assert list(problem) == ["prompt", "solution", "answer"]
        assert all(isinstance(text, str) and text == text.strip() for text in problem.values())
        assert problem["prompt"].endswith("?") and "\n" not in problem["prompt"]


@pytest.mark.parametrize("split", ["dev", "", "Train"])
def test_an_unknown_split_is_named_with_the_three_there_are(split: str) -> None:
    with pytest.raises(ValueError, match=rf"train, validation, test; got '{split}'"):
        problems(split, 1, 0)
    with pytest.raises(ValueError, match="split must be one of"):
        problems(split, 0, 0)


def test_a_negative_number_of_problems_is_refused() -> None:
    with pytest.raises(ValueError, match="n must be at least 0, got -1"):
        problems("train", -1, 0)


def test_a_slip_changes_one_result_and_the_rest_follows_from_it() -> None:
    rng = random.Random(0)
    slips_made = steps_seen = 0
    for story in islice(stories("train", 4), 3000):
        slips = story.draw_slips(rng, 0.12)
        right, written = equations(story.solution()), equations(story.solution(slips))
        wrong = {i for i, (a, sign, b, c) in enumerate(written) if value(a, sign, b) != c}
        assert wrong == set(slips)
        given = {int(number) for number in re.findall(r"\d+", story.prompt)}
        for i, (a, _, b, c) in enumerate(written):
            assert {a, b} <= given | {result for *_, result in written[:i]}
            assert 2 <= c <= 99
            if not wrong or i < min(wrong):
                assert written[i] == right[i]
        assert story.solution(slips).endswith(f"\n#### {written[-1][3]}")
        slips_made, steps_seen = slips_made + len(slips), steps_seen + len(written)
    # Where every slip would leave the range none is made: a little under 12% of the steps have one.
    assert 0.115 < slips_made / steps_seen < 0.125


def test_without_slips_the_solution_is_the_right_one() -> None:
    for story in islice(stories("train", 4), 50):
        assert story.draw_slips(random.Random(0), 0.0) == {}
        assert story.solution({}) == story.solution()


def test_the_problems_of_the_published_figures_have_not_changed() -> None:
    text = json.dumps(problems("test", 500, 0), sort_keys=True)
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "7526fcf6eff7ba4edde8c2f59f3875c8a22b2e6583065a0be9cdd458a4552654"
    )


def test_importing_the_package_imports_no_heavy_library() -> None:
    script = (
        "import sys; from em_hf.pocket import POCKET_REASONER, problems; problems('train', 1, 0);"
        "print([m for m in ('torch', 'transformers', 'tokenizers', 'numpy', 'tqdm') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout
    assert out.strip() == "[]"
