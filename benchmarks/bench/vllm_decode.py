"""Decodes by vLLM with and without EM-INF, in vLLM's own environment, started from ours.

.venv-vllm/bin/python -m benchmarks.bench.vllm_decode FOLDER RUNS TOKENS BATCH ...
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.bench.lines import Line, Missing, Scale, paired
from benchmarks.common import quartiles

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
# Read when vLLM is imported: small, silent, in one process, and without threads bound to cores.
SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


def vllm(scale: Scale) -> list[Line]:
    """Compare requests with and without EM-INF, in one engine.

    Raises:
        Missing: there is no environment with vLLM.
    """
    if not PYTHON.is_file():
        raise Missing("there is no .venv-vllm: make vllm-venv")
    from tests.smollm2 import smollm2_folder

    lines = []
    found = from_our_environment(str(smollm2_folder()), scale.runs, scale.tokens, scale.batches[:2])
    for batch, seconds in zip(scale.batches, found):
        speed = [[batch * scale.tokens / taken for taken in seconds[name]] for name in ("ours", "plain")]
        line = paired("Decoding", f"vLLM with EM-INF, batch {batch}", "without", seconds["ours"], seconds["plain"])
        sides = {side: quartiles(values) for side, values in zip(("ours", "theirs"), speed)}
        lines.append(replace(line, unit="tokens/s", **sides))
    return lines


def measured(folder: str, runs: int, tokens: int, batches: Sequence[int]) -> list[dict[str, list[float]]]:
    """Return, for each batch, the seconds of `runs` decodes of each kind in turn; call it in vLLM's environment."""
    from vllm import LLM

    from benchmarks.common import cpu_dtype

    llm = LLM(folder, dtype=cpu_dtype(), max_model_len=512, enforce_eager=True, max_num_seqs=32, disable_log_stats=True)
    found = []
    for batch in batches:
        seconds: dict[str, list[float]] = {"plain": [], "ours": []}
        for run in range(-1, runs):  # the first warms up
            for name in ("plain", "ours") if run % 2 else ("ours", "plain"):
                taken = timed(llm, batch, tokens, name == "ours")
                if run >= 0:
                    seconds[name].append(taken)
        found.append(seconds)
    return found


def timed(llm: Any, batch: int, tokens: int, entropy_min: bool) -> float:
    """Return the seconds of one decode of `batch` questions."""
    from vllm import SamplingParams

    from benchmarks.rows import QUESTIONS

    asked = [[{"role": "user", "content": question}] for question in QUESTIONS[:batch]]
    extra = {"entropy_min": True} if entropy_min else None
    params = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, max_tokens=tokens, ignore_eos=True, extra_args=extra)
    start = time.perf_counter()
    llm.chat(asked, params, use_tqdm=False)
    return time.perf_counter() - start


def from_our_environment(folder: str, runs: int, tokens: int, batches: Sequence[int]) -> list[dict[str, list[float]]]:
    """Run `measured` in a process of vLLM's environment.

    Raises:
        RuntimeError: it failed; the message has the end of its error output.
    """
    numbers = [str(number) for number in (runs, tokens, *batches)]
    command = [str(PYTHON), "-m", "benchmarks.bench.vllm_decode", folder, *numbers]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **SETTINGS})
    if done.returncode:
        raise RuntimeError(f"vLLM failed ({done.returncode}): {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    runs, tokens, *batches = map(int, sys.argv[2:])
    print(json.dumps(measured(sys.argv[1], runs, tokens, batches)))
