"""Decoding with EM-INF on tiny random models of many architectures, against a loop written out by hand."""

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from em_hf import CoupledSampling, EntropyMinConfig, EntropyTrace, enable_entropy_min
from tests.reference import entropy, minimize_entropy_row

SIZES = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
GATED = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 128}
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "initializer_range": 0.4}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Llama": GATED,
    "Mistral": {**GATED, "sliding_window": 6},
    "Qwen2": GATED,
    "Qwen3": {**GATED, "head_dim": 8},
    "Gemma2": {**GATED, "head_dim": 8, "final_logit_softcapping": 5.0, "query_pre_attn_scalar": 8},
    "Gemma3": {**GATED, "head_dim": 8, "query_pre_attn_scalar": 8},
    "Mixtral": {**GATED, "num_local_experts": 4, "num_experts_per_tok": 2},
    "GPT2": {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "GPTNeoX": {**SIZES, "intermediate_size": 48, "max_position_embeddings": 128},
    "Mamba": {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
}
CLASSES = {"Gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM"), "GPT2": ("GPT2Config", "GPT2LMHeadModel")}
CONFIG = EntropyMinConfig(threshold=0.2, n_grad_steps=4)
NEW_TOKENS = 8


def make(name: str) -> Any:
    torch.manual_seed(0)
    config_name, model_name = CLASSES.get(name, (f"{name}Config", f"{name}ForCausalLM"))
    config = getattr(transformers, config_name)(**{**ARCHITECTURES[name], **TOKENS})
    return getattr(transformers, model_name)(config).eval()


def prompts(equal: bool) -> tuple[list[list[int]], dict[str, Tensor]]:
    """Two prompts and the left-padded batch of them."""
    rows = [[5, 9, 11, 40, 7], [17, 33, 21] if not equal else [17, 33, 21, 6, 60]]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    return rows, {"input_ids": ids, "attention_mask": (ids != 0).long()}


def sampled_by_hand(
    model: Any, prompt: list[int], config: EntropyMinConfig | None, seed: int
) -> tuple[list, list, list]:
    """Tokens, entropies before and entropies after, from whole forward passes and the naive step."""
    noise, tokens, before, after = CoupledSampling(seed), list(prompt), [], []
    for step in range(NEW_TOKENS):
        with torch.no_grad():
            z = model(torch.tensor([tokens])).logits[0, -1].double()
        new = minimize_entropy_row(z, config.threshold, config.n_grad_steps) if config else z
        before.append(float(entropy(z)))
        after.append(float(entropy(new)))
        tokens.append(int((new + noise.noise(step, z.numel())).argmax()))
        if tokens[-1] == 2:
            break
    return tokens[len(prompt) :], before, after


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_left_padded_batch_with_settings_a_row_gives_what_the_hand_written_loop_gives(name: str) -> None:
    model = enable_entropy_min(make(name))
    rows, batch = prompts(equal=name == "Mamba")
    trace = EntropyTrace()
    out = model.generate(
        **batch,
        do_sample=True,
        top_k=0,
        max_new_tokens=NEW_TOKENS,
        entropy_min=[None, CONFIG],
        entropy_trace=trace,
        coupled=CoupledSampling(7),
        return_dict_in_generate=True,
    )
    assert out.entropy_trace is trace
    assert trace.before.shape == trace.after.shape == trace.adjusted.shape == (2, out.sequences.shape[1] - 5)
    assert not trace.adjusted[0].any() and trace.adjusted[1].any()
    for i, config in enumerate([None, CONFIG]):
        tokens, before, after = sampled_by_hand(model, rows[i], config, seed=7)
        length = len(tokens)
        assert out.sequences[i, 5 : 5 + length].tolist() == tokens
        torch.testing.assert_close(trace.before[i, :length], torch.tensor(before), atol=2e-3, rtol=0)
        torch.testing.assert_close(trace.after[i, :length], torch.tensor(after), atol=2e-3, rtol=0)
        assert trace.before[i, length:].isnan().all() and trace.after[i, length:].isnan().all()
        assert not trace.adjusted[i, length:].any()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_without_the_argument_or_with_false_decoding_is_transformers_own(name: str) -> None:
    _, batch = prompts(equal=name == "Mamba")
    settings = {"do_sample": True, "max_new_tokens": 6, "temperature": 0.8}
    model = make(name)
    torch.manual_seed(3)
    wanted = model.generate(**batch, **settings)
    enable_entropy_min(model, CONFIG)
    for extra in ({}, {"entropy_min": False}, {"entropy_min": [False, False]}, {"entropy_trace": EntropyTrace()}):
        torch.manual_seed(3)
        assert torch.equal(model.generate(**batch, **settings, **extra), wanted), extra
    torch.manual_seed(3)
    changed = model.generate(**batch, **settings, entropy_min=EntropyMinConfig(n_grad_steps=60, kl_weight=0))
    assert not torch.equal(changed, wanted)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "Mamba"])
def test_a_static_cache_gives_the_same_tokens(name: str) -> None:
    model = enable_entropy_min(make(name))
    _, batch = prompts(equal=False)
    settings = {"do_sample": True, "top_k": 0, "max_new_tokens": 6, "entropy_min": True}
    dynamic = model.generate(**batch, **settings, coupled=CoupledSampling(1))
    static = model.generate(**batch, **settings, coupled=CoupledSampling(1), cache_implementation="static")
    assert torch.equal(dynamic, static)


def test_an_encoder_decoder_model_decodes_with_it() -> None:
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0, eos_token_id=2
    )
    model = enable_entropy_min(transformers.T5ForConditionalGeneration(config).eval())
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    trace = EntropyTrace()
    out = model.generate(
        torch.tensor([[5, 9, 11, 2], [8, 3, 7, 2]]),
        do_sample=True,
        top_k=0,
        max_new_tokens=6,
        entropy_min=[True, False],
        entropy_trace=trace,
        coupled=CoupledSampling(0),
    )
    assert trace.before.shape == (2, out.shape[1] - 1)
    assert trace.adjusted[0].any() and not trace.adjusted[1].any()
    # the first step of row 0, by hand
    with torch.no_grad():
        z = model(torch.tensor([[5, 9, 11, 2]]), decoder_input_ids=torch.tensor([[0]])).logits[0, -1].double()
    assert float(trace.before[0, 0]) == pytest.approx(float(entropy(z)), abs=1e-4)
    assert int(out[0, 1]) == int((minimize_entropy_row(z) + CoupledSampling(0).noise(0, 96)).argmax())


def test_a_peft_model_decodes_with_it_and_its_base_is_what_is_enabled() -> None:
    peft = pytest.importorskip("peft")
    base = make("Llama")
    model = peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    assert enable_entropy_min(model) is model
    rows, batch = prompts(equal=False)
    out = model.generate(
        **batch, do_sample=True, top_k=0, max_new_tokens=NEW_TOKENS, entropy_min=CONFIG, coupled=CoupledSampling(2)
    )
    for i, row in enumerate(rows):
        tokens, _, _ = sampled_by_hand(model, row, CONFIG, seed=2)
        assert out[i, 5 : 5 + len(tokens)].tolist() == tokens
