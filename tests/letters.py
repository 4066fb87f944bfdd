"""A model small enough to enumerate, and a tokenizer of letters for it."""

from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LETTERS = ["<pad>", "<eos>", "a", "b", "c", "d", "e", " "]


def letter_tokenizer() -> PreTrainedTokenizerFast:
    """One token a letter; anything else is "e"."""
    model = models.WordLevel({letter: i for i, letter in enumerate(LETTERS)}, unk_token="e")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("<pad>|<eos>|."), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left", unk_token="e"
    )


def letter_model(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """A random Llama over these letters; the same for the same seed."""
    torch.manual_seed(seed)
    settings = {
        "vocab_size": len(LETTERS),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "initializer_range": 0.5,
    }
    return LlamaForCausalLM(LlamaConfig(**{**settings, **changes}))
