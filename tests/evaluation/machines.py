"""Machines that lack one protection or another, as the sandbox finds them; and what it may leave behind on one."""

import os
from pathlib import Path

import pytest

from em_hf.evaluation.code import sandbox

TESTS = "assert double(2) == 4\nassert double(-1) == -2"

# What a kernel or a container may lack, and the calls that then fail.
LACKS = {
    "namespaces": "name == 'unshare'",
    "new root": "name == 'syscall' and args[0] in (41, 155)",
    "landlock": "name == 'syscall' and args[0] in (444, 445, 446)",
    "landlock scopes": "name == 'syscall' and args[:2] == (444, None)",
    "seccomp": "name == 'prctl' and args[0] == 22",
}


def lack(monkeypatch: pytest.MonkeyPatch, folder: Path, *lacking: str) -> None:
    """Run the sandbox as on a machine without these."""
    jail = Path(sandbox.__file__).with_name("jail.py")
    wrapper = folder / "jail.py"
    wrapper.write_text(
        f"import ctypes, runpy, sys\nsys.argv[0] = {str(jail)!r}\n"
        "real = ctypes.CDLL(None, use_errno=True)\n"
        "class Libc:\n"
        "    def __getattr__(self, name):\n"
        "        def call(*args):\n"
        f"            lacking = {' or '.join(LACKS[name] for name in lacking) or False}\n"
        "            return (1 if args[1:2] == (None,) else -1) if lacking else getattr(real, name)(*args)\n"
        "        return call\n"
        "ctypes.CDLL = lambda *args, **options: Libc()\n"
        f"runpy.run_path({str(jail)!r}, run_name='__main__')\n"
    )
    folder.chmod(0o755)
    monkeypatch.setattr(sandbox, "_JAIL", wrapper)


KEPT = [(), ("namespaces",), ("landlock",), ("new root",), ("landlock scopes",), ("namespaces", "landlock scopes")]


def ours(folder: str) -> set[str]:
    """The commands of all processes that work in a sandbox below this folder."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.readlink(entry / "cwd").startswith(folder + "/"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.add(f"{entry.name} {command}")
            except OSError:
                continue
    return found
