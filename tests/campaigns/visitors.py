"""Send random visitors to a running app: `python -m tests.campaigns.visitors --n 20`.

`em-hf app` is started as a user would start it, in a folder of its own. Each visitor is one of the kinds below: most
behave badly, several at a time. After each, an honest visitor must get exactly the tokens that the first one got,
within `PATIENCE` seconds. No answer may hold a traceback or a path of the server. In the end the app must stop at
Ctrl-C, its log must hold no traceback through em-hf's own code (gradio writes one of its own for every malformed
request that it refuses), and its folders no file that was not there before. Seeded.
"""

import argparse
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.campaigns import write_figures
from tests.served import free_port, wait_for

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
ENDLESS = "endless"
PROMPT = "Ann has 3 apples and buys 4 more. How many apples does she have?"
LONG = [PROMPT, ENDLESS, 0, 1024, 1.0, 0.3, 3, True]
ODD: list[Any] = [None, True, -1, 2**64, 1e300, "", " ", "x" * 50_000, [], {}, [[]], "\0", "\u202e", "/etc/passwd"]
ODD += [
    "../../etc",
    "nan",
    {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
    "<script>",
    "{{7*7}}",
    "%s%n",
]
PATHS = ("file=/etc/passwd", "file=app/../../etc/passwd", "proxy=http://localhost:22/", "deep_link", "monitoring")
PATHS += ("upload_progress?upload_id=1", "stream/a/b/c", "info?x=" + "y" * 9000, "%00", "..%2f..%2fetc%2fpasswd")


class Visit:
    """A visitor's requests to an app, and all that it was told.

    Args:
        url: Of the app, ending in a slash.
        endpoints: The number of each of the app's functions, by name.
    """

    def __init__(self, url: str, endpoints: dict[str, int], rng: random.Random) -> None:
        self.url, self.endpoints, self.rng = url, endpoints, rng
        self.told: list[str] = []
        self.session = f"visitor-{rng.getrandbits(60)}"

    def ask(self, method: str, path: str, **rest: Any) -> httpx.Response | None:
        """Make one request; None where the app ends the connection."""
        try:
            answer = httpx.request(method, self.url + path, timeout=PATIENCE, **rest)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError):
            return None
        self.told.append(answer.text)
        return answer

    def join(self, name: str, values: list[Any]) -> None:
        values = [*values, ""] if name == "live" else values
        body = {"data": values, "fn_index": self.endpoints[name], "session_hash": self.session}
        self.ask("POST", "gradio_api/queue/join", json=body)

    @contextmanager
    def listening(self) -> Iterator[Iterator[str]]:
        """The lines of the stream of this visitor's session."""
        path = f"gradio_api/queue/data?session_hash={self.session}"
        with httpx.stream("GET", self.url + path, timeout=PATIENCE) as answer:
            yield answer.iter_lines()

    def compare(self, values: list[Any]) -> str | None:
        """Return the answer of `/compare`; None where the app refuses or fails."""
        answer = self.ask("POST", "gradio_api/call/compare", json={"data": values})
        if answer is None or answer.status_code != 200:
            return None
        text = httpx.get(f"{self.url}gradio_api/call/compare/{answer.json()['event_id']}", timeout=PATIENCE).text
        self.told.append(text)
        # Whoever waits long gets heartbeats first, which have data too.
        _, _, answered = text.partition("event: complete\ndata: ")
        return answered.strip() or None

    def connect(self) -> socket.socket:
        host, port = self.url.split("/")[2].split(":")
        return socket.create_connection((host, int(port)), 10)


def leaves(visit: Visit) -> None:
    """Ask for a long decode, read a little of it, and go."""
    visit.join(visit.rng.choice(["live", "compare"]), LONG)
    with visit.listening() as lines:
        for _ in range(visit.rng.randrange(6)):
            visit.told.append(next(lines, ""))


def never_listens(visit: Visit) -> None:
    """Ask for a long decode and never open the stream of its messages."""
    visit.join(visit.rng.choice(["live", "compare"]), LONG)


def stops_reading(visit: Visit) -> None:
    """Open the stream of a long decode, read its first bytes, and leave the connection open."""
    visit.join("live", LONG)
    with visit.connect() as connection:
        connection.sendall(
            f"GET /gradio_api/queue/data?session_hash={visit.session} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        )
        connection.settimeout(10)
        connection.recv(64)
        time.sleep(visit.rng.uniform(0, 8))


def odd_values(visit: Visit) -> None:
    """Ask for decodes with settings that are none."""
    for _ in range(8):
        values: list[Any] = [PROMPT, "pocket-reasoner", 0, 4, 1.0, 0.3, 3, True]
        for _ in range(visit.rng.randint(1, 3)):
            values[visit.rng.randrange(len(values))] = visit.rng.choice(ODD)
        if visit.rng.random() < 0.2:
            values = values[: visit.rng.randrange(len(values))]
        visit.compare(values)


def junk_bodies(visit: Visit) -> None:
    """Send bodies that are no requests."""
    bodies: list[bytes] = [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b"[]", b'{"data": 1}', b'{"data": null}']
    bodies += [visit.rng.randbytes(2000), b'{"fn_index": 99999, "data": [], "session_hash": "a"}', b'{"a":' * 20_000]
    bodies += [json.dumps({"data": [ODD], "fn_index": visit.rng.choice(ODD), "session_hash": 1}).encode()]
    for _ in range(12):
        path = visit.rng.choice(
            ["queue/join", "call/compare", "cancel", "reset", "run/predict", "call/v2/compare", "api/live"]
        )
        kind = visit.rng.choice(["application/json", "text/plain", "multipart/form-data", ""])
        visit.ask("POST", f"gradio_api/{path}", content=visit.rng.choice(bodies), headers={"content-type": kind})


def junk_bytes(visit: Visit) -> None:
    """Open connections and send what is no HTTP, or half of it."""
    sent = [
        visit.rng.randbytes(500),
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"GET /" + b"a" * 70_000,
        b"\r\n" * 50,
        b"\x16\x03\x01",
    ]
    sent += [b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n{"]
    sent += [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"GET / HTTP/9.9\r\n\r\n"]
    for content in visit.rng.sample(sent, 5):
        with visit.connect() as connection:
            connection.settimeout(1)
            connection.sendall(content)
            visit.told.append(connection.recv(65_536).decode("latin-1"))


def forbidden_places(visit: Visit) -> None:
    """Upload files, and fetch what is not the visitor's."""
    for _ in range(4):
        visit.ask(
            "POST",
            visit.rng.choice(["gradio_api/upload", "upload", "gradio_api//upload"]),
            files={"files": ("a", b"left")},
        )
        visit.ask(visit.rng.choice(["GET", "HEAD", "DELETE", "PUT"]), f"gradio_api/{visit.rng.choice(PATHS)}")
        visit.ask("GET", visit.rng.choice(PATHS))


def hammers(visit: Visit) -> None:
    """Send many requests at once."""
    asks: list[Callable[[int], Any]] = [
        lambda _: visit.ask("GET", visit.rng.choice(["", "config", "gradio_api/info", "theme.css"])),
        lambda seed: visit.compare([PROMPT, "pocket-reasoner", seed, 2, 1.0, 0.3, 3, True]),
        lambda _: Visit(visit.url, visit.endpoints, random.Random(visit.rng.random())).join("live", LONG),
    ]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda seed: visit.rng.choice(asks)(seed), range(30)))


def meddles(visit: Visit) -> None:
    """Cancel and reset what is not the visitor's."""
    for _ in range(6):
        other = {"session_hash": f"visitor-{visit.rng.getrandbits(8)}", "fn_index": visit.rng.randrange(20)}
        event = "".join(visit.rng.choices("0123456789abcdef", k=32))
        visit.ask("POST", f"gradio_api/{visit.rng.choice(['cancel', 'reset'])}", json={**other, "event_id": event})
        visit.ask("GET", f"gradio_api/call/compare/{event}")


KINDS: list[Callable[[Visit], None]] = [
    leaves, never_listens, stops_reading, odd_values, junk_bodies, junk_bytes, forbidden_places, hammers, meddles
]  # fmt: skip


def endpoints_of(url: str) -> dict[str, int]:
    config = httpx.get(f"{url}config", timeout=PATIENCE).json()
    return {one["api_name"]: one["id"] for one in config["dependencies"] if one["api_name"] in ("live", "compare")}


def visited(url: str, n: int, seed: int, secrets: tuple[str, ...], say: Callable[[str], Any] = print) -> dict[str, Any]:
    """Send `n` visitors, one to three at a time, with an honest one after them; what went wrong.

    Args:
        secrets: What no answer may hold: folders of the server.
    """
    rng, endpoints = random.Random(seed), endpoints_of(url)

    def honest() -> str | None:
        values = [PROMPT, "pocket-reasoner", 4, 40, 1.0, 0.1, 10, True]
        return Visit(url, endpoints, random.Random(0)).compare(values)

    expected = honest()
    assert expected is not None, "the app does not answer its first visitor"
    counts: Counter[str] = Counter()
    faults: list[dict[str, Any]] = []
    slowest = 0.0
    while sum(counts.values()) < n:
        visits = [
            (rng.choice(KINDS), Visit(url, endpoints, random.Random(rng.random()))) for _ in range(rng.randint(1, 3))
        ]
        visits = visits[: n - sum(counts.values())]
        threads = [threading.Thread(target=_visit, args=one) for one in visits]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * PATIENCE)
        started = time.monotonic()
        try:
            found = honest()
        except httpx.HTTPError as error:
            found = f"{type(error).__name__}: {error}"
        waited = time.monotonic() - started
        slowest = max(slowest, waited)
        wrong = [] if found == expected else [f"the honest visitor got {str(found)[:200]}"]
        wrong += [f"the honest visitor waited {waited:.0f} s"] if waited > PATIENCE else []
        for kind, visit in visits:
            counts[kind.__name__] += 1
            text = "\n".join(visit.told)
            wrong += [f"{kind.__name__} was told {word!r}" for word in ("Traceback", "root:", *secrets) if word in text]
        if wrong:
            faults.append({"visitors": [kind.__name__ for kind, _ in visits], "wrong": wrong})
            say(str(faults[-1]))
        say(f"{sum(counts.values())} visitors, {len(faults)} faults, the honest one waited {waited:.1f} s")
    return {
        "visitors": n,
        "kinds": dict(sorted(counts.items())),
        "faults": len(faults),
        "examples of faults": faults,
        "longest wait of an honest visitor, s": round(slowest, 1),
        "seed": seed,
    }


def _visit(kind: Callable[[Visit], None], visit: Visit) -> None:
    try:
        kind(visit)
    except (OSError, httpx.HTTPError, UnicodeError):  # the app ended the connection, as it may
        pass


@contextmanager
def running_app(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`em-hf app` with two models; its URL, and, once the context is left, what was wrong with its end."""
    from tests.app.conftest import make_endless

    make_endless(folder / ENDLESS)
    port = free_port()
    home, temporary, log = folder / "home", folder / "tmp", folder / "app.log"
    for place in (home, temporary):
        place.mkdir()
    words = [
        "-m",
        "em_hf.cli",
        "app",
        "--model",
        "pocket-reasoner",
        "--model",
        str(folder / ENDLESS),
        "--port",
        str(port),
    ]
    environment = os.environ | {"TMPDIR": str(temporary), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    url, ended = f"http://127.0.0.1:{port}/", {}
    with log.open("wb") as output:
        app = subprocess.Popen([sys.executable, *words], cwd=home, env=environment, stdout=output, stderr=output)
        try:
            wait_for(url, app, log)
            before = _files(folder)
            yield url, ended
            ended["files left"] = sorted(set(_files(folder)) - set(before))
            app.send_signal(signal.SIGINT)
            ended["exit code"] = app.wait(PATIENCE)
            ended["files left at the end"] = sorted(set(_files(folder)) - set(before))
        finally:
            app.kill()
            app.wait()
    text = log.read_text(errors="replace")
    refused, ours = tracebacks(text)
    ended["requests refused by gradio with a traceback in the log"] = refused
    ended["tracebacks in the log"] = len(ours)
    ended["examples of tracebacks"] = [one[-3000:] for one in ours[:3]]


def tracebacks(log: str) -> tuple[int, list[str]]:
    """How many tracebacks of a log stay within libraries, and those that pass through em-hf.

    The fence hands every request on, so its call stands in each traceback of the server's and says nothing.
    """
    frame = rf'File "{re.escape(str(ROOT))}/(?!\S*site-packages)(?!app/fence\.py", line \d+, in __call__)'
    found = log.split("Traceback (most recent call last):\n")[1:]
    ours = [one for one in found if re.search(frame, one)]
    return len(found) - len(ours), ours


def _files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20, help="visitors (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the visitors (default: 0)")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_app(folder) as (url, ended):
            secrets = (str(folder), str(Path(__file__).parents[2]), "site-packages")
            found = visited(
                url, options.n, options.seed, secrets, lambda text: print(text, file=sys.stderr, flush=True)
            )
    found |= {"end of the app": ended, "seconds": round(time.monotonic() - started)}
    at_end = [name for name in ("files left", "files left at the end", "tracebacks in the log") if ended[name]]
    at_end += [] if ended["exit code"] in (0, 130, -signal.SIGINT) else ["exit code"]
    found["faults"] += len(at_end)
    write_figures(options.output, "visitors", found["visitors"], found["faults"], found)
    print(json.dumps(found, indent=1))
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
