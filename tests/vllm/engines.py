"""`python -m tests.vllm.engines KIND`: decode in an engine of a process of its own; the tokens are printed as JSON.

`bare`: vLLM as it is without em_hf's entry point. `installed`: with it, and no request asks. `speculating`: a request
asks for EM-INF under n-gram speculative decoding.
"""

import importlib.metadata
import json
import os
import sys
from typing import Any

os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

PROMPTS = ["The capital of France is", "Once upon a time", "one two three one two three one two", "Water boils at"]


def hide_the_plug_in() -> None:
    """Let `importlib.metadata.entry_points` find everything but em_hf's."""
    everything = importlib.metadata.entry_points

    def without(**kwargs: Any) -> Any:
        found = everything(**kwargs)
        if kwargs.get("group") != "vllm.logits_processors":
            return found
        return type(found)(one for one in found if not one.value.startswith("em_hf."))

    importlib.metadata.entry_points = without  # type: ignore[assignment]


def main(kind: str, model: str) -> None:
    if kind == "bare":
        hide_the_plug_in()
    from vllm import LLM, SamplingParams

    speculative = {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 3, "prompt_lookup_min": 1}
    llm = LLM(
        model,
        dtype="float32",
        max_model_len=256,
        enforce_eager=True,
        max_num_seqs=8,
        kv_cache_memory_bytes=2**29,
        speculative_config=speculative if kind == "speculating" else None,
    )

    def decode(**settings: Any) -> list[Any]:
        sampling = SamplingParams(max_tokens=24, seed=3, **settings)
        outputs = [one.outputs[0] for one in llm.generate(PROMPTS, sampling, use_tqdm=False)]
        return [[list(one.token_ids), one.cumulative_logprob] for one in outputs]

    runner = llm.llm_engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner
    result: dict[str, Any] = {"processors": [type(one).__name__ for one in runner.input_batch.logitsprocs.all]}
    if kind == "speculating":
        result["asked"] = decode(extra_args={"entropy_min": True})
        try:
            decode(extra_args={"entropy_min": {"threshold": -1}})
        except Exception as error:
            result["refused"] = str(error)
    else:
        result |= {
            "sampled": decode(logprobs=2),
            "greedy": decode(temperature=0, logprobs=2),
            "penalized": decode(min_tokens=5, repetition_penalty=1.2, min_p=0.05, top_k=50, logprobs=2),
        }
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
