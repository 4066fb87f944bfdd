"""Faster backends for one EM-INF step: `compiled.py` and `binned.py` for long rows on a CPU, `triton.py` on a GPU.

Each registers itself on import, which happens at the first step on its type of device.
"""

import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module

from em_hf.generation.minimize import BACKENDS

# Modules with a backend for each type of device, the faster one first.
_MODULES = {"cpu": ("compiled", "binned"), "cuda": ("triton",)}


def register_backend(device_type: str, backend: Callable, *, replace: bool = True) -> None:
    """Register `backend` for logit optimization on a type of device, such as `"cpu"`; over another if `replace`."""
    if replace or device_type not in BACKENDS:
        BACKENDS[device_type] = backend


@cache
def import_backend(device_type: str) -> None:
    """Import the first module for this type of device whose backend works."""
    for name in _MODULES.get(device_type, ()):
        try:
            import_module(f"em_hf.generation.{name}")
        except ImportError:  # its library is not installed
            pass
        except Exception as error:  # e.g. a GPU unknown to Triton, or no C compiler: results are the same without it
            warnings.warn(f"EM-INF runs without {name}.py, which fails here: {error!r}", stacklevel=5)
        if device_type in BACKENDS:
            return
