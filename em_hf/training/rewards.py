"""The rewards of EM-RL and of the methods it is compared with, as plain functions that any TRL trainer takes.

TRL calls a reward with the completions' texts, their token ids and the dataset's columns, and wants a number for each
completion, or None for one that is not to be scored. `em_hf.training.em_rl` adds columns of its own: `log_probs`,
`entropies` and `certainties`, each a list a completion with a number a token, the end-of-sequence token included and
padding left out; None in place of the list is a completion that is not to be scored.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from em_hf.answers import agreement, extract_answer, same_answer

Tokens = Sequence[float] | None


def sequence_log_prob(*, log_probs: Sequence[Tokens], **columns: Any) -> list[float | None]:
    """EM-RL-sequence: `r(y) = Σ_t log π(y_t | y_<t) = log π(y)`, in nats (paper, equation 3)."""
    return [None if row is None else sum(row) for row in log_probs]


def negative_entropy(*, entropies: Sequence[Tokens], **columns: Any) -> list[float | None]:
    """EM-RL-token: `r(y) = -Σ_t H(π(·|y_<t))`, in nats (paper, equation 4)."""
    return [None if row is None else -sum(row) for row in entropies]


def negative_mean_entropy(*, entropies: Sequence[Tokens], **columns: Any) -> list[float | None]:
    """RENT: `r(y) = -1/T Σ_t H_t`, in nats a token (arXiv 2505.22660)."""
    return [None if row is None else -sum(row) / len(row) for row in entropies]


def negative_mean_entropy_of_last_third(*, entropies: Sequence[Tokens], **columns: Any) -> list[float | None]:
    """RENT on the last third of the tokens, rounded up, where it was found to work best (arXiv 2505.22660)."""
    return negative_mean_entropy(entropies=[None if row is None else row[-_third(row) :] for row in entropies])


def _third(row: Sequence[float]) -> int:
    return (len(row) + 2) // 3


def mean_self_certainty(*, certainties: Sequence[Tokens], **columns: Any) -> list[float | None]:
    """Intuitor: the mean over tokens of `KL(uniform || π(·|y_<t))`, in nats (arXiv 2505.19590)."""
    return [None if row is None else sum(row) / len(row) for row in certainties]


def verified_answer(*, completions: Sequence[Any], answer: Sequence[str], **columns: Any) -> list[float]:
    """1 where a completion's final answer is the labeled one (math-verify decides), else 0."""
    given = [extract_answer(text_of(completion)) for completion in completions]
    return [float(same_answer(gold, found)) for gold, found in zip(answer, given, strict=True)]


def vote_frequency(num_generations: int) -> Callable[..., list[float]]:
    """SC-RL: `r(y_i) = 1/N Σ_j 1[a_i = a_j]`, the share of its group that gave the same final answer.

    A completion without an answer agrees with none, not even with itself. A group is `num_generations` completions that
    follow one another; TRL may split one over processes, so all processes' answers are gathered first.
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
    """A completion's text, which TRL gives as a string, or as a list of messages where the prompt was one."""
    return completion if isinstance(completion, str) else "".join(message["content"] for message in completion)


def self_certainty(logits: Tensor) -> Tensor:
    """`KL(uniform || softmax(z)) = logsumexp(z) - mean(z) - log V`, in nats: `[..., V]` -> `[...]`."""
    z = logits.float()
    return z.logsumexp(-1) - z.mean(-1) - torch.log(torch.tensor(float(z.shape[-1])))
