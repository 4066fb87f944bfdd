"""The lm-eval model type `em-hf`: an HFLM whose generation requests accept EM-INF settings and follow a strategy."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from em_hf.evaluation.answering import Answering
from em_hf.evaluation.strategy import CONFIDENT_TOKENS, Completion, Strategy
from em_hf.generation.mixin import enable_entropy_min
from em_hf.generation.trace import EntropyTrace
from em_hf.sampling import EndOfSequence


class EntropyMinLM(Answering, HFLM):
    """HFLM with EM-INF. Overrides `generate_until` (see `Answering`); loading and likelihoods are inherited.

    Args:
        pretrained, **kwargs: as for HFLM.
        strategy: how a prompt is answered; may be set later.
        seed: seed of all draws.
    """

    def __init__(
        self,
        pretrained: Any,
        *,
        strategy: Strategy | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(pretrained, **kwargs)
        enable_entropy_min(self.model)
        self.begin(strategy, seed)

    def complete(self, contexts: Sequence[str], generation: dict[str, Any]) -> list[Completion]:
        """Return one completion per context, in one batch.

        A completion takes at most half the model's context; a prompt that does not fit into the rest is truncated on
        the left, as in HFLM.
        """
        kwargs: dict[str, Any] = dict(normalize_gen_kwargs(generation, self.max_gen_toks))
        until = handle_stop_sequences(kwargs.pop("until"), eos=self.tok_decode([self.eot_token_id], False))
        room = min(kwargs.pop("max_gen_toks"), self.max_length // 2)
        ids, mask = self.tok_batch_encode(list(contexts), left_truncate_len=self.max_length - room)
        trace, processors = EntropyTrace(), LogitsProcessorList()
        confidence = _Confidence() if kwargs.pop("confidence", False) else None
        if confidence is not None:
            processors.append(confidence)
        if (n := kwargs.pop("top_n_sigma", None)) is not None:
            processors.append(TopNSigmaLogitsWarper(n))
        out = self._model_generate(
            context=ids.to(self.device),
            attention_mask=mask.to(self.device),
            stop=until,
            max_length=None,  # the parent passes it on; a model's own max_new_tokens would override it
            max_new_tokens=room,
            entropy_trace=trace,
            tokenizer=self.tokenizer,  # for stop strings of the model's own generation config
            logits_processor=processors,
            **kwargs,
        )
        nats, drawn = trace.before.cpu(), out[:, ids.shape[1] :].tolist()
        counted = EndOfSequence(self.model, self.tokenizer).mask(out, ids.shape[1]).sum(1).tolist()
        sure = None if confidence is None else confidence.values()
        completions = []
        for row, tokens in enumerate(drawn):
            count = self._up_to_stop(tokens, counted[row], until)
            text = postprocess_generated_text(self.tok_decode(tokens[:count]), until, self.think_end_token)
            one = Completion(text, count, int(mask[row].sum()), float(nats[row, :count].sum()))
            completions.append(one if sure is None else replace(one, confidence=float(sure[row, :count].mean())))
        return completions

    def _up_to_stop(self, tokens: list[int], count: int, until: Sequence[str]) -> int:
        """Return the length of the shortest prefix of the first `count` tokens with a stop string, else `count`.

        lm-eval decodes a row past its stop string until the whole batch has stopped; the surplus is not its answer.
        """

        def stopped(n: int) -> bool:
            text = self.tok_decode(tokens[:n])
            return any(word in text for word in until if word)

        if not stopped(count):
            return count
        low, high = 0, count  # stopped(high), not stopped(low)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if stopped(middle) else (middle, high)
        return high


class _Confidence(LogitsProcessor):
    """A recorder of each step's negative mean log-probability of the likeliest tokens, `[rows]`; changes nothing."""

    def __init__(self) -> None:
        self._steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        best = scores.float().log_softmax(-1).topk(min(CONFIDENT_TOKENS, scores.shape[-1])).values
        self._steps.append(-best.masked_fill(best.isinf(), 0).sum(-1) / best.isfinite().sum(-1))
        return scores

    def values(self) -> Tensor:
        """Return what was recorded, `[rows, tokens]`."""
        return torch.stack(self._steps, 1).cpu()


class TopNSigmaLogitsWarper(LogitsProcessor):
    """A warper that keeps tokens whose logits are at most `n` standard deviations below the largest (arXiv 2411.07641).

    transformers has no such processor. The standard deviation scales with the logits, so the choice does not depend on
    the temperature applied afterwards.

    Args:
        n: above 0.
    """

    def __init__(self, n: float) -> None:
        self.n = n

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        logits = scores.float()
        allowed = logits.isfinite()
        count = allowed.sum(-1, keepdim=True)
        mean = logits.masked_fill(~allowed, 0).sum(-1, keepdim=True) / count
        deviation = (((logits - mean).masked_fill(~allowed, 0) ** 2).sum(-1, keepdim=True) / count).sqrt()
        least = logits.amax(-1, keepdim=True) - self.n * deviation
        return scores.masked_fill(logits < least, -torch.inf)
