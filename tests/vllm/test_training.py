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
ROUNDING = 1e-3  # nats per token; engine and trainer multiply the same float32 weights, in another order


def worked(folder: Path, *questions: Path) -> dict[str, Any]:
    """What the worker found, in a process of its own: an engine stays in the process that made it."""
    command = [sys.executable, "-m", "tests.vllm.training_worker", folder / "found.json", *questions]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())


@pytest.fixture(scope="module")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return worked(tmp_path_factory.mktemp("pocket"))


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
def test_an_engine_that_is_not_sent_the_weights_shows(pocket: dict[str, Any]) -> None:
    """The distance above would tell: with large steps it is far beyond rounding where the sync is dropped."""
    kept, dropped = pocket["sync"]["kept"], pocket["sync"]["dropped"]
    assert dropped[0] < ROUNDING  # before the first step the two are one model
    assert dropped[-1] > 0.1 and dropped[-1] > 4 * kept[-1]


@pytest.mark.timeout(1600)
def test_smollm2_is_trained_on_prompts_of_gsm8k(smollm2: Path, shared_data: Path, tmp_path: Path) -> None:
    for method, found in worked(tmp_path, shared_data / "gsm8k_train.jsonl").items():
        assert len(found["distances"]) == 3 and max(found["distances"]) < ROUNDING, method
        assert len(found["entropy"]) == 3 and min(found["entropy"]) > 0.1, method  # it samples, and is far from sure


@pytest.mark.timeout(900)
def test_the_command_line_trains_with_an_engine_beside_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = "import sys; from em_hf.cli.main import main; main()"
    options = ["train", "--vllm", "colocate", "--steps", "2", "--batch-size", "8", "--output", str(run)]
    # Measured first: EM-INF has then imported numba when the engine starts.
    options += ["--eval-problems", "4", "--device", "cpu"]
    done = subprocess.run([sys.executable, "-c", command, *options], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2] and all(line["tokens"] > 8 for line in lines)
    assert json.loads((run / "run.json").read_text())["settings"]["vllm"] == "colocate"
    assert load_file(run / "model.safetensors")
