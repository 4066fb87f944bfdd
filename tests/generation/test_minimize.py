"""minimize_entropy against the naive oracle (autograd and torch.optim.Adam), golden values and hand-worked cases.

All of it runs once for every way that a CPU has: compiled by numba, binned in torch, and the plain one.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from em_hf import EntropyMinConfig, minimize_entropy, token_entropy
from em_hf.generation import backends, binned, compiled, minimize
from em_hf.generation.minimize import entropy_min_step
from tests.reference import entropy, minimize_entropy_row

WAYS = {
    "compiled": compiled.optimize_compiled,
    "binned": binned.optimize_binned,
    "plain": lambda rows, live, config: None,
}


@pytest.fixture(scope="module", params=WAYS, autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """The way that the module's tests take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backends.BACKENDS, "cpu", WAYS[request.param])
        yield request.param


SETTINGS = ("threshold", "n_grad_steps", "learning_rate", "kl_weight", "optimizer")


def oracle(rows: Tensor, config: EntropyMinConfig) -> Tensor:
    """The naive program in float64, a row at a time."""
    named = {name: getattr(config, name) for name in SETTINGS}
    flat = [minimize_entropy_row(row, **named) for row in rows.double().reshape(-1, rows.shape[-1])]
    return torch.stack(flat).reshape(rows.shape)


def is_well_posed(rows: Tensor, config: EntropyMinConfig) -> bool:
    """Whether rounding the input to float32 leaves the exact answer alone.

    Near H = threshold, and where Adam divides a vanishing gradient by its own size, the exact answer itself jumps:
    there two right programs differ, and nothing can be compared.
    """
    generator = torch.Generator().manual_seed(0)
    exact = oracle(rows, config).softmax(-1)
    for _ in range(2):
        noise = 1 + 2e-7 * torch.randn(rows.shape, generator=generator, dtype=torch.float64)
        if (oracle(rows.double() * noise, config).softmax(-1) - exact).abs().max() > 5e-6:
            return False
    return True


@st.composite
def logits(draw: st.DrawFn, vocabularies: list[int], shapes: list[tuple[int, ...]]) -> Tensor:
    """Rows of many shapes of distribution, some with banned tokens."""
    size = draw(st.sampled_from(vocabularies))
    shape = draw(st.sampled_from(shapes))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    kind = draw(st.sampled_from(["normal", "wide", "peaked", "ties", "flat", "heavy tail", "one-hot"]))
    z = torch.randn(*shape, size, generator=generator)
    if kind == "wide":
        z = 6 * z
    elif kind == "peaked":
        z[..., : min(20, size)] += torch.linspace(12, 3, min(20, size))
    elif kind == "ties":
        z = (2 * z).round()
    elif kind == "flat":
        z = 1e-3 * z
    elif kind == "heavy tail":
        z = z - 14
        z[..., :3] = torch.tensor([3.0, 2.0, 0.5])[: min(3, size)]
    elif kind == "one-hot":
        z[..., 0] = 60
    banned = draw(st.sampled_from([0.0, 0.0, 0.3, 0.9]))
    keep = torch.rand(*shape, size, generator=generator) >= banned
    keep[..., :2] = True
    return z.masked_fill(~keep, -torch.inf)


configs = st.builds(
    EntropyMinConfig,
    threshold=st.floats(0, 5),
    n_grad_steps=st.integers(0, 15),
    learning_rate=st.floats(0.01, 0.5),
    kl_weight=st.sampled_from([0.0, 0.001, 0.05, 0.5, 3.0]),
    optimizer=st.sampled_from(["adam", "adam", "sgd"]),
)
SHAPES = [(), (1,), (3,), (2, 2)]


@given(z=logits([2, 3, 17, 64, 500, 4000], SHAPES), config=configs)
@settings(max_examples=150, deadline=None)
def test_it_agrees_with_the_naive_oracle_on_short_rows(z: Tensor, config: EntropyMinConfig) -> None:
    assume(is_well_posed(z, config))
    torch.testing.assert_close(
        minimize_entropy(z, config).double().softmax(-1), oracle(z, config).softmax(-1), atol=2e-5, rtol=0
    )


@given(z=logits([8192, 10_001, 49_152], [(), (2,)]), config=configs)
@settings(max_examples=40, deadline=None)
def test_it_agrees_with_the_naive_oracle_on_long_rows(z: Tensor, config: EntropyMinConfig) -> None:
    assume(is_well_posed(z, config))
    torch.testing.assert_close(
        minimize_entropy(z, config).double().softmax(-1), oracle(z, config).softmax(-1), atol=3e-5, rtol=0
    )


@pytest.mark.parametrize("size", [2, 17, 64, 500, 4000, 8192, 49_152])
def test_a_nearly_flat_row_moves_as_the_oracle_moves_it(size: int) -> None:
    """There `log p + H` is a thousandth of either: computed from the two, its rounding would turn whole Adam steps."""
    for seed in range(3):
        z = 1e-3 * torch.randn(size, generator=torch.Generator().manual_seed(seed))
        for steps in (1, 2, 6):
            config = EntropyMinConfig(threshold=0.0, n_grad_steps=steps, learning_rate=0.5, kl_weight=0.0)
            torch.testing.assert_close(
                minimize_entropy(z, config).double().softmax(-1), oracle(z, config).softmax(-1), atol=2e-6, rtol=1e-3
            )


@pytest.mark.parametrize("kind", ["peaked", "spread", "flat"])
def test_it_agrees_with_the_naive_oracle_at_the_largest_vocabulary(kind: str) -> None:
    torch.manual_seed(0)
    z = torch.randn(151_936) * {"peaked": 3.0, "spread": 1.5, "flat": 0.1}[kind]
    if kind == "peaked":
        z[:50] += torch.linspace(12, 4, 50)
    for config in (EntropyMinConfig(), EntropyMinConfig(n_grad_steps=10, kl_weight=0.0)):
        difference = (minimize_entropy(z, config).double().softmax(-1) - oracle(z, config).softmax(-1)).abs()
        assert difference.max() < 2e-5
        # and the many small ones together: half the L1 distance is the largest error of any event's probability
        assert difference.sum() / 2 < 5e-5


def test_every_golden_case_is_met(shared: Path) -> None:
    with safe_open(shared / "golden" / "em_inf.safetensors", "pt") as golden:
        cases = sorted({key.split(".")[0] for key in golden.keys()})
        for number, values in enumerate(json.loads(golden.metadata()["em"])):
            for case in cases:
                out = minimize_entropy(golden.get_tensor(f"{case}.logits"), EntropyMinConfig(**values))
                wanted = golden.get_tensor(f"{case}.em{number}").softmax(-1)
                assert (out.softmax(-1) - wanted).abs().max() < 5e-5, (case, values)
    assert len(cases) > 20


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        # Probabilities that the paper's public inference code leaves of softmax([2, 1, 0, -1, -2, -inf, 1.5]).
        ({}, None),
    ],
)
def test_a_small_case_kept_here_is_met(config: dict, wanted: None) -> None:
    """By hand: the first Adam step moves every logit by learning_rate, up where log p > -H and down elsewhere."""
    z = torch.tensor([2.0, 1.0, 0.0, -1.0])
    p = [math.exp(x) / sum(math.exp(y) for y in (2, 1, 0, -1)) for x in (2, 1, 0, -1)]
    h = -sum(x * math.log(x) for x in p)
    signs = [1 if math.log(x) > -h else -1 for x in p]
    assert signs == [1, -1, -1, -1]
    out = minimize_entropy(z, EntropyMinConfig(n_grad_steps=1, **config))
    torch.testing.assert_close(out, torch.tensor([2.1, 0.9, -0.1, -1.1]), atol=1e-5, rtol=0)


def test_one_sgd_step_is_the_papers_formula() -> None:
    z = torch.tensor([1.0, 0.5, -0.25, -2.0], dtype=torch.float64)
    p = z.softmax(-1)
    h = -(p * p.log()).sum()
    wanted = z + 0.7 * p * (p.log() + h)
    config = EntropyMinConfig(optimizer="sgd", n_grad_steps=1, learning_rate=0.7, kl_weight=0.4, threshold=0.1)
    torch.testing.assert_close(minimize_entropy(z, config), wanted, atol=1e-7, rtol=0)


def test_proposition_1_two_logits_below_the_top_swap_and_no_temperature_does_that() -> None:
    # Two probabilities close together and below e^-(H+1): there the gradient pushes the larger one down harder.
    z = torch.cat([torch.zeros(20), torch.tensor([-2.600, -2.601])])
    z[0] = 0.5
    p, h = z.softmax(-1), entropy(z)
    assert p[-2] > p[-1] and p[-2] < math.exp(-(h + 1))
    config = EntropyMinConfig(optimizer="sgd", learning_rate=400.0, n_grad_steps=1, kl_weight=0.0, threshold=0.1)
    out = minimize_entropy(z, config)
    assert out[-2] < out[-1]
    assert out.argmax() == 0
    for temperature in (0.01, 0.1, 0.5, 2.0):
        assert z[-2] / temperature > z[-1] / temperature


@given(
    z=logits([2, 17, 500, 8192], [(3,)]),
    steps=st.integers(1, 10),
    rate=st.floats(0.01, 0.5),
    optimizer=st.sampled_from(["adam", "sgd"]),
)
@settings(max_examples=100, deadline=None)
def test_without_kl_the_largest_logit_stays_and_gains(z: Tensor, steps: int, rate: float, optimizer: str) -> None:
    rate = rate * 20 if optimizer == "sgd" else rate
    config = EntropyMinConfig(n_grad_steps=steps, learning_rate=rate, optimizer=optimizer, kl_weight=0, threshold=0.01)
    out = minimize_entropy(z, config)
    top = z.argmax(-1, keepdim=True)
    assert (out.gather(-1, top) >= out.amax(-1, keepdim=True)).all()
    before, after = z.double().softmax(-1).gather(-1, top), out.double().softmax(-1).gather(-1, top)
    assert (after >= before - 1e-6).all()


@given(z=logits([2, 17, 500, 8192], [(3,)]), rate=st.floats(0.001, 0.02))
@settings(max_examples=60, deadline=None)
def test_small_steps_never_raise_the_entropy(z: Tensor, rate: float) -> None:
    out = minimize_entropy(z, EntropyMinConfig(learning_rate=rate, kl_weight=0.0, threshold=0.0))
    assert (token_entropy(out) <= token_entropy(z) + 1e-5).all()


@given(z=logits([5, 300, 9000], [(4,), (2, 3)]), config=configs)
@settings(max_examples=60, deadline=None)
def test_a_batch_gives_what_its_rows_give_alone(z: Tensor, config: EntropyMinConfig) -> None:
    together = minimize_entropy(z, config).reshape(-1, z.shape[-1])
    alone = torch.stack([minimize_entropy(row, config) for row in z.reshape(-1, z.shape[-1])])
    assert torch.equal(together, alone)


@given(z=logits([5, 300, 9000], [(4,)]), config=configs, dtype=st.sampled_from([torch.bfloat16, torch.float16]))
@settings(max_examples=60, deadline=None)
def test_half_precision_is_the_float32_result_rounded_once(
    z: Tensor, config: EntropyMinConfig, dtype: torch.dtype
) -> None:
    z = z.to(dtype)
    out = minimize_entropy(z, config)
    assert out.dtype == dtype
    assert torch.equal(out, minimize_entropy(z.float(), config).to(dtype))


@given(z=logits([4, 300, 9000], [(4,)]), config=configs, mask=st.lists(st.booleans(), min_size=4, max_size=4))
@settings(max_examples=60, deadline=None)
def test_inactive_rows_and_rows_below_the_threshold_come_back_bit_for_bit(
    z: Tensor, config: EntropyMinConfig, mask: list[bool]
) -> None:
    active = torch.tensor(mask)
    out, before, adjusted = entropy_min_step(z, config, active)
    untouched = ~active | (before < config.threshold)
    assert torch.equal(out[untouched], z[untouched])
    assert not adjusted[untouched].any()
    assert adjusted[~untouched].all() == (config.n_grad_steps > 0) or untouched.all()
    torch.testing.assert_close(before, torch.stack([entropy(row) for row in z.double()]).float(), atol=2e-5, rtol=1e-5)


@given(z=logits([17, 300, 9000], [(3,)]), config=configs)
@settings(max_examples=60, deadline=None)
def test_banned_tokens_stay_banned_and_weigh_nothing(z: Tensor, config: EntropyMinConfig) -> None:
    assume(is_well_posed(z, config))
    out = minimize_entropy(z, config)
    assert torch.equal(out == -torch.inf, z == -torch.inf)
    for row, new in zip(z, out):
        kept = row.isfinite()
        without = minimize_entropy(row[kept], config)
        torch.testing.assert_close(new[kept].softmax(-1), without.softmax(-1), atol=3e-5, rtol=0)


@pytest.mark.parametrize("size", [6, 9000])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_row_without_a_distribution_comes_back_as_it_was_beside_rows_that_have_one(size: int, optimizer: str) -> None:
    torch.manual_seed(0)
    z = torch.randn(5, size)
    good = z[4].clone()
    z[0, 3], z[1, 2], z[2], z[3, 0] = torch.nan, torch.inf, -torch.inf, -torch.inf
    config = EntropyMinConfig(optimizer=optimizer)
    out, before, adjusted = entropy_min_step(z, config)
    assert torch.equal(out[:3].view(torch.int32), z[:3].view(torch.int32))
    assert before[:3].isnan().all()
    assert adjusted.tolist() == [False, False, False, True, True]
    assert torch.equal(out[4], minimize_entropy(good, config))


def test_the_smallest_finite_number_is_treated_as_banned() -> None:
    """`remove_invalid_values` writes finfo.min, not -inf."""
    z = torch.randn(9000, generator=torch.Generator().manual_seed(0))
    low, banned = z.clone(), z.clone()
    low[5], banned[5] = torch.finfo(torch.float32).min, -torch.inf
    out = minimize_entropy(low, EntropyMinConfig())
    assert out.isfinite().all()
    assert torch.equal(out.softmax(-1), minimize_entropy(banned, EntropyMinConfig()).softmax(-1))


def test_the_input_is_never_written_to() -> None:
    for size in (50, 9000):
        z = torch.randn(3, size)
        copy = z.clone()
        minimize_entropy(z, EntropyMinConfig(threshold=0))
        assert torch.equal(z, copy)


@pytest.mark.parametrize("size", [500, 9000])
def test_a_float64_row_keeps_the_digits_that_float32_has_not(size: int) -> None:
    z = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    config = EntropyMinConfig(threshold=0.0)
    exact = minimize_entropy(z, config)
    rounded = minimize_entropy(z.float(), config).double()
    # the steps are float32's, the logits they are added to are not
    torch.testing.assert_close(exact - rounded, z - z.float().double(), atol=2e-6, rtol=0)
    assert (exact - exact.float().double()).abs().max() > 1e-9


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(7,), (2, 7), (0, 7), (2, 3, 7)])
def test_shape_and_dtype_are_kept(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    out = minimize_entropy(torch.randn(shape).to(dtype), EntropyMinConfig())
    assert (out.shape, out.dtype) == (torch.Size(shape), dtype)


def test_wrong_input_is_an_error_that_names_the_argument() -> None:
    with pytest.raises(ValueError, match=r"logits must be floating point.*int64"):
        minimize_entropy(torch.ones(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"active must be bool of shape \[2\]"):
        minimize_entropy(torch.ones(2, 3), EntropyMinConfig(), torch.ones(3, dtype=torch.bool))


def test_on_an_accelerator_no_value_is_read_back_to_the_host() -> None:
    """On the meta device any such reading is an error; the shapes still come out."""
    z = torch.empty(4, 9000, device="meta")
    for config in (EntropyMinConfig(), EntropyMinConfig(optimizer="sgd"), EntropyMinConfig(n_grad_steps=0)):
        out, before, adjusted = entropy_min_step(z, config, torch.ones(4, dtype=torch.bool, device="meta"))
        assert out.shape == z.shape and before.shape == adjusted.shape == (4,)


def test_what_an_accelerator_computes_is_what_the_cpu_computes() -> None:
    """The accelerator's branch, driven on CPU tensors."""
    torch.manual_seed(1)
    z = 3 * torch.randn(6, 700)
    z[0], z[1, :5] = torch.nan, -torch.inf
    config = EntropyMinConfig(threshold=1.0, n_grad_steps=6)
    u, p, mean, before = minimize.measure(z)
    moving = before >= config.threshold
    shift = minimize._descend(u, p, mean, config, moving)
    torch.testing.assert_close(
        torch.where(moving[:, None], z + shift, z), minimize_entropy(z, config), equal_nan=True, atol=2e-6, rtol=0
    )


EXTREMES = (
    EntropyMinConfig(threshold=1e300),
    EntropyMinConfig(kl_weight=1e6, n_grad_steps=100),
    EntropyMinConfig(learning_rate=1e-300),
    EntropyMinConfig(optimizer="sgd", learning_rate=1e6, kl_weight=1e6, n_grad_steps=100),
    EntropyMinConfig(method="adaptive_temperature", tmin=1e-300, tol=1e-300, max_iter=1000),
)


@pytest.mark.parametrize("config", EXTREMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_settings_at_the_ends_of_their_ranges_do_no_harm(config: EntropyMinConfig, dtype: torch.dtype) -> None:
    rows = (3 * torch.randn(6, 2000, generator=torch.Generator().manual_seed(0))).to(dtype)
    assert minimize_entropy(rows, config).isfinite().all()


@pytest.mark.parametrize("size", [300, 9000])
@pytest.mark.parametrize("method", ["logit_optimization", "adaptive_temperature"])
@pytest.mark.parametrize("steps", [3, 8])
def test_torchs_global_state_changes_nothing(size: int, method: str, steps: int) -> None:
    """Autocast, another default dtype and another default device: the step computes as promised under each."""
    z = 2 * torch.randn(3, size, generator=torch.Generator().manual_seed(0))
    z[1, :7] = -torch.inf
    config = EntropyMinConfig(method=method, n_grad_steps=steps)  # type: ignore[arg-type]
    wanted = entropy_min_step(z, config, torch.tensor([True, True, False]))

    def check() -> None:
        active = torch.tensor([True, True, False], device="cpu")
        for mine, exact in zip(entropy_min_step(z, config, active), wanted):
            assert mine.dtype == exact.dtype and mine.device == exact.device and torch.equal(mine, exact)
        assert torch.equal(minimize_entropy(z), minimize_entropy(z.clone()))

    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            check()
    for default in (torch.float64, torch.bfloat16, torch.float16):
        torch.set_default_dtype(default)
        try:
            check()
        finally:
            torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        check()
    torch.set_default_device("meta")
    try:
        check()
    finally:
        torch.set_default_device(None)


def test_rows_over_several_threads_are_the_same_rows() -> None:
    z = 2 * torch.randn(7, 9000, generator=torch.Generator().manual_seed(0))
    z[2, 5] = torch.nan
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(entropy_min_step(z, EntropyMinConfig(threshold=1.0)))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, equal_nan=True, atol=0, rtol=0)


def test_code_that_looks_through_all_modules_gets_past_numbas_library() -> None:
    """As vLLM's CPU build does when an engine starts: `vars` of everything that has a `__dict__`."""
    from llvmlite.binding import ffi

    assert hasattr(ffi.lib, "__dict__") and vars(ffi.lib).get("kernel") is None
    assert callable(ffi.lib.LLVMPY_GetVersionInfo)  # what is there is still found
