"""The live decode against one call of `generate`, and its distributions against logits worked out anew."""

import copy
from typing import Any

import pytest
import torch

from em_hf import CoupledSampling, EntropyTrace
from em_hf.compare.side_by_side import Step, choose_example, collect, compare_decoding, decode_steps
from em_hf.compare.verdict import divergence, first_difference
from em_hf.generation.config import EntropyMinConfig
from em_hf.models import encode_prompts, load_model
from em_hf.pocket import problems
from tests.reference import minimize_entropy_row

CONFIG = EntropyMinConfig(threshold=0.1, n_grad_steps=10)


@pytest.fixture(scope="module")
def pocket() -> tuple[Any, Any]:
    return load_model("pocket-reasoner", device="cpu")


def steps_of(pocket: tuple[Any, Any], prompt: str, rows: list[EntropyMinConfig | None], **options: Any) -> list[Step]:
    model, tokenizer = pocket
    return list(decode_steps(model, tokenizer, encode_prompts(tokenizer, [prompt]), rows, **options))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("draw", [{}, {"temperature": 0.7, "top_k": 5, "top_p": 0.9}], ids=["plain", "cut off"])
def test_a_comparison_is_what_one_call_of_generate_gives(
    pocket: tuple[Any, Any], seed: int, draw: dict[str, Any]
) -> None:
    model, tokenizer = pocket
    inputs = encode_prompts(tokenizer, [problems("test", 1, seed)[0]["prompt"]])
    found = compare_decoding(model, tokenizer, inputs, CONFIG, seed=seed, **draw)
    trace = EntropyTrace()
    out = model.generate(
        **{name: value.repeat(2, 1) for name, value in inputs.items()},
        do_sample=True,
        **{"temperature": 1.0, "top_k": 0, "top_p": 1.0, **draw},
        max_new_tokens=128,
        entropy_min=[False, CONFIG],
        entropy_trace=trace,
        coupled=CoupledSampling(seed),
    )[:, inputs["input_ids"].shape[1] :]
    for row, decoded in enumerate((found.plain, found.em)):
        count = int(trace.before[row].isfinite().sum())
        assert decoded.text == tokenizer.decode(out[row, :count], skip_special_tokens=True)
        assert decoded.entropy_before == trace.before[row, :count].tolist()
        assert decoded.entropy_after == trace.after[row, :count].tolist()
        assert decoded.adjusted == trace.adjusted[row, :count].tolist()
    differ = (out[0] != out[1]).nonzero().flatten().tolist()
    assert found.diverges_at == (differ[0] if differ else None)


def test_a_models_own_settings_are_used_and_its_penalties_are_not(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    inputs = encode_prompts(tokenizer, [problems("test", 1, 1)[0]["prompt"]])
    wanted = compare_decoding(model, tokenizer, inputs, CONFIG)
    own = copy.deepcopy(model.generation_config)
    try:
        model.generation_config.repetition_penalty = 5.0
        model.generation_config.min_new_tokens = 100
        model.generation_config.entropy_min_config = CONFIG.to_dict()
        assert compare_decoding(model, tokenizer, inputs) == wanted
    finally:
        model.generation_config = own


def test_a_models_stop_strings_end_each_row(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    inputs = encode_prompts(tokenizer, [problems("test", 6, 3)[5]["prompt"]])
    whole = compare_decoding(model, tokenizer, inputs, CONFIG, seed=4)
    own = copy.deepcopy(model.generation_config)
    try:
        model.generation_config.stop_strings = ["####"]
        cut = compare_decoding(model, tokenizer, inputs, CONFIG, seed=4)
    finally:
        model.generation_config = own
    for decoded, before in ((cut.plain, whole.plain), (cut.em, whole.em)):
        assert "####" in decoded.text and decoded.text == before.text[: len(decoded.text)]
        assert decoded.tokens == before.tokens[: len(decoded.tokens)]
        assert not any("####" in "".join(decoded.tokens[:i]) for i in range(len(decoded.tokens)))


def test_with_em_inf_off_in_both_rows_they_are_the_same_to_the_last_candidate(pocket: tuple[Any, Any]) -> None:
    steps = steps_of(pocket, problems("test", 1, 0)[0]["prompt"], [None, None], seed=5)
    assert first_difference(steps) is None and len(steps) > 10
    for step in steps:
        left, right = step.rows
        assert left is not None and right is not None
        assert (left.token_id, left.text) == (right.token_id, right.text) and not right.adjusted
        # two rows of one matrix product: equal but for its rounding
        assert left.entropy_before == pytest.approx(right.entropy_after, abs=1e-5)


def test_candidates_are_the_ten_largest_before_and_after_with_their_probabilities(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    prompt = problems("test", 6, 3)[5]["prompt"]
    steps = steps_of(pocket, prompt, [None, CONFIG], seed=4)
    ids = encode_prompts(tokenizer, [prompt])["input_ids"]
    row = [step.rows[1] for step in steps if step.rows[1] is not None]
    done = torch.cat([ids, torch.tensor([[token.token_id for token in row]])], 1)
    with torch.no_grad():
        logits = model(done).logits[0, ids.shape[1] - 1 : -1]
    assert any(token.adjusted for token in row)
    for token, z in zip(row, logits):
        before = z.double().softmax(-1)
        after = (
            minimize_entropy_row(z, CONFIG.threshold, CONFIG.n_grad_steps).double().softmax(-1)
            if token.adjusted
            else before
        )
        listed = {c.token_id: c for c in token.candidates}
        assert set(before.topk(10).indices.tolist()) | set(after.topk(10).indices.tolist()) | {token.token_id} == set(
            listed
        )
        for i, candidate in listed.items():
            # cached decoding and one long pass differ by rounding, which ten steps of 0.1 hardly change
            assert candidate.before == pytest.approx(before[i].item(), abs=1e-5)
            assert candidate.after == pytest.approx(after[i].item(), abs=2e-4)
        chances = [c.after for c in token.candidates]
        assert chances == sorted(chances, reverse=True)


def test_greedy_rows_are_equal_whatever_em_inf_does(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    prompt = problems("test", 1, 2)[0]["prompt"]
    steps = steps_of(pocket, prompt, [None, EntropyMinConfig(threshold=0, n_grad_steps=20)], temperature=0)
    inputs = encode_prompts(tokenizer, [prompt])
    greedy = model.generate(**inputs, do_sample=False, max_new_tokens=128)[0, inputs["input_ids"].shape[1] :]
    assert [step.rows[1].token_id for step in steps if step.rows[1]] == greedy.tolist()
    assert first_difference(steps) is None and any(step.rows[1].adjusted for step in steps if step.rows[1])


def test_where_the_rows_diverge_the_probabilities_are_those_of_logits_worked_out_anew(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    strong, found = EntropyMinConfig(threshold=0.02, n_grad_steps=20), 0
    for seed in range(6):
        prompt = problems("test", 1, seed)[0]["prompt"]
        steps = steps_of(pocket, prompt, [None, strong], seed=seed)
        parted = divergence(steps)
        assert (None if parted is None else parted.index) == first_difference(steps)
        if parted is None:
            continue
        found += 1
        ids = encode_prompts(tokenizer, [prompt])["input_ids"]
        before = [step.rows[0].token_id for step in steps[: parted.index] if step.rows[0]]
        with torch.no_grad():
            z = model(torch.cat([ids, torch.tensor([before], dtype=torch.long)], 1)).logits[0, -1]
        plain, em = steps[parted.index].rows
        assert plain is not None and em is not None
        after = minimize_entropy_row(z, strong.threshold, strong.n_grad_steps).double().softmax(-1)
        assert parted.chance_plain == pytest.approx(float(z.double().softmax(-1)[plain.token_id]), abs=1e-5)
        assert parted.chance_left == pytest.approx(float(after[plain.token_id]), abs=3e-4)
        assert parted.chance_em == pytest.approx(float(after[em.token_id]), abs=3e-4)
        assert (parted.plain, parted.em) == (plain.text, em.text)
    assert found


def test_the_example_is_one_that_only_the_better_decoding_solves(
    pocket: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("em_hf.compare.side_by_side.PROBLEMS_AT_ONCE", 3)
    model, tokenizer = pocket
    rows = [(row["prompt"], row["answer"]) for row in problems("test", 8, 0)]
    chosen = set()
    for seed in (0, 2, 3):
        pairs = [collect(steps_of(pocket, prompt, [None, CONFIG], seed=seed), seed=seed) for prompt, _ in rows]
        ends = [[row.text.rpartition("####")[2].strip() for row in (pair.plain, pair.em)] for pair in pairs]
        right = [[end == answer for end in both] for both, (_, answer) in zip(ends, rows)]
        plain, em = sum(a for a, _ in right), sum(b for _, b in right)
        only = [i for i, both in enumerate(right) if both == ([False, True] if em >= plain else [True, False])]
        differ = [i for i, (a, b) in enumerate(ends) if a != b] or [i for i, x in enumerate(pairs) if x.diverges_at]
        found = choose_example(model, tokenizer, rows, CONFIG, seed=seed, max_new_tokens=128)
        assert (found.n, found.right, found.index) == (8, (plain, em), (only or differ or [0])[0])
        assert found.only == (("EM-INF" if em >= plain else "plain") if only else None)
        chosen.add(found.only)
    assert "EM-INF" in chosen
    # Answers nobody would give, and settings under which nothing differs.
    unknown = [(prompt, "none") for prompt, _ in rows]
    found = choose_example(model, tokenizer, unknown, CONFIG, seed=3, max_new_tokens=128)
    assert (found.right, found.only) == ((0, 0), None) and found.index == differ[0]
    still = choose_example(model, tokenizer, rows, EntropyMinConfig(threshold=99), seed=0, max_new_tokens=64)
    assert (still.index, still.only) == (0, None) and still.right[0] == still.right[1]


def test_where_plain_decoding_solves_more_the_example_is_one_that_only_it_solves(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    rows = [(row["prompt"], row["answer"]) for row in problems("test", 8, 0)]
    first = choose_example(model, tokenizer, rows, CONFIG, seed=3, max_new_tokens=128)
    assert first.only == "EM-INF"
    # What plain decoding says there, taken for the answers.
    said = [collect(steps_of(pocket, prompt, [None, CONFIG], seed=3), seed=3).plain.text for prompt, _ in rows]
    turned = [(prompt, text.rpartition("####")[2].strip()) for (prompt, _), text in zip(rows, said)]
    found = choose_example(model, tokenizer, turned, CONFIG, seed=3, max_new_tokens=128)
    assert found.only == "plain" and found.right[0] > found.right[1] and found.index == first.index


def test_a_row_that_has_ended_is_none_and_differs_from_one_that_goes_on() -> None:
    from em_hf.compare.side_by_side import Token

    def token(i: int) -> Token:
        return Token(i, str(i), False, 0.0, 0.0, False, [])

    steps = [Step(0, [token(1), token(1)], 0.0, 0.0), Step(1, [token(2), None], 0.0, 0.0)]
    assert first_difference(steps) == 1
    both = collect(steps, seed=0)
    assert both.plain.text == "12" and both.em.text == "1" and both.diverges_at == 1


def test_the_first_step_can_be_read_before_the_second_is_made_and_a_closed_decode_ends(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    inputs = encode_prompts(tokenizer, [problems("test", 1, 0)[0]["prompt"]])
    stream = decode_steps(model, tokenizer, inputs, [None, CONFIG])
    first = next(stream)
    assert first.index == 0 and len(first.rows) == 2
    stream.close()
    assert list(stream) == []
