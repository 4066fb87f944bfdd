"""lm-eval's own model for vLLM, whose generation requests accept EM-INF settings and follow a strategy."""

import importlib.metadata
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Results go to stdout; vLLM's log does not.
os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

import torch
import vllm
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from em_hf.evaluation.answering import Answering
from em_hf.evaluation.strategy import CONFIDENT_TOKENS, Completion, Strategy
from em_hf.flops import parameter_count
from em_hf.generation.vllm import ARGUMENT, EntropyMinVLLMProcessor
from em_hf.models import resolve_model
from em_hf.sampling import NEUTRAL


class _NamedVLLM(importlib.metadata.Distribution):
    """Metadata of a package named vllm, needed if a build for other hardware has another name."""

    def read_text(self, filename: str) -> str | None:
        return f"Metadata-Version: 2.1\nName: vllm\nVersion: {vllm.__version__}\n" if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        raise FileNotFoundError(f"vllm is installed under another name: {path} is not known")


class _Finder(importlib.metadata.DistributionFinder):
    def find_distributions(self, context: Any = None) -> Iterator[importlib.metadata.Distribution]:  # type: ignore[override]
        if context is not None and context.name == "vllm":
            yield _NamedVLLM()


@contextmanager
def _vllm_has_a_version() -> Iterator[None]:
    """Run the block with a version for a package named vllm, which lm-eval looks up.

    It is added by importlib.metadata's own extension point; an installed package of that name takes precedence.
    """
    finder = _Finder()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _vllm_has_a_version():
    from lm_eval.models.vllm_causallms import VLLM


class EntropyMinVLLM(Answering, VLLM):
    """lm-eval's VLLM with EM-INF. Overrides `generate_until` (see `Answering`); the rest is inherited.

    vLLM does not report the entropy of the distributions that tokens were drawn from, so completions have none.

    Args:
        model: Hub id, folder, or a pocket model's name; no adapter.
        strategy: how a prompt is answered; may be set later.
        seed: seed of all draws.
        **engine: settings of vLLM's engine.

    Raises:
        ValueError: `model` is an adapter, or the engine uses speculative decoding, for which vLLM drops EM-INF.
        ImportError: em_hf is on the path but not installed, so vLLM cannot find it.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        dtype: str = "auto",
        trust_remote_code: bool = False,
        batch_size: int = 64,
        strategy: Strategy | None = None,
        seed: int = 0,
        **engine: Any,
    ) -> None:
        source = resolve_model(model)
        if (Path(source) / "adapter_config.json").is_file():
            raise ValueError(
                f"{model} is an adapter, which em-hf does not load into vLLM: merge it into its base model"
            )
        if engine.get("speculative_config"):
            raise ValueError("speculative_config is given, but vLLM's V1 runner drops EM-INF then: decode without it")
        group = importlib.metadata.entry_points(group="vllm.logits_processors")
        if not any(one.value.endswith(f":{EntropyMinVLLMProcessor.__name__}") for one in group):
            raise ImportError("vLLM finds EM-INF by em-hf's entry point: install em-hf, pip install --no-deps em-hf")
        if vllm.platforms.current_platform.is_cpu():
            dtype = "float32" if dtype == "auto" else dtype
            # By default vLLM takes 92% of the machine's memory, or does not start if less is free, and compiles for
            # longer than most evaluations on a CPU take.
            engine = {"kv_cache_memory_bytes": 2**32, "enforce_eager": True, **engine}
        with _vllm_has_a_version():
            super().__init__(
                pretrained=source,
                revision=revision,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                batch_size=batch_size,
                seed=seed,
                **engine,
            )
        self.begin(strategy, seed)

    @property
    def parameters(self) -> int:
        """The model's parameter count P, from a model without weights."""
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            return parameter_count(AutoModelForCausalLM.from_config(self._config))

    def complete(self, contexts: Sequence[str], generation: dict[str, Any]) -> list[Completion]:
        """Return one completion per context, in one batch.

        A completion takes at most half the model's context; a prompt that does not fit into the rest is truncated on
        the left, as in `EntropyMinLM`.
        """
        kwargs: dict[str, Any] = dict(normalize_gen_kwargs(generation, self.max_gen_toks))
        until = handle_stop_sequences(kwargs.pop("until"), eos=self.tokenizer.decode([self.eot_token_id]))
        room = min(kwargs.pop("max_gen_toks"), self.max_length // 2)
        prompts = [self.tok_encode(context)[room - self.max_length :] for context in contexts]
        # Each request has its own seed, drawn from the batch's.
        seeds = torch.randint(2**31, (len(prompts),)).tolist()
        wants_confidence = kwargs.pop("confidence", False)
        drawn = sampling(kwargs) | ({"logprobs": CONFIDENT_TOKENS} if wants_confidence else {})
        params = [vllm.SamplingParams(**drawn, stop=until, max_tokens=room, seed=seed) for seed in seeds]
        answers = self.model.generate([{"prompt_token_ids": p} for p in prompts], params, use_tqdm=False)
        return [
            Completion(
                postprocess_generated_text(answer.outputs[0].text, until, self.think_end_token),
                len(answer.outputs[0].token_ids),
                len(prompt),
                None,
                confidence=_confidence(answer.outputs[0].logprobs) if wants_confidence else None,
            )
            for prompt, answer in zip(prompts, answers, strict=True)
        ]


def _confidence(steps: Sequence[Any]) -> float:
    """Return the negative mean log-probability of the likeliest tokens, averaged over the tokens; see `Completion`."""
    means = []
    for step in steps:
        best = sorted((one.logprob for one in step.values()), reverse=True)[:CONFIDENT_TOKENS]
        means.append(-sum(best) / len(best))
    return sum(means) / max(1, len(means))


def sampling(generation: dict[str, Any]) -> dict[str, Any]:
    """Translate transformers' `generate` arguments into those of vLLM's SamplingParams.

    Raises:
        ValueError: an argument has no equivalent in vLLM and a value that would have an effect.
    """
    rest = dict(generation)
    temperature = rest.pop("temperature", 1.0)
    sampled = rest.pop("do_sample", temperature > 0)
    taken: dict[str, Any] = {"temperature": temperature if sampled else 0.0}
    for name, neutral in (("top_k", 0), ("top_p", 1.0), ("min_p", 0.0), ("repetition_penalty", 1.0)):
        value = rest.pop(name, neutral)
        taken[name] = neutral if value is None or (not sampled and name != "repetition_penalty") else value
    taken["extra_args"] = {ARGUMENT: rest.pop("entropy_min", False)}
    for name, value in rest.items():
        if name not in NEUTRAL or value != NEUTRAL[name]:
            raise ValueError(f"{name} is {value!r}, but vLLM has no such setting: evaluate with --backend transformers")
    return taken
