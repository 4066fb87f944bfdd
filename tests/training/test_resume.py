"""An interrupted run goes on from its last whole checkpoint and ends with the weights of an uninterrupted one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from em_hf.methods import METHODS
from em_hf.training.run import Interrupted, last_checkpoint, train
from em_hf.training.settings import RunSettings

STEPS = 7


CASES: dict[str, dict[str, Any]] = {
    "em-ft": {},
    "em-rl-token": {"method": "em-rl-token", "num_generations": 2, "learning_rate": 1e-3},
    # Three epochs of four prompts each, in two micro-batches a step.
    "em-rl-sequence, several epochs": {
        "method": "em-rl-sequence",
        "num_generations": 2,
        "limit": 12,
        "batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-3,
        "beta": 0.1,
    },
    "rent with LoRA": {"method": "rent", "num_generations": 2, "lora": True, "lora_rank": 2},
}


@pytest.fixture(params=CASES)
def settings(request: Any, letter_model: Callable, letters: Any, tmp_path: Path) -> RunSettings:
    letter_model().save_pretrained(tmp_path / "model")
    letters.save_pretrained(tmp_path / "model")
    prompts = ["ab", "c", "bca", "d", "ea", "dd", "cab", "b"] * 5
    data = tmp_path / "prompts.jsonl"
    data.write_text("".join(json.dumps({"prompt": prompt, "answer": "a"}) + "\n" for prompt in prompts))
    return RunSettings.resolve(
        {
            "model": str(tmp_path / "model"),
            "dataset": str(data),
            "device": "cpu",
            "steps": STEPS,
            "batch_size": 4,
            "learning_rate": 1e-2,
            "max_completion_length": 4,
            "eval_problems": 4,
            "save_steps": 2,
            "probe_every": 2,
            **CASES[request.param],
        }
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*model.safetensors")
    return load_file(file)


def assert_equal(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name
    logs = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (a, b)]
    names = ("step", "loss", "entropy", "tokens", "tokens_with_prompts")
    kept = [[tuple(line[name] for name in names) for line in log] for log in logs]
    assert kept[0] == kept[1] and [step for step, *_ in kept[0]] == list(range(1, STEPS + 1))


def status(folder: Path) -> str:
    return json.loads((folder / "run.json").read_text())["status"]


@pytest.mark.parametrize("at", [1, 3, 5])
def test_ctrl_c_leaves_a_checkpoint_and_the_resumed_run_ends_the_same(
    settings: RunSettings, tmp_path: Path, at: int
) -> None:
    train(settings, tmp_path / "whole")

    def press_ctrl_c(line: dict[str, float]) -> None:
        if line["step"] == at:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=f"of {STEPS}"):
        train(settings, tmp_path / "cut", on_step=press_ctrl_c)
    assert status(tmp_path / "cut") == "interrupted"
    assert not list((tmp_path / "cut").glob("*.safetensors"))
    before = json.loads((tmp_path / "cut" / "results.json").read_text())["rows"]
    train(settings, tmp_path / "cut", resume=True)
    assert status(tmp_path / "cut") == status(tmp_path / "whole") == "finished"
    assert_equal(tmp_path / "cut", tmp_path / "whole")
    title = METHODS[settings.method].title
    after = json.loads((tmp_path / "cut" / "results.json").read_text())["rows"]
    assert [row["name"] for row in after] == ["base", "EM-INF", title, f"{title} + EM-INF"]
    assert after[:2] == before  # the base model is not measured again


def test_a_killed_run_resumed_from_the_command_line_ends_the_same(settings: RunSettings, tmp_path: Path) -> None:
    train(settings, tmp_path / "whole")
    # The same run in a process of its own, slowed down at each step so that the signal falls between checkpoints.
    code = (
        "import json, sys, time; from pathlib import Path\n"
        "from em_hf.training.run import train; from em_hf.training.settings import RunSettings\n"
        "train(RunSettings(**json.loads(sys.argv[1])), Path(sys.argv[2]), on_step=lambda line: time.sleep(0.5))"
    )
    run = tmp_path / "cut"
    process = subprocess.Popen([sys.executable, "-c", code, json.dumps(settings.__dict__), str(run)])
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "log.jsonl").is_file() and len((run / "log.jsonl").read_text().splitlines()) >= 5:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert status(run) == "running" and last_checkpoint(run / "checkpoints") is not None
    command = "import sys; from em_hf.cli.main import main; main()"
    resumed = subprocess.run(
        [sys.executable, "-c", command, "train", "--resume", str(run)], capture_output=True, text=True
    )
    assert resumed.returncode == 0, resumed.stderr
    assert_equal(run, tmp_path / "whole")


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    def write(step: int, files: tuple[str, ...], state: str = "{}") -> Path:
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(state)
        for name in files:
            (folder / name).write_bytes(b"x")
        return folder

    whole = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
    assert last_checkpoint(tmp_path) is None
    good = write(9, whole)
    write(10, whole, state='{"global_st')
    write(11, whole[:2])
    write(100, ())
    assert last_checkpoint(tmp_path) == good
