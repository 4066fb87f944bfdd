"""EM-INF on a real language model with real prompts: SmolLM2-135M-Instruct and GSM8K."""

import json
from pathlib import Path

import torch

from em_hf import CoupledSampling, EntropyMinConfig, EntropyTrace, enable_entropy_min
from em_hf.models import encode_prompts, load_model
from tests.reference import entropy, minimize_entropy_row


def test_a_padded_batch_of_gsm8k_prompts_decodes_with_entropies_that_only_fall(
    smollm2: Path, shared_data: Path
) -> None:
    lines = (shared_data / "gsm8k_test.jsonl").read_text(encoding="utf-8").splitlines()
    questions = sorted((json.loads(line)["question"] for line in lines[:40]), key=len)[:6]
    model, tokenizer = load_model(str(smollm2))
    enable_entropy_min(model)
    batch = encode_prompts(tokenizer, questions)
    assert (batch["attention_mask"] == 0).any()
    trace = EntropyTrace()
    out = model.generate(
        **batch,
        do_sample=True,
        top_k=0,
        max_new_tokens=12,
        entropy_min=[False, False, True, True, EntropyMinConfig(n_grad_steps=10), {"method": "adaptive_temperature"}],
        entropy_trace=trace,
        coupled=CoupledSampling(0),
        output_logits=True,
        return_dict_in_generate=True,
    )
    kept = trace.before.isfinite()
    assert trace.before.shape == (6, out.sequences.shape[1] - batch["input_ids"].shape[1])
    assert (trace.after[kept] <= trace.before[kept] + 1e-4).all()
    assert not trace.adjusted[:2].any() and all(trace.adjusted[row].any() for row in range(2, 6))
    assert torch.equal(trace.after[:2][kept[:2]], trace.before[:2][kept[:2]])
    # the model's own logits of a step, put through the naive program
    for step, row in ((0, 2), (5, 3), (0, 4)):
        z = out.logits[step][row].double()
        new = minimize_entropy_row(z, n_grad_steps=10 if row == 4 else 3)
        assert abs(float(trace.before[row, step]) - float(entropy(z))) < 1e-4
        assert abs(float(trace.after[row, step]) - float(entropy(new))) < 1e-3
        token = int((new + CoupledSampling(0).noise(step, z.numel())).argmax())
        assert token == int(out.sequences[row, batch["input_ids"].shape[1] + step])
