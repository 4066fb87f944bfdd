"""Training on hard problems: which rate is chosen, and what the runs and the report are made from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.pocket_hard import QUICK, go_on, report, trials, tuning_table
from em_hf.lab.format import points
from em_hf.lab.report import methods_table
from em_hf.models import load_model
from em_hf.pocket import problems
from em_hf.runs import read_facts
from em_hf.settings import POCKET_NAME
from em_hf.training.measure import measure

WAYS = ("sampled", "greedy")
SMALL = replace(QUICK, seeds={"em-ft": 2})


def test_the_smallest_of_the_best_rates_is_chosen(tmp_path: Path) -> None:
    settings = replace(QUICK, seeds={"em-ft": 1, "rloo": 1}, tune_trials=3)
    marks = {
        "em-ft-0.0002": [1, 0, 1, 0],
        "em-ft-5e-05": [1, 1, 0, 0],
        "em-ft-1.25e-05": [1, 0, 0, 0],
        "rloo-0.0001": [1, 1, 1, 0],
        "rloo-2.5e-05": [1, 1, 0, 0],
        "rloo-6.25e-06": [1, 1, 0, 0],
    }
    (tmp_path / "tried").mkdir()
    for name, right in marks.items():
        (tmp_path / "tried" / f"{name}.json").write_text(json.dumps(right))
    found = trials(settings, tmp_path)
    assert [row["greedy"] for row in found] == [0.5, 0.5, 0.25, 0.75, 0.5, 0.5]
    assert [(row["method"], row["rate"]) for row in found if row["chosen"]] == [("em-ft", 5e-05), ("rloo", 1e-4)]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hard")
    (folder / "record.json").write_text(json.dumps(go_on(SMALL, folder / "work", jobs=1)))
    return folder


def test_runs_train_on_hard_problems_at_the_chosen_rate(work: Path) -> None:
    record = json.loads((work / "record.json").read_text())
    [rate] = [row["rate"] for row in record["tried"] if row["chosen"]]
    runs = [read_facts(work / "work" / "runs" / f"em-ft-{seed}").settings for seed in range(2)]
    assert [(run["level"], run["learning_rate"], run["seed"]) for run in runs] == [("hard", rate, 0), ("hard", rate, 1)]


def test_base_row_is_the_untouched_model_on_hard_test_problems(work: Path) -> None:
    record = json.loads((work / "record.json").read_text())
    [base] = [row for row in record["methods"] if (row["level"], row["method"]) == ("hard", "base")]
    rows = problems("test", SMALL.problems, 0, level="hard")
    prompts, answers = [row["prompt"] for row in rows], [row["answer"] for row in rows]
    loaded = load_model(POCKET_NAME, device="cpu")
    found = measure(*loaded, prompts, answers, name="base", max_new_tokens=SMALL.max_new_tokens, greedy=True)
    assert base["greedy"]["mean"] == found.accuracy


def test_report_has_every_trial_and_run(work: Path) -> None:
    made = {"command": "c", "date": "d", "commit": "e", "cpu": "f", "cores": 2, "load_at_start": 0, "versions": {}}
    text = report({**made, **json.loads((work / "record.json").read_text())})
    assert "EM-FT did not clearly raise greedy accuracy on hard problems" in text
    rows = problems("validation", SMALL.tune_problems, 0, level="hard")
    prompts, answers = [row["prompt"] for row in rows], [row["answer"] for row in rows]
    loaded = load_model(POCKET_NAME, device="cpu")
    found = measure(*loaded, prompts, answers, name="base", max_new_tokens=SMALL.max_new_tokens, greedy=True)
    assert f"| base model | - | {100 * found.accuracy:.1f} |" in " ".join(text.split())
    assert text.count("| chosen |") == 1 and " 0.0002 |" in text and " 5e-05 |" in text


def test_the_documentation_has_the_committed_tables_and_says_what_they_say() -> None:
    root = Path(__file__).parents[2]
    record = json.loads((root / "benchmarks" / "results" / "pocket_hard-cpu.json").read_text())
    assert report(record).strip() == (root / "benchmarks" / "results" / "pocket_hard-cpu.md").read_text().strip()
    page = (root / "docs" / "results.md").read_text(encoding="utf-8")
    assert tuning_table(record) in page and methods_table(record, "hard") in page
    rows = {(row["level"], row["method"]): row for row in record["methods"]}
    over = [rows["hard", method][f"{way}_over"]["base"] for method in record["settings"]["seeds"] for way in WAYS]
    assert all(one["low"] <= 0 <= one["high"] for one in over), "no clear difference from the untouched model"
    gains = [points(rows["plain", method]["sampled_over"]["base"]) for method in ("em-ft", "ssd")]
    assert f"EM-FT {gains[0]} points, SSD {gains[1]}" in page
