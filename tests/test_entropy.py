"""token_entropy and linear_entropy against definitions written out, hand-worked cases and autograd on whole logits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from em_hf import linear_entropy, token_entropy


def naive(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, softcap: float | None, scale: float):
    z = torch.nn.functional.linear(hidden, weight, bias) * scale
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    return torch.distributions.Categorical(logits=z / temperature).entropy()


def test_a_uniform_row_has_log_v_and_a_certain_one_nothing() -> None:
    z = torch.tensor([[0.0, 0.0, 0.0, 0.0], [50.0, 0.0, 0.0, 0.0], [0.0, 0.0, -torch.inf, -torch.inf]])
    torch.testing.assert_close(token_entropy(z), torch.tensor([math.log(4), 0.0, math.log(2)]), atol=1e-6, rtol=0)


def test_a_row_without_a_distribution_has_nan() -> None:
    z = torch.tensor([[torch.nan, 0.0], [torch.inf, 0.0], [-torch.inf, -torch.inf]])
    assert token_entropy(z).isnan().all()


@given(seed=st.integers(0, 10_000), size=st.integers(2, 50), scale=st.floats(0.01, 30))
@settings(max_examples=60, deadline=None)
def test_token_entropy_is_the_definition_and_its_gradient_is_the_papers(seed: int, size: int, scale: float) -> None:
    z = (
        scale * torch.randn(3, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ).requires_grad_()
    p = z.detach().softmax(-1)
    h = torch.special.entr(p).sum(-1)
    entropy = token_entropy(z)
    torch.testing.assert_close(entropy.detach(), h)
    (gradient,) = torch.autograd.grad(entropy.sum(), z)
    log_p = z.detach().log_softmax(-1)
    torch.testing.assert_close(gradient, -p * (log_p + h[:, None]))


def test_a_banned_token_leaves_the_gradient_finite() -> None:
    z = torch.tensor([1.0, 0.5, -torch.inf], requires_grad=True)
    token_entropy(z).backward()
    assert z.grad is not None and z.grad.isfinite().all() and z.grad[2] == 0


def inputs(dtype: torch.dtype = torch.float64, tokens: tuple[int, ...] = (3, 5), bias: bool = True) -> tuple:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(*tokens, 6, generator=generator, dtype=torch.float64)
    weight = torch.randn(11, 6, generator=generator, dtype=torch.float64)
    b = torch.randn(11, generator=generator, dtype=torch.float64) if bias else None
    return tuple(None if x is None else x.to(dtype).requires_grad_() for x in (hidden, weight, b))


HEADS = [
    {"temperature": 1.0, "softcap": None, "logit_scale": 1.0},
    {"temperature": 0.5, "softcap": None, "logit_scale": 0.3},
    {"temperature": 1.7, "softcap": 2.0, "logit_scale": 1.4},
]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tile", [1, 4, 100])
def test_gradcheck_of_both_forms_with_tiles_that_do_and_do_not_divide(head: dict, bias: bool, tile: int) -> None:
    hidden, weight, b = inputs(bias=bias)
    token_weight = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    leaves = [x for x in (hidden, weight, b) if x is not None]

    def per_token(*leaves: Tensor) -> Tensor:
        return linear_entropy(*leaves, tile=tile, **head)

    def weighted(token_weight: Tensor, *leaves: Tensor) -> Tensor:
        return linear_entropy(*leaves, token_weight=token_weight, tile=tile, **head)

    assert torch.autograd.gradcheck(per_token, leaves)
    assert torch.autograd.gradcheck(weighted, [token_weight, *leaves])


@pytest.mark.parametrize("head", HEADS)
def test_values_and_all_gradients_are_those_of_whole_logits_for_an_uneven_upstream(head: dict) -> None:
    # An even upstream gradient would hide a weight applied to the wrong token.
    upstream = torch.linspace(-1, 2, 15, dtype=torch.float64).reshape(3, 5)
    wanted = inputs()
    naive(*wanted, head["temperature"], head["softcap"], head["logit_scale"]).backward(upstream)
    ours, fused = inputs(), inputs()
    entropy = linear_entropy(*ours, tile=4, **head)
    torch.testing.assert_close(
        entropy, naive(*wanted, head["temperature"], head["softcap"], head["logit_scale"]).detach()
    )
    entropy.backward(upstream)
    scalar = linear_entropy(*fused, token_weight=upstream, tile=4, **head)
    torch.testing.assert_close(scalar, (entropy * upstream).sum())
    (3 * scalar).backward()
    for a, b, c in zip(wanted, ours, fused):
        torch.testing.assert_close(b.grad, a.grad)
        torch.testing.assert_close(c.grad, 3 * a.grad)


def test_a_graph_that_is_kept_gives_its_gradients_again() -> None:
    wanted, ours = inputs(), inputs()
    total = (naive(*wanted, 1.0, None, 1.0) * torch.linspace(-1, 2, 15).reshape(3, 5)).sum()
    gradients = torch.autograd.grad(total, wanted)
    scalar = linear_entropy(*ours, token_weight=torch.linspace(-1, 2, 15).reshape(3, 5), tile=4)
    for factor in (1.0, -0.5, 1.0):
        again = torch.autograd.grad(factor * scalar, ours, retain_graph=True)
        for a, b in zip(again, gradients):
            torch.testing.assert_close(a, factor * b)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_lower_precision_agrees_with_float64(dtype: torch.dtype, tolerance: float) -> None:
    """bfloat16 rounds each logit (of size up to 8) to 2^-8 of itself: 0.03."""
    low = inputs(dtype)
    exact = tuple(x.detach().double().requires_grad_() for x in low)
    weights = torch.linspace(0.1, 1, 15).reshape(3, 5)
    result = linear_entropy(*low, token_weight=weights, tile=4)
    assert result.dtype == torch.float32
    result.backward()
    total = (naive(*exact, 1.0, None, 1.0) * weights).sum()
    total.backward()
    torch.testing.assert_close(result.double(), total, atol=0, rtol=tolerance)
    for a, b in zip(low, exact):
        assert a.grad.dtype == dtype
        torch.testing.assert_close(a.grad.double(), b.grad, atol=tolerance * float(b.grad.abs().max()), rtol=0)


def test_a_frozen_head_gets_no_gradient_and_hidden_states_the_same() -> None:
    wanted, frozen = inputs(), inputs()
    linear_entropy(*wanted, token_weight=torch.ones(3, 5)).backward()
    for x in frozen[1:]:
        x.requires_grad_(False)
    linear_entropy(*frozen, token_weight=torch.ones(3, 5)).backward()
    torch.testing.assert_close(frozen[0].grad, wanted[0].grad)
    assert frozen[1].grad is None and frozen[2].grad is None


def test_a_tied_weight_collects_both_its_gradients() -> None:
    embedding = torch.randn(11, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ids = torch.tensor([3, 3, 7])

    def loss(entropies: Tensor) -> Tensor:
        return (entropies * torch.tensor([1.0, -0.5, 2.0])).sum()

    (wanted,) = torch.autograd.grad(loss(naive(embedding[ids], embedding, None, 1.0, None, 1.0)), embedding)
    (ours,) = torch.autograd.grad(loss(linear_entropy(embedding[ids], embedding, tile=2)), embedding)
    torch.testing.assert_close(ours, wanted)


def test_no_tokens_at_all_is_zero() -> None:
    hidden, weight, bias = inputs(tokens=(0,))
    assert linear_entropy(hidden, weight, bias).shape == (0,)
    scalar = linear_entropy(hidden, weight, bias, token_weight=torch.ones(0))
    assert float(scalar.detach()) == 0
    scalar.backward()
    assert float(weight.grad.abs().sum()) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.randn(11, 5)}, "does not fit"),
        ({"bias": torch.randn(10)}, r"bias has shape \[10\]"),
        ({"token_weight": torch.ones(15)}, r"token_weight has shape \[15\]"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"softcap": -1.0}, "softcap is -1.0"),
        ({"tile": 0}, "tile is 0"),
    ],
)
def test_wrong_input_is_an_error_that_names_the_argument(change: dict, message: str) -> None:
    hidden, weight, bias = inputs(torch.float32)
    with pytest.raises(ValueError, match=message):
        linear_entropy(**{"hidden": hidden, "weight": weight, "bias": bias, **change})
