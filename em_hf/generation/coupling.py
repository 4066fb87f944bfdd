"""Coupled sampling: the same random numbers for every row, or for two calls, so that a difference has a cause."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class CoupledSampling:
    """Draw every row's token from one Gumbel vector a step, which depends on (seed, step) alone.

    A token drawn as `argmax_j(log p_j + G_j)` with independent standard Gumbel G_j has exactly the distribution p (the
    Gumbel-max trick), whatever other row used the same G. Two rows with equal logits draw equal tokens; where they
    part, their distributions differ. Use it as `generate(..., do_sample=True, coupled=CoupledSampling(0))`; it acts
    after all processors and warpers, so `output_scores` then show the choice (0, and -inf elsewhere).

    Args:
        seed: of the noise, at least 0.
        groups: one label for each row of the batch; rows share noise within a label only. All rows share it if None.

    Raises:
        ValueError: the seed is not a whole number of at least 0.
    """

    def __init__(self, seed: int, groups: Sequence[int] | None = None) -> None:
        if type(seed) is not int or seed < 0:
            raise ValueError(f"CoupledSampling: seed is {seed!r}, but must be a whole number, at least 0")
        self.seed = seed
        self.groups = None if groups is None else list(groups)

    def noise(self, step: int, vocab_size: int, group: int = 0) -> Tensor:
        """The Gumbel vector `[vocab_size]` of a step, float64, on the CPU, so that it is the same on every device."""
        # torch's CPU generator keeps 32 bits of its seed: the digest spreads (seed, group, step) over them.
        digest = hashlib.blake2b(f"{self.seed}/{group}/{step}".encode(), digest_size=4).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        return torch.empty(vocab_size, dtype=torch.float64).exponential_(generator=generator).log_().neg_()


class CoupledSamplingLogitsProcessor(LogitsProcessor):
    """`CoupledSampling` for one `generate` call whose prompt has `prompt_length` tokens."""

    def __init__(self, coupled: CoupledSampling, prompt_length: int = 0) -> None:
        self.coupled = coupled
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        groups = self.coupled.groups or [0] * scores.shape[0]
        if len(groups) != scores.shape[0]:
            raise ValueError(
                f"CoupledSampling has groups for {len(groups)} rows, but the batch has {scores.shape[0]}: "
                "give one label for each row"
            )
        step = input_ids.shape[1] - self.prompt_length
        labels = list(dict.fromkeys(groups))
        table = torch.stack([self.coupled.noise(step, scores.shape[-1], label) for label in labels])
        noise = table.to(scores.device)[torch.tensor([labels.index(group) for group in groups], device=scores.device)]
        token = (scores.double() + noise).argmax(-1, keepdim=True)
        choice = torch.full_like(scores, -torch.inf).scatter_(-1, token, 0.0)
        # A row without a distribution stays as it is: transformers reports it.
        broken = ~(scores.amax(-1, keepdim=True).isfinite())
        return torch.where(broken, scores, choice)
