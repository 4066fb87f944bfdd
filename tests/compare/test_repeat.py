"""Repeats against single decodes, and tallies worked by hand."""

import pytest

from em_hf.compare.repeat import repeat, tally
from em_hf.compare.side_by_side import collect, decode_steps
from em_hf.generation.config import EntropyMinConfig
from em_hf.models import encode_prompts, load_model
from em_hf.pocket import problems

CONFIG = EntropyMinConfig(threshold=0.1, n_grad_steps=10)


def test_a_tally_by_hand() -> None:
    found = tally(["#### 4", "so #### 4.0", "#### 5", "no answer"], "4")
    assert found.answers == ["4", "4.0", "5", None]
    assert found.right == [True, True, False, False] and found.accuracy == 0.5
    assert found.low is not None and found.high is not None and 0 <= found.low < 0.5 < found.high <= 1
    assert found.agreement == 0.5 and found.distinct == 2


def test_without_a_known_answer_there_is_no_accuracy_and_without_answers_no_agreement() -> None:
    found = tally(["a", "b"])
    assert (found.accuracy, found.low, found.high, found.right) == (None, None, None, [])
    assert found.agreement == 0 and found.distinct == 0


def test_repeats_come_in_batches_and_the_first_pair_is_the_single_decode() -> None:
    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    problem = problems("test", 6, 3)[5]
    inputs = encode_prompts(tokenizer, [problem["prompt"]])
    results = list(repeat(model, tokenizer, inputs, CONFIG, n=20, answer=problem["answer"], seed=4))
    assert [result.n for result in results] == [16, 20]
    last = results[-1]
    single = collect(list(decode_steps(model, tokenizer, inputs, [None, CONFIG], seed=4)), seed=4)
    assert (last.plain.texts[0], last.em.texts[0]) == (single.plain.text, single.em.text)
    assert len(set(last.plain.texts)) > 1  # each sample has noise of its own
    assert last.plain.texts[:16] == results[0].plain.texts
    assert last.gain is not None and last.em.accuracy is not None and last.plain.accuracy is not None
    assert last.gain[0] == pytest.approx(last.em.accuracy - last.plain.accuracy)


def test_with_pauses_it_stops_within_a_token() -> None:
    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    inputs = encode_prompts(tokenizer, [problems("test", 1, 1)[0]["prompt"]])
    seen: list[int] = []
    hook = model.register_forward_hook(lambda *_: seen.append(1))
    drawing = repeat(model, tokenizer, inputs, CONFIG, n=4, max_new_tokens=60, pauses=True)
    assert next(drawing) is None
    drawing.close()
    assert len(seen) <= 3
    hook.remove()
    [*pauses, last] = repeat(model, tokenizer, inputs, CONFIG, n=4, pauses=True)
    [alone] = repeat(model, tokenizer, inputs, CONFIG, n=4)
    assert last == alone and pauses and set(pauses) == {None}


def test_pairs_differ_only_where_em_inf_acts() -> None:
    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    inputs = encode_prompts(tokenizer, [problems("test", 1, 1)[0]["prompt"]])
    off = EntropyMinConfig(threshold=99)
    result = list(repeat(model, tokenizer, inputs, off, n=8))[-1]
    assert result.plain.texts == result.em.texts and result.gain is None
    with pytest.raises(ValueError, match="n is 0"):
        next(repeat(model, tokenizer, inputs, off, n=0))
