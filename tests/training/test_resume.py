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
from safetensors.torch import load_file, save_file

from em_hf.methods import METHODS
from em_hf.training.checkpoints import last_checkpoint
from em_hf.training.run import Interrupted, train
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
    names = ["base (greedy)", "base", "EM-INF", f"{title} (greedy)", title, f"{title} + EM-INF"]
    assert [row["name"] for row in after] == names
    assert after[:3] == before  # the base model is not measured again


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
    def write(step: int, files: tuple[str, ...], state: str | None = None) -> Path:
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(state or json.dumps({"global_step": step}))
        save_file({"w": torch.ones(3)}, folder / "model.safetensors")
        for name in files:
            torch.save({"state": torch.ones(3)}, folder / name)
        return folder

    whole = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
    assert last_checkpoint(tmp_path) is None
    good = write(9, whole)
    write(10, whole, state='{"global_st')
    write(11, whole[:2])
    write(100, ())
    assert last_checkpoint(tmp_path) == good


@pytest.fixture
def cut(settings: RunSettings, tmp_path: Path) -> Path:
    """A run that was interrupted after step 5 of 7, with checkpoints of steps 4 and 5, beside a whole one."""
    train(settings, tmp_path / "whole")

    def press_ctrl_c(line: dict[str, float]) -> None:
        if line["step"] == 4:  # logged after the step, so the next one is done
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        train(settings, tmp_path / "cut", on_step=press_ctrl_c)
    kept = {path.name for path in (tmp_path / "cut" / "checkpoints").glob("checkpoint-*")}
    assert kept == {"checkpoint-4", "checkpoint-5"}
    return tmp_path / "cut"


ONE = pytest.mark.parametrize("settings", ["em-ft"], indirect=True)


@ONE
@pytest.mark.parametrize("damaged", [["checkpoint-5"], ["checkpoint-4", "checkpoint-5"]])
@pytest.mark.parametrize("name", ["optimizer.pt", "model.safetensors"])
def test_a_run_goes_on_from_its_newest_whole_checkpoint_and_says_so(
    settings: RunSettings, cut: Path, tmp_path: Path, damaged: list[str], name: str
) -> None:
    for checkpoint in damaged:
        (cut / "checkpoints" / checkpoint / name).write_bytes(b"")
    said: list[str] = []
    train(settings, cut, resume=True, on_phase=said.append)
    goal = "checkpoint-4" if damaged == ["checkpoint-5"] else "the start"
    for checkpoint in damaged:
        assert f"{checkpoint} is damaged ({name} is not whole): going on from {goal}." in said
    assert_equal(cut, tmp_path / "whole")
    kept = {path.name for path in (cut / "checkpoints").glob("checkpoint-*")}
    assert kept == {"checkpoint-6", "checkpoint-7"}


class Code:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("made by a checkpoint",))


@ONE
def test_whole_files_that_hold_no_states_count_as_damaged_and_are_not_run(
    settings: RunSettings, cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(Code(), cut / "checkpoints" / "checkpoint-5" / "optimizer.pt")
    (cut / "checkpoints" / "checkpoint-9").write_text("a file")
    said: list[str] = []
    train(settings, cut, resume=True, on_phase=said.append)
    assert "checkpoint-5 is damaged (optimizer.pt holds something else): going on from checkpoint-4." in said
    assert not (tmp_path / "made by a checkpoint").exists()
    assert_equal(cut, tmp_path / "whole")


@ONE
def test_a_checkpoint_of_another_model_is_named_with_the_way_out(
    settings: RunSettings, cut: Path, letter_model: Callable
) -> None:
    letter_model(hidden_size=8, num_attention_heads=1).save_pretrained(cut / "checkpoints" / "checkpoint-5")
    with pytest.raises(ValueError, match=r"cannot go on from .*checkpoint-5 \(RuntimeError: .*; remove it") as told:
        train(settings, cut, resume=True)
    assert "\n" not in str(told.value)


@ONE
@pytest.mark.parametrize("content", [b"", b"x" * 200])
def test_damaged_best_weights_are_dropped_and_never_a_traceback(
    settings: RunSettings, cut: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (best,) = (cut / "checkpoints" / "best").glob("*.safetensors")
    best.write_bytes(content)
    train(settings, cut, resume=True)
    assert status(cut) == "finished" and "is damaged, so the best weights so far are lost" in caplog.text


@ONE
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.jsonl", "", r"log\.jsonl has 0 of the 5 steps done"),
        ("log.jsonl", '{"step": 1}\n{"step": 2}\n', r"log\.jsonl has 2 of the 5 steps done"),
        ("log.jsonl", "[]\n", r"log\.jsonl, line 1 must hold an object, not a list"),
        ("probe.jsonl", "", r"probe\.jsonl has no reading of step 0"),
        ("probe.jsonl", '{"step": 0}\n', r"probe\.jsonl has no reading of step 2"),
        ("probe.jsonl", '{"step": 0, "right": 1}\n', r"probe\.jsonl, line 1: right is a number, but must be a list"),
        ("results.json", "[]", r"results\.json must hold an object, not a list"),
    ],
)
def test_a_record_that_was_emptied_or_has_another_shape_stops_a_resumed_run_in_one_line(
    settings: RunSettings, cut: Path, name: str, content: str, message: str
) -> None:
    (cut / name).write_text(content)
    with pytest.raises(ValueError, match=message) as told:
        train(settings, cut, resume=True)
    assert "\n" not in str(told.value)


@ONE
def test_a_run_killed_before_its_first_record_is_in_place_can_be_resumed_or_replaced(
    settings: RunSettings, tmp_path: Path
) -> None:
    from dataclasses import asdict

    from em_hf.runs import DatasetFacts, RunFacts, read_facts, write_json
    from em_hf.training.prepare import load_data

    data = DatasetFacts(fingerprint=load_data(settings)[0].fingerprint)
    for name, resume in (("a", True), ("b", False)):
        run = tmp_path / name
        run.mkdir()
        write_json(run / "run.json", RunFacts("running", settings=asdict(settings), dataset=data))
        (run / "run.json").rename(run / "run.json.part")
        assert RunSettings.of_run(read_facts(run)) == settings
        train(settings, run, resume=resume, overwrite=not resume)
        assert status(run) == "finished" and not (run / "run.json.part").exists()
