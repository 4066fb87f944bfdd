"""A device without float64, as Apple's MPS is: simulated by a dispatch mode that refuses it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_iter
from transformers import AutoModelForCausalLM, AutoTokenizer

from em_hf import (
    AdaptiveTemperatureLogitsProcessor,
    CoupledSampling,
    EntropyMinConfig,
    EntropyMinLogitsProcessor,
    EntropyTrace,
    enable_entropy_min,
)
from em_hf.compare.side_by_side import compare_decoding
from em_hf.generation.coupling import CoupledSamplingLogitsProcessor
from em_hf.pocket import POCKET_REASONER
from em_hf.sampling import SamplingConfig, sample


class NoFloat64(TorchDispatchMode):
    """Every operation that takes or gives a float64 tensor of this type of device is an error, as on MPS."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_iter((args, kwargs, out)):
            if isinstance(value, Tensor) and value.dtype == torch.float64 and value.device.type == self.device:
                raise TypeError(f"{func}: the device has no float64")
        return out


def on_host(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """What makes the noise, which is the host's: float64 is allowed within."""

    def noise(*args: Any, **kwargs: Any) -> Tensor:
        with _disable_current_modes():
            return real(*args, **kwargs).float()

    return noise


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The pocket reasoner on a device without float64, and its tokenizer: `generate` runs under the mode."""
    monkeypatch.setattr(CoupledSampling, "noise", on_host(CoupledSampling.noise))
    model = AutoModelForCausalLM.from_pretrained(POCKET_REASONER)
    generate = type(model).generate

    def within(self: Any, *args: Any, **kwargs: Any) -> Any:
        with NoFloat64("cpu"):
            return generate(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "generate", within)
    yield model, AutoTokenizer.from_pretrained(POCKET_REASONER)


def test_the_simulated_device_refuses_float64_and_nothing_else() -> None:
    with NoFloat64("cpu"):
        assert float(torch.ones(2).sum()) == 2
        with pytest.raises(TypeError, match="no float64"):
            torch.ones(2).double()
        with pytest.raises(TypeError, match="no float64"):
            torch.empty(2, dtype=torch.float64)


def test_noise_is_rounded_before_it_goes_to_the_device() -> None:
    """The meta device stands for the other one: host and device differ, and nothing can be read back."""
    scores = torch.empty(3, 40, device="meta")
    ids = torch.empty(3, 7, dtype=torch.long, device="meta")
    for coupled in (CoupledSampling(0), CoupledSampling(1, groups=[0, 0, 1])):
        with NoFloat64("meta"):
            chosen = CoupledSamplingLogitsProcessor(coupled, 4)(ids, scores)
        assert chosen.is_meta and chosen.shape == scores.shape and chosen.dtype == scores.dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("processor", [EntropyMinLogitsProcessor, AdaptiveTemperatureLogitsProcessor])
def test_a_step_of_em_inf_with_its_trace_needs_none(processor: Any, dtype: torch.dtype) -> None:
    scores = torch.empty(2, 300, device="meta", dtype=dtype)
    ids = torch.empty(2, 4, dtype=torch.long, device="meta")
    with NoFloat64("meta"):
        out = processor(EntropyMinConfig(kl_weight=0.1), EntropyTrace())(ids, scores)
    assert out.dtype == dtype


@pytest.mark.parametrize("entropy_min", [True, {"method": "adaptive_temperature"}], ids=["em-inf", "temperature"])
def test_generate_gives_the_same_tokens_on_it(mps: Any, entropy_min: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = mps
    enable_entropy_min(model)
    inputs = tokenizer(["7 + 4 =", "12 - 5 ="], return_tensors="pt", padding=True)
    settings = {"do_sample": True, "top_k": 0, "max_new_tokens": 12, "entropy_min": entropy_min}
    trace = EntropyTrace()
    found = model.generate(**inputs, **settings, coupled=CoupledSampling(3), entropy_trace=trace)
    monkeypatch.setattr(NoFloat64, "__torch_dispatch__", allow)
    wanted = model.generate(**inputs, **settings, coupled=CoupledSampling(3))
    assert torch.equal(found, wanted) and trace.before.dtype == torch.float32


def allow(self: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    return func(*args, **(kwargs or {}))


def test_comparing_and_sampling_work_on_it(mps: Any) -> None:
    """What `em-hf generate`, the app and training's measurements do."""
    model, tokenizer = mps
    inputs = tokenizer(["7 + 4 ="], return_tensors="pt")
    result = compare_decoding(model, tokenizer, inputs, EntropyMinConfig(threshold=0.1), max_new_tokens=8)
    assert len(result.plain.tokens) > 0 and len(result.em.entropy_before) == len(result.em.tokens)
    config = SamplingConfig(max_new_tokens=8, samples=2, entropy_min=EntropyMinConfig())
    assert len(sample(model, tokenizer, ["7 + 4 ="], config)[0]) == 2
