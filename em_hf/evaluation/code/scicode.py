"""SciCode: a problem is asked in steps, each a function that builds on the previous ones, and graded step by step.

The numbers that the tests compare with are not in the dataset: its authors provide them as an HDF5 file, which
`--scicode-targets` or EM_HF_SCICODE_TARGETS names. Called by the task file.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from em_hf.evaluation.code.grading import code_in
from em_hf.evaluation.code.sandbox import Limits, passes
from em_hf.evaluation.grading import shares
from em_hf.evaluation.sources import rows_from
from em_hf.evaluation.strategy import NEXT_TURN

TARGETS = "EM_HF_SCICODE_TARGETS"
_ASK = (
    "Write the Python function for this step. Give it in one block, without what is already imported and without the "
    "functions of the steps before.\n\n"
)


def load(*, background: bool = True, **source: Any) -> Any:
    """Return problems whose `problem` asks for the first step and whose `turns` ask for the others.

    Args:
        background: include each step's scientific background, as the paper's runs do.
        **source: as for `em_hf.evaluation.sources.load`.
    """
    from datasets import Dataset, DatasetDict

    made = []
    for row in rows_from("test", **source):
        steps = row["sub_steps"]
        asked = [_question(step, background) for step in steps]
        opening = f"{row['problem_description_main']}\n\nAlready imported:\n{row['required_dependencies']}\n\n"
        made.append(
            {
                "problem": opening + asked[0],
                "turns": asked[1:],
                "imports": row["required_dependencies"],
                "numbers": [step["step_number"] for step in steps],
                "headers": [step["function_header"] for step in steps],
                "tests": [list(step["test_cases"]) for step in steps],
            }
        )
    return DatasetDict({"test": Dataset.from_list(made)})


def _question(step: dict[str, Any], background: bool) -> str:
    parts = [step["step_description_prompt"]]
    parts += [step["step_background"]] if background and step.get("step_background") else []
    return _ASK + "\n\n".join([*parts, f"```python\n{step['function_header']}\n{step['return_line']}\n```"])


def grade(doc: dict[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return `pass@k` of whole problems (all steps right) and `steps`, the share of steps that are right."""
    targets = Targets(os.environ.get(TARGETS))
    graded = [_steps_right(doc, text, targets) for text in results[0]]
    part = sum(sum(steps) / len(steps) for steps in graded) / len(graded)
    return {**shares([all(steps) for steps in graded]), "steps": part}


def _steps_right(doc: dict[str, Any], text: str, targets: "Targets") -> list[bool]:
    """Return whether each step's function, with those before it, passes the step's own tests."""
    answers = text.split(NEXT_TURN)
    program, right = doc["imports"], []
    for place, number in enumerate(doc["numbers"]):
        program += "\n\n" + (code_in(answers[place]) if place < len(answers) else "")
        name = doc["headers"][place].split("def ")[-1].split("(")[0].strip()
        right.append(_passes(program, name, doc, number, doc["tests"][place], targets))
    return right


def _passes(
    program: str, name: str, doc: dict[str, Any], number: str, tests: Sequence[str], targets: "Targets"
) -> bool:
    before = f"{doc['imports']}\nimport numpy as np\n"
    wanted = [targets.of(number, case) for case in range(1, len(tests) + 1)]
    lines = [f"target = targets[{i}]\n{test}" for i, test in enumerate(tests)]
    verdict = passes(
        program, "\n".join(lines), [name], before=before, given={"targets": wanted}, packages=True, limits=Limits(60)
    )
    return verdict.passed


class Targets:
    """The targets in the HDF5 file: a group per step and test case, with one entry, or several for a tuple.

    Raises:
        ValueError: no file was named.
        ImportError: h5py is not installed.
    """

    def __init__(self, path: str | Path | None) -> None:
        if not path:
            raise ValueError(
                "SciCode's tests compare with numbers that its authors give as an HDF5 file: name it in "
                f"{TARGETS}, or as --scicode-targets"
            )
        try:
            import h5py
        except ImportError as error:
            raise ImportError("SciCode's targets need h5py: pip install 'em-hf[eval]'") from error
        self.file = h5py.File(path, "r")

    def of(self, step: str, case: int) -> Any:
        """Return the target of a test case: a number, an array, a string, or a tuple of these."""
        entries = [self._value(entry) for entry in self.file[f"{step}/test{case}"].values()]
        return entries[0] if len(entries) == 1 else tuple(entries)

    def _value(self, entry: Any) -> Any:
        if hasattr(entry, "values"):  # a group, which stands for a list or a dict
            return [self._value(part) for part in entry.values()]
        value = entry[()]
        return value.decode() if isinstance(value, bytes) else value
