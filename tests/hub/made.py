"""Run folders made in code, in the shape that `em-hf train` writes: tiny random models, records with known figures."""

import json
from pathlib import Path
from typing import Any

SETTINGS = {"threshold": 0.3, "n_grad_steps": 3, "learning_rate": 0.1, "kl_weight": 0.05, "optimizer": "adam"}

BASE_COMMIT = "5f0c9b1e7a2d4836" * 2 + "5f0c9b1e"

# What `run.json` holds of a full run; tests override or drop entries.
FACTS: dict[str, Any] = {
    "em_hf": "0.1.0",
    "name": "first",
    "status": "finished",
    "method": "em-ft",
    "base_model": "some-lab/tiny-llama",
    "base_revision": BASE_COMMIT,
    "dataset": {
        "name": "openai/gsm8k",
        "split": "train",
        "prompt_column": "question",
        "answer_column": None,
        "n": 512,
        "fingerprint": "9f2c61",
    },
    "settings": {
        "steps": 3,
        "batch_size": 8,
        "learning_rate": 0.0001,
        "lora": False,
        "limit": None,
        "entropy_min": SETTINGS,
    },
    "entropy_min": {"method": "logit_optimization", **SETTINGS},
    "lora": False,
    "seed": 7,
    "versions": {"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0", "trl": None},
    "command": "em-hf train --model some-lab/tiny-llama --steps 3",
    "started": "2026-11-01T10:00:00Z",
    "finished": "2026-11-01T10:00:09Z",
    "steps_done": 3,
}
# Seconds count from the beginning; entropies and lengths are those of the step.
LOG = [
    {"step": 1, "seconds": 3.0, "loss": 31.5, "entropy": 1.25, "completion_length": 25.0, "tokens": 200.0},
    {"step": 2, "seconds": 6.5, "loss": 24.0, "entropy": 1.0, "completion_length": 24.0, "tokens": 192.0},
    {"step": 3, "seconds": 9.25, "loss": 17.25, "entropy": 0.75, "completion_length": 23.0, "tokens": 184.0},
]
RESULTS: dict[str, Any] = {
    "sampling": {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": 16, "seed": 5, "samples": 4},
    "n": 200,
    "rows": [
        {
            "name": "base",
            "accuracy": 0.64,
            "low": 0.575,
            "high": 0.7,
            "entropy": 0.4,
            "completion_length": 40,
            "seconds": 2,
        },
        {
            "name": "EM-FT",
            "accuracy": 0.845,
            "low": 0.79,
            "high": 0.89,
            "entropy": 0.1,
            "completion_length": 41,
            "seconds": 2,
        },
    ],
}


def make_model(folder: Path, *, seed: int = 0) -> Path:
    """A random Llama of two layers and a byte-level tokenizer, saved to `folder`; small, and encodes any text."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = ["<pad>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bpe = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="<eos>").save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    # Sharper than random weights are, so that entropies differ from token to token: 1 to 4 nats.
    model.lm_head.weight.data.mul_(30)
    model.generation_config._from_model_config = False
    model.generation_config.entropy_min_config = FACTS["entropy_min"]
    model.save_pretrained(folder)
    return folder


def make_adapter(folder: Path, base: Path) -> Path:
    """A LoRA adapter of rank 2 with random weights on the model in `base`, saved to `folder` with its tokenizer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        lora = get_peft_model(model, LoraConfig(r=2, task_type="CAUSAL_LM", init_lora_weights=False))
    lora.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def record(folder: Path, *, log: Any = LOG, results: Any = RESULTS, drop: tuple[str, ...] = (), **facts: Any) -> Path:
    """Write the records of a run into `folder`: FACTS without `drop`, with `facts` over them."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"steps_done": len(log), **facts}
    kept = {key: value for key, value in {**FACTS, **facts}.items() if key not in drop}
    (folder / "run.json").write_text(json.dumps(kept))
    (folder / "log.jsonl").write_text("".join(json.dumps(step) + "\n" for step in log))
    if results is not None:
        (folder / "results.json").write_text(json.dumps(results))
    return folder
