"""Compute from counted tokens: the rule of 6PD for training and 2PD for inference (Kaplan et al., 2020, table 1).

P counts the parameters that take part in a token's pass, D the tokens. Attention over the context, which grows with
its length, is left out, as the paper leaves it out.
"""

from typing import Any


def parameter_count(model: Any) -> int:
    """P of a torch module: every parameter once, tied ones (input embedding and LM head) too, frozen ones included."""
    return sum(parameter.numel() for parameter in model.parameters())


def training_flops(parameters: int, tokens: int) -> int:
    """6PD: the forward and backward pass over `tokens` tokens.

    Raises:
        ValueError: a negative number.
    """
    return 6 * _product(parameters, tokens)


def inference_flops(parameters: int, tokens: int) -> int:
    """2PD: a forward pass over `tokens` tokens, or the decoding of as many.

    Raises:
        ValueError: a negative number.
    """
    return 2 * _product(parameters, tokens)


def _product(parameters: int, tokens: int) -> int:
    for name, value in (("parameters", parameters), ("tokens", tokens)):
        if value < 0:
            raise ValueError(f"{name} is {value!r}, but must be at least 0")
    return parameters * tokens
