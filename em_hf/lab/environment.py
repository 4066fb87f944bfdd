"""Which command, commit and machine a lab's results come from."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any


def environment(command: str) -> dict[str, Any]:
    """The command as it was given, the package's commit, the date, and what it runs on."""
    return {
        "command": command,
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("em-hf", "torch", "transformers", "trl")},
        },
    }


def _commit() -> str:
    """The commit of the checkout that the package runs from, "+" where its files were changed; else "unknown"."""
    place = Path(__file__).parents[1]
    if not (place.parent / ".git").exists():
        return "unknown"
    try:
        commit = _git("log", "-1", "--format=%h", at=place)
        return f"{commit}+" if _git("status", "--porcelain", "--untracked-files=no", "--", ".", at=place) else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str, at: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=at, capture_output=True, text=True, check=True).stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
