"""`em-hf eval --backend vllm`, against the backend of transformers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from em_hf.evaluation.strategies import STRATEGIES, make_strategy
from em_hf.evaluation.vllm import EntropyMinVLLM, sampling


def evaluated(backend: str, *options: str) -> dict[str, Any]:
    command = [str(Path(sys.executable).with_name("em-hf")), "eval", "--backend", backend, "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_greedy_answers_are_those_of_transformers_and_em_inf_moves_towards_them() -> None:
    options = ("--limit", "16", "--threshold", "0", "--n-grad-steps", "60", "--kl-weight", "0", "--learning-rate", "1")
    greedy, sampled, em_inf = evaluated("vllm", *options)["rows"]
    (expected,) = evaluated("transformers", "--limit", "16", "--strategy", "greedy")["rows"]
    for name in ("pass@1", "tokens", "flops"):
        assert greedy["values"][name] == expected["values"][name]
    assert em_inf["values"]["pass@1"] == greedy["values"]["pass@1"], (
        "with this many steps only the largest logit is left"
    )
    assert sampled["values"]["pass@1"] != greedy["values"]["pass@1"]
    assert "entropy" not in greedy["values"]


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_every_strategy_has_its_like_in_vllm(name: str) -> None:
    strategy = make_strategy(name, temperature=0.7, top_k=9, top_p=0.8, min_p=0.1)
    if name == "top-n-sigma" or "weighted" in name:  # needs a processor or token entropies that vLLM does not give
        with pytest.raises(ValueError, match="vLLM has no such setting: evaluate with --backend transformers"):
            sampling(strategy.generation())
        return
    asked = sampling(strategy.generation())
    if strategy.greedy:
        assert asked["temperature"] == 0 and asked["extra_args"] == {"entropy_min": False}
    else:
        assert (asked["temperature"], asked["top_k"], asked["top_p"], asked["min_p"]) == (0.7, 9, 0.8, 0.1)
        expected = strategy.entropy_min.to_dict() if strategy.entropy_min else False
        assert asked["extra_args"] == {"entropy_min": expected}
    assert asked["repetition_penalty"] == 1


def test_what_vllm_has_no_like_of_is_refused() -> None:
    with pytest.raises(ValueError, match="num_beams is 4, but vLLM has no such setting"):
        sampling({"do_sample": True, "num_beams": 4})
    with pytest.raises(ValueError, match="penalty_alpha is"):
        sampling({"penalty_alpha": 0.5})


def test_adapters_and_speculation_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="is an adapter"):
        EntropyMinVLLM(str(tmp_path))
    with pytest.raises(ValueError, match="drops EM-INF"):
        EntropyMinVLLM("pocket-reasoner", speculative_config={"method": "ngram"})
