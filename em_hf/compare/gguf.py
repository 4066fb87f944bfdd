"""One prompt decoded twice by llama.cpp from a GGUF file, plain and with EM-INF, as `compare_decoding` does it."""

from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from em_hf.compare.side_by_side import Comparison, Decoded
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.coupling import CoupledSampling, CoupledSamplingLogitsProcessor
from em_hf.generation.llama_cpp import EntropyMinLlamaCppProcessor
from em_hf.generation.trace import EntropyTrace


def compare_gguf(
    llm: Any,
    prompt: str,
    config: EntropyMinConfig,
    *,
    seed: int = 0,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    chat_template: bool = True,
) -> Comparison:
    """Sample a prompt's continuation with and without EM-INF, both from the noise of `CoupledSampling(seed)`.

    Args:
        llm (llama_cpp.Llama): The model; see `load_gguf`.
        prompt (str): The prompt, put into the file's chat template where it has one.
        config (EntropyMinConfig): EM-INF's settings.
        seed (int), max_new_tokens (int), temperature (float), top_k (int), top_p (float): As for `compare_decoding`.
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
    runs = [_decode(llm, ids, room, _Coupled(entry, CoupledSampling(seed), warpers)) for entry in (False, config)]
    (plain, plain_ids), (em, em_ids) = runs
    pairs = zip(plain_ids + [None] * (len(em_ids) - len(plain_ids)), em_ids + [None] * (len(plain_ids) - len(em_ids)))
    diverges_at = next((i for i, (one, other) in enumerate(pairs) if one != other), None)
    return Comparison(plain, em, diverges_at, seed)


class _Coupled(EntropyMinLlamaCppProcessor):
    """EM-INF, then temperature, top-k and top-p, then the draw: only the chosen token is left to llama.cpp."""

    def __init__(self, entropy_min: Any, coupled: CoupledSampling, warpers: LogitsProcessorList) -> None:
        self.trace = EntropyTrace()
        super().__init__(entropy_min, self.trace)
        self.draw = CoupledSamplingLogitsProcessor(coupled)
        self.warpers = warpers

    def step(self, logits: Tensor) -> Tensor:
        logits = super().step(logits)
        # transformers asks for torch.LongTensor, which no function of torch is annotated to return.
        so_far: Any = torch.zeros(1, len(self.trace) - 1, dtype=torch.long, device="cpu")
        return self.draw(so_far, self.warpers(so_far, logits))


def _decode(llm: Any, ids: list[int], room: int, processor: _Coupled) -> tuple[Decoded, list[int]]:
    tokens: list[int] = []
    ends = {llm.token_eos(), int(llm.metadata.get("tokenizer.ggml.eot_token_id", -1))}
    llm.reset()
    for token in llm.generate(list(ids), temp=0.0, repeat_penalty=1.0, logits_processor=[processor]):
        if processor.error is not None:
            raise processor.error
        tokens.append(token)
        if len(tokens) == room or token in ends:
            break
    shown = [llm.detokenize([token], special=True).decode(errors="replace") for token in tokens]
    text = llm.detokenize(tokens).decode(errors="replace")
    trace, count = processor.trace, len(tokens)
    columns = (trace.before, trace.after, trace.adjusted)
    return Decoded(text, shown, *(column[0, :count].tolist() for column in columns)), tokens


def _formatted(llm: Any, prompt: str, chat_template: bool) -> str:
    template = llm.metadata.get("tokenizer.chat_template")
    if not (chat_template and template):
        return prompt
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    special = [llm.detokenize([token], special=True).decode() for token in (llm.token_eos(), llm.token_bos())]
    return Jinja2ChatFormatter(template, *special)(messages=[{"role": "user", "content": prompt}]).prompt
