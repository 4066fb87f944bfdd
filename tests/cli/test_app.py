"""`em-hf app` as a user starts it, and what it says when it cannot."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.served import free_port

RUN = "import sys; from em_hf.cli.main import main; main()"


def test_it_serves_the_page_until_it_is_interrupted() -> None:
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-c", RUN, "app", "--port", str(port), "--model", "pocket-reasoner"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 120
        page = ""
        while time.monotonic() < end and server.poll() is None:
            try:
                page = httpx.get(f"http://127.0.0.1:{port}/", timeout=5).text
                break
            except httpx.TransportError:
                time.sleep(0.2)
        assert "EM-INF, side by side" in page
    finally:
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=60)
    assert "Traceback" not in err and str(port) in out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--port", "0"], 2, "port"),
        (["--run", "nowhere"], 2, "nowhere"),
        (["--run", "a"], 1, "no run folder"),
        (["--port", "BUSY"], 1, "port"),
        (["--mcp"], 1, "gradio[mcp]"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_is_one_line(arguments: list[str], code: int, says: str, tmp_path: Path) -> None:
    for name in ("a/same", "b/same"):
        (tmp_path / name).mkdir(parents=True)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        arguments = [str(busy.getsockname()[1]) if word == "BUSY" else word for word in arguments]
        done = subprocess.run(
            [sys.executable, "-c", RUN, "app", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    assert done.returncode == code, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
    assert sum(line.startswith("Error:") for line in done.stderr.splitlines()) == 1
