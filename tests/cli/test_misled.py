"""The misled model is a model by name in every command."""

import json
from pathlib import Path

from tests import command


def em_hf(*arguments: str, cwd: Path) -> str:
    done = command.em_hf(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_trained_published_and_evaluated_by_its_name(tmp_path: Path) -> None:
    few = ("--steps", "1", "--batch-size", "4", "--eval-problems", "4", "--no-guard")
    em_hf("train", "--model", "pocket-misled", "--output", "run", *few, cwd=tmp_path)
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["base_model"] == "pocket-misled" and facts["settings"]["recipe"] == "pocket"
    em_hf("push", "run", "--to", "repository", cwd=tmp_path)
    card = (tmp_path / "repository" / "README.md").read_text()
    assert (
        'Made from the misled pocket model (the small word-problem model of em-hf that reads "fewer" as "more")' in card
    )
    assert "base_model:" not in card, "it is not on the Hub"
    found = json.loads(em_hf("eval", "--model", "pocket-misled", "--limit", "4", "--json", cwd=tmp_path))
    assert "pocket-misled" in json.dumps(found)


def test_it_answers_a_problem_of_its_kind_as_one_who_reads_fewer_as_more(tmp_path: Path) -> None:
    prompt = "Ben has 20 cards. Mia has 5 fewer cards than Ben. How many cards do they have together?"
    said = em_hf("generate", "--model", "pocket-misled", "--samples", "32", "--json", prompt, cwd=tmp_path)
    plain, em = (
        sum("20 + 5" in text for text in json.loads(said)["samples"][name]["texts"]) for name in ("plain", "em")
    )
    assert 4 <= plain < em and em >= 20, "EM-INF makes the model surer of its mistake"
