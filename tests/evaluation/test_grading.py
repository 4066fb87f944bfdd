"""Every benchmark of ours graded on its own reference answers, on written solutions, and on near misses."""

import json
import re
from functools import cache
from pathlib import Path

import pytest

from em_hf.answers import extract_answer
from em_hf.evaluation.code import grading
from em_hf.evaluation.grading import maths, shares, steps
from em_hf.evaluation.run import EvalSettings, load_tasks, our_tasks
from tests.evaluation.solutions import LEETCODE, mbpp_rows

MATHS = "gsm8k math500 amc aime aime_2024 aime_2025 minerva olympiadbench ugphysics mawps svamp asdiv".split()


@cache
def task(name: str, data: Path | None = None) -> object:
    return load_tasks(EvalSettings("any", tasks=(name,)), data_dir=data, allow_code=True)["tasks"][name]


def grade(task: object, doc: dict, *texts: str) -> float:
    return task.process_results(doc, [list(texts)])["pass@1"]


@pytest.mark.parametrize("name", MATHS)
def test_reference_answers_and_written_solutions_score_all(name: str, shared_data: Path) -> None:
    found = task(name, shared_data)
    docs = list(found.eval_docs)
    assert len(docs) == our_tasks()[name]["metadata"]["size"]
    assert [d["answer"] for d in docs if grade(found, d, f"So it is \\boxed{{{d['answer']}}}.") != 1] == []
    solved = [d for d in docs if extract_answer(d["solution"])]
    assert [d["answer"] for d in solved if grade(found, d, d["solution"]) != 1] == []
    # The solutions that end with a mark: all, but for one of AIME without a box, and sets without marked solutions.
    expected = {"gsm8k": 1319, "math500": 500, "aime": 89, "aime_2024": 29, "minerva": 272}
    assert len(solved) == expected.get(name, 0)


@pytest.mark.parametrize("name", MATHS)
def test_another_problems_answer_or_none_scores_nothing(name: str, shared_data: Path) -> None:
    found = task(name, shared_data)
    docs = list(found.eval_docs)[:20]
    for doc in docs:
        assert grade(found, doc, "") == 0
        assert grade(found, doc, f"The answer is {doc['answer']}") == 0, "without a mark it is no answer"
        assert grade(found, doc, "\\boxed{-123456.75}") == 0
        assert grade(found, doc, f"\\boxed{{{doc['answer']}}}, or rather \\boxed{{-98765.5}}") == 0, (
            "the last box counts"
        )


@pytest.mark.parametrize(
    ("gold", "miss"),
    [
        ("18", "81"),
        ("18", "1.8"),
        ("18", "18.5"),
        ("18", "-18"),
        ("18", "18, 19"),
        ("0.5", "0.55"),
        ("\\frac{1}{3}", "0.33"),
        ("\\frac{14}{3}", "\\frac{3}{14}"),
        ("(3, \\frac{\\pi}{2})", "(\\frac{\\pi}{2}, 3)"),
        ("\\sqrt{2}", "\\sqrt{3}"),
        ("2\\sqrt{2}", "2\\sqrt{2}+1"),
        ("x^2+1", "x^2-1"),
        ("p - q", "q - p"),
        ("69, 84", "69"),
        ("[2, 5)", "[2, 5]"),
        ("\\text{even}", "\\text{odd}"),
        ("b", "c"),
        ("4.88 \\times 10^{23}", "4.88 \\times 10^{22}"),
    ],
)
def test_near_misses_score_nothing(gold: str, miss: str) -> None:
    assert maths({"answer": gold}, [[f"\\boxed{{{miss}}}"]])["pass@1"] == 0
    assert maths({"answer": gold}, [[f"\\boxed{{{gold}}}"]])["pass@1"] == 1


@pytest.mark.parametrize(
    ("gold", "same"),
    [("1234", "1,234"), ("\\frac{1}{2}", "0.5"), ("69, 84", "84, 69"), ("x^2+1", "1 + x^2"), ("18", "18.0")],
)
def test_other_ways_to_write_the_answer_score(gold: str, same: str) -> None:
    assert maths({"answer": gold}, [[f"\\boxed{{{same}}}"]])["pass@1"] == 1


def test_units_and_decimals_are_no_part_of_the_answers_of_word_problems(shared_data: Path) -> None:
    first = {name: task(name, shared_data).eval_docs[0] for name in ("asdiv", "mawps", "svamp")}
    assert {name: doc["answer"] for name, doc in first.items()} == {"asdiv": "9", "mawps": "43", "svamp": "145"}


def test_several_samples_give_means_unbiased_pass_at_k_and_the_majority() -> None:
    doc = {"answer": "7"}
    texts = ["\\boxed{7}", "\\boxed{8}", "\\boxed{7}", "no answer"]
    # 2 of 4 right: pass@2 = 1 - C(2,2)/C(4,2) = 5/6; the majority is 7.
    grades = {"pass@1": 0.5, "pass@2": pytest.approx(5 / 6), "pass@4": 1.0, "maj@4": 1.0, "answered": 0.75}
    assert maths(doc, [texts]) == grades
    assert maths(doc, [["\\boxed{8}", "\\boxed{8}", "\\boxed{7}"]])["maj@3"] == 0.0
    assert shares([True]) == {"pass@1": 1.0}
    assert steps(32) == [1, 2, 4, 8, 16, 32] and steps(6) == [1, 2, 4, 6]


def test_humanevals_canonical_solutions_pass_and_their_stubs_fail(shared_data: Path) -> None:
    docs = list(task("humaneval", shared_data).eval_docs)
    assert len(docs) == 164
    assert [i for i, d in enumerate(docs) if not grading.humaneval_verdict(d, d["solution"]).passed] == []
    for doc in docs[:10]:
        assert not grading.humaneval_verdict(doc, f"```python\n{doc['prompt']}    return None\n```").passed


def test_a_bare_continuation_of_the_prompt_counts_as_a_program(shared_data: Path) -> None:
    doc = task("humaneval", shared_data).eval_docs[0]
    body = doc["solution"].split('"""\n')[-1].rstrip("`\n")
    assert "def " not in body and grading.humaneval_verdict(doc, body).passed


@pytest.mark.parametrize("number", LEETCODE)
def test_leetcode_programs_pass_their_hundred_tests_and_fail_when_spoilt(number: int, shared_data: Path) -> None:
    doc = task("leetcode", shared_data).eval_docs[number]
    program = LEETCODE[number]
    assert doc["test"].count("assert") == 100
    assert grading.leetcode_verdict(doc, f"Here it is:\n```python{program}```\nIt works.").passed
    spoilt = re.sub(r"return (.*)\n$", r"return [\1]\n", program)
    assert spoilt != program and not grading.leetcode_verdict(doc, f"```python{spoilt}```").passed


@pytest.fixture
def mbpp_folder(tmp_path: Path) -> Path:
    (tmp_path / "mbpp.jsonl").write_text("\n".join(json.dumps(row) for row in mbpp_rows()))
    return tmp_path


def test_mbpp_programs_pass_and_fail_when_spoilt(mbpp_folder: Path) -> None:
    found = task("mbpp", mbpp_folder)
    docs = list(found.eval_docs)
    assert len(docs) == 10 and "assert add(2, 3) == 5" in docs[0]["problem"]
    assert [d["problem"] for d in docs if not grading.mbpp_verdict(d, d["solution"]).passed] == []
    for doc in docs:
        spoilt = doc["solution"].replace("return ", "return 1, ")
        assert not grading.mbpp_verdict(doc, spoilt).passed


def lcb_rows() -> list[dict]:
    """Three rows of the shape of LiveCodeBench's: standard input, a method, and packed private tests."""
    import base64
    import pickle
    import zlib

    plus = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]
    more = [{"input": "5 6\n", "output": "11", "testtype": "stdin"}]
    packed = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(more)))).decode()
    twice = [{"input": "[1, 2]\n2", "output": "[2, 4]", "testtype": "functional"}]
    stub = "class Solution:\n    def scale(self, nums: List[int], by: int) -> List[int]:\n        "
    head = {"question_content": "Add two numbers.", "starter_code": "", "metadata": "{}"}
    return [
        {**head, "public_test_cases": json.dumps(plus), "private_test_cases": json.dumps(more)},
        {**head, "public_test_cases": json.dumps(plus), "private_test_cases": packed},
        {
            "question_content": "Scale.",
            "starter_code": stub,
            "metadata": '{"func_name": "scale"}',
            "public_test_cases": json.dumps(twice),
            "private_test_cases": "[]",
        },
    ]


def test_livecodebench_runs_scripts_and_methods_against_public_and_private_tests(tmp_path: Path) -> None:
    (tmp_path / "livecodebench.jsonl").write_text("\n".join(json.dumps(row) for row in lcb_rows()))
    docs = list(task("livecodebench", tmp_path).eval_docs)
    adds = "```python\na, b = map(int, input().split())\nprint(a + b)\n```"
    only_public = "```python\ninput()\nprint(3)\n```"
    scales = "```python\nclass Solution:\n    def scale(self, nums, by):\n        return [n * by for n in nums]\n```"
    for doc in docs[:2]:
        assert grading.livecodebench_verdict(doc, adds).passed
        assert not grading.livecodebench_verdict(doc, only_public).passed
    assert grading.livecodebench_verdict(docs[2], scales).passed
    assert not grading.livecodebench_verdict(docs[2], scales.replace("*", "+")).passed
    assert "standard input" in docs[0]["problem"] and "class Solution" in docs[2]["problem"]


def test_the_program_is_the_last_block_that_defines_something() -> None:
    text = "First\n```python\ndef f(): return 1\n```\nbetter\n```python\ndef f(): return 2\n```\nas in\n```\nf()\n```"
    assert grading.code_in(text) == "def f(): return 2\n"
    assert grading.code_in("```python\nprint(1)\n```") == "print(1)\n"
    assert grading.code_in("```python\ndef f():\n    return 1") == "def f():\n    return 1", "cut off at the limit"
    assert grading.code_in("    return 1\n") == "    return 1\n"


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("1 2\n", "1 2", True),
        ("1  \n2\n\n", "1\n2", True),
        ("0.50\n", "0.5", True),
        ("1 2", "1 3", False),
        ("1\n2", "1", False),
        ("yes", "Yes", False),
    ],
)
def test_printed_output_is_compared_line_by_line(printed: str, expected: str, same: bool) -> None:
    assert grading.same_output(printed, expected) is same


def test_a_packed_test_that_is_no_plain_text_is_not_loaded() -> None:
    import base64
    import os
    import pickle
    import zlib

    class Trap:
        def __reduce__(self) -> tuple:
            return os.system, ("exit 7",)

    packed = base64.b64encode(zlib.compress(pickle.dumps(Trap()))).decode()
    with pytest.raises(pickle.UnpicklingError, match="plain data"):
        grading.unpacked(packed)
