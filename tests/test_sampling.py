"""The sampling loop against plain calls of `generate`, batch by batch, and against one long forward pass."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer

from em_hf import EntropyMinConfig
from em_hf.evaluation.confidence import sample_answers
from em_hf.lab.equal_entropy import sampled_logits
from em_hf.pocket import POCKET_REASONER
from em_hf.sampling import Batch, EndOfSequence, SamplingConfig, completion_mask, sample
from em_hf.settings import MAX_SEED
from em_hf.training.measure import measure
from em_hf.training.probe import probe_model
from tests.reference import entropy

PROMPTS = ["ab", "cdeab", "e", "abcd", "dd", "b", "aaaaaa", "ce", "a b", "d"]


@pytest.fixture
def model(letter_model: Callable[..., Any]) -> Any:
    return letter_model(3).eval()


def by_hand(
    model: Any, letters: Any, prompts: Sequence[str], *, rows: int, samples: int = 1, seed: int = 0, new: int = 6
) -> list[list[list[int]]]:
    """What the rule says: batches of `rows` completions in the order given, each from its own seed."""
    found = []
    for start in range(0, len(prompts), rows // samples):
        torch.manual_seed(seed * 1_000_003 + start)
        batch = letters(prompts[start : start + rows // samples], return_tensors="pt", padding=True)
        out = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=new,
            num_return_sequences=samples,
        )
        found += [up_to_end(row) for row in out[:, batch["input_ids"].shape[1] :].tolist()]
    return [found[i : i + samples] for i in range(0, len(found), samples)]


def up_to_end(row: list[int]) -> list[int]:
    return row[: row.index(1) + 1] if 1 in row else row


def in_order(prompts: Sequence[str]) -> list[int]:
    return sorted(range(len(prompts)), key=lambda i: len(prompts[i]))


@pytest.mark.parametrize(("samples", "rows", "seed"), [(1, 4, 0), (3, 7, 5), (2, 256, 1)])
def test_completions_are_those_of_generate_with_the_rules_seed(
    model: Any, letters: Any, samples: int, rows: int, seed: int
) -> None:
    settings = {"samples": samples, "batch_size": rows, "seed": seed, "max_new_tokens": 6}
    rows = rows // samples * samples
    found = sample(model, letters, PROMPTS, SamplingConfig(**settings, sort_by_length=False))
    wanted = by_hand(model, letters, PROMPTS, rows=rows, samples=samples, seed=seed)
    assert [[one.token_ids for one in ones] for ones in found] == wanted
    assert [one.prompt for ones in found for one in ones] == [i for i in range(len(PROMPTS)) for _ in range(samples)]
    order = in_order(PROMPTS)
    found = sample(model, letters, PROMPTS, SamplingConfig(**settings))
    wanted = by_hand(model, letters, [PROMPTS[i] for i in order], rows=rows, samples=samples, seed=seed)
    assert [[one.token_ids for one in found[i]] for i in order] == wanted


def test_what_sampled_with_a_loop_of_its_own_before_draws_the_same(model: Any, letters: Any) -> None:
    """Measurements and probes sort by length and decode 256 rows at a time; diagnosis and lab keep the order."""
    order = in_order(PROMPTS)
    rows = by_hand(model, letters, [PROMPTS[i] for i in order], rows=256, samples=4, seed=2)
    length = sum(len(ids) for group in rows for ids in group) / (4 * len(PROMPTS))
    measured = measure(model, letters, PROMPTS, None, name="row", samples=4, seed=2, max_new_tokens=6)
    probed = probe_model(
        model,
        letters,
        PROMPTS,
        None,
        step=0,
        entropy_min=None,
        samples=4,
        max_new_tokens=6,
        temperature=1.0,
        seed=2,
        chat_template=True,
    )
    assert measured.completion_length == probed.completion_length == length
    assert measured.entropy == pytest.approx(probed.entropy)
    answers = sample_answers(model, letters, PROMPTS, ["1"] * 10, samples=3, batch_size=9, max_new_tokens=6, seed=4)
    texts = [
        letters.decode(ids, skip_special_tokens=True)
        for group in by_hand(model, letters, PROMPTS, rows=9, samples=3, seed=4)
        for ids in group
    ]
    assert [answer.text for answer in answers] == texts
    logits = sampled_logits(model, letters, PROMPTS[:4], 64)
    drawn = by_hand(model, letters, PROMPTS[:4], rows=4, new=64)
    assert len(logits) == sum(len(group[0]) for group in drawn)


def logits_of(model: Any, letters: Any, prompt: str, ids: list[int]) -> Tensor:
    """`[tokens, V]`, from one pass over the whole text."""
    prompt_ids = letters(prompt)["input_ids"]
    with torch.no_grad():
        return model(torch.tensor([prompt_ids + ids])).logits[0, len(prompt_ids) - 1 : -1].double()


@pytest.mark.parametrize("em_inf", [None, EntropyMinConfig(threshold=0.0, n_grad_steps=20)])
def test_entropies_and_log_probabilities_are_of_the_models_own_distributions(
    model: Any, letters: Any, em_inf: EntropyMinConfig | None
) -> None:
    config = SamplingConfig(samples=2, max_new_tokens=6, temperature=0.7, top_k=3, entropy_min=em_inf)
    seen: list[Batch] = []
    found = sample(
        model,
        letters,
        PROMPTS,
        config,
        observe=lambda logits: {"largest": logits.amax(-1), "twice": 2 * logits},
        keep_logits=True,
        on_batch=seen.append,
    )
    for prompt, ones in zip(PROMPTS, found, strict=True):
        for one in ones:
            logits = logits_of(model, letters, prompt, one.token_ids)
            drawn = logits.log_softmax(-1).gather(-1, torch.tensor(one.token_ids)[:, None])[:, 0]
            assert one.entropies.tolist() == pytest.approx([float(entropy(row)) for row in logits], abs=1e-5)
            assert one.log_probs.tolist() == pytest.approx(drawn.tolist(), abs=1e-5)
            assert one.observed["largest"].tolist() == pytest.approx(logits.amax(-1).tolist(), abs=1e-5)
            chosen = 2 * logits.gather(-1, torch.tensor(one.token_ids)[:, None])[:, 0]
            assert one.observed["twice"].tolist() == pytest.approx(chosen.tolist(), abs=1e-4)
            assert one.prompt_tokens == len(prompt) and one.nats == pytest.approx(float(one.entropies.sum()))
    batch = seen[0]
    assert batch.logits is not None and batch.logits.shape[:2] == batch.mask.shape
    assert batch.mask.sum(1).tolist() == [len(one) for one in batch.completions]
    one = batch.completions[3]
    wanted = logits_of(model, letters, PROMPTS[one.prompt], one.token_ids).float()
    torch.testing.assert_close(batch.logits[3][batch.mask[3]], wanted, atol=1e-5, rtol=1e-5)


def test_em_inf_draws_with_the_same_random_numbers(model: Any, letters: Any) -> None:
    plain, off, on = (
        [one.token_ids for (one,) in sample(model, letters, PROMPTS * 5, SamplingConfig(entropy_min=em, **short))]
        for em in (None, EntropyMinConfig(threshold=99.0), EntropyMinConfig(threshold=0.0, n_grad_steps=50))
        for short in [{"max_new_tokens": 5}]
    )
    assert plain == off != on


def test_temperature_0_is_greedy(model: Any, letters: Any) -> None:
    found = sample(model, letters, PROMPTS, SamplingConfig(temperature=0, max_new_tokens=5))
    for prompt, (one,) in zip(PROMPTS, found, strict=True):
        logits = logits_of(model, letters, prompt, one.token_ids)
        assert logits.argmax(-1).tolist() == one.token_ids


@pytest.fixture
def with_stop_strings(tiny_llama: Callable[..., Any]) -> tuple[Any, Any]:
    """A random model that stops at "e" and "th", with a tokenizer of real words."""
    tokenizer = AutoTokenizer.from_pretrained(POCKET_REASONER)
    model = tiny_llama(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    model.generation_config.stop_strings = ["th", "e"]
    return model, tokenizer


def test_a_stop_string_ends_a_row_and_what_comes_after_it_counts_for_nothing(with_stop_strings: Any) -> None:
    model, tokenizer = with_stop_strings
    stopped = 0
    for (one,) in sample(model, tokenizer, ["12 + 3", "7"] * 20, SamplingConfig(max_new_tokens=12)):
        texts = [tokenizer.decode(one.token_ids[: i + 1]) for i in range(len(one))]
        ends = [i for i, text in enumerate(texts) if "e" in text or "th" in text or text.endswith(tokenizer.eos_token)]
        assert ends == [len(one) - 1] or (ends == [] and len(one) == 12)
        assert len(one.entropies) == len(one.log_probs) == len(one) and one.log_probs.isfinite().all()
        stopped += bool(ends)
    assert stopped > 20


def test_the_end_of_a_row_step_by_step_is_that_of_the_whole(with_stop_strings: Any) -> None:
    model, tokenizer = with_stop_strings
    end = EndOfSequence(model, tokenizer)
    rows = tokenizer(["a bit of thread and more", "12 + 3 = 15 + 2 - 1 + 7"], padding=True, return_tensors="pt")
    rows = rows["input_ids"]
    mask = end.mask(rows, 1)
    ended = torch.stack([end.ended(rows[:, : i + 1]) for i in range(1, rows.shape[1])], 1)
    for row in range(2):
        counted = int(mask[row].sum())
        assert mask[row, :counted].all() and not ended[row, : counted - 1].any()
        assert ended[row, counted - 1] or counted == mask.shape[1]
    assert "th" in tokenizer.decode(rows[0, : 2 + int(mask[0].sum())])
    model.generation_config.stop_strings = None
    eos = model.generation_config.eos_token_id
    assert torch.equal(EndOfSequence(model, tokenizer).mask(rows, 1), completion_mask(rows[:, 1:], [eos]))


def test_without_an_end_of_its_own_a_model_has_its_tokenizers(model: Any, letters: Any) -> None:
    model.generation_config.eos_token_id = None
    assert EndOfSequence(model, letters).token_ids == [1]
    found = sample(model, letters, PROMPTS * 10, SamplingConfig(max_new_tokens=20))
    assert {one.token_ids.index(1) + 1 - len(one) for (one,) in found if 1 in one.token_ids} == {0}


def test_random_states_mode_and_settings_outside_are_left_alone(model: Any, letters: Any) -> None:
    own = model.generation_config
    own.repetition_penalty, own.min_new_tokens, own.top_k = 9.0, 6, 1
    wanted = sample(model, letters, PROMPTS, SamplingConfig(max_new_tokens=6, seed=1))
    model.train()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[union-attr]
    found = sample(model, letters, PROMPTS, SamplingConfig(max_new_tokens=6, seed=1))
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]  # type: ignore[union-attr]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert model.training and model.generation_config is own
    model.eval()
    own.repetition_penalty, own.min_new_tokens, own.top_k = 1.0, None, 50
    again = sample(model, letters, PROMPTS, SamplingConfig(max_new_tokens=6, seed=1))
    ids = [[[one.token_ids for one in ones] for ones in run] for run in (wanted, found, again)]
    assert ids[0] == ids[1] == ids[2]
    with pytest.raises(RuntimeError, match="stop here"):
        sample(model.train(), letters, PROMPTS, on_progress=lambda done: exec("raise RuntimeError('stop here')"))
    assert model.training and model.generation_config is own


def test_messages_are_prompts_and_a_system_message_reaches_the_model(model: Any, letters: Any) -> None:
    letters.chat_template = (
        "{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}d{% endif %}"
    )
    chat = [{"role": "system", "content": "e"}, {"role": "user", "content": "ab"}]
    config = SamplingConfig(max_new_tokens=6, samples=4)
    (told,) = sample(model, letters, [chat], config)
    letters.chat_template = None
    (plain,) = sample(model, letters, ["e ab d"], config)
    assert [one.token_ids for one in told] == [one.token_ids for one in plain]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples is 0, but must be at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"temperature": -1.0}, "temperature is -1.0, but must be at least 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_p": 0.0}, "top_p is 0.0, but must be above 0 and at most 1"),
        ({"min_p": 1.0}, "min_p is 1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"temperature": 0, "samples": 2}, "greedy decoding always gives the same completion"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingConfig(**settings)


def test_every_seed_of_the_command_line_can_be_drawn_from() -> None:
    assert SamplingConfig(seed=2**32 - 1).seed == MAX_SEED
    with pytest.raises(ValueError, match="seed is 4294967296, but must be from 0 to 4,294,967,295"):
        SamplingConfig(seed=2**32)
