"""The inside of the sandbox: a script of the standard library alone, run by `sandbox.py` in a process of its own.

It reads what to do (JSON) from the file descriptor in its first argument, takes rights away from itself, and forks the
process that runs the program. Where a kernel does not allow one of the measures, the others still hold.
"""

import builtins
import ctypes
import json
import os
import pickle
import resource
import signal
import sys
import time
from types import FrameType
from typing import Any, NoReturn

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
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_READ = 0b1101  # execute, read a file, list a folder
LANDLOCK_ALL = 0x1FFF  # every right of the interface's first version

libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def main() -> NoReturn:
    with os.fdopen(int(sys.argv[1]), encoding="utf-8") as file:
        spec = json.load(file)
    limits = spec["limits"]
    others = tasks_of(os.getuid())  # while it can still see them
    own_processes = libc is not None and isolate(spec["folder"], limits["folder_bytes"])
    limit(limits, 0 if own_processes else others)
    child = os.fork()
    if child == 0:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if own_processes:  # this is process 1 of its own world, which ends with it
                os._exit(reap(os.fork() or run(spec)))
        run(spec)
    guard(child, limits["seconds"])


def tasks_of(uid: int) -> int:
    """Processes and threads of a user now, which the kernel counts towards the limit."""
    count = 0
    for process in os.listdir("/proc") if os.path.isdir("/proc") else []:
        try:
            count += process.isdecimal() and os.stat(f"/proc/{process}").st_uid == uid and tasks_in(process)
        except OSError:
            continue
    return count


def tasks_in(process: str) -> int:
    return len(os.listdir(f"/proc/{process}/task"))


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


def isolate(folder: str, folder_bytes: int) -> bool:
    """Namespaces of its own, an empty folder in memory, no writing elsewhere; whether it has its own processes."""
    assert libc is not None
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    root = os.geteuid() == 0
    uid, gid = (FIRST_UID + os.getpid(),) * 2 if root else (os.getuid(), os.getgid())
    spaces = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS
    isolated = libc.unshare(spaces if root else spaces | CLONE_NEWUSER) == 0
    if isolated:
        maps = (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1"))
        for name, text in () if root else maps:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
        size = f"size={folder_bytes},mode=700,uid={uid},gid={gid}".encode()
        libc.mount(b"tmpfs", folder.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, size)
    os.chdir(folder)
    confined = only_files(folder)
    if root:  # for whom the limit on processes does not hold
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    # A Python in root's home is out of others' reach; what else this right would open, Landlock keeps shut.
    capabilities(CAP_DAC_READ_SEARCH if root and confined else 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # no other process of this user may look into it
    return isolated


def only_files(folder: str) -> bool:
    """Landlock: read what Python needs, write in the folder, nothing else; whether the kernel has it."""
    assert libc is not None
    handled = ctypes.c_uint64(LANDLOCK_ALL)
    rules = libc.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(handled), 8, 0)
    if rules < 0:
        return False
    readable = [sys.base_prefix, "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom", "/dev/zero"]
    for path, rights in [*((path, LANDLOCK_READ) for path in readable), (folder, LANDLOCK_ALL)]:
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
    assert libc is not None
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
        end_all(child)
        os._exit(124)

    signal.signal(signal.SIGTERM, stop)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            end_all(None)
            os._exit(code_of(status))
        time.sleep(0.002)
    stop(0, None)


def end_all(child: int | None) -> None:
    """Kill the child and, where they outlive it, its descendants, which are ours once their parents are gone."""
    if child is not None:
        os.kill(child, signal.SIGKILL)
    while True:
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def run(spec: dict[str, Any]) -> NoReturn:
    """The forked process: do what is asked, and exit with 0 only if that worked."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        {"serve": serve, "check": check, "script": script}[spec["role"]](spec)
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


# A program's functions are called from another process, so that the tests never share one with the program. Only plain
# data crosses over: a value that pretends to be equal to everything stays behind, and what arrives is compared there.


def serve(spec: dict[str, Any]) -> None:
    """Run the program, then do what the checker asks of its names."""
    incoming, outgoing = os.fdopen(spec["read"], "rb"), os.fdopen(spec["write"], "wb")
    space: dict[str, Any] = {"__name__": "program"}
    exec(compile(spec["code"], "<program>", "exec"), space)
    objects: list[Any] = [space]
    while True:
        action, target, name, args, kwargs = pickle.load(incoming)
        try:
            if action == "name":
                value = space[name] if name in space else getattr(builtins, name)
            elif action == "attribute":
                value = getattr(objects[target], name)
            else:
                given = [restored(arg, objects) for arg in args]
                value = objects[target](*given, **{key: restored(arg, objects) for key, arg in kwargs.items()})
            answer = ("value", plain(value)) if is_plain(value) else ("object", len(objects))
            if answer[0] == "object":
                objects.append(value)
        except BaseException as error:
            answer = ("error", f"{type(error).__name__}: {error}"[:500])
        pickle.dump(answer, outgoing)
        outgoing.flush()


PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)


def is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(entry) for key, entry in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(is_plain(entry) for entry in value)
    return value is None or isinstance(value, PLAIN)


def plain(value: Any) -> Any:
    """The value in Python's own types: a Counter as a dict, a named tuple as a tuple."""
    if value is None or type(value) is bool:
        return value
    kind = next(kind for kind in PLAIN if isinstance(value, kind))
    if kind is dict:
        return {plain(key): plain(entry) for key, entry in value.items()}
    if kind in (list, tuple, set, frozenset):
        return kind(plain(entry) for entry in value)
    return kind(value)


def restored(value: Any, objects: list[Any]) -> Any:
    """An argument as it was meant: a reference to one of the program's objects is that object."""
    if isinstance(value, Reference):
        return objects[value.number]
    if isinstance(value, (list, tuple)):
        return type(value)(restored(entry, objects) for entry in value)
    return value


class Reference:
    def __init__(self, number: int) -> None:
        self.number = number


class Remote:
    """An object of the program, in the checker's process."""

    def __init__(self, line: "Line", number: int) -> None:
        self._line, self._number = line, number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._line.ask("call", self._number, "", args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._line.ask("attribute", self._number, name)

    def __reduce__(self) -> Any:
        return Reference, (self._number,)


class NoClasses(pickle.Unpickler):
    """Reads plain data; a pickle that asks for anything else is an error."""

    def find_class(self, module: str, name: str) -> type:
        if (module, name) == ("builtins", "complex"):
            return complex
        raise pickle.UnpicklingError("only plain data may come back from a program")


class Line:
    """The checker's end of the connection."""

    def __init__(self, read: int, write: int) -> None:
        self.incoming, self.outgoing = os.fdopen(read, "rb"), os.fdopen(write, "wb")

    def ask(self, action: str, target: int, name: str, args: Any = (), kwargs: Any = None) -> Any:
        pickle.dump((action, target, name, args, kwargs or {}), self.outgoing)
        self.outgoing.flush()
        kind, value = NoClasses(self.incoming).load()
        if kind == "error":
            raise RuntimeError(str(value))
        return Remote(self, int(value)) if kind == "object" else value


def check(spec: dict[str, Any]) -> None:
    """Run the tests; the names that the program defines are asked of it."""
    line = Line(spec["read"], spec["write"])
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(spec["before"], "<before>", "exec"), space)
    for name in spec["names"]:
        space[name] = line.ask("name", 0, name)
    exec(compile(spec["code"], "<tests>", "exec"), space)


if __name__ == "__main__":
    main()
