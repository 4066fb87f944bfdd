"""A GGUF file as a model for `generate`, for real: SmolLM2 in llama.cpp, beside llama.cpp's own decoding."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from em_hf import EntropyTrace, enable_entropy_min
from em_hf.compare.side_by_side import decode_steps
from em_hf.generation import gguf
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.gguf import GgufModel, GgufTokenizer
from em_hf.generation.llama_cpp import load_gguf
from em_hf.models import encode_prompts


@pytest.fixture(scope="module")
def llm(smollm2_gguf: Path) -> Iterator[Any]:
    model = load_gguf(smollm2_gguf, n_ctx=256, n_threads=1, logits_all=True)
    yield model
    model.close()


@pytest.fixture
def model(llm: Any) -> Any:
    return enable_entropy_min(GgufModel(llm))


def own_logits(llm: Any, tokens: list[int]) -> Tensor:
    """What llama-cpp-python itself computes for the token after these."""
    llm.reset()
    llm.eval(tokens)
    return torch.from_numpy(llm.scores[len(tokens) - 1].copy())


def same_distribution(new: Tensor, wanted: Tensor) -> None:
    # Batches of another size take other kernels, whose quantized activations round differently.
    torch.testing.assert_close(new.softmax(-1), wanted.softmax(-1), atol=2e-2, rtol=0)
    assert float((new - wanted).abs().mean()) < 0.1


def test_logits_are_llama_cpps_for_rows_that_part_and_for_padded_prompts(llm: Any, model: Any) -> None:
    prompt = llm.tokenize(b"The sea in winter is")
    same = torch.tensor([prompt, prompt])
    first = model(same).logits
    assert first.shape == (2, 1, llm.n_vocab()) and torch.equal(first[0], first[1])
    same_distribution(first[0, 0], own_logits(llm, prompt))
    parted = torch.cat([same, torch.tensor([[100], [2000]])], 1)
    for row, new in zip(parted.tolist(), model(parted).logits[:, 0]):
        same_distribution(new, own_logits(llm, row))
    padded = torch.tensor([[0, 0, *prompt], [*llm.tokenize(b"Once"), 5, *prompt][: len(prompt) + 2]])
    mask = (torch.arange(len(prompt) + 2) >= torch.tensor([[2], [0]])).long()
    out = model(padded, mask).logits[:, 0]
    same_distribution(out[0], own_logits(llm, prompt))
    same_distribution(out[1], own_logits(llm, padded[1].tolist()))


def test_greedy_text_is_llama_cpps(llm: Any, model: Any) -> None:
    wanted = llm.create_completion("The capital of France is", max_tokens=8, temperature=0.0)["choices"][0]["text"]
    tokenizer: Any = GgufTokenizer(llm)
    inputs = encode_prompts(tokenizer, ["The capital of France is"], chat_template=False)
    out = model.generate(**inputs, do_sample=False, max_new_tokens=8)
    assert tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True) == wanted


def test_a_context_that_is_full_grows(llm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer: Any = GgufTokenizer(llm)
    inputs = encode_prompts(tokenizer, ["Count: one, two,"] * 2, chat_template=False)
    roomy, tight = GgufModel(llm), GgufModel(llm)
    wanted = roomy.generate(**inputs, do_sample=False, max_new_tokens=12)
    begun = []
    monkeypatch.setattr(gguf, "_ROOM", 0)
    real = GgufModel._begin
    monkeypatch.setattr(GgufModel, "_begin", lambda *args: begun.append(1) or real(*args))
    assert torch.equal(tight.generate(**inputs, do_sample=False, max_new_tokens=12), wanted)
    assert len(begun) > 1


def test_each_row_has_its_settings_and_the_trace_is_the_models(llm: Any, model: Any) -> None:
    tokenizer: Any = GgufTokenizer(llm)
    inputs = encode_prompts(tokenizer, ["Name a colour."] * 2)
    trace = EntropyTrace()
    strong = EntropyMinConfig(n_grad_steps=60, kl_weight=0.0)
    model.generate(**inputs, max_new_tokens=6, entropy_min=[False, strong], entropy_trace=trace)
    wanted = torch.special.entr(own_logits(llm, inputs["input_ids"][0].tolist()).softmax(-1)).sum()
    assert trace.before[:, 0].tolist() == pytest.approx([float(wanted)] * 2, abs=0.1)
    assert not trace.adjusted[0].any() and trace.adjusted[1].any()
    assert torch.equal(trace.before[0].nan_to_num(), trace.after[0].nan_to_num())


def test_the_live_view_has_its_steps(llm: Any, model: Any) -> None:
    tokenizer: Any = GgufTokenizer(llm)
    inputs = encode_prompts(tokenizer, ["Name three colours."])
    steps = list(decode_steps(model, tokenizer, inputs, [None, EntropyMinConfig()], seed=1, max_new_tokens=5))
    assert len(steps) == 5 and all(row is not None and row.candidates for step in steps for row in step.rows)


def test_tokens_are_those_of_transformers(llm: Any, smollm2: Path) -> None:
    from transformers import AutoTokenizer

    ours: Any = GgufTokenizer(llm)
    theirs = AutoTokenizer.from_pretrained(smollm2)
    for prompts in (["Wie geht's? 日本語 🙂 12345"], [[{"role": "user", "content": "Hi"}]], ["a", "a longer one"]):
        mine, wanted = (encode_prompts(one, prompts) for one in (ours, theirs))
        assert torch.equal(mine["attention_mask"], wanted["attention_mask"])
        seen = wanted["attention_mask"].bool()
        assert torch.equal(mine["input_ids"][seen], wanted["input_ids"][seen])
        for row in mine["input_ids"]:
            assert ours.decode(row, skip_special_tokens=True) == theirs.decode(row, skip_special_tokens=True)
    assert set(theirs.all_special_ids) <= set(ours.all_special_ids)


def test_what_does_not_fit_is_one_line(llm: Any, model: Any) -> None:
    with pytest.raises(ValueError, match="a row has 300 tokens, but the context holds 256"):
        model(torch.ones(1, 300, dtype=torch.long))
    tokenizer: Any = GgufTokenizer(llm)
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "He"}]
    with pytest.raises(ValueError, match="cannot continue"):
        encode_prompts(tokenizer, [messages])


def test_em_hf_generate_draws_pairs_of_samples(smollm2_gguf: Path) -> None:
    import json

    from click.testing import CliRunner
    from em_hf.cli.main import cli

    words = ["generate", "--model", str(smollm2_gguf), "--samples", "3", "--max-new-tokens", "4", "--json"]
    done = CliRunner().invoke(cli, [*words, "Name a colour."], prog_name="em-hf")
    assert done.exit_code == 0, done.stderr
    samples = json.loads(done.stdout)["samples"]
    assert samples["n"] == len(samples["plain"]["texts"]) == len(samples["em"]["texts"]) == 3


def test_a_model_that_nobody_closed_ends_without_a_word(smollm2_gguf: Path) -> None:
    code = f"""if True:
        import builtins, torch
        from em_hf.generation.gguf import load_gguf_model
        model, tokenizer = load_gguf_model({str(smollm2_gguf)!r}, n_ctx=32)
        model(torch.tensor([[1, 2, 3]]))
        builtins.kept = [model, tokenizer]  # outlives every module
        builtins.kept.append(builtins.kept)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_closed_model_has_another_context_at_the_next_call(model: Any) -> None:
    ids = torch.tensor([[5, 6, 7]])
    before = model(ids).logits
    model.close()
    model.close()
    assert torch.equal(model(ids).logits, before)
