"""One prompt decoded by llama.cpp from a GGUF file, plain and with EM-INF, as `compare_decoding` does it."""

from typing import Any

from em_hf.compare.side_by_side import Comparison, compare_decoding
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.gguf import GgufModel, GgufTokenizer
from em_hf.models import encode_prompts


def compare_gguf(
    llm: Any,
    prompt: str,
    config: EntropyMinConfig,
    *,
    seed: int = 0,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    chat_template: bool = True,
) -> Comparison:
    """Sample a prompt's continuation with and without EM-INF, both from the noise of `CoupledSampling(seed)`.

    Args:
        llm (llama_cpp.Llama): The model; see `load_gguf`.
        prompt (str): The prompt, put into the file's chat template where it has one.
        config (EntropyMinConfig): EM-INF's settings.
        seed (int), max_new_tokens (int), temperature (float), top_k (int), top_p (float): As for `compare_decoding`.
        chat_template (bool, default True): Use the template; False gives the model the prompt as it is.

    Raises:
        ValueError: The prompt leaves no room in the context.
    """
    tokenizer: Any = GgufTokenizer(llm)
    inputs = encode_prompts(tokenizer, [prompt], chat_template=chat_template, limit=llm.n_ctx() - 1)
    room = min(max_new_tokens, llm.n_ctx() - inputs["input_ids"].shape[1])
    draw: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    return compare_decoding(GgufModel(llm), tokenizer, inputs, config, seed=seed, max_new_tokens=room, **draw)
