"""The tokenizer of the next pocket reasoner: any text, digit by digit, and frequent words whole."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from em_hf.pocket.problems import LEVELS, problems
from em_hf.pocket.tokenizer import VOCABULARY, build_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


@settings(max_examples=500, deadline=None)
@given(st.text())
@example("Tom has 12 apples.\n\n  He eats 3 .. #### 9\n")
@example("a<|end|>b <|pad|>")
@example("naïve ☃ 数学 🇸🇰 e\u0301 \u0000 \r\n\t x't \u2028 ٣ ½ 7 × 8 ÷ 4")
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


def test_the_words_of_steps_are_single_tokens_and_no_token_goes_over_a_space(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    assert len(tokenizer) <= VOCABULARY
    for word in (
        "That",
        " makes",
        " leaves",
        " is",
        " dollars",
        " How",
        " many",
        " ×",
        " ÷",
        " +",
        " -",
        " =",
        "####",
        ".\n",
    ):
        assert len(tokenizer(word).input_ids) == 1, word
    for piece in (tokenizer.decode([i]) for i in range(len(tokenizer))):
        assert " " not in piece.strip(" ") and len(re.findall(r"\d", piece)) <= 1


def test_a_solution_with_its_end_has_fewer_than_160_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    for level in LEVELS:
        found = problems("train", 1500, seed=9, level=level)
        lengths = [len(tokenizer("\n" + p["solution"]).input_ids) + 1 for p in found]
        assert sum(length < 160 for length in lengths) / len(lengths) > 0.99
        assert level == "hard" or max(lengths) < 160


def test_a_prompt_has_the_same_tokens_alone_and_before_its_solution(tokenizer: PreTrainedTokenizerFast) -> None:
    for p in problems("train", 500, seed=10):
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


def test_it_is_built_the_same_every_time_and_saved_as_it_is(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    for other in (build_tokenizer(), AutoTokenizer.from_pretrained(tmp_path)):
        assert isinstance(other, PreTrainedTokenizerFast)
        assert other.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
