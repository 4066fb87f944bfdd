"""The entropy of the next-token distribution in nats, from logits or directly from hidden states."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from em_hf.messages import shown

TILE_TOKENS = 256


def token_entropy(logits: Tensor) -> Tensor:
    """Return the entropy `H = -Σ_j p_j log p_j` of `softmax(logits)`, in nats: `[..., V]` -> `[...]`, differentiable.

    Computed in float32 (float64 for float64 input). A banned token (`-inf`) contributes nothing. A row with NaN or
    +inf, or of `-inf` alone, has no distribution: its entropy is NaN.

    Raises:
        ValueError: `logits` is not a tensor, or has no entries in its last dimension.
    """
    check_tensors(1, logits=logits)
    if logits.shape[-1] == 0:
        raise ValueError(f"logits has shape {list(logits.shape)}, but must be [..., V] with V at least 1")
    logits = logits if logits.dtype == torch.float64 else logits.float()
    z = logits - logits.detach().amax(-1, keepdim=True)
    log_p = z - z.logsumexp(-1, keepdim=True)
    p = log_p.exp()
    # A banned token gives 0 · -inf; masking before the product keeps the NaN out of the gradient as well.
    return -(p * log_p.masked_fill(p == 0, 0)).sum(-1)


def check_tensors(dims: int, **values: Any) -> None:
    """Raise a ValueError that names the first argument that is not a tensor of at least `dims` dimensions."""
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} must be a tensor, not {shown(value)}")
        if value.dim() < dims:
            raise ValueError(f"{name} has shape {list(value.shape)}, but must have at least {dims} dimensions")


def linear_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    token_weight: Tensor | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    tile: int = TILE_TOKENS,
) -> Tensor:
    """Return the token entropy, in nats, of `softmax(z / temperature)`, `z` the LM head's logits, never held in full.

    `z = logit_scale · (hidden @ weightᵀ + bias)`, then `softcap · tanh(z / softcap)` if a softcap is given. A tile of
    tokens is projected onto the whole vocabulary, used and dropped, so memory grows with `tile` and not with the
    number of tokens. Since `∂H/∂z_j = -p_j (log p_j + H)`, no logits have to be kept for the backward pass.

    Args:
        hidden: `[..., H]`, last hidden states; select the relevant positions before the call.
        weight: `[V, H]`, the LM head's (or the tied embedding's) matrix. Its gradient sums in float32.
        bias: `[V]`.
        token_weight: `[...]`. If given, the result is the scalar `Σ_t w_t H_t`, and the gradients are computed in the
            forward pass, while a tile's logits are available: 3 matrix products in all, 2 with a frozen head, while
            recomputing them takes 4. If None, the entropies themselves, `[...]`, for any upstream gradient.
        temperature: of the distribution whose entropy is computed; above 0.
        softcap: final logit softcapping, as in Gemma 2; above 0.
        logit_scale: factor on the logits, as in Cohere (`logit_scale`) or Granite (`1 / logits_scaling`).
        tile: tokens per tile.

    Raises:
        ValueError: shapes that do not fit, or a temperature, softcap or tile that is not above 0.
    """
    optional = {"bias": bias, "token_weight": token_weight}
    check_tensors(0, **{name: value for name, value in optional.items() if value is not None})
    check_tensors(1, hidden=hidden, weight=weight)
    if hidden.shape[-1] != weight.shape[-1] or weight.dim() != 2:
        raise ValueError(
            f"hidden {list(hidden.shape)} does not fit weight {list(weight.shape)}: [..., H] and [V, H] do"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias has shape {list(bias.shape)}, but must be [{weight.shape[0]}]")
    if token_weight is not None and token_weight.shape != hidden.shape[:-1]:
        raise ValueError(f"token_weight has shape {list(token_weight.shape)}, but must be {list(hidden.shape[:-1])}")
    for name, value in (("temperature", temperature), ("softcap", softcap), ("tile", tile)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} is {value!r}, but must be above 0")
    head = _Head(temperature, softcap, logit_scale, int(tile))
    rows = hidden.reshape(-1, hidden.shape[-1])
    if token_weight is None:
        return _EntropyPerToken.apply(rows, weight, bias, head).reshape(hidden.shape[:-1])
    return _WeightedEntropy.apply(rows, weight, bias, token_weight.reshape(-1), head)


@dataclass(frozen=True)
class _Head:
    """The map from `hidden @ weightᵀ + bias` to the logits whose entropy is computed, and its gradient."""

    temperature: float
    softcap: float | None
    logit_scale: float
    tile: int

    def logits(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the logits `[tokens, V]`, in float32 (float64 for float64 input)."""
        z = hidden @ weight.to(hidden.dtype).T
        z = z if z.dtype == torch.float64 else z.float()
        if bias is not None:
            z += bias
        if self.logit_scale != 1:
            z *= self.logit_scale
        if self.softcap is not None:
            z = z.div_(self.softcap).tanh_().mul_(self.softcap)
        return z if self.temperature == 1 else z.div_(self.temperature)

    def entropy(
        self, hidden: Tensor, weight: Tensor, bias: Tensor | None, gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return a tile's entropies `[tokens]` and, if requested, their negated gradient `[tokens, V]` on the logits.

        `p_j (log p_j + H)`, on `hidden @ weightᵀ + bias` before scale and temperature. At most two tensors of a tile's
        size are held at a time, three with a softcap.
        """
        z = self.logits(hidden, weight, bias)
        log_p = z.log_softmax(-1)
        slope = None if self.softcap is None or not gradient else 1 - (z * (self.temperature / self.softcap)) ** 2
        del z
        p = log_p.exp()
        weighted = log_p.mul_(p)
        entropy = -weighted.sum(-1)
        if not gradient:
            return entropy, None
        weighted.addcmul_(p, entropy[:, None])
        return entropy, weighted if slope is None else weighted.mul_(slope)  # d tanh = 1 - tanh²


class _Gradients:
    """The gradients on hidden states, weight and bias that are needed, summed tile by tile."""

    def __init__(
        self, head: _Head, hidden: Tensor, weight: Tensor, bias: Tensor | None, needed: Sequence[bool]
    ) -> None:
        dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        self.factor = -head.logit_scale / head.temperature
        self.hidden = torch.empty_like(hidden) if needed[0] else None
        self.weight = torch.zeros_like(weight, dtype=dtype) if needed[1] else None
        self.bias = torch.zeros_like(bias, dtype=dtype) if bias is not None and needed[2] else None

    def add(self, rows: slice, gradient: Tensor, upstream: Tensor, hidden: Tensor, weight: Tensor) -> None:
        """Add a tile's `gradient` from `_Head.entropy`; `upstream` `[tokens]` is the gradient on the entropies.

        The per-token factor is applied to the narrow side of the products, not to the vocabulary.
        """
        factor = (upstream * self.factor)[:, None]
        cast = gradient.to(hidden.dtype)
        if self.hidden is not None:
            self.hidden[rows] = (cast @ weight.to(hidden.dtype)) * factor
        if self.weight is not None:
            scaled = (hidden[rows] * factor).to(hidden.dtype)
            if self.weight.dtype == hidden.dtype:
                self.weight.addmm_(cast.T, scaled)
            else:
                self.weight += cast.T @ scaled
        if self.bias is not None:
            self.bias += factor[:, 0].to(gradient.dtype) @ gradient

    def scaled(self, by: Tensor) -> "_Gradients":
        for gradient in (self.hidden, self.weight, self.bias):
            if gradient is not None:
                gradient.mul_(by)
        return self

    def release(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients in the parameters' dtypes and drop them here, so that autograd need not copy them."""
        hidden, self.hidden = self.hidden, None
        on_weight, self.weight = self.weight, None
        on_bias, self.bias = self.bias, None
        return (
            hidden,
            None if on_weight is None else on_weight.to(weight.dtype),
            None if on_bias is None or bias is None else on_bias.to(bias.dtype),
        )


class _EntropyPerToken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, head: _Head) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias)
        ctx.head = head
        tiles = [head.entropy(part, weight, bias, False)[0] for part in hidden.split(head.tile)]
        return torch.cat(tiles) if tiles else hidden.new_zeros(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias = ctx.saved_tensors
        _, gradients = _tile_by_tile(hidden, weight, bias, upstream[0], ctx.head, ctx.needs_input_grad)
        return *gradients.release(weight, bias), None


class _WeightedEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, token_weight: Tensor, head: _Head
    ) -> Tensor:
        entropy, ctx.gradients = _tile_by_tile(hidden, weight, bias, token_weight, head, ctx.needs_input_grad)
        ctx.head = head
        ctx.save_for_backward(hidden, weight, bias, token_weight, entropy)
        return (entropy * token_weight).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, token_weight, entropy = ctx.saved_tensors
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:  # a second pass through a retained graph: the first released the gradients
            _, gradients = _tile_by_tile(hidden, weight, bias, token_weight, ctx.head, ctx.needs_input_grad)
        on_weights = entropy * upstream[0] if ctx.needs_input_grad[3] else None
        return *gradients.scaled(upstream[0]).release(weight, bias), on_weights, None


def _tile_by_tile(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, upstream: Tensor, head: _Head, needed: Sequence[bool]
) -> tuple[Tensor, _Gradients]:
    """Return the entropies `[tokens]` and the gradients of `Σ_t upstream_t H_t`."""
    gradients = _Gradients(head, hidden, weight, bias, needed)
    entropies = []
    for start in range(0, hidden.shape[0], head.tile):
        rows = slice(start, start + head.tile)
        entropy, gradient = head.entropy(hidden[rows], weight, bias, any(needed[:3]))
        entropies.append(entropy)
        if gradient is not None:
            gradients.add(rows, gradient, upstream[rows], hidden, weight)
    return torch.cat(entropies) if entropies else hidden.new_zeros(0), gradients
