"""Coupled sampling: the same random numbers for every row, or for two calls, so that no difference is due to chance."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class CoupledSampling:
    """Draw every row's token from one Gumbel vector per step, which depends on (seed, step) alone.

    A token drawn as `argmax_j(log p_j + G_j)` with independent standard Gumbel G_j has exactly the distribution p (the
    Gumbel-max trick), even if other rows use the same G. Two rows with equal logits draw equal tokens; if the tokens
    differ, so do the distributions. It acts after all processors and warpers, so `output_scores` then show the choice
    (0, and -inf elsewhere). It needs no float64 on the device: the noise is generated on the CPU and rounded to
    float32 before it is added.

    Args:
        seed (int): Seed of the noise, at least 0.
        groups (list of int, optional): One label per row of the batch; only rows with the same label share noise. All
            rows share it by default.

    Raises:
        ValueError: The seed or a label is not a whole number of at least 0.

    Example:

    ```python
    >>> import torch
    >>> from em_hf import CoupledSampling
    >>> noise = CoupledSampling(seed=0).noise(step=0, vocab_size=5)
    >>> torch.equal(noise, CoupledSampling(seed=0).noise(step=0, vocab_size=5))
    True

    ```

    In a call: `model.generate(**inputs, do_sample=True, coupled=CoupledSampling(0))`.
    """

    def __init__(self, seed: int, groups: Sequence[int] | None = None) -> None:
        if type(seed) is not int or seed < 0:
            raise ValueError(f"CoupledSampling: seed is {seed!r}, but must be a whole number, at least 0")
        is_list = isinstance(groups, Sequence) and not isinstance(groups, str)
        if groups is not None and not (is_list and all(type(label) is int and label >= 0 for label in groups)):
            raise ValueError(
                f"CoupledSampling: groups is {groups!r}, but must be a list of whole numbers, at least 0, one per row"
            )
        self.seed = seed
        self.groups = None if groups is None else list(groups)

    def noise(self, step: int, vocab_size: int, group: int = 0) -> Tensor:
        """Return the Gumbel vector `[vocab_size]` of a step, float64, on the CPU: the same for every device."""
        # torch's CPU generator keeps 32 bits of its seed: the digest spreads (seed, group, step) over them.
        digest = hashlib.blake2b(f"{self.seed}/{group}/{step}".encode(), digest_size=4).digest()
        generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little"))
        # An exponential in float32 has too few small values: the largest of 100,000 Gumbels would be cut off.
        exponential = torch.empty(vocab_size, dtype=torch.float64, device="cpu").exponential_(generator=generator)
        return exponential.log_().neg_()


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
                "give one label per row"
            )
        step = input_ids.shape[1] - self.prompt_length
        labels = list(dict.fromkeys(groups))
        table = torch.stack([self.coupled.noise(step, scores.shape[-1], label).float() for label in labels])
        which = torch.tensor([labels.index(group) for group in groups], device=scores.device)
        token = (scores.float() + table.to(scores.device)[which]).argmax(-1, keepdim=True)
        choice = torch.full_like(scores, -torch.inf).scatter_(-1, token, 0.0)
        # A row without a distribution is left unchanged: transformers reports it.
        broken = ~(scores.amax(-1, keepdim=True).isfinite())
        return torch.where(broken, scores, choice)
