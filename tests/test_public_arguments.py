"""What public functions make of arguments of any type: they take them or name them, and never fail from within."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import em_hf
from em_hf import EntropyMinConfig

LOGITS = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
# The right arguments, and how many of them are tried with wrong values.
CALLS: dict[str, tuple[tuple[Any, ...], int]] = {
    "token_entropy": ((LOGITS,), 1),
    "linear_entropy": ((torch.ones(2, 3, 4), torch.ones(7, 4), torch.ones(7)), 3),
    "entropy_loss": (({"logits": torch.ones(1, 2, 5)}, torch.ones(1, 2, dtype=torch.int64)), 2),
    "minimize_entropy": ((LOGITS, EntropyMinConfig(), torch.ones(2, dtype=torch.bool)), 3),
    "adaptive_temperature": ((LOGITS, EntropyMinConfig(), torch.ones(2, dtype=torch.bool)), 3),
    "EntropyMinLogitsProcessor": ((EntropyMinConfig(),), 1),
    "AdaptiveTemperatureLogitsProcessor": ((EntropyMinConfig(),), 1),
    "CoupledSampling": ((0,), 1),
    "enable_entropy_min": ((None,), 1),
    "disable_entropy_min": ((None,), 1),
}
WRONG = ["x", 3.5, -1, [1.0, 2.0], {"a": 1}, object(), float("nan"), torch.tensor(1.0), torch.arange(4), torch.ones(0)]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(("name", "place"), [(name, i) for name, (_, n) in CALLS.items() for i in range(n)])
def test_an_argument_of_any_type_is_taken_or_named_in_one_line(name: str, place: int, wrong: Any) -> None:
    call: Callable[..., Any] = getattr(em_hf, name)
    arguments = list(CALLS[name][0])
    arguments[place] = wrong
    try:
        call(*arguments)
    except ValueError as error:
        assert "\n" not in str(error) and str(error)


def test_settings_may_be_a_dict() -> None:
    settings = {"n_grad_steps": 1}
    for name in ("minimize_entropy", "adaptive_temperature"):
        call = getattr(em_hf, name)
        assert torch.equal(call(LOGITS, settings), call(LOGITS, EntropyMinConfig(**settings)))
        with pytest.raises(ValueError, match="has no field 'steps'"):
            call(LOGITS, {"steps": 1})
