"""A program's descendants and the resources they use together. Runs in the sandbox: standard library only."""

import os
from collections.abc import Iterable


def memory_bytes(pids: Iterable[int], limit: int) -> int:
    """Return these processes' own memory in bytes; pages that several of them share count once.

    The kernel's exact figures cost more to read, so they are read only if the sum that counts shared pages once per
    process exceeds `limit`; a process whose figures cannot be read counts with all its pages.
    """
    processes = list(pids)
    upper = sum(map(_held, processes))
    # A process that ends meanwhile no longer holds anything, so its figure is read again.
    return upper if upper <= limit else sum(_share(pid) or _held(pid) for pid in processes)


def _held(pid: int) -> int:
    return _kilobytes(f"/proc/{pid}/status", ("RssAnon", "RssShmem", "VmSwap")) << 10


def _share(pid: int) -> int:
    return _kilobytes(f"/proc/{pid}/smaps_rollup", ("Pss_Anon", "Pss_Shmem", "SwapPss")) << 10


def _kilobytes(path: str, names: tuple[str, ...]) -> int:
    total = 0
    try:
        with open(path) as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in names:
                    total += int(value.split()[0])
    except (OSError, ValueError):
        return 0
    return total


def folder_bytes(folder: str) -> int:
    """Return the space in bytes taken by the files in a folder and below it."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                total += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    total += folder_bytes(entry.path)
    except OSError:
        pass
    return total


def tasks_of(uid: int) -> int:
    """Return the user's current number of processes and threads, which the kernel counts towards the limit."""
    count = 0
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{process}").st_uid == uid:
                count += len(os.listdir(f"/proc/{process}/task"))
        except OSError:
            continue
    return count


def descendants() -> set[int]:
    """Return the ids of all current descendants of this process."""
    found: set[int] = set()
    new = {os.getpid()}
    while new := {child for pid in new for child in children(pid)} - found:
        found |= new
    return found


def children(pid: int) -> list[int]:
    """Return the ids of the children forked by any thread of a process; none if it is gone."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(word) for word in file.read().split()]
    except OSError:
        pass
    return found
