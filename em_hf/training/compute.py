"""What a run cost: tokens, FLOPs by the paper's rule, time and memory."""

import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from em_hf.flops import inference_flops, parameter_count, training_flops
from em_hf.methods import METHODS
from em_hf.runs import ComputeFacts, LogLine
from em_hf.training.settings import RunSettings


def passes(settings: RunSettings) -> tuple[int, int]:
    """Return how often a token is inferred (sampled, or scored by the reference policy) and how often trained on.

    The paper's rule (section 2 of its set-up): 2PD for sampling, 2PD for the reference model, 6PD for training. The
    scoring of rollouts under the policy that sampled them, which TRL's RLOO adds, is not part of it.
    """
    sampled = 0 if METHODS[settings.method].needs == "solutions" else 1
    return sampled + (1 if settings.beta else 0), 1


def compute_facts(settings: RunSettings, model: Any, log: Sequence[LogLine]) -> ComputeFacts:
    """Return what a run cost, from its log; peak memory is the accelerator's if there is one, else this process's."""
    parameters = parameter_count(model)
    trained = int(sum(line.tokens_with_prompts or 0 for line in log))
    inferred, learned = passes(settings)
    return ComputeFacts(
        parameters=parameters,
        tokens_sampled=int(sum(line.tokens or 0 for line in log)),
        tokens_trained=trained,
        flops=float(inference_flops(parameters, inferred * trained) + training_flops(parameters, learned * trained)),
        seconds=(log[-1].seconds or 0.0) if log else 0.0,
        peak_memory_bytes=peak_memory(),
    )


def peak_memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return process_peak()


def process_peak() -> int:
    """Return the peak memory of this process, in bytes.

    Linux has it in /proc; `ru_maxrss` there starts from the peak of the parent process.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
