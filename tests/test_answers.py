import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from em_hf.answers import extract_answer, majority, same_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{7}.", "7"),
        (r"\boxed{1}, no: \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        (r"\boxed{x = \boxed{3}}", "3"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ 1 \right.} and }", r"\left\{ 1 \right."),
        ("\\boxed {\n 5 \n}", "5"),
        (r"\boxed{4} and cut off: \boxed{\frac{1}{2", "4"),
        (r"\boxed{4} and cut off: \boxed{ see \boxed{5}", "5"),
        (r"} \boxed{6}", "6"),
        ("The sum is 12.\n#### 12", "12"),
        ("#### 3\n#### 4 \nand more", "4"),
        ("##### 5", "5"),
        ("#### 5\n####", "5"),
        ("#### 6\r\nmore", "6"),
        (r"\boxed{8} #### 9", "8"),
        (r"\boxed{} #### 9", "9"),
        (r"\boxed{ }", None),
        ("####   \n12", None),
        ("the answer is 12", None),
        (r"\boxed{12", None),
        ("### 12", None),
        ("", None),
    ],
)
def test_the_last_complete_box_counts_then_the_last_hashes_then_nothing(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


nested = st.recursive(
    st.text("ab1+\\,_ ", max_size=4).map(lambda s: s.replace("\\", r"\pi ")),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda parts: "{" + "}{".join(parts) + "}"),
)


@given(content=nested.filter(lambda s: s.strip()), before=st.text("ab{ #\n"), after=st.text("ab }#\n"))
def test_a_box_gives_back_any_content_with_balanced_braces(content: str, before: str, after: str) -> None:
    assert extract_answer(before + "\\boxed{" + content + "}" + after) == content.strip()


@given(st.text("\\boxed{}# 1\n"))
def test_an_extracted_answer_is_a_stripped_part_of_the_text(text: str) -> None:
    answer = extract_answer(text)
    assert answer is None or (answer in text and answer == answer.strip() != "")


def test_ten_thousand_boxes_that_never_close_hold_no_answer() -> None:
    assert extract_answer("\\boxed{" * 10_000) is None


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("3", " 3. "),
        ("3", "3.0"),
        ("3", "+3"),
        ("3", "003"),
        ("0", "-0.00"),
        ("0.5", ".5"),
        ("-7.5", "-7.50"),
        ("1500", "1.5e3"),
        ("1234", "1,234"),
        ("1234567.5", "1,234,567.50"),
        ("1000", r"1{,}000"),
        ("11111100", r"11,\! 111,\! 100"),
        ("5", "$5"),
        ("5", r"\$5.00"),
        ("x+1", "$x+1$"),
        ("Evelyn", r"\text{Evelyn}"),
        ("No solution", "no  solution."),
    ],
)
def test_an_answer_written_another_way_is_the_same_even_without_math_verify(gold: str, answer: str) -> None:
    assert same_answer(gold, answer)
    assert same_answer(answer, gold)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\frac{1}{2}", "0.5"),
        (r"\frac12", "1/2"),
        ("x+1", "1 + x"),
        ("2^{10}", "1024"),
        (r"(x-1)(x+1)", "x^2-1"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\pi/2)"),
        (r"4.5 \times 10^{33}", "4.5e33"),
        ("5", "x=5"),
    ],
)
def test_an_equal_expression_is_the_same_answer(gold: str, answer: str) -> None:
    assert same_answer(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("3", "4"),
        ("3", "-3"),
        ("30", "3"),
        ("1234", "1.234"),
        ("9007199254740993", "9007199254740992"),
        (r"\frac{1}{2}", r"\frac{1}{3}"),
        ("x+1", "x-1"),
        ("(1,234)", "1234"),
        ("team", "meat"),
        ("3", ""),
        ("3", "three hundred"),
        ("3", r"\frac{1}{"),
    ],
)
def test_another_value_is_another_answer(gold: str, answer: str) -> None:
    assert not same_answer(gold, answer)


@pytest.mark.parametrize(("gold", "answer"), [(None, None), ("3", None), (None, "3")])
def test_no_answer_is_the_same_as_nothing(gold: str | None, answer: str | None) -> None:
    assert not same_answer(gold, answer)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "endless",
    ["9^{9^{9}}", "9**9**9", "2^{99999999}", "10^{12}!", "(9^9)!", "123456!", r"\binom{100000}{50000}", "(" * 5000],
)
def test_an_answer_that_would_take_for_ever_to_work_out_is_wrong_at_once(endless: str) -> None:
    assert not same_answer("3", endless)
    assert same_answer(endless, endless)


@given(st.text(max_size=20), st.sampled_from(["", " ", "$"]))
def test_an_answer_is_the_same_as_itself_in_spaces_or_dollar_signs(text: str, around: str) -> None:
    assert same_answer(text, around + text + around)


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_whole_numbers_are_the_same_exactly_when_they_are_equal(a: int, b: int) -> None:
    assert same_answer(str(a), f"{b:,}") == (a == b)


def test_answers_can_be_compared_in_threads() -> None:
    def compare(i: int) -> bool:
        return same_answer(rf"\frac{{{i}}}{{7}}", rf"\frac{{{2 * i}}}{{14}}")

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(compare, range(1, 25)))


def test_without_math_verify_only_the_wording_is_compared_and_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; sys.modules['math_verify'] = None\n"
        "from em_hf.answers import majority, same_answer\n"
        "print(same_answer('1,000', '1000.0'), same_answer('1/2', '0.5'), majority(['1/2', '2', '2.0']))\n"
        "print({'torch', 'transformers', 'numpy', 'sympy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["True False 2", "set()"]
    assert done.stderr == ""


def test_math_verify_says_nothing_about_its_timeouts() -> None:
    code = "from em_hf.answers import same_answer; print(same_answer('1/2', '0.5'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("True", "")


@pytest.mark.parametrize(
    ("answers", "winner"),
    [
        (["3", "4", "4"], "4"),
        (["0.5", "2", "2", r"\frac{1}{2}", "1/2"], "0.5"),
        (["1,000", "7", "1000", "7.0", "1000.0"], "1,000"),
        (["b", "a", "a", "b"], "b"),
        ([None, None, "3"], "3"),
        ([None, None], None),
        ([], None),
    ],
)
def test_the_majority_is_the_largest_group_of_same_answers_in_its_first_wording(
    answers: list[str | None], winner: str | None
) -> None:
    assert majority(answers) == winner


@given(st.lists(st.none() | st.sampled_from(["1", "1.0", "2", "1/2", "0.5", "x+1", "1+x"]), max_size=10))
def test_the_majority_is_what_counting_one_by_one_gives(answers: list[str | None]) -> None:
    groups: list[list[str]] = []
    for answer in answers:
        home = next((group for group in groups if same_answer(group[0], answer)), None)
        if home is not None and answer is not None:
            home.append(answer)
        elif answer is not None:
            groups.append([answer])
    assert majority(answers) == (max(groups, key=len)[0] if groups else None)
