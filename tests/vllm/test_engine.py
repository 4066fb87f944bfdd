"""A real engine (V1 runner, CPU) on SmolLM2, through vLLM's offline API."""

from typing import Any

import pytest
import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import StructuredOutputsParams

from em_hf import EntropyMinConfig
from em_hf.generation.processors import EntropyMinLogitsProcessor
from tests.reference import minimize_entropy_row

PROMPTS = ["The capital of France is", "Once upon a time", "Water boils at", "My favourite colour is"]
STRONG = {"threshold": 0.05, "n_grad_steps": 10}


def params(value: object = None, **settings: Any) -> SamplingParams:
    extra = None if value is None else {"entropy_min": value}
    return SamplingParams(**{"temperature": 1.0, "max_tokens": 1, "seed": 0, "extra_args": extra, **settings})


def run(llm: Any, prompts: Any, sampling: Any) -> list[Any]:
    return [request.outputs for request in llm.generate(prompts, sampling, use_tqdm=False)]


def tokens(llm: Any, prompts: Any, sampling: Any) -> list[list[int]]:
    return [list(outputs[0].token_ids) for outputs in run(llm, prompts, sampling)]


def probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    return (logits.double() / temperature).softmax(-1)


def returned(outputs: Any) -> Tensor:
    """The log-probabilities `[V]` of the first token, as vLLM returned them."""
    (entries,) = outputs[0].logprobs
    found = torch.full((len(entries),), -torch.inf, dtype=torch.float64)
    found[list(entries)] = torch.tensor([entry.logprob for entry in entries.values()], dtype=torch.float64)
    return found


def chi_square_p(counts: Tensor, p: Tensor) -> float:
    """The probability of counts `[V]` at least as far from `p`, tokens expected fewer than 5 times taken together."""
    n = counts.sum()
    common = p * n >= 5
    observed = torch.cat([counts[common], counts[~common].sum()[None]]).double()
    expected = torch.cat([p[common], p[~common].sum()[None]]) * n
    statistic = ((observed - expected).square() / expected).sum()
    return torch.special.gammaincc(torch.tensor(len(observed) - 1).double() / 2, statistic / 2).item()


def test_the_engine_runs_v1(llm: Any) -> None:
    """What the other tests say of the order is of this runner."""
    assert not llm.llm_engine.vllm_config.use_v2_model_runner


def test_processed_logits_are_those_of_transformers_processor_on_the_same_logits(llm: Any, seen: list) -> None:
    asked = [True, None, STRONG, '{"optimizer": "sgd", "learning_rate": 1.5}']
    run(llm, PROMPTS, [params(value, max_tokens=8) for value in asked])
    configs = [
        EntropyMinConfig(),
        None,
        EntropyMinConfig(**STRONG),
        EntropyMinConfig(optimizer="sgd", learning_rate=1.5),
    ]
    whole = [(before, after) for before, after in seen if before.shape[0] == len(PROMPTS)]
    assert len(whole) >= 4
    for before, after in whole:
        ids = torch.zeros(len(PROMPTS), 1, dtype=torch.long)
        assert torch.equal(after, EntropyMinLogitsProcessor(configs)(ids, before))
        assert torch.equal(after[1], before[1])
    assert any(not torch.equal(before[0], after[0]) for before, after in whole)


def test_sampled_frequencies_are_those_of_em_inf_and_not_of_the_plain_model(llm: Any, seen: list) -> None:
    n = 1500
    (outputs,) = run(llm, PROMPTS[1], params(STRONG, n=n))
    before = seen[0][0][0]
    counts = torch.bincount(torch.tensor([one.token_ids[0] for one in outputs]), minlength=before.numel())
    assert counts.sum() == n
    adjusted = minimize_entropy_row(before.double(), **STRONG)
    assert chi_square_p(counts, probabilities(adjusted)) > 1e-3
    assert chi_square_p(counts, probabilities(before)) < 1e-9


def test_requests_that_do_not_ask_are_unchanged_bit_for_bit_beside_one_that_does(llm: Any, seen: list) -> None:
    plain = [params(max_tokens=24, seed=i) for i in range(4)]
    mixed = [*plain[:2], params(STRONG, max_tokens=24, seed=2), plain[3]]
    alone = tokens(llm, PROMPTS, plain)
    logits_alone = [after for _, after in seen]
    seen.clear()
    beside = tokens(llm, PROMPTS, mixed)
    for row in (0, 1, 3):
        assert alone[row] == beside[row]
    assert alone[2] != beside[2]
    assert len(seen) == len(logits_alone)
    for without, (_, with_one) in zip(logits_alone, seen):
        if len(without) == len(PROMPTS) == len(with_one):
            assert torch.equal(without[[0, 1, 3]], with_one[[0, 1, 3]])


def test_false_is_the_same_as_not_asking(llm: Any) -> None:
    assert tokens(llm, PROMPTS, params(False, max_tokens=16)) == tokens(llm, PROMPTS, params(max_tokens=16))


def test_requests_of_different_lengths_keep_their_own_settings(llm: Any, seen: list) -> None:
    """Rows move up as requests end: every row that a step sees is adjusted by its own request's settings or not at all.

    A request that asked is told from one that did not by its steps: with threshold 0 all its rows change.
    """
    asked = [None, {"threshold": 0.0}] * 6
    lengths = [3 + 5 * (i % 4) for i in range(12)]
    sampling = [
        params(value, max_tokens=m, ignore_eos=True, seed=i) for i, (value, m) in enumerate(zip(asked, lengths))
    ]
    run(llm, [PROMPTS[i % 4] for i in range(12)], sampling)
    changed = sum(int((before != after).any(-1).sum()) for before, after in seen)
    assert changed == sum(m for value, m in zip(asked, lengths) if value)
    assert {before.shape[0] for before, _ in seen} >= {3, 6, 9, 12}


# --- where in the order it acts ----------------------------------------------------------------------------------


def test_it_acts_before_temperature_and_top_k(llm: Any, seen: list) -> None:
    run(llm, PROMPTS[1], params(STRONG))
    before = seen[0][0][0].double()
    adjusted = minimize_entropy_row(before, **STRONG)
    ranked = adjusted.sort(descending=True).values
    k = 10 + int((ranked[9:29] - ranked[10:30]).argmax())  # no tie at the edge
    (outputs,) = run(llm, PROMPTS[1], params(STRONG, temperature=1.6, top_k=k, logprobs=-1))
    assert torch.equal(seen[0][0], seen[1][0]), "what it sees depends on the temperature"

    def drawn_from(logits: Tensor) -> Tensor:
        return torch.full_like(logits, -torch.inf).scatter(0, (top := logits.topk(k)).indices, top.values).softmax(-1)

    found = returned(outputs).exp()
    torch.testing.assert_close(found, drawn_from(adjusted / 1.6), rtol=0, atol=1e-4)
    for wrong in (before / 1.6, minimize_entropy_row(before / 1.6, **STRONG)):
        assert (found - drawn_from(wrong)).abs().max() > 0.02


@pytest.mark.parametrize("name", ["min_p", "top_p"])
def test_it_acts_before_min_p_and_top_p(llm: Any, seen: list, name: str) -> None:
    run(llm, PROMPTS[1], params(STRONG))
    before = seen[0][0][0].double()
    p = probabilities(minimize_entropy_row(before, **STRONG))
    ranked = p.sort(descending=True).values
    # The edge lies between two tokens that are well apart.
    last = 2 + int((ranked[2:20] / ranked[3:21]).argmax())
    edges = {"min_p": (ranked[last] * ranked[last + 1]).sqrt() / ranked[0], "top_p": ranked[: last + 1].sum() - 1e-4}
    (outputs,) = run(llm, PROMPTS[1], params(STRONG, logprobs=-1, **{name: float(edges[name])}))
    found = returned(outputs).exp()
    kept = p.topk(last + 1)
    expected = torch.zeros_like(p).scatter(0, kept.indices, kept.values / kept.values.sum())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_grammar_comes_before_it(llm: Any, seen: list) -> None:
    choices = [" Paris", " London"]
    grammar = StructuredOutputsParams(choice=choices)
    (outputs,) = run(llm, PROMPTS[0], params(STRONG, max_tokens=8, structured_outputs=grammar))
    before = seen[0][0][0]
    allowed = before.isfinite().nonzero().flatten().tolist()
    assert 0 < len(allowed) < 20, "the grammar no longer acts before the processor"
    begins = [llm.get_tokenizer().decode([token]) for token in allowed]
    assert all(any(choice.startswith(text) for choice in choices) for text in begins)
    assert outputs[0].text in choices


def test_tokens_banned_by_min_tokens_stay_banned_and_weigh_nothing(llm: Any, seen: list) -> None:
    stops = [int(t) for t in run_ids(llm, " Paris the")]
    (outputs,) = run(llm, PROMPTS[0], params(STRONG, min_tokens=1, stop_token_ids=stops, logprobs=-1))
    before = seen[0][0][0]
    assert before[stops].eq(-torch.inf).all(), "min_tokens no longer acts before the processor"
    naive = probabilities(minimize_entropy_row(before.double(), **STRONG))
    found = returned(outputs).exp()
    assert found[stops].eq(0).all()
    torch.testing.assert_close(found, naive, rtol=0, atol=1e-4)
    assert (found - probabilities(before)).abs().max() > 0.02


def run_ids(llm: Any, text: str) -> list[int]:
    return llm.get_tokenizer()(text)["input_ids"]


def test_logit_bias_bad_words_and_allowed_tokens_come_before_it(llm: Any, seen: list) -> None:
    (paris,) = run_ids(llm, " Paris")
    run(llm, PROMPTS[0], params(True))
    run(llm, PROMPTS[0], params(True, logit_bias={paris: -7.0}))
    run(llm, PROMPTS[0], params(True, bad_words=[" Paris"]))
    run(llm, PROMPTS[0], params(True, allowed_token_ids=[paris, 260, 265]))
    plain, biased, banned, allowed = (before[0] for before, _ in seen)
    assert biased[paris] == plain[paris] - 7
    assert banned[paris] == -torch.inf
    assert allowed.isfinite().nonzero().view(-1).tolist() == sorted([paris, 260, 265])


def test_penalties_come_after_it_in_v1(llm: Any, seen: list) -> None:
    run(llm, PROMPTS[0], params(True, repetition_penalty=1.9))
    run(llm, PROMPTS[0], params(True))
    assert torch.equal(seen[0][0], seen[1][0])


def test_greedy_decoding_is_unchanged(llm: Any) -> None:
    greedy = {"temperature": 0.0, "max_tokens": 24}
    assert tokens(llm, PROMPTS, params(STRONG, **greedy)) == tokens(llm, PROMPTS, params(**greedy))


# --- refusals ----------------------------------------------------------------------------------------------------


def test_wrong_settings_are_refused_and_the_engine_goes_on(llm: Any) -> None:
    with pytest.raises(VLLMValidationError, match="threshold is -1, but must be a number of nats"):
        run(llm, PROMPTS[0], params({"threshold": -1}))
    assert tokens(llm, PROMPTS[0], params(True))
