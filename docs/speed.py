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
    ("In vLLM", "vllm_overhead-cpu", "The same in vLLM's engine: what the processor takes of each step."),
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


def targets() -> Iterator[tuple[str, str, str, bool]]:
    """Yield each target: its measure, the goal, the measured value, and whether it is reached."""
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
            )
    for batch, aim in ((1, 0.6), (8, 1.2)):
        of = record("decode_overhead-cpu")["results"]
        yield share(
            "SmolLM2's decoding step in transformers, two threads", of, aim, name="ours", batch=batch, threads=2
        )
    for batch, aim in ((1, 1.5), (8, 3), (32, 4)):
        of = record("vllm_overhead-cpu")["results"]
        yield share("SmolLM2's step in vLLM, one thread", of, aim, name="EM-INF", batch=batch)
    engines = {
        r["way"]: r["seconds"]["median"] for r in record("em_ft_engines-cpu")["results"] if r["model"] == "smollm2"
    }
    ratio = engines["before"] / engines["vllm"]
    yield "a step of EM-FT on SmolLM2 with vLLM: times as fast as before TRL", "at least 2", f"{ratio:.2f}", ratio >= 2


def share(what: str, results: list[dict[str, Any]], aim: float, **of: Any) -> tuple[str, str, str, bool]:
    """Return the target of EM-INF's share of a step, measured in the one result with the values `of`."""
    (result,) = (r for r in results if of.items() <= r.items())
    found = 100 * result["share_of_step"]["median"]
    return f"EM-INF's share of {what}, batch {of['batch']}", f"at most {aim}%", f"{found:.2f}%", found <= aim


def speed_page() -> str:
    """Return the page as Markdown."""
    rows = [[what, aim, found, "yes" if met else "**no**"] for what, aim, found, met in targets()]
    parts = [
        "# Speed and memory",
        "What EM-INF and EM-FT cost, measured. Both sides of every comparison took turns in one run, so that ratios "
        "carry over to other machines better than times. Each table is headed by its command, date, machine and "
        "versions, and by the commit since 2026-11-26.",
        markdown_table(["measure", "target", "measured", "reached"], rows),
    ]
    for heading, name, said in SECTIONS:
        text = (RESULTS / f"{name}.md").read_text(encoding="utf-8").strip()
        lines = [line for line in text.splitlines() if not line.startswith(("# ", "!["))]
        parts += [f"## {heading}", said, "\n".join(lines).replace("\n## ", "\n### ").strip()]
    return "\n\n".join(parts) + "\n"
