"""A GGUF file as a transformers model: llama.cpp computes the logits, `generate` does the rest.

```python
from em_hf import EntropyTrace, enable_entropy_min
from em_hf.generation.gguf import load_gguf_model
from em_hf.models import encode_prompts

model, tokenizer = load_gguf_model("model.gguf")
inputs, trace = encode_prompts(tokenizer, ["The sea is"]), EntropyTrace()
out = enable_entropy_min(model).generate(**inputs, max_new_tokens=32, entropy_min=True, entropy_trace=trace)
print(tokenizer.batch_decode(out), trace.before)
```

`em_hf.compare` and the app can thus use the file like any other model. The rows of a batch are sequences of one
llama.cpp context, and each step is one pass for all of them.
"""

from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from em_hf.generation.llama_cpp import close_at_exit, load_gguf

CONTEXT = 4096  # tokens; a model's maximum may not fit into memory
_AT_ONCE = 512  # prompt tokens per pass
_ROOM = 256  # new tokens per row that a context initially has room for; it doubles


def load_gguf_model(path: str | Path, **settings: Any) -> "tuple[GgufModel, GgufTokenizer]":
    """Load a GGUF file as a model for `generate`, with its tokenizer.

    Args:
        path (str or Path): The file.
        **settings: As for `load_gguf`; `n_ctx` is 4096 by default.

    Raises:
        ImportError, ValueError: As `load_gguf`.
    """
    llm = load_gguf(path, **{"n_ctx": CONTEXT, **settings})
    return GgufModel(llm), GgufTokenizer(llm)


class GgufModel(PreTrainedModel, GenerationMixin):
    """A causal language model with llama.cpp's forward pass; for `generate`, not for training.

    Args:
        llm (llama_cpp.Llama): The model; see `load_gguf`. Its own context is left unchanged.
    """

    main_input_name = "input_ids"
    device = torch.device("cpu")  # type: ignore[assignment]  # where the logits are; there are no parameters
    dtype = torch.float32

    def __init__(self, llm: Any) -> None:
        size: dict[str, Any] = {"vocab_size": llm.n_vocab(), "max_position_embeddings": llm.n_ctx()}
        super().__init__(PretrainedConfig(**size))
        self._api, self._llm, self._lock = import_module("llama_cpp"), llm, Lock()
        ends = [token for token in special_tokens(llm) if self._api.llama_vocab_is_eog(_vocab(llm), token)]
        # Without transformers' cache, `generate` passes all tokens at each step; `forward` finds out which are new.
        self.generation_config = GenerationConfig(
            use_cache=False, do_sample=True, top_k=0, eos_token_id=ends, pad_token_id=ends[0] if ends else 0
        )
        self._context: Any = None
        self._cells = self._rows = self._used = 0
        self._held: Tensor | None = None  # the tokens `[rows, tokens]` already in the context
        self._lengths: list[int] = []  # how many of them are not padding
        close_at_exit(self)

    def prepare_inputs_for_generation(self, input_ids: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the arguments of `forward`."""
        return {"input_ids": input_ids, "attention_mask": kwargs.get("attention_mask")}

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> CausalLMOutput:
        """Return the logits `[rows, 1, V]` of the next token.

        Args:
            input_ids (Tensor): `[rows, tokens]`. Continuing the last call costs one pass over one token per row.
            attention_mask (Tensor, optional): `[rows, tokens]`, 0 for padding on the left.

        Raises:
            ValueError: A row is longer than the context.
        """
        with self._lock:
            held = self._held
            goes_on = held is not None and torch.equal(input_ids[:, :-1], held)
            if goes_on and self._used + len(input_ids) <= self._cells:
                steps = zip(input_ids[:, -1].tolist(), self._lengths)
                logits = self._decode([(token, at, row) for row, (token, at) in enumerate(steps)])
                self._lengths = [length + 1 for length in self._lengths]
                self._used += len(input_ids)
            else:
                logits = self._begin(input_ids, attention_mask)
            self._held = input_ids.clone()
        return CausalLMOutput(logits=logits[:, None])  # type: ignore[arg-type]

    def _begin(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Compute all rows from their first token, identical rows only once."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        rows = [ids[seen.bool()].tolist() for ids, seen in zip(input_ids, mask)]
        longest, context = max(map(len, rows)), self.config.max_position_embeddings
        if longest > context:
            raise ValueError(f"a row has {longest} tokens, but the context holds {context}: shorten the prompt")
        different = {tuple(row): number for number, row in reversed(list(enumerate(rows)))}
        self._used = sum(map(len, different))
        self._make_room(len(rows), self._used + len(rows) * max(_ROOM, longest))
        memory = self._api.llama_get_memory(self._context)
        self._api.llama_memory_clear(memory, True)
        self._held, results = None, {}
        for tokens, number in different.items():
            for start in range(0, len(tokens), _AT_ONCE):
                part = tokens[start : start + _AT_ONCE]
                out = self._decode([(token, start + i, number) for i, token in enumerate(part)], only_last=True)
            results[tokens] = out[0]
            for row, others in enumerate(rows):
                if row != number and tuple(others) == tokens:
                    self._api.llama_memory_seq_cp(memory, number, row, -1, -1)
        self._lengths = list(map(len, rows))
        return torch.stack([results[tuple(row)] for row in rows])

    def _make_room(self, rows: int, cells: int) -> None:
        """Ensure that there is a context for `rows` rows with room for `cells` tokens in total."""
        if self._context is not None and self._rows == rows and self._cells >= cells:
            return
        self.close()
        params = type(self._llm.context_params).from_buffer_copy(self._llm.context_params)
        params.n_ctx, params.n_seq_max, params.kv_unified = cells, rows, True
        params.n_batch = params.n_ubatch = max(_AT_ONCE, rows)
        self._context = self._api.llama_init_from_model(self._llm.model, params)
        if self._context is None:
            raise MemoryError(f"llama.cpp has no memory for a context of {cells} tokens")
        self._rows, self._cells = rows, cells

    def _decode(self, tokens: Sequence[tuple[int, int, int]], only_last: bool = False) -> Tensor:
        """Decode `tokens` (token, position, row) and return the logits `[len(tokens), V]`, or `[1, V]` of the last."""
        batch = self._api.llama_batch_init(len(tokens), 0, 1)
        try:
            batch.n_tokens = len(tokens)
            for i, (token, position, row) in enumerate(tokens):
                batch.token[i], batch.pos[i] = token, position
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, row
                batch.logits[i] = not only_last or i == len(tokens) - 1
            code = self._api.llama_decode(self._context, batch)
        finally:
            self._api.llama_batch_free(batch)
        if code != 0:
            raise RuntimeError(f"llama.cpp could not decode (llama_decode returned {code})")
        wanted = [len(tokens) - 1] if only_last else range(len(tokens))
        size = (self.config.vocab_size,)
        pointers = [self._api.llama_get_logits_ith(self._context, i) for i in wanted]
        return torch.stack([torch.from_numpy(np.ctypeslib.as_array(one, shape=size).copy()) for one in pointers])

    def close(self) -> None:
        """Free the context; the next call creates another. The `llm` stays open."""
        if self._context is not None:
            self._api.llama_free(self._context)
        self._context = self._held = None

    def __del__(self) -> None:
        if getattr(self, "_context", None) is not None:
            self.close()


class GgufTokenizer:
    """The tokenizer in a GGUF file, with those methods of transformers' tokenizers that decoding needs.

    Args:
        llm (llama_cpp.Llama): The model; see `load_gguf`.
    """

    def __init__(self, llm: Any) -> None:
        self._llm = llm
        self.chat_template: str | None = llm.metadata.get("tokenizer.chat_template")
        self.eos_token_id = llm.token_eos()

    @cached_property
    def all_special_ids(self) -> list[int]:
        return special_tokens(self._llm)

    def __call__(self, texts: list[str], *, add_special_tokens: bool = True, **_: Any) -> dict[str, Tensor]:
        """Return `input_ids` and `attention_mask` of a batch, padded on the left."""
        rows = [self._llm.tokenize(text.encode(), add_bos=add_special_tokens, special=True) for text in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows], dtype=torch.long)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        return {"input_ids": ids, "attention_mask": mask}

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, continue_final_message: bool = False, **_: Any
    ) -> str:
        """Return messages formatted with the file's chat template, up to the start of the answer.

        Raises:
            ValueError: The last message is to be continued, which llama-cpp-python's templates cannot do.
        """
        if continue_final_message:
            raise ValueError("the last message is an assistant's, which a GGUF file's template cannot continue")
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        names = [self.decode([token]) for token in (self._llm.token_eos(), self._llm.token_bos())]
        return Jinja2ChatFormatter(str(self.chat_template), *names)(messages=messages).prompt  # type: ignore[arg-type]

    def decode(self, ids: Any, *, skip_special_tokens: bool = False, **_: Any) -> str:
        """Return the text of tokens; an incomplete character is shown as a replacement character."""
        tokens = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        return self._llm.detokenize(tokens, special=not skip_special_tokens).decode(errors="replace")

    def batch_decode(self, rows: Any, **settings: Any) -> list[str]:
        """Return the text of each row."""
        return [self.decode(row, **settings) for row in rows]


def _vocab(llm: Any) -> Any:
    return import_module("llama_cpp").llama_model_get_vocab(llm.model)


def special_tokens(llm: Any) -> list[int]:
    """Return the tokens that are not text: control tokens and end-of-generation tokens."""
    api, vocab = import_module("llama_cpp"), _vocab(llm)
    tokens = range(llm.n_vocab())
    return [t for t in tokens if api.llama_vocab_is_control(vocab, t) or api.llama_vocab_is_eog(vocab, t)]
