"""The rewards of EM-RL and of the methods it is compared with.

Entropy rewards are tensor functions `(log_probs, entropies, mask) -> [B]`, for any sampling engine; `for_trl` wraps one
in the list form that TRL's trainers call. The others look only at texts and already have TRL's form: they get the
completions and the dataset's columns, and return a number per completion.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from em_hf.answers import agreement, extract_answer, same_answer

Tokens = Sequence[float] | None
"""A number per token, including the end-of-sequence token but no padding; None if not to be scored."""


def sequence_reward(log_probs: Tensor, entropies: Tensor | None, mask: Tensor) -> Tensor:
    """Return the reward of EM-RL-sequence, `r(y) = Σ_t log π(y_t | y_<t) = log π(y)` (paper, equation 3).

    Args:
        log_probs (`Tensor` of shape `[B, T]`): of the sampled tokens under the policy that sampled them, in nats.
        entropies (`Tensor` of shape `[B, T]`, *optional*): ignored.
        mask (`Tensor` of shape `[B, T]`): nonzero where a token counts.

    Returns:
        `Tensor` of shape `[B]`, in nats.
    """
    return _sum(log_probs, mask)


def token_reward(log_probs: Tensor | None, entropies: Tensor, mask: Tensor) -> Tensor:
    """Return the reward of EM-RL-token, `r(y) = -Σ_t H(π(·|y_<t))` (paper, equation 4).

    Args:
        log_probs (`Tensor` of shape `[B, T]`, *optional*): ignored.
        entropies (`Tensor` of shape `[B, T]`): of the policy's next-token distributions, in nats.
        mask (`Tensor` of shape `[B, T]`): nonzero where a token counts.

    Returns:
        `Tensor` of shape `[B]`, in nats.
    """
    return -_sum(entropies, mask)


def rent_reward(log_probs: Tensor | None, entropies: Tensor, mask: Tensor) -> Tensor:
    """Return RENT's reward, `-1/T Σ_t H_t` in nats per token (arXiv 2505.22660); arguments as for `token_reward`."""
    return -_mean(entropies, mask)


def rent_last_third_reward(log_probs: Tensor | None, entropies: Tensor, mask: Tensor) -> Tensor:
    """Return RENT's reward on the last third of the tokens, rounded up, where it worked best (arXiv 2505.22660)."""
    counts = mask != 0
    left = counts.sum(-1, keepdim=True) - counts.cumsum(-1) + 1  # 1 at the last token that counts
    return rent_reward(log_probs, entropies, counts & (left <= (counts.sum(-1, keepdim=True) + 2) // 3))


def self_certainty_reward(
    log_probs: Tensor | None, entropies: Tensor | None, mask: Tensor, *, certainties: Tensor | None = None
) -> Tensor:
    """Return Intuitor's reward, the mean over tokens of `KL(uniform || π(·|y_<t))` (arXiv 2505.19590).

    It needs more than the other rewards: the divergence follows neither from the entropies nor from the sampled tokens'
    log-probabilities, so an engine that gives only these cannot compute it.

    Args:
        log_probs, entropies: ignored.
        mask (`Tensor` of shape `[B, T]`): nonzero where a token counts.
        certainties (`Tensor` of shape `[B, T]`): of the whole next-token distributions, by `self_certainty`, in nats.

    Returns:
        `Tensor` of shape `[B]`, in nats per token.

    Raises:
        ValueError: without `certainties`.
    """
    if certainties is None:
        raise ValueError(
            "self_certainty_reward needs certainties (the divergence from the uniform distribution, from whole "
            "logits): log_probs and entropies do not determine it; compute them with rewards.self_certainty(logits)"
        )
    return _mean(certainties, mask)


def self_certainty(logits: Tensor) -> Tensor:
    """Return `KL(uniform || softmax(z)) = logsumexp(z) - mean(z) - log V`, in nats: `[..., V]` -> `[...]`."""
    z = logits.float()
    return z.logsumexp(-1) - z.mean(-1) - torch.log(torch.tensor(float(z.shape[-1])))


def _sum(values: Tensor, mask: Tensor) -> Tensor:
    # Padding may hold anything, infinities included.
    return torch.where(mask != 0, values, 0).sum(-1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return _sum(values, mask) / (mask != 0).sum(-1).clamp(min=1)


def for_trl(reward: Callable[..., Tensor], *columns: str) -> Callable[..., list[float | None]]:
    """Return the list form of a tensor reward, for the `reward_funcs` of a TRL trainer.

    Args:
        reward: `sequence_reward`, `token_reward` or the like.
        columns: its inputs, from "log_probs", "entropies" and "certainties". `EMRLTrainer` passes the first two;
            no trainer of TRL passes any by itself.

    Returns:
        A function in TRL's form: a number per completion, None for one that is not to be scored. Called without one of
        the columns, it raises a ValueError.

    Example:

        >>> for_trl(token_reward, "entropies")(entropies=[[0.5, 0.25], [1.0]])
        [-0.75, -1.0]
    """

    def in_lists(**given: Any) -> list[float | None]:
        missing = [name for name in columns if given.get(name) is None]
        if missing:
            raise ValueError(
                f"{reward.__name__} needs the {' and '.join(missing)} of the sampled tokens, which this trainer does "
                "not pass to its rewards: train with em_hf.EMRLTrainer"
            )
        rows: dict[str, Sequence[Tokens]] = {name: given[name] for name in columns}
        scored = [i for i, values in enumerate(zip(*rows.values(), strict=True)) if None not in values]
        length = max((len(rows[columns[0]][i] or ()) for i in scored), default=0)
        tensors: dict[str, Tensor | None] = {"log_probs": None, "entropies": None}
        mask = torch.zeros(len(scored), length, dtype=torch.bool)
        for name in columns:
            tensors[name] = torch.zeros(len(scored), length, dtype=torch.float64)
            for row, i in enumerate(scored):
                values = torch.tensor(rows[name][i], dtype=torch.float64)
                tensors[name][row, : len(values)] = values  # type: ignore[index]
                mask[row, : len(values)] = True
        rewards: list[float | None] = [None] * len(rows[columns[0]])
        for i, value in zip(scored, reward(mask=mask, **tensors).tolist(), strict=True):
            rewards[i] = value
        return rewards

    in_lists.__name__ = reward.__name__  # the name TRL logs it under
    return in_lists


def verified_answer(*, completions: Sequence[Any], answer: Sequence[str], **columns: Any) -> list[float]:
    """Return 1 for each completion whose final answer is the labeled one (math-verify decides), else 0."""
    given = [extract_answer(text_of(completion)) for completion in completions]
    return [float(same_answer(gold, found)) for gold, found in zip(answer, given, strict=True)]


def marked_answer(*, completions: Sequence[Any], **columns: Any) -> list[float]:
    """Return the format reward: 1 where a completion marks an answer, right or wrong, else 0 (arXiv 2506.10947)."""
    return [float(extract_answer(text_of(completion)) is not None) for completion in completions]


def coin_flip(*, completions: Sequence[Any], **columns: Any) -> list[float]:
    """Return the random reward: 0 or 1 with equal probability for any completion (arXiv 2506.10947).

    Drawn from torch's generator, whose state is part of a checkpoint.
    """
    return torch.randint(0, 2, (len(completions),)).double().tolist()


def vote_frequency(num_generations: int) -> Callable[..., list[float]]:
    """Return the reward of SC-RL: `r(y_i) = 1/N Σ_j 1[a_i = a_j]`, the share of its group with the same final answer.

    A completion without an answer agrees with none, not even with itself. A group is `num_generations` consecutive
    completions; TRL may split one over processes, so all processes' answers are gathered first.
    """

    def self_consistency(*, completions: Sequence[Any], **columns: Any) -> list[float]:
        from accelerate import PartialState
        from accelerate.utils import gather_object

        own = [extract_answer(text_of(completion)) for completion in completions]
        answers = gather_object(own)
        groups = (answers[i : i + num_generations] for i in range(0, len(answers), num_generations))
        rewards = [share for group in groups for share in agreement(group)]
        first = PartialState().process_index * len(own)
        return rewards[first : first + len(own)]

    return self_consistency


def text_of(completion: Any) -> str:
    """Return a completion's text, which TRL passes as a string, or as messages if the prompt consisted of messages."""
    return completion if isinstance(completion, str) else "".join(message["content"] for message in completion)
