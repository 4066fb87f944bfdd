"""The model card of the pocket reasoner: a card the Hub reads, whose code runs and whose figures are measured."""

import re
from importlib import resources
from itertools import product
from math import sqrt
from typing import Any

import pytest
from huggingface_hub import ModelCard

from em_hf.pocket.stories import STORIES
from scripts import pretrain


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return ModelCard(resources.files("em_hf.model_cards").joinpath("pocket-reasoner.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(card: ModelCard) -> dict[str, Any]:
    """The names that the card's Python blocks leave behind, run one after the other, and what they print."""
    printed: list[str] = []
    names: dict[str, Any] = {"print": printed.append, "printed": printed}
    for block in re.findall(r"```python\n(.*?)```", card.text, re.DOTALL):
        exec(block, names)
    return names


def test_the_front_matter_says_what_the_hub_asks_for(card: ModelCard) -> None:
    assert card.data.to_dict() == {
        "license": "apache-2.0",
        "language": "en",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["em-hf", "entropy-minimization"],
    }


def test_the_example_prints_the_solution_that_the_card_shows(card: ModelCard, run: dict[str, Any]) -> None:
    shown = re.search(r"```\n(A farm has .*?)\n```", card.text, re.DOTALL)
    assert shown
    assert run["printed"] == [shown[1].replace("\n\n", "\n")]


def test_the_published_accuracy_is_what_its_command_measures(card: ModelCard, run: dict[str, Any]) -> None:
    rows = re.findall(r"\| (plain|hard) \| (greedy|sampled).*?\| ([\d.]+)% \| ([\d.]+)% to ([\d.]+)% \|", card.text)
    assert [row[:2] for row in rows] == list(product(("plain", "hard"), ("greedy", "sampled")))
    for level, decoding, *figures in rows:
        share, low, high = (float(figure) / 100 for figure in figures)
        # A last digit may differ with the processor and the version of torch; the interval allows for that.
        assert low <= run["measured"][level, decoding == "sampled"] <= high
        # Wilson's bounds are the p from which the share is 1.96 standard errors away.
        for p in (low, high):
            assert abs(share - p) == pytest.approx(1.96 * sqrt(p * (1 - p) / 1000), abs=0.0015)


def test_the_facts_of_training_are_those_of_the_code(card: ModelCard, run: dict[str, Any]) -> None:
    model, tokenizer = run["model"], run["tokenizer"]
    text = " ".join(card.text.split())
    assert f"{model.num_parameters() / 1e6:.1f} million parameters" in text
    assert f"{len(tokenizer):,} tokens in a vocabulary padded to {model.config.vocab_size:,}" in text
    assert f"{pretrain.STEPS:,} steps of {pretrain.WORKERS * pretrain.BATCH} problems" in text
    assert f"{pretrain.SLIP_RATE:.0%} of the steps in the solutions had a slip" in text
    assert pretrain.SLIPS_FROM == 0.8 and "In the last fifth of its training" in text
    assert pretrain.MUON_RATE == 0.02 and "Muon (learning rate 0.02)" in text
    assert pretrain.ADAM_RATE == 3e-3 and "AdamW (3e-3)" in text
    assert pretrain.CONSTANT == 0.3 and "constant for three tenths of the training" in text
    shares = pretrain.SHARES
    assert "{plain:.0%} are plain, {hard:.0%} hard and {sums:.0%} bare sums".format(**shares) in text
    assert f"{len(STORIES)} families of everyday stories" in text
    assert f"{model.config.num_hidden_layers} layers, hidden size {model.config.hidden_size}" in text
