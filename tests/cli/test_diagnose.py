"""`em-hf diagnose` as a user runs it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import command

em_hf = partial(command.em_hf, "diagnose")


def test_it_says_yes_to_the_pocket_reasoner_as_json_and_from_a_file(tmp_path: Path) -> None:
    from em_hf.pocket import problems

    lines = [json.dumps({"question": row["prompt"], "target": row["answer"]}) for row in problems("validation", 30, 0)]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    (tmp_path / "settings.yaml").write_text("thresholds: [0.1]\nn_grad_steps: 10\nmax-new-tokens: 128\n")
    done = em_hf("--dataset", "mine.jsonl", "--config", "settings.yaml", "--limit", "24", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["verdict"] == "likely" and found["problems"] == 24 and found["samples"] == 8
    assert found["measures"]["sequence"]["within"]["low"] > 0.7 and found["advice"]["em-ft"] == "use"
    assert [p["threshold"] for p in found["predictions"]] == [0.1] and found["threshold"] == 0.1


def test_it_says_no_to_the_misled_model_on_its_kind_of_problem_and_yes_on_others() -> None:
    asked = ("--model", "pocket-misled", "--limit", "100", "--max-new-tokens", "64", "--thresholds", "0.1", "--json")
    no, yes = (json.loads(em_hf(*asked, "--dataset", name).stdout) for name in ("pocket-fewer", "pocket"))
    assert no["verdict"] == "harmful" and no["advice"]["em-ft"] == no["advice"]["em-inf"] == "do not use"
    assert no["threshold"] is None and no["predictions"][0]["gain"]["high"] < 0
    assert "would be harmful to this model" in no["sentence"] and "surer of its wrong answers" in no["sentence"]
    assert yes["verdict"] == "likely"


def test_it_looks_at_hard_problems_where_asked_to(tmp_path: Path) -> None:
    from em_hf.pocket import problems

    few = ("--limit", "6", "--samples", "2", "--max-new-tokens", "64", "--thresholds", "0.1", "--json")
    rows = problems("test", 6, 0, level="hard")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = em_hf(*few, "--level", "hard", "--output", "found.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == em_hf(*few, "--dataset", "rows.jsonl", cwd=tmp_path).stdout
    kept = json.loads((tmp_path / "found.json").read_text())
    assert (kept["dataset"], kept["split"], kept["level"]) == ("pocket", "test", "hard")


def test_the_text_has_a_sentence_tables_and_a_suggestion() -> None:
    done = em_hf("--limit", "16", "--samples", "4", "--max-new-tokens", "128", "--thresholds", "0.05")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("EM is ")
    assert "AUROC, within a problem" in done.stdout and "predicted gain" in done.stdout and "em-rl-token" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--thresholds", "low"], 2, "--thresholds is 'low', but must be a list of numbers, at least 0"),
        (["--thresholds", "-1"], 2, "at least 0"),
        (["--thresholds", "0.1,inf"], 2, "must be a list of numbers"),
        (["--limit", "1"], 2, "--limit must be at least 2"),
        (["--output", "no/such/file.json"], 1, "there is no folder no/such"),
        (["--n-grad-steps", "1000"], 2, "0 to 100"),
        (["--samples", "1"], 2, "--samples"),
        (["--level", "hard", "--dataset", "plain.txt"], 2, "level is hard, but plain.txt has no levels"),
        (["--dataset", "plain.txt"], 1, "has no answers: name their column with --answer-column"),
        (["--dataset", "nowhere.jsonl"], 1, "nowhere.jsonl"),
        (["--model", "./nowhere"], 1, "no model folder at ./nowhere"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_an_exit_code(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("How many?\n")
    done = em_hf(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
    assert sum(line.startswith("Error:") for line in done.stderr.splitlines()) == 1


def test_prompts_that_leave_no_room_for_an_answer_are_told_before_any_is_sampled(
    tiny_llama: Callable, letters: Any, tmp_path: Path
) -> None:
    tiny_llama(max_position_embeddings=16, vocab_size=len(letters)).save_pretrained(tmp_path / "model")
    letters.save_pretrained(tmp_path / "model")
    rows = [{"prompt": "ab", "answer": "a"}, {"prompt": "abcd" * 3, "answer": "b"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["--model", "model", "--dataset", "rows.jsonl", "--max-new-tokens"]
    done = em_hf(*asked, "8", cwd=tmp_path)
    assert done.returncode == 1 and "a prompt has 12 tokens, but the model's context leaves room for 8" in done.stderr
    done = em_hf(*asked, "16", cwd=tmp_path)
    assert "max_new_tokens is 16, but the context of model has only 16 tokens; give --max-new-tokens" in done.stderr
