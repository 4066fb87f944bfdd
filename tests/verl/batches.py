"""A batch as verl's workers leave it."""

from typing import Any

import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict

LENGTHS = (3, 1, 4, 2)


def batch() -> TensorDict:
    """Two samples of each of two prompts: nested tensors, one row per sample."""
    generator = torch.Generator().manual_seed(0)

    def nested(make: Any) -> torch.Tensor:
        return torch.nested.as_nested_tensor([make(length) for length in LENGTHS], layout=torch.jagged)

    fields = {
        "entropy": nested(lambda n: torch.rand(n, generator=generator)),
        "old_log_probs": nested(lambda n: -torch.rand(n, generator=generator)),
        "rollout_log_probs": nested(lambda n: -torch.rand(n, generator=generator)),
        "response_mask": nested(lambda n: torch.ones(n, dtype=torch.int64)),
        "rm_scores": nested(lambda n: torch.full((n,), 7.0)),  # of the reward of the texts
        "uid": NonTensorStack(*(NonTensorData(uid) for uid in ("a", "a", "b", "b"))),
    }
    return TensorDict(fields, batch_size=len(LENGTHS))
