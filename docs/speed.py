"""The page on speed and memory, made from the records in benchmarks/results: `python -m docs.reference` writes it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import em_hf
from em_hf.markdown import markdown_table

RESULTS = Path(em_hf.__file__).resolve().parents[1] / "benchmarks" / "results"
# The sections in the order of the page: heading, name of the record, and what is measured.
SECTIONS = (
    ("The step", "em_inf_step-cpu", "One EM-INF step on rows of logits, by each of em-hf's ways on a CPU: *compiled* "
     "is numba's (`pip install em-hf[fast]`), *binned* is for long rows and many steps, *plain* is torch's operators. "
     "The *oracle* is autograd and `torch.optim.Adam`, a row at a time, as the paper's public code does it."),
    ("In transformers", "decode_overhead-cpu", "The share of SmolLM2-135M's decoding step that EM-INF takes. A larger "
     "model's step is longer and EM-INF's is not, so the share falls."),
    ("In vLLM", "vllm_overhead-cpu", "The same in vLLM's engine: what the processor takes of each step. The share "
     "depends on the machine: a faster one, on 2026-11-23, took 17, 25 and 52 ms a step in bfloat16, of which EM-INF "
     "as it was in version 0.1.0 took 2.9%, 7.1% and 10.9%."),
    ("In llama.cpp", "llama_cpp-cpu", "gemma-3-270m from its GGUF file. llama-cpp-python hands the logits of each step "
     "to Python as soon as there is any processor, which the idle one shows."),
    ("In the app", "app_latency-cpu", "What the live page adds to a decode of SmolLM2."),
    ("EM-FT's loss", "em_ft_memory-cpu", "Peak memory and time of the entropy loss."),
    ("EM-FT with vLLM", "em_ft_engines-cpu", "A whole step of EM-FT with three samplers."),
    ("Side by side", "amd-epyc-2-cores", "What `make bench` prints: em-hf beside its alternatives."),
)  # fmt: skip


def record(name: str) -> dict[str, Any]:
    """Return the JSON of a record."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def targets() -> Iterator[tuple[str, str, str, bool, str]]:
    """Yield each target: its measure, the goal, the measured value, whether it is reached, and what limits it."""
    step = [r for r in record("em_inf_step-cpu")["results"] if r["kind"] in ("0.3 < H < 3", "H >= 3")]
    for vocabulary, steps, aim in ((49_152, 3, 15), (151_936, 3, 15), (262_144, 10, 20)):
        for batches in ((1,), (8, 32)):
            of = [
                r["oracle_over_compiled"]["median"]
                for r in step
                if (r["vocabulary"], r["steps"]) == (vocabulary, steps) and r["batch"] in batches
            ]
            batch = " and ".join(map(str, batches))
            yield (
                f"adjusted rows of {vocabulary:,} entries, {steps} steps, batch {batch}, one thread: times as fast as "
                "autograd and Adam",
                f"at least {aim}",
                f"{min(of):.1f} to {max(of):.1f}",
                min(of) >= aim,
                cost_of_a_row(vocabulary),
            )
    for batch, aim in ((1, 0.6), (8, 1.2)):
        of = record("decode_overhead-cpu")["results"]
        yield share(
            "SmolLM2's decoding step in transformers, two threads", of, aim, name="ours", batch=batch, threads=2
        )
    for batch, aim in ((1, 1.5), (8, 3), (32, 4)):
        of = record("vllm_overhead-cpu")["results"]
        yield share("SmolLM2's step in vLLM, one thread", of, aim, name="EM-INF", batch=batch)
    engines = {r["way"]: r for r in record("em_ft_engines-cpu")["results"] if r["model"] == "smollm2"}
    seconds, sampling = ({way: r[part]["median"] for way, r in engines.items()} for part in ("seconds", "sampling"))
    ratio = seconds["before"] / seconds["vllm"]
    yield (
        "a step of EM-FT on SmolLM2 with vLLM: times as fast as before TRL",
        "at least 2",
        f"{ratio:.2f}",
        ratio >= 2,
        f"Sampling takes {sampling['vllm']:.0f} s with vLLM and took {sampling['before']:.0f} s before. The loss, its "
        f"backward pass and the optimizer take {seconds['vllm'] - sampling['vllm']:.0f} s and took "
        f"{seconds['before'] - sampling['before']:.0f} s: full fine-tuning in float32 is bound by the processor's "
        "matrix products.",
    )


def cost_of_a_row(vocabulary: int) -> str:
    """Return where the time of one call on one adjusted row goes, from the profile in the step's record."""
    (call,) = (c for c in record("em_inf_step-cpu")["calls"] if c["logits"].startswith(f"{vocabulary:,}:"))
    ms = {part: 1000 * seconds["median"] for part, seconds in call["seconds"].items()}
    return (
        f"A call takes {ms['any row']:.2f} ms before it reads an entry (Python, torch and the call of the compiled "
        f"code), the arithmetic on a row in the cache {ms['row']:.2f} ms, and fetching a row that is not in the cache "
        f"another {ms['not cached'] - ms['cached']:.2f} ms. At batch 1 nothing shares the first."
    )


def share(what: str, results: list[dict[str, Any]], aim: float, **of: Any) -> tuple[str, str, str, bool, str]:
    """Return the target of EM-INF's share of a step, measured in the one result with the values `of`."""
    (result,) = (r for r in results if of.items() <= r.items())
    found = 100 * result["share_of_step"]["median"]
    measure = f"EM-INF's share of {what}, batch {of['batch']}"
    return measure, f"at most {aim}%", f"{found:.2f}%", found <= aim, cost_of_a_row(49_152)


def speed_page() -> str:
    """Return the page as Markdown."""
    measured = list(targets())
    rows = [[what, aim, found, "yes" if met else "**no**"] for what, aim, found, met, _ in measured]
    missed = [f"- {what[0].upper()}{what[1:]}: {found}. {why}" for what, _, found, met, why in measured if not met]
    parts = [
        "# Speed and memory",
        "What EM-INF and EM-FT cost, measured. Both sides of every comparison took turns in one run, so that ratios "
        "carry over to other machines better than times. Each table is headed by its command, date, machine and "
        "versions, and by the commit since 2026-11-26.",
        markdown_table(["measure", "target", "measured", "reached"], rows),
    ]
    if missed:
        parts += ["## What is missed, and why", "\n".join(missed)]
    for heading, name, said in SECTIONS:
        text = (RESULTS / f"{name}.md").read_text(encoding="utf-8").strip()
        lines = [line for line in text.splitlines() if not line.startswith(("# ", "!["))]
        parts += [f"## {heading}", said, "\n".join(lines).replace("\n## ", "\n### ").strip()]
    return "\n\n".join(parts) + "\n"
