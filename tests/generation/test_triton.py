"""The Triton kernel against the naive oracle, golden values and its torch twin; in Triton's interpreter without a GPU.

The interpreter takes a hundred times the time of numpy, so what runs there is small. What a GPU alone can show (that
nothing is read back, graphs, vocabularies of 262,144) is in `test_triton_gpu.py`.
"""

import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from safetensors import safe_open
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from em_hf import EntropyMinConfig, EntropyMinLogitsProcessor, EntropyTrace, minimize_entropy
from em_hf.generation import backends, minimize, triton
from em_hf.generation.minimize import entropy_min_step
from tests.generation.test_minimize import configs, is_well_posed, logits, oracle
from tests.reference import entropy

# numpy's, on rows without a distribution and on passes that a row no longer takes
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# One launch a row, and a row split over four programs with a launch a pass; blocks small enough for rows of several.
PLANS = pytest.mark.parametrize("split", [1, 4])


def run(
    z: Tensor, config: EntropyMinConfig, split: int = 1, block: int = 128, active: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The kernel on rows `[N, V]`: new rows, entropies before, changed."""
    live = torch.ones(z.shape[0], dtype=torch.bool) if active is None else active
    adam = config.optimizer == "adam"
    numbers = (config.threshold, config.n_grad_steps, config.learning_rate, config.kl_weight, adam, split, block)
    out, before, adjusted = triton.minimize_entropy_rows(z.to(DEVICE), live.to(DEVICE), *numbers)
    return out.cpu(), before.cpu(), adjusted.cpu()


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows on the CPU go to the kernel, as rows on a GPU do; grows by the rows of each call."""
    seen: list[int] = []

    def optimize(rows: Tensor, live: Tensor, config: EntropyMinConfig) -> object:
        seen.append(rows.shape[0])
        return triton.optimize_on_gpu(rows, live, config)

    monkeypatch.setitem(backends.BACKENDS, DEVICE, optimize)
    return seen


@PLANS
@given(z=logits([2, 17, 300, 700], [(2,)]), config=configs.filter(lambda config: config.n_grad_steps <= 6))
@settings(max_examples=20, deadline=None)
def test_it_agrees_with_the_naive_oracle(split: int, z: Tensor, config: EntropyMinConfig) -> None:
    assume(is_well_posed(z, config))
    out, before, _ = run(z, config, split)
    torch.testing.assert_close(out.double().softmax(-1), oracle(z, config).softmax(-1), atol=2e-5, rtol=0)
    torch.testing.assert_close(before, torch.stack([entropy(row) for row in z.double()]).float(), atol=2e-5, rtol=1e-5)


@PLANS
@pytest.mark.parametrize("size", [17, 500])
def test_a_nearly_flat_row_moves_as_the_oracle_moves_it(size: int, split: int) -> None:
    z = 1e-3 * torch.randn(3, size, generator=torch.Generator().manual_seed(size))
    for steps in (1, 2, 6):
        config = EntropyMinConfig(threshold=0.0, n_grad_steps=steps, learning_rate=0.5, kl_weight=0.0)
        torch.testing.assert_close(
            run(z, config, split)[0].double().softmax(-1), oracle(z, config).softmax(-1), atol=2e-6, rtol=1e-3
        )


def test_entries_whose_gradient_is_of_the_size_of_adams_epsilon_move_as_far_as_the_oracles() -> None:
    """In a probability nobody sees it; a hundred thousand such entries weigh something."""
    z = torch.cat([torch.tensor([3.0, 2.0, 0.5]), torch.linspace(-12, -22, 40)])[None]
    for config in (EntropyMinConfig(n_grad_steps=1), EntropyMinConfig(kl_weight=0.2), EntropyMinConfig(n_grad_steps=9)):
        moved = (run(z, config)[0] - z)[0, 3:]
        torch.testing.assert_close(moved.double(), (oracle(z, config) - z)[0, 3:], atol=1e-5, rtol=1e-3)
        assert moved.abs().max() > 5 * moved.abs().min()


@pytest.mark.parametrize(
    "config",
    [
        # entries move by tens of nats, so that sums of e^y need a new base
        EntropyMinConfig(threshold=0.0, n_grad_steps=25, learning_rate=1.0, kl_weight=0.0),
        EntropyMinConfig(optimizer="sgd", threshold=0.0, n_grad_steps=4, learning_rate=400.0, kl_weight=0.0),
    ],
    ids=["adam", "sgd"],
)
@PLANS
def test_logits_that_move_far_stay_finite_and_right(config: EntropyMinConfig, split: int) -> None:
    z = torch.randn(2, 300, generator=torch.Generator().manual_seed(3))
    out = run(z, config, split)[0]
    wanted = oracle(z, config)
    assert (wanted - z).abs().max() > 20
    torch.testing.assert_close(out.double().softmax(-1), wanted.softmax(-1), atol=2e-5, rtol=0)


def test_every_golden_case_is_met(shared: Path) -> None:
    with safe_open(shared / "golden" / "em_inf.safetensors", "pt") as golden:
        cases = sorted({key.split(".")[0] for key in golden.keys()})
        rows = {case: golden.get_tensor(f"{case}.logits")[0] for case in cases}
        assert len(cases) > 20
        for number, values in enumerate(json.loads(golden.metadata()["em"])):
            for size in {len(row) for row in rows.values()}:
                alike = [case for case in cases if len(rows[case]) == size]
                z = torch.stack([rows[case] for case in alike])
                out = run(z, EntropyMinConfig(**values), 4 if size > 4096 else 1, 16_384 if size > 4096 else 4096)[0]
                for case, row in zip(alike, out):
                    wanted = golden.get_tensor(f"{case}.em{number}")[0].softmax(-1)
                    assert (row.softmax(-1) - wanted).abs().max() < 5e-5, (case, values)


@PLANS
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_rows_that_do_not_move_come_back_bit_for_bit_beside_rows_that_do(split: int, optimizer: str) -> None:
    z = torch.randn(9, 300, generator=torch.Generator().manual_seed(0))
    z[0, 3], z[1, 2], z[2], z[3, 0] = torch.nan, torch.inf, -torch.inf, -torch.inf
    z[4, 7], z[5, 290:], z[6], z[7, 0] = 60, -torch.inf, torch.finfo(torch.float32).min, 3e38
    z[0].view(torch.int32)[4] = 0x7FC01234  # a NaN with a payload
    active = torch.tensor([True] * 8 + [False])
    out, before, adjusted = run(z, EntropyMinConfig(optimizer=optimizer), split, active=active)
    assert adjusted.tolist() == [False, False, False, True, False, True, True, False, False]
    assert torch.equal(out[~adjusted].view(torch.int32), z[~adjusted].view(torch.int32))
    assert before[:3].isnan().all()
    # the row of equal entries, however low, is the flat one
    assert before[4:8].tolist() == pytest.approx([0, float(entropy(z[5].double())), math.log(300), 0], abs=1e-5)
    assert torch.equal(out == -torch.inf, z == -torch.inf)


@PLANS
def test_no_steps_change_nothing_and_the_entropy_is_still_told(split: int) -> None:
    z = torch.randn(2, 300, generator=torch.Generator().manual_seed(0))
    out, before, adjusted = run(z, EntropyMinConfig(n_grad_steps=0), split)
    assert torch.equal(out, z) and not adjusted.any()
    torch.testing.assert_close(before, torch.stack([entropy(row) for row in z.double()]).float())


@PLANS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_the_float32_result_rounded_once(split: int, dtype: torch.dtype) -> None:
    z = (3 * torch.randn(3, 300, generator=torch.Generator().manual_seed(0))).to(dtype)
    z[1, :9] = -torch.inf
    out, exact = run(z, EntropyMinConfig(), split)[0], run(z.float(), EntropyMinConfig(), split)[0]
    if dtype == torch.bfloat16 and DEVICE == "cpu":
        # The interpreter cuts the lower half off where a GPU rounds; that compiled code rounds is looked up below.
        exact = (exact.view(torch.int32) & -65536).view(torch.float32)
    assert out.dtype == dtype
    assert torch.equal(out, exact.to(dtype))


def test_rows_may_lie_apart_in_memory_and_each_gives_what_it_gives_alone() -> None:
    wide = torch.randn(4, 3, 200, generator=torch.Generator().manual_seed(0))
    last, crossed = wide[:, -1], wide[:, 0].T[:4]
    for z in (last, crossed):
        out = run(z, EntropyMinConfig())[0]
        alone = torch.cat([run(row[None].contiguous(), EntropyMinConfig())[0] for row in z])
        assert torch.equal(out, alone)
        assert out.is_contiguous()


def test_one_entry_and_no_rows_are_no_trouble() -> None:
    one = torch.tensor([[2.5], [-torch.inf]])
    out, before, adjusted = run(one, EntropyMinConfig(threshold=0.0))
    assert torch.equal(out, one) and before[0] == 0 and before[1].isnan()
    assert not adjusted[1]
    assert [part.shape for part in run(torch.empty(0, 7), EntropyMinConfig())] == [(0, 7), (0,), (0,)]


def test_few_rows_are_split_and_many_are_not() -> None:
    """On 132 multiprocessors: enough programs to keep them busy, none without a block, a power of two of them."""
    splits = {rows: triton.split_of(rows, 151_936, 132, 2048) for rows in (1, 2, 8, 32, 100, 132, 256)}
    assert splits == {1: 64, 2: 64, 8: 64, 32: 16, 100: 4, 132: 1, 256: 1}
    assert triton.split_of(1, 2000, 132, 2048) == 1
    assert triton.split_of(1, 5000, 132, 2048) == 4


def test_the_operator_keeps_to_what_it_tells_torch() -> None:
    """torch's own checks: its schema, no writing to inputs, shapes and types of the fake version."""
    z = torch.randn(3, 40, device=DEVICE)
    live = torch.tensor([True, False, True], device=DEVICE)
    for rows in (z, z.bfloat16(), z.T[:3, :3]):
        torch.library.opcheck(triton.minimize_entropy_rows, (rows, live, 0.3, 2, 0.1, 0.05, True, 1, 64))


def test_a_compiled_step_has_no_graph_break_and_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.BACKENDS, DEVICE, triton.optimize_on_gpu)
    config = EntropyMinConfig(threshold=1.0)
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> Callable:
        graphs.append(graph)
        return graph.forward

    def step(hidden: Tensor, head: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return entropy_min_step(hidden @ head, config)

    hidden, head = torch.randn(3, 8, device=DEVICE), torch.randn(8, 60, device=DEVICE)
    compiled = torch.compile(step, fullgraph=True, backend=backend)
    for value in (hidden, 2 * hidden):
        for mine, plain in zip(compiled(value, head), step(value, head)):
            assert torch.equal(mine, plain)
    assert len(graphs) == 1 and "em_hf.minimize_entropy" in graphs[0].code


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_what_torch_computes_on_an_accelerator_without_triton_compiles_whole_too(optimizer: str) -> None:
    config = EntropyMinConfig(optimizer=optimizer)
    compiled = torch.compile(lambda z: entropy_min_step(z, config), fullgraph=True, backend="eager")
    out, before, adjusted = compiled(torch.empty(4, 9000, device="meta"))
    assert (out.shape, before.shape, adjusted.shape) == ((4, 9000), (4,), (4,))


def test_minimize_entropy_and_its_processor_use_it_where_it_is_chosen(chosen: list[int]) -> None:
    torch.manual_seed(0)
    z = torch.randn(2, 3, 50, device=DEVICE)
    assert minimize_entropy(z).shape == z.shape
    trace = EntropyTrace()
    each = [EntropyMinConfig(), None, EntropyMinConfig(n_grad_steps=5)]
    out = EntropyMinLogitsProcessor(each, trace)(torch.zeros(3, 4, dtype=torch.long, device=DEVICE), z[0])
    assert chosen == [6, 3, 3]
    wanted = torch.stack([z[0, 0].double(), z[0, 1].double(), z[0, 2].double()]).cpu()
    wanted[0], wanted[2] = oracle(wanted[0], EntropyMinConfig()), oracle(wanted[2], EntropyMinConfig(n_grad_steps=5))
    torch.testing.assert_close(out.cpu().double().softmax(-1), wanted.softmax(-1), atol=2e-5, rtol=0)
    assert trace.adjusted.tolist() == [[True], [False], [True]]


def test_tensors_of_a_gpu_go_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake tensors: they have a device and a shape and no values."""
    monkeypatch.setitem(backends.BACKENDS, "cuda", triton.optimize_on_gpu)
    with FakeTensorMode():
        z = torch.empty(4, 9000, device="cuda", dtype=torch.bfloat16)
        live = torch.ones(4, dtype=torch.bool, device="cuda")
        assert triton.optimize_on_gpu(z, live, EntropyMinConfig()) is not None
        assert triton.optimize_on_gpu(z.double(), live, EntropyMinConfig()) is None
        out, before, adjusted = entropy_min_step(z, EntropyMinConfig(), live)
        assert (out.dtype, out.shape, out.device.type) == (torch.bfloat16, (4, 9000), "cuda")
        assert before.shape == adjusted.shape == (4,) and adjusted.dtype == torch.bool


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("method", ["logit_optimization", "adaptive_temperature"])
def test_on_an_accelerator_the_processor_and_its_trace_read_nothing_back(
    kernel: bool, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the meta device any such reading is an error; the shapes still come out."""
    backend = triton.optimize_on_gpu if kernel else lambda rows, live, config: None
    monkeypatch.setitem(backends.BACKENDS, "meta", backend)
    z = torch.empty(4, 9000, device="meta")
    config = EntropyMinConfig(method=method, max_iter=3)
    for chosen_settings in (config, [config, None, EntropyMinConfig(n_grad_steps=5), None], [None] * 4):
        trace = EntropyTrace()
        processor = EntropyMinLogitsProcessor(chosen_settings, trace)
        processor.eos_token_ids = torch.empty(1, dtype=torch.long, device="meta")
        for length in (4, 5):
            assert processor(torch.empty(4, length, dtype=torch.long, device="meta"), z).shape == z.shape
        assert trace.before.is_meta and trace.after.is_meta and trace.adjusted.shape == (4, 2)


def test_a_gpu_without_a_working_kernel_is_told_once_and_has_the_same_results(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> None:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(backends, "import_module", fails)
    monkeypatch.delitem(backends.BACKENDS, "cuda", raising=False)
    backends.import_backend.cache_clear()
    with pytest.warns(UserWarning, match=r"without triton.py.*C compiler"):
        assert not minimize._has_backend("cuda")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not minimize._has_backend("cuda")
    backends.import_backend.cache_clear()


@pytest.mark.parametrize("lacking", [["compiled"], ["compiled", "binned"]])
def test_a_cpu_without_numba_goes_on_with_the_next_way(lacking: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def load(name: str) -> None:
        if name.rpartition(".")[2] in lacking:
            raise ModuleNotFoundError("No module named 'numba'")
        taken.append(name)
        backends.register_backend("cpu", lambda rows, live, config: None)

    monkeypatch.setattr(backends, "import_module", load)
    monkeypatch.delitem(backends.BACKENDS, "cpu", raising=False)
    backends.import_backend.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert minimize._has_backend("cpu") == ("binned" not in lacking)
    assert taken == [name for name in ["em_hf.generation.binned"] if "binned" not in lacking]
    backends.import_backend.cache_clear()


def test_torchs_global_state_does_not_reach_the_kernel() -> None:
    z = torch.randn(2, 300, generator=torch.Generator().manual_seed(0))
    wanted = run(z, EntropyMinConfig())
    live = torch.ones(2, dtype=torch.bool, device=DEVICE)
    with torch.autocast(DEVICE, dtype=torch.bfloat16), torch.device("meta"):
        here = triton.minimize_entropy_rows(z.to(DEVICE), live, 0.3, 3, 0.1, 0.05, True, 1, 128)
    torch.set_default_dtype(torch.float64)
    try:
        there = triton.minimize_entropy_rows(z.to(DEVICE), live, 0.3, 3, 0.1, 0.05, True, 1, 128)
    finally:
        torch.set_default_dtype(torch.float32)
    for result in (here, there):
        assert all(torch.equal(mine.cpu(), exact) for mine, exact in zip(result, wanted))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_a_step_of_the_kernel_and_its_trace_are_as_promised(
    chosen: list[int], dtype: torch.dtype
) -> None:
    """Half precision would put probabilities 4e-3 off."""
    z = 2 * torch.randn(2, 300, generator=torch.Generator().manual_seed(1))
    config, trace = EntropyMinConfig(threshold=0.1, n_grad_steps=5), EntropyTrace()
    with torch.autocast(DEVICE, dtype=dtype):
        out = EntropyMinLogitsProcessor(config, trace)(torch.zeros(2, 1, dtype=torch.long), z.to(DEVICE)).cpu()
    wanted = oracle(z, config)
    assert chosen == [2] and out.dtype == torch.float32 and trace.adjusted.all()
    torch.testing.assert_close(out.double().softmax(-1), wanted.softmax(-1), atol=2e-5, rtol=0)
    for seen, rows in ((trace.before, z.double()), (trace.after, wanted)):
        exact = torch.stack([entropy(row) for row in rows]).float()
        torch.testing.assert_close(seen[:, 0].cpu(), exact, atol=5e-5, rtol=1e-5)


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from em_hf.generation import triton as ours

kernel = ours._passes
pointers = {"rows", "out", "active", "before", "adjusted", "sums", "numbers"}
CASES = ((80, "fp32", True, "adam"), (90, "bf16", False, "adam"), (90, "fp16", True, "sgd"))
for architecture, dtype, aligned, optimizer in CASES:
    constants = {"ADAM": optimizer == "adam", "NEAR": optimizer == "adam", "SPLIT": 16, "BLOCK": ours._BLOCK}
    types = {"rows": f"*{dtype}", "out": f"*{dtype}", "active": "*u8", "adjusted": "*u8"}
    types |= {name: "*fp32" for name in ("before", "sums", "numbers")}
    types |= {name: "fp32" for name in ("threshold", "rate", "kl_weight")} | {name: "constexpr" for name in constants}
    signature = {name: types.get(name, "i32") for name in kernel.arg_names}
    places = {name: (number,) for number, name in enumerate(kernel.arg_names)}
    source = ASTSource(
        kernel,
        signature,
        constexprs={places[name]: value for name, value in constants.items()},
        attrs={places[name]: [["tt.divisibility", 16]] for name in pointers} if aligned else {},
    )
    options = {"num_warps": ours._WARPS, "enable_fp_fusion": True}
    built = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    print(len(built.asm["cubin"]) > 0, "ld.global.nc" in built.asm["ptx"], "cvt.rn.bf16" in built.asm["ptx"])
"""


def test_it_compiles_for_gpus_that_are_not_here(tmp_path: Path) -> None:
    """Down to machine code, with Triton's own assembler. What it stores and reads back is not read as constant data."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split("\n")[:3] == ["True False False", "True False True", "True False False"]
