"""A model's confidence in each answer it sampled, in every measure that an EM method uses, and whether it was right."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from em_hf.answers import agreement, extract_answer, same_answer
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.minimize import minimize_entropy
from em_hf.models import Prompt
from em_hf.sampling import Completion, SamplingConfig, sample

MEASURES = {
    "sequence": "log-probability of the whole answer",
    "token entropy, summed": "minus the entropy summed over the answer's tokens",
    "token entropy, mean": "minus the mean entropy of the answer's tokens",
    "self-certainty": "mean KL divergence from the uniform distribution",
    "self-consistency": "share of the problem's answers that say the same",
}


@dataclass
class Sample:
    """One sampled answer to problem number `problem`; in every measure, a higher value is more confident.

    `log_weights` holds `log q(y) - log p(y)` in nats for every setting of EM-INF: how much likelier that setting would
    have made this answer than plain sampling did.
    """

    problem: int
    text: str
    right: bool
    tokens: int
    confidence: dict[str, float]
    log_weights: dict[float, float] = field(default_factory=dict)


def _observe(configs: Mapping[float, EntropyMinConfig], logits: Tensor) -> dict[str, Tensor]:
    """Return each row's self-certainty `[rows]`, and log-probabilities `[rows, V]` under each setting of EM-INF."""
    log_p = logits.float().log_softmax(-1)
    allowed = log_p.isfinite()
    n = allowed.sum(-1)
    certainty = -log_p.masked_fill(~allowed, 0).sum(-1) / n - n.log()
    changed = {_under(name): minimize_entropy(logits, c).float().log_softmax(-1) for name, c in configs.items()}
    return {"certainty": certainty, **changed}


def _under(name: float) -> str:
    return f"log_prob under {name!r}"


def sample_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
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
    """Return `samples` answers per prompt at temperature 1 (top_k 0, top_p 1), with every measure of confidence.

    Args:
        configs: EM-INF settings to reweight the answers under, keyed by a number (the threshold); none if None.
        batch_size: answers decoded together.
        on_progress: called with the number of prompts done.
    """
    configs = configs or {}
    config = SamplingConfig(
        samples=samples,
        max_new_tokens=max_new_tokens,
        seed=seed,
        batch_size=batch_size,
        chat_template=chat_template,
        sort_by_length=False,
    )
    found = sample(model, tokenizer, prompts, config, observe=partial(_observe, configs), on_progress=on_progress)
    groups = zip(answers, found, strict=True)
    return [one for answer, completions in groups for one in _samples_of(answer, completions, list(configs))]


def _samples_of(answer: str, completions: Sequence[Completion], names: Sequence[float]) -> list[Sample]:
    given = [extract_answer(completion.text) for completion in completions]
    made = []
    for completion, theirs, share in zip(completions, given, agreement(given), strict=True):
        n, entropy = len(completion), completion.nats
        log_p = float(completion.log_probs.double().sum())
        certainty = float(completion.observed["certainty"].double().sum())
        confidence = dict(zip(MEASURES, (log_p, -entropy, -entropy / n, certainty / n, share), strict=True))
        weights = {name: float(completion.observed[_under(name)].double().sum()) - log_p for name in names}
        right = same_answer(answer, theirs)
        made.append(Sample(completion.prompt, completion.text, right, n, confidence, weights))
    return made
