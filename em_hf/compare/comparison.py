"""One prompt decoded twice from the same random numbers, plain and with EM-INF, as the command line shows it."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.coupling import CoupledSampling
from em_hf.generation.mixin import enable_entropy_min
from em_hf.generation.trace import EntropyTrace
from em_hf.models import unwrap_model


@dataclass
class Decoded:
    """One continuation. Entropies in nats, one a token; `tokens` join to `text`, special tokens apart."""

    text: str
    tokens: list[str]
    entropy_before: list[float]
    entropy_after: list[float]
    adjusted: list[bool]


@dataclass
class Comparison:
    """The two continuations and the index of the first token in which they differ (None: they are the same)."""

    plain: Decoded
    em: Decoded
    diverges_at: int | None
    seed: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


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
    """Sample a prompt's continuation with and without EM-INF, both from the noise of `CoupledSampling(seed)`.

    Both rows are in one batch, so a step costs one forward pass. Where the two part, EM-INF is the cause.

    Args:
        inputs: what the tokenizer returned for one prompt: `input_ids` and `attention_mask`, `[1, prompt tokens]`.
        config: EM-INF's settings; those stored with the model, else the defaults, if None.
    """
    enable_entropy_min(model)
    trace = EntropyTrace()
    pair = {name: value.repeat(2, 1).to(unwrap_model(model).device) for name, value in inputs.items()}
    sequences = model.generate(
        **pair,
        do_sample=True,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        entropy_min=[False, True if config is None else config],
        entropy_trace=trace,
        coupled=CoupledSampling(seed),
    )
    new = sequences[:, pair["input_ids"].shape[1] :].cpu()
    lengths = trace.before.isfinite().sum(1).tolist()
    plain, em = (_decoded(tokenizer, new[row], trace, row, lengths[row]) for row in range(2))
    differ = (new[0] != new[1]).nonzero()
    return Comparison(plain, em, int(differ[0]) if len(differ) else None, seed)


def _decoded(tokenizer: Any, ids: torch.Tensor, trace: EntropyTrace, row: int, length: int) -> Decoded:
    ids = ids[:length]
    return Decoded(
        text=tokenizer.decode(ids, skip_special_tokens=True),
        tokens=token_pieces(tokenizer, ids.tolist()),
        entropy_before=trace.before[row, :length].tolist(),
        entropy_after=trace.after[row, :length].tolist(),
        adjusted=trace.adjusted[row, :length].tolist(),
    )


def token_pieces(tokenizer: Any, ids: list[int]) -> list[str]:
    """The text that each token adds, special tokens by name; they join to the decoded text.

    A token alone may be half a character, or lose its leading space, so the growing sequence is decoded and compared;
    half a character shows when its last part has come, and until then its tokens are empty.
    """
    pieces, shown = [], ""
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        whole = text if end == len(ids) else text.rstrip("\ufffd")
        pieces.append(whole[len(shown) :] if whole.startswith(shown) else "")
        shown = whole if whole.startswith(shown) else shown
    return pieces
