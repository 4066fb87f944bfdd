"""A server in a process of its own for the time of some tests."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

START, END = 300, 60  # seconds that a server has to come up, and to go


@contextmanager
def served(command: Sequence[str], log: Path, *, environment: dict[str, str], **process: Any) -> Iterator[str]:
    """Run a server on a free loopback port, and give its address once `/health` answers.

    Args:
        command: What starts it; `--host` and `--port` are added.
        log: The file for its output, shown where it does not come up.
        environment: Variables beside those of this process.
        **process: As for `subprocess.Popen`.
    """
    port = free_port()
    place = ["--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as out:
        server = subprocess.Popen(
            [*command, *place], stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **environment}, **process
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(END)
        except subprocess.TimeoutExpired:
            server.kill()


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    """Wait until an address answers.

    Raises:
        RuntimeError: The server ended first, or does not come up; the message has the end of its log.
    """
    end = time.monotonic() + START
    while time.monotonic() < end and server.poll() is None:
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the server did not come up:\n{log.read_text()[-3000:]}")
