"""Several processes: how many there are, which one writes, and how `em-hf train --num-processes` starts them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

EXPECTED = "EM_HF_PROCESSES"


def world_size() -> int:
    """Return the number of processes, as set by the launcher; does not need torch, which is not imported yet."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Return whether this is the process that writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def own_device(asked: str | None) -> str | None:
    """Return the device on which this process loads and trains: one GPU, since a Trainer would take all (DataParallel).

    Under a launcher it is the GPU of this process's local rank. Without one it is the GPU named (`cuda:1`), else the
    first; the others are hidden from the process, so that every library finds the same. That must happen before CUDA
    starts.

    Raises:
        ValueError: There is no such GPU, or CUDA has started with all of them.
    """
    import torch

    count = torch.cuda.device_count()
    if asked not in (None, "cuda") and not str(asked).startswith("cuda:"):
        return asked
    if world_size() > 1:
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if count else asked
    if count < 2:
        return "cuda" if asked == "cuda:0" else asked
    index = int(str(asked or "cuda:0").partition(":")[2] or 0)
    if index >= count:
        raise ValueError(f"device is {asked}, but there are {count} GPUs: cuda:0 to cuda:{count - 1}")
    if torch.cuda.is_initialized():
        raise ValueError(
            f"{count} GPUs are in use by this process already: set CUDA_VISIBLE_DEVICES={index}, or train in several "
            f"processes: em-hf train --num-processes {count}"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[index] if visible else str(index)
    return "cuda"


def check_launched() -> None:
    """Raise RuntimeError if a launcher started a different number of processes than requested.

    `accelerate launch --cpu --num_processes 2` silently starts one.
    """
    wanted = int(os.environ.get(EXPECTED, "0"))
    if wanted and world_size() != wanted:
        raise RuntimeError(f"{wanted} processes were asked for, but the launcher started {world_size()}")


def wait_for_everyone() -> None:
    """Wait until every process has reached this point."""
    if world_size() > 1:
        import torch
        from accelerate import PartialState

        # On a CPU it would otherwise count one process.
        PartialState(cpu=not torch.accelerator.is_available()).wait_for_everyone()


def any_process(here: bool) -> bool:
    """Return whether `here` is true in at least one process."""
    if world_size() == 1:
        return here
    from accelerate.utils import gather_object

    return any(gather_object([here]))


def launch_command(
    arguments: Sequence[str], *, num_processes: int | None, accelerate_config: Path | None, cpu: bool
) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs `em-hf ARGUMENTS` in several processes, and what it adds to the environment.

    With an accelerate config file this is accelerate's launcher (FSDP, DeepSpeed, several machines), else torch's.
    """
    program = ["-m", "em_hf.cli", *arguments]
    environment: dict[str, str] = {}
    if cpu:
        environment |= {"ACCELERATE_USE_CPU": "true"}
    if accelerate_config is not None:
        options = ["--config_file", str(accelerate_config)]
        options += ["--num_processes", str(num_processes)] if num_processes else []
        return [sys.executable, "-m", "accelerate.commands.launch", *options, *program], environment
    environment[EXPECTED] = str(num_processes)
    # One thread per process by default: processes that each use all cores would slow each other down.
    environment.setdefault("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    options = ["--standalone", "--nproc_per_node", str(num_processes)]
    return [sys.executable, "-m", "torch.distributed.run", *options, *program], environment


def launch(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run the command until it exits, even after Ctrl-C, and return its exit code."""
    process = subprocess.Popen(command, env={**os.environ, **environment})
    interrupted = False
    while True:
        try:
            code = process.wait()
            return 130 if interrupted else code
        except KeyboardInterrupt:  # the processes got it too
            interrupted = True
