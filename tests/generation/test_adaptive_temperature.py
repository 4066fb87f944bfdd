"""adaptive_temperature against bisection in float64, golden values and its own definition."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from em_hf import EntropyMinConfig, adaptive_temperature
from tests.generation.test_minimize import logits
from tests.reference import adaptive_temperature_row, entropy

configs = st.builds(
    EntropyMinConfig,
    method=st.just("adaptive_temperature"),
    threshold=st.floats(0, 3),
    target_ratio=st.floats(0.05, 1),
    tmin=st.sampled_from([0.01, 0.2]),
    tmax=st.sampled_from([0.5, 1.0]),
    tol=st.sampled_from([1e-4, 1e-2]),
)


def test_every_golden_case_is_met(shared: Path) -> None:
    with safe_open(shared / "golden" / "em_inf.safetensors", "pt") as golden:
        cases = sorted({key.split(".")[0] for key in golden.keys()})
        for number, values in enumerate(json.loads(golden.metadata()["adaptive_temperature"])):
            values["threshold"] = values.pop("target_threshold")
            config = EntropyMinConfig(method="adaptive_temperature", **values)
            for case in cases:
                out = adaptive_temperature(golden.get_tensor(f"{case}.logits"), config)
                wanted = golden.get_tensor(f"{case}.at{number}").softmax(-1)
                assert (out.softmax(-1) - wanted).abs().max() < 2e-4, (case, values)


@given(z=logits([2, 17, 500, 9000], [(), (3,)]), config=configs)
@settings(max_examples=150, deadline=None)
def test_it_finds_the_largest_temperature_whose_entropy_fits(z: Tensor, config: EntropyMinConfig) -> None:
    out = adaptive_temperature(z, config)
    for row, new in zip(z.double().reshape(-1, z.shape[-1]), out.double().reshape(-1, z.shape[-1])):
        target = max(config.target_ratio * float(entropy(row)), config.threshold)
        after, coldest = float(entropy(new)), float(entropy(row / config.tmin))
        assert after <= max(target, coldest) + 2e-5
        t = adaptive_temperature_row(row, config.threshold, config.target_ratio, config.tmin, config.tmax)
        # no colder than the exact answer by more than the tolerance on the entropy
        assert after >= min(float(entropy(row / t)), target) - config.tol - 2e-5


def test_a_two_token_row_is_met_by_hand() -> None:
    # H(τ) of [a, 0] is the binary entropy of σ(a/τ); half of it is reached at the τ solved here by Newton's method.
    z = torch.tensor([1.0, 0.0])

    def h(x: float) -> float:
        q = 1 / (1 + math.exp(-x))
        return -q * math.log(q) - (1 - q) * math.log(1 - q)

    target, x = h(1.0) / 2, 2.0
    for _ in range(60):
        x -= (h(x) - target) / ((h(x + 1e-6) - h(x - 1e-6)) / 2e-6)
    config = EntropyMinConfig(method="adaptive_temperature", threshold=0.0, tol=1e-6)
    out = adaptive_temperature(z, config)
    assert float(out[0] - out[1]) == pytest.approx(x, abs=1e-3)


def test_the_order_of_the_logits_never_changes() -> None:
    z = torch.randn(4, 300, generator=torch.Generator().manual_seed(0))
    assert torch.equal(adaptive_temperature(z).argsort(-1), z.argsort(-1))


def test_rows_that_need_nothing_come_back_bit_for_bit() -> None:
    z = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    z[0, 0], z[1, 0] = 40.0, torch.nan
    out = adaptive_temperature(z, EntropyMinConfig(method="adaptive_temperature"), torch.tensor([True, True, False]))
    assert torch.equal(out.view(torch.int32), z.view(torch.int32))


def test_the_method_field_is_not_needed() -> None:
    z = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(adaptive_temperature(z), adaptive_temperature(z, EntropyMinConfig()))
