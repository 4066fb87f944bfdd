"""The token entropy of sampled completions, and their KL divergence from a reference."""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial
from torch.utils.checkpoint import checkpoint

from em_hf.entropy import TILE_TOKENS, check_tensors, linear_entropy, token_entropy
from em_hf.messages import shown


@dataclass(frozen=True)
class Distributions:
    """The next-token distributions of the tokens that count.

    Attributes:
        rows: last hidden states `[tokens, H]`, or logits `[tokens, V]` if there is no plain head.
        head: `linear_entropy`'s arguments from the LM head, or None.
        temperature: of the distributions.
    """

    rows: Tensor
    head: dict[str, Any] | None
    temperature: float

    def summed_entropy(self) -> Tensor:
        """Return `Σ_t H_t` in nats, a scalar that carries the gradient."""
        if self.head is None:
            return token_entropy(self.rows / self.temperature).sum()
        ones = torch.ones_like(self.rows[:, 0])
        return linear_entropy(self.rows, **self.head, token_weight=ones, temperature=self.temperature)

    def with_own_head(self) -> "Distributions":
        """Return the same with copies of the head's weights, which outlive the forward pass of a sharded model."""
        if self.head is None:
            return self
        head = {name: value.clone() if isinstance(value, Tensor) else value for name, value in self.head.items()}
        return Distributions(self.rows, head, self.temperature)

    def log_probs(self, tokens: slice) -> Tensor:
        """Return the log-probabilities `[tokens, V]` of a slice of the tokens."""
        z = self.rows[tokens]
        if self.head is not None:
            head = self.head
            z = torch.nn.functional.linear(z, head["weight"].to(z.dtype), head["bias"]).float() * head["logit_scale"]
            if head["softcap"] is not None:
                z = head["softcap"] * torch.tanh(z / head["softcap"])
        return (z.float() / self.temperature).log_softmax(-1)


def distributions(
    model: Any,
    inner: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    mask: Tensor,
    temperature: float = 1.0,
    **inputs: Any,
) -> Distributions:
    """Return the distributions of the completion tokens of all samples, sample by sample.

    The last hidden states of the positions that count are kept, to be projected tile by tile, so that neither prompts
    nor padding cost anything and no `[tokens, V]` is held. If the head is more than a matrix with a softcap or a scale
    (found by comparing with the model's own logits at the last position), the model's logits are used instead.

    Args:
        model: the callable: a model, possibly wrapped for distributed training, or its forward pass.
        inner: the transformers model inside it.
        input_ids, attention_mask: `[samples, prompt + completion]`, padded on the left of the prompt and the right of
            the completion.
        mask: bool `[samples, completion]`, the tokens that count.
        temperature: of the distributions.
        **inputs: further inputs of the model (images).
    """
    length = mask.shape[1]
    # The distribution of token t is at the position before it.
    call = {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False, **inputs}
    # With images the model computes the positions itself.
    if not inputs and "position_ids" in signature(inner.forward).parameters:
        # As in generate: a model with absolute positions would count the padding otherwise.
        call["position_ids"] = (attention_mask.cumsum(-1) - 1).clamp(min=0)
    if _has_linear_head(inner):
        out = model(**call, logits_to_keep=1, output_hidden_states=True)
        last = out.hidden_states[-1]
        head = _linear_head(inner, last.shape[-1])
        if head is not None and _is_head(head, *_compared(inner, last, out.logits, input_ids)):
            return Distributions(last[:, -length - 1 : -1][mask], head, temperature)
    return Distributions(model(**call).logits[:, -length - 1 : -1][mask], None, temperature)


def summed_entropy(
    model: Any, inner: Any, input_ids: Tensor, attention_mask: Tensor, mask: Tensor, temperature: float = 1.0
) -> Tensor:
    """Return `Σ_t H_t` over the completion tokens of all samples, in nats; arguments as for `distributions`."""
    return distributions(model, inner, input_ids, attention_mask, mask, temperature).summed_entropy()


def summed_kl(policy: Distributions, reference: Distributions, tile: int = TILE_TOKENS) -> Tensor:
    """Return `Σ_t KL(π_t || π_ref,t)` in nats, over the same tokens of both, with the gradient on the policy.

    The exact divergence over the whole vocabulary, not an estimate from the sampled tokens. Tiles of tokens are
    recomputed in the backward pass, so that no `[tokens, V]` is held.
    """

    def of_tile(start: int) -> Tensor:
        tokens = slice(start, start + tile)
        log_p, log_q = policy.log_probs(tokens), reference.log_probs(tokens).detach()
        # Where p is 0 the divergence is 0, even if q is 0 too.
        return (log_p.exp() * (log_p - log_q).masked_fill(log_p.isinf(), 0)).sum()

    total = policy.rows.new_zeros((), dtype=torch.float32)
    for start in range(0, len(policy.rows), tile):
        total = total + checkpoint(of_tile, start, use_reentrant=False)
    return total


def _has_linear_head(model: Any) -> bool:
    """Return whether the LM head is a plain matrix (FSDP gives the module another class, but not another forward)."""
    head = model.get_output_embeddings()
    plain = isinstance(head, torch.nn.Linear) and type(head).forward is torch.nn.Linear.forward
    return plain and getattr(model, "_supports_logits_to_keep", lambda: False)()


def _linear_head(model: Any, width: int) -> dict[str, Any] | None:
    """Return weight, bias, softcap and scale of the LM head for `linear_entropy`, or None if they are unavailable.

    Call this after the model's forward pass, when FSDP may have left the weights whole. DeepSpeed ZeRO-3 gathers a
    weight when it is accessed within the wrapper's forward pass; elsewhere it is empty.
    """
    head = model.get_output_embeddings()
    sharded = [p for p in (head.weight, head.bias) if p is not None and isinstance(p, DTensor)]
    if any(sum(placement.is_shard() for placement in p.placements) > 1 for p in sharded):  # tensor parallel as well
        return None
    if head.weight.shape[-1:] != (width,):
        return None
    config = model.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None)
    weight, bias = _whole(head.weight), None if head.bias is None else _whole(head.bias)
    return {"weight": weight, "bias": bias, "softcap": softcap, "logit_scale": _logit_scale(config)}


def _logit_scale(config: Any) -> float:
    """Return the factor on the logits, which has different names in different models."""
    # Cohere and MPT; Muse Glimmer; Falcon-H1.
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if getattr(config, name, None) is not None:
            return float(getattr(config, name))
    scaling = getattr(config, "logits_scaling", None)
    if scaling is None:
        return 1.0
    return float(scaling) if config.model_type == "hyperclovax" else 1 / scaling  # Granite and MiniCPM3 divide


def _whole(weight: Tensor) -> Tensor:
    """Return the whole of a weight that FSDP2 shards; its gradient is averaged over processes, as FSDP's own is."""
    if not isinstance(weight, DTensor):
        return weight
    whole = weight.full_tensor(grad_placements=[Partial()] * weight.device_mesh.ndim)
    if whole.requires_grad:
        processes = weight.device_mesh.size()
        whole.register_hook(lambda gradient: gradient / processes)
    return whole


@torch.no_grad()
def _compared(model: Any, last: Tensor, logits: Tensor, input_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return hidden states and the model's own logits at a few positions, in one precision.

    Under accelerate's mixed precision the forward pass multiplies in bfloat16 and returns float32, so its logits differ
    from the head's in float32 by more than a wrong head's might. The forward pass that accelerate has wrapped does not.
    """
    unwrapped = getattr(model, "_original_forward", None)
    if unwrapped is None or isinstance(model.get_output_embeddings().weight, DTensor):
        return last[:, -1], logits[:, -1]
    out = unwrapped(input_ids=input_ids[:, -2:], logits_to_keep=1, output_hidden_states=True, use_cache=False)
    return out.hidden_states[-1][:, -1], out.logits[:, -1]


@torch.no_grad()
def _is_head(head: dict[str, Any], hidden: Tensor, logits: Tensor) -> bool:
    """Return whether the head, on hidden states `[samples, H]`, gives the entropies of the model's own logits."""
    ours, theirs = linear_entropy(hidden, **head), token_entropy(logits)
    return torch.allclose(ours, theirs.to(ours.dtype), atol=0.02 if hidden.dtype != torch.float32 else 1e-3, rtol=0)


def entropy_loss(outputs: Any, labels: Tensor | None, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Return the token entropy in nats, as `compute_loss_func` of any transformers Trainer, on existing completions.

    The distribution that predicts a token is at the position before it, so the labels are shifted by one here, as a
    causal language model shifts them. The loss is off-policy, since the completions were sampled once, beforehand, and
    it needs the whole logits; `EMFTTrainer` samples at every step and never holds them.

    Args:
        outputs: the model's output with `logits`, `[samples, tokens, V]`.
        labels: `[samples, tokens]`; -100 for the tokens that do not count. Other values are ignored.
        num_items_in_batch: the tokens that count in the whole step, over all its micro-batches and processes. If
            given, the result is the sum divided by it; otherwise the mean over the tokens that count here.

    Raises:
        ValueError: labels or logits are missing, or differ in their numbers of samples and tokens.
    """
    if labels is None:
        raise ValueError(
            "entropy_loss needs labels: give the dataset a labels column, -100 where a token does not count"
        )
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else None
    if logits is None:
        raise ValueError(f"entropy_loss needs the model's output with its logits, not {shown(outputs)}")
    check_tensors(1, labels=labels, logits=logits)
    if logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"labels has shape {list(labels.shape)}, but must be {list(logits.shape[:-1])}, as the logits are"
        )
    counts = labels[..., 1:] != -100
    total = token_entropy(logits[..., :-1, :][counts]).sum()
    return total / (counts.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)
