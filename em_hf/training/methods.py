"""The registry of training methods, as data: to add a method is to add an entry. Imports nothing heavy."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Method:
    """A training method.

    Args:
        title: how tables and cards call it.
        summary: one line for `--list-methods`.
        objective: the formula that is minimized or maximized.
        needs_answers: whether labels are used. A method that does not never sees them.
        build: `module:function`, called as `build(settings, model, tokenizer, prompts, folder, callbacks)`, gives a
            transformers Trainer.
    """

    title: str
    summary: str
    objective: str
    needs_answers: bool
    build: str

    def builder(self) -> Callable[..., Any]:
        module, name = self.build.split(":")
        return getattr(import_module(module), name)


METHODS = {
    "em-ft": Method(
        title="EM-FT",
        summary="fine-tune on the token entropy of the model's own samples, without labels",
        objective="minimize 1/N Σ_i Σ_t H(π(·|x_i, y_i,<t)) over outputs y_i sampled from the model itself",
        needs_answers=False,
        build="em_hf.training.em_ft:build_trainer",
    ),
}
