"""The cost of EM-INF in a real decode: SmolLM2 with it, without it, and with the naive oracle instead.

    python -m benchmarks.decode_overhead [--quick] [--threads N ...] [--output FILE.json]

The three decode the same prompts in turn within one process. Each decode times all its steps (forward pass, logits
processors, sampling) and, within each step, the EM-INF step alone.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel

from benchmarks.common import describe, environment, quartiles, spread, table, write
from benchmarks.rows import QUESTIONS, smollm2
from em_hf import EntropyMinLogitsProcessor, EntropyTrace
from em_hf.models import encode_prompts
from tests.reference import minimize_entropy_row

BATCHES = (1, 8)
Step = Callable[[Tensor, Tensor], Tensor]


class Clock(LogitsProcessor):
    """Processor that calls `step` on each step's logits and records arrival and duration; without `step`, arrival."""

    def __init__(self, step: Step | None) -> None:
        self.step = step
        self.arrivals: list[float] = []
        self.inside: list[float] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        start = time.perf_counter()
        out = scores if self.step is None else self.step(input_ids, scores)
        self.inside.append(time.perf_counter() - start)
        self.arrivals.append(start)
        return out

    def steps(self) -> list[tuple[float, float]]:
        """Return (seconds of the whole step, seconds of EM-INF) from one arrival of logits to the next.

        That span covers the EM-INF step of the first logits, the draw, and the next forward pass: one of each. The
        prompt's forward pass, which is longer, comes before the first arrival.
        """
        whole = [after - before for before, after in zip(self.arrivals, self.arrivals[1:])]
        return list(zip(whole, self.inside))


def oracle_step(input_ids: Tensor, scores: Tensor) -> Tensor:
    """Run the naive program in place of a processor, a row at a time, with the default settings."""
    with torch.enable_grad():
        return torch.stack([minimize_entropy_row(row) for row in scores])


def decode(model: PreTrainedModel, inputs: dict[str, Tensor], step: Step | None, tokens: int) -> tuple[Clock, float]:
    """Sample `tokens` new tokens at temperature 1; return the clock and the total seconds."""
    clock = Clock(step)
    torch.manual_seed(0)
    start = time.perf_counter()
    model.generate(
        **inputs,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        logits_processor=[clock],
    )
    return clock, time.perf_counter() - start


def measure(
    model: PreTrainedModel, tokenizer: Any, batch: int, runs: int, tokens: int, threads: int
) -> list[dict[str, Any]]:
    """Run `runs` decodes of each kind in turn; return one result for each kind."""
    torch.set_num_threads(threads)
    names = ["plain", "ours", "oracle"]
    steps: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    wall: dict[str, list[float]] = {name: [] for name in names}
    adjusted: list[Tensor] = []
    for run in range(-1, runs):  # the first warms up
        questions = [QUESTIONS[(run * batch + i) % len(QUESTIONS)] for i in range(batch)]
        inputs = encode_prompts(tokenizer, questions)
        for name in names[run % 3 :] + names[: run % 3]:
            step = {"plain": None, "ours": EntropyMinLogitsProcessor(), "oracle": oracle_step}[name]
            clock, seconds = decode(model, inputs, step, tokens if run >= 0 else 4)
            if run >= 0:
                steps[name] += clock.steps()
                wall[name].append(seconds)
        trace = EntropyTrace()  # not timed: how often EM-INF acts on these same decodes
        if run >= 0:
            decode(model, inputs, EntropyMinLogitsProcessor(trace=trace), tokens)
            adjusted.append(trace.adjusted.flatten())
    share_adjusted = torch.cat(adjusted).double().mean().item()
    return [
        {
            "name": name,
            "batch": batch,
            "threads": threads,
            "decodes": runs,
            "steps": len(steps[name]),
            "rows_adjusted": share_adjusted if name == "ours" else None,
            "step_seconds": quartiles([whole for whole, _ in steps[name]]),
            "inside_seconds": quartiles([inside for _, inside in steps[name]]),
            "share_of_step": quartiles([inside / whole for whole, inside in steps[name]]),
            "share_of_time": sum(inside for _, inside in steps[name]) / sum(whole for whole, _ in steps[name]),
            "wall_seconds": sum(wall[name]),
            "wall_over_plain": quartiles([mine / plain for mine, plain in zip(wall[name], wall["plain"])]),
        }
        for name in names
    ]


HEADER = (
    "decode",
    "batch",
    "threads",
    "steps",
    "rows adjusted",
    "step, ms",
    "EM-INF, ms",
    "share of the step, %",
    "share of all time, %",
    "wall, s",
    "wall over plain",
)


def row(result: dict[str, Any]) -> list[str]:
    plain = result["name"] == "plain"
    return [
        {"plain": "without EM-INF", "ours": "EM-INF", "oracle": "the oracle"}[result["name"]],
        str(result["batch"]),
        str(result["threads"]),
        str(result["steps"]),
        "-" if result["rows_adjusted"] is None else f"{result['rows_adjusted']:.0%}",
        spread(result["step_seconds"], 1e3, 1),
        "-" if plain else spread(result["inside_seconds"], 1e3),
        "-" if plain else spread(result["share_of_step"], 100),
        "-" if plain else f"{result['share_of_time']:.2%}".rstrip("%"),
        f"{result['wall_seconds']:.1f}",
        "-" if plain else spread(result["wall_over_plain"], digits=3),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps, figures not to be kept")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of torch, one run each; default: 1 2")
    parser.add_argument("--output", type=Path, help="JSON to write; the table goes beside it as .md")
    options = parser.parse_args(arguments)
    record = environment("benchmarks.decode_overhead")
    model, tokenizer = smollm2()
    runs, tokens = (2, 12) if options.quick else (8, 41)
    settings = [(threads, batch) for threads in options.threads for batch in BATCHES]
    results = [line for threads, batch in settings for line in measure(model, tokenizer, batch, runs, tokens, threads)]
    text = f"{describe(record)}\n\n{table(HEADER, [row(result) for result in results])}"
    print(text)
    write(options.output, {**record, "results": results}, text)


if __name__ == "__main__":
    main()
