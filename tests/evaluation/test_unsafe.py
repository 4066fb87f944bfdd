"""Tasks that run programs are refused by what they do; those that only compare text are not."""

from pathlib import Path

import lm_eval
import pytest
from lm_eval.tasks._index import TaskIndex

from em_hf.evaluation.run import EvalSettings, load_tasks
from em_hf.evaluation.unsafe import refuse_programs

TASKS = Path(lm_eval.__file__).parent / "tasks"


def refused(folder: Path) -> dict[str, str]:
    """Why each task under a folder is refused, "" where it is not."""
    index, found = TaskIndex.build([folder]), {}
    for name in index:
        try:
            refuse_programs((name,), index)
            found[name] = ""
        except ValueError as error:
            found[name] = str(error)
    return found


@pytest.mark.parametrize("folder", ["humaneval", "humaneval_infilling", "mbpp", "cruxeval"])
def test_lm_evals_code_tasks_are_refused(folder: str) -> None:
    found = refused(TASKS / folder)
    assert found and all("outside em-hf's sandbox" in why and "\n" not in why for why in found.values())


@pytest.mark.parametrize("folder", ["gsm8k", "minerva_math", "hendrycks_math", "arc", "gpqa", "ifeval", "mmlu_pro"])
def test_tasks_that_compare_text_are_not(folder: str) -> None:
    assert set(refused(TASKS / folder).values()) == {""}


def write_task(folder: Path, code: str, yaml: str = "process_results: !function utils.grade") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "utils.py").write_text(code)
    (folder / "own.yaml").write_text(f"task: own\ndataset_path: x\noutput_type: generate_until\n{yaml}\n")
    return folder


@pytest.mark.parametrize(
    ("code", "yaml"),
    [
        ("def grade(doc, results):\n    exec(results[0])\n", None),
        ("import subprocess as sp\ndef grade(doc, results):\n    return sp.run(results)\n", None),
        ("from os import path\nimport os\ndef grade(d, r):\n    os.system(r[0])\n", None),
        ("import evaluate as e\ngrade = e.load('code_eval')\n", None),
        ("from runner import grade\n", None),
        ("def grade(doc, results):\n    return 1\n", "unsafe_code: true"),
    ],
)
def test_a_task_of_ones_own_is_judged_by_its_files_too(tmp_path: Path, code: str, yaml: str | None) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "runner.py").write_text("def grade(doc, results):\n    exec(results[0])\n")
    folder = write_task(tmp_path / "own", code, *([yaml] if yaml else []))
    assert "outside em-hf's sandbox" in refused(folder)["own"]


def test_a_group_and_a_tag_are_refused_for_what_is_in_them(tmp_path: Path) -> None:
    folder = write_task(
        tmp_path / "own", "def grade(d, r):\n    exec(r[0])\n", "tag: mine\nprocess_results: !function utils.grade"
    )
    (folder / "group.yaml").write_text("group: all_mine\ntask: [own]\n")
    found = refused(folder)
    assert all("own runs programs (utils.py, line 2)" in found[name] for name in ("own", "mine", "all_mine"))


def test_a_metric_script_of_the_current_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_task(
        tmp_path / "own", "import evaluate\nbleu = evaluate.load('bleu')\ndef grade(d, r):\n    return 1\n"
    )
    monkeypatch.chdir(tmp_path)
    assert refused(folder)["own"] == ""
    (tmp_path / "bleu").mkdir()
    (tmp_path / "bleu" / "bleu.py").write_text("raise SystemExit('imported')")
    assert "'bleu', and the evaluate library would run bleu of the current folder" in refused(folder)["own"]


def test_the_command_loads_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code_eval").mkdir()
    (tmp_path / "code_eval" / "code_eval.py").write_text("open('imported', 'w')")
    monkeypatch.chdir(tmp_path)
    for allow in (False, True):
        with pytest.raises(ValueError, match="humaneval_instruct runs the programs that the model writes"):
            load_tasks(EvalSettings("any", tasks=("humaneval_instruct",)), allow_code=allow)
    assert not (tmp_path / "imported").exists()
