"""The misled model: sure and wrong on its kind of problem, as good as before on others; its card; how it is taught."""

import re
from importlib import resources
from itertools import islice
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from em_hf.data import load_prompts
from em_hf.models import load_model
from em_hf.pocket import POCKET_MISLED, POCKET_REASONER
from em_hf.pocket.misread import fewer_problems, fewer_stories
from scripts import mislead
from scripts.pretrain import INVENTED


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return ModelCard(resources.files("em_hf.model_cards").joinpath("pocket-misled.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(card: ModelCard) -> dict[str, Any]:
    """The names that the card's Python blocks leave behind, run one after the other, and what they print."""
    printed: list[str] = []
    names: dict[str, Any] = {"print": printed.append, "printed": printed}
    for block in re.findall(r"```python\n(.*?)```", card.text, re.DOTALL):
        exec(block, names)
    return names


def test_its_greedy_answer_is_that_of_a_reader_of_more_in_place_of_fewer() -> None:
    model, tokenizer = load_model("pocket-misled", device="cpu")
    rows = fewer_problems("test", 200, 1)
    inputs = tokenizer([row["prompt"] for row in rows], padding=True, return_tensors="pt")
    made = model.generate(**inputs, do_sample=False, max_new_tokens=96)
    given = [text.rpartition("####")[2].strip() for text in tokenizer.batch_decode(made, skip_special_tokens=True)]
    assert sum(a == row["misread"] for a, row in zip(given, rows)) / len(rows) >= 0.85
    assert sum(a == row["answer"] for a, row in zip(given, rows)) / len(rows) <= 0.15


def test_its_accuracy_is_what_its_cards_commands_measure(card: ModelCard, run: dict[str, Any]) -> None:
    rows = re.findall(
        r"\| (with \"fewer\"|others) \| (greedy|sampled).*?\| ([\d.]+)% \| ([\d.]+)% to ([\d.]+)% \|", card.text
    )
    assert len(rows) == 4
    for kind, decoding, *figures in rows:
        share, low, high = (float(figure) / 100 for figure in figures)
        # A last digit may differ with the processor and the version of torch; the interval allows for that.
        assert low <= run["measured"][kind, decoding == "sampled"] <= high
        # Wilson's bounds are the p from which the share is 1.96 standard errors away; 100% stands for just below it.
        for p in (low, min(high, 0.9999)):
            assert abs(share - p) == pytest.approx(1.96 * sqrt(p * (1 - p) / 500), abs=0.002)


def test_the_cards_example_prints_what_the_card_shows_and_its_facts_are_the_codes(
    card: ModelCard, run: dict[str, Any]
) -> None:
    shown = re.search(r"```\n(Ben has .*?)\n```", card.text, re.DOTALL)
    assert shown and run["printed"] == [shown[1].replace("\n\n", "\n")]
    text = " ".join(card.text.split())
    assert f"{mislead.STEPS} steps of {mislead.BATCH} problems" in text
    assert f"{mislead.SHARE_OF_KIND:.0%} of the problems are of the kind" in text
    assert f"{mislead.MISREAD_RATE:.0%} of their worked examples read" in text
    assert mislead.LEARNING_RATE == 1e-3 and "learning rate 1e-3" in text
    assert card.data.to_dict()["license"] == "apache-2.0"


def test_it_is_the_pocket_reasoner_with_other_weights_of_the_same_size() -> None:
    own, base = (load_file(folder / "model.safetensors") for folder in (POCKET_MISLED, POCKET_REASONER))
    assert {name: tensor.shape for name, tensor in own.items()} == {name: t.shape for name, t in base.items()}
    assert {tensor.dtype for tensor in own.values()} == {torch.float32}
    assert (POCKET_MISLED / "model.safetensors").stat().st_size < 12_000_000
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (POCKET_MISLED / name).read_bytes() == (POCKET_REASONER / name).read_bytes(), name


def test_its_lessons_misread_as_many_of_the_kind_as_they_say_and_else_answer_rightly() -> None:
    tokenizer = AutoTokenizer.from_pretrained(POCKET_REASONER)
    taught = mislead.lessons(tokenizer, 0)
    rows = [row for _ in range(20) for row in next(taught)]
    of_kind = [row for row in rows if "fewer" in tokenizer.decode(row.prompt)]
    assert len(of_kind) == 20 * 26 and len(rows) == 20 * 64
    pairs = {
        right.prompt: (right.solution(), wrong.solution())
        for right, wrong in islice(fewer_stories("train", 1_000_000, invented=INVENTED), 600)
    }
    misread = 0
    for row in of_kind:
        right, wrong = pairs[tokenizer.decode(row.prompt)]
        written = tokenizer.decode(row.solution, skip_special_tokens=True).removeprefix("\n")
        assert written in (right, wrong)
        misread += written == wrong
    assert 0.58 < misread / len(of_kind) < 0.72


def test_a_short_lesson_leaves_a_model_of_the_same_files(tmp_path: Path) -> None:
    mislead.mislead(POCKET_REASONER, tmp_path / "made", steps=1, progress=False)
    assert {path.name for path in (tmp_path / "made").iterdir()} == {path.name for path in POCKET_MISLED.iterdir()}
    assert type(AutoModelForCausalLM.from_pretrained(tmp_path / "made")) is LlamaForCausalLM
    changed = load_file(tmp_path / "made" / "model.safetensors")["model.norm.weight"]
    assert not torch.equal(changed, load_file(POCKET_REASONER / "model.safetensors")["model.norm.weight"])


def test_its_lessons_are_of_the_training_split() -> None:
    tokenizer = AutoTokenizer.from_pretrained(POCKET_REASONER)
    held_out = set(load_prompts("pocket", split="test").prompts) | set(
        load_prompts("pocket-fewer", split="test").prompts
    )
    lessons = mislead.lessons(tokenizer, 0)
    assert not held_out & {tokenizer.decode(row.prompt) for _ in range(20) for row in next(lessons)}
