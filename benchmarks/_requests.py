"""Requests as a server makes them, apps to answer them, and the peers that read their sessions.

Every scope, header list and header is made afresh, as a server does: the hash of a fresh ``bytes`` is not known yet.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import itsdangerous
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection

from ductape_asgi import Sessions, TagPolicy
from ductape_asgi.keys import new_access_key

TAG = "user-session"
DATA = {
    "userId": "user_8f14e45fceea",
    "email": "ann@example.com",
    "name": "Ann Example",
    "role": "admin",
    "permissions": ["posts:read", "posts:write"],
}

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
Header = tuple[bytes, bytes]

_OTHERS: list[Header] = [
    (b"host", b"app.example.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"),
    (b"accept", b"application/json"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"referer", b"https://app.example.com/posts"),
    (b"sec-fetch-dest", b"empty"),
    (b"sec-fetch-mode", b"cors"),
    (b"sec-fetch-site", b"same-origin"),
]


def new_sessions(store: Any = "memory://", *, algorithm: str = "EdDSA", **options: Any) -> Sessions:
    """A `Sessions` whose cache needs no new proof of freshness while we measure."""
    return Sessions(
        access_key=new_access_key(),
        product="shop",
        env="prd",
        store=store,
        tags=[TagPolicy(TAG)],
        algorithm=algorithm,
        max_staleness=3600,
        **options,
    )


def bearer(token: str) -> Header:
    return b"authorization", b"Bearer " + token.encode()


def cookie(name: str, value: str) -> Header:
    """A cookie among another one, as in a browser."""
    return b"cookie", f"theme=dark; {name}={value}".encode()


def session_cookie(signer: itsdangerous.TimestampSigner) -> Header:
    """What Starlette's `SessionMiddleware` would have set for the same data."""
    return cookie("session", signer.sign(b64encode(json.dumps(DATA).encode())).decode())


def session_middleware(app: App) -> tuple[SessionMiddleware, Header]:
    middleware = SessionMiddleware(app, secret_key=new_access_key())
    return middleware, session_cookie(middleware.signer)


def new_scope(credential: Header) -> Scope:
    """A GET with ten headers."""
    headers = [(_copy(name), _copy(value)) for name, value in _OTHERS]
    headers.append((_copy(credential[0]), _copy(credential[1])))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": "/posts",
        "raw_path": b"/posts",
        "query_string": b"",
        "headers": headers,
        "state": {},
    }


def _copy(raw: bytes) -> bytes:
    return bytes(bytearray(raw))


async def receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    """A server that throws away what it is given."""


async def run(app: App, scopes: list[Scope]) -> None:
    for scope in scopes:
        await app(scope, receive, send)


async def bare(scope: Scope, receive: Any, send: Any) -> None:
    """The smallest app that answers."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def looking(scope: Scope, receive: Any, send: Any) -> None:
    """A Starlette app: it makes a connection of the scope, and asks for no session."""
    HTTPConnection(scope)
    await bare(scope, receive, send)


async def reading_ours(scope: Scope, receive: Any, send: Any) -> None:
    _ = HTTPConnection(scope)["ductape.session"].identifier
    await bare(scope, receive, send)


async def reading_starlettes(scope: Scope, receive: Any, send: Any) -> None:
    """Reading marks the session as accessed, so the response says ``Vary: Cookie``."""
    _ = HTTPConnection(scope).session["userId"]
    await bare(scope, receive, send)


async def renewing_starlettes(scope: Scope, receive: Any, send: Any) -> None:
    """Writing has the cookie signed and sent again, which is what keeps a session from ending while it is used."""
    HTTPConnection(scope).session["userId"] = DATA["userId"]
    await bare(scope, receive, send)
