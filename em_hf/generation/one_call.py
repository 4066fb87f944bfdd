"""EM-INF within one `generate` call: its settings row by row, its mode, and which rows have stopped."""

import warnings
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.processors import EntropyMinLogitsProcessor
from em_hf.generation.trace import EntropyTrace


class OneCall(EntropyMinLogitsProcessor):
    """The processor of one `generate` call: it knows the call's batch, its mode and which rows have stopped."""

    def __init__(
        self,
        settings: EntropyMinConfig | list[EntropyMinConfig | None] | None,
        trace: EntropyTrace | None,
        returned: int,
    ) -> None:
        super().__init__(trace=trace)
        self.settings = settings
        self.returned = returned
        self.has_begun = self.greedy = False

    def begin(self, generation_config: GenerationConfig, prompts: int | None) -> None:
        """Prepare for a decoding loop that is about to run; a call may run several in succession."""
        mode = generation_config.get_generation_mode()
        if mode not in ("sample", "greedy_search"):
            raise ValueError(
                f"entropy_min, entropy_trace and coupled work with sampling and greedy decoding, not {mode.value}: "
                "leave num_beams at 1 and assisted decoding off"
            )
        if isinstance(self.settings, list):
            count, repeats = len(self.settings), generation_config.num_return_sequences or 1
            if prompts is not None and count != prompts:
                # A model may have repeated the prompts itself, as Whisper does.
                if repeats > 1 or count * self.returned != prompts:
                    raise ValueError(
                        f"entropy_min has {count} entries, but there are {prompts} prompts: give one entry per prompt"
                    )
                repeats = self.returned
            self.config = [config for config in self.settings for _ in range(repeats)]
        elif self.settings is not None:
            self.config = self.settings
        self.greedy = not generation_config.do_sample
        if self.greedy and not self.has_begun and self.settings:
            warnings.warn(
                "entropy_min does not change the output of greedy decoding, since the largest logit stays the largest; "
                "pass do_sample=True",
                stacklevel=5,
            )
        if self.trace is None and generation_config.return_dict_in_generate:
            self.trace = EntropyTrace()
        elif self.trace is not None:
            self.trace.clear()
        self._finished = None
        self.has_begun = True

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if not self.has_begun:
            raise ValueError(
                "entropy_min does not know this decoding loop: the model that decodes is not the one it was given to; "
                "call enable_entropy_min on that one and use its generate"
            )
        if self.settings is None:
            return self._traced(input_ids, scores, scores, None, None)
        return super().__call__(input_ids, scores)

    def _traced(
        self, input_ids: Tensor, scores: Tensor, out: Tensor, before: Tensor | None, adjusted: Tensor | None
    ) -> Tensor:
        if self.greedy and adjusted is not None:
            same = out.argmax(-1) == scores.argmax(-1)
            out, adjusted = torch.where(same[:, None], out, scores), adjusted & same
        return super()._traced(input_ids, scores, out, before, adjusted)

    def _ended(self, input_ids: Tensor) -> Tensor | None:
        return self._finished

    def stopped(self, rows: Tensor) -> None:
        """Record the rows, bool `[rows]`, that a stopping criterion has ended."""
        self._finished = rows if self._finished is None else self._finished | rows


class Watch(StoppingCriteria):
    """A criterion that stops nothing: it carries a call's processor to where the stopping criteria are assembled."""

    def __init__(self, step: OneCall) -> None:
        self.step = step

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class WatchedCriteria(StoppingCriteriaList):
    """The stopping criteria of a call, which also report their results to its processor."""

    def __init__(self, criteria: StoppingCriteriaList, step: OneCall) -> None:
        super().__init__(criterion for criterion in criteria if not isinstance(criterion, Watch))
        self.step = step

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        done = super().__call__(input_ids, scores, **kwargs)
        self.step.stopped(done)
        return done
