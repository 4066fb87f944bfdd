"""Checks that need no heavy imports: model names, devices, files, tasks, extras and ports."""

import difflib
import json
import os
import re
import socket
import sys
from collections.abc import Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from em_hf.generation.gguf_header import gguf_architecture
from em_hf.messages import did_you_mean
from em_hf.settings import POCKET_NAME, POCKET_NAMES, is_gguf

DEVICES = ("cpu", "cuda", "mps", "xpu", "npu", "hpu", "mlu", "mtia")
GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
HUB_SECONDS = 3
QUICK_BYTES = 5_000_000  # files up to this size are read twice, the first time to check them
PACKAGES = {  # by import name
    "trl": "TRL",
    "peft": "PEFT",
    "lm_eval": "lm-eval",
    "scipy": "SciPy",
    "llama_cpp": "llama-cpp-python",
}


def check_model(name: str, *, gguf: bool = False) -> None:
    """Raise if a model name is neither a model on this machine nor a possible Hub id.

    Args:
        name: The model.
        gguf: Whether it may be a GGUF file.

    Raises:
        OSError: There is no such folder (similar names are suggested), or it holds no model.
        ValueError: The name is empty, or that of a GGUF file although none is accepted.
    """
    if not name.strip():
        raise ValueError(f"model is empty: give a Hub id, a folder, or {POCKET_NAME}")
    if name in POCKET_NAMES:
        return
    try:
        path = Path(name).expanduser()
        there = path.exists()
    except (OSError, RuntimeError, ValueError):  # a name too long for the file system, or an unknown ~user
        path, there = Path(name), False
    if there:
        if not is_gguf(name):
            _check_folder(path, name)
        elif not gguf:
            raise ValueError(f"{name} is a GGUF file, which em-hf generate and em-hf app decode: name a model's folder")
        return
    if is_gguf(name):
        raise OSError(f"there is no file {name}{did_you_mean(path.name, _names_in(path.parent))}")
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise OSError(f"there is no model folder at {name}{did_you_mean(path.name, _names_in(path.parent))}")
    close = difflib.get_close_matches(name, POCKET_NAMES, 1, 0.8)
    if close:
        raise OSError(f"there is no model {name}; did you mean {close[0]!r}?")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise ValueError(f"model is {name!r}, but must be a Hub id such as owner/name, a folder, or {POCKET_NAME}")


def _check_folder(path: Path, name: str) -> None:
    """Raise OSError if a folder holds neither a model nor an adapter."""
    if not path.is_dir():
        raise OSError(f"{name} is a file, but a model is a folder, a .gguf file, or a Hub id")
    config = path / "config.json"
    if not config.is_file():
        if not (path / "adapter_config.json").is_file():
            raise OSError(f"{name} holds no model: there is no config.json in it")
        return
    try:
        json.loads(config.read_bytes())
    except ValueError as error:
        raise OSError(f"{config} is not JSON ({error}): copy or download it again") from error


def check_gguf(name: str) -> None:
    """Raise if a file is not a GGUF file, or llama.cpp is not installed.

    Raises:
        ValueError: The file has another format, or is truncated.
        ImportError: llama-cpp-python is missing.
    """
    gguf_architecture(Path(name).expanduser())
    check_extra("a .gguf file", "gguf", "llama_cpp")


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def is_hub_id(name: str | None) -> bool:
    """Return whether a checked model name has to come from the Hub or its cache."""
    return bool(name) and name not in POCKET_NAMES and not Path(str(name)).expanduser().exists()


def check_device(name: str | None) -> None:
    """Raise ValueError if this machine cannot have the device; torch reports later whether it does."""
    if name is None:
        return
    kind, _, index = name.partition(":")
    if kind not in DEVICES or (":" in name and not re.fullmatch(r"[0-9]{1,3}", index)):
        allowed = "cpu, cuda, cuda:N, mps, xpu or xpu:N"
        raise ValueError(f"device is {name!r}, but must be {allowed}{did_you_mean(kind, DEVICES)}")
    linux = sys.platform.startswith("linux")
    if kind == "cuda" and linux and not any(os.path.exists(file) for file in GPU_FILES):
        raise ValueError(f"device is {name!r}, but this machine has cpu only: no GPU's driver is loaded")
    if kind == "mps" and sys.platform != "darwin":
        raise ValueError(f"device is {name!r}, which only a Mac has: leave --device out, or give cpu")


def check_extra(what: str, extra: str, *packages: str) -> None:
    """Raise ImportError, with the command that installs it, if a package of an extra is missing."""
    for package in packages:
        if find_spec(package) is None:
            name = PACKAGES.get(package, package)
            raise ImportError(f"{what} needs {name}: pip install 'em-hf[{extra}]'")


def check_dataset(name: str | None) -> str | None:
    """Return a dataset's name if it has to come from the Hub, else None.

    Raises:
        OSError, ValueError: It is named like a file, but there is no such file.
    """
    from em_hf.data import local_file
    from em_hf.settings import POCKET_DATASETS

    return None if name in (None, *POCKET_DATASETS) or local_file(str(name)) else name


def check_rows(name: str | None, **columns: Any) -> None:
    """Read a small file of prompts, so that its errors are reported before anything is loaded.

    Args:
        columns: As for `load_prompts`.

    Raises:
        OSError, ValueError: The file cannot be used.
    """
    from em_hf.data import load_prompts, local_file
    from em_hf.settings import POCKET_DATASET

    path = local_file(name or POCKET_DATASET)
    if path is not None and ".parquet" not in path.suffixes and path.stat().st_size <= QUICK_BYTES:
        load_prompts(str(name), **columns)


def check_tasks(names: Sequence[str], *, allow_code: bool) -> None:
    """Raise if a task is neither ours nor lm-eval's, or runs programs without permission.

    lm-eval takes half a minute to read its tasks; searching their files for an unknown name takes under a second.

    Raises:
        ValueError: There is no such task, or it runs the programs that the model writes.
    """
    folder = resources.files("em_hf.evaluation") / "tasks"
    ours = {file.name.removesuffix(".yaml"): file for file in folder.iterdir() if file.name.endswith(".yaml")}
    for name in names:
        if name in ours:
            if "include: _programs_yaml" in ours[name].read_text(encoding="utf-8") and not allow_code:
                raise ValueError(
                    f"{name} runs the programs that the model writes: allow it with --allow-code-execution"
                )
        elif not _in_lm_eval(name):
            raise ValueError(
                f"there is no task {name!r}{did_you_mean(name, ours)}; `em-hf eval --list` shows ours, lm-eval's have "
                "its own names"
            )


def _in_lm_eval(name: str) -> bool:
    """Return whether any of lm-eval's task files contains a name; True if there are no files to search."""
    spec = find_spec("lm_eval")
    root = Path(spec.origin).parent / "tasks" if spec is not None and spec.origin else None
    if root is None or not root.is_dir():
        return True
    words = name.encode()
    return any(
        words in Path(folder, file).read_bytes()
        for folder, _, files in os.walk(root)
        for file in files
        if file.endswith((".yaml", ".yml"))
    )


def check_port(host: str, port: int) -> None:
    """Raise OSError if the address cannot be listened on."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise OSError(f"host is {host!r}, which is no address of this machine: give 127.0.0.1 or 0.0.0.0") from error
    with socket.socket(found[0], socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(found[4])
        except PermissionError as error:
            raise OSError(f"port {port} is reserved for the system: give --port a number from 1024 on") from error
        except OSError as error:
            raise OSError(f"port {port} of {host} cannot be used ({error.strerror}): give another --port") from error


def hub_is_reachable() -> bool:
    """Return whether the Hub answers within a few seconds; True, without asking, in offline mode."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return True
    import httpx

    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        httpx.head(endpoint, timeout=HUB_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
        return False
    return True


def check_writable(file: Path | None) -> None:
    """Raise OSError if a file cannot be written: its folder is missing, or it is a folder itself."""
    if file is None:
        return
    if file.is_dir():
        raise OSError(f"{file} is a folder, but a file will be written: name one in it")
    if not file.absolute().parent.is_dir():
        raise OSError(f"there is no folder {file.parent} to write {file.name} into: make it first")
