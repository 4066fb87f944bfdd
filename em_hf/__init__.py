"""Entropy minimization (EM) for language models: while decoding (EM-INF), by fine-tuning (EM-FT) and by RL (EM-RL).

Importing this package imports neither torch nor transformers; a public name imports its module on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; at run time __getattr__ below does it
    __version__: str
    from em_hf.entropy import linear_entropy as linear_entropy
    from em_hf.entropy import token_entropy as token_entropy
    from em_hf.generation.config import EntropyMinConfig as EntropyMinConfig
    from em_hf.generation.coupling import CoupledSampling as CoupledSampling
    from em_hf.generation.minimize import adaptive_temperature as adaptive_temperature
    from em_hf.generation.minimize import minimize_entropy as minimize_entropy
    from em_hf.generation.mixin import EntropyMinGenerationMixin as EntropyMinGenerationMixin
    from em_hf.generation.mixin import disable_entropy_min as disable_entropy_min
    from em_hf.generation.mixin import enable_entropy_min as enable_entropy_min
    from em_hf.generation.processors import AdaptiveTemperatureLogitsProcessor as AdaptiveTemperatureLogitsProcessor
    from em_hf.generation.processors import EntropyMinLogitsProcessor as EntropyMinLogitsProcessor
    from em_hf.generation.trace import EntropyTrace as EntropyTrace
    from em_hf.training.callbacks import EntropyCallback as EntropyCallback
    from em_hf.training.collapse import EntropyCollapseCallback as EntropyCollapseCallback
    from em_hf.training.em_ft import EMFTConfig as EMFTConfig
    from em_hf.training.em_ft import EMFTTrainer as EMFTTrainer
    from em_hf.training.em_rl import EMRLConfig as EMRLConfig
    from em_hf.training.em_rl import EMRLTrainer as EMRLTrainer
    from em_hf.training.losses import entropy_loss as entropy_loss

_HOME = {
    "token_entropy": "em_hf.entropy",
    "linear_entropy": "em_hf.entropy",
    "EntropyMinConfig": "em_hf.generation.config",
    "minimize_entropy": "em_hf.generation.minimize",
    "adaptive_temperature": "em_hf.generation.minimize",
    "EntropyMinLogitsProcessor": "em_hf.generation.processors",
    "AdaptiveTemperatureLogitsProcessor": "em_hf.generation.processors",
    "EntropyMinGenerationMixin": "em_hf.generation.mixin",
    "enable_entropy_min": "em_hf.generation.mixin",
    "disable_entropy_min": "em_hf.generation.mixin",
    "EntropyTrace": "em_hf.generation.trace",
    "CoupledSampling": "em_hf.generation.coupling",
    "EMFTConfig": "em_hf.training.em_ft",
    "EMFTTrainer": "em_hf.training.em_ft",
    "EMRLConfig": "em_hf.training.em_rl",
    "EMRLTrainer": "em_hf.training.em_rl",
    "EntropyCallback": "em_hf.training.callbacks",
    "EntropyCollapseCallback": "em_hf.training.collapse",
    "entropy_loss": "em_hf.training.losses",
}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # the version is defined only in pyproject.toml

        value: Any = version("em-hf")
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'em_hf' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
