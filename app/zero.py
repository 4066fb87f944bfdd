"""ZeroGPU: what uses the model is announced to `spaces` where that is installed. Imported before torch."""

from collections.abc import Callable
from typing import Any, TypeVar

try:
    import spaces
except ImportError:
    spaces = None

Function = TypeVar("Function", bound=Callable[..., Any])


def on_gpu(seconds: Callable[..., int]) -> Callable[[Function], Function]:
    """A decorator: on ZeroGPU a call has a GPU for `seconds(*arguments)`; elsewhere the function stays as it is.

    Arguments and results cross a process border there: they must pickle, and hold no model.
    """
    if spaces is None:
        return lambda function: function
    return spaces.GPU(duration=seconds)
