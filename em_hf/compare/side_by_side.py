"""One prompt in several rows that draw the same random numbers, token by token, with what each token was drawn from."""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from em_hf.compare.comparison import Comparison, Decoded
from em_hf.compare.stream import PieceStream, stream_generate
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.coupling import CoupledSampling
from em_hf.generation.mixin import enable_entropy_min
from em_hf.generation.processors import EntropyMinLogitsProcessor
from em_hf.generation.trace import EntropyTrace
from em_hf.models import unwrap_model

TOP = 10


@dataclass(frozen=True)
class Candidate:
    """A token of the vocabulary and its probability before and after EM-INF, both at temperature 1."""

    token_id: int
    text: str
    before: float
    after: float


@dataclass(frozen=True)
class Token:
    """A token of one row. Entropies in nats, of the distributions that EM-INF saw and left.

    `text` is what it adds to the text, or the name of a special token. `candidates` are the most probable before, the
    most probable after, and the token itself, the most probable after EM-INF first.
    """

    token_id: int
    text: str
    special: bool
    entropy_before: float
    entropy_after: float
    adjusted: bool
    candidates: list[Candidate]


@dataclass(frozen=True)
class Step:
    """One step of all rows: a token, or None for a row that has ended.

    `seconds` since decoding began; `em_seconds` of it, in this step alone, for EM-INF and the two entropies.
    """

    index: int
    rows: list[Token | None]
    seconds: float
    em_seconds: float


def decode_steps(
    model: Any,
    tokenizer: Any,
    inputs: Any,
    rows: Sequence[EntropyMinConfig | None],
    *,
    seed: int = 0,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
) -> Generator[Step, None, None]:
    """Decode one prompt in as many rows as there are settings, all from the noise of `CoupledSampling(seed)`.

    Rows with equal settings give equal tokens; where two rows part, their settings are the cause. All rows are one
    batch, so that a step costs one forward pass. Closing the generator stops the decoding.

    Args:
        inputs: what `encode_prompts` returned for one prompt: `input_ids` and `attention_mask`, `[1, prompt tokens]`.
        rows: EM-INF's settings for each row, None for plain decoding.
        temperature: of the draw, after EM-INF; 0 takes the most probable token (greedy).
    """
    enable_entropy_min(model)
    device = unwrap_model(model).device
    watch = _Watch(list(rows), unwrap_model(model).generation_config.eos_token_id, device)
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

    draw: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        draw = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        draw["coupled"] = CoupledSampling(seed)
    return stream_generate(
        model,
        step,
        **{name: value.repeat(len(rows), 1).to(device) for name, value in inputs.items()},
        **draw,
        max_new_tokens=max_new_tokens,
        logits_processor=[watch],
    )


@dataclass(frozen=True)
class _Seen:
    """What one row's token was drawn from."""

    entropy_before: float
    entropy_after: float
    adjusted: bool
    ids: list[int]
    before: list[float]
    after: list[float]


class _Latest(EntropyTrace):
    """The trace of the step under way alone, so that reading it does not grow with the length."""

    def record(self, before: Tensor, after: Tensor, adjusted: Tensor, finished: Tensor | None = None) -> None:
        self.clear()
        super().record(before, after, adjusted, finished)


class _Watch(EntropyMinLogitsProcessor):
    """EM-INF that remembers the distributions of its last step and how long it took."""

    def __init__(self, rows: list[EntropyMinConfig | None], eos: int | list[int] | None, device: torch.device) -> None:
        self.latest = _Latest()
        super().__init__(rows, self.latest)
        self.eos_token_ids = None if eos is None else torch.tensor(eos, device=device).flatten()
        self.seconds = 0.0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        start = _now(scores)
        out = super().__call__(input_ids, scores)
        self.seconds = _now(out) - start
        self.before, self.after = scores.float().softmax(-1), out.float().softmax(-1)
        return out

    def rows(self, tokens: Tensor) -> list[_Seen | None]:
        """For the step that drew `tokens` `[rows]`: each row's view of it, None for a row that had ended."""
        count = min(TOP, self.before.shape[-1])
        tokens = tokens.to(self.before.device)
        ids = torch.cat([self.before.topk(count).indices, self.after.topk(count).indices, tokens[:, None]], -1)
        columns = [self.latest.before[:, 0], self.latest.after[:, 0], self.latest.adjusted[:, 0]]
        columns += [ids, self.before.gather(-1, ids), self.after.gather(-1, ids)]
        seen = [_Seen(*row) for row in zip(*(column.tolist() for column in columns))]
        return [row if row.entropy_before == row.entropy_before else None for row in seen]


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
    )


def collect(steps: Sequence[Step], *, seed: int) -> Comparison:
    """The two rows of a finished `decode_steps` as the comparison that the command line and the API show."""
    rows = [[step.rows[row] for step in steps] for row in range(2)]
    plain, em = ([token for token in row if token is not None] for row in rows)
    return Comparison(_decoded(plain), _decoded(em), first_difference(steps), seed)


def first_difference(steps: Sequence[Step]) -> int | None:
    """The first step whose two rows do not have the same token; None where there is none."""
    for step in steps:
        ids = {None if token is None else token.token_id for token in step.rows}
        if len(ids) > 1:
            return step.index
    return None


def _decoded(tokens: list[Token]) -> Decoded:
    return Decoded(
        text="".join(token.text for token in tokens if not token.special),
        tokens=[token.text for token in tokens],
        entropy_before=[token.entropy_before for token in tokens],
        entropy_after=[token.entropy_after for token in tokens],
        adjusted=[token.adjusted for token in tokens],
    )
