"""The inference-time strategies: how a prompt is answered. Each is a few settings; what decodes is passed in.

"Sampling" is temperature 1, top_k 0, top_p 1 unless a strategy states otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from em_hf.answers import extract_answer, majority, same_answer
from em_hf.generation.config import EntropyMinConfig


@dataclass(frozen=True)
class Completion:
    """One answer to one prompt, and what it took.

    Attributes:
        text: the answer, without stop strings and special tokens.
        tokens: drawn for it, end-of-sequence tokens included; of all samples where a strategy draws several.
        prompt_tokens: that went through the model for it, again for every sample.
        nats: summed entropy of the model's own distributions over those tokens, before EM-INF changes them; None where
            the engine does not tell.
        seconds: its share of its batch's time.
    """

    text: str
    tokens: int
    prompt_tokens: int
    nats: float | None
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Decoder(Protocol):
    """What a strategy needs of a model: `EntropyMinLM` is one."""

    def complete(self, contexts: Sequence[str], generation: dict[str, Any]) -> list[Completion]:
        """One completion a context, all in one batch, decoded with these arguments of `generate`."""
        ...

    def follow_up(self, context: str, answer: str, instruction: str) -> str:
        """The context of the turn after `answer`, which a user opens with `instruction`."""
        ...


# What a model's own generation config might otherwise lend.
PLAIN = {"num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "typical_p": 1.0, "min_new_tokens": None}
# Between the answers to a problem that is asked in several turns, where they stand in one text.
NEXT_TURN = "\n\f\n"
REFINE = (
    "Check the answer above step by step and correct it where it is wrong. End with the whole corrected solution, "
    "in the same form as before."
)


@dataclass(frozen=True)
class Strategy:
    """How one answer to a prompt comes about.

    Args:
        name: hyphenated, as on the command line.
        greedy: the largest logit at each step; `temperature`, `top_k`, `top_p` and `min_p` then mean nothing.
        temperature, top_k, top_p, min_p: of the draw, after EM-INF; above 0, at least 0, in (0, 1], in [0, 1).
        entropy_min: EM-INF's settings, None for none.
        answers: samples drawn in one batch, of which the most frequent final answer counts (self-consistency).
        rounds: drafts in all, each but the first a correction of the one before (refinement).

    Raises:
        ValueError: a value out of range, or EM-INF with greedy decoding, which it cannot change.
    """

    name: str
    greedy: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    entropy_min: EntropyMinConfig | None = None
    answers: int = 1
    rounds: int = 1

    def __post_init__(self) -> None:
        checks = (
            ("temperature", self.temperature > 0, "above 0 (for 0, use the strategy greedy)"),
            ("top_k", self.top_k >= 0, "at least 0"),
            ("top_p", 0 < self.top_p <= 1, "in (0, 1]"),
            ("min_p", 0 <= self.min_p < 1, "in [0, 1)"),
            ("answers", self.answers >= 1, "at least 1"),
            ("rounds", self.rounds >= 1, "at least 1"),
        )
        for name, holds, allowed in checks:
            if not holds:
                raise ValueError(f"strategy {self.name}: {name} is {getattr(self, name)!r}, but must be {allowed}")
        if self.greedy and (self.entropy_min or self.answers > 1):
            raise ValueError(
                f"strategy {self.name}: EM-INF and self-consistency sample, but greedy decoding always gives the "
                "same answer"
            )

    @property
    def samples(self) -> int:
        """Completions that one answer takes."""
        return self.answers * self.rounds

    def generation(self) -> dict[str, Any]:
        """The arguments of `generate` that the strategy sets, all of them, so that no model or task lends a default."""
        drawn: dict[str, Any] = {"do_sample": False, "temperature": 0.0}
        if not self.greedy:
            drawn = {
                "do_sample": True,
                "temperature": self.temperature,
                "top_k": self.top_k,
                "top_p": self.top_p,
                "min_p": self.min_p or None,
            }
        settings = self.entropy_min.to_dict() if self.entropy_min else False
        return {**drawn, **PLAIN, "entropy_min": settings}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def describe(self) -> str:
        """The settings in words, for the line under a table."""
        if self.greedy:
            words = ["the most likely token at each step"]
        else:
            words = [f"temperature {self.temperature:g}, top_k {self.top_k}, top_p {self.top_p:g}"]
            words += [f"min_p {self.min_p:g}"] if self.min_p else []
        if config := self.entropy_min:
            if config.method == "adaptive_temperature":
                words += [f"adaptive temperature: ratio {config.target_ratio:g}, threshold {config.threshold:g} nats"]
            else:
                words += [
                    f"EM-INF: {config.n_grad_steps} {config.optimizer} steps of {config.learning_rate:g}, threshold "
                    f"{config.threshold:g} nats, KL weight {config.kl_weight:g}"
                ]
        words += [f"majority of {self.answers}"] if self.answers > 1 else []
        words += [f"{self.rounds} drafts"] if self.rounds > 1 else []
        return "; ".join(words)

    def run(self, decoder: Decoder, contexts: Sequence[str], generation: dict[str, Any]) -> list[Completion]:
        """One answer a context, decoded together; `generation` has what is left open: length, stop strings."""
        generation = {**generation, **self.generation()}
        drafts = self._answer(decoder, contexts, generation)
        for _ in range(self.rounds - 1):
            contexts = [decoder.follow_up(c, draft.text, REFINE) for c, draft in zip(contexts, drafts, strict=True)]
            corrected = self._answer(decoder, contexts, generation)
            drafts = [together([old, new], new.text) for old, new in zip(drafts, corrected, strict=True)]
        return drafts

    def _answer(self, decoder: Decoder, contexts: Sequence[str], generation: dict[str, Any]) -> list[Completion]:
        drawn = decoder.complete([context for context in contexts for _ in range(self.answers)], generation)
        groups = [drawn[i : i + self.answers] for i in range(0, len(drawn), self.answers)]
        return [together(group, _elected([one.text for one in group])) for group in groups]


def _elected(texts: Sequence[str]) -> str:
    """The first text that ends with the most frequent final answer; the first of all where none has an answer."""
    if len(texts) == 1:
        return texts[0]
    answers = [extract_answer(text) for text in texts]
    winner = majority(answers)
    return next((text for text, answer in zip(texts, answers, strict=True) if same_answer(winner, answer)), texts[0])


def together(parts: Sequence[Completion], text: str) -> Completion:
    """One completion with this text that took what all `parts` took."""
    return Completion(
        text,
        sum(part.tokens for part in parts),
        sum(part.prompt_tokens for part in parts),
        None if any(part.nats is None for part in parts) else sum(part.nats or 0.0 for part in parts),
        sum(part.seconds for part in parts),
    )


# The paper's sampling temperature after EM-INF is 0.1; that, too, is an option (`temperature`), not hidden here.
EM_INF = EntropyMinConfig()
ADAPTIVE = EntropyMinConfig(method="adaptive_temperature")


@dataclass(frozen=True)
class _Entry:
    summary: str
    make: Callable[[], Strategy] = field(repr=False)


STRATEGIES: dict[str, _Entry] = {
    "greedy": _Entry("the most likely token at each step", lambda: Strategy("greedy", greedy=True)),
    "sampling": _Entry("tokens drawn from the model's own distribution", lambda: Strategy("sampling")),
    "adaptive-temperature": _Entry(
        "sampling at the temperature that leaves a share of each step's entropy",
        lambda: Strategy("adaptive-temperature", entropy_min=ADAPTIVE),
    ),
    "em-inf": _Entry("sampling after gradient steps on the logits", lambda: Strategy("em-inf", entropy_min=EM_INF)),
    "self-consistency": _Entry(
        "the most frequent of N sampled answers", lambda: Strategy("self-consistency", answers=4)
    ),
    "refinement": _Entry("N sampled drafts, each correcting the last", lambda: Strategy("refinement", rounds=3)),
    "em-inf+self-consistency": _Entry(
        "the most frequent of N answers, each with EM-INF",
        lambda: Strategy("em-inf+self-consistency", entropy_min=EM_INF, answers=4),
    ),
    "em-inf+refinement": _Entry(
        "N drafts, each with EM-INF", lambda: Strategy("em-inf+refinement", entropy_min=EM_INF, rounds=3)
    ),
}


def make_strategy(
    name: str,
    *,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    entropy_min: dict[str, Any] | None = None,
    n: int | None = None,
) -> Strategy:
    """The strategy of that name, with other settings where they are given and mean something to it.

    Args:
        temperature, top_k, top_p, min_p: of the draw; nothing to greedy decoding.
        entropy_min: fields of `EntropyMinConfig` other than the method; nothing to a strategy without EM-INF.
        n: answers of self-consistency, drafts of refinement; nothing to the others.

    Raises:
        ValueError: an unknown name, or a value out of range.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy is {name!r}, but must be one of {', '.join(STRATEGIES)}")
    strategy = STRATEGIES[name].make()
    drawn = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    changes: dict[str, Any] = {key: value for key, value in drawn.items() if value is not None}
    if strategy.greedy:
        changes = {}
    if entropy_min and strategy.entropy_min:
        config = {**strategy.entropy_min.to_dict(), **entropy_min, "method": strategy.entropy_min.method}
        changes["entropy_min"] = EntropyMinConfig.from_dict(config)
    if n is not None:
        changes |= {"answers": n} if strategy.answers > 1 else {}
        changes |= {"rounds": n} if strategy.rounds > 1 else {}
    return replace(strategy, **changes)
