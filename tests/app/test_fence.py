"""What the server refuses: uploads, foreign frames, and decodes for clients that do not listen."""

from collections.abc import Generator
from typing import Any

import httpx
import pytest
from em_hf.app import fence
from em_hf.app.fence import allowed, headers
from gradio_client import Client

from tests.app.conftest import PROMPT, Served
from tests.app.test_api import decoding, wait_until


@pytest.mark.parametrize(
    ("method", "path", "passes"),
    [
        ("GET", "/", True),
        ("GET", "/gradio_api/queue/data", True),
        ("POST", "/gradio_api/queue/join", True),
        ("POST", "/gradio_api/call/compare", True),
        ("POST", "/gradio_api/call/v2/compare", True),
        ("POST", "/gradio_api/cancel", True),
        ("POST", "/gradio_api/mcp/", True),
        ("POST", "/gradio_api/upload", False),
        ("POST", "/gradio_api/upload/", False),
        ("PUT", "/gradio_api/upload", False),
        ("POST", "/gradio_api/process_recording", False),
        ("POST", "/gradio_api/vibe-edit", False),
        ("GET", "/gradio_api/deep_link", False),
        ("GET", "/gradio_api/proxy=http://localhost:22/", False),
        ("DELETE", "/", False),
    ],
)
def test_only_what_the_page_and_the_api_need_passes(method: str, path: str, passes: bool) -> None:
    assert allowed(method, path) is passes


def test_no_file_can_be_left_on_the_server(served: Served) -> None:
    before = set(_files(served.demo.GRADIO_CACHE))
    for path in ("gradio_api/upload", "gradio_api/upload?upload_id=1", "gradio_api//upload"):
        answer = httpx.post(served.url + path, files={"files": ("a.txt", b"left behind")})
        assert answer.status_code in (403, 404, 405), path
    assert set(_files(served.demo.GRADIO_CACHE)) == before


def _files(folder: str) -> list[Any]:
    from pathlib import Path

    return [path for path in Path(folder).rglob("*") if path.is_file()]


def test_every_answer_forbids_foreign_frames_sniffing_and_foreign_content(served: Served) -> None:
    for path in ("", "config", "gradio_api/info", "gradio_api/upload", "nowhere"):
        found = httpx.get(served.url + path).headers
        assert found["x-content-type-options"] == "nosniff" and found["x-frame-options"] == "SAMEORIGIN"
        policy = found["content-security-policy"]
        assert "default-src 'self'" in policy and "object-src 'none'" in policy and "frame-ancestors 'self'" in policy


def test_on_a_space_the_hub_may_frame_the_page_and_nobody_else() -> None:
    found = dict(headers(on_space=True))
    assert b"x-frame-options" not in found
    frames = found[b"content-security-policy"].decode().split("frame-ancestors ")[1]
    assert "https://huggingface.co" in frames and "*;" not in frames and " * " not in frames


def test_a_client_that_never_listens_loses_its_place(served: Served, slow_steps: list[float]) -> None:
    """1,024 steps of 50 ms would hold the only place for most of a minute."""
    endpoints = [d for d in served.demo.config["dependencies"] if d["api_name"] in ("live", "compare")]
    for endpoint in endpoints:
        values = ["hello", "endless", 0, 1024, 1.0, 0.3, 3, True, ""][: len(endpoint["inputs"]) or 8]
        body = {"data": values, "fn_index": endpoint["id"], "session_hash": f"silent-{endpoint['id']}"}
        assert httpx.post(f"{served.url}gradio_api/queue/join", json=body).status_code == 200
    visitor = Client(served.url, verbose=False)
    found = visitor.predict(PROMPT, max_new_tokens=4, api_name="/compare")
    assert found["seed"] == 0
    assert wait_until(lambda: not decoding(), 60)
    assert 2 < len(slow_steps) < 1024, "one of them was decoded to its end"


def test_what_nobody_listens_to_has_ended_by_the_time_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """gradio keeps the error, and with it every frame that could still hold an open decode."""
    monkeypatch.setattr(fence, "_unread", lambda: lambda: 1)
    monkeypatch.setattr(fence, "UNHEARD_SECONDS", -1.0)
    closed = []

    def decode() -> Generator[int, None, None]:
        try:
            yield from range(1024)
        finally:
            closed.append(True)

    with pytest.raises(fence.NobodyListens) as kept:
        list(fence.while_heard(decode()))
    assert closed and kept.value.__traceback__ is not None


def test_a_client_that_listens_gets_all(served: Served, slow_steps: list[float]) -> None:
    visitor = Client(served.url, verbose=False)
    found = visitor.predict("hello", "endless", max_new_tokens=150, api_name="/compare")
    assert len(found["plain"]["tokens"]) == 150 and len(slow_steps) >= 150
