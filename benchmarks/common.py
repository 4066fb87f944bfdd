"""Shared helpers of the benchmarks: the record of a run, paired clocks, quartiles, tables and the files written."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# SmolLM2 comes from the local cache or from its package; nothing is fetched while a benchmark runs.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # silences torch's profiler, which is used to count memory

import torch
import transformers

import em_hf
from em_hf.markdown import markdown_table


def environment(module: str) -> dict[str, Any]:
    """Return what a reader needs to judge or repeat the run, without names of hosts or folders."""
    arguments = [Path(word).name if os.sep in word else word for word in sys.argv[1:]]
    return {
        "command": " ".join(["python", "-m", module, *arguments]),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "versions": {
            "em_hf": em_hf.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def commit() -> str:
    """Return the commit of em_hf in this repository, with "-dirty" if files of em_hf differ from it."""
    root = Path(__file__).parents[1]
    named = subprocess.run(["git", "rev-parse", "--short=8", "HEAD"], cwd=root, capture_output=True, text=True)
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "em_hf"], cwd=root, capture_output=True)
    return (named.stdout.strip() or "unknown") + ("-dirty" if changed.returncode == 1 else "")


def cpu_name() -> str:
    """Return the processor's model name as Linux reports it, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def cpu_dtype() -> str:
    """Return the dtype that is fast in vLLM: bfloat16 if this CPU multiplies in it, else float32."""
    return "bfloat16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return the first quartile, median and third quartile."""
    q1, median, q3 = torch.tensor(values, dtype=torch.float64).quantile(torch.tensor([0.25, 0.5, 0.75]).double())
    return {"q1": q1.item(), "median": median.item(), "q3": q3.item()}


@dataclass
class Times:
    """Seconds of every repeat: wall-clock time, and CPU time of all threads of this process."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def interleaved(calls: Mapping[str, Callable[[Any], object]], inputs: Sequence[Any]) -> dict[str, Times]:
    """Time every call on every input: all calls on the first input, then all on the next, in rotating order.

    A temporary slowdown of the machine thus affects all calls, and ratios taken input by input hardly change.
    """
    times = {name: Times() for name in calls}
    for call in calls.values():
        call(inputs[0])
    names = list(calls)
    for turn, value in enumerate(inputs):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            wall, cpu = time.perf_counter(), time.process_time()
            calls[name](value)
            times[name].wall.append(time.perf_counter() - wall)
            times[name].cpu.append(time.process_time() - cpu)
    return times


def ratios(numerator: Sequence[float], denominator: Sequence[float]) -> dict[str, float]:
    """Return quartiles of the ratio, taken pair by pair."""
    return quartiles([a / b for a, b in zip(numerator, denominator, strict=True)])


def spread(q: Mapping[str, float], scale: float = 1.0, digits: int = 2) -> str:
    """Return quartiles as `median (q1-q3)`."""
    return f"{q['median'] * scale:.{digits}f} ({q['q1'] * scale:.{digits}f}-{q['q3'] * scale:.{digits}f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of figures."""
    return markdown_table(header, rows, numbers=True)


def write(output: Path | None, record: Mapping[str, Any], text: str) -> None:
    """Write the record as JSON to `output` and the text beside it as Markdown; do nothing if `output` is None."""
    if output is None:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=1) + "\n")
    output.with_suffix(".md").write_text(text + "\n")


def describe(record: Mapping[str, Any]) -> str:
    """Return the record of `environment` in a few lines, to go above a table."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (
        f"`{record['command']}`, {record['date']}, commit {record['commit']}; {record['cpu']}, {record['cores']} "
        f"cores, load {record['load_at_start']} at the start; {versions}."
    )
