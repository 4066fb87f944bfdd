"""Starts a worker in two gloo processes on this machine and gives back what it wrote."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]


def in_two_processes(worker: str, folder: Path, *arguments: str) -> Any:
    """Run `python -m worker folder *arguments` under torchrun in two processes; what process 0 saved as `result.pt`.

    Judged by that file, not by the exit code: about one start in ten aborts while the processes part, for no cause
    found, so a run without a result is repeated once.
    """
    result = folder / "result.pt"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", "localhost:0", "--local-addr", "127.0.0.1", "-m", worker, str(folder), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
        if result.is_file():
            return torch.load(result, weights_only=False)
    raise AssertionError(f"no result in two runs:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")


def write_result(folder: Path, result: Any) -> None:
    """Whole or not at all."""
    part = folder / "result.part"
    torch.save(result, part)
    part.replace(folder / "result.pt")
