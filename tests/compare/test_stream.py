"""`generate` as a generator, and tokens into pieces of text, against decoding the whole."""

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, LogitsProcessor, PreTrainedTokenizerBase

from em_hf.compare.stream import PieceStream, stream_generate
from em_hf.pocket import POCKET_REASONER

TOKENIZER = AutoTokenizer.from_pretrained(POCKET_REASONER)


def token_pieces(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """The text that each token adds, from decoding every prefix again."""
    found, shown = [], ""
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        whole = text if end == len(ids) else text.rstrip("\ufffd")
        found.append(whole[len(shown) :])
        shown = whole
    return found


def pieces(ids: list[int], tokenizer: object = TOKENIZER) -> list[str]:
    stream = PieceStream(tokenizer)
    return [stream.push(token, last=i == len(ids) - 1) for i, token in enumerate(ids)]


@given(st.text(max_size=40), st.integers(0, 12))
def test_pieces_are_those_of_decoding_every_prefix_again(text: str, cut: int) -> None:
    ids = TOKENIZER(text)["input_ids"]
    ids = ids[: max(1, len(ids) - cut)]  # the cut may leave half a character at the end
    if ids:
        assert pieces(ids) == token_pieces(TOKENIZER, ids)


@given(st.lists(st.integers(0, 511), min_size=1, max_size=60))
def test_pieces_of_any_tokens_join_to_the_decoded_text(ids: list[int]) -> None:
    whole = TOKENIZER.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert "".join(pieces(ids)) == whole


def test_an_emoji_of_many_tokens_shows_whole_with_its_last_one() -> None:
    ids = TOKENIZER("a 👩‍🚀 b")["input_ids"]
    made = pieces(ids)
    assert "".join(made) == "a 👩‍🚀 b" and "" in made and all("\ufffd" not in piece for piece in made)


def test_half_a_character_is_shown_only_where_no_other_half_comes() -> None:
    text = "Zoë has 3 🍎 and 日本 <b>"
    ids = TOKENIZER(text)["input_ids"]
    assert len(ids) > 12  # most characters are several tokens
    made = pieces(ids)
    assert len(made) == len(ids) and "".join(made) == text and all("\ufffd" not in piece for piece in made)
    assert "".join(pieces(TOKENIZER("🍎")["input_ids"][:-1])[:-1]) == ""


def test_real_tokens_of_smollm2_join_too(smollm2: object) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    text = "The café's menu: 🍜 日本語, naïve — 'don't' !\n\n  two  spaces <|im_end|> x"
    ids = tokenizer(text)["input_ids"]
    assert pieces(ids, tokenizer) == token_pieces(tokenizer, ids)
    assert "".join(pieces(ids, tokenizer)) == text


@pytest.fixture
def call(tiny_llama) -> dict:
    model = tiny_llama(eos_token_id=None)
    return {"model": model, "input_ids": torch.tensor([[3, 4, 5]]), "max_new_tokens": 12, "do_sample": False}


def test_the_items_are_the_tokens_that_generate_gives(call: dict) -> None:
    whole = call["model"].generate(**{k: v for k, v in call.items() if k != "model"})[0, 3:].tolist()
    assert [int(t) for t in stream_generate(item=lambda tokens: tokens[0], **call)] == whole


class Count(LogitsProcessor):
    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        return scores


def test_closing_ends_the_decoding_and_leaves_no_thread(call: dict) -> None:
    count = Count()
    before = threading.active_count()
    go = threading.Event()

    def item(tokens: torch.Tensor) -> int:
        go.wait()  # the decoding can run ahead of its reader only when the test lets it
        return 0

    stream = stream_generate(item=item, **{**call, "max_new_tokens": 250}, logits_processor=[count])
    threading.Timer(0.0, go.set).start()
    next(stream)
    go.clear()
    threading.Timer(0.2, go.set).start()  # while close waits
    stream.close()
    assert count.steps < 250
    assert not [t for t in threading.enumerate() if t.name == "em-hf-decode"] and threading.active_count() <= before + 1


def test_an_error_while_decoding_is_raised_where_the_stream_is_read(call: dict) -> None:
    class Wrong(LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            raise ValueError("wrong logits")

    with pytest.raises(ValueError, match="wrong logits"):
        list(stream_generate(item=lambda tokens: 0, **call, logits_processor=[Wrong()]))
    with pytest.raises(KeyError):
        list(stream_generate(item=lambda tokens: {}[0], **call))
