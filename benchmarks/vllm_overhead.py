"""The cost of EM-INF in a vLLM engine: SmolLM2 with all requests using it, and with none.

    .venv-vllm/bin/python -m benchmarks.vllm_overhead [--quick] [--output FILE.json]

Runs in the environment with vLLM (`make vllm-venv`). All kinds of batch go through one engine in this process, in turn.
The clocks time each whole engine step (scheduling, forward pass, EM-INF, draw, detokenizing) and, within it, the
processor. Prefill steps are left out. vLLM uses all cores, or OMP_NUM_THREADS threads with
VLLM_CPU_OMP_THREADS_BIND=nobind.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the engine steps in this process, where both clocks are
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

import torch
import vllm
from vllm import LLM, SamplingParams

from benchmarks.common import cpu_dtype, describe, environment, quartiles, spread, table, write
from em_hf.generation.vllm import EntropyMinVLLMProcessor
from tests.smollm2 import smollm2_folder

BATCHES = (1, 8, 32)
PROMPT = "Question {}: a shop sells pens, books and maps. Write down a story about somebody who buys one.\n"
KINDS: dict[str, Any] = {
    "without EM-INF": None,
    "EM-INF": True,
    "10 steps": {"n_grad_steps": 10, "threshold": 0.1},
}


class Clock:
    """Seconds inside the processor since the last `take`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def take(self) -> float:
        taken, self.seconds = self.seconds, 0.0
        return taken

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Run the block with `update_state` and `apply` timed."""
        kept = {name: getattr(EntropyMinVLLMProcessor, name) for name in ("update_state", "apply")}
        for name, method in kept.items():
            setattr(EntropyMinVLLMProcessor, name, self._clocked(method))
        try:
            yield
        finally:
            for name, method in kept.items():
                setattr(EntropyMinVLLMProcessor, name, method)

    def _clocked(self, method: Callable) -> Callable:
        def clocked(processor: Any, *args: Any) -> Any:
            start = time.perf_counter()
            out = method(processor, *args)
            self.seconds += time.perf_counter() - start
            return out

        return clocked


def decode(llm: LLM, clock: Clock, batch: int, value: Any, tokens: int, seed: int) -> list[tuple[float, float]]:
    """Return (seconds of the step, seconds of the processor) of every step that decodes a token of all requests."""
    engine = llm.llm_engine
    for i in range(batch):
        extra = None if value is None else {"entropy_min": value}
        sampling = SamplingParams(max_tokens=tokens, ignore_eos=True, seed=seed + i, extra_args=extra)
        engine.add_request(f"{seed}-{i}", PROMPT.format(i), sampling)
    steps = []
    while engine.has_unfinished_requests():
        clock.take()
        start = time.perf_counter()
        engine.step()
        steps.append((time.perf_counter() - start, clock.take()))
    # The prefill steps come first, and the last step only ends the requests.
    return steps[-tokens + 2 : -1]


def measure(llm: LLM, batch: int, runs: int, tokens: int) -> list[dict[str, Any]]:
    clock = Clock()
    steps: dict[str, list[tuple[float, float]]] = {name: [] for name in KINDS}
    with clock.attached():
        decode(llm, clock, batch, True, tokens, 10_000)
        for run in range(runs):
            names = list(KINDS)
            for name in names[run % len(names) :] + names[: run % len(names)]:
                steps[name] += decode(llm, clock, batch, KINDS[name], tokens, run * 100)
    results = []
    for name, clocked in steps.items():
        whole, inside = [s for s, _ in clocked], [i for _, i in clocked]
        results.append(
            {
                "name": name,
                "batch": batch,
                "steps": len(clocked),
                "step_seconds": quartiles(whole),
                "inside_seconds": quartiles(inside),
                "share_of_step": quartiles([i / s for s, i in clocked]),
                "share_of_time": sum(inside) / sum(whole),
            }
        )
    plain = results[0]["step_seconds"]["median"]
    return [{**result, "step_over_plain": result["step_seconds"]["median"] / plain} for result in results]


HEADER = (
    "decode",
    "batch",
    "steps",
    "step, ms",
    "processor, ms",
    "a row, ms",
    "share of the step, %",
    "share of all time, %",
    "step over plain",
)


def row(result: dict[str, Any]) -> list[str]:
    return [
        result["name"],
        str(result["batch"]),
        str(result["steps"]),
        spread(result["step_seconds"], 1e3, 1),
        spread(result["inside_seconds"], 1e3, 3),
        f"{result['inside_seconds']['median'] / result['batch'] * 1e3:.3f}",
        spread(result["share_of_step"], 100),
        f"{result['share_of_time'] * 100:.2f}",
        f"{result['step_over_plain']:.3f}",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps, figures not to be kept")
    parser.add_argument("--output", type=Path, help="JSON to write; the table goes beside it as .md")
    options = parser.parse_args(arguments)
    record = environment("benchmarks.vllm_overhead")
    record["versions"]["vllm"] = vllm.__version__
    record["dtype"] = cpu_dtype()
    llm = LLM(
        str(smollm2_folder()),
        dtype=record["dtype"],
        max_model_len=512,
        enforce_eager=True,
        max_num_seqs=max(BATCHES),
        kv_cache_memory_bytes=2**30,
        disable_log_stats=True,
    )
    record["threads"] = torch.get_num_threads()
    runs, tokens = (1, 12) if options.quick else (4, 48)
    results = [line for batch in BATCHES for line in measure(llm, batch, runs, tokens)]
    how = f"{describe(record)} Threads: {record['threads']}; {record['dtype']}."
    text = f"{how}\n\n{table(HEADER, [row(result) for result in results])}"
    print(text)
    write(options.output, {**record, "results": results}, text)


if __name__ == "__main__":
    main()
