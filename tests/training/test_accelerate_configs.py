"""The shipped configs of accelerate, read by accelerate's own launcher: what the processes it starts would be told."""

from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

FOLDER = Path(str(resources.files("em_hf.training") / "accelerate"))


def launched(name: str) -> Any:
    """The launcher's arguments with the file's settings filled in, which refuses a key it does not know."""
    command = ["--config_file", str(FOLDER / name), "--num_processes", "4", "-m", "em_hf.cli", "train"]
    arguments, config, _ = _validate_launch_command(launch_command_parser().parse_args(command))
    arguments.deepspeed_fields_from_accelerate_config = ",".join(config.deepspeed_config)  # as `launch_command` does
    return arguments


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher looks whether there are GPUs to share."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *args, **kwargs: True)


def test_every_shipped_config_is_tested_here() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == ["deepspeed-zero3.yaml", "fsdp2.yaml"]


def test_fsdp2_reaches_the_processes_as_the_second_version(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = launched("fsdp2.yaml")
    assert arguments.use_fsdp and not arguments.use_deepspeed and arguments.num_processes == 4
    environment = prepare_multi_gpu_env(arguments)
    assert environment["ACCELERATE_USE_FSDP"] == "true" and environment["ACCELERATE_MIXED_PRECISION"] == "bf16"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert plugin.cpu_offload is False or not getattr(plugin.cpu_offload, "offload_params", False)


def test_zero_3_reaches_the_processes() -> None:
    arguments = launched("deepspeed-zero3.yaml")
    assert arguments.use_deepspeed and not arguments.use_fsdp and arguments.num_processes == 4
    _, environment = prepare_deepspeed_cmd_env(arguments)
    assert environment["ACCELERATE_USE_DEEPSPEED"] == "true" and environment["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "3"
    assert environment["ACCELERATE_DEEPSPEED_ZERO3_INIT"] == "true"
    assert environment["ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL"] == "true"
    assert environment["ACCELERATE_MIXED_PRECISION"] == "bf16"
