"""The tokenizer that comes with the weights: any text, digit by digit, and the problems' words whole."""

import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from em_hf.pocket import POCKET_REASONER, problems
from em_hf.pocket.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(POCKET_REASONER)


@settings(max_examples=500, deadline=None)
@given(st.text())
@example("Tom has 12 apples.\n\n  He eats 3 .. #### 9\n")
@example("a<|end|>b <|pad|>")
@example("naïve ☃ 数学 🇸🇰 e\u0301 \u0000 \r\n\t x't \u2028 ٣ ½")
def test_any_text_comes_back_exactly(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text
    # The names of the two special tokens, written in a text, are those tokens.
    assert tokenizer.decode(ids, skip_special_tokens=True) == re.sub(r"<\|(end|pad)\|>", "", text)


@settings(max_examples=200, deadline=None)
@given(st.integers(min_value=0), st.sampled_from(["", " ", "a", "-", "\n"]))
def test_digits_are_one_token_each(tokenizer: PreTrainedTokenizerFast, number: int, before: str) -> None:
    ids = tokenizer(f"{before}{number}").input_ids
    digits = [piece for piece in (tokenizer.decode([i]) for i in ids) if re.search(r"\d", piece)]
    assert [piece.strip() for piece in digits] == list(str(number))


def test_a_word_or_sign_of_the_problems_is_one_token_with_the_space_before_it(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    for problem in problems("test", 1000, seed=8) + problems("test", 1000, seed=8, level="hard"):
        text = f"{problem['prompt']}\n{problem['solution']}"
        pieces = [tokenizer.decode([i]) for i in tokenizer(text).input_ids]
        assert pieces == re.findall(r"\.\n| ?(?:[A-Za-z]+|\d|[^\w\s]+)|\n", text)


@pytest.mark.parametrize(("level", "longest"), [("plain", 64), ("hard", 128)])
def test_a_solution_with_its_end_is_short(tokenizer: PreTrainedTokenizerFast, level: str, longest: int) -> None:
    found = problems("train", 5000, seed=9, level=level) + problems("test", 2000, seed=9, level=level)
    lengths = [len(tokenizer("\n" + p["solution"]).input_ids) + 1 for p in found]
    assert max(lengths) < longest


def test_a_prompt_has_the_same_tokens_alone_and_before_its_solution(tokenizer: PreTrainedTokenizerFast) -> None:
    # A full stop takes the line break along, so a prompt that ends in one ("Add 3 and 4.") is left out.
    for p in [p for p in problems("train", 500, seed=10) if not p["prompt"].endswith(".")]:
        alone, rest = tokenizer(p["prompt"]).input_ids, tokenizer("\n" + p["solution"]).input_ids
        assert tokenizer(f"{p['prompt']}\n{p['solution']}").input_ids == alone + rest


def test_nothing_is_added_to_a_text_and_padding_is_not_the_end(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer("").input_ids == []
    assert tokenizer.eos_token == tokenizer.bos_token == "<|end|>"
    assert tokenizer.pad_token == "<|pad|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer("a<|end|>").input_ids[-1] == tokenizer.eos_token_id
    assert tokenizer.chat_template is None
    assert tokenizer.model_max_length == 1024


def test_the_packaged_tokenizer_is_what_pretraining_builds(tokenizer: PreTrainedTokenizerFast) -> None:
    """It was built when the stories had a few more words, which it keeps."""
    built = build_tokenizer()
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert set(built.get_vocab()) <= set(tokenizer.get_vocab())
    one, other = (json.loads(made.backend_tokenizer.to_str()) for made in (tokenizer, built))
    for made in (one, other):
        del made["model"]["vocab"]
    assert one == other
