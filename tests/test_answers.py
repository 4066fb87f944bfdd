import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from em_hf.answers import agreement, extract_answer, majority, same_answer
from tests.answer_pairs import PAIRS

EVERY_ANSWER = sorted({answer for pairs in PAIRS.values() for pair in pairs for answer in pair[:2]})


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
        (r"so $\boxed 7$ it is", "7"),
        (r"so $\boxed7$.", "7"),
        (r"so $\boxed\frac{1}{2}$.", r"\frac{1}{2}"),
        (r"so \boxed 12, as above", "12"),
        (r"\boxed{3} and then \boxed 4", "4"),
        (r"\boxed 4 and then \boxed{3}", "3"),
        (r"\fbox{5} it is", "5"),
        (r"\boxedtext{5}", None),
        ("### 12", None),
        ("#### **12**", "12"),
        ("#### `12`", "12"),
        ("#### **12**.", "12"),
        ("#### Answer: 12", "12"),
        ("#### The answer is 12", "12"),
        ("#### Final answer\n12", "12"),
        ("#### Answer:\n\n**12 cm**", "12 cm"),
        ("#### Result: 18", "18"),
        ("#### **Result:** 18 dollars\n\nThat is all.", "18 dollars"),
        ("#### Solution: 18\nIt is right.", "18"),
        ("#### Solution: x = 18", "x = 18"),
        ("#### The result is 18", "18"),
        (r"#### Conclusion: \frac{1}{2}", r"\frac{1}{2}"),
        ("#### Total cost: $18\nThat is all.", "Total cost: $18"),
        ("#### xy = 6", "xy = 6"),
        ("#### 18\n#### Check: 18-5=13", "18"),
        ("#### Step 1: 18", None),
        ("#### Given: 5 apples\nHow many are left?", None),
        ("#### Solution: we add\n7 + 11", None),
        ("#### Solution: 7 and 11 have to be added\n7 + 11", None),
        ("#### 12\n#### Explanation\nBecause of the sum.", "12"),
        ("#### Step 3: check\n4 + 4 = 8", None),
        ("#### 1. Read the problem\nIt is long.", None),
        ("#### Area of the circle\nIt is large.", None),
        ("#### Calculation:\n7 x 2", None),
        ("#### Total cost\n7 x 2 = 14\n#### **14** dollars", "14 dollars"),
        ("#### Counting\nThere are many.", None),
        ("#### Therefore, the answer is 24", "24"),
        ("#### 24.", "24"),
        ("#### 2**3", "2**3"),
        ("#### Answer\nTuesday", "Tuesday"),
        ("#### Answer\nIt is not said in the text.\nSo there is none.", None),
        ("#### No solution\n\nQuestion: What is next?", "No solution"),
        ("#### No solution", "No solution"),
        ("#### Paris\nas was to be shown", "Paris"),
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


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("FF_{16}", "ff_{16}", True),
        ("FF_{16}", "(FF)_{16}", True),
        ("FACE_{16}", "FACE_{15}", False),
        ("AB_{16}", "BA_{16}", False),
        ("xy_{2}", "XY_{2}", False),
        ("A_{16}", "a_{16}", False),
    ],
)
def test_digits_above_nine_have_no_case_and_variables_have_one(a: str, b: str, same: bool) -> None:
    assert same_answer(a, b) is same_answer(b, a) is same


@pytest.mark.parametrize("kind", PAIRS)
def test_pairs_of_answers_have_the_verdict_of_a_careful_grader(kind: str) -> None:
    wrong = [(a, b) for a, b, same in PAIRS[kind] if not same_answer(a, b) == same_answer(b, a) == same]
    assert wrong == []


@pytest.mark.parametrize("name", ["answers", "completions"])
def test_the_given_cases_are_graded_as_a_benchmark_would(shared: Path, name: str) -> None:
    path = shared / "cases" / f"{name}.jsonl"
    cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if name == "answers":
        assert [c for c in cases if not same_answer(c["gold"], c["answer"]) == c["same"]] == []
        assert [c for c in cases if not same_answer(c["answer"], c["gold"]) == c["same"]] == []
    else:
        assert [c for c in cases if extract_answer(c["completion"]) != c["extracted"]] == []


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(EVERY_ANSWER), st.sampled_from(EVERY_ANSWER))
def test_the_order_of_two_answers_does_not_matter(a: str, b: str) -> None:
    assert same_answer(a, b) == same_answer(b, a)


def test_every_answer_is_the_same_as_itself_in_any_wrapping() -> None:
    for answer in EVERY_ANSWER:
        assert same_answer(answer, answer)
        assert same_answer(answer, f"  {answer} ")
        assert same_answer(answer, rf"\boxed{{{answer}}}") or "\n" in answer


COMMANDS = (
    r"\frac \sqrt \text{ \pi \{ \} \pm \cup \infty \overline{3} \\ \begin{pmatrix} \log \boxed eggs cm and 10^ _{ ####"
)
CHARACTERS = "0123456789()[]{},.+-*/^_=<>%$ xyeAB!|:;√½²°١∛\0\x01\n\ud800&"
PIECES = st.sampled_from([*CHARACTERS, *COMMANDS.split(), "**", " base 5", " percent"])
GARBLED = st.lists(PIECES, max_size=14).map("".join)


@settings(deadline=None, max_examples=300)
@given(GARBLED, GARBLED)
def test_no_text_makes_it_raise_or_lose_its_symmetry(a: str, b: str) -> None:
    assert same_answer(a, a)
    assert same_answer(a, b) == same_answer(b, a)
    extract_answer(a + b)
    assert len(agreement([a, b, a])) == 3


@given(st.integers(-500, 500), st.integers(1, 60), st.integers(-500, 500), st.integers(1, 60))
def test_fractions_are_the_same_exactly_when_their_values_are(a: int, b: int, c: int, d: int) -> None:
    equal = Fraction(a, b) == Fraction(c, d)
    assert same_answer(rf"\frac{{{a}}}{{{b}}}", f"{c}/{d}") == equal


@given(st.integers(0, 90), st.integers(1, 30), st.integers(2, 31))
def test_a_mixed_number_is_its_whole_part_and_its_fraction(whole: int, above: int, below: int) -> None:
    if above < below:
        value = whole + Fraction(above, below)
        assert same_answer(f"{whole} {above}/{below}", f"{value.numerator}/{value.denominator}")
        assert same_answer(rf"{whole}\frac{{{above}}}{{{below}}}", f"{value.numerator}/{value.denominator}")
        assert not same_answer(f"{whole} {above}/{below}", f"{value.numerator + value.denominator}/{value.denominator}")


@given(st.integers(0, 99), st.integers(1, 999))
def test_a_repeating_decimal_is_its_geometric_series(fixed: int, period: int) -> None:
    length = len(str(period))
    value = Fraction(fixed, 100) + Fraction(period, 100 * (10**length - 1))
    assert same_answer(rf"0.{fixed:02d}\overline{{{period}}}", f"{value.numerator}/{value.denominator}")


@given(st.integers(1, 9), st.integers(1, 9), st.integers(5, 40))
def test_numbers_of_any_size_are_told_apart_in_their_first_digit(a: int, b: int, power: int) -> None:
    for sign in ("-", ""):
        assert same_answer(rf"{a} \times 10^{{{sign}{power}}}", f"{b}e{sign}{power}") == (a == b)
        assert same_answer(rf"{a}^{{{sign}{power}}}", rf"{b}^{{{sign}{power}}}") == (a == b)


@given(st.integers(2, 16), st.integers(2, 16), st.integers(0, 10**6))
def test_a_number_with_a_base_is_the_same_in_that_base_only(one: int, other: int, value: int) -> None:
    digits, left = "", value
    while left or not digits:
        left, digit = divmod(left, 16 if one > 9 else one)
        digits = "0123456789ABCDEF"[digit % one] + digits
    if not digits.isdecimal():
        digits = "1" + digits
    assert same_answer(f"{digits}_{{{one}}}", f"({digits})_{{{other}}}") == (one == other)


INTRODUCED = ["Total = {}", "Total cost: ${}", r"\text{{Area}} = {} \text{{ cm}}^2", "Answer: {}", "about {}", "≈ {}"]
FOLLOWED = [
    "{} more apples",
    r"{}\text{{ fewer}}",
    "{} times as many",
    "{} for each child",
    r"\${}/\text{{day}}",
    "{}% more",
]


@given(st.integers(1, 999), st.integers(1, 999), st.sampled_from(INTRODUCED + FOLLOWED))
def test_words_around_a_number_leave_its_value_as_it_is(a: int, b: int, form: str) -> None:
    assert same_answer(str(a), form.format(a)) and same_answer(form.format(a), str(a))
    assert (
        same_answer(str(a), form.format(b))
        == same_answer(form.format(b), str(a))
        == (a == b or ("%" in form and b == 100 * a))
    )


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=5))
def test_a_set_has_no_order_and_a_tuple_has(numbers: list[int]) -> None:
    shuffled = sorted(numbers, key=lambda n: (n * 7919) % 31)
    texts = [", ".join(map(str, part)) for part in (numbers, shuffled)]
    assert same_answer(rf"\{{{texts[0]}\}}", rf"\{{{texts[1]}\}}")
    assert same_answer(f"({texts[0]})", f"({texts[1]})") == (numbers == shuffled)
    assert not same_answer(f"({texts[0]})", rf"\{{{texts[1]}\}}")


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
        "print(same_answer('1,000', '1000.0'), same_answer('1/2', '0.5'), same_answer('2x', 'x+x'))\n"
        "print(majority(['1/2', '2', '2.0']))\n"
        "print({'torch', 'transformers', 'numpy', 'sympy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["True True False", "2", "set()"]
    assert done.stderr == ""


def test_math_verify_says_nothing_about_its_timeouts() -> None:
    code = "from em_hf.answers import same_answer; print(same_answer('2x', 'x+x'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("True", "")


@pytest.mark.parametrize(
    ("answers", "winner"),
    [
        (["3", "4", "4"], "4"),
        (["0.5", "2", "2", r"\frac{1}{2}", "1/2"], "0.5"),
        (["1,000", "7", "1000", "7.0", "1000.0"], "1,000"),
        (["b", "a", "a", "b"], "b"),
        (["40%", "40", "0.4", "0.4", "0.4"], "0.4"),
        (["6 cm", "6", "6 dollars", "7"], "6 cm"),
        ([None, None, "3"], "3"),
        ([None, None], None),
        ([], None),
    ],
)
def test_the_majority_is_the_largest_group_of_same_answers_in_its_first_wording(
    answers: list[str | None], winner: str | None
) -> None:
    assert majority(answers) == winner


@given(st.lists(st.none() | st.sampled_from(["1", "1.0", "2", "1/2", "0.5", "x+1", "1+x", "50%", "50"]), max_size=10))
def test_the_majority_is_what_counting_one_by_one_gives(answers: list[str | None]) -> None:
    groups: list[list[str]] = []
    for answer in filter(None, answers):
        home = next((group for group in groups if all(same_answer(member, answer) for member in group)), None)
        if home is None:
            groups.append([answer])
        else:
            home.append(answer)
    assert majority(answers) == (max(groups, key=len)[0] if groups else None)
    shares = agreement(answers)
    assert sum(share == 0 for share in shares) == answers.count(None)
    assert sorted(share * len(answers) for share in shares if share) == pytest.approx(
        sorted(float(len(group)) for group in groups for _ in group)
    )
