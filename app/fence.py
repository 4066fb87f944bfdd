"""Protection of gradio from the network: security headers, no uploads, and no decode for a client that left."""

import os
import re
import time
from collections.abc import Awaitable, Callable, Generator, Iterator, MutableMapping
from contextlib import closing
from typing import Any, TypeVar

Item = TypeVar("Item")
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

UNHEARD_SECONDS = 5.0
# gradio's page has inline scripts, and compiles the `js=` of its events.
_POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
_POSTED = re.compile(r"(^|/)(queue/join|cancel|reset|(call|call/v2|run|api)/[^/]+)/?$")
_NEVER = re.compile(r"/(deep_link|upload_progress|monitoring|proxy=|profiling|vibe-|stream/)")
_MCP = re.compile(r"/mcp(/|$)")
# A Space is shown in a frame of the Hub's page.
_HUB = "https://huggingface.co https://*.huggingface.co https://*.hf.space"


def headers(*, on_space: bool) -> list[tuple[bytes, bytes]]:
    """Return the headers of every response: only this server's content, framed only by it or, on a Space, the Hub."""
    policy = {**_POLICY, "frame-ancestors": f"'self' {_HUB}" if on_space else "'self'"}
    found = {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
    }
    if not on_space:  # this older header cannot name the Hub
        found["x-frame-options"] = "SAMEORIGIN"
    return [(name.encode(), value.encode()) for name, value in found.items()]


def allowed(method: str, path: str) -> bool:
    """Return whether a request is one that the page or the API makes.

    gradio serves more than the app needs: uploads and deep links, which leave files behind, recordings, a proxy,
    statistics, an editor.
    """
    if method in ("GET", "HEAD", "OPTIONS"):
        return not _NEVER.search(path)
    return (method == "POST" and bool(_POSTED.search(path))) or bool(_MCP.search(path))


class Fence:
    """ASGI middleware that adds the headers and refuses what the page does not need, above all uploads.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.headers = headers(on_space="SPACE_ID" in os.environ)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in self.headers}
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in names]
                message = {**message, "headers": [*kept, *self.headers]}
            await send(message)

        if not allowed(scope["method"], scope["path"]):
            start = {"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]}
            await with_headers(start)
            return await with_headers({"type": "http.response.body", "body": b"not part of this app"})
        return await self.app(scope, receive, with_headers)


class NobodyListens(Exception):
    """Raised when the client of an event has read nothing for `UNHEARD_SECONDS`."""


def while_heard(items: Generator[Item, None, None]) -> Iterator[Item]:
    """Pass items on for as long as the client of the current event reads what the server sends.

    A client may join the queue and never open its message stream, or stop reading it; its decode would then hold the
    only slot until it ends. Outside a gradio event, all items are passed on. The generator is closed before the error
    propagates: code that keeps the error keeps its frames, and a decode still open in one of them would run on.

    Raises:
        NobodyListens: the messages of the client's session have been unread for `UNHEARD_SECONDS`.
    """
    waiting = _unread()
    least, heard_at = waiting(), time.monotonic()
    with closing(items):
        for item in items:
            unread = waiting()
            if unread == 0 or unread < least:
                heard_at = time.monotonic()
            least = unread
            if time.monotonic() - heard_at > UNHEARD_SECONDS:
                raise NobodyListens
            yield item


def _unread() -> Callable[[], int]:
    """Return a function that counts the unread messages of this event's session."""
    from gradio.context import LocalContext

    request, blocks = LocalContext.request.get(None), LocalContext.blocks.get(None)
    session = getattr(request, "session_hash", None)
    if session is None or blocks is None:
        return lambda: 0
    queues = blocks._queue.pending_messages_per_session

    def unread() -> int:
        queue = queues.get(session)
        return queue.qsize() if queue is not None else 0

    return unread


def middleware() -> dict[str, Any]:
    """Return the argument of `gr.Blocks.launch(app_kwargs=...)` that puts the app behind the fence."""
    from starlette.middleware import Middleware

    return {"middleware": [Middleware(Fence)]}
