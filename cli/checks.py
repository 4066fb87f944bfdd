"""What can be checked before anything heavy is imported: names of models, devices, files, extras and ports."""

import difflib
import os
import re
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

from em_hf.settings import POCKET_NAME, POCKET_NAMES, did_you_mean

DEVICES = ("cpu", "cuda", "mps", "xpu", "npu", "hpu", "mlu", "mtia")
GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
HUB_SECONDS = 3


def check_model(name: str) -> None:
    """Raise where a model name stands for nothing on this machine and cannot be a Hub id.

    Raises:
        OSError: There is no such folder; near names are suggested.
        ValueError: The name is empty.
    """
    if not name.strip():
        raise ValueError(f"model is empty: give a Hub id, a folder, or {POCKET_NAME}")
    if name in POCKET_NAMES:
        return
    try:
        path = Path(name).expanduser()
        if path.exists():
            return
    except (OSError, RuntimeError, ValueError):  # a name too long for the file system, or ~nobody
        path = Path(name)
    like_path = path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
    beside = _names_in(path.parent) if like_path else []
    near = did_you_mean(path.name, beside) if like_path else ""
    if like_path:
        raise OSError(f"there is no model folder at {name}{near}")
    close = difflib.get_close_matches(name, POCKET_NAMES, 1, 0.8)
    if close:
        raise OSError(f"there is no model {name}; did you mean {close[0]!r}?")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise ValueError(f"model is {name!r}, but must be a Hub id such as owner/name, a folder, or {POCKET_NAME}")


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def is_hub_id(name: str | None) -> bool:
    """Return whether a checked model name has to come from the Hub or its cache."""
    return bool(name) and name not in POCKET_NAMES and not Path(str(name)).expanduser().exists()


def check_device(name: str | None) -> None:
    """Raise ValueError where this machine cannot have the device; whether it does, torch says later."""
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
    """Raise ImportError, with the command that installs it, where a package of an extra is missing."""
    for package in packages:
        if find_spec(package) is None:
            name = {"trl": "TRL", "peft": "PEFT", "lm_eval": "lm-eval", "sklearn": "scikit-learn"}.get(package, package)
            raise ImportError(f"{what} needs {name}: pip install 'em-hf[{extra}]'")


def check_dataset(name: str | None) -> str | None:
    """Return a dataset's name where it has to come from the Hub, else None.

    Raises:
        OSError, ValueError: It is named like a file, and there is none that could be read.
    """
    from em_hf.data import FEWER_DATASET, POCKET_DATASET, local_file

    return None if name in (None, POCKET_DATASET, FEWER_DATASET) or local_file(str(name)) else name


def check_port(host: str, port: int) -> None:
    """Raise OSError where the address cannot be listened on."""
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
    """Return whether the Hub answers within a few seconds; True without asking where only the cache is to be used."""
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
    """Raise OSError where a file to be written cannot be: its folder is missing, or it is a folder itself."""
    if file is None:
        return
    if file.is_dir():
        raise OSError(f"{file} is a folder, but a file will be written: name one in it")
    if not file.absolute().parent.is_dir():
        raise OSError(f"there is no folder {file.parent} to write {file.name} into: make it first")
