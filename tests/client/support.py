"""An app with a bearer-mode ``/auth/refresh`` on real `Sessions`, which tells what it was asked and errs on demand."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ductape_asgi import DuctapeError, DuctapeMiddleware, IssuedSession, Sessions
from ductape_asgi.problems import answer_failure

TAG = "user-session"
HOME = "https://app.test"
REFRESH = f"{HOME}/auth/refresh"


def wire(issued: IssuedSession) -> dict[str, Any]:
    """The JSON of the routes in bearer mode (contract, section 6)."""
    return {
        "token": issued.token,
        "refreshToken": issued.refresh_token,
        "sessionId": issued.session_id,
        "expiresAt": issued.expires_at.isoformat().replace("+00:00", "Z"),
        "sessionExpiresAt": issued.session_expires_at.isoformat().replace("+00:00", "Z"),
    }


@dataclass
class Asked:
    """One request, as the server saw it."""

    host: str
    path: str
    authorization: str | None
    body: bytes

    @property
    def url(self) -> str:
        return self.host + self.path


@dataclass
class App:
    """``/auth/refresh``; ``/to/<host>`` redirects there; any other path says whose request it is, or 401.

    `instead` answers refreshes in place of the real thing; `before_refresh` runs before each of them is decided,
    `after_refresh` before it is answered.
    """

    sessions: Sessions
    asked: list[Asked] = field(default_factory=list)
    instead: Callable[[], tuple[int, bytes]] | None = None
    before_refresh: Callable[[], Awaitable[None]] | None = None
    after_refresh: Callable[[], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        self._guarded = DuctapeMiddleware(self._own, sessions=self.sessions, tag=TAG, required=True)

    @property
    def refreshes(self) -> list[Asked]:
        return [one for one in self.asked if one.path == "/auth/refresh"]

    @property
    def requests(self) -> list[Asked]:
        return [one for one in self.asked if one.path != "/auth/refresh"]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._guarded(scope, receive, send)
            return
        headers = dict(scope["headers"])
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        authorization = headers.get(b"authorization")
        self.asked.append(
            Asked(headers[b"host"].decode(), scope["path"], authorization and authorization.decode(), body)
        )
        if scope["path"] == "/auth/refresh":
            await self._refresh(body, scope, receive, send)
        elif scope["path"].startswith("/to/"):
            target = "https://" + scope["path"].removeprefix("/to/") + "/landed"
            await reply(send, 307, b"", (b"location", target.encode()))
        elif scope["path"] in ("/basic", "/landed"):
            challenge = b'Basic realm="x"' if scope["path"] == "/basic" else b'Bearer error="invalid_token"'
            await reply(send, 401, b"", (b"www-authenticate", challenge))
        else:
            await self._guarded(scope, receive, send)

    async def _own(self, scope: Any, receive: Any, send: Any) -> None:
        await reply(send, 200, scope["ductape.session"].session_id.encode())

    async def _refresh(self, body: bytes, scope: Any, receive: Any, send: Any) -> None:
        if self.before_refresh is not None:
            await self.before_refresh()
        if self.instead is not None:
            status, content = self.instead()
            await reply(send, status, content, (b"location", b"https://evil.test/auth/refresh"))
            return
        try:
            issued = await self.sessions.refresh(tag=TAG, refresh_token=json.loads(body)["refreshToken"])
        except DuctapeError as error:
            await answer_failure(error, scope, receive, send)
            return
        if self.after_refresh is not None:
            await self.after_refresh()
        await reply(send, 200, json.dumps(wire(issued)).encode())


async def reply(send: Any, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})
