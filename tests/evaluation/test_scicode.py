"""SciCode on three hand-made problems with targets of our own: questions in turns, steps graded one by one."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from em_hf.evaluation.code import scicode
from em_hf.evaluation.run import EvalSettings, load_tasks
from em_hf.evaluation.strategy import NEXT_TURN


def step(number: str, header: str, *tests: str) -> dict:
    return {
        "step_number": number,
        "step_description_prompt": f"Do step {number}.",
        "step_background": f"Background of {number}",
        "function_header": header,
        "return_line": "    return out",
        "test_cases": list(tests),
    }


def row(*steps: dict) -> dict:
    head = {"problem_description_main": "A problem.", "required_dependencies": "import numpy as np"}
    return {**head, "sub_steps": list(steps)}


SCALAR = "assert np.allclose(square(3.0), target)"
ROWS = [
    row(
        step("1.1", "def square(x):", SCALAR, SCALAR.replace("3.0", "np.arange(3)")),
        step("1.2", "def cube(x):", "assert np.allclose(cube(2.0), target)"),
    ),
    row(step("2.1", "def split(x):", "a, b = split(7)\nassert (a, b) == tuple(target)")),
    row(step("3.1", "def name(x):", "assert name(1) == target")),
]
SQUARE = "```python\ndef square(x):\n    return np.asarray(x) ** 2\n```"
CUBE = "Using the first:\n```python\ndef cube(x):\n    return square(x) * x\n```"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "scicode.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    with h5py.File(tmp_path / "targets.h5", "w") as file:
        file["1.1/test1/var1"] = 9.0
        file["1.1/test2/var1"] = np.array([0.0, 1.0, 4.0])
        file["1.2/test1/var1"] = 8.0
        file["2.1/test1/var1"], file["2.1/test1/var2"] = 3, 4
        file["3.1/test1/var1"] = "one"
    monkeypatch.setenv(scicode.TARGETS, str(tmp_path / "targets.h5"))
    return tmp_path


def docs(folder: Path) -> list[dict]:
    tasks = load_tasks(EvalSettings("any", tasks=("scicode",)), data_dir=folder, allow_code=True)
    return list(tasks["tasks"]["scicode"].eval_docs)


def test_the_first_step_is_the_prompt_and_the_others_are_turns(folder: Path) -> None:
    first, second, _ = docs(folder)
    assert "A problem." in first["problem"] and "def square(x):" in first["problem"]
    assert "Background of 1.1" in first["problem"] and "cube" not in first["problem"]
    assert len(first["turns"]) == 1 and "def cube(x):" in first["turns"][0] and second["turns"] == []


def test_each_step_is_graded_on_its_function_and_those_before(folder: Path) -> None:
    first, second, third = docs(folder)
    assert scicode.grade(first, [[SQUARE + NEXT_TURN + CUBE]]) == {"pass@1": 1.0, "steps": 1.0}
    wrong_first = SQUARE.replace("** 2", "** 2 + 1")
    assert scicode.grade(first, [[wrong_first + NEXT_TURN + CUBE]]) == {"pass@1": 0.0, "steps": 0.0}
    assert scicode.grade(first, [[SQUARE + NEXT_TURN + "I do not know."]]) == {"pass@1": 0.0, "steps": 0.5}
    assert scicode.grade(first, [[SQUARE]]) == {"pass@1": 0.0, "steps": 0.5}
    halves = "```python\ndef split(x):\n    return x // 2, x - x // 2\n```"
    assert scicode.grade(second, [[halves, halves.replace("2,", "3,")]])["pass@1"] == 0.5
    assert scicode.grade(third, [["```python\ndef name(x):\n    return 'one'\n```"]])["pass@1"] == 1.0


def test_without_the_targets_it_says_where_they_come_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(scicode.TARGETS)
    with pytest.raises(ValueError, match="--scicode-targets"):
        scicode.grade(docs(folder)[1], [["x"]])


def test_the_papers_problems_have_their_steps(shared_data: Path) -> None:
    found = docs(shared_data)
    assert len(found) == 65 and sum(len(doc["numbers"]) for doc in found) == 291
    assert all(len(doc["turns"]) == len(doc["numbers"]) - 1 for doc in found)
