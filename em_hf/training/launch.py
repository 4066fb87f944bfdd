"""`em-hf train ... --launch slurm | skypilot | hf-jobs`: print a file that runs this training on a cluster.

Every file starts the run if there is none yet and resumes it otherwise, so that a job that is preempted and requeued
ends with the same weights as an uninterrupted one. Secrets are passed by name and never written.
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FLAVORS = {1: "h200", 2: "h200x2", 4: "h200x4", 8: "h200x8"}
PORT, SERVER_PORT = 29500, 8000
SERVE = (
    'VLLM_SERVER_DEV_MODE=1 vllm serve {model} --port {port} --weight-transfer-config \'{{"backend": "nccl"}}\' '
    "--logprobs-mode processed_logprobs --max-logprobs -1"
)


@dataclass(frozen=True)
class Job:
    """A training run and the machines to run it on.

    Args:
        arguments: the options of `em-hf train`, without those that say where it runs.
        run: the run folder.
        model: the model that is trained, for a vLLM server.
        processes: per node, one per GPU.
        nodes: the number that train.
        accelerate_config: a file, or the name of a config shipped with em-hf.
        server: whether a vLLM server runs on an additional node.
        vllm: whether the training samples with vLLM.
        local: files and folders on this machine that the options name.

    Raises:
        ValueError: `processes` or `nodes` is below 1.
    """

    arguments: tuple[str, ...]
    run: str
    model: str
    processes: int = 8
    nodes: int = 1
    accelerate_config: str | None = None
    server: bool = False
    vllm: bool = False
    local: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("processes", "nodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 1")

    @property
    def world(self) -> int:
        return self.processes * self.nodes

    @property
    def name(self) -> str:
        """The run folder's name, in a form that every launcher accepts."""
        return re.sub(r"[^a-z0-9]+", "-", Path(self.run).name.lower()).strip("-") or "em-hf"

    def train(self, resume: bool, server: str = "") -> str:
        """Return the arguments of `em-hf`, quoted for a shell; `$RUN` is the run folder, `server` an address."""
        words = "train --resume" if resume else shlex.join(["train", *self.arguments]) + " --output"
        words += ' "$RUN"'
        if resume and "--trust-remote-code" in self.arguments:  # never taken from the run folder
            words += " --trust-remote-code"
        return words + (f" --vllm-server {server}" if server else "")

    def choose(self, server: str = "") -> str:
        """Return shell lines that put the arguments into the array TRAIN."""
        return (
            f'if [ -f "$RUN/run.json" ]; then\n  TRAIN=({self.train(True, server)})\nelse\n'
            f"  TRAIN=({self.train(False, server)})\nfi"
        )

    def launcher(self, rank: str = "", head: str = "") -> str:
        """Return the command without its arguments: accelerate for several processes, else em-hf itself."""
        if self.world == 1:
            return "em-hf"
        parts = ["accelerate launch"]
        if self.accelerate_config:
            parts.append('--config_file "$ACCELERATE_CONFIG"')
        else:
            parts.append("--multi_gpu")
        parts.append(f"--num_machines {self.nodes} --num_processes {self.world}")
        if self.nodes > 1:
            parts.append(f"--machine_rank {rank} --main_process_ip {head} --main_process_port {PORT}")
        return " ".join([*parts, "--module em_hf.cli"])

    @property
    def package(self) -> str:
        """The requirement that pip installs."""
        return "em-hf[train,vllm]" if self.vllm or self.server else "em-hf[train]"

    def check_local(self, launcher: str) -> None:
        """Raise ValueError if the options name files that exist only on this machine."""
        if self.local:
            raise ValueError(
                f"{self.local[0]} is on this machine, and a job of {launcher} does not have it: put it on the Hub and "
                "give its id, or use slurm, whose nodes share a file system"
            )

    @property
    def environment(self) -> str:
        lines = [f"export EM_HF_PROCESSES={self.world}"] if self.world > 1 else []
        if self.accelerate_config and Path(self.accelerate_config).suffix:
            lines.append(f"ACCELERATE_CONFIG={shlex.quote(self.accelerate_config)}")
        elif self.accelerate_config:
            found = (
                "from importlib.resources import files; "
                f'print(files("em_hf.training") / "accelerate" / "{self.accelerate_config}.yaml")'
            )
            lines.append(f'ACCELERATE_CONFIG="$(python -c {shlex.quote(found)})"')
        return "\n".join(lines)


def slurm(job: Job) -> str:
    """Return an sbatch script that is requeued when preempted, for nodes that share a file system."""
    nodes = job.nodes + job.server
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={job.name}",
        f"#SBATCH --nodes={nodes}",
        "#SBATCH --ntasks-per-node=1",
        f"#SBATCH --gpus-per-node={job.processes}",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --output=%x-%j.log",
        f"# Submit with: sbatch {job.name}.sh. Partition, account and time are the cluster's: add them here.",
        "# HF_TOKEN, where a gated model or a push needs it, is taken from the environment that submits.",
        "set -euo pipefail",
        'export HF_HOME="${HF_HOME:-$HOME/.cache/huggingface}"',
        f"RUN={shlex.quote(job.run)}",
    ]
    if job.environment:
        lines.append(job.environment)
    if nodes > 1:
        lines.append('NODES=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))')
    server = ""
    if job.server:
        serve = SERVE.format(model=shlex.quote(job.model), port=SERVER_PORT)
        lines += [
            f'SERVER="${{NODES[{job.nodes}]}}"',
            f'srun --nodes=1 --ntasks=1 --nodelist="$SERVER" bash -c {shlex.quote(serve)} &',
            "SERVING=$!",
            f'until curl --silent --fail "http://$SERVER:{SERVER_PORT}/health"; do',
            '  kill -0 "$SERVING" || { echo "the vLLM server did not start" >&2; exit 1; }',
            "  sleep 5",
            "done",
        ]
        server = f'"http://$SERVER:{SERVER_PORT}"'
    lines.append(job.choose(server))
    if job.nodes == 1 and not job.server:
        lines.append(f'{job.launcher()} "${{TRAIN[@]}}"')
    else:
        head = '"${NODES[0]}"'
        trainers = f'"$(IFS=,; echo "${{NODES[*]:0:{job.nodes}}}")"'
        where = f"srun --nodes={job.nodes} --ntasks={job.nodes} --nodelist={trainers}"
        inner = job.launcher(rank="$SLURM_NODEID", head='"$HEAD"') + ' "$@"'
        lines += [f'export HEAD={head} ACCELERATE_CONFIG="${{ACCELERATE_CONFIG:-}}"']
        lines.append(f'{where} bash -c {shlex.quote(inner)} em-hf "${{TRAIN[@]}}"')
    if job.server:
        lines.append('kill "$SERVING" || true  # which may have ended by itself')
    return "\n".join(lines) + "\n"


def skypilot(job: Job, gpu: str = "H100") -> str:
    """Return a task for `sky jobs launch` that is restarted when preempted, with the run in a bucket.

    Raises:
        ValueError: the options name files on this machine.
    """
    import yaml

    job.check_local("skypilot")
    run = [
        "set -euo pipefail",
        f"RUN=/runs/{shlex.quote(job.name)}",
        *([job.environment] if job.environment else []),
        "NODES=($SKYPILOT_NODE_IPS)",
    ]
    server = ""
    if job.server:
        serve = SERVE.format(model=shlex.quote(job.model), port=SERVER_PORT)
        address = f'"http://${{NODES[{job.nodes}]}}:{SERVER_PORT}"'
        run += [
            f'if [ "$SKYPILOT_NODE_RANK" = {job.nodes} ]; then',
            f"  {serve}",
            "  exit",
            "fi",
            f"until curl --silent --fail {address}/health; do sleep 5; done",
        ]
        server = address
    run.append(job.choose(server))
    run.append(f'{job.launcher(rank="$SKYPILOT_NODE_RANK", head=chr(34) + "${NODES[0]}" + chr(34))} "${{TRAIN[@]}}"')
    task = {
        "name": job.name,
        "num_nodes": job.nodes + job.server,
        "resources": {"accelerators": f"{gpu}:{job.processes}", "use_spot": True},
        "envs": {"HF_HOME": "/runs/.huggingface"},
        "secrets": {"HF_TOKEN": None},
        "file_mounts": {"/runs": {"name": f"{job.name}-runs", "mode": "MOUNT"}},
        "setup": f"pip install {job.package!r}",
        "run": "\n".join(run) + "\n",
    }
    head = f"# sky jobs launch {job.name}.yaml --secret HF_TOKEN\n"
    head += "# The bucket keeps the run: a preempted task resumes it.\n"

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(
        str, lambda d, text: d.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)
    )
    return head + yaml.dump(task, Dumper=Dumper, sort_keys=False, width=1000)


def hf_jobs(job: Job) -> str:
    """Return a shell script that writes a uv script and submits it with `hf jobs uv run`, with the run in a bucket.

    Raises:
        ValueError: the job has several nodes, a server, a number of GPUs that no flavor has, or files on this machine.
    """
    job.check_local("hf-jobs")
    if job.nodes > 1 or job.server:
        what = f"nodes is {job.nodes}" if job.nodes > 1 else "vllm is server"
        raise ValueError(f"{what}, but a job of hf-jobs has one machine: use slurm or skypilot, or --vllm colocate")
    if job.processes not in FLAVORS:
        allowed = ", ".join(map(str, FLAVORS))
        raise ValueError(f"num_processes is {job.processes}, but the flavors of hf-jobs have {allowed} GPUs")
    file = f"{job.name}.py"
    command = ["set -euo pipefail", f"RUN=/runs/{shlex.quote(job.name)}", *job.environment.splitlines()]
    command += [*job.choose().splitlines(), f'{job.launcher()} "${{TRAIN[@]}}"']
    lines = "\n".join(f"    {line!r}," for line in command)
    return f"""#!/bin/bash
# Writes {file} and submits it; OWNER/BUCKET keeps the run, and an attempt after a failure resumes it.
set -euo pipefail
cat > {shlex.quote(file)} <<'SCRIPT'
# /// script
# requires-python = ">=3.11"
# dependencies = ["{job.package}"]
# ///
import subprocess

COMMAND = [
{lines}
]
raise SystemExit(subprocess.run(["bash", "-c", "\\n".join(COMMAND)]).returncode)
SCRIPT
hf jobs uv run --flavor {FLAVORS[job.processes]} --secrets HF_TOKEN --env HF_HOME=/runs/.huggingface \\
  --volume "hf://buckets/${{BUCKET:?set it to OWNER/NAME}}:/runs" --timeout 24h --attempts 3 --detach \\
  {shlex.quote(file)}
"""


LAUNCHERS: dict[str, Callable[[Job], str]] = {"slurm": slurm, "skypilot": skypilot, "hf-jobs": hf_jobs}
