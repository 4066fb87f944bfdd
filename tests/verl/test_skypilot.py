"""The printed task, read by skypilot's own loader."""

from pathlib import Path

import pytest

from em_hf.training.launch import Job, skypilot

ARGUMENTS = ("--method", "em-ft", "--model", "org/model", "--dataset", "it's $HOME.jsonl", "--steps", "3")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """skypilot keeps a database of its own in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SKYPILOT_DISABLE_USAGE_COLLECTION", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")


@pytest.mark.parametrize(
    ("job", "nodes"),
    [
        (Job(ARGUMENTS, "runs/My_Run", "org/model", 1), 1),
        (Job(ARGUMENTS, "runs/My_Run", "org/model", 8, 4, "fsdp2"), 4),
        (Job((*ARGUMENTS, "--vllm", "server"), "runs/My_Run", "org/model", 8, 2, "fsdp2", server=True), 3),
    ],
)
def test_skypilot_reads_the_task_as_it_is_meant(job: Job, nodes: int) -> None:
    import sky
    from sky.utils import yaml_utils

    # what `sky jobs launch my-run.yaml --secret HF_TOKEN` makes of the file
    config = yaml_utils.safe_load(skypilot(job))
    task = sky.Task.from_yaml_config(config, secrets_overrides=[("HF_TOKEN", "hf_secret")])
    assert (task.name, task.num_nodes) == ("my-run", nodes)
    (resources,) = task.resources
    assert resources.accelerators == {"H100": job.processes} and resources.use_spot
    assert task.run.startswith("set -euo pipefail") and "em-hf" in task.setup
    assert list(task.storage_mounts) == ["/runs"] and task.storage_mounts["/runs"].name == "my-run-runs"
    assert "HF_TOKEN" in task.secrets and "hf_secret" not in skypilot(job)
