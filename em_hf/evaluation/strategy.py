"""The inference-time strategies: how a prompt is answered. Each is a few settings; the decoder is passed in.

"Sampling" is temperature 1, top_k 0, top_p 1 unless a strategy states otherwise.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from em_hf.answers import extract_answer, majority, same_answer
from em_hf.generation.config import EntropyMinConfig
from em_hf.settings import DrawSettings, check, like, setting


@dataclass(frozen=True)
class Completion:
    """One answer to one prompt, and what it cost.

    Attributes:
        text: the answer, without stop strings and special tokens.
        tokens: tokens drawn for it, including end-of-sequence tokens; over all samples if a strategy draws several.
        prompt_tokens: prompt tokens that went through the model for it, counted again for every sample.
        nats: summed entropy of the model's own distributions over those tokens, before EM-INF changes them; None if the
            engine does not report it.
        seconds: its share of its batch's time.
        confidence: the negative mean log-probability of the 20 likeliest tokens, averaged over its tokens; high if the
            distributions are peaked (DeepConf, arXiv 2508.15260). None if the engine does not report it, and not
            written to files.
    """

    text: str
    tokens: int
    prompt_tokens: int
    nats: float | None
    seconds: float = 0.0
    confidence: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "confidence"}


class Decoder(Protocol):
    """The model interface that a strategy needs, such as `EntropyMinLM`."""

    def complete(self, contexts: Sequence[str], generation: dict[str, Any]) -> list[Completion]:
        """Return one completion per context, all in one batch, decoded with these arguments of `generate`."""
        ...

    def follow_up(self, context: str, answer: str, instruction: str) -> str:
        """Return the context of the turn after `answer`, which the user opens with `instruction`."""
        ...


# How many of the likeliest tokens enter a completion's confidence.
CONFIDENT_TOKENS = 20
# Separates the answers to a problem asked in several turns when they are joined into one text.
NEXT_TURN = "\n\f\n"
REFINE = (
    "Check the answer above step by step and correct it where it is wrong. End with the whole corrected solution, "
    "in the same form as before."
)


@dataclass(frozen=True)
class Strategy:
    """How one answer to a prompt is produced.

    Args:
        name: hyphenated, as on the command line.
        greedy: take the largest logit at each step; `temperature`, `top_k`, `top_p` and `min_p` are then ignored.
        temperature, top_k, top_p, min_p: settings of the draw, after EM-INF; see `DrawSettings`.
        top_n_sigma: draw among the tokens whose logits are at most this many standard deviations below the largest
            (arXiv 2411.07641); above 0. None for all.
        entropy_min: EM-INF's settings; None for no EM-INF.
        answers: samples drawn in one batch, of which the most frequent final answer counts (self-consistency).
        rounds: total number of drafts, each but the first a correction of the previous one (refinement).
        weighted: weigh each vote by the model's confidence; see `Completion`.

    Raises:
        ValueError: a value out of range, or EM-INF with greedy decoding, which it cannot change.
    """

    name: str
    greedy: bool = False
    temperature: float = like(DrawSettings, "temperature")
    top_k: int = like(DrawSettings, "top_k")
    top_p: float = like(DrawSettings, "top_p")
    min_p: float = like(DrawSettings, "min_p")
    top_n_sigma: float | None = setting(None, help="Draw among logits this near the largest.", above=0)
    entropy_min: EntropyMinConfig | None = None
    answers: int = setting(1, help="Samples per prompt.", low=1)
    rounds: int = setting(1, help="Drafts per prompt.", low=1)
    weighted: bool = False

    def __post_init__(self) -> None:
        if self.temperature == 0:
            raise ValueError(
                f"strategy {self.name}: temperature is {self.temperature}, but must be above 0; the strategy greedy is "
                "what 0 means"
            )
        check(self, where=f"strategy {self.name}")
        if self.top_n_sigma is not None and self.entropy_min is not None:
            raise ValueError(f"strategy {self.name}: top_n_sigma does not go with EM-INF, which it would come before")
        if self.greedy and (self.entropy_min or self.answers > 1):
            raise ValueError(
                f"strategy {self.name}: EM-INF and self-consistency sample, but greedy decoding always gives the "
                "same answer"
            )

    @property
    def samples(self) -> int:
        """The number of completions per answer."""
        return self.answers * self.rounds

    def generation(self) -> dict[str, Any]:
        """Return every argument of `generate` about the draw, so that no default of the model or the task applies.

        Two are not transformers' own and are handled by the decoder: `top_n_sigma`, and `confidence` if completions
        must have one.
        """
        drawn: dict[str, Any] = {"do_sample": False, "temperature": 0.0}
        if not self.greedy:
            drawn = {
                "do_sample": True,
                "temperature": self.temperature,
                "top_k": self.top_k,
                "top_p": self.top_p,
                "min_p": self.min_p or None,
            }
        from em_hf.sampling import NEUTRAL  # imported here: the command line lists strategies without PyTorch

        settings = self.entropy_min.to_dict() if self.entropy_min else False
        more = {} if self.top_n_sigma is None else {"top_n_sigma": self.top_n_sigma}
        more |= {"confidence": True} if self.weighted else {}
        return {**drawn, **more, **NEUTRAL, "entropy_min": settings}

    def to_dict(self) -> dict[str, Any]:
        """Return the settings; newer ones only if they are set, so that older evaluations can still be resumed."""
        unset = {"top_n_sigma": None, "weighted": False}
        return {name: value for name, value in asdict(self).items() if name not in unset or value != unset[name]}

    def describe(self) -> str:
        """Return the settings in words, for the line under a table."""
        if self.greedy:
            words = ["the most likely token at each step"]
        else:
            words = [f"temperature {self.temperature:g}, top_k {self.top_k}, top_p {self.top_p:g}"]
            words += [f"min_p {self.min_p:g}"] if self.min_p else []
            words += [] if self.top_n_sigma is None else [f"top_n_sigma {self.top_n_sigma:g}"]
        if config := self.entropy_min:
            if config.method == "adaptive_temperature":
                words += [f"adaptive temperature: ratio {config.target_ratio:g}, threshold {config.threshold:g} nats"]
            else:
                words += [
                    f"EM-INF: {config.n_grad_steps} {config.optimizer} steps of {config.learning_rate:g}, threshold "
                    f"{config.threshold:g} nats, KL weight {config.kl_weight:g}"
                ]
        votes = "majority, weighted by confidence," if self.weighted else "majority"
        words += [f"{votes} of {self.answers}"] if self.answers > 1 else []
        words += [f"{self.rounds} drafts"] if self.rounds > 1 else []
        return "; ".join(words)

    def run(self, decoder: Decoder, contexts: Sequence[str], generation: dict[str, Any]) -> list[Completion]:
        """Return one answer per context, decoded together; `generation` sets the rest: length and stop strings."""
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
        return [together(group, _elected(group, self.weighted)) for group in groups]


def _elected(samples: Sequence[Completion], weighted: bool) -> str:
    """Return the first text with the winning final answer, or the first text if none has an answer."""
    texts = [one.text for one in samples]
    if len(texts) == 1:
        return texts[0]
    answers = [extract_answer(text) for text in texts]
    winner = _weighted_majority(answers, samples) if weighted else majority(answers)
    return next((text for text, answer in zip(texts, answers, strict=True) if same_answer(winner, answer)), texts[0])


def _weighted_majority(answers: Sequence[str | None], samples: Sequence[Completion]) -> str | None:
    """Return the answer whose samples have the largest summed confidence, the one seen first in a tie."""
    if any(one.confidence is None for one in samples):
        raise ValueError("weighted-self-consistency needs the model's distributions, which this backend does not give")
    totals: dict[str, float] = {}
    for answer, one in zip(answers, samples, strict=True):
        if answer is not None:
            same = next((known for known in totals if same_answer(known, answer)), answer)
            totals[same] = totals.get(same, 0.0) + (one.confidence or 0.0)
    return max(totals, key=lambda known: totals[known]) if totals else None


def together(parts: Sequence[Completion], text: str) -> Completion:
    """Return one completion with this text and the total cost of all `parts`."""
    return Completion(
        text,
        sum(part.tokens for part in parts),
        sum(part.prompt_tokens for part in parts),
        None if any(part.nats is None for part in parts) else sum(part.nats or 0.0 for part in parts),
        sum(part.seconds for part in parts),
    )
