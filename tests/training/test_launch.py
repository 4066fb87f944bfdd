"""The printed scripts: read by bash, by the launchers' own option lists, and run with stubs in place of the cluster."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from em_hf.training.launch import LAUNCHERS, Job, hf_jobs, skypilot, slurm

ARGUMENTS = ("--method", "em-ft", "--model", "org/model", "--dataset", "it's $HOME.jsonl", "--steps", "3")
NOTE = "import json, os, sys; print(json.dumps([os.path.basename(sys.argv[1]), *sys.argv[2:]]))"
STUB = f"""#!/bin/bash
python3 -c '{NOTE}' "$0" "$@" >> "$CALLS"
{{body}}
"""
BODIES = {
    "scontrol": "printf 'node-a\\nnode-b\\nnode-c\\n'",
    # runs the command once per task, as Slurm does on the nodes
    "srun": """tasks=1
while [[ "$1" == --* ]]; do case "$1" in --ntasks=*) tasks="${1#*=}";; esac; shift; done
for ((i = 0; i < tasks; i++)); do SLURM_NODEID=$i "$@"; done""",
    "curl": "exit 0",
    "vllm": "sleep 1",
    "accelerate": "",
    "em-hf": "",
    "hf": "",
}


def environment(folder: Path) -> dict[str, str]:
    """One whose commands write down how they were called, in `calls`, and then this test's own Python."""
    where = folder / "stubs"
    if not where.exists():
        where.mkdir()
        for name, body in BODIES.items():
            (where / name).write_text(STUB.replace("{body}", body))
            (where / name).chmod(0o755)
    path = f"{where}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "CALLS": str(folder / "calls"), "SLURM_JOB_NODELIST": "node-[a-c]"}


def ran(script: str, folder: Path, **more: str) -> list[list[str]]:
    """The calls that the script makes."""
    (folder / "calls").write_text("")
    given = {**environment(folder), **more}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def of(calls: list[list[str]], command: str) -> list[list[str]]:
    return [words[1:] for words in calls if words[0] == command]


@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize("config", [None, "fsdp2", "/shared/my config.yaml"])
def test_bash_reads_every_script(name: str, config: str | None, tmp_path: Path) -> None:
    text = LAUNCHERS[name](Job(ARGUMENTS, "runs/my run", "org/model", 4, accelerate_config=config))
    if name == "skypilot":
        text = yaml.safe_load(text)["run"]
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_one_process_runs_em_hf_with_the_very_options_and_a_second_time_resumes(tmp_path: Path) -> None:
    script = slurm(Job(ARGUMENTS, "runs/my run", "org/model", 1))
    assert of(ran(script, tmp_path), "em-hf") == [["train", *ARGUMENTS, "--output", "runs/my run"]]
    (tmp_path / "runs/my run").mkdir(parents=True)
    (tmp_path / "runs/my run/run.json").write_text("{}")
    assert of(ran(script, tmp_path), "em-hf") == [["train", "--resume", "runs/my run"]]


def test_two_nodes_and_a_server_start_accelerate_on_each_node_and_vllm_on_the_third(tmp_path: Path) -> None:
    arguments = (*ARGUMENTS, "--vllm", "server")
    script = slurm(Job(arguments, "runs/two", "org/model", 8, 2, "fsdp2", server=True))
    assert "#SBATCH --nodes=3" in script and "#SBATCH --gpus-per-node=8" in script and "--requeue" in script
    calls = ran(script, tmp_path)
    (served,) = of(calls, "vllm")
    assert served[:2] == ["serve", "org/model"] and '{"backend": "nccl"}' in served
    started = of(calls, "accelerate")
    assert [words[words.index("--machine_rank") + 1] for words in started] == ["0", "1"]
    for words in started:
        assert words[: words.index("--module")].count("16") == 1 and "node-a" in words
        assert Path(words[words.index("--config_file") + 1]).name == "fsdp2.yaml"
        trained = words[words.index("em_hf.cli") + 1 :]
        assert trained == ["train", *arguments, "--output", "runs/two", "--vllm-server", "http://node-c:8000"]


def test_a_sky_task_names_the_secret_only_and_resumes_from_its_bucket(tmp_path: Path, monkeypatch: object) -> None:
    task = yaml.safe_load(skypilot(Job(ARGUMENTS, "runs/My_Run", "org/model", 4, 2), gpu="A100-80GB"))
    assert task["num_nodes"] == 2 and task["resources"]["accelerators"] == "A100-80GB:4"
    assert task["secrets"] == {"HF_TOKEN": None}
    assert task["file_mounts"]["/runs"] == {"name": "my-run-runs", "mode": "MOUNT"}
    calls = ran(task["run"], tmp_path, SKYPILOT_NODE_IPS="10.0.0.1\n10.0.0.2", SKYPILOT_NODE_RANK="1")
    (words,) = of(calls, "accelerate")
    assert words[words.index("--machine_rank") + 1] == "1" and "10.0.0.1" in words
    assert words[words.index("em_hf.cli") + 1 :] == ["train", *ARGUMENTS, "--output", "/runs/my-run"]


def test_the_hub_job_uses_options_and_a_flavor_that_the_command_has_and_its_script_trains(tmp_path: Path) -> None:
    script = hf_jobs(Job(ARGUMENTS, "runs/job", "org/model", 2))
    (submitted,) = of(ran(script, tmp_path, BUCKET="me/runs"), "hf")
    assert submitted[:3] == ["jobs", "uv", "run"] and "hf://buckets/me/runs:/runs" in submitted
    hf = Path(sys.executable).parent / "hf"
    help_text = subprocess.run([hf, "jobs", "uv", "run", "--help"], capture_output=True, text=True).stdout
    for option in (word for word in submitted if word.startswith("--")):
        assert re.search(rf"{option}\b", help_text), option
    assert submitted[submitted.index("--flavor") + 1] in re.findall(r"[\w.-]+", help_text.replace("|", " "))
    (tmp_path / "calls").write_text("")
    subprocess.run(["python3", submitted[-1]], cwd=tmp_path, env=environment(tmp_path), check=True)
    words = json.loads((tmp_path / "calls").read_text())
    assert words[words.index("em_hf.cli") + 1 :] == ["train", *ARGUMENTS, "--output", "/runs/job"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"nodes": 2}, "nodes is 2"), ({"server": True}, "vllm is server"), ({"processes": 3}, "num_processes is 3")],
)
def test_what_a_hub_job_cannot_do_is_refused_with_another_way(changes: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named) as raised:
        hf_jobs(Job(**{"arguments": ARGUMENTS, "run": "r", "model": "m", "processes": 1, **changes}))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["skypilot", "hf-jobs"])
def test_what_a_job_installs_is_what_its_sampler_needs_and_this_machines_files_are_refused(name: str) -> None:
    def script(**changes: Any) -> str:
        return LAUNCHERS[name](Job(ARGUMENTS, "runs/r", "m", 1, **changes))

    assert "em-hf[train]" in script() and "em-hf[train,vllm]" in script(vllm=True)
    with pytest.raises(ValueError, match=rf"prompts\.jsonl is on this machine, and a job of {name} does not have it"):
        script(local=("prompts.jsonl",))
    assert LAUNCHERS["slurm"](Job(ARGUMENTS, "runs/r", "m", 1, local=("prompts.jsonl",)))


def test_a_resumed_job_allows_the_repositorys_code_again_as_the_first_did(tmp_path: Path) -> None:
    script = slurm(Job((*ARGUMENTS, "--trust-remote-code"), "runs/code", "org/model", 1))
    (tmp_path / "runs/code").mkdir(parents=True)
    (tmp_path / "runs/code/run.json").write_text("{}")
    assert of(ran(script, tmp_path), "em-hf") == [["train", "--resume", "runs/code", "--trust-remote-code"]]


@pytest.mark.parametrize("name", ["processes", "nodes"])
def test_a_number_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0"):
        Job(ARGUMENTS, "r", "m", **{name: 0})


def test_no_script_holds_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecretsecret")
    assert all("hf_secret" not in render(Job(ARGUMENTS, "r", "m", 1)) for render in LAUNCHERS.values())


def test_the_command_prints_its_own_training_and_starts_nothing(tmp_path: Path) -> None:
    asked = ["--method", "em-rl-sequence", "--model", "org/model", "--dataset", "none.jsonl", "--vllm", "server"]
    where = ["--launch", "slurm", "--nodes", "2", "--num-processes=8", "--accelerate-config", "fsdp2", "--output", "r"]
    command = [sys.executable, "-m", "em_hf.cli", "train", *asked, *where]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == slurm(Job(tuple(asked), "r", "org/model", 8, 2, "fsdp2", server=True))
    assert not list(tmp_path.iterdir())
    (tmp_path / "none.jsonl").write_text('{"prompt": "1 + 1"}\n')
    elsewhere = subprocess.run(
        [*command[:4], "--dataset", "none.jsonl", "--launch", "skypilot"], cwd=tmp_path, capture_output=True, text=True
    )
    assert elsewhere.returncode == 2 and "none.jsonl is on this machine" in elsewhere.stderr
    alone = subprocess.run([*command[:4], "--nodes", "2"], cwd=tmp_path, capture_output=True, text=True)
    assert alone.returncode == 2 and "give --launch too" in alone.stderr
