"""FLOPs from token counts: 6PD for training and 2PD for inference (Kaplan et al., 2020, table 1).

P counts the parameters that a token is multiplied with, D the tokens. An input embedding that is not tied to the LM
head is looked up and multiplies nothing, so it is not counted (Kaplan et al. leave embeddings out as well). It is 7% of
Qwen2.5-7B, so figures computed from a model's full size, such as the paper's, are higher by that much. Attention over
the context, which grows with its length, is left out, as in the paper.
"""

from typing import Any


def parameter_count(model: Any) -> int:
    """Return P of a torch module: parameters that multiply, frozen ones included, each once.

    Embeddings that are only looked up (tokens, positions) do not count. One that is tied to the LM head counts once,
    since the head multiplies with it.

    Example:

    ```python
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 0, "vocab_size": 10}
    >>> parameter_count(LlamaForCausalLM(LlamaConfig(**sizes)))  # the head and the last norm, not the embedding
    88

    ```
    """
    from torch.nn import Embedding

    modules = list(model.modules())
    multiplied = {id(p) for m in modules if not isinstance(m, Embedding) for p in m.parameters(recurse=False)}
    return sum(p.numel() for p in model.parameters() if id(p) in multiplied)


def training_flops(parameters: int, tokens: int) -> int:
    """Return 6PD: the forward and backward pass over `tokens` tokens.

    Raises:
        ValueError: A number is negative.
    """
    return 6 * _product(parameters, tokens)


def inference_flops(parameters: int, tokens: int) -> int:
    """Return 2PD: a forward pass over `tokens` tokens, or the decoding of that many.

    Raises:
        ValueError: A number is negative.
    """
    return 2 * _product(parameters, tokens)


def _product(parameters: int, tokens: int) -> int:
    for name, value in (("parameters", parameters), ("tokens", tokens)):
        if value < 0:
            raise ValueError(f"{name} is {value!r}, but must be at least 0")
    return parameters * tokens
