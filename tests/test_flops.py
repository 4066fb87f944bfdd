"""The compute rule against the paper's own counts and modules small enough to count by hand."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from em_hf.flops import inference_flops, parameter_count, training_flops


def test_a_step_of_em_ft_and_of_rl_cost_what_the_paper_counts() -> None:
    p, n = 7_000_000_000, 1000
    # EM-FT: n tokens sampled and trained on; RL: four samples, each scored by the reference and trained on
    assert inference_flops(p, n) + training_flops(p, n) == 8 * p * n
    assert inference_flops(p, 4 * n) + inference_flops(p, 4 * n) + training_flops(p, 4 * n) == 40 * p * n


def test_whole_numbers_stay_exact_where_floats_would_not() -> None:
    assert training_flops(10**12 + 1, 10**12 + 1) == 6 * (10**24 + 2 * 10**12 + 1)


def test_tied_weights_count_once_and_frozen_ones_count() -> None:
    head = torch.nn.Linear(3, 5, bias=True)
    embedding = torch.nn.Embedding(5, 3)
    embedding.weight = head.weight
    head.bias.requires_grad_(False)
    assert parameter_count(torch.nn.ModuleList([embedding, head])) == 15 + 5


def llama(**changes: Any) -> LlamaForCausalLM:
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "vocab_size": 50}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2, **changes))


def test_an_input_embedding_that_is_not_tied_multiplies_nothing() -> None:
    """Counted by hand: a layer's four projections of 8 x 8, three of 8 x 12 and two norms; the last norm; the head."""
    by_hand = 2 * (4 * 64 + 3 * 96 + 16) + 8 + 50 * 8
    assert parameter_count(llama()) == parameter_count(llama(tie_word_embeddings=True)) == by_hand
    assert sum(p.numel() for p in llama().parameters()) == by_hand + 50 * 8


def test_a_table_of_positions_is_only_looked_up_and_an_adapter_is_counted() -> None:
    gpt2 = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=50, n_positions=64))
    assert parameter_count(gpt2) == sum(p.numel() for p in gpt2.parameters()) - 64 * 8
    adapted = get_peft_model(llama(), LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert parameter_count(adapted) == parameter_count(llama()) + 2 * 2 * (8 + 8)


@pytest.mark.parametrize(("rule", "arguments"), [(training_flops, (-1, 2)), (inference_flops, (2, -1))])
def test_negative_counts_are_refused(rule, arguments) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        rule(*arguments)
