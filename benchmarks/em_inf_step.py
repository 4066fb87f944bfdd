"""How long one EM-INF step takes: `minimize_entropy`, a dense closed form and the naive oracle on the same rows.

    python -m benchmarks.em_inf_step [--quick] [--output FILE.json]

The three take turns on each batch of rows within one process, so that ratios hold on a busy machine too.
"""

import argparse
import sys
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
from em_hf.generation import minimize
from tests.reference import minimize_entropy_row

THREADS = (1, 2)
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


@torch.no_grad()
def minimize_entropy_dense(logits: Tensor, config: EntropyMinConfig) -> Tensor:
    """EM-INF with Adam from the known gradient, all entries of a batch `[N, V]` at once: the plain way to be fast.

    Rows below the threshold are left out before the first step; it has no cut of the tail and no blocks.
    """
    log_p0 = logits.log_softmax(-1)
    p0 = log_p0.exp()
    moving = -(p0 * log_p0).sum(-1) >= config.threshold
    out = logits.clone()
    if not moving.any():
        return out
    if not moving.all():
        log_p0, p0 = log_p0[moving], p0[moving]
    z, m, v = log_p0.clone(), torch.zeros_like(p0), torch.zeros_like(p0)
    beta1, beta2 = minimize.ADAM_BETA1, minimize.ADAM_BETA2
    going = torch.ones(z.shape[0], 1, dtype=torch.bool)
    log_p, p = log_p0, p0
    for step in range(1, config.n_grad_steps + 1):
        if step > 1:
            log_p = z.log_softmax(-1)
            p = log_p.exp()
        entropy = -torch.linalg.vecdot(p, log_p)[:, None]
        going &= entropy >= config.threshold
        if not going.any():
            break
        gradient = p.mul(log_p + entropy).neg_().add_(p - p0, alpha=config.kl_weight)
        m.mul_(beta1).add_(gradient, alpha=1 - beta1)
        v.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        size = m if going.all() else m * going
        scale = v.div(1 - beta2**step).sqrt_().add_(minimize.ADAM_EPSILON)
        z.addcdiv_(size, scale, value=-config.learning_rate / (1 - beta1**step))
    out[moving] += z.sub_(log_p0)
    return out


def oracle(logits: Tensor, config: EntropyMinConfig) -> Tensor:
    """The naive program on a batch `[N, V]`: autograd and torch.optim.Adam, a row at a time."""
    names = ("threshold", "n_grad_steps", "learning_rate", "kl_weight", "optimizer")
    settings = {name: getattr(config, name) for name in names}
    return torch.stack([minimize_entropy_row(row, **settings) for row in logits])


CONTENDERS: dict[str, Callable[[Tensor, EntropyMinConfig], Tensor]] = {
    "ours": minimize_entropy,
    "dense": minimize_entropy_dense,
    "oracle": oracle,
}


def touched(rows: Tensor, config: EntropyMinConfig) -> dict[str, float]:
    """Which share of rows is adjusted, and which share of their entries is treated one by one.

    Counted here from H and log p in float64: `above_edge` are the entries with log p > -(H + margin), which are the
    ones whose gradient may change sign; `one_by_one` are those that share a block with one of them, or all the
    entries of a row where these blocks are more than half.
    """
    log_p = rows.double().log_softmax(-1)
    h = torch.special.entr(log_p.exp()).sum(-1, keepdim=True)
    adjusted = (h >= config.threshold)[:, 0]
    result = {"adjusted": adjusted.double().mean().item(), "above_edge": 0.0, "one_by_one": 0.0}
    if adjusted.any():
        above = (log_p > -(h + minimize._MARGIN))[adjusted]
        blocks = torch.nn.functional.pad(above, (0, -above.shape[1] % minimize._BLOCK))
        share = blocks.unflatten(1, (-1, minimize._BLOCK)).any(-1).double().mean(1)
        result["above_edge"] = above.double().mean().item()
        result["one_by_one"] = torch.where(share > 0.5, 1.0, share).mean().item()
    return result


def errors(rows: Tensor, config: EntropyMinConfig) -> dict[str, float]:
    """Largest error in probability of each program against the oracle in float64."""
    exact = oracle(rows.double(), config).softmax(-1)
    return {
        name: (call(rows, config).double().softmax(-1) - exact).abs().max().item() for name, call in CONTENDERS.items()
    }


def memory(rows: Tensor, config: EntropyMinConfig) -> dict[str, float]:
    """The most that each program held at once, its result included, as a multiple of the size of `rows`.

    It is the peak of the running sum of torch's allocations, as its profiler reports them.
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
    """The case at every batch size and thread count."""
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
        # Rows come back in later batches where the group is small, and within one where it is smaller than that.
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
                        f"{name}_over_ours{clock}": ratios(getattr(times[name], kind), getattr(times["ours"], kind))
                        for name in ("oracle", "dense")
                        for clock, kind in (("", "wall"), ("_cpu", "cpu"))
                    },
                }
            )
            print(".", end="", flush=True, file=sys.stderr)
    return results


def cases(quick: bool) -> list[Case]:
    """All of them; `quick` decodes fewer steps, so that groups are smaller."""
    model, tokenizer = smollm2()
    steps = 12 if quick else 40
    chat = decoded_rows(model, tokenizer, chat=True, steps=steps)
    base = decoded_rows(model, tokenizer, chat=False, steps=steps)
    found = [Case("SmolLM2", kind, rows) for kind, rows in by_entropy(chat).items()]
    found.append(Case("SmolLM2", "as decoded", chat))
    found.append(Case("noise", "flat", flat_rows(32, 49_152)))
    for kind, rows in by_entropy(stretched(chat[torch.randperm(len(chat))[:240]], 151_936)).items():
        found.append(Case("stretched", kind, rows))
    found.append(Case("noise", "flat", flat_rows(32, 151_936)))
    large = stretched(base[torch.randperm(len(base))[: 64 if quick else 128]], 262_144)
    found.append(Case("stretched base", "as decoded", large, (16,), HARD))
    found.append(Case("stretched base", "H >= 3", by_entropy(large)["H >= 3"], (16,), HARD))
    return found


def label(result: dict[str, Any]) -> str:
    return f"{result['vocabulary']:,}: {result['source']}, {result['kind']}"


def speed_table(results: list[dict[str, Any]]) -> str:
    """Milliseconds a call, and the ratios repeat by repeat: `median (q1-q3)`; the last two by CPU time."""
    header = ["logits", "steps", "batch", "threads", *(f"{name}, ms" for name in CONTENDERS)]
    header += ["oracle/ours", "dense/ours", "oracle/ours, CPU", "dense/ours, CPU"]
    rows = [
        [
            label(result),
            *(str(result[name]) for name in ("steps", "batch", "threads")),
            *(spread(result["wall_seconds"][name], 1e3) for name in CONTENDERS),
            *(spread(result[f"{name}_over_ours"], digits=1) for name in ("oracle", "dense")),
            *(f"{result[f'{name}_over_ours_cpu']['median']:.1f}" for name in ("oracle", "dense")),
        ]
        for result in results
    ]
    return table(header, rows)


def case_table(results: list[dict[str, Any]]) -> str:
    """What does not depend on the clock, one line a case; memory is that of a batch of 8."""
    header = ["logits", "rows", "adjusted", "log p > -(H + 1.5)", "one by one"]
    header += [f"error, {name}" for name in CONTENDERS] + [f"memory, {name}" for name in CONTENDERS]
    rows = {
        label(result): [
            label(result),
            str(result["rows_available"]),
            f"{result['touched']['adjusted']:.0%}",
            f"{result['touched']['above_edge']:.2%}",
            f"{result['touched']['one_by_one']:.1%}",
            *(f"{result['max_error'][name]:.1e}" for name in CONTENDERS),
            *(f"{result['peak_memory_over_logits'][name]:.1f}" for name in CONTENDERS),
        ]
        for result in results
    }
    return table(header, list(rows.values()))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repeats: about a minute, figures not to be kept")
    parser.add_argument("--output", type=Path, help="JSON to write; the table goes beside it as .md")
    options = parser.parse_args(arguments)
    record = environment("benchmarks.em_inf_step")
    repeats = {1: 9, 8: 3, 16: 3, 32: 3} if options.quick else {1: 60, 8: 24, 16: 12, 32: 15}
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = [line for case in cases(options.quick) for line in measure(case, repeats, 2 if options.quick else 8)]
    print(file=sys.stderr)
    text = "\n\n".join([describe(record), speed_table(results), case_table(results)])
    print(text)
    write(options.output, {**record, "results": results}, text)


if __name__ == "__main__":
    main()
