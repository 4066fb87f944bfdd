"""One engine in this process, so that tests see the logits that the processor sees."""

import os

# Read when vLLM is imported. Threads are not bound to cores that other processes use.
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from em_hf.generation.vllm import EntropyMinVLLMProcessor

ENGINE = {
    "dtype": "float32",  # few CPUs multiply in bfloat16, and a processor is given float32 logits in any case
    "max_model_len": 512,
    "enforce_eager": True,
    "max_num_seqs": 32,
    "kv_cache_memory_bytes": 2**29,
    "max_logprobs": -1,
    "logprobs_mode": "processed_logprobs",
    "disable_log_stats": True,
}


@pytest.fixture(scope="session")
def llm(smollm2: Path) -> Any:
    """vLLM's offline API on SmolLM2. The log-probabilities it returns are those of the draw."""
    from vllm import LLM

    return LLM(str(smollm2), **ENGINE)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The logits `[rows, V]` before and after the processor, step by step."""
    steps: list[tuple[Tensor, Tensor]] = []
    apply: Callable = EntropyMinVLLMProcessor.apply

    def recorded(self: EntropyMinVLLMProcessor, logits: Tensor, ctx: object = None) -> Tensor:
        before = logits.clone()
        after = apply(self, logits, ctx)
        steps.append((before, after.clone()))
        return after

    monkeypatch.setattr(EntropyMinVLLMProcessor, "apply", recorded)
    yield steps
