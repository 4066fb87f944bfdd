"""EM-INF and the EM-FT loss on a GPU: the Triton kernel against its memory floor, torch, the oracle; linear_entropy.

    python -m benchmarks.em_inf_gpu [--quick] [--part step|loss ...] [--output FILE.json]

Needs a GPU and no network. Without `--output`, a full run writes `em_inf_gpu-<card>-<date>.json` into
`benchmarks/results/` and the tables beside it. The contenders take turns on the same rows within one process.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import describe, environment, interleaved, quartiles, ratios, spread, table, write
from em_hf import EntropyMinConfig, linear_entropy, minimize_entropy
from em_hf.generation import backends, minimize
from tests.reference import minimize_entropy_row

DEVICE = "cuda"
SETTINGS = ("threshold", "n_grad_steps", "learning_rate", "kl_weight", "optimizer")
VOCABULARIES = (32_000, 151_936, 262_144)
BATCHES = (1, 8, 32, 128, 256)
DTYPES = (torch.float32, torch.bfloat16)
CONFIGS = (EntropyMinConfig(), EntropyMinConfig(n_grad_steps=10))
# Calls cycle through enough different batches to fill the GPU's caches several times, but no more than MOST_INPUTS.
CACHE_BYTES, MOST_INPUTS = 256 * 2**20, 32
# Qwen2.5-7B
HIDDEN, HEAD, TOKENS = 3584, 152_064, (4096, 16_384)


@dataclass(frozen=True)
class Case:
    """Rows `[batch, vocabulary]` of which a `share` has an entropy above the threshold."""

    vocabulary: int
    batch: int
    dtype: torch.dtype
    share: float
    config: EntropyMinConfig

    def inputs(self) -> list[Tensor]:
        """Return different batches of the same kind, together larger than the GPU's caches."""
        size = self.batch * self.vocabulary * self.dtype.itemsize
        count = max(2, min(MOST_INPUTS, -(-CACHE_BYTES // size)))
        generator = torch.Generator(DEVICE).manual_seed(0)
        return [self._rows(generator) for _ in range(count)]

    def _rows(self, generator: torch.Generator) -> Tensor:
        z = 2.5 * torch.randn(self.batch, self.vocabulary, generator=generator, device=DEVICE)
        z[round(self.share * self.batch) :, 17] = 60.0  # nearly certain: these rows are not adjusted
        return z.to(self.dtype)


def never(rows: Tensor, live: Tensor, config: EntropyMinConfig) -> None:
    """Leave all rows to the plain implementation."""


@contextmanager
def torch_alone() -> Iterator[None]:
    """Run the block with `minimize_entropy` without its kernel."""
    kernel = backends.BACKENDS["cuda"]
    backends.register_backend("cuda", never)  # always the same function: torch.compile guards on it
    try:
        yield
    finally:
        backends.register_backend("cuda", kernel)


def bandwidth() -> float:
    """Return the bytes per second of a copy of 2 GiB, read and written: the median of 20."""
    source = torch.empty(2**31, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(22):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) / 1e3)
    return 2 * source.nbytes / quartiles(seconds[2:])["median"]


def over_all(call: Callable[[Tensor], object]) -> Callable[[list[Tensor]], None]:
    """Return a function that runs `call` on batch after batch, as the host issues them, until the GPU is done."""

    def run(inputs: list[Tensor]) -> None:
        for rows in inputs:
            call(rows)
        torch.cuda.synchronize()

    return run


def graph_of(call: Callable[[Tensor], object], inputs: list[Tensor]) -> Callable[[list[Tensor]], None]:
    """Return the same calls as one CUDA graph, which leaves only the GPU's own time."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        call(inputs[0])
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [call(rows) for rows in inputs]

    def run(same: list[Tensor]) -> None:
        graph.replay()
        torch.cuda.synchronize()

    run.kept = kept  # type: ignore[attr-defined]  # the graph writes there
    return run


def oracle(rows: Tensor, config: EntropyMinConfig) -> Tensor:
    named = {name: getattr(config, name) for name in SETTINGS}
    return torch.stack([minimize_entropy_row(row, **named) for row in rows])


def error(rows: Tensor, config: EntropyMinConfig) -> float:
    """Return the largest difference in probability from the oracle in float64, both from the same float32 logits."""
    some = rows[:: max(1, len(rows) // 8)].float()
    wanted = oracle(some.double(), config).softmax(-1)
    return (minimize_entropy(some, config).double().softmax(-1) - wanted).abs().max().item()


def measure_step(case: Case, bytes_a_second: float, repeats: int) -> dict[str, Any]:
    inputs = case.inputs()
    compiled = torch.compile(lambda rows: minimize_entropy(rows, case.config), fullgraph=True)

    def kernel(rows: Tensor) -> Tensor:
        return minimize_entropy(rows, case.config)

    def plain(rows: Tensor) -> Tensor:
        with torch_alone():
            return minimize_entropy(rows, case.config)

    def compiled_torch(rows: Tensor) -> Tensor:
        with torch_alone():
            return compiled(rows)

    adjusted = minimize.entropy_min_step(inputs[0], case.config)[2].float().mean().item()
    calls = {
        "kernel": over_all(kernel),
        "kernel, graph": graph_of(kernel, inputs),
        "torch": over_all(plain),
        "torch.compile": over_all(compiled_torch),
    }
    times = {name: [s / len(inputs) for s in t.wall] for name, t in interleaved(calls, [inputs] * repeats).items()}
    few = interleaved({"oracle": over_all(lambda rows: oracle(rows, case.config))}, [inputs[:1]] * 3)
    times["oracle"] = few["oracle"].wall
    floor = 2 * inputs[0].nbytes / bytes_a_second
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    kernel(inputs[0])
    graph_median = quartiles(times["kernel, graph"])["median"]
    return {
        "vocabulary": case.vocabulary,
        "batch": case.batch,
        "dtype": str(case.dtype).removeprefix("torch."),
        "steps": case.config.n_grad_steps,
        "adjusted": adjusted,
        "floor_seconds": floor,
        "seconds": {name: quartiles(values) for name, values in times.items()},
        "over_floor": graph_median / floor,
        "torch_over_kernel": ratios(times["torch"], times["kernel"]),
        "compiled_over_kernel": ratios(times["torch.compile"], times["kernel"]),
        "oracle_over_kernel": quartiles(times["oracle"])["median"] / quartiles(times["kernel"])["median"],
        "peak_memory_over_logits": (torch.cuda.max_memory_allocated() - before) / inputs[0].nbytes,
        "max_error": error(inputs[0], case.config),
    }


def step_cases(quick: bool) -> list[Case]:
    if quick:
        return [Case(151_936, batch, torch.bfloat16, 0.5, CONFIGS[0]) for batch in (1, 256)]
    found = [
        Case(size, batch, dtype, 1.0, CONFIGS[0]) for dtype in DTYPES for size in VOCABULARIES for batch in BATCHES
    ]
    found += [Case(151_936, batch, dtype, 0.0, CONFIGS[0]) for dtype in DTYPES for batch in BATCHES]
    return found + [Case(151_936, batch, torch.float32, share, CONFIGS[1]) for batch in (8, 256) for share in (0.5, 1)]


def step_table(results: list[dict[str, Any]]) -> str:
    """Return the table of microseconds per call, `median (q1-q3)`.

    The floor is one read and one write of the logits at the speed of the copy.
    """
    header = ["logits", "steps", "adjusted", "floor", "kernel, graph", "over floor", "kernel", "torch", "torch.compile"]
    header += ["torch/kernel", "compile/kernel", "oracle/kernel", "memory", "error"]
    rows = [
        [
            f"{r['batch']} x {r['vocabulary']:,} {r['dtype']}",
            str(r["steps"]),
            f"{r['adjusted']:.0%}",
            f"{r['floor_seconds'] * 1e6:.1f}",
            spread(r["seconds"]["kernel, graph"], 1e6, 1),
            f"{r['over_floor']:.2f}",
            *(spread(r["seconds"][name], 1e6, 1) for name in ("kernel", "torch", "torch.compile")),
            *(f"{r[name]['median']:.1f}" for name in ("torch_over_kernel", "compiled_over_kernel")),
            f"{r['oracle_over_kernel']:.0f}",
            f"{r['peak_memory_over_logits']:.2f}",
            f"{r['max_error']:.1e}",
        ]
        for r in results
    ]
    return table(header, rows)


# --- the loss ----------------------------------------------------------------------------------------------------


def naive(hidden: Tensor, weight: Tensor, token_weight: Tensor) -> Tensor:
    log_p = (hidden @ weight.T).float().log_softmax(-1)
    return (-(log_p.exp() * log_p).sum(-1) * token_weight).sum()


def trl_head(hidden: Tensor, weight: Tensor, token_weight: Tensor) -> Tensor:
    """Run what `add_fused_lm_head(model, outputs=("log_probs", "entropy"))` calls, with its default width."""
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    labels = torch.zeros(hidden.shape[0], dtype=torch.long, device=hidden.device)
    outputs = ("log_probs", "entropy")
    parts = ChunkedLogProbFunction.apply(hidden, weight, None, labels, 1.0, TRL_WIDTH, None, 1.0, outputs)
    return (parts[1] * token_weight).sum()


def one_pass(tile: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda hidden, weight, w: linear_entropy(hidden, weight, token_weight=w, tile=tile)


# The default of `add_fused_lm_head`'s chunk_size.
TRL_WIDTH = 32_768
LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "whole logits": naive,
    "TRL's fused head": trl_head,
    "linear_entropy": lambda hidden, weight, w: (linear_entropy(hidden, weight) * w).sum(),
    "linear_entropy, token_weight": one_pass(256),
    "linear_entropy, token_weight, tile 1024": one_pass(1024),
    "linear_entropy, token_weight, tile 4096": one_pass(4096),
    "linear_entropy, token_weight, frozen head": one_pass(256),
}


def measure_loss(name: str, tokens: int, repeats: int) -> dict[str, Any]:
    """Measure forward and backward pass: seconds, peak memory above the inputs, error of the gradient on `hidden`."""
    torch.cuda.empty_cache()
    generator = torch.Generator(DEVICE).manual_seed(0)
    hidden = torch.randn(tokens, HIDDEN, generator=generator, device=DEVICE, dtype=torch.bfloat16).requires_grad_()
    weight = torch.randn(HEAD, HIDDEN, generator=generator, device=DEVICE, dtype=torch.bfloat16).mul_(0.05)
    weight.requires_grad_("frozen" not in name)
    token_weight = torch.rand(tokens, generator=generator, device=DEVICE)
    seconds, before = [], torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    try:
        for _ in range(repeats + 1):
            hidden.grad = weight.grad = None
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            LOSSES[name](hidden, weight, token_weight).backward()
            end.record()
            end.synchronize()
            seconds.append(start.elapsed_time(end) / 1e3)
    except torch.OutOfMemoryError:
        return {"method": name, "tokens": tokens, "out_of_memory": True}
    peak = torch.cuda.max_memory_allocated() - before
    assert hidden.grad is not None
    few = hidden.detach()[:64].float().requires_grad_()
    naive(few, weight.detach().float(), token_weight[:64]).backward()
    assert few.grad is not None
    wrong = (hidden.grad[:64].float() - few.grad).norm() / few.grad.norm()
    measured = {"seconds": quartiles(seconds[1:]), "peak_bytes": peak, "gradient_error": wrong.item()}
    return {"method": name, "tokens": tokens, **measured}


def loss_table(results: list[dict[str, Any]]) -> str:
    """Return the table of ms and GiB above the inputs; gradient errors are relative, to whole logits in float32."""
    rows = []
    for r in results:
        if "out_of_memory" in r:
            figures = ["out of memory", "", ""]
        else:
            figures = [spread(r["seconds"], 1e3, 1), f"{r['peak_bytes'] / 2**30:.2f}", f"{r['gradient_error']:.1e}"]
        rows.append([r["method"], f"{r['tokens']:,}", *figures])
    return table(["loss", "tokens", "ms", "GiB", "gradient error"], rows)


def gpu_environment() -> dict[str, Any]:
    import triton

    record = environment("benchmarks.em_inf_gpu")
    card = torch.cuda.get_device_properties(0)
    record["versions"] |= {"triton": triton.__version__, "cuda": torch.version.cuda or torch.version.hip}
    return {**record, "gpu": card.name, "memory_bytes": card.total_memory, "processors": card.multi_processor_count}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two cases and few repeats; nothing is written by itself")
    parser.add_argument("--part", choices=("step", "loss"), nargs="+", default=("step", "loss"))
    parser.add_argument("--output", type=Path, help="JSON to write; the tables go beside it as .md")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        sys.exit("benchmarks.em_inf_gpu needs a GPU, and torch sees none here")
    if not minimize._has_backend("cuda"):
        sys.exit("benchmarks.em_inf_gpu measures the Triton kernel, which does not work here")
    record = gpu_environment()
    record["bandwidth_bytes_a_second"] = bandwidth()
    record["step"], record["loss"], parts = [], [], [describe(record)]
    speed = f"{record['bandwidth_bytes_a_second'] / 1e9:,.0f} GB/s copied"
    parts.append(f"{record['gpu']}, {record['memory_bytes'] / 2**30:.0f} GiB, {speed}.")
    if "step" in options.part:
        for case in step_cases(options.quick):
            torch.compiler.reset()  # so that the next case does not count as a change of shapes
            record["step"].append(measure_step(case, record["bandwidth_bytes_a_second"], 3 if options.quick else 15))
            print(".", end="", flush=True, file=sys.stderr)
        parts.append(step_table(record["step"]))
    if "loss" in options.part:
        for tokens in TOKENS[: 1 if options.quick else None]:
            record["loss"] += [measure_loss(name, tokens, 1 if options.quick else 5) for name in LOSSES]
        parts.append(loss_table(record["loss"]))
    print(file=sys.stderr)
    text = "\n\n".join(parts)
    print(text)
    card = re.sub(r"[^a-z0-9]+", "-", record["gpu"].lower()).strip("-")
    default = Path(__file__).parent / "results" / f"em_inf_gpu-{card}-{record['date']}.json"
    write(options.output or (None if options.quick else default), record, text)


if __name__ == "__main__":
    main()
