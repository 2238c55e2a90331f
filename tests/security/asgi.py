"""A server of a few lines: raw header bytes in, messages out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Headers = Iterable[tuple[bytes, bytes]]


@dataclass
class App:
    """An ASGI app that says who it was called by, and keeps the scopes it was given."""

    scopes: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        session = scope.get("ductape.session")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"" if session is None else session.session_id.encode()})


@dataclass
class Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    scope: dict[str, Any]

    @property
    def session(self) -> Any:
        return self.scope.get("ductape.session")

    @property
    def error(self) -> Any:
        return self.scope.get("ductape.error")

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def json(self) -> Any:
        return json.loads(self.body)


def http_scope(
    *,
    method: str = "GET",
    path: str = "/",
    query: bytes = b"",
    headers: Headers = (),
    root_path: str = "",
) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": query,
        "root_path": root_path,
        "headers": [(b"host", b"shop.test"), *headers],
        "client": ("203.0.113.9", 50000),
        "server": ("shop.test", 443),
    }


async def call(app: Any, *, body: bytes = b"", **request: Any) -> Answer:
    """Send one request through `app` and gather what it answers."""
    scope = http_scope(**request)
    inbox = [{"type": "http.request", "body": body, "more_body": False}]
    outbox: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return inbox.pop() if inbox else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        outbox.append(message)

    await app(scope, receive, send)
    start = outbox[0]
    whole = b"".join(message.get("body", b"") for message in outbox[1:])
    return Answer(start["status"], list(start["headers"]), whole, scope)


def bearer(token: str | bytes) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + (token.encode() if isinstance(token, str) else token)


def cookie(token: str | bytes) -> tuple[bytes, bytes]:
    return b"cookie", b"__Host-ductape=" + (token.encode() if isinstance(token, str) else token)


def assert_shut(answer: Answer, app: App) -> None:
    """401 in the way of RFC 6750, nothing told, and the app has not run."""
    assert answer.status == 401
    assert app.scopes == []
    assert answer.header(b"content-type") == b"application/problem+json"
    assert answer.header(b"cache-control") == b"no-store"
    challenge = answer.header(b"www-authenticate")
    assert challenge is not None
    assert challenge.startswith(b"Bearer")
