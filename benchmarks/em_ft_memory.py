"""Memory and time of the EM-FT loss: whole logits, TRL's fused head, and `linear_entropy` in both forms.

    python -m benchmarks.em_ft_memory [--quick] [--vocabulary N ...] [--tokens N ...] [--methods NAME ...] [--runs N]
                                      [--step] [--output FILE.json]

Measures `Σ_t w_t H_t` from random hidden states `[tokens, 576]` and an LM head `[vocabulary, 576]` in float32, with its
gradients on both, on one thread. Every measurement runs in a separate process and reports peak memory above the inputs
and CPU time. The methods take turns. Without `--methods`, one that would need more than half the free memory is left
out with a notice. `--step` measures a whole EM-FT step on SmolLM2 instead, including sampling and optimizer. With
`--output`, results are added to those in the file, so that a table can be measured in parts.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import describe, environment, table, write
from em_hf import linear_entropy
from em_hf.training.compute import process_peak

HIDDEN = 576
VOCABULARIES = (49_152, 151_936)
TOKENS = (1024, 4096, 16_384)
STEP = {"prompts": 8, "new_tokens": 192}
# Number of whole float32 [tokens, vocabulary] tensors that the naive loss holds at its peak, measured at 4,096 tokens.
NAIVE_COPIES = 5


def naive(hidden: Tensor, weight: Tensor, token_weight: Tensor) -> Tensor:
    log_p = (hidden @ weight.T).log_softmax(-1)
    return (-(log_p.exp() * log_p).sum(-1) * token_weight).sum()


def trl_head(hidden: Tensor, weight: Tensor, token_weight: Tensor) -> Tensor:
    """Run what `add_fused_lm_head(model, outputs=("log_probs", "entropy"))` calls, with its own tile."""
    from trl.kernels.chunked_logprob import TOKEN_CHUNK_SIZE, ChunkedLogProbFunction

    labels = torch.zeros(hidden.shape[0], dtype=torch.long)
    outputs = ("log_probs", "entropy")
    parts = ChunkedLogProbFunction.apply(hidden, weight, None, labels, 1.0, TOKEN_CHUNK_SIZE, None, 1.0, outputs)
    return (parts[1] * token_weight).sum()


def two_passes(hidden: Tensor, weight: Tensor, token_weight: Tensor) -> Tensor:
    return (linear_entropy(hidden, weight) * token_weight).sum()


def one_pass(hidden: Tensor, weight: Tensor, token_weight: Tensor) -> Tensor:
    return linear_entropy(hidden, weight, token_weight=token_weight)


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
METHODS: dict[str, tuple[str, Loss]] = {
    "naive": ("whole logits", naive),
    "trl": ("TRL's fused head", trl_head),
    "two-passes": ("linear_entropy", two_passes),
    "one-pass": ("linear_entropy, token_weight", one_pass),
    "frozen": ("linear_entropy, token_weight, frozen head", one_pass),
}


def measure_head(method: str, vocabulary: int, tokens: int) -> dict[str, Any]:
    """Measure one forward and backward pass in this process."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, HIDDEN, generator=generator).requires_grad_()
    weight = torch.randn(vocabulary, HIDDEN, generator=generator).mul_(0.1).requires_grad_(method != "frozen")
    token_weight = torch.rand(tokens, generator=generator)
    loss = METHODS[method][1]
    small = loss(hidden[:2], weight[:64], token_weight[:2])  # does the one-time loading of a first call
    torch.autograd.grad(small, hidden)
    before, start = process_peak(), time.process_time()
    value = loss(hidden, weight, token_weight)
    value.backward()
    seconds, peak = time.process_time() - start, process_peak() - before
    assert hidden.grad is not None
    on_weight = None if weight.grad is None else weight.grad[::5000, :3].flatten().tolist()
    return {
        "seconds": seconds,
        "peak_bytes": peak,
        "loss": float(value.detach()),
        "gradients": [hidden.grad[::200, :3].flatten().tolist(), on_weight],
    }


def measure_step(method: str, count: int = STEP["prompts"], new_tokens: int = STEP["new_tokens"]) -> dict[str, Any]:
    """Measure one EM-FT step of `count` prompts on SmolLM2 in this process: sampling, loss, backward pass, AdamW."""
    from benchmarks.rows import QUESTIONS, smollm2
    from em_hf.entropy import token_entropy
    from em_hf.models import encode_prompts
    from em_hf.sampling import completion_mask, generation_config, using_generation_config
    from em_hf.training.losses import summed_entropy

    torch.set_num_threads(1)
    model, tokenizer = smollm2()
    settings = generation_config(model, tokenizer, do_sample=True, temperature=1.0, max_new_tokens=new_tokens)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    inputs = encode_prompts(tokenizer, QUESTIONS[:count])
    before = process_peak()
    torch.manual_seed(0)
    clock = [time.process_time()]
    with using_generation_config(model, settings), torch.no_grad():
        sequences = model.generate(**inputs, generation_config=settings)
    clock.append(time.process_time())
    length = sequences.shape[1] - inputs["input_ids"].shape[1]
    mask = completion_mask(sequences[:, -length:], settings.eos_token_id or [])
    attention = torch.cat([inputs["attention_mask"], mask.long()], 1)
    if method == "naive":
        positions = (attention.cumsum(-1) - 1).clamp(min=0)
        logits = model(input_ids=sequences, attention_mask=attention, position_ids=positions, use_cache=False).logits
        loss = token_entropy(logits[:, -length - 1 : -1][mask]).sum() / count
    else:
        loss = summed_entropy(model, model, sequences, attention, mask) / count
    loss.backward()
    clock.append(time.process_time())
    optimizer.step()
    clock.append(time.process_time())
    parts = dict(zip(("sampling", "loss", "optimizer"), (b - a for a, b in pairwise(clock))))
    gradients = [model.model.norm.weight.grad[::8].tolist(), model.model.embed_tokens.weight.grad[::700, :2].tolist()]
    return {
        "seconds": clock[-1] - clock[0],
        "parts": parts,
        "peak_bytes": process_peak() - before,
        "loss": float(loss.detach()),
        "tokens": int(mask.sum()),
        "gradients": gradients,
    }


def in_own_process(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.em_ft_memory", "--worker", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed ({done.returncode}):\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def free_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024


def run_cell(kind: str, cell: list[str], methods: Sequence[str], runs: int) -> list[dict[str, Any]]:
    """Measure all methods on one problem in turn, `runs` times; return one result each, with its gradient error."""
    found: dict[str, list[dict[str, Any]]] = {method: [] for method in methods}
    for run in range(runs):
        for i in range(len(methods)):
            method = methods[(i + run) % len(methods)]
            found[method].append(in_own_process(kind, method, *cell))
            print(
                f"{kind} {' '.join(cell)} {method}: {found[method][-1]['seconds']:.1f} s", file=sys.stderr, flush=True
            )
    reference = found["naive"][0] if "naive" in found else None
    return [
        {
            "kind": kind,
            "method": method,
            "cell": [int(number) for number in cell],
            "seconds": sorted(r["seconds"] for r in results)[len(results) // 2],
            "all_seconds": [r["seconds"] for r in results],
            "peak_bytes": max(r["peak_bytes"] for r in results),
            "all_peak_bytes": [r["peak_bytes"] for r in results],
            "loss": results[0]["loss"],
            "gradient_error": None if reference is None else difference(results[0], reference),
            **{name: results[0][name] for name in ("parts", "tokens") if name in results[0]},
        }
        for method, results in found.items()
    ]


def difference(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Return the largest difference between entries of the gradients, relative to the largest entry."""
    pairs = [(torch.tensor(x), torch.tensor(y)) for x, y in zip(a["gradients"], b["gradients"]) if x is not None]
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in pairs)


HEADER = ("loss", "vocabulary", "tokens", "peak, MB", "of naive", "seconds", "of naive", "of TRL's", "gradient error")
STEP_HEADER = (
    "loss",
    "tokens",
    "peak, MB",
    "of naive",
    "sampling, s",
    "loss and backward, s",
    "AdamW, s",
    "gradient error",
)


def ratio(result: dict[str, Any], other: dict[str, Any] | None, name: str) -> str:
    return "-" if other is None else f"{result[name] / other[name]:.2f}"


def shown(results: list[dict[str, Any]]) -> str:
    """Return the tables of all results, in the order of the problems."""
    at = {(r["kind"], *r["cell"], r["method"]): r for r in results}
    heads, steps = [], []
    for r in sorted(results, key=lambda r: (r["kind"], r["cell"], list(METHODS).index(r["method"]))):
        peers = {name: at.get((r["kind"], *r["cell"], name)) for name in ("naive", "trl")}
        error = "-" if r["gradient_error"] is None else f"{r['gradient_error']:.0e}"
        name = METHODS[r["method"]][0]
        megabytes = f"{r['peak_bytes'] / 1e6:,.0f}"
        if r["kind"] == "head":
            times = [f"{r['seconds']:.2f}", *(ratio(r, peers[name], "seconds") for name in ("naive", "trl"))]
            size = [f"{number:,}" for number in r["cell"]]
            heads.append(
                [METHODS[r["method"]][0], *size, megabytes, ratio(r, peers["naive"], "peak_bytes"), *times, error]
            )
        else:
            seconds = [f"{value:.1f}" for value in r["parts"].values()]
            memory = [megabytes, ratio(r, peers["naive"], "peak_bytes")]
            steps.append([name, f"{r['tokens']:,}", *memory, *seconds, error])
    texts = []
    if heads:
        texts.append(f"The loss alone, hidden size {HIDDEN}:\n\n{table(HEADER, heads)}")
    if steps:
        texts.append(f"A whole EM-FT step on SmolLM2, {STEP['prompts']} prompts:\n\n{table(STEP_HEADER, steps)}")
    return "\n\n".join(texts)


def fitting(methods: Sequence[str] | None, vocabulary: int, tokens: int) -> list[str]:
    if methods is not None:
        return list(methods)
    needed = NAIVE_COPIES * 4 * vocabulary * tokens
    if needed < free_bytes() / 2:
        return list(METHODS)
    print(f"Whole logits left out at {tokens} x {vocabulary}: they need about {needed / 1e9:.0f} GB", file=sys.stderr)
    return [name for name in METHODS if name != "naive"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,024 tokens of one vocabulary, once; not to be kept")
    parser.add_argument("--vocabulary", type=int, nargs="+", default=list(VOCABULARIES))
    parser.add_argument("--tokens", type=int, nargs="+", default=list(TOKENS))
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    parser.add_argument("--runs", type=int, default=1, help="of each; the median time is shown")
    parser.add_argument("--step", action="store_true", help="a whole EM-FT step on SmolLM2")
    parser.add_argument("--output", type=Path, help="JSON to add to; the tables go beside it as .md")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        kind, method, *sizes = options.worker
        print(json.dumps((measure_step if kind == "step" else measure_head)(method, *map(int, sizes))))
        return
    if options.quick:
        options.vocabulary, options.tokens = VOCABULARIES[:1], TOKENS[:1]
    record = environment("benchmarks.em_ft_memory")
    if options.step:
        results = run_cell("step", [], options.methods or ["naive", "one-pass"], options.runs)
    else:
        results = []
        for vocabulary in options.vocabulary:
            for tokens in options.tokens:
                methods = fitting(options.methods, vocabulary, tokens)
                results += run_cell("head", [str(vocabulary), str(tokens)], methods, options.runs)
    note = ""
    if options.output and options.output.is_file():
        note = " Measured in parts, by commands of this form; the last one is named."
        new = {(r["kind"], *r["cell"], r["method"]) for r in results}
        earlier = json.loads(options.output.read_text())["results"]
        results = [r for r in earlier if (r["kind"], *r["cell"], r["method"]) not in new] + results
    text = f"{describe(record)}{note}\n\n{shown(results)}"
    print(text)
    write(options.output, {**record, "results": results}, text)


if __name__ == "__main__":
    main()
