"""One prompt decoded by llama.cpp from a GGUF file, plain and with EM-INF, as `side_by_side` and `repeat` do it."""

import codecs
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from em_hf.compare.repeat import Repeated, repeated
from em_hf.compare.side_by_side import Comparison, LatestTrace, Step, Token, collect
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.coupling import CoupledSampling, CoupledSamplingLogitsProcessor
from em_hf.generation.llama_cpp import EntropyMinLlamaCppProcessor


def decode_gguf(
    llm: Any,
    prompt: str,
    rows: Sequence[EntropyMinConfig | None],
    *,
    coupled: CoupledSampling,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    chat_template: bool = True,
) -> Generator[Step, None, None]:
    """Decode one prompt in as many rows as there are settings, one row after the other, all from the same noise.

    llama.cpp holds one text, so each step has one row's token, and None for the others; `join_rows` puts the steps of
    a whole decode together. Closing the generator stops the decoding.

    Args:
        llm (llama_cpp.Llama): The model; see `load_gguf`.
        prompt (str): The prompt, put into the file's chat template where it has one.
        rows (sequence of EntropyMinConfig or None): EM-INF's settings per row; None decodes plain.
        coupled (CoupledSampling): The noise.
        max_new_tokens (int), temperature (float), top_k (int), top_p (float): As for `decode_steps`.
        chat_template (bool, default True): Use the template; False gives the model the prompt as it is.

    Raises:
        ValueError: The prompt leaves no room in the context.
    """
    ids = llm.tokenize(_formatted(llm, prompt, chat_template).encode(), add_bos=True, special=True)
    room = min(max_new_tokens, llm.n_ctx() - len(ids))
    if room < 1:
        raise ValueError(f"the prompt has {len(ids)} tokens, but the context holds {llm.n_ctx()}: shorten it")
    warpers = LogitsProcessorList()
    if temperature != 1:
        warpers.append(TemperatureLogitsWarper(temperature))
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    drawn: list[list[int]] = []  # by each row
    for row, config in enumerate(rows):
        drawn.append([])
        processor = _Coupled(config or False, coupled, warpers)
        for token in _tokens(llm, ids, room, processor, drawn):
            cells: list[Token | None] = [None] * len(rows)
            cells[row] = token
            yield Step(len(drawn[row]) - 1, cells, 0.0, 0.0)


def join_rows(steps: Sequence[Step]) -> list[Step]:
    """Return the steps of `decode_gguf` as those of a decode whose rows grew together."""
    rows = [[token for step in steps if (token := step.rows[row])] for row in range(len(steps[0].rows) if steps else 0)]
    length = max(map(len, rows), default=0)
    return [Step(i, [row[i] if i < len(row) else None for row in rows], 0.0, 0.0) for i in range(length)]


def compare_gguf(
    llm: Any, prompt: str, config: EntropyMinConfig, *, seed: int = 0, answer: str | None = None, **settings: Any
) -> Comparison:
    """Sample a prompt's continuation with and without EM-INF, both from the noise of `CoupledSampling(seed)`.

    Args:
        config (EntropyMinConfig): EM-INF's settings.
        seed (int): Of the noise.
        answer (str, optional): The known answer of the prompt.
        others: As for `decode_gguf`.

    Raises:
        ValueError: The prompt leaves no room in the context.
    """
    steps = decode_gguf(llm, prompt, [None, config], coupled=CoupledSampling(seed), **settings)
    return collect(join_rows(list(steps)), seed=seed, answer=answer)


def repeat_gguf(
    llm: Any,
    prompt: str,
    config: EntropyMinConfig,
    *,
    n: int = 32,
    answer: str | None = None,
    seed: int = 0,
    **settings: Any,
) -> Iterator[Repeated]:
    """Draw `n` samples plain and `n` with EM-INF, and yield what there is after each pair; see `repeat`."""
    texts: tuple[list[str], list[str]] = ([], [])
    for sample in range(n):
        coupled = CoupledSampling(seed, groups=[sample])
        steps = join_rows(list(decode_gguf(llm, prompt, [None, config], coupled=coupled, **settings)))
        both = collect(steps, seed=seed)
        texts[0].append(both.plain.text)
        texts[1].append(both.em.text)
        yield repeated(texts[0][:], texts[1][:], answer)


class _Coupled(EntropyMinLlamaCppProcessor):
    """EM-INF, then temperature, top-k and top-p, then the draw: only the chosen token is left to llama.cpp."""

    def __init__(self, entropy_min: Any, coupled: CoupledSampling, warpers: LogitsProcessorList) -> None:
        self.trace, self.steps = LatestTrace(), 0
        super().__init__(entropy_min, self.trace)
        self.draw = CoupledSamplingLogitsProcessor(coupled)
        self.warpers = warpers
        self.after = torch.empty(0)  # probabilities `[V]` of the last step, at temperature 1

    def step(self, logits: Tensor) -> Tensor:
        logits = super().step(logits)
        self.after = logits[0].softmax(-1)
        # transformers asks for torch.LongTensor, which no function of torch is annotated to return.
        so_far: Any = torch.zeros(1, self.steps, dtype=torch.long, device="cpu")
        self.steps += 1
        return self.draw(so_far, self.warpers(so_far, logits))


def _tokens(llm: Any, ids: list[int], room: int, processor: _Coupled, drawn: list[list[int]]) -> Iterator[Token]:
    """Yield one row's tokens, and append them to the last list of `drawn`; the others are the rows before it."""
    *others, mine = drawn
    ends = {llm.token_eos(), int(llm.metadata.get("tokenizer.ggml.eot_token_id", -1))}
    text = codecs.getincrementaldecoder("utf-8")(errors="replace")  # a character may take several tokens
    trace = processor.trace
    llm.reset()
    for token in llm.generate(list(ids), temp=0.0, repeat_penalty=1.0, logits_processor=[processor]):
        if processor.error is not None:
            raise processor.error
        place = len(mine)
        mine.append(token)
        last = len(mine) == room or token in ends
        drew = [row[place] if place < len(row) else token for row in others] + [token]
        special = not llm.detokenize([token], special=False)
        yield Token(
            token,
            text.decode(llm.detokenize([token], special=True), last),
            special,
            float(trace.before[0, 0]),
            float(trace.after[0, 0]),
            bool(trace.adjusted[0, 0]),
            [],
            tuple(processor.after[drew].tolist()),
        )
        if last:
            return


def _formatted(llm: Any, prompt: str, chat_template: bool) -> str:
    template = llm.metadata.get("tokenizer.chat_template")
    if not (chat_template and template):
        return prompt
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    special = [llm.detokenize([token], special=True).decode() for token in (llm.token_eos(), llm.token_bos())]
    return Jinja2ChatFormatter(template, *special)(messages=[{"role": "user", "content": prompt}]).prompt
