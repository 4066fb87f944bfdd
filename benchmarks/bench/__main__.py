"""One command, one report: em-hf beside what people use today, each pair measured in the same run.

    python -m benchmarks.bench [--quick] [--only NAME ...] [--output FOLDER]

Writes FOLDER/<machine>.md, .json and two plots (with --quick, quick-<machine>.*, which is not to be kept). A part whose
subject is not available is left out and named. It needs SmolLM2 and an otherwise idle machine.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench import around, decoding, growth, training, vllm_decode
from benchmarks.bench.lines import FULL, QUICK, SMALLEST, Line, Missing, Scale
from benchmarks.bench.report import machine, text, write_plots
from benchmarks.common import environment, write
from em_hf.messages import one_line

PARTS: dict[str, Callable[[Scale], list[Any]]] = {
    "start": around.start,
    "em-inf-step": decoding.em_inf_step,
    "decode": decoding.decode,
    "vllm": vllm_decode.vllm,
    "answers": decoding.answers,
    "em-ft": training.em_ft,
    "em-rl": training.em_rl,
    "app": around.app,
    "growth": growth.curves,
    "gpu": around.gpu,
}
RESULTS = Path(__file__).parents[1] / "results"


def measure(scale: Scale, names: Sequence[str]) -> tuple[dict[str, list[Any]], dict[str, str], dict[str, str]]:
    """Return the results of each part, and the parts that were left out and that broke, with the reasons."""
    found: dict[str, list[Any]] = {}
    left_out, broken = {}, {}
    for name in names:
        start = time.perf_counter()
        try:
            found[name] = PARTS[name](scale)
        except (Missing, ImportError, FileNotFoundError) as error:
            left_out[name] = one_line(error)
        except Exception as error:  # the other parts' figures took minutes: keep them, and fail at the end
            broken[name] = f"{type(error).__name__}: {one_line(error)}"
        state = "left out" if name in left_out else "broken" if name in broken else "done"
        print(f"{name}: {state}, {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return found, left_out, broken


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under 5 minutes; figures not to be kept")
    parser.add_argument("--smallest", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="these parts")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the report's folder")
    options = parser.parse_args(arguments)
    scale = SMALLEST if options.smallest else QUICK if options.quick else FULL
    begun = time.perf_counter()
    record = {**environment("benchmarks.bench"), "scale": scale.name, "threads": torch.get_num_threads()}
    found, left_out, broken = measure(scale, options.only)
    record["seconds"] = time.perf_counter() - begun
    curves = found.get("growth", [])
    lines: list[Line] = [line for name, part in found.items() if name != "growth" for line in part]
    unmeasured = {**left_out, **{name: f"broke: {why}" for name, why in broken.items()}}
    stem = machine() if scale is FULL else f"{scale.name}-{machine()}"
    options.output.mkdir(parents=True, exist_ok=True)
    plots = write_plots(lines, curves, options.output, stem)
    whole = text(record, lines, curves, unmeasured, plots)
    print(whole)
    results = {"lines": [asdict(line) for line in lines], "growth": [asdict(one) for one in curves]}
    write(options.output / f"{stem}.json", {**record, **results, "left_out": unmeasured}, whole)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
