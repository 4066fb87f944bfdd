"""ZeroGPU: functions that use the model are registered with `spaces` if it is installed. Imported before torch."""

from collections.abc import Callable
from typing import Any, TypeVar

try:
    import spaces
except ImportError:
    spaces = None

Function = TypeVar("Function", bound=Callable[..., Any])


def on_gpu(seconds: Callable[..., int]) -> Callable[[Function], Function]:
    """Return a decorator: on ZeroGPU a call has a GPU for `seconds(*arguments)`; elsewhere the function is unchanged.

    On ZeroGPU, arguments and results cross a process boundary: they must be picklable and hold no model.
    """
    if spaces is None:
        return lambda function: function
    return spaces.GPU(duration=seconds)
