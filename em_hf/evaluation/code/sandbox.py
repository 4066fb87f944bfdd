"""A sandbox for programs that a model wrote: separate processes, with limited resources and without the network.

It protects the machine and the verdict from accidents and tricks. It guarantees that a program reads only Python and
the system's libraries, writes only to its own folder, opens no socket, sends no signal to other processes, and stays
within `Limits` with all its processes together. If this machine cannot enforce one of these guarantees, no program
runs, unless EM_HF_SANDBOX=weak (`em-hf eval --sandbox weak`) allows it. It does not stop an attacker who knows a kernel
vulnerability.
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
_STRENGTH = "EM_HF_SANDBOX"
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"} | dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
_ENDED = "the program ended before it could be tested"
# Exit codes by which `jail.py` reports that it, and not the program, ended the run.
_FULL_FOLDER, _TOO_MUCH_MEMORY, _LATE, _UNPROTECTED = 122, 123, 124, 125


class UnprotectedError(OSError):
    """This machine cannot enforce the sandbox's guarantees."""


@dataclass(frozen=True)
class Limits:
    """What a program may use: wall-clock seconds, and memory and files in bytes for all its processes together.

    `memory_bytes` also bounds the address space of each process, `file_bytes` each file.
    """

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


def check_sandbox() -> list[str]:
    """Return the guarantees that the sandbox cannot enforce here: none, or those that EM_HF_SANDBOX=weak gives up.

    Raises:
        UnprotectedError: a guarantee cannot be enforced, and EM_HF_SANDBOX=weak does not allow it.
        ValueError: EM_HF_SANDBOX is neither `strict` nor `weak`.
        OSError: this system is not Linux.
    """
    with _Jail(Limits(seconds=60)) as jail:
        jail.start({"role": "probe", "code": ""}, stdin="")
        text, verdict = jail.output()
    if not verdict.passed:
        raise OSError(f"the sandbox does not work here: {verdict.reason}")
    return list(json.loads(text))


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
    """Return whether `tests` run through without an exception, calling what `program` defines.

    The tests run in a different process from the program, which answers calls with plain data, so nothing that the
    program does (exiting early, printing, patching, returning objects that equal everything) hides a wrong answer.

    Args:
        names: the program's functions and classes that the tests call.
        before: trusted code that runs before the tests, such as helpers of the problem's author.
        given: trusted values that are available to the tests under these names.
        packages: let the program import what is installed beside em-hf, such as NumPy.

    Raises:
        UnprotectedError: this machine cannot enforce a guarantee of the sandbox (`check_sandbox`).
        OSError: this system is not Linux.
    """
    limits = limits or Limits()
    to_program, from_program = os.pipe(), os.pipe()
    roots = {"packages": [path for path in sys.path if path.endswith("-packages")]} if packages else {}
    with _Jail(limits) as server, _Jail(limits) as checker:
        # Each process has only its own two ends open; otherwise one would wait for the other forever.
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
        if verdict.reason.startswith(_ENDED):
            ended = server.verdict()
            return verdict if ended.passed or ended.reason.startswith("ended with") else ended
        return verdict


def run_script(program: str, stdin: str, *, limits: Limits | None = None) -> tuple[str, Verdict]:
    """Return what the program prints, given `stdin`, and whether it succeeded; excessive output fails."""
    with _Jail(limits or Limits()) as jail:
        jail.start({"role": "script", "code": program}, stdin=stdin)
        return jail.output()


class _Jail:
    """One sandboxed process; it is gone, with all its descendants, when the block exits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def __enter__(self) -> "_Jail":
        if sys.platform != "linux":
            raise OSError(f"programs can be run safely on Linux, not on {sys.platform}: use a container or WSL")
        self.weak = _weak()
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
            env={**_ENVIRONMENT, "HOME": self.folder.name, "TMPDIR": self.folder.name},
            stdin=self.input,
            stdout=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stderr=self.errors,
            pass_fds=keep,
            start_new_session=True,
        )
        os.close(inside)
        with os.fdopen(outside, "w", encoding="utf-8") as file:
            json.dump({**spec, "folder": self.folder.name, "limits": asdict(self.limits), "weak": self.weak}, file)

    def verdict(self) -> Verdict:
        assert self.process is not None
        try:
            code = self.process.wait(self.limits.seconds + 5)
        except subprocess.TimeoutExpired:
            code = _LATE
        if code == 0:
            return Verdict(True)
        if code == _LATE:
            return self.late()
        if code == _TOO_MUCH_MEMORY:
            return Verdict(False, f"used more than {self.limits.memory_bytes >> 20} MiB of memory in all its processes")
        if code == _FULL_FOLDER:
            return Verdict(False, f"wrote more than {self.limits.folder_bytes >> 20} MiB of files")
        self.errors.seek(0)
        if code == _UNPROTECTED:
            raise UnprotectedError(
                f"this machine cannot keep what the sandbox promises: {self.errors.read().decode().strip()}. Run it on "
                "another machine or in a virtual machine, or allow this with --sandbox weak (EM_HF_SANDBOX=weak)"
            )
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
                process.wait(60)  # a busy machine may take its time
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _weak() -> bool:
    strength = os.environ.get(_STRENGTH, "strict")
    if strength not in ("strict", "weak"):
        raise ValueError(f"{_STRENGTH} is {strength!r}, but must be strict or weak")
    return strength == "weak"
