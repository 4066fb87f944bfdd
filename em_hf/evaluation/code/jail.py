"""The inside of the sandbox: a script of the standard library alone, run by `sandbox.py` in a process of its own.

It reads what to do (JSON) from the file descriptor in its first argument, makes a world of its own where the kernel
allows it, forks the process that gives up its rights and runs the program, and ends all that came from it. Where a
kernel does not allow one of the measures, the others still hold.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

# Its neighbour, without leaving this folder's other names in a program's way.
sys.path.insert(0, str(Path(__file__).parent))
import rpc

del sys.path[0]

FIRST_UID = 2_000_000_000  # far from every account; one for each process, since the kernel counts by user
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 1, 4, 8
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
CAP_DAC_READ_SEARCH = 1 << 2
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 2, 4, 0x4000, 0x40000
MOUNT_SETATTR, MOUNT_ATTR_RDONLY, AT_FDCWD, AT_RECURSIVE = 442, 1, -100, 0x8000
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_READ = 0b1101  # execute, read a file, list a folder
LANDLOCK_FIRST = 0x1FFF  # every right that the interface's first version knows
LANDLOCK_LATER = {2: 1 << 13, 3: 1 << 14, 5: 1 << 15}  # and what later versions added: move, truncate, device calls

libc = ctypes.CDLL(None, use_errno=True)


def main() -> NoReturn:
    with os.fdopen(int(sys.argv[1]), encoding="utf-8") as file:
        spec = json.load(file)
    root = os.geteuid() == 0
    user = FIRST_UID + os.getpid() if root else os.getuid()
    # The limit on processes counts the user's others too, where no namespace sets them apart.
    others = 0 if root else tasks_of(user)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    separate = isolate(spec["folder"], spec["limits"]["folder_bytes"], user, root=root)
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if separate and (program := os.fork()):  # this is process 1 of its own world, which ends with it
            os._exit(reap(program))
        os.chdir(spec["folder"])
        give_up(spec, user, root=root)
        limit(spec["limits"], 0 if separate else others)
        run(spec)
    guard(child, spec["limits"]["seconds"])


def tasks_of(uid: int) -> int:
    """Processes and threads of a user now, which the kernel counts towards the limit."""
    count = 0
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{process}").st_uid == uid:
                count += len(os.listdir(f"/proc/{process}/task"))
        except OSError:
            continue
    return count


def limit(limits: dict[str, Any], others: int) -> None:
    """The kernel's limits; `others` is how many of the user's processes count as the program's own."""
    seconds = int(limits["seconds"]) + 1
    wanted = {
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NPROC: limits["processes"] + others,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    for which, value in wanted.items():
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def isolate(folder: str, folder_bytes: int, user: int, *, root: bool) -> bool:
    """Namespaces of its own, all files read-only, an empty folder in memory; whether the kernel allowed it."""
    spaces = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(spaces if root else spaces | CLONE_NEWUSER) != 0:
        return False
    if not root:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
    read_only = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY)
    libc.syscall(MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, read_only, 32)
    size = f"size={folder_bytes},mode=700,uid={user},gid={user if root else gid}".encode()
    libc.mount(b"tmpfs", folder.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, size)
    return True


def give_up(spec: dict[str, Any], user: int, *, root: bool) -> None:
    """The rights of the process that will run the program, for good."""
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    confined = only_files(spec["folder"], spec.get("packages", []))
    if root:  # for whom the limit on processes would not hold
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    # A Python in root's home is out of others' reach; what else this right would open, Landlock keeps shut.
    capabilities(CAP_DAC_READ_SEARCH if root and confined else 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # no other process of this user may look into it


def only_files(folder: str, packages: list[str]) -> bool:
    """Landlock: read what Python needs, write in the folder, nothing else; whether the kernel has it."""
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)
    every = LANDLOCK_FIRST | sum(right for since, right in LANDLOCK_LATER.items() if version >= since)
    rules = libc.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(ctypes.c_uint64(every)), 8, 0)
    if rules < 0:
        return False
    readable = [sys.base_prefix, "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom", "/dev/zero"]
    for path, rights in [*((path, LANDLOCK_READ) for path in readable + packages), (folder, every)]:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        if not os.path.isdir(path):
            rights &= 0b111  # a file cannot be listed
        rule = rights.to_bytes(8, sys.byteorder) + fd.to_bytes(4, sys.byteorder)
        libc.syscall(LANDLOCK_ADD_RULE, rules, 1, rule, 0)
        os.close(fd)
    confined = libc.syscall(LANDLOCK_RESTRICT_SELF, rules, 0) == 0
    os.close(rules)
    return confined


def capabilities(kept: int) -> None:
    """Give up all but these, those over its own namespaces included, which it has had since it made them."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # the interface's third version, this process
    libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept))


def reap(program: int) -> int:
    """Wait for the program, and for what it leaves behind on the way; its exit code."""
    while True:
        pid, status = os.wait()
        if pid == program:
            return code_of(status)


def code_of(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def guard(child: int, seconds: float) -> NoReturn:
    """Wait for the child, at most so long, then end it and all that came from it."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        end_all()
        os._exit(124)

    signal.signal(signal.SIGTERM, stop)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            end_all()
            os._exit(code_of(status))
        time.sleep(0.002)
    stop(0, None)


def end_all() -> None:
    """Kill all that came from here; those whose parents are gone are ours.

    All are stopped before any is killed: one that forks for ever would outrun the killing, while a stopped one still
    counts towards the limit on processes.
    """
    while True:
        stopped: set[int] = set()
        while new := descendants() - stopped:
            send(signal.SIGSTOP, new)
            stopped |= new
        send(signal.SIGKILL, stopped)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def send(number: int, pids: set[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def descendants() -> set[int]:
    found: set[int] = set()
    new = {os.getpid()}
    while new := {child for pid in new for child in children(pid)} - found:
        found |= new
    return found


def children(pid: int) -> list[int]:
    """Those that any thread of a process has forked; none where it is gone."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(word) for word in file.read().split()]
    except OSError:
        pass
    return found


def run(spec: dict[str, Any]) -> NoReturn:
    """The forked process: do what is asked, and exit with 0 only if that worked."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.path += spec.get("packages", [])
    try:
        {"serve": rpc.serve, "check": rpc.check, "script": script}[spec["role"]](spec)
        sys.stdout.flush()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException as error:
        print(f"{type(error).__name__}: {error}"[:500], file=sys.stderr, flush=True)
        code = 1
    os._exit(code)


def script(spec: dict[str, Any]) -> None:
    """Run a program as a script."""
    exec(compile(spec["code"], "<program>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
