"""The time of one EM-INF step: each CPU implementation of `minimize_entropy`, and the naive oracle.

    python -m benchmarks.em_inf_step [--quick] [--output FILE.json]

They take turns on each batch of rows within one process, so that ratios hold on a busy machine too.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import describe, environment, interleaved, quartiles, ratios, spread, table, write
from benchmarks.rows import by_entropy, decoded_rows, flat_rows, smollm2, stretched
from em_hf import EntropyMinConfig, minimize_entropy
from em_hf.generation import backends, compiled
from em_hf.generation.binned import optimize_binned
from em_hf.generation.compiled import optimize_compiled
from tests.reference import minimize_entropy_row

THREADS = (1,)
MEMORY_BATCH = 8
DEFAULTS, HARD = EntropyMinConfig(), EntropyMinConfig(n_grad_steps=10)


@dataclass(frozen=True)
class Case:
    """A kind of rows `[N, V]`, the batch sizes to measure it in, and the settings."""

    source: str
    kind: str
    rows: Tensor
    batches: tuple[int, ...] = (1, 8, 32)
    config: EntropyMinConfig = DEFAULTS


def oracle(logits: Tensor, config: EntropyMinConfig) -> Tensor:
    """Run the naive program on a batch `[N, V]`: autograd and torch.optim.Adam, a row at a time."""
    names = ("threshold", "n_grad_steps", "learning_rate", "kl_weight", "optimizer")
    settings = {name: getattr(config, name) for name in names}
    return torch.stack([minimize_entropy_row(row, **settings) for row in logits])


def through(backend: Callable) -> Callable[[Tensor, EntropyMinConfig], Tensor]:
    """Return `minimize_entropy` with the given backend."""

    def call(logits: Tensor, config: EntropyMinConfig) -> Tensor:
        chosen = backends.BACKENDS["cpu"]
        backends.register_backend("cpu", backend)
        try:
            return minimize_entropy(logits, config)
        finally:
            backends.register_backend("cpu", chosen)

    return call


def plain(rows: Tensor, live: Tensor, config: EntropyMinConfig) -> None:
    """Leave all rows to `minimize.py`, as without a backend."""


CONTENDERS: dict[str, Callable[[Tensor, EntropyMinConfig], Tensor]] = {
    "compiled": through(optimize_compiled),
    "binned": through(optimize_binned),
    "plain": through(plain),
    "oracle": oracle,
}


WAYS = [name for name in CONTENDERS if name != "oracle"]


def touched(rows: Tensor, config: EntropyMinConfig) -> dict[str, float]:
    """Return the share of adjusted rows, and of their entries that are likely, `log p > -(H + 1.5)`, in float64."""
    log_p = rows.double().log_softmax(-1)
    h = torch.special.entr(log_p.exp()).sum(-1, keepdim=True)
    adjusted = (h >= config.threshold)[:, 0]
    likely = (log_p > -(h + 1.5))[adjusted].double().mean().item() if adjusted.any() else 0.0
    return {"adjusted": adjusted.double().mean().item(), "likely": likely}


def errors(rows: Tensor, config: EntropyMinConfig) -> dict[str, float]:
    """Return the largest error in probability of each program against the oracle in float64."""
    exact = oracle(rows.double(), config).softmax(-1)
    return {
        name: (call(rows, config).double().softmax(-1) - exact).abs().max().item() for name, call in CONTENDERS.items()
    }


def memory(rows: Tensor, config: EntropyMinConfig) -> dict[str, float]:
    """Return the peak memory of each program, including its result, as a multiple of the size of `rows`.

    This is the peak of the running sum of torch's allocations, as its profiler reports them.
    """
    peaks = {}
    for name, call in CONTENDERS.items():
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            call(rows, config)
        events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
        sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
        peaks[name] = int(torch.tensor(sizes).cumsum(0).max()) / rows.nbytes
    return peaks


def measure(case: Case, repeats: dict[int, int], sample: int) -> list[dict[str, Any]]:
    """Measure the case at every batch size and thread count."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    shared = {
        "source": case.source,
        "kind": case.kind,
        "vocabulary": case.rows.shape[1],
        "rows_available": case.rows.shape[0],
        "steps": case.config.n_grad_steps,
        "max_error": errors(case.rows[torch.randperm(len(case.rows), generator=generator)[:sample]], case.config),
        "touched": touched(case.rows[:64], case.config),
        "peak_memory_over_logits": memory(case.rows[:MEMORY_BATCH], case.config),
    }
    results = []
    for batch in case.batches:
        # Rows repeat in later batches if the group is small, and within a batch if the group is smaller than it.
        picks = [torch.randperm(len(case.rows), generator=generator) for _ in range(repeats[batch])]
        inputs = [case.rows[pick.repeat(-(-batch // len(pick)))[:batch]] for pick in picks]
        for threads in THREADS:
            torch.set_num_threads(threads)
            calls = {name: (lambda rows, call=call: call(rows, case.config)) for name, call in CONTENDERS.items()}
            times = interleaved(calls, inputs)
            results.append(
                {
                    **shared,
                    "batch": batch,
                    "threads": threads,
                    "repeats": len(inputs),
                    "wall_seconds": {name: quartiles(taken.wall) for name, taken in times.items()},
                    "cpu_seconds": {name: quartiles(taken.cpu) for name, taken in times.items()},
                    **{
                        f"oracle_over_{name}{clock}": ratios(getattr(times["oracle"], kind), getattr(times[name], kind))
                        for name in WAYS
                        for clock, kind in (("", "wall"), ("_cpu", "cpu"))
                    },
                }
            )
            print(".", end="", flush=True, file=sys.stderr)
    return results


def parts(row: Tensor) -> dict[str, Callable[[], object]]:
    """Return calls on one row `[1, V]` and on what they consist of.

    "any row" is a row of 64 entries: what every call costs. Before "not cached" other memory is written, as by a
    model's forward pass. "largest" and "sums" are the passes that a row below the threshold takes, too; "row" is all
    that is compiled.
    """
    z, out, numbers = row[0].numpy(), torch.empty_like(row[0]).numpy(), compiled._numbers(DEFAULTS, True)
    top = compiled._largest(z)
    return {
        "any row": lambda: minimize_entropy(row[:, :64], DEFAULTS),
        "not cached": lambda: minimize_entropy(row, DEFAULTS),
        "cached": lambda: minimize_entropy(row, DEFAULTS),
        "largest": lambda: compiled._largest(z),
        "sums": lambda: compiled._sums(z, top, out),
        "row": lambda: compiled._optimize_row(z, out, True, *numbers),
    }


def one_call(rows: Tensor, repeats: int) -> dict[str, dict[str, float]]:
    """Return the seconds of `parts`, on one thread."""
    torch.set_num_threads(1)
    other = torch.zeros(32 * 2**20)  # 128 MB
    found: dict[str, list[float]] = {}
    for i in range(repeats):
        for name, call in parts(rows[i % len(rows)][None].clone()).items():
            call()
            if name == "not cached":
                other.add_(1)
            start = time.perf_counter()
            call()
            found.setdefault(name, []).append(time.perf_counter() - start)
    return {name: quartiles(seconds) for name, seconds in found.items()}


def cases(quick: bool) -> list[Case]:
    """Return all cases; `quick` decodes fewer steps, so that groups are smaller."""
    model, tokenizer = smollm2()
    steps = 12 if quick else 40
    chat = decoded_rows(model, tokenizer, chat=True, steps=steps)
    base = decoded_rows(model, tokenizer, chat=False, steps=steps)
    groups = {49_152: by_entropy(chat), 151_936: by_entropy(stretched(chat[torch.randperm(len(chat))[:240]], 151_936))}
    large = stretched(base[torch.randperm(len(base))[: 64 if quick else 128]], 262_144)
    groups[262_144] = {kind: rows for kind, rows in by_entropy(large).items() if kind != "H < 0.3"}
    found = []
    for vocabulary, kinds in groups.items():
        source = "SmolLM2" if vocabulary == 49_152 else "stretched"
        for config in (DEFAULTS, HARD):
            found += [Case(source, kind, rows, config=config) for kind, rows in kinds.items() if len(rows)]
            found.append(Case("noise", "flat", flat_rows(32, vocabulary), config=config))
    return found


def label(result: dict[str, Any]) -> str:
    return f"{result['vocabulary']:,}: {result['source']}, {result['kind']}"


def speed_table(results: list[dict[str, Any]]) -> str:
    """Return milliseconds per call, and ratios repeat by repeat: `median (q1-q3)`; the last ones by CPU time."""
    header = ["logits", "steps", "batch", *(f"{name}, ms" for name in CONTENDERS)]
    header += [f"oracle/{name}" for name in WAYS] + [f"oracle/{name}, CPU" for name in WAYS]
    rows = [
        [
            label(result),
            *(str(result[name]) for name in ("steps", "batch")),
            *(spread(result["wall_seconds"][name], 1e3) for name in CONTENDERS),
            *(spread(result[f"oracle_over_{name}"], digits=1) for name in WAYS),
            *(f"{result[f'oracle_over_{name}_cpu']['median']:.1f}" for name in WAYS),
        ]
        for result in results
    ]
    return table(header, rows)


def call_table(calls: list[dict[str, Any]]) -> str:
    """Format what `one_call` returns, in milliseconds."""
    kinds = list(calls[0]["seconds"])
    rows = [[call["logits"], *(spread(call["seconds"][kind], 1e3) for kind in kinds)] for call in calls]
    return table(["logits", *(f"{kind}, ms" for kind in kinds)], rows)


def case_table(results: list[dict[str, Any]]) -> str:
    """Return the results that do not depend on timing, one line per case; memory is that of a batch of 8."""
    header = ["logits", "steps", "rows", "adjusted", "log p > -(H + 1.5)"]
    header += [f"error, {name}" for name in CONTENDERS] + [f"memory, {name}" for name in CONTENDERS]
    rows = {
        (label(result), result["steps"]): [
            label(result),
            str(result["steps"]),
            str(result["rows_available"]),
            f"{result['touched']['adjusted']:.0%}",
            f"{result['touched']['likely']:.2%}",
            *(f"{result['max_error'][name]:.1e}" for name in CONTENDERS),
            *(f"{result['peak_memory_over_logits'][name]:.1f}" for name in CONTENDERS),
        ]
        for result in results
    }
    return table(header, list(rows.values()))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repeats, figures not to be kept")
    parser.add_argument("--output", type=Path, help="JSON to write; the table goes beside it as .md")
    options = parser.parse_args(arguments)
    record = environment("benchmarks.em_inf_step")
    repeats = {1: 9, 8: 3, 32: 3} if options.quick else {1: 40, 8: 10, 32: 5}
    torch.set_num_threads(1)
    torch.manual_seed(0)
    measured = cases(options.quick)
    results = [line for case in measured for line in measure(case, repeats, 2 if options.quick else 8)]
    print(file=sys.stderr)
    calls = [
        {
            "logits": label(vars(case) | {"vocabulary": case.rows.shape[1]}),
            "seconds": one_call(case.rows, 9 if options.quick else 60),
        }
        for case in measured
        if case.config == DEFAULTS and case.kind == "H >= 3"
    ]
    text = "\n\n".join(
        [describe(record), speed_table(results), "One row, compiled, 3 steps:", call_table(calls), case_table(results)]
    )
    print(text)
    write(options.output, {**record, "results": results, "calls": calls}, text)


if __name__ == "__main__":
    main()
