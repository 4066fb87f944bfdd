"""From prompts to completions: the only sampling loop, with its batches, seeds, guards and end-of-sequence rule.

"Sampling" is temperature 1, top_k 0, top_p 1 unless a `SamplingConfig` says otherwise. Of the model's generation config
only the special tokens and `stop_strings` are used: no penalty, no minimum length.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StopStringCriteria

from em_hf.entropy import token_entropy
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.mixin import enable_entropy_min
from em_hf.models import Prompt, encode_prompts, prompt_length, unwrap_model
from em_hf.settings import DrawSettings, ModelSettings, check, like, setting

# Arguments of `generate` at values that have no effect, so that those of a model's own generation config do not apply.
NEUTRAL: dict[str, Any] = {
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "typical_p": 1.0,
    "min_new_tokens": None,
}
# Numbers about the logits `[rows, V]` of a decoding step: `[rows]`, or `[rows, V]` to gather at the sampled token.
Observe = Callable[[Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How completions are drawn.

    Raises:
        ValueError: A value is out of range, or several greedy samples are requested.
    """

    samples: int = setting(1, help="Completions per prompt.", low=1)
    max_new_tokens: int = setting(256, help="The most tokens of a completion.", low=1)
    temperature: float = like(
        DrawSettings, "temperature", help="Of the draw, after EM-INF; 0 takes the likeliest token.", low=0, above=None
    )
    top_k: int = like(DrawSettings, "top_k")
    top_p: float = like(DrawSettings, "top_p")
    min_p: float = like(DrawSettings, "min_p")
    entropy_min: EntropyMinConfig | None = setting(None, help="EM-INF's settings; None decodes without EM-INF.")
    seed: int = like(ModelSettings, "seed", help="Seed of all draws.")
    batch_size: int = setting(
        256, help="Completions decoded together; another batch size draws other random numbers.", low=1
    )
    chat_template: bool = setting(True, help="Put text prompts into the tokenizer's chat template, where it has one.")
    sort_by_length: bool = setting(True, help="Batch prompts of like length together, which saves padding.")

    def __post_init__(self) -> None:
        check(self)
        if self.greedy and self.samples > 1:
            raise ValueError(
                f"samples is {self.samples} at temperature 0, but greedy decoding always gives the same completion: "
                "set samples to 1, or a temperature above 0"
            )

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    def draw(self) -> dict[str, Any]:
        """Return the arguments of `generate` that determine how a token is drawn."""
        if self.greedy:
            return {"do_sample": False}
        drawn = {"do_sample": True, "temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        return {**drawn, "min_p": self.min_p or None}


@dataclass(frozen=True, eq=False)
class Completion:
    """One completion, up to and including the token that ends it.

    Attributes:
        prompt: the index of its prompt.
        text: without special tokens.
        token_ids: `[tokens]`.
        entropies: `[tokens]`, nats, of the model's own distributions: before EM-INF, temperature, top_k and top_p.
        log_probs: `[tokens]`, nats, of the drawn tokens under those distributions.
        prompt_tokens: the prompt's length in tokens.
        seconds: its share of its batch's time.
        observed: `[tokens]` for each name that `observe` returned.
    """

    prompt: int
    text: str
    token_ids: list[int]
    entropies: Tensor
    log_probs: Tensor
    prompt_tokens: int
    seconds: float
    observed: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def nats(self) -> float:
        """The summed entropy of its tokens."""
        return float(self.entropies.sum())


@dataclass(frozen=True, eq=False)
class Batch:
    """Completions decoded together, on the model's device; a prompt's samples are consecutive rows.

    Attributes:
        sequences: `[rows, prompt + new tokens]`.
        prompt_mask: `[rows, prompt tokens]`, 0 for the padding on the left.
        mask: bool `[rows, new tokens]`: the tokens up to and including the one that ends the row.
        logits: float `[rows, new tokens, V]` that the tokens were drawn from, before EM-INF; None unless requested.
        completions: one per row.
    """

    sequences: Tensor
    prompt_mask: Tensor
    mask: Tensor
    logits: Tensor | None
    completions: list[Completion]


def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    config: SamplingConfig | None = None,
    *,
    observe: Observe | None = None,
    keep_logits: bool = False,
    on_batch: Callable[[Batch], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[Completion]]:
    """Sample completions of each prompt, leaving random states, model mode and generation config unchanged.

    A batch whose first prompt is the `i`-th in order draws from the seed `seed * 1_000_003 + i` (`seed_batch`), so it
    depends neither on the length of another batch nor on what was drawn before, and two runs that differ only in the
    model or in EM-INF share their random numbers.

    Args:
        model: a causal language model, or a PEFT model of one. If `config.entropy_min` is set, it is left with EM-INF
            enabled, which has no effect by itself.
        tokenizer: the model's.
        prompts: texts or lists of messages.
        config: how to draw; the defaults if None.
        observe: called with each step's logits; see `Observe`.
        keep_logits: hand the logits to `on_batch`.
        on_batch: called with each batch, in evaluation mode and without gradients.
        on_progress: called with the number of prompts done.

    Returns:
        The completions of each prompt, in the order of the prompts.

    Example:

    ```python
    completions = sample(model, tokenizer, ["What is 2 + 3?"], SamplingConfig(samples=4))
    print([completion.text for completion in completions[0]])
    ```
    """
    config = config or SamplingConfig()
    base = unwrap_model(model)
    if config.entropy_min is not None:
        enable_entropy_min(model)
    settings = generation_config(
        base,
        tokenizer,
        **config.draw(),
        max_new_tokens=config.max_new_tokens,
        num_return_sequences=config.samples,
    )
    end = EndOfSequence(base, tokenizer)
    extra = {} if config.entropy_min is None else {"entropy_min": config.entropy_min}
    order = list(range(len(prompts)))
    if config.sort_by_length:
        order.sort(key=lambda i: prompt_length(prompts[i]))
    at_once = max(1, config.batch_size // config.samples)
    found: list[list[Completion]] = [[] for _ in prompts]
    with forked_rng(base.device), using_generation_config(base, settings), eval_mode(base), torch.no_grad():
        for start in range(0, len(order), at_once):
            part = order[start : start + at_once]
            began = time.perf_counter()
            inputs = encode_prompts(tokenizer, [prompts[i] for i in part], chat_template=config.chat_template)
            inputs = {name: value.to(base.device) for name, value in inputs.items()}
            recorder = _Recorder(observe, keep_logits)
            seed_batch(config.seed, start)
            sequences = model.generate(
                **inputs,
                generation_config=settings,
                tokenizer=tokenizer,
                logits_processor=LogitsProcessorList([recorder]),
                **extra,
            )
            prompt_mask = inputs["attention_mask"].repeat_interleave(config.samples, 0)
            rows = [i for i in part for _ in range(config.samples)]
            batch = _batch(tokenizer, rows, sequences, prompt_mask, end, recorder, time.perf_counter() - began)
            for completion in batch.completions:
                found[completion.prompt].append(completion)
            if on_batch is not None:
                on_batch(batch)
            if on_progress is not None:
                on_progress(start + len(part))
    return found


def _batch(
    tokenizer: Any,
    rows: list[int],
    sequences: Tensor,
    prompt_mask: Tensor,
    end: "EndOfSequence",
    recorder: "_Recorder",
    seconds: float,
) -> Batch:
    length = prompt_mask.shape[1]
    new, mask = sequences[:, length:], end.mask(sequences, length)
    columns = {name: column.cpu() for name, column in recorder.columns(new).items()}
    counts, prompt_tokens = mask.sum(1).tolist(), prompt_mask.sum(1).tolist()
    ids = [row[:count] for row, count in zip(new.tolist(), counts, strict=True)]
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    completions = []
    for place, (prompt, text, token_ids) in enumerate(zip(rows, texts, ids, strict=True)):
        values = {name: column[place, : len(token_ids)] for name, column in columns.items()}
        entropies, log_probs = values.pop("entropy"), values.pop("log_prob")
        share = seconds / len(rows)
        completions.append(
            Completion(prompt, text, token_ids, entropies, log_probs, int(prompt_tokens[place]), share, values)
        )
    return Batch(sequences, prompt_mask, mask, recorder.logits(new), completions)


class _Recorder(LogitsProcessor):
    """A processor that changes nothing: it records values of each step, and those of the drawn token one step later."""

    def __init__(self, observe: Observe | None, keep_logits: bool) -> None:
        self._observe = observe
        self._keep_logits = keep_logits
        self._logits: list[Tensor] = []
        self._steps: list[dict[str, Tensor]] = []
        self._waiting: dict[str, Tensor] = {}  # [rows, V], of the last step only

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._settle(input_ids[:, -1])
        seen = {"entropy": token_entropy(scores), "log_prob": scores.float().log_softmax(-1)}
        seen |= self._observe(scores) if self._observe is not None else {}
        self._waiting = {name: value for name, value in seen.items() if value.dim() == 2}
        self._steps.append({name: value for name, value in seen.items() if value.dim() == 1})
        if self._keep_logits:
            self._logits.append(scores.float())
        return scores

    def _settle(self, tokens: Tensor) -> None:
        if self._steps:
            taken = {name: value.gather(-1, tokens[:, None])[:, 0] for name, value in self._waiting.items()}
            self._steps[-1] |= taken
        self._waiting = {}

    def columns(self, new: Tensor) -> dict[str, Tensor]:
        """Return `[rows, new tokens]` for each name; `new` are the tokens that were drawn."""
        count = new.shape[1]
        if count == len(self._steps):  # otherwise the loop ran an extra step, which it discarded
            self._settle(new[:, -1])
        return {name: torch.stack([step[name] for step in self._steps[:count]], 1) for name in self._steps[0]}

    def logits(self, new: Tensor) -> Tensor | None:
        return torch.stack(self._logits[: new.shape[1]], 1) if self._keep_logits else None


class EndOfSequence:
    """Where a row ends: at the first end-of-sequence token, or at the token that completes a stop string.

    Args:
        model: whose generation config names the end-of-sequence tokens (the tokenizer's where it names none) and, as
            `stop_strings`, the texts that end a completion.
        tokenizer: the model's.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        known = unwrap_model(model).generation_config
        self.token_ids = end_token_ids(known, tokenizer)
        strings = getattr(known, "stop_strings", None)
        self._strings = StopStringCriteria(tokenizer, strings) if strings else None

    def ended(self, sequences: Tensor) -> Tensor:
        """Return which rows of `[rows, tokens]` end with their last token: bool `[rows]`."""
        ends = torch.isin(sequences[:, -1], torch.tensor(self.token_ids, dtype=torch.long, device=sequences.device))
        return ends if self._strings is None else ends | self._strings(sequences, None).to(ends.device)

    def mask(self, sequences: Tensor, prompt_length: int) -> Tensor:
        """Return which new tokens count, those up to and including the row's end: bool `[rows, new tokens]`."""
        new = sequences[:, prompt_length:]
        if self._strings is None:
            return completion_mask(new, self.token_ids)
        steps = range(prompt_length + 1, sequences.shape[1] + 1)
        ends = torch.stack([self.ended(sequences[:, :stop]) for stop in steps], 1)
        return _up_to_first(ends)


def completion_mask(completion_ids: Tensor, eos_token_ids: Sequence[int]) -> Tensor:
    """Return which tokens of `[rows, tokens]` count: those up to and including the first end-of-sequence token."""
    eos = torch.tensor(list(eos_token_ids), device=completion_ids.device, dtype=torch.long)
    return _up_to_first(torch.isin(completion_ids, eos))


def _up_to_first(ends: Tensor) -> Tensor:
    return (ends.long().cumsum(-1) - ends.long()) == 0


def end_token_ids(config: GenerationConfig, tokenizer: Any) -> list[int]:
    """Return the ids of the tokens that end a sequence: the generation config's, or the tokenizer's if it has none."""
    eos = config.eos_token_id if config.eos_token_id is not None else tokenizer.eos_token_id
    return [] if eos is None else [eos] if isinstance(eos, int) else list(eos)


def generation_config(model: Any, tokenizer: Any, **settings: Any) -> GenerationConfig:
    """Return a generation config with these settings and the model's special tokens and stop strings, and nothing else.

    Args:
        model: whose special tokens are taken, the tokenizer's where it names none.
        tokenizer: the model's.
        **settings: of `GenerationConfig`; top_k is 0 and top_p 1 unless given.
    """
    known = unwrap_model(model).generation_config
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else known.pad_token_id
    return GenerationConfig(
        **{"top_k": 0, "top_p": 1.0, "use_cache": True, "stop_strings": known.stop_strings, **settings},
        bos_token_id=known.bos_token_id,
        eos_token_id=end_token_ids(known, tokenizer) or None,
        pad_token_id=pad,
    )


def seed_batch(seed: int, start: int) -> None:
    """Seed torch for the batch whose first prompt is number `start`: the seed rule of all sampling."""
    torch.manual_seed(seed * 1_000_003 + start)


@contextmanager
def using_generation_config(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Run the block with `config` as the model's own generation config, so that no other setting is inherited."""
    base = unwrap_model(model)
    own, base.generation_config = base.generation_config, config
    try:
        yield
    finally:
        base.generation_config = own


@contextmanager
def eval_mode(model: Any) -> Iterator[None]:
    """Run the block without dropout, and without gradient checkpointing, which would switch the cache off."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def forked_rng(device: torch.device) -> Iterator[None]:
    """Run the block, then restore the random states of torch (CPU and `device`), Python and NumPy."""
    python, numpy = random.getstate(), np.random.get_state()
    own = [] if device.type == "cpu" else [device.index or 0]
    try:
        with torch.random.fork_rng(own, device_type="cuda" if device.type == "cpu" else device.type):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
