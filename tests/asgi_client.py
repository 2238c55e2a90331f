"""A server of a few lines for tests of the middleware: raw header bytes and messages in, messages out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Headers = Iterable[tuple[bytes, bytes]]
Scope = dict[str, Any]


@dataclass
class App:
    """Says whose request it is, keeps the scope it was given, and the body if it is asked to read it."""

    reads: bool = False
    scopes: list[Scope] = field(default_factory=list)
    bodies: list[list[dict[str, Any]]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        if self.reads:
            self.bodies.append(await _all_of(receive))
        session = scope.get("ductape.session")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": (session.session_id if session else "nobody").encode()})


async def _all_of(receive: Any) -> list[dict[str, Any]]:
    messages = [await receive()]
    while messages[-1]["type"] == "http.request" and messages[-1].get("more_body"):
        messages.append(await receive())
    return messages


@dataclass
class Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    scope: Scope

    @property
    def session(self) -> Any:
        return self.scope["ductape.session"]

    @property
    def error(self) -> Any:
        return self.scope.get("ductape.error")

    def header(self, name: str) -> str | None:
        values = [value.decode() for key, value in self.headers if key.lower() == name.encode()]
        assert len(values) <= 1
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)


def scope_of(
    kind: str = "http",
    *,
    method: str = "GET",
    path: str = "/",
    root_path: str = "",
    query: bytes = b"",
    headers: Headers = (),
    scheme: str = "https",
    **more: Any,
) -> Scope:
    given = list(headers)
    host = [] if any(name == b"host" for name, _ in given) else [(b"host", b"shop.test")]
    scope: Scope = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": scheme,
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": query,
        "root_path": root_path,
        "headers": [*host, *given],
        "client": ("203.0.113.9", 50000),
        "server": ("shop.test", 443),
        **more,
    }
    if kind == "http":
        scope["method"] = method
    return scope


async def call(app: Any, *, body: bytes | Sequence[bytes] = b"", scope: Scope | None = None, **request: Any) -> Answer:
    """One HTTP request; `body` may be a sequence of chunks."""
    scope = scope_of(**request) if scope is None else scope
    chunks = [body] if isinstance(body, bytes) else list(body)
    inbox = [
        {"type": "http.request", "body": chunk, "more_body": number + 1 < len(chunks)}
        for number, chunk in enumerate(chunks)
    ][::-1]
    outbox: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return inbox.pop() if inbox else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        outbox.append(message)

    await app(scope, receive, send)
    start, *rest = outbox
    assert start["type"] == "http.response.start"
    assert [message["type"] for message in rest] == ["http.response.body"] * len(rest)
    return Answer(start["status"], list(start["headers"]), b"".join(one.get("body", b"") for one in rest), scope)


@dataclass
class Handshake:
    messages: list[dict[str, Any]]
    scope: Scope

    @property
    def accepted(self) -> bool:
        return [message["type"] for message in self.messages] == ["websocket.accept"]

    @property
    def session(self) -> Any:
        return self.scope["ductape.session"]


async def handshake(app: Any, *, denial: bool = True, **request: Any) -> Handshake:
    """One WebSocket handshake, on a server that can, or cannot, answer it with a response."""
    extensions: dict[str, Any] = {"websocket.http.response": {}} if denial else {}
    scope = scope_of("websocket", **{"scheme": "wss", "extensions": extensions, "subprotocols": [], **request})
    inbox = [{"type": "websocket.disconnect", "code": 1005}, {"type": "websocket.connect"}]
    outbox: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return inbox.pop()

    async def send(message: dict[str, Any]) -> None:
        assert inbox[-1]["type"] != "websocket.connect", "an answer before websocket.connect was received"
        outbox.append(message)

    await app(scope, receive, send)
    return Handshake(outbox, scope)


def bearer(token: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + token.encode()


def cookie(token: str, name: str = "__Host-ductape") -> tuple[bytes, bytes]:
    return b"cookie", f"{name}={token}".encode()
