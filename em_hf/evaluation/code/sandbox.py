"""Running programs that a model wrote: in processes of their own, with little of everything, and without the network.

It keeps accidents and tricks away from the machine and from the verdict. It is not a wall against an attacker who knows
a hole in the kernel.
"""

import base64
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_JAIL = Path(__file__).with_name("jail.py")
_OUTPUT_BYTES = 1 << 20
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"} | dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
_ENDED = "the program ended before it could be tested"


@dataclass(frozen=True)
class Limits:
    """What a program may use. Seconds are of the clock; `folder_bytes` is what all its files may hold together."""

    seconds: float = 10.0
    memory_bytes: int = 1 << 30
    processes: int = 32
    file_bytes: int = 16 << 20
    folder_bytes: int = 64 << 20


@dataclass(frozen=True)
class Verdict:
    """Whether the program passed, and if not, why, in one line."""

    passed: bool
    reason: str = ""


def passes(
    program: str,
    tests: str,
    names: Sequence[str],
    *,
    before: str = "",
    given: dict[str, Any] | None = None,
    packages: bool = False,
    limits: Limits | None = None,
) -> Verdict:
    """Whether `tests` run through without an exception, calling what `program` defines.

    The tests run in another process than the program, which answers calls with plain data, so nothing that the program
    does (leaving early, printing, patching, returning objects that equal everything) makes up for a wrong answer.

    Args:
        names: the program's functions and classes that the tests call.
        before: trusted code that runs before the tests, such as helpers of the problem's author.
        given: trusted values that the tests find under these names.
        packages: let the program import what is installed beside em-hf, such as NumPy.

    Raises:
        OSError: this system is not Linux.
    """
    limits = limits or Limits()
    to_program, from_program = os.pipe(), os.pipe()
    roots = {"packages": [path for path in sys.path if path.endswith("-packages")]} if packages else {}
    with _Jail(limits) as server, _Jail(limits) as checker:
        # Only the two ends that belong to a process are open in it; else one would wait for the other for ever.
        server.start({"role": "serve", "code": program, "read": to_program[0], "write": from_program[1], **roots})
        checker.start(
            {
                "role": "check",
                "code": tests,
                "before": before,
                "names": list(names),
                "given": base64.b64encode(pickle.dumps(given or {})).decode(),
                **roots,
                "read": from_program[0],
                "write": to_program[1],
            }
        )
        for fd in (*to_program, *from_program):
            os.close(fd)
        verdict = checker.verdict()
        if verdict.reason.startswith(_ENDED) and server.verdict() == server.late():
            return server.late()
        return verdict


def run_script(program: str, stdin: str, *, limits: Limits | None = None) -> tuple[str, Verdict]:
    """What the program prints, given `stdin`, and whether it ended well; a flood of output is cut off and fails."""
    with _Jail(limits or Limits()) as jail:
        jail.start({"role": "script", "code": program}, stdin=stdin)
        return jail.output()


class _Jail:
    """One process inside; it is gone, with all that came from it, when the block is left."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def __enter__(self) -> "_Jail":
        if sys.platform != "linux":
            raise OSError(f"programs can be run safely on Linux, not on {sys.platform}: use a container or WSL")
        self.folder = tempfile.TemporaryDirectory(prefix="em-hf-sandbox-")
        if os.geteuid() == 0:
            os.chmod(self.folder.name, 0o777)
        self.errors = tempfile.TemporaryFile()
        self.input = tempfile.TemporaryFile()
        self.process: subprocess.Popen | None = None
        return self

    def start(self, spec: dict[str, Any], stdin: str | None = None) -> None:
        inside, outside = os.pipe()
        keep = [inside, *(spec[end] for end in ("read", "write") if end in spec)]
        if stdin is not None:
            self.input.write(stdin.encode())
            self.input.seek(0)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_JAIL), str(inside)],
            cwd=self.folder.name,
            env={**_ENVIRONMENT, "HOME": self.folder.name},
            stdin=self.input,
            stdout=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            # A program's own complaints are worth nothing, and could fill the disk.
            stderr=self.errors if spec["role"] == "check" else subprocess.DEVNULL,
            pass_fds=keep,
            start_new_session=True,
        )
        os.close(inside)
        with os.fdopen(outside, "w", encoding="utf-8") as file:
            json.dump({**spec, "folder": self.folder.name, "limits": asdict(self.limits)}, file)

    def verdict(self) -> Verdict:
        assert self.process is not None
        try:
            code = self.process.wait(self.limits.seconds + 5)
        except subprocess.TimeoutExpired:
            code = 124
        if code == 0:
            return Verdict(True)
        if code == 124:
            return self.late()
        self.errors.seek(0)
        reason = self.errors.read(500).decode(errors="replace").strip() or f"ended with {code}"
        if reason.startswith(("EOFError", "BrokenPipeError")):
            reason = f"{_ENDED} ({reason})"
        return Verdict(False, reason)

    def late(self) -> Verdict:
        return Verdict(False, f"took longer than {self.limits.seconds:g} seconds")

    def output(self) -> tuple[str, Verdict]:
        assert self.process is not None and self.process.stdout is not None
        text = self.process.stdout.read(_OUTPUT_BYTES + 1)
        if len(text) > _OUTPUT_BYTES:
            return "", Verdict(False, f"printed more than {_OUTPUT_BYTES} bytes")
        return text.decode(errors="replace"), self.verdict()

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self._stop(self.process)
            if self.process.stdout is not None:
                self.process.stdout.close()
        self.errors.close()
        self.input.close()
        self.folder.cleanup()

    def _stop(self, process: subprocess.Popen) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)  # it ends its children, then itself
            try:
                process.wait(60)  # a machine with much to do may take its time
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
