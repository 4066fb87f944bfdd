"""How sure a model was of each answer it sampled, in every measure that an EM method goes by; and was it right?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from em_hf.answers import agreement, extract_answer, same_answer
from em_hf.evaluation.strategies import Strategy
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.minimize import minimize_entropy
from em_hf.models import encode_prompts

MEASURES = {
    "sequence": "log-probability of the whole answer",
    "token entropy, summed": "minus the entropy summed over the answer's tokens",
    "token entropy, mean": "minus the mean entropy of the answer's tokens",
    "self-certainty": "mean KL divergence from the uniform distribution",
    "self-consistency": "share of the problem's answers that say the same",
}


@dataclass
class Sample:
    """One sampled answer to problem number `problem`: higher confidence is surer, in every measure.

    `log_weights` has for every setting of EM-INF `log q(y) - log p(y)`: how much likelier that setting would have made
    this answer than plain sampling did, in nats.
    """

    problem: int
    text: str
    right: bool
    tokens: int
    confidence: dict[str, float]
    log_weights: dict[float, float] = field(default_factory=dict)


class _Recorder(LogitsProcessor):
    """Reads along while plain sampling runs: of each token drawn, what it tells of the answer. Changes nothing."""

    def __init__(self, configs: Sequence[EntropyMinConfig]) -> None:
        self.configs = configs
        self.waiting: tuple[Tensor, ...] = ()
        self.tokens: list[Tensor] = []  # a step's numbers [rows, 3 + settings]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.settle(input_ids[:, -1])
        log_p = scores.float().log_softmax(-1)
        p = log_p.exp()
        entropy = -(p * log_p.masked_fill(p == 0, 0)).sum(-1)
        allowed = log_p.isfinite()
        n = allowed.sum(-1)
        certainty = -log_p.masked_fill(~allowed, 0).sum(-1) / n - n.log()
        changed = [minimize_entropy(scores, config).float().log_softmax(-1) for config in self.configs]
        self.waiting = (entropy, certainty, log_p, *changed)
        return scores

    def settle(self, drawn: Tensor) -> None:
        """Note the numbers of the step before, now that its token `[rows]` is known."""
        if self.waiting:
            entropy, certainty, *logs = self.waiting
            log_p, *log_q = (log.gather(-1, drawn[:, None])[:, 0] for log in logs)
            self.tokens.append(torch.stack([log_p, entropy, certainty, *(q - log_p for q in log_q)], -1).cpu())
        self.waiting = ()


def sample_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    answers: Sequence[str],
    *,
    samples: int = 8,
    configs: dict[float, EntropyMinConfig] | None = None,
    max_new_tokens: int = 256,
    batch_size: int = 64,
    seed: int = 0,
    chat_template: bool = True,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[Sample]:
    """`samples` answers to each prompt at temperature 1 (top_k 0, top_p 1), with all their measures.

    Args:
        configs: settings of EM-INF to weigh the answers under, by the number to know them by; none if None.
        batch_size: answers decoded together.
        on_progress: called with the number of prompts done.
    """
    configs = configs or {}
    found: list[Sample] = []
    at_once = max(1, batch_size // samples)
    with torch.random.fork_rng():
        for start in range(0, len(prompts), at_once):
            part = range(start, min(start + at_once, len(prompts)))
            torch.manual_seed(seed * 1_000_003 + start)
            texts, numbers = _draw(
                model,
                tokenizer,
                [prompts[i] for i in part],
                list(configs.values()),
                samples,
                max_new_tokens,
                chat_template,
            )
            for place, i in enumerate(part):
                rows = slice(place * samples, (place + 1) * samples)
                found += _samples_of(i, answers[i], texts[rows], numbers[rows], list(configs))
            on_progress(part.stop)
    return found


def _draw(
    model: Any,
    tokenizer: Any,
    prompts: list[str],
    configs: list[EntropyMinConfig],
    samples: int,
    max_new_tokens: int,
    chat_template: bool,
) -> tuple[list[str], list[Tensor]]:
    """Texts, and for each the numbers of its tokens `[tokens, 3 + settings]`."""
    batch = encode_prompts(tokenizer, prompts, chat_template=chat_template)
    recorder = _Recorder(configs)
    drawn_plainly = Strategy("sampling").generation()
    del drawn_plainly["entropy_min"]  # the model's class may be transformers' own
    out = model.generate(
        **{name: value.to(model.device) for name, value in batch.items()},
        **drawn_plainly,
        num_return_sequences=samples,
        max_new_tokens=max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
        logits_processor=LogitsProcessorList([recorder]),
    )
    recorder.settle(out[:, -1])
    drawn = out[:, batch["input_ids"].shape[1] :].cpu()
    numbers = torch.stack(recorder.tokens[: drawn.shape[1]], 1)
    ends = torch.isin(drawn, torch.tensor(_ends(model, tokenizer)))
    lengths = torch.where(ends.any(1), ends.int().argmax(1) + 1, drawn.shape[1])
    texts = tokenizer.batch_decode(drawn, skip_special_tokens=True)
    return texts, [row[:length] for row, length in zip(numbers, lengths.tolist(), strict=True)]


def _ends(model: Any, tokenizer: Any) -> list[int]:
    end = model.generation_config.eos_token_id
    end = tokenizer.eos_token_id if end is None else end
    return [end] if isinstance(end, int) else list(end or [])


def _samples_of(
    problem: int, answer: str, texts: Sequence[str], numbers: Sequence[Tensor], names: Sequence[float]
) -> list[Sample]:
    given = [extract_answer(text) for text in texts]
    made = []
    for text, theirs, share, rows in zip(texts, given, agreement(given), numbers, strict=True):
        log_p, entropy, certainty, *weights = rows.double().sum(0).tolist()
        n = len(rows)
        confidence = dict(zip(MEASURES, (log_p, -entropy, -entropy / n, certainty / n, share), strict=True))
        right = same_answer(answer, theirs)
        made.append(Sample(problem, text, right, n, confidence, dict(zip(names, weights, strict=True))))
    return made
