"""A vLLM server as TRL's client sees it: its HTTP interface, given completions, and weights that go nowhere."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest


class Loopback:
    """Serves on a free port of this machine until `close`.

    Attributes:
        asked: the body of each request for completions.
        received: the names of the weights of each update.
        context: of a request with its answer, in tokens, as it says.
        dies_after: it closes in place of the answer to the request for completions after so many.
    """

    def __init__(self, model: str, *, dies_after: int | None = None, port: int = 0, context: int = 64) -> None:
        self.model, self.dies_after, self.context = model, dies_after, context
        self.asked: list[dict[str, Any]] = []
        self.received: list[list[str]] = []
        self.paths: list[str] = []
        self.closed = threading.Event()
        played = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                pass

            def answer(self, value: Any) -> None:
                body = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                played.paths.append(path)
                answers: dict[str, Any] = {
                    "/health": {},
                    "/v1/models": {"data": [{"id": played.model, "max_model_len": played.context}]},
                    "/server_info": {"vllm_config": {"weight_transfer_config": {"backend": "nccl"}}},
                    "/get_world_size": {"world_size": 1},
                }
                self.answer(answers[path])

            def do_POST(self) -> None:
                played.paths.append(self.path)
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
                if self.path == "/v1/completions":
                    if played.dies_after is not None and len(played.asked) >= played.dies_after:
                        threading.Thread(target=played.close).start()
                        self.connection.close()
                        return
                    played.asked.append(body)
                    self.answer({"choices": [choice(prompt) for prompt in body["prompt"] for _ in range(body["n"])]})
                    return
                if self.path == "/update_weights":
                    played.received.append(body["update_info"]["names"])
                self.answer({"success": True})

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.closed.set()


def completion(prompt: list[int]) -> list[int]:
    """Three tokens that depend on the prompt, and the end."""
    return [2 + (sum(prompt) + i) % 6 for i in range(3)] + [1]


def choice(prompt: list[int]) -> dict[str, Any]:
    return {"prompt_token_ids": prompt, "token_ids": completion(prompt), "logprobs": None}


def without_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replace the two calls that move weights over NCCL, and the waits between attempts; the names sent, by update."""
    from trl.generation import vllm_client

    sent: list[list[str]] = []

    def join(client: Any, device: Any = 0) -> None:
        assert client.get_server_info()["weight_transfer_config"] is not None
        client.communicator = SimpleNamespace(group=SimpleNamespace(store=None, socket=None))

    monkeypatch.setattr(vllm_client.VLLMClient, "init_communicator", join)
    monkeypatch.setattr(
        vllm_client,
        "packed_nccl_broadcast_producer",
        lambda iterator, group, src, post_iter_func: sent.append([name for name, _ in iterator]),
    )
    real = vllm_client.Retry
    monkeypatch.setattr(
        vllm_client, "Retry", lambda **settings: real(**{**settings, "total": 0, "connect": 0, "read": 0})
    )
    return sent
