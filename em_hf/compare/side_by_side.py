"""One prompt decoded in several rows with the same random numbers, and the distribution behind each token."""

import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from em_hf.answers import extract_answer, same_answer
from em_hf.compare.stream import PieceStream, stream_generate
from em_hf.compare.verdict import Divergence, divergence, first_difference, verdict
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.coupling import CoupledSampling
from em_hf.generation.mixin import enable_entropy_min, settings_of_model
from em_hf.generation.processors import EntropyMinLogitsProcessor
from em_hf.generation.trace import EntropyTrace
from em_hf.models import encode_prompts, unwrap_model
from em_hf.sampling import NEUTRAL, EndOfSequence, SamplingConfig

TOP = 10
PROBLEMS_AT_ONCE = 32


@dataclass(frozen=True)
class Candidate:
    """A token of the vocabulary and its probability before and after EM-INF, both at temperature 1."""

    token_id: int
    text: str
    before: float
    after: float


@dataclass(frozen=True)
class Token:
    """A token of one row. Entropies in nats, of the distributions before and after EM-INF.

    `text` is what it adds to the text, or the name of a special token. `candidates` are the most probable tokens before
    and after EM-INF and the token itself, in order of decreasing probability after EM-INF. `chances` are the
    probabilities that this row, after EM-INF, gave to the token that each row drew at this step.
    """

    token_id: int
    text: str
    special: bool
    entropy_before: float
    entropy_after: float
    adjusted: bool
    candidates: list[Candidate]
    chances: tuple[float, ...] = ()


@dataclass(frozen=True)
class Step:
    """One decoding step of all rows: a token each, or None for a row that has ended.

    `seconds` is the time since decoding began, `em_seconds` the time in this step for EM-INF and the two entropies.
    """

    index: int
    rows: list[Token | None]
    seconds: float
    em_seconds: float


@dataclass
class Decoded:
    """One continuation. Entropies in nats, one per token; `tokens` join to `text`, except for special tokens."""

    text: str
    tokens: list[str]
    entropy_before: list[float]
    entropy_after: list[float]
    adjusted: list[bool]


@dataclass
class Comparison:
    """Two continuations of one prompt.

    Attributes:
        diverges_at: the index of the first token in which they differ; None if they are identical.
        divergence: the same token with its probabilities; also None if one row had already ended.
        sentence: what happened, in words; see `verdict`.
    """

    plain: Decoded
    em: Decoded
    diverges_at: int | None
    seed: int
    divergence: Divergence | None = None
    sentence: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def decode_steps(
    model: Any,
    tokenizer: Any,
    inputs: Any,
    rows: Sequence[EntropyMinConfig | None],
    *,
    seed: int = 0,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Generator[Step, None, None]:
    """Decode one prompt in one row per entry of `rows`, all from the noise of `CoupledSampling(seed)`.

    Rows with equal settings give equal tokens; if two rows diverge, their settings are the cause. All rows form one
    batch, so a step costs one forward pass. Closing the generator stops the decoding.

    Args:
        model: the model; EM-INF stays enabled on it, which by itself changes nothing.
        tokenizer: the model's tokenizer.
        inputs: the output of `encode_prompts` for one prompt: `input_ids` and `attention_mask`, `[1, prompt tokens]`.
        rows: EM-INF's settings for each row, None for plain decoding.
        seed: seed of the noise.
        max_new_tokens: maximum number of tokens per row.
        temperature: sampling temperature, applied after EM-INF; 0 takes the most probable token (greedy).
        top_k, top_p: as in transformers; 0 and 1 turn them off.

    Raises:
        ValueError: a setting is out of range.
    """
    how = SamplingConfig(max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    enable_entropy_min(model)
    device = unwrap_model(model).device
    watch = _Watch(list(rows), EndOfSequence(model, tokenizer))
    pieces = [PieceStream(tokenizer) for _ in rows]
    names: dict[int, str] = {}
    special = set(tokenizer.all_special_ids)
    start = time.perf_counter()
    index = 0

    def step(tokens: Tensor) -> Step:
        nonlocal index
        last = index == max_new_tokens - 1
        made = [
            None if seen is None else _token(seen, int(token), tokenizer, names, special, piece, last)
            for token, seen, piece in zip(tokens.tolist(), watch.rows(tokens), pieces)
        ]
        result = Step(index, made, time.perf_counter() - start, watch.seconds)
        index += 1
        return result

    return stream_generate(
        model,
        step,
        **{name: value.repeat(len(rows), 1).to(device) for name, value in inputs.items()},
        **NEUTRAL,
        **how.draw(),
        **({} if how.greedy else {"coupled": CoupledSampling(seed)}),
        max_new_tokens=max_new_tokens,
        tokenizer=tokenizer,
        logits_processor=[watch],
    )


@dataclass(frozen=True)
class _Seen:
    """The distribution that one row's token was drawn from."""

    entropy_before: float
    entropy_after: float
    adjusted: bool
    ids: list[int]
    before: list[float]
    after: list[float]
    chances: list[float]


class _Latest(EntropyTrace):
    """A trace of the current step only, so that the cost of reading it does not grow with the length."""

    def record(self, before: Tensor, after: Tensor, adjusted: Tensor, finished: Tensor | None = None) -> None:
        self.clear()
        super().record(before, after, adjusted, finished)


class _Watch(LogitsProcessor):
    """EM-INF that remembers the distributions of its last step, which rows had ended before it, and its duration."""

    def __init__(self, rows: list[EntropyMinConfig | None], end: EndOfSequence) -> None:
        self._latest = _Latest()
        self._step = EntropyMinLogitsProcessor(rows, self._latest)
        self._end = end
        self._ended: Tensor | None = None
        self.seconds = 0.0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self._ended is None:  # only the prompt precedes the first step
            self._ended = torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
        else:
            self._ended = self._ended | self._end.ended(input_ids)
        start = _now(scores)
        out = self._step(input_ids, scores)
        self.seconds = _now(out) - start
        self._before, self._after = scores.float().softmax(-1), out.float().softmax(-1)
        return out

    def rows(self, tokens: Tensor) -> list[_Seen | None]:
        """Return each row's view of the step that drew `tokens` `[rows]`, None for a row that had ended."""
        assert self._ended is not None
        count = min(TOP, self._before.shape[-1])
        tokens = tokens.to(self._before.device)
        ids = torch.cat([self._before.topk(count).indices, self._after.topk(count).indices, tokens[:, None]], -1)
        columns = [self._latest.before[:, 0], self._latest.after[:, 0], self._latest.adjusted[:, 0]]
        columns += [ids, self._before.gather(-1, ids), self._after.gather(-1, ids), self._after[:, tokens]]
        seen = [_Seen(*row) for row in zip(*(column.tolist() for column in columns))]
        return [None if ended else row for row, ended in zip(seen, self._ended.tolist(), strict=True)]


def _now(tensor: Tensor) -> float:
    if tensor.device.type != "cpu":  # its work is only queued when the call returns
        torch.accelerator.synchronize()
    return time.perf_counter()


def _token(
    seen: _Seen, token_id: int, tokenizer: Any, names: dict[int, str], special: set[int], piece: PieceStream, last: bool
) -> Token:
    chances = {i: (before, after) for i, before, after in zip(seen.ids, seen.before, seen.after)}
    for i in chances.keys() - names.keys():
        names[i] = tokenizer.decode([i], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    candidates = [Candidate(i, names[i], before, after) for i, (before, after) in chances.items()]
    # A tie keeps the order before EM-INF.
    candidates.sort(key=lambda candidate: (-candidate.after, -candidate.before))
    return Token(
        token_id,
        piece.push(token_id, last=last),
        token_id in special,
        seen.entropy_before,
        seen.entropy_after,
        seen.adjusted,
        candidates,
        tuple(seen.chances),
    )


def compare_decoding(
    model: Any,
    tokenizer: Any,
    inputs: Any,
    config: EntropyMinConfig | None = None,
    *,
    seed: int = 0,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Comparison:
    """Return one prompt's continuations with and without EM-INF, both from the noise of `CoupledSampling(seed)`.

    Args:
        config: EM-INF's settings; those stored with the model, else the defaults, if None.
        others: as for `decode_steps`.
    """
    steps = decode_steps(
        model,
        tokenizer,
        inputs,
        [None, config or settings_of_model(model)],
        seed=seed,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
    )
    return collect(list(steps), seed=seed)


@dataclass(frozen=True)
class Example:
    """A problem that shows what EM-INF does, and how all problems came out.

    Attributes:
        index: the problem's index.
        right: how many of the `n` problems are solved without EM-INF and with it.
        only: the decoding that alone solves this problem, "EM-INF" or "plain", if it was chosen for that; else None.
    """

    index: int
    n: int
    right: tuple[int, int]
    only: str | None


def choose_example(
    model: Any,
    tokenizer: Any,
    problems: Sequence[tuple[str, str]],
    config: EntropyMinConfig,
    *,
    seed: int,
    max_new_tokens: int,
    **draw: Any,
) -> Example:
    """Decode problems as `compare_decoding` does, and choose one that tells the two rows apart.

    It is the first that is solved only by the decoding that solves more of them, EM-INF where both solve as many. Where
    there is none, it is the first whose answers differ, else the first whose rows differ at all, else the first.

    Args:
        problems: prompts with their answers, decoded in batches of 32.
        draw: temperature, top_k and top_p, as for `decode_steps`.
    """
    how = SamplingConfig(max_new_tokens=max_new_tokens, seed=seed, **draw)
    enable_entropy_min(model)
    answers: list[str | None] = []
    unlike: list[bool] = []
    for start in range(0, len(problems), PROBLEMS_AT_ONCE):
        part = problems[start : start + PROBLEMS_AT_ONCE]
        inputs = encode_prompts(tokenizer, [prompt for prompt, _ in part for _ in range(2)])
        out = model.generate(
            **{name: value.to(unwrap_model(model).device) for name, value in inputs.items()},
            **NEUTRAL,
            **how.draw(),
            max_new_tokens=max_new_tokens,
            tokenizer=tokenizer,
            entropy_min=[False, config] * len(part),
            coupled=CoupledSampling(seed),
        )
        texts = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        answers += [extract_answer(text) for text in texts]
        unlike += (out[::2] != out[1::2]).any(1).tolist()
    pairs = list(zip(answers[::2], answers[1::2]))
    right = [tuple(same_answer(known, found) for found in pair) for (_, known), pair in zip(problems, pairs)]
    plain, em = (sum(row) for row in zip(*right))
    name, wanted = ("EM-INF", (False, True)) if em >= plain else ("plain", (True, False))
    if wanted in right:
        return Example(right.index(wanted), len(problems), (plain, em), name)
    differ = [a != b for a, b in pairs]
    index = next((which.index(True) for which in (differ, unlike) if True in which), 0)
    return Example(index, len(problems), (plain, em), None)


def collect(steps: Sequence[Step], *, seed: int, answer: str | None = None) -> Comparison:
    """Return the two rows of a finished `decode_steps` as a comparison.

    Args:
        seed: the seed that the rows were drawn with.
        answer: the known answer of the prompt, if any; the sentence then says who is right.
    """
    plain, em = ([token for step in steps if (token := step.rows[row]) is not None] for row in range(2))
    said = verdict(steps, answer=answer).sentence
    return Comparison(_decoded(plain), _decoded(em), first_difference(steps), seed, divergence(steps), said)


def _decoded(tokens: list[Token]) -> Decoded:
    return Decoded(
        text="".join(token.text for token in tokens if not token.special),
        tokens=[token.text for token in tokens],
        entropy_before=[token.entropy_before for token in tokens],
        entropy_after=[token.entropy_after for token in tokens],
        adjusted=[token.adjusted for token in tokens],
    )
