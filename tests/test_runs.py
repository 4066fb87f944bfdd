"""The run folder: written whole or not at all, read as records, and one line on whatever is broken in it."""

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from em_hf import runs
from em_hf.runs import (
    Answer,
    Evaluation,
    LogLine,
    Reading,
    ResultRow,
    Results,
    RunFacts,
    RunFileError,
    append_lines,
    drop_lines_after,
    read_lines,
    read_record,
    read_run,
    to_json,
    write_json,
    write_lines,
)

OLD = Path(__file__).parent / "fixtures" / "old_run"  # written by em-hf 0.1.0, before this module was there


def test_a_run_folder_of_the_first_version_is_read_to_the_digit() -> None:
    run = read_run(OLD)
    assert (run.name, run.status, run.facts.method, run.facts.steps_done) == ("run", "finished", "em-ft", 4)
    assert run.facts.dataset is not None and (run.facts.dataset.n, run.facts.dataset.split) == (35, "train")
    assert run.facts.settings["max_completion_length"] == 6 and run.facts.trained
    raw = [json.loads(line) for line in (OLD / "log.jsonl").read_text().splitlines()]
    assert [(line.step, line.loss, line.tokens) for line in run.log] == [
        (line["step"], line["loss"], line["tokens"]) for line in raw
    ]
    assert run.results is not None and [row.name for row in run.results.rows] == [
        *("base", "EM-INF", "EM-FT", "EM-FT + EM-INF"),
    ]
    assert [(row.trained, row.greedy, row.em_inf) for row in run.results.rows] == [
        *((False, False, False), (False, False, True), (True, False, False), (True, False, True)),
    ], "read from the names, which is where this version said it"
    (evaluation,) = runs.evaluations(OLD)
    assert evaluation.rows[0].figures["tokens"].mean == 5.0 and evaluation.settings["seed"] == 0
    answers = read_lines(OLD / "eval" / "answers" / "greedy.jsonl", Answer)
    assert sorted(one.key for one in answers) == [("pocket", i, 0) for i in range(3)]
    diagnosis = runs.diagnosis(OLD)
    assert diagnosis is not None and diagnosis.verdict == "unlikely" and diagnosis.problems == 4
    assert [one.step for one in read_lines(OLD / "probe.jsonl", Reading)] == [0, 2, 4]


def test_what_a_row_is_of_is_in_its_record_and_not_only_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    runs.write_json(path, runs.Results([ResultRow("a new title", trained=True, greedy=True, em_inf=False)]))
    (row,) = read_record(path, runs.Results).rows
    assert (row.trained, row.greedy, row.em_inf) == (True, True, False)
    old = ResultRow("base (greedy)")
    assert (old.trained, old.greedy, old.em_inf) == (False, True, False)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("run.json", RunFacts),
        ("results.json", Results),
        ("eval/eval.json", Evaluation),
        ("diagnose.json", runs.Diagnosis),
    ],
)
def test_a_record_that_is_read_and_written_again_says_the_same(name: str, kind: type, tmp_path: Path) -> None:
    write_json(tmp_path / "again.json", read_record(OLD / name, kind))
    before, after = json.loads((OLD / name).read_text()), json.loads((tmp_path / "again.json").read_text())
    for row in after["rows"] if kind is Results else []:  # which the name alone said
        assert (row.pop("trained"), row.pop("greedy"), row.pop("em_inf")) == (
            *("EM-FT" in row["name"], False, "EM-INF" in row["name"]),
        )
    assert without_new_blanks(after, before) == before


def without_new_blanks(after: Any, before: Any) -> Any:
    """`after` without the keys that the older file did not have and that say nothing."""
    if isinstance(after, dict) and isinstance(before, dict):
        return {k: without_new_blanks(v, before.get(k)) for k, v in after.items() if k in before or v}
    if isinstance(after, list) and isinstance(before, list):
        return [without_new_blanks(a, b) for a, b in zip(after, before, strict=True)]
    return after


def copied(tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(OLD, tmp_path / "run"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", "", r"run\.json is not JSON"),
        ("run.json", "[]", r"run\.json must hold an object, not a list"),
        ("run.json", "{}", r"run\.json has no status"),
        ("run.json", '{"status": "done"}', r"run\.json: status is text, but must be one of running, finished"),
        ("run.json", '{"status": "failed", "settings": [1]}', "settings is a list, but must be an object"),
        ("run.json", '{"status": "failed", "dataset": "x"}', "dataset is text, but must be an object"),
        (
            "run.json",
            '{"status": "failed", "dataset": {"n": true}}',
            r"dataset\.n is a truth value, but must be a whole",
        ),
        ("run.json", '{"status": "failed", "steps_done": "4"}', "steps_done is text, but must be a whole number"),
        ("run.json", '{"status": "failed", "steps_done": null}', "steps_done is null, but must be a whole number"),
        (
            "run.json",
            '{"status": "failed", "guard": {"collapsed": 1}}',
            r"guard\.collapsed is a number, but must be true",
        ),
        ("run.json", "[" * 100_000, r"run\.json is not JSON"),
        ("results.json", "", r"results\.json is not JSON"),
        ("results.json", '{"rows": {}}', "rows is an object, but must be a list"),
        ("results.json", '{"rows": [{}]}', r"results\.json has no rows\[0\]\.name"),
        (
            "results.json",
            '{"rows": [{"name": "a", "accuracy": "1"}]}',
            r"rows\[0\]\.accuracy is text, but must be a num",
        ),
        ("log.jsonl", "", r"log\.jsonl has 0 of the 4 steps done"),
        ("log.jsonl", '{"step": 1}\n{"step": 3}\n{"step": 4}\n', r"log\.jsonl has 3 of the 4 steps done"),
        ("log.jsonl", "".join(f'{{"step": {i}}}\n' for i in (1, 2, 3, 4, 1)), r"the 4 steps done, but not each once"),
        ("log.jsonl", "".join(f'{{"step": {i}}}\n' for i in (2, 1, 3, 4)), r"the 4 steps done, but not each once"),
        ("log.jsonl", '{"step": 1}\n{"st\n{"step": 3}\n', r"log\.jsonl, line 2 is not JSON"),
        ("log.jsonl", '{"step": 1}\n[2]\n', r"log\.jsonl, line 2 must hold an object, not a list"),
        (
            "log.jsonl",
            '{"step": 1}\n\n{"step": "2"}\n',
            r"log\.jsonl, line 3: step is text, but must be a whole number",
        ),
        ("log.jsonl", '{"loss": 1}\n', r"log\.jsonl, line 1 has no step"),
    ],
)
def test_whatever_is_broken_in_a_run_is_one_line_that_names_the_file(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    run = copied(tmp_path)
    (run / name).write_text(content)
    with pytest.raises(RunFileError, match=message) as told:
        read_run(run)
    assert "\n" not in str(told.value) and str(run / name) in str(told.value)


def test_random_bytes_in_any_file_are_never_another_kind_of_error(tmp_path: Path) -> None:
    import random

    rng, run = random.Random(0), copied(tmp_path)
    readers = {
        "run.json": read_run,
        "log.jsonl": read_run,
        "results.json": read_run,
        "diagnose.json": runs.diagnosis,
        "eval/eval.json": runs.evaluations,
        "probe.jsonl": lambda folder: read_lines(folder / "probe.jsonl", Reading),
        "eval/answers/greedy.jsonl": lambda folder: read_lines(folder / "eval/answers/greedy.jsonl", Answer),
    }
    broken = 0
    for name, reader in readers.items():
        whole = (run / name).read_bytes()
        for _ in range(60):
            content = bytearray(whole)
            for _ in range(rng.choice((1, 3, 30))):
                content[rng.randrange(len(content))] = rng.choice(b'{}[]":,0\x00\xffa\n')
            (run / name).write_bytes(rng.choice((bytes(content), whole[: rng.randrange(len(whole))])))
            try:
                reader(run)
            except RunFileError as error:
                broken += 1
                assert "\n" not in str(error) and str(run) in str(error)
        (run / name).write_bytes(whole)
    assert broken > 100


def test_a_run_that_is_not_there_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=f"there is no run folder at {tmp_path}/x; make one with: em-hf train"):
        read_run(tmp_path / "x")
    with pytest.raises(RunFileError, match=r"is not a run of em-hf: it has no run\.json"):
        read_run(tmp_path)


def test_a_run_that_was_killed_before_its_first_record_was_in_place_is_read_from_what_was_being_written(
    tmp_path: Path,
) -> None:
    write_json(tmp_path / "run.json", RunFacts("running", settings={"steps": 3}))
    whole = (tmp_path / "run.json").read_text()
    (tmp_path / "run.json").rename(tmp_path / "run.json.part")
    assert read_run(tmp_path).facts.settings == {"steps": 3}
    (tmp_path / "run.json.part").write_text(whole[:10])
    with pytest.raises(
        RunFileError, match="no more than the beginning of a run, which was killed: give its command again"
    ):
        read_run(tmp_path)


def test_lines_are_appended_whole_and_a_line_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_lines(path, [LogLine(1, loss=0.5), LogLine(2, loss=float("nan"))])
    assert path.read_text() == '{"step": 1, "loss": 0.5}\n{"step": 2}\n'
    with path.open("a") as file:
        file.write('{"step": 3, "lo')
    assert [line.step for line in read_lines(path, LogLine)] == [1, 2]
    append_lines(path, [LogLine(3)])
    with pytest.raises(RunFileError, match="line 3 is not JSON"):
        read_lines(path, LogLine)
    assert [line.step for line in read_lines(path, LogLine, skip_broken=True)] == [1, 2, 3]


def test_lines_after_a_step_are_dropped_and_the_others_stay_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "probe.jsonl"
    write_lines(path, [{"step": step, "entropy": step / 3, "em_inf_entropy": 0.1} for step in range(5)])
    kept = path.read_text().splitlines(keepends=True)[:3]
    assert [reading.step for reading in drop_lines_after(path, Reading, 2)] == [0, 1, 2]
    assert path.read_text() == "".join(kept)
    assert drop_lines_after(tmp_path / "new" / "probe.jsonl", Reading, 0) == []


def test_values_become_plain_json_and_half_a_surrogate_pair_survives(tmp_path: Path) -> None:
    value = {"path": Path("a/b"), 3: (1, float("inf")), "row": ResultRow("x", 0.5), "text": "a\ud800b é"}
    write_json(tmp_path / "v.json", value)
    assert json.loads((tmp_path / "v.json").read_text()) == {
        **{"path": "a/b", "3": [1, None], "text": "a\ud800b é"},
        "row": to_json(ResultRow("x", 0.5)),
    }


CODE = """if True:
    import os, signal, sys
    from pathlib import Path
    from em_hf.runs import write_json
    folder, limit = Path(sys.argv[1]), int(sys.argv[2])
    count = 0
    def hook(event, arguments):
        global count
        if event in ("open", "os.rename", "os.remove") and str(arguments[0]).startswith(str(folder)):
            count += 1
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    for i in range(3):
        write_json(folder / "run.json", {"n": i, "filling": "x" * 100_000})
"""


def test_a_kill_at_any_file_operation_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    found: list[Any] = []
    for limit in range(1, 8):
        folder = tmp_path / str(limit)
        folder.mkdir()
        done = subprocess.run([sys.executable, "-c", CODE, str(folder), str(limit)])
        path = folder / "run.json"
        found.append(json.loads(path.read_text())["n"] if path.is_file() else None)
        assert done.returncode == (-signal.SIGKILL if limit < 7 else 0)
    assert found == [None, None, 0, 0, 1, 1, 2]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "run.json", {"n": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "run.json", {"n": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert json.loads((tmp_path / "run.json").read_text()) == {"n": 1}


ROOT = Path(__file__).parents[1]
NAMES = {value for name, value in vars(runs).items() if name.endswith("_FILE")}


def named_in(path: Path) -> set[str]:
    """The run folder's file names among a file's strings, docstrings apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs]
    texts = {node.value for node in constants if isinstance(node.value, str)}
    return {name for name in NAMES for text in texts if text == name or text.endswith((f"/{name}", f"/{name}.part"))}


def test_nobody_else_knows_the_names_of_a_runs_files() -> None:
    """Who reads or writes them imports em_hf.runs."""
    assert {
        "run.json",
        "log.jsonl",
        "results.json",
        "probe.jsonl",
        "guard.jsonl",
        "eval.json",
        "diagnose.json",
    } == NAMES
    files = [path for folder in ("em_hf", "cli", "app", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): names for path in files if (names := named_in(path))}
    assert {name: names for name, names in found.items() if not name.startswith("em_hf/runs/")} == {}
    assert found["em_hf/runs/folder.py"] == NAMES
