"""Tokens that transformers bans (-inf in the logits) before EM-INF sees them: it must go on working."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from em_hf import CoupledSampling, EntropyTrace, enable_entropy_min
from tests.reference import entropy

PROMPT = torch.tensor([[5, 9, 11], [17, 33, 21]])


def decode(model: Any, **settings: Any) -> tuple[Tensor, EntropyTrace]:
    trace = EntropyTrace()
    out = enable_entropy_min(model).generate(
        PROMPT,
        attention_mask=torch.ones_like(PROMPT),
        do_sample=True,
        top_k=0,
        entropy_min=True,
        entropy_trace=trace,
        coupled=CoupledSampling(0),
        **{"max_new_tokens": 8, **settings},
    )
    return out[:, 3:], trace


@pytest.mark.parametrize(
    ("settings", "banned"),
    [
        ({"min_new_tokens": 8}, [2]),
        ({"suppress_tokens": list(range(30, 90))}, list(range(30, 90))),
        ({"bad_words_ids": [[t] for t in range(40, 60)]}, list(range(40, 60))),
        ({"remove_invalid_values": True, "min_new_tokens": 8}, [2]),
    ],
    ids=["min_new_tokens", "suppress_tokens", "bad_words_ids", "remove_invalid_values"],
)
def test_steps_are_adjusted_and_the_trace_is_finite(tiny_llama: Callable, settings: dict, banned: list[int]) -> None:
    model = tiny_llama(eos_token_id=2)
    tokens, trace = decode(model, **settings)
    for row in range(2):
        length = int(trace.before[row].isfinite().sum())
        assert length > 0 and trace.before[row, :length].isfinite().all() and trace.after[row, :length].isfinite().all()
        assert trace.adjusted[row, :length].any()
        assert (trace.after[row, :length] <= trace.before[row, :length] + 1e-5).all()
        assert not set(tokens[row, :length].tolist()) & set(banned)
    # the first entropy, by hand: over what is allowed only
    with torch.no_grad():
        z = model(PROMPT).logits[0, -1].double()
    z[banned] = -torch.inf
    assert float(trace.before[0, 0]) == pytest.approx(float(entropy(z)), abs=1e-4)


def test_a_row_of_only_banned_tokens_is_transformers_own_error(tiny_llama: Callable) -> None:
    def ban_all_of_row_0(input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        scores[0] = -torch.inf
        return scores

    model = tiny_llama()
    settings = {"do_sample": True, "max_new_tokens": 2, "logits_processor": [ban_all_of_row_0]}
    with pytest.raises(RuntimeError, match="probability tensor") as plain:
        model.generate(PROMPT, **settings)
    for extra in ({}, {"coupled": CoupledSampling(0)}):
        with pytest.raises(RuntimeError) as ours:
            enable_entropy_min(model).generate(PROMPT, **settings, entropy_min=True, **extra)
        assert str(ours.value) == str(plain.value)


def test_a_row_of_only_banned_tokens_leaves_the_other_rows_trace_alone(tiny_llama: Callable) -> None:
    """`remove_invalid_values` makes such a row decodable: finfo.min everywhere is a uniform row."""

    def ban_all_of_row_0(input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        scores[0] = -torch.inf
        return scores

    trace = EntropyTrace()
    model = enable_entropy_min(tiny_llama(eos_token_id=127))
    torch.manual_seed(0)
    with pytest.raises(RuntimeError):
        model.generate(
            PROMPT,
            do_sample=True,
            max_new_tokens=2,
            logits_processor=[ban_all_of_row_0],
            entropy_min=True,
            entropy_trace=trace,
        )
    assert trace.before[0].isnan().all() and trace.before[1].isfinite().all()
    assert trace.adjusted.tolist() == [[False], [True]]
