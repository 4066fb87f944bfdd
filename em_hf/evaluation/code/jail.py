"""The inside of the sandbox: a script that uses only the standard library, run by `sandbox.py` in a separate process.

It reads a request (JSON) from the file descriptor in its first argument and forks a process that isolates itself, drops
its privileges and runs the program; it watches the total use of all the program's processes, and kills all descendants.
Most guarantees are enforced in two ways, by namespaces and by Landlock or a system call filter, so that a kernel or a
container without one still has the other. If both are missing, the program does not run (`UNPROTECTED`), unless the
request allows it with `weak`.
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

# Import the neighbouring modules without leaving this folder on the program's import path.
sys.path.insert(0, str(Path(__file__).parent))
import rpc
from seccomp import filter_calls
from usage import descendants, folder_bytes, memory_bytes, tasks_of

del sys.path[0]

FIRST_UID = 2_000_000_000  # far from real accounts; one per process, since the kernel counts by user
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
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 2, 4, 0x1000, 0x4000, 0x40000, 2
MOUNT_SETATTR, MOUNT_ATTR_RDONLY, AT_FDCWD, AT_RECURSIVE = 442, 1, -100, 0x8000
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_READ = 0b1101  # execute, read a file, list a folder
LANDLOCK_FIRST = 0x1FFF  # every right that the interface's first version knows
LANDLOCK_LATER = {2: 1 << 13, 3: 1 << 14, 5: 1 << 15}  # and what later versions added: move, truncate, device calls

LANDLOCK_NET, LANDLOCK_SCOPE = 0b11, 0b11  # TCP (version 4); abstract Unix sockets and signals (version 6)
# What Python needs to read. No other file of the machine is accessible.
READABLE = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom", "/dev/zero")
LATE, TOO_MUCH_MEMORY, FULL_FOLDER, UNPROTECTED = 124, 123, 122, 125
SECONDS_BETWEEN_LOOKS = 0.02

libc = ctypes.CDLL(None, use_errno=True)


def main() -> NoReturn:
    with os.fdopen(int(sys.argv[1]), encoding="utf-8") as file:
        spec = json.load(file)
    root = os.geteuid() == 0
    user = FIRST_UID + os.getpid() if root else os.getuid()
    # Unless a namespace separates them, the limit on processes counts the user's other processes too.
    others = 0 if root else tasks_of(user)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    separate = namespaces(user, root=root)
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if separate and (program := os.fork()):  # this is process 1 of its namespace, which ends with it
            os.close(tell)
            os._exit(reap(program))
        missing = close_up(spec, user, separate=separate, root=root)
        os.write(tell, json.dumps(missing).encode())
        os.close(tell)
        if missing and not spec["weak"]:
            os._exit(UNPROTECTED)
        limit(spec["limits"], 0 if separate else others)
        run(spec, missing)
    os.close(tell)
    with os.fdopen(told, encoding="utf-8") as answer:
        missing = json.loads(answer.read() or "[]")
    if missing and not spec["weak"]:
        end_all()
        print("; ".join(missing), file=sys.stderr, flush=True)
        os._exit(UNPROTECTED)
    for end in ("read", "write"):
        if end in spec:
            os.close(spec[end])  # else the other side would never see that the program has ended
    guard(child, spec["limits"], spec["folder"])


def close_up(spec: dict[str, Any], user: int, *, separate: bool, root: bool) -> list[str]:
    """Take from this process what the program must not have; return the guarantees that cannot be enforced here."""
    readable = [sys.base_prefix, *READABLE, *spec.get("packages", [])]
    new_root = separate and small_world(spec["folder"], spec["limits"]["folder_bytes"], user, readable, root=root)
    os.chdir(spec["folder"])
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    confined, scoped = only_files(spec["folder"], readable)
    # A Python in root's home is not readable by other users. Landlock blocks what else this capability opens, unless
    # that was given up with `weak`.
    give_up(user, root=root, may_read=confined or (spec["weak"] and not new_root))
    filtered = filter_calls(own_signals_only=not (separate or scoped or root), no_changes_by_path=not new_root)
    missing = []
    if not (new_root or confined):
        missing.append("files: the program could read this user's files (no Landlock, and no new root)")
    elif not (new_root or filtered):
        missing.append("files: the program could change this user's files (no seccomp filter, and no new root)")
    if not filtered:
        missing.append("sockets: the program could reach services of this machine (no seccomp filter)")
    if not (filtered or separate):
        missing.append("network: the program could reach the network (no seccomp filter, and no namespaces)")
    if not (filtered or separate or scoped or root):
        missing.append("processes: the program could end this user's other processes (no seccomp, no namespaces)")
    return missing


def limit(limits: dict[str, Any], others: int) -> None:
    """Set the kernel's limits; `others` is how many other processes of the user count as the program's own."""
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


def namespaces(user: int, *, root: bool) -> bool:
    """Isolate future forks' processes, network and shared memory; return whether the kernel allows it."""
    spaces = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(spaces if root else spaces | CLONE_NEWUSER) != 0:
        return False
    if not root:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    return True


def small_world(folder: str, size: int, user: int, readable: list[str], *, root: bool) -> bool:
    """Switch to a root of the readable files, read-only, and an empty in-memory folder; return whether that worked.

    If only the root cannot be changed, the folder is still in memory and the other files are read-only.
    """
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        return False
    group = user if root else os.getgid()
    empty = f"size={size},mode=700,uid={user},gid={group}".encode()
    new = folder  # where the new root is mounted until it is the root
    if libc.mount(b"tmpfs", new.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, b"size=1m,mode=755") == 0:
        for path in dict.fromkeys([*readable, *map(os.path.realpath, readable)]):
            appear(path, new)
        os.makedirs(new + folder, exist_ok=True)
        protect(new)
        if libc.mount(b"tmpfs", (new + folder).encode(), b"tmpfs", MS_NOSUID | MS_NODEV, empty) == 0:
            os.chdir(new)
            number = PIVOT_ROOT.get(os.uname().machine, -1)
            # Both the new root and the old one end up at the same mount point, from which the old one is unmounted.
            if libc.syscall(number, b".", b".") == 0 and libc.umount2(b".", MNT_DETACH) == 0:
                os.chdir("/")
                return True
            os.chdir("/")
    protect("/")
    libc.mount(b"tmpfs", folder.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, empty)
    return False


def appear(path: str, new: str) -> None:
    """Make a file or folder visible at the same path in the new root; links on the way are links there too."""
    place = Path(new)
    for part in Path(path).parts[1:]:
        old, place = Path("/") / place.relative_to(new) / part, place / part
        if place.is_symlink() or place.is_mount():
            return
        if old.is_symlink():
            place.symlink_to(os.readlink(old))
            return
        if str(old) == path and old.exists():
            place.mkdir(exist_ok=True) if old.is_dir() else place.touch()
            libc.mount(path.encode(), str(place).encode(), None, MS_BIND | MS_REC, None)
        elif old.is_dir():
            place.mkdir(exist_ok=True)
        else:
            return


def protect(path: str) -> None:
    """Make all mounts at a path and below it read-only."""
    read_only = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY)
    libc.syscall(MOUNT_SETATTR, AT_FDCWD, path.encode(), AT_RECURSIVE, read_only, 32)


def give_up(user: int, *, root: bool, may_read: bool) -> None:
    """Become a user without privileges, permanently."""
    if root:  # to whom the limit on processes would not apply
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    capabilities(CAP_DAC_READ_SEARCH if root and may_read else 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # no other process of this user may inspect it


def only_files(folder: str, readable: list[str]) -> tuple[bool, bool]:
    """Apply Landlock: read what Python needs, write in the folder, no network, no signals to others.

    Returns:
        Whether the kernel supports it for files, and whether for signals and abstract sockets too.
    """
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)
    every = LANDLOCK_FIRST | sum(right for since, right in LANDLOCK_LATER.items() if version >= since)
    handled = (ctypes.c_uint64 * 3)(every, LANDLOCK_NET, LANDLOCK_SCOPE)
    rules = libc.syscall(LANDLOCK_CREATE_RULESET, handled, 24 if version >= 6 else 16 if version >= 4 else 8, 0)
    if rules < 0:
        return False, False
    for path, rights in [*((path, LANDLOCK_READ) for path in readable), (folder, every)]:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        if not os.path.isdir(path):
            rights &= 0b111  # a file cannot be listed
        if path == os.devnull:
            rights |= 0b10  # to be written to
        rule = rights.to_bytes(8, sys.byteorder) + fd.to_bytes(4, sys.byteorder)
        libc.syscall(LANDLOCK_ADD_RULE, rules, 1, rule, 0)
        os.close(fd)
    confined = libc.syscall(LANDLOCK_RESTRICT_SELF, rules, 0) == 0
    os.close(rules)
    return confined, confined and version >= 6


def capabilities(kept: int) -> None:
    """Give up all capabilities but these, including those over its own namespaces, gained by creating them."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # the interface's third version, this process
    libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept))


def reap(program: int) -> int:
    """Wait for the program, reaping its orphans meanwhile, and return its exit code."""
    while True:
        pid, status = os.wait()
        if pid == program:
            return code_of(status)


def code_of(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def guard(child: int, limits: dict[str, Any], folder: str) -> NoReturn:
    """Wait for the child while it stays within its limits, then kill it and all its descendants."""

    def stop(code: int) -> NoReturn:
        end_all()
        os._exit(code)

    def terminated(signum: int, frame: FrameType | None) -> NoReturn:
        stop(LATE)

    signal.signal(signal.SIGTERM, terminated)
    deadline = time.monotonic() + limits["seconds"]
    look = 0.0
    while (now := time.monotonic()) < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            code = code_of(status)
            stop(1 if code in (LATE, TOO_MUCH_MEMORY, FULL_FOLDER, UNPROTECTED) else code)
        if now >= look:  # the kernel's own limit is per process
            if memory_bytes(descendants(), limits["memory_bytes"]) > limits["memory_bytes"]:
                stop(TOO_MUCH_MEMORY)
            if (
                folder_bytes(folder) > limits["folder_bytes"]
            ):  # an in-memory folder is not visible here, but its size is bounded
                stop(FULL_FOLDER)
            look = time.monotonic() + SECONDS_BETWEEN_LOOKS
        time.sleep(0.002)
    stop(LATE)


def end_all() -> None:
    """Kill all descendants; those whose parents are gone are ours.

    All are stopped before any is killed: a process that forks endlessly would outrun the killing, while a stopped one
    still counts towards the limit on processes.
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


def run(spec: dict[str, Any], missing: list[str]) -> NoReturn:
    """Do what is asked, in the forked process, and exit with 0 only if that worked."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if spec["role"] != "check":
        # A program's own error output is of no use, and could fill the disk.
        silent = os.open("/dev/null", os.O_WRONLY)
        os.dup2(silent, 2)
        os.close(silent)
    sys.path += spec.get("packages", [])
    try:
        {"serve": rpc.serve, "check": rpc.check, "script": script, "probe": lambda _: print(json.dumps(missing))}[
            spec["role"]
        ](spec)
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
