"""How the code benchmarks grade: find the program in an answer and run it against the problem's tests, sandboxed.

Called by the task files. A program is code that a model wrote: only `em_hf.evaluation.code.sandbox` runs it.
"""

import ast
import base64
import builtins
import json
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from em_hf.evaluation.code.plaindata import NoClasses
from em_hf.evaluation.code.sandbox import Limits, Verdict, passes, run_script
from em_hf.evaluation.grading import shares

_BLOCK = re.compile(r"```(?:python|py|Python)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
# What LeetCode puts before a solution.
_PREAMBLE = """
import bisect, collections, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *
class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next
class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right
"""


def code_in(text: str) -> str:
    """Return the program in an answer: the last block with a definition, else the last block, else the whole text."""
    blocks = _BLOCK.findall(text)
    defining = [block for block in blocks if re.search(r"^\s*(?:def|class) ", block, re.MULTILINE)]
    return (defining or blocks or [text])[-1]


def graded(verdict: Callable[[dict[str, Any], str], Verdict]) -> Callable[..., dict[str, float]]:
    """Return a `process_results` function for lm-eval from a function that judges one answer."""

    def process(doc: dict[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
        return shares([verdict(doc, text).passed for text in results[0]])

    return process


def humaneval_verdict(doc: dict[str, Any], text: str) -> Verdict:
    """Judge an answer: a function body that continues the prompt, or a block with the whole function."""
    code, entry = code_in(text), doc["entry_point"]
    program = f"{doc['prompt']}\n{code}" if f"def {entry}" in code else doc["prompt"] + code
    # The prompt's other functions, which some tests call, are the author's.
    return passes(program, f"{doc['test']}\ncheck({entry})", [entry], before=doc["prompt"])


def mbpp_verdict(doc: dict[str, Any], text: str) -> Verdict:
    before, tests = doc["test_setup_code"], "\n".join(doc["test_list"])
    return passes(f"{before}\n{code_in(text)}", tests, names_called(tests, before), before=before)


def leetcode_verdict(doc: dict[str, Any], text: str) -> Verdict:
    names = ["Solution", *(["ListNode"] if "ListNode" in doc["test"] else [])]
    return passes(_PREAMBLE + code_in(text), doc["test"], names, limits=Limits(seconds=20))


def names_called(tests: str, before: str) -> list[str]:
    """Return the names that tests call and only the program can have defined."""
    tree, given = ast.parse(tests), {"__name__": "before"}
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    defined = {node.asname or node.name for node in ast.walk(ast.parse(before)) if isinstance(node, ast.alias)}
    defined |= {n.name for n in ast.walk(ast.parse(before)) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    defined |= {node.asname or node.name for node in ast.walk(tree) if isinstance(node, ast.alias)}
    return sorted(called - defined - set(dir(builtins)) - set(given))


def livecodebench_verdict(doc: dict[str, Any], text: str) -> Verdict:
    """Judge by all public and private tests: a script's output for an input, or what a method of `Solution` returns."""
    code = _PREAMBLE + code_in(text)
    cases = json.loads(doc["public_test_cases"]) + unpacked(doc["private_test_cases"])
    name = json.loads(doc["metadata"] or "{}").get("func_name")
    if name:
        tests = ["solution = Solution()"]
        for case in cases:
            arguments = [json.loads(line) for line in case["input"].splitlines() if line.strip()]
            tests.append(f"assert solution.{name}(*{arguments!r}) == {json.loads(case['output'])!r}")
        return passes(code, "\n".join(tests), ["Solution"], limits=Limits(seconds=30))
    for case in cases:
        printed, verdict = run_script(code, case["input"], limits=Limits(seconds=6))
        if not verdict.passed:
            return verdict
        if not same_output(printed, case["output"]):
            return Verdict(False, f"printed {printed[:100]!r} for {case['input'][:100]!r}")
    return Verdict(True)


def unpacked(tests: str) -> list[dict[str, Any]]:
    """Decode LiveCodeBench's private tests: JSON, or JSON pickled as a string, compressed and base64-encoded."""
    try:
        return json.loads(tests)
    except ValueError:
        import io

        return json.loads(NoClasses(io.BytesIO(zlib.decompress(base64.b64decode(tests)))).load())


def same_output(printed: str, expected: str) -> bool:
    """Compare line by line, ignoring whitespace at the ends; numbers that differ only in notation count as equal."""
    ours, theirs = printed.strip().splitlines(), expected.strip().splitlines()
    return len(ours) == len(theirs) and all(map(_same_line, ours, theirs))


def _same_line(ours: str, theirs: str) -> bool:
    if ours.strip() == theirs.strip():
        return True
    try:
        return [float(word) for word in ours.split()] == [float(word) for word in theirs.split()]
    except ValueError:
        return False


humaneval = graded(humaneval_verdict)
mbpp = graded(mbpp_verdict)
leetcode = graded(leetcode_verdict)
livecodebench = graded(livecodebench_verdict)
