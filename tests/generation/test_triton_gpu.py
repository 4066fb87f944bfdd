"""What only a GPU shows of the Triton kernel: nothing is read back, graphs, compiled decoding, large vocabularies."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from em_hf import EntropyMinConfig, EntropyMinLogitsProcessor, EntropyTrace, enable_entropy_min, minimize_entropy
from em_hf.generation import backends, minimize
from em_hf.generation.minimize import entropy_min_step
from tests.generation.test_minimize import SETTINGS
from tests.reference import minimize_entropy_row

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

CONFIGS = [
    EntropyMinConfig(),
    EntropyMinConfig(n_grad_steps=10, kl_weight=0.0),
    EntropyMinConfig(optimizer="sgd", learning_rate=5.0),
]


@pytest.fixture
def no_reading_back() -> Iterator[None]:
    """Whatever makes the host wait for the GPU is an error. What is compiled at first use has been."""
    minimize_entropy(torch.randn(2, 50, device="cuda"))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def rows(count: int, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows from nearly certain to nearly flat, with banned tokens."""
    generator = torch.Generator("cuda").manual_seed(0)
    scale = torch.logspace(-2, 1, count, device="cuda")[:, None]
    z = scale * torch.randn(count, size, generator=generator, device="cuda")
    z[:, 5::1000] = -torch.inf
    return z.to(dtype)


def oracle(z: Tensor, config: EntropyMinConfig) -> Tensor:
    named = {name: getattr(config, name) for name in SETTINGS}
    return torch.stack([minimize_entropy_row(row, **named) for row in z.double()])


def test_the_kernel_works_here() -> None:
    assert minimize._has_backend("cuda")


@pytest.mark.parametrize("count", [1, 8, 40, 300])
@pytest.mark.parametrize("size", [1000, 32_000, 50_257, 151_936, 262_144])
def test_it_agrees_with_float64_at_every_size_and_plan(size: int, count: int) -> None:
    z = rows(count, size)
    for config in CONFIGS:
        out, looked_at = minimize_entropy(z, config), slice(0, None, -(-count // 8))
        wanted = oracle(z[looked_at], config).softmax(-1)
        difference = (out[looked_at].double().softmax(-1) - wanted).abs()
        assert difference.max() < 2e-5
        assert difference.sum(-1).max() / 2 < 5e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [3, 300])
def test_half_precision_is_the_float32_result_rounded_once(count: int, dtype: torch.dtype) -> None:
    """Threads hold other entries there and sum in another order, so that a tie may fall to the other side.

    By sgd, since Adam turns a gradient that is nothing but rounding into a whole step.
    """
    z = rows(count, 50_257, dtype)
    z[:, 5::1000] = 0
    config = CONFIGS[2]
    out, exact = minimize_entropy(z, config).float(), minimize_entropy(z.float(), config)
    nearest = (exact.to(dtype).float() - exact).abs()
    assert ((out - exact).abs() <= nearest + 1e-5 * exact.abs().clamp(min=1)).all()


@pytest.mark.parametrize("count", [3, 300])
def test_rows_that_do_not_move_come_back_bit_for_bit(count: int) -> None:
    z = rows(count, 9000)
    z[0, 3], z[1, 2], z[2] = torch.nan, torch.inf, -torch.inf
    active = torch.arange(count, device="cuda") % 2 == 0
    out, before, adjusted = entropy_min_step(z, EntropyMinConfig(), active)
    assert torch.equal(out[~adjusted].view(torch.int32), z[~adjusted].view(torch.int32))
    assert before[:3].isnan().all() and not adjusted[:3].any() and not adjusted[~active].any()
    assert torch.equal(out == -torch.inf, z == -torch.inf)


def test_more_entries_than_32_bits_count_are_reached() -> None:
    size = 262_144
    count = 2**31 // size + 2
    if torch.cuda.get_device_properties(0).total_memory < 16 * 2**30:
        pytest.skip("needs 16 GiB of a GPU's memory")
    z = torch.zeros(count, size, device="cuda", dtype=torch.bfloat16)
    z[:, :3] = torch.tensor([9.0, 8.5, 8.0], device="cuda", dtype=torch.bfloat16)
    out = minimize_entropy(z)
    assert torch.equal(out[0], minimize_entropy(z[:1].clone())[0])
    assert torch.equal(out[-1], out[0]) and not torch.equal(out[0], z[0])


def test_the_host_never_waits_for_a_step_with_or_without_the_kernel(
    no_reading_back: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = torch.randn(4, 9000, device="cuda")
    tokens = torch.zeros(4, 5, dtype=torch.long, device="cuda")
    for kernel in (True, False):
        if not kernel:
            monkeypatch.setitem(backends.BACKENDS, "cuda", lambda rows, live, config: None)
        for settings in ([EntropyMinConfig(), None, CONFIGS[1], CONFIGS[2]], EntropyMinConfig()):
            trace = EntropyTrace()
            processor = EntropyMinLogitsProcessor(settings, trace)
            for _ in range(2):
                processor(tokens, z)
            assert trace.before.is_cuda and trace.adjusted.is_cuda


@pytest.mark.parametrize("count", [2, 300])
def test_a_cuda_graph_replays_it_on_other_logits(count: int) -> None:
    z = rows(count, 9000)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        minimize_entropy(z)
    torch.cuda.current_stream().wait_stream(stream)
    held, graph = z.clone(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = minimize_entropy(held)
    for other in (z, 2 * z, z.flip(0)):
        held.copy_(other)
        graph.replay()
        assert torch.equal(out, minimize_entropy(other))


def test_a_step_compiled_with_cuda_graphs_gives_the_same() -> None:
    head = torch.randn(64, 5000, device="cuda")
    config = EntropyMinConfig(threshold=1.0)

    def step(hidden: Tensor) -> Tensor:
        return minimize_entropy(hidden @ head, config)

    compiled = torch.compile(step, mode="reduce-overhead", fullgraph=True)
    for seed in range(4):
        hidden = torch.randn(3, 64, generator=torch.Generator("cuda").manual_seed(seed), device="cuda")
        torch.compiler.cudagraph_mark_step_begin()
        torch.testing.assert_close(compiled(hidden).softmax(-1), step(hidden).softmax(-1), atol=2e-5, rtol=0)


def test_decoding_with_a_static_cache_which_transformers_compiles_gives_the_same_tokens(tiny_llama: Callable) -> None:
    model = enable_entropy_min(tiny_llama().cuda())
    prompt = torch.tensor([[1, 5, 9, 20], [1, 8, 3, 77]], device="cuda")

    def decode(**changes: object) -> Tensor:
        torch.manual_seed(0)
        return model.generate(
            prompt, do_sample=True, top_k=0, max_new_tokens=24, min_new_tokens=24, entropy_min=True, **changes
        )

    assert torch.equal(decode(cache_implementation="static"), decode())
