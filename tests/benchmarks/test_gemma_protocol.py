"""The protocol for gemma-3-270m: on the pocket reasoner, its prompts and problems, and what its report says."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from em_hf.cli.main import cli

from benchmarks import gemma_protocol
from benchmarks.gemma import SETS, SHOTS, TEMPLATES, boxed_few_shot, load_problems
from benchmarks.gemma_protocol import Protocol, Training, open_work, record_of, run, split, training_settings
from benchmarks.gemma_report import compared, overview, report, sentence
from em_hf.answers import extract_answer, same_answer
from em_hf.evaluation.run import load_tasks
from em_hf.evaluation.settings import EvalSettings
from em_hf.flops import inference_flops, parameter_count, training_flops
from em_hf.models import load_model
from em_hf.pocket import problems
from em_hf.runs import read_facts
from em_hf.settings import POCKET_NAME
from em_hf.training.compute import passes
from em_hf.training.settings import RunSettings

SMALL = Protocol(
    templates=("plain",),
    sets=("pocket",),
    trials=2,
    validation=4,
    training=8,
    steps=1,
    part=6,
    parts=2,
    max_new_tokens=48,
    dtype="float32",
)
METHODS = ("em-ft", "ssd", "random")
WAYS = ["greedy", "sampling", "temperature", "em-inf"] + [f"{m} {d}" for m in METHODS for d in ("greedy", "sampling")]


def pocket_problems() -> dict[str, list[tuple[str, str]]]:
    return {"pocket": [(row["prompt"], row["answer"]) for row in problems("validation", 40, 0)]}


def go_on(work: Path, *, jobs: int = 1, minutes: float = math.inf) -> dict[str, Any]:
    open_work(work, SMALL, pocket_problems(), {"plain": str})
    run(SMALL, POCKET_NAME, work, jobs=jobs, minutes=minutes)
    return record_of(SMALL, work)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    work = tmp_path_factory.mktemp("protocol") / "work"
    return work, go_on(work)


def results(work: Path) -> dict[str, Any]:
    """What the measurements found, without the time that they took."""
    found = {}
    for path in sorted((work / "measured").iterdir()):
        values = json.loads(path.read_text())["pocket"]
        found[path.name] = {name: numbers for name, numbers in values.items() if name != "seconds"}
    return found


def test_every_way_answers_all_problems_and_greedy_is_what_generate_gives(finished: tuple[Path, dict]) -> None:
    work, record = finished
    assert record["problems"] == 12 and [row["way"] for row in record["rows"]] == WAYS
    assert all(len(row["right"]) == 12 for row in record["rows"])
    model, tokenizer = load_model(POCKET_NAME, device="cpu")
    right = []
    for part in ("0", "1"):
        for line in (work / "prompts" / f"plain-pocket-{part}.jsonl").read_text().splitlines():
            row = json.loads(line)
            inputs = tokenizer(row["prompt"], return_tensors="pt")
            ids = model.generate(**inputs, do_sample=False, max_new_tokens=48)[0, inputs["input_ids"].shape[1] :]
            given = extract_answer(tokenizer.decode(ids, skip_special_tokens=True))
            right.append(float(same_answer(row["answer"], given)))
    assert record["rows"][0]["right"] == right


def test_em_hf_eval_gives_the_same_numbers_on_the_same_prompts(finished: tuple[Path, dict]) -> None:
    work, record = finished
    asked = ["eval", "--dataset", str(work / "prompts" / "plain-pocket-0.jsonl"), "--no-chat-template", "--json"]
    asked += ["--compare", "greedy,sampling", "--max-new-tokens", "48", "--batch-size", "6", "--device", "cpu"]
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code == 0, done.output
    theirs = {row["strategy"]: row["values"]["pass@1"] for row in json.loads(done.stdout)["rows"]}
    assert theirs == {row["way"]: row["right"][:6] for row in record["rows"] if row["way"] in ("greedy", "sampling")}


def test_both_tuned_strategies_have_the_same_trials_and_the_best_is_used(finished: tuple[Path, dict]) -> None:
    work, record = finished
    for name in ("temperature", "em-inf"):
        tried = [one for one in record["tuning"] if one["strategy"] == name]
        best = max(one["accuracy"] for one in tried)
        assert len(tried) == SMALL.trials and [one["accuracy"] for one in tried if one["chosen"]] == [best]
    assert sum("_validation" in name for name in results(work)) == 2 * SMALL.trials


def test_the_runs_have_equal_compute(finished: tuple[Path, dict]) -> None:
    work, record = finished
    assert [run["method"] for run in record["training"]] == list(METHODS)
    for run_ in record["training"]:
        name = Training("plain", run_["method"]).name
        parameters = parameter_count(load_model(str(work / "runs" / name), device="cpu")[0])
        tokens = run_["tokens_trained"]
        cost = inference_flops(parameters, tokens) + training_flops(parameters, tokens)
        assert run_["tflops"] * 1e12 == pytest.approx(cost) and run_["steps"] == SMALL.steps
        assert read_facts(work / "runs" / name).settings["dataset"].endswith("plain-pocket-training.jsonl")
    made = [training_settings(Training("plain", method), SMALL, POCKET_NAME, work) for method in METHODS]
    settings = [RunSettings.resolve(given) for given in made]
    assert {(one.batch_size * one.num_generations, one.steps, one.learning_rate, passes(one)) for one in settings} == {
        (8, SMALL.steps, SMALL.learning_rate, (1, 1))
    }


def test_what_is_done_is_not_repeated_and_what_was_lost_comes_out_the_same(
    finished: tuple[Path, dict], tmp_path: Path
) -> None:
    work = shutil.copytree(finished[0], tmp_path / "work")
    before, lost = results(work), work / "measured" / "plain_em-ft_sampling_1.json"
    lost.unlink()
    times = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}
    record = go_on(work, jobs=2)
    assert record == finished[1] and results(work) == before
    changed = {path for path in work.rglob("*") if path.is_file() and path.stat().st_mtime_ns != times.get(path)}
    assert changed == {lost}


def test_a_stopped_run_reports_on_whole_parts_and_goes_on(
    finished: tuple[Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = shutil.copytree(finished[0], tmp_path / "work")
    for path in (work / "measured").glob("*_1.json"):
        path.unlink()
    measured, calls = gemma_protocol.measured, []

    def stopped(*args: Any) -> dict[str, Any]:
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return measured(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(gemma_protocol, "measured", stopped)
        go_on(work)
    assert len(list((work / "measured").glob("*_1.json"))) == 3
    half = record_of(SMALL, work)
    assert half["problems"] == 6
    assert [row["right"] for row in half["rows"]] == [row["right"][:6] for row in finished[1]["rows"]]
    assert go_on(work) == finished[1]


def test_nothing_begins_after_the_time_is_up(tmp_path: Path) -> None:
    record = go_on(tmp_path / "work", minutes=0)
    assert record["problems"] == 0 and record["rows"] == [] and not list((tmp_path / "work" / "runs").iterdir())
    assert report(record) == "No part is answered in every way yet: the same command goes on."


def test_the_work_of_another_protocol_is_refused(finished: tuple[Path, dict]) -> None:
    with pytest.raises(ValueError, match="other settings: name another --work"):
        open_work(finished[0], replace(SMALL, steps=2), pocket_problems(), {"plain": str})


def test_a_set_with_too_few_problems_is_refused() -> None:
    with pytest.raises(ValueError, match="pocket has 40 problems, but the protocol takes 52"):
        split(pocket_problems(), replace(SMALL, training=36))


def letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def test_no_problem_is_both_tuned_or_trained_on_and_tested_on(shared_data: Path) -> None:
    parts = split(load_problems(shared_data), Protocol())
    assert list(parts) == list(SETS) and "training" in parts["mawps"] and "training" not in parts["svamp"]
    texts = [letters(question) for part in parts.values() for rows in part.values() for question, _ in rows]
    assert len(set(texts)) == len(texts) == 2 * (40 + 32 * 25) + 200
    shown = letters("".join(TEMPLATES[name]("") for name in TEMPLATES))
    assert not [text for text in texts if text in shown]


def test_the_boxed_prompt_is_that_of_em_hf_eval(shared_data: Path) -> None:
    tasks = load_tasks(EvalSettings(tasks=SETS, num_fewshot=4), data_dir=shared_data)["tasks"]
    for task in tasks.values():
        task.build_all_requests(limit=3)
        assert len(task.instances) == 3
        for request in task.instances:
            assert request.args[0] == boxed_few_shot(request.doc["problem"])


def test_the_problems_are_those_of_em_hf_eval(shared_data: Path) -> None:
    tasks = load_tasks(EvalSettings(tasks=SETS), data_dir=shared_data)["tasks"]
    for name, rows in load_problems(shared_data).items():
        theirs = {letters(doc["problem"]): doc["answer"] for doc in tasks[name].test_docs()}
        assert {letters(question): answer for question, answer in rows} == theirs


@pytest.mark.parametrize(("question", "worked"), SHOTS)
def test_the_examples_of_the_question_prompt_are_right(question: str, worked: str) -> None:
    left, operator, right = worked.split("=")[0].split()
    sums: dict[str, Callable[[int, int], float]] = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
    }
    assert extract_answer(worked) == f"{sums[operator](int(left), int(right)):g}" and question.endswith("?")


def answered(**right: list[int]) -> dict[str, Any]:
    """Figures as `em-hf eval` has them, for ways that are right on these problems; the others always are."""
    n = len(next(iter(right.values())))
    ways = {way: right.get(way.replace("-", "_").replace(" ", "_"), [1] * n) for way in WAYS}
    rest = {"answered": [1.0] * n, "tokens": [10.0] * n, "entropy": [0.5] * n}
    return {way: {"mawps": {"pass@1": [float(one) for one in values], **rest}} for way, values in ways.items()}


def test_differences_are_taken_by_problem() -> None:
    found = compared(answered(greedy=[1] * 10 + [0] * 10, sampling=[0] * 20, em_inf=[1, 0] * 10))
    pairs = {(one["way"], one["base"]): one for one in found["differences"]}
    assert ("greedy", "sampling") not in pairs and ("sampling", "sampling") not in pairs
    assert len(pairs) == 9 + 8 + 5
    assert pairs["sampling", "greedy"]["mean"] == -0.5 and pairs["sampling", "greedy"]["high"] < 0
    same = pairs["em-inf", "greedy"]  # right as often, on other problems: an interval around zero
    assert same["mean"] == 0 and same["low"] < 0 < same["high"]
    assert pairs["em-inf", "temperature"]["mean"] == -0.5
    assert pairs["em-ft sampling", "random sampling"] == {
        **{"set": "mawps", "way": "em-ft sampling", "base": "random sampling"},
        **{"mean": 0.0, "low": 0.0, "high": 0.0},
    }
    rows = {row["way"]: row for row in found["rows"]}
    assert rows["em-inf"]["accuracy"]["mean"] == 0.5 and rows["em-inf"]["nats"] == 0.5


def difference(way: str, low: float, high: float, base: str = "greedy") -> dict[str, Any]:
    place = {"template": "question", "set": "mawps"}
    return {**place, "way": way, "base": base, "mean": (low + high) / 2, "low": low, "high": high}


def test_the_sentence_follows_the_intervals() -> None:
    assert sentence([difference("em-inf", -0.02, 0.03), difference("sampling", -0.2, -0.1)]) == (
        "Not distinguishable from zero: em-inf minus greedy. Below zero: sampling minus greedy."
    )
    assert sentence([difference("em-inf", 0.01, 0.03), difference("sampling", 0.0, 0.0)]) == (
        "Not distinguishable from zero: sampling minus greedy. Above zero: em-inf minus greedy."
    )
    assert sentence([difference("em-inf", 0.01, 0.03)]) == (
        "Not distinguishable from zero: none. Above zero: em-inf minus greedy."
    )


def test_the_report_is_made_of_the_record() -> None:
    tried = {"template": "question", "strategy": "em-inf", "chosen": False}
    of_run = {"template": "question", "steps": 12, "tokens_trained": 16_000, "seconds": 300.0}
    row = {"template": "question", "set": "mawps", "answered": 0.9, "tokens": 15.5, "nats": 0.25, "right": []}
    record = {
        **{"command": "python -m x", "date": "2026-11-26", "commit": "abc", "cpu": "A", "cores": 2},
        **{"load_at_start": 0.1, "versions": {"torch": "2"}, "model": "google/gemma-3-270m", "problems": 150},
        "settings": {
            **{"templates": ["question"], "sets": ["mawps"], "dtype": "bfloat16", "max_new_tokens": 32},
            **{"validation": 40, "learning_rate": 2e-5},
        },
        "tuning": [
            {**tried, "settings": "threshold 0.3", "accuracy": 0.05},
            {**tried, "settings": "threshold 0.1", "accuracy": 0.125, "chosen": True},
        ],
        "training": [
            {**of_run, "method": "em-ft", "tflops": 50.0},
            {**of_run, "method": "random", "tflops": 51.0},
        ],
        "rows": [
            {**row, "way": "greedy", "accuracy": {"mean": 0.2, "low": 0.14, "high": 0.27}},
            {**row, "way": "em-inf", "accuracy": {"mean": 0.19, "low": 0.13, "high": 0.26}},
        ],
        "differences": [
            difference("sampling", -0.2, -0.1),
            difference("em-inf", -0.04, 0.02),
            difference("em-inf", 0.02, 0.1, "sampling"),
            difference("em-inf", -0.03, 0.01, "temperature"),
        ],
    }
    text = report(record)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert ["way", "MAWPS, question"] in rows and ["em-inf", "19.0% [13.0, 26.0]"] in rows
    em_inf = ["em-inf", "19.0% [13.0, 26.0]", "-1.0 [-4.0, +2.0]", "+6.0 [+2.0, +10.0]", "90%", "15.5", "0.250"]
    assert em_inf in rows and ["greedy", "20.0% [14.0, 27.0]", "-", "-", "90%", "15.5", "0.250"] in rows
    assert "Not distinguishable from zero: em-inf minus greedy. Below zero: sampling minus greedy." in text
    assert "Not distinguishable from zero: none. Above zero: em-inf minus sampling." in text
    assert "- em-inf minus temperature: -1.0 [-3.0, +1.0]\n\nNot distinguishable from zero: em-inf minus temp" in text
    assert "- em-inf: threshold 0.1. The best of 2 settings, which were right on 5.0 to 12.5%." in text
    assert "there are 2.0% of FLOPs" in text and "150 test problems of each set" in text
    assert "Of 4 differences, 2 are not distinguishable from zero" in text


def test_the_documentation_has_the_committed_table_and_counts() -> None:
    root = Path(__file__).parents[2]
    record = json.loads((root / "benchmarks" / "results" / "gemma_protocol-cpu.json").read_text())
    page = (root / "docs" / "results.md").read_text(encoding="utf-8")
    assert overview(record) in page
    differ = sum(one["low"] > 0 or one["high"] < 0 for one in record["differences"])
    n = len(record["differences"])
    assert f"Of {n} paired differences" in page and f"{n - differ} are not distinguishable from zero" in page
    assert f"on {record['problems']} test problems of each set" in page
    shares = [round(100 * row["accuracy"]["mean"]) for row in record["rows"]]
    for text in (root / "README.md", root / "docs" / "helps-or-harms.md"):
        assert f"{min(shares)}% to {max(shares)}% of MAWPS and SVAMP" in text.read_text(encoding="utf-8")
