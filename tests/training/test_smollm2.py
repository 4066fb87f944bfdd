"""Training with LoRA on a real language model and real prompts: three steps, from the data file to the adapter."""

import json
import math
from pathlib import Path

import pytest
import torch

from em_hf import EntropyTrace, enable_entropy_min
from em_hf.methods import METHODS
from em_hf.models import encode_prompts, load_model, unwrap_model
from em_hf.training.measure import measure
from em_hf.training.prepare import load_data
from em_hf.training.run import train
from em_hf.training.settings import RunSettings
from tests.smollm2 import with_first_layers

TOKENS = 16


@pytest.fixture(scope="module")
def prompts(shared_data: Path) -> list[str]:
    """The two shortest questions of GSM8K's training split."""
    lines = (shared_data / "gsm8k_train.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted((json.loads(line)["question"] for line in lines), key=len)[:2]


def test_three_steps_of_lora_lower_the_entropy_and_the_adapter_saves_loads_and_decodes(
    smollm2: Path, prompts: list[str], tmp_path: Path
) -> None:
    data = tmp_path / "prompts.jsonl"
    data.write_text("".join(json.dumps({"question": prompt}) + "\n" for prompt in prompts))
    settings = RunSettings.resolve(
        {
            "model": str(smollm2),
            "dataset": str(data),
            "device": "cpu",
            "lora": True,
            "steps": 3,
            "batch_size": 2,
            "num_generations": 2,
            "learning_rate": 4e-4,
            "loss_reduction": "token_mean",
            "max_completion_length": TOKENS,
            "eval_problems": 0,
            "save_steps": 3,
            "entropy_min": {"n_grad_steps": 7},
        }
    )
    run = tmp_path / "run"
    train(settings, run)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3] and all(line["grad_norm"] > 0 for line in log)

    model, tokenizer = load_model(str(run), device="cpu")
    assert (run / "adapter_model.safetensors").is_file() and not (run / "model.safetensors").exists()
    assert unwrap_model(model).generation_config.entropy_min_config["n_grad_steps"] == 7
    after = measure(model, tokenizer, prompts, None, name="after", max_new_tokens=TOKENS, samples=4)
    with model.disable_adapter():
        before = measure(model, tokenizer, prompts, None, name="before", max_new_tokens=TOKENS, samples=4)
    assert after.entropy < 0.8 * before.entropy, (after.entropy, before.entropy)

    enable_entropy_min(model)
    batch = encode_prompts(tokenizer, prompts)
    trace = EntropyTrace()
    torch.manual_seed(0)
    out = model.generate(**batch, do_sample=True, max_new_tokens=8, entropy_min=True, entropy_trace=trace)
    assert out.shape == (2, batch["input_ids"].shape[1] + 8)
    moved = trace.adjusted
    assert bool(moved.any()) and bool((trace.after[moved] < trace.before[moved]).all())


@pytest.fixture(scope="module")
def short(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 with its first layers only: what these tests show does not depend on its words."""
    return with_first_layers(smollm2, tmp_path_factory.mktemp("short"))


# One method per trainer and kind of reward: the others differ in the reward alone (tests/training/test_rewards.py).
@pytest.mark.parametrize("method", ["em-ft", "em-rl-token", "grpo", "sft", "ssd"])
def test_every_method_takes_three_steps_with_lora_on_real_prompts(
    method: str, short: Path, shared_data: Path, tmp_path: Path
) -> None:
    """Through the chat template; the base weights stay, the adapter moves wherever there is something to learn."""
    lines = (shared_data / "gsm8k_train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = sorted(map(json.loads, lines), key=lambda row: len(row["question"]))[:2]
    data = tmp_path / "prompts.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = RunSettings.resolve(
        {
            "method": method,
            "model": str(short),
            "dataset": str(data),
            "device": "cpu",
            "lora": True,
            "lora_rank": 4,
            "steps": 3,
            "batch_size": 2,
            "num_generations": 2,
            "learning_rate": 1e-3,
            "max_completion_length": 10,
            "eval_problems": 0,
            "guard": False,
        }
    )
    model, tokenizer = load_model(str(short), device="cpu")
    before = {name: value.clone() for name, value in model.named_parameters() if "layers.0." in name}
    prompts, _, _ = load_data(settings)
    assert (prompts.answers is not None) == (METHODS[method].needs == "answers")
    trainer = METHODS[method].builder()(settings, model, tokenizer, prompts, tmp_path, [])
    trainer.train()
    logs = [line for line in trainer.state.log_history if "loss" in line]
    assert len(logs) == 3 and all(math.isfinite(line["loss"]) and line["entropy"] > 0 for line in logs)
    trained = {name: value for name, value in trainer.model.named_parameters() if value.requires_grad}
    assert trained and all("lora" in name for name in trained)
    for name, value in trainer.model.named_parameters():
        plain = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
        assert plain not in before or torch.equal(value, before[plain]), name
    answered = METHODS[method].needs == "answers"
    if answered:  # ten tokens never get as far as an answer
        assert all(line["reward"] == 0 for line in logs)
    moved = max(float(value.abs().max()) for name, value in trained.items() if "lora_B" in name)
    assert answered or moved > 1e-4
