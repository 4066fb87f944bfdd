"""Training with vLLM beside the trainer, in its CPU build."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
# The engine multiplies in bfloat16 (its own choice for float32 weights), the trainer in float32.
ROUNDING = 0.05


def worked(what: str, folder: Path) -> dict[str, Any]:
    """What the worker found, in a process of its own: an engine stays in the process that made it."""
    command = [sys.executable, "-m", "tests.vllm.training_worker", what, str(folder / "found.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())


@pytest.fixture(scope="module")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return worked("pocket", tmp_path_factory.mktemp("pocket"))


@pytest.mark.timeout(1600)
def test_em_fts_entropy_falls_as_with_transformers_sampling(pocket: dict[str, Any]) -> None:
    """Held-out entropy after twelve steps, over three seeds. Twelve steps of EM-RL are too few to show it there."""
    after = {sampler: [run["after"] for run in runs] for sampler, runs in pocket["em-ft"].items()}
    spread = max(max(values) - min(values) for values in after.values())
    assert max(mean(values) for values in after.values()) < 0.7 * pocket["before"]
    assert abs(mean(after["vllm"]) - mean(after["transformers"])) <= spread


@pytest.mark.timeout(1600)
@pytest.mark.parametrize("method", ["em-ft", "em-rl-sequence"])
def test_the_engine_samples_from_the_weights_of_each_step(method: str, pocket: dict[str, Any]) -> None:
    for run in pocket[method]["vllm"]:
        assert len(run["distances"]) == 12 and max(run["distances"]) < ROUNDING


@pytest.mark.timeout(1600)
def test_weights_that_do_not_reach_the_engine_are_seen_in_its_log_probabilities(pocket: dict[str, Any]) -> None:
    first, *_, last = pocket["dropped"]
    assert first < ROUNDING < last


@pytest.mark.timeout(1600)
def test_a_real_models_engine_samples_from_the_weights_of_each_step_too(tmp_path: Path) -> None:
    found = worked("smollm2", tmp_path)
    rounding = 1.5 * max(found[name][0] for name in found)  # of the same weights in bfloat16
    for method in ("em-ft", "em-rl-sequence"):
        assert len(found[method]) == 3 and max(found[method]) < rounding
    assert found["dropped"][0] < rounding < found["dropped"][-1]


@pytest.mark.timeout(900)
def test_a_model_that_vllm_does_not_know_is_one_line_and_leaves_a_run_without_weights(tmp_path: Path) -> None:
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    from tests.letters import letter_tokenizer

    sizes = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 24, "window_size": 8}
    sizes |= {"attention_types": [[["global", "local"], 1]], "max_position_embeddings": 64, "vocab_size": 8}
    GPTNeoForCausalLM(GPTNeoConfig(**sizes, bos_token_id=None, eos_token_id=1)).save_pretrained(tmp_path / "model")
    letter_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "ab"}\n' * 8)
    options = ["train", "--model", str(tmp_path / "model"), "--dataset", str(tmp_path / "prompts.jsonl")]
    options += ["--vllm", "colocate", "--steps", "1", "--batch-size", "2", "--max-completion-length", "4"]
    options += ["--eval-problems", "0", "--device", "cpu", "--no-guard", "--output", str(tmp_path / "run")]
    command = [sys.executable, "-m", "em_hf.cli", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr[-3000:]
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "vLLM (colocate) failed" in said and said.endswith("leave --vllm out to sample with transformers")
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.timeout(900)
def test_the_command_line_trains_with_an_engine_beside_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = "import sys; from em_hf.cli.main import main; main()"
    options = ["train", "--vllm", "colocate", "--steps", "2", "--batch-size", "8", "--output", str(run)]
    options += ["--eval-problems", "0", "--device", "cpu"]
    done = subprocess.run([sys.executable, "-c", command, *options], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2] and all(line["tokens"] > 8 for line in lines)
    assert json.loads((run / "run.json").read_text())["settings"]["vllm"] == "colocate"
    assert load_file(run / "model.safetensors")
