"""What was measured of a run after it, in the card and in the Hub's form for results."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from em_hf.hub import read_run, staged
from tests.command import em_hf


def evaluated(folder: Path, *, name: str = "eval", **changes: Any) -> None:
    """An evaluation as `em-hf eval` writes it: GSM8K whole, by two strategies."""
    row = {"task": "gsm8k", "problems": 1319, "samples": 4, "metric": "pass@1"}
    found = {
        "status": "finished",
        "settings": {"model": str(folder), "limit": None, "num_fewshot": None, "seed": 3},
        "benchmarks": {"gsm8k": {"hub": "openai/gsm8k", "size": 1319}},
        "rows": [
            {**row, "strategy": "sampling", "figures": {"pass@1": {"mean": 0.25, "low": 0.225, "high": 0.275}}},
            {**row, "strategy": "em-inf", "figures": {"pass@1": {"mean": 0.3125, "low": 0.29, "high": 0.34}}},
        ],
        "date": "2026-11-20T10:00:00+00:00",
    }
    found["settings"] = {**found["settings"], **changes.pop("settings", {})}  # type: ignore[dict-item]
    (folder / name).mkdir()
    (folder / name / "eval.json").write_text(json.dumps({**found, **changes}))


def files(run: Path) -> dict[str, str]:
    with staged(read_run(run)) as repository:
        texts = [path for path in repository.sizes if not path.endswith((".safetensors", ".png"))]
        return {path: (repository.folder / path).read_text() for path in texts}


def test_a_whole_benchmark_stands_in_the_card_and_in_the_hubs_form(run: Path) -> None:
    evaluated(run)
    found = files(run)
    assert "| gsm8k | em-inf | pass@1 31.2% (29.0 to 34.0) | 1319 problems, 4 each | 3 |" in found["README.md"]
    entries = yaml.safe_load(found[".eval_results/gsm8k.yaml"])
    assert [entry["dataset"] for entry in entries] == [{"id": "openai/gsm8k", "task_id": "gsm8k"}] * 2
    assert [entry["value"] for entry in entries] == [25.0, 31.25]
    assert entries[1]["notes"] == "em-inf, pass@1 in %, mean over 4 samples, seed 3, em-hf eval"
    assert ".eval_results/gsm8k.yaml" in json.loads(found["em_hf.json"])["files"]
    assert str(run) not in "".join(found.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"limit": 1319}},
        {"settings": {"num_fewshot": 5}},
        {"benchmarks": {"gsm8k": {"hub": "openai/gsm8k", "size": 1400}}},
        {"benchmarks": {"gsm8k": {"hub": None, "size": 1319}}},
        {"benchmarks": {}},
    ],
)
def test_what_is_no_whole_run_on_the_real_benchmark_stands_in_the_card_only(run: Path, changes: dict[str, Any]) -> None:
    evaluated(run, **changes)
    found = files(run)
    assert "| gsm8k | sampling | pass@1 25.0% (22.5 to 27.5)" in found["README.md"]
    assert not any(path.startswith(".eval_results") for path in found)


def test_problems_of_ones_own_are_no_benchmark_even_under_its_name_and_of_its_size(run: Path) -> None:
    evaluated(run, settings={"dataset": "data/gsm8k.jsonl"})  # as em-hf wrote it before: with the benchmark's facts
    found = files(run)
    assert "| gsm8k (own data) | sampling | pass@1 25.0% (22.5 to 27.5)" in found["README.md"]
    assert not any(path.startswith(".eval_results") for path in found)


def test_an_unfinished_evaluation_is_left_out(run: Path) -> None:
    evaluated(run, status="running")
    found = files(run)
    assert "## Benchmarks" not in found["README.md"] and not any(".eval_results" in path for path in found)


def test_a_diagnosis_of_the_run_is_quoted(run: Path) -> None:
    (run / "diagnose.json").write_text(json.dumps({"verdict": "likely", "sentence": "EM is likely to help: measured."}))
    assert "`em-hf diagnose` on this model: EM is likely to help: measured." in files(run)["README.md"]
    (run / "diagnose.json").unlink()
    assert "Will entropy minimization help it?" not in files(run)["README.md"]


def test_the_real_commands_leave_what_the_push_reads(run: Path) -> None:
    """`em-hf eval` and `em-hf diagnose` on the pocket reasoner, small: their files have the fields read here."""
    for words in (
        ["eval", "--limit", "4", "--strategy", "greedy", "--output", str(run / "eval")],
        ["diagnose", "--limit", "12", "--samples", "4", "--output", str(run / "diagnose.json")],
    ):
        done = em_hf(*words, "--device", "cpu")
        assert done.returncode == 0, done.stderr
    found = files(run)
    assert "| pocket | greedy | pass@1 " in found["README.md"] and "4 problems, 1 each" in found["README.md"]
    assert "Will entropy minimization help it?" in found["README.md"]
    assert not any(".eval_results" in path for path in found)
