"""Attacks on the sandbox, under every way in which it keeps its promises, in random order.

    python -m tests.campaigns.sandbox [--rounds 1] [--seed 0] [--output benchmarks/results/reliability-sandbox.json]

An attack gets through if it says so by printing REACHED, if a wrong program passes its tests, or if something outside
shows a trace of it: a file changed, a server called, a process ended, memory or processes beyond the limits, anything
left over. It takes about a minute a round on two cores.
"""

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from em_hf.evaluation.code.sandbox import Limits, passes, run_script
from tests.campaigns import write_figures
from tests.evaluation import hostile
from tests.evaluation.machines import KEPT, TESTS, lack, ours

LIMITS = Limits(seconds=4.0, memory_bytes=256 << 20, folder_bytes=16 << 20)
_LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
_REACHED = "\nprint('REACHED')"


def call(number: int, *arguments: str) -> str:
    """A program that makes a system call (of x86-64) and says whether the kernel did it."""
    line = ", ".join([str(number), *arguments])
    return f"{_LIBC}if libc.syscall({line}) >= 0: print('REACHED')"


# Each prints REACHED where it got what it wanted. {secret} is a file that all may read, {open} one that all may write,
# {socket} and {box} are Unix sockets, {port} a TCP and {udp} a UDP port, {victim} a process of the caller.
SCRIPTS: dict[str, dict[str, str]] = {
    "files": {
        "reads a file of the user": "open({secret!r}).read()" + _REACHED,
        "reads it by a link": "import os\nos.symlink({secret!r}, 'link')\nopen('link').read()" + _REACHED,
        "reads it by a hard link": "import os\nos.link({secret!r}, 'link')\nopen('link').read()" + _REACHED,
        "reads it through /proc/self/root": "open('/proc/self/root' + {secret!r}).read()" + _REACHED,
        "reads it through the parent's root": "import os\nopen(f'/proc/{{os.getppid()}}/root' + {secret!r})" + _REACHED,
        "climbs up": "import os\nos.chdir('../' * 30)\nopen({secret!r}[1:]).read()" + _REACHED,
        "reads /etc/passwd": "open('/etc/passwd').read()" + _REACHED,
        "reads another's environment": "open('/proc/{victim}/environ').read()" + _REACHED,
        "reads another's memory": "open('/proc/{victim}/mem', 'rb')" + _REACHED,
        "lists the user's home": "import os\nos.listdir(os.path.expanduser('~root'))" + _REACHED,
        "writes into a file": "open({open!r}, 'a').write('x')" + _REACHED,
        "cuts a file off": "import os\nos.truncate({open!r}, 0)" + _REACHED,
        "deletes a file": "import os\nos.remove({open!r})" + _REACHED,
        "renames a file": "import os\nos.rename({open!r}, 'mine')" + _REACHED,
        "changes rights": "import os\nos.chmod({open!r}, 0)" + _REACHED,
        "writes to /tmp": "open('/tmp/em-hf-leak', 'w')" + _REACHED,
        "writes to /dev/shm": "open('/dev/shm/em-hf-leak', 'w')" + _REACHED,
        "makes a device": "import os, stat\nos.mknod('disk', 0o600 | stat.S_IFBLK, os.makedev(8, 0))" + _REACHED,
        "opens by handle": call(304, "-100", "b'x' * 16", "0"),
        "changes its root": "import os\nos.mkdir('d')\nos.chroot('d')" + _REACHED,
    },
    "sockets": {
        "calls a Unix socket": "import socket\nsocket.socket(socket.AF_UNIX).connect({socket!r})" + _REACHED,
        "sends a datagram from a pair": (
            "import socket\nsocket.socketpair(type=socket.SOCK_DGRAM)[0].sendto(b'x', {box!r})" + _REACHED
        ),
        "connects one of a pair": "import socket\nsocket.socketpair()[0].connect({socket!r})" + _REACHED,
        "calls an abstract socket": "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0em-hf-{caller}')"
        + _REACHED,
        "opens TCP": "import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)" + _REACHED,
        "sends UDP": (
            "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {udp}))" + _REACHED
        ),
        "asks the kernel (netlink)": "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)" + _REACHED,
        "calls the host (vsock)": "import socket\nsocket.socket(socket.AF_VSOCK)" + _REACHED,
        "listens": "import socket\nsocket.create_server(('127.0.0.1', 0))" + _REACHED,
        "sets up io_uring": call(425, "8", "b'\\0' * 120"),
    },
    "processes": {
        "kills a process": "import os\nos.kill({victim}, 9)" + _REACHED,
        "kills all": "import os\nos.kill(-1, 9)",
        "kills its parent": "import os\nos.kill(os.getppid(), 9)",
        "kills through a handle": call(424, "libc.syscall(434, {victim}, 0)", "9", "None", "0"),
        "debugs a process": call(101, "16", "{victim}", "0", "0"),
        "reads its memory": call(310, "{victim}", "b'x' * 16", "1", "b'x' * 16", "1", "0"),
        "changes its limits": "import resource\nresource.prlimit({victim}, resource.RLIMIT_CPU, (1, 1))" + _REACHED,
        "makes a user namespace": call(272, "0x10000000"),
        "clones into a namespace": call(56, "0x10000011", "0", "0", "0", "0") + "\nos._exit(0)",
        "mounts": call(165, "b'x'", "os.getcwd().encode()", "b'tmpfs'", "0", "None"),
        "becomes root": "import os\nos.setuid(0)" + _REACHED,
        "loads a BPF program": call(321, "5", "b'x' * 120", "120"),
        "watches the kernel": call(298, "b'x' * 120", "0", "-1", "-1", "0"),
        "attaches shared memory": call(29, "1", "4096", "0o1666"),
        "makes a file in memory": call(319, "b'x'", "0"),
        "raises its limits": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))" + _REACHED,
    },
    "limits": {
        "loops": "while True: pass",
        "sleeps": "import time\ntime.sleep(1000)",
        "ignores all signals": hostile.IGNORES_SIGNALS,
        "forks for ever": hostile.FORKS_FOR_EVER,
        "leaves a daemon": hostile.LEAVES_A_DAEMON,
        "starts threads for ever": (
            "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()"
        ),
        "hoards in one process": "hoard = []\nwhile True: hoard.append(bytearray(10**7))" + _REACHED,
        "hoards in six processes": hostile.HOARDS_IN_SIX_PROCESSES,
        "hoards in shared maps": (
            "import mmap\nhoard = [mmap.mmap(-1, 1 << 24) for _ in range(60)]\n"
            "for part in hoard: part.write(b'x' * (1 << 24))" + _REACHED
        ),
        "fills the folder": (
            "for i in range(60): open(str(i), 'wb').write(bytes(1 << 20))\nimport time\ntime.sleep(1)" + _REACHED
        ),
        "writes a large file": "open('f', 'wb').write(bytes(20 << 20))" + _REACHED,
        "prints for ever": "while True: print('x' * 1000)",
    },
}

VERDICTS = {**hostile.LEAVES_EARLY, **hostile.TRICKS, "forges replies": hostile.FORGES_REPLIES.format(reply=b"x" * 64)}


@dataclass
class Outside:
    """What attacks aim at, and the traces that one leaves there."""

    folder: Path
    calls: list[str] = field(default_factory=list)

    @contextmanager
    def watched(self) -> Iterator[dict[str, Any]]:
        secret, opened = self.folder / "secret", self.folder / "open"
        secret.write_text("s3cret")
        opened.write_text("mine")
        secret.chmod(0o644)
        opened.chmod(0o666)
        victim = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        servers = self._servers()
        try:
            yield {
                "caller": os.getpid(), "secret": str(secret),
                "open": str(opened), "victim": victim.pid, "port": servers[0].getsockname()[1],
                "udp": servers[1].getsockname()[1], "socket": str(self.folder / "s"), "box": str(self.folder / "b"),
            }  # fmt: skip
            for server in servers:
                try:
                    server.recv(1) if server.type == socket.SOCK_DGRAM else server.accept()[0].close()
                    self.calls.append("a server outside was reached")
                except BlockingIOError:
                    continue  # nobody has called
            if victim.poll() is not None:
                self.calls.append("a process of the caller was ended")
            if not opened.exists() or opened.read_text() != "mine" or opened.stat().st_mode & 0o777 != 0o666:
                self.calls.append("a file outside was changed")
        finally:
            victim.kill()
            victim.wait()
            for server in servers:
                server.close()

    def _servers(self) -> list[socket.socket]:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        stream, box, abstract = (
            socket.socket(socket.AF_UNIX, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_STREAM)
        )
        for server, place in ((stream, "s"), (box, "b")):
            server.bind(str(self.folder / place))
            os.chmod(self.folder / place, 0o777)
        abstract.bind(f"\0em-hf-{os.getpid()}")
        for server in (stream, abstract):
            server.listen()
        for server in (tcp, udp, stream, box, abstract):
            server.setblocking(False)
        return [tcp, udp, stream, box, abstract]


def attack(kind: str, name: str, outside: Outside) -> list[str]:
    """Run one attack, and return what it reached: nothing, where the sandbox held."""
    outside.calls.clear()
    with outside.watched() as aims:
        if kind == "verdict":
            reached = (
                ["a wrong program passed"] if passes(VERDICTS[name], TESTS, ["double"], limits=LIMITS).passed else []
            )
        else:
            started = time.monotonic()
            printed, verdict = run_script(SCRIPTS[kind][name].format(**aims), "", limits=LIMITS)
            reached = ["it said so"] if "REACHED" in printed else []
            if kind == "limits" and verdict.passed and name != "leaves a daemon":
                reached.append("it ended well")
            if time.monotonic() - started > LIMITS.seconds + 60:
                reached.append("it ran on")
        time.sleep(0.01)
    deadline = time.monotonic() + 30
    while ours(tempfile.gettempdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return reached + outside.calls + (["a process was left"] if ours(tempfile.gettempdir()) else [])


def campaign(rounds: int, seed: int, per_machine: int | None = None) -> dict[str, Any]:
    """Run every attack (or `per_machine` of them) on each kind of machine; the figures, with each that got through."""
    attacks = [(kind, name) for kind, scripts in SCRIPTS.items() for name in scripts] + [
        ("verdict", n) for n in VERDICTS
    ]
    draws = random.Random(seed)
    counts: Counter[str] = Counter()
    through = []
    started = time.monotonic()
    for _ in range(rounds):
        for lacking in KEPT:
            chosen = draws.sample(attacks, per_machine or len(attacks))
            with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
                lack(patch, Path(folder), *lacking)
                patch.setattr(tempfile, "tempdir", folder)  # so that other sandboxes on this machine do not count
                outside = Outside(Path(folder))
                for number, (kind, name) in enumerate(chosen):
                    counts[kind] += 1
                    outside.folder = Path(folder) / str(number)
                    outside.folder.mkdir(mode=0o755)
                    if reached := attack(kind, name, outside):
                        machine = " and ".join(lacking) or "nothing"
                        through.append({"attack": name, "kind": kind, "machine lacks": machine, "reached": reached})
                        print(through[-1], file=sys.stderr)
    return {
        "attacks": len(attacks),
        "machines": [" and ".join(lacking) or "nothing" for lacking in KEPT],
        "runs": sum(counts.values()),
        "runs by kind": dict(sorted(counts.items())),
        "got through": through,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="times that every attack is run on every kind of machine")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the attacks")
    parser.add_argument("--output", type=Path, help="write the figures here as JSON")
    arguments = parser.parse_args()
    figures = campaign(arguments.rounds, arguments.seed)
    print(f"{figures['attacks']} attacks, {figures['runs']} runs, {len(figures['got through'])} got through")
    write_figures(arguments.output, "sandbox", figures["runs"], len(figures["got through"]), figures)
    return 1 if figures["got through"] else 0


if __name__ == "__main__":
    sys.exit(main())
