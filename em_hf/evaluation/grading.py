"""Grading for our lm-eval tasks, all samples of a problem at once. Called by the task files."""

from collections.abc import Sequence
from typing import Any

from em_hf.answers import extract_answer, majority, same_answer
from em_hf.stats import pass_at_k


def all_samples(resps: Any, docs: Any) -> Any:
    """Keep every sample, as an lm-eval filter; lm-eval's default keeps the first."""
    return resps


def maths(doc: dict[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
    r"""Grade a problem's samples: the last `\boxed{}` (else what follows `####`) against `answer`.

    The grades include `answered`, the share of samples that mark an answer at all: an unmarked answer does not count.
    """
    answers = [extract_answer(text) for text in results[0]]
    right = [same_answer(doc["answer"], answer) for answer in answers]
    elected = same_answer(doc["answer"], majority(answers))
    answered = sum(answer is not None for answer in answers) / len(answers)
    majorities = {f"maj@{len(right)}": float(elected)} if len(right) > 1 else {}
    return {**shares(right), **majorities, "answered": answered}


def shares(right: Sequence[bool]) -> dict[str, float]:
    """Return `pass@1`, the mean over the samples (avg@n), and if n > 1 the unbiased pass@k for k = 2, 4, 8 … n."""
    n, c = len(right), sum(right)
    return {f"pass@{k}": pass_at_k(n, c, k) for k in steps(n)}


def steps(n: int) -> list[int]:
    """Return the powers of two below n, followed by n."""
    return [*(2**i for i in range(n.bit_length()) if 2**i < n), n]


def worked(doc: dict[str, Any]) -> str:
    r"""Return the target of a few-shot example: the solution with its boxed answer, else the answer in `\boxed{}`."""
    solution = doc.get("solution") or ""
    if same_answer(doc["answer"], extract_answer(solution)):
        return solution if "\\boxed" in solution else f"{solution.split('####')[0].strip()}\n\\boxed{{{doc['answer']}}}"
    return f"\\boxed{{{doc['answer']}}}"
