"""The measure: the entropy of the next-token distribution in nats, from logits or straight from hidden states."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TILE_TOKENS = 256


def token_entropy(logits: Tensor) -> Tensor:
    """Entropy `H = -Σ_j p_j log p_j` of `softmax(logits)`, in nats: `[..., V]` -> `[...]`, differentiable.

    Computed in float32 (float64 for float64 input). A banned token (`-inf`) weighs nothing. A row with NaN or +inf,
    or of `-inf` alone, has no distribution: its entropy is NaN.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    z = logits - logits.detach().amax(-1, keepdim=True)
    log_p = z - z.logsumexp(-1, keepdim=True)
    p = log_p.exp()
    # A banned token gives 0 · -inf; masking before the product keeps the NaN out of the gradient as well.
    return -(p * log_p.masked_fill(p == 0, 0)).sum(-1)


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
    """Token entropy, in nats, of `softmax(z / temperature)` with `z` the LM head's logits, never holding all logits.

    `z = logit_scale · (hidden @ weightᵀ + bias)`, then `softcap · tanh(z / softcap)` where a softcap is given. A tile
    of tokens is projected onto the whole vocabulary, used and dropped, so memory grows with `tile` and not with the
    number of tokens. With `∂H/∂z_j = -p_j (log p_j + H)` no logit has to be kept for the backward pass.

    Args:
        hidden: `[..., H]`, last hidden states; select the positions that count before the call.
        weight: `[V, H]`, the LM head's (or the tied embedding's) matrix. Its gradient sums in float32.
        bias: `[V]`.
        token_weight: `[...]`. Given, the result is the scalar `Σ_t w_t H_t`, and the gradients are formed in the
            forward pass, while a tile's logits are there: 3 matrix products in all, 2 with a frozen head, where
            recomputing them takes 4. None: the entropies themselves, `[...]`, for any upstream gradient.
        temperature: of the distribution whose entropy is meant; above 0.
        softcap: final logit softcapping, as in Gemma 2; above 0.
        logit_scale: factor on the logits, as in Cohere (`logit_scale`) or Granite (`1 / logits_scaling`).
        tile: tokens a tile.

    Raises:
        ValueError: shapes that do not fit, or a temperature, softcap or tile that is not above 0.
    """
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
    """What turns `hidden @ weightᵀ + bias` into the logits whose entropy is meant, and the gradient back."""

    temperature: float
    softcap: float | None
    logit_scale: float
    tile: int

    def logits(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`[tokens, V]`, in float32 (float64 for float64 input)."""
        z = hidden @ weight.to(hidden.dtype).T
        z = z if z.dtype == torch.float64 else z.float()
        if bias is not None:
            z += bias
        if self.logit_scale != 1:
            z *= self.logit_scale
        if self.softcap is not None:
            z = z.div_(self.softcap).tanh_().mul_(self.softcap)
        return z if self.temperature == 1 else z.div_(self.temperature)

    def entropy(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities, probabilities and entropies of logits `[tokens, V]`."""
        log_p = z.log_softmax(-1)
        p = log_p.exp()
        return log_p, p, -torch.linalg.vecdot(p, log_p)

    def gradient(self, z: Tensor, log_p: Tensor, p: Tensor, entropy: Tensor, upstream: Tensor) -> Tensor:
        """Gradient `[tokens, V]` on `hidden @ weightᵀ + bias`, given that on the entropies. `log_p` is used up."""
        gradient = log_p.add_(entropy[:, None]).mul_(p).mul_(-(upstream * self.logit_scale / self.temperature)[:, None])
        if self.softcap is not None:  # d tanh = 1 - tanh²
            gradient.mul_(1 - (z * (self.temperature / self.softcap)) ** 2)
        return gradient


class _Gradients:
    """Gradients on hidden states, weight and bias, tile by tile, of those that are needed."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, needed: tuple[bool, ...]) -> None:
        dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        self.hidden = torch.empty_like(hidden) if needed[0] else None
        self.weight = torch.zeros_like(weight, dtype=dtype) if needed[1] else None
        self.bias = torch.zeros_like(bias, dtype=dtype) if bias is not None and needed[2] else None

    def add(self, rows: slice, gradient: Tensor, hidden: Tensor, weight: Tensor) -> None:
        cast = gradient.to(hidden.dtype)
        if self.hidden is not None:
            self.hidden[rows] = cast @ weight.to(hidden.dtype)
        if self.weight is not None:
            if self.weight.dtype == hidden.dtype:
                self.weight.addmm_(cast.T, hidden[rows])
            else:
                self.weight += cast.T @ hidden[rows]
        if self.bias is not None:
            self.bias += gradient.sum(0)

    def scaled(self, by: Tensor | None, weight: Tensor, bias: Tensor | None) -> tuple[Tensor | None, ...]:
        def finish(gradient: Tensor | None, dtype: torch.dtype | None) -> Tensor | None:
            if gradient is None:
                return None
            return (gradient if by is None else gradient * by).to(dtype)

        hidden = self.hidden if by is None or self.hidden is None else self.hidden * by.to(self.hidden.dtype)
        return hidden, finish(self.weight, weight.dtype), finish(self.bias, None if bias is None else bias.dtype)


class _EntropyPerToken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, head: _Head) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias)
        ctx.head = head
        tiles = [head.entropy(head.logits(part, weight, bias))[2] for part in hidden.split(head.tile)]
        return torch.cat(tiles) if tiles else hidden.new_zeros(0)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias = ctx.saved_tensors
        head: _Head = ctx.head
        gradients = _Gradients(hidden, weight, bias, ctx.needs_input_grad)
        for start in range(0, hidden.shape[0], head.tile):
            rows = slice(start, start + head.tile)
            z = head.logits(hidden[rows], weight, bias)
            gradient = head.gradient(z, *head.entropy(z), upstream[0][rows])
            gradients.add(rows, gradient, hidden, weight)
        return *gradients.scaled(None, weight, bias), None


class _WeightedEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, token_weight: Tensor, head: _Head
    ) -> Tensor:
        wanted = any(ctx.needs_input_grad[:3])
        gradients = _Gradients(hidden, weight, bias, ctx.needs_input_grad)
        entropies = []
        for start in range(0, hidden.shape[0], head.tile):
            rows = slice(start, start + head.tile)
            z = head.logits(hidden[rows], weight, bias)
            log_p, p, entropy = head.entropy(z)
            entropies.append(entropy)
            if wanted:
                gradients.add(rows, head.gradient(z, log_p, p, entropy, token_weight[rows]), hidden, weight)
        entropy = torch.cat(entropies) if entropies else hidden.new_zeros(0)
        ctx.gradients, ctx.dtypes = gradients, (weight, bias)
        ctx.save_for_backward(entropy)
        return (entropy * token_weight).sum()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (entropy,) = ctx.saved_tensors
        on_weights = entropy * upstream[0] if ctx.needs_input_grad[3] else None
        return *ctx.gradients.scaled(upstream[0], *ctx.dtypes), on_weights, None
