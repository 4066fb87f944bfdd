"""A model, an adapter, a Hub on the loopback, and a process that pushes to it."""

import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from tests.hub.made import LOG, make_adapter, make_model, record
from tests.hub.server import Hub, User, serve

TOKEN = "test-token-of-alice"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="session")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapter") / "adapter", model)


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Path:
    """A run whose name and weights no other test has, so that its upload cannot be spared."""
    folder = Path(shutil.copytree(model, tmp_path / "run"))
    change_weights(folder, str(tmp_path))
    return record(folder, name=re.sub(r"\W+", "-", tmp_path.name), log=LOG[:1])  # too short to plot, which takes time


def change_weights(folder: Path, seed: str) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = 1 + zlib.crc32(seed.encode()) / 2**33  # different weights, the same behaviour
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def repo_of(run: Path) -> str:
    """The repository that the run goes to when none is named."""
    return f"alice/{json.loads((run / 'run.json').read_text())['name']}"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with serve(tmp_path_factory.mktemp("hub")) as hub:
        hub.users[TOKEN] = User("alice", orgs=("lab",))
        hub.users["test-token-of-bob"] = User("bob")
        hub.users["test-token-to-read"] = User("alice", can_write=False)
        yield hub


@pytest.fixture
def hub(served: Hub) -> Hub:
    """The Hub of this session, with nothing going wrong and no request seen."""
    served.failures.clear()
    served.requests.clear()
    return served


def environment(hub: Hub, home: Path, *, token: str | None = TOKEN) -> dict[str, str]:
    """The variables of a process whose Hub is `hub` and whose login and cache are those of `home`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    told = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    return {**kept, **told, **({"HF_TOKEN": token} if token else {})}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str
    waits: list[float]

    @property
    def error(self) -> str:
        """The one line that tells what went wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, self.err
        return lines[0]


# One process for many pushes: each is a call of the command line's main(). Its waits are noted and not waited.
WORKER = """if True:
    import contextlib, io, json, sys, time
    from em_hf.cli.main import main
    for line in sys.stdin:
        waits, out, err = [], io.StringIO(), io.StringIO()
        time.sleep = waits.append
        sys.argv = ["em-hf", "push", *json.loads(line)]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as stop:
                code = stop.code or 0
        print(json.dumps([code, out.getvalue(), err.getvalue(), waits]), flush=True)
"""


class Pusher:
    """`em-hf push` in another process, over and over."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        command = [sys.executable, "-c", WORKER]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=env, cwd=folder, text=True, **pipes)

    def __call__(self, *words: str | Path) -> Done:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(word) for word in words]) + "\n")
        self.process.stdin.flush()
        done = Done(*json.loads(self.process.stdout.readline()))
        assert TOKEN not in done.out + done.err, "the token was printed"
        assert "Traceback" not in done.err, done.err
        return done


@pytest.fixture(scope="session")
def push(served: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pusher]:
    folder = tmp_path_factory.mktemp("pusher")
    pusher = Pusher(environment(served, folder / "home"), folder)
    yield pusher
    assert pusher.process.stdin is not None
    pusher.process.stdin.close()
    pusher.process.wait(timeout=30)
