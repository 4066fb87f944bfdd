"""EM-INF's processor in SGLang's own hands: its class, its serialization, and the function that hands rows over.

SGLang imports torchvision, whose builds do not fit PyTorch's CPU build: a stand-in takes its place. What the sampler
imports beyond that needs a GPU's libraries, so its function is run from the installed source.
"""

import ast
import logging
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from em_hf import EntropyMinConfig, minimize_entropy


@pytest.fixture(scope="module", autouse=True)
def without_torchvision() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("torchvision", *(f"torchvision.{part}" for part in ("io", "ops", "transforms", "transforms.v2"))):
            patch.setitem(sys.modules, name, MagicMock(__version__="0.0", __spec__=ModuleSpec(name, None)))
        patch.delitem(sys.modules, "em_hf.generation.sglang", raising=False)  # it takes SGLang's class when imported
        yield


class Batch(SimpleNamespace):
    """What the sampler reads of `SamplingBatchInfo`."""

    def __len__(self) -> int:
        return len(self.custom_params)


@pytest.fixture
def apply() -> Callable[..., None]:
    """SGLang's `apply_custom_logit_processor`."""
    import sglang.srt

    source = (Path(sglang.srt.__path__[0]) / "layers" / "sampler.py").read_text(encoding="utf-8")
    (node,) = (n for n in ast.parse(source).body if getattr(n, "name", "") == "apply_custom_logit_processor")
    names: dict[str, Any] = {"torch": torch, "logger": logging.getLogger(), "SamplingBatchInfo": Batch}
    exec(compile(ast.Module([node], []), "sampler.py", "exec"), names)
    return names["apply_custom_logit_processor"]


def batch(*entropy_min: Any) -> Batch:
    """A batch as the scheduler keeps it: the processor, and the rows of the requests that brought it."""
    from sglang.srt.sampling.custom_logit_processor import CustomLogitProcessor

    from em_hf.generation.sglang import request_fields

    fields = [request_fields(entry) for entry in entropy_min]
    rows = [number for number, one in enumerate(fields) if one]
    (text,) = {one["custom_logit_processor"] for one in fields if one}
    brought = SimpleNamespace(processor=CustomLogitProcessor.from_str(text), rows=rows, indices=torch.tensor(rows))
    return Batch(
        custom_params=[one["custom_params"] if one else None for one in fields],
        custom_logit_processor={1: brought},
        device="cpu",
    )


def test_it_is_one_of_sglangs_processors_and_comes_back_from_its_text() -> None:
    from sglang.srt.sampling.custom_logit_processor import CustomLogitProcessor

    from em_hf.generation.sglang import EntropyMinSGLangProcessor, request_fields

    assert issubclass(EntropyMinSGLangProcessor, CustomLogitProcessor)
    made = CustomLogitProcessor.from_str(request_fields(True)["custom_logit_processor"])
    assert type(made) is EntropyMinSGLangProcessor


def test_the_rows_that_asked_for_it_are_adjusted_each_as_it_asked(apply: Callable[..., None]) -> None:
    logits = 2 * torch.randn(4, 500, generator=torch.Generator().manual_seed(0))
    out = logits.clone()
    apply(out, batch({"n_grad_steps": 10}, False, True, False))
    assert torch.equal(out[1::2], logits[1::2])
    for row, config in ((0, EntropyMinConfig(n_grad_steps=10)), (2, EntropyMinConfig())):
        torch.testing.assert_close(out[row], minimize_entropy(logits[row], config))


def test_wrong_settings_of_a_request_are_named(apply: Callable[..., None]) -> None:
    wrong = batch(True)
    wrong.custom_params[0]["entropy_min"]["threshold"] = -1
    with pytest.raises(ValueError, match="threshold is -1"):
        apply(torch.randn(1, 50), wrong)
