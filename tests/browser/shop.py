"""A small app with sessions, and a page that shows what `client.js` knows of them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from ductape_asgi import DuctapeMiddleware, Sessions, TagPolicy, session_routes
from ductape_asgi.keys import new_access_key

TAG = "user-session"
Mode = Literal["cookie", "bearer"]

PAGE = """<!doctype html>
<html lang="en"><title>Shop</title>
<main><h1>Shop</h1><p id="who">?</p></main>
<script type="module" src="/page.js"></script></html>"""

#: `heard` holds what `onChange` told, with the time; the client's options come from the address.
SCRIPT = """import { createClient, SessionError } from "/auth/client.js";

const told = Object.fromEntries(new URLSearchParams(location.search));
const options = { mode: told.mode ?? "cookie", watch: Number(told.watch ?? 30) };
globalThis.SessionError = SessionError;
globalThis.heard = [];
globalThis.client = createClient(options);
client.onChange((session) => {
  heard.push({ who: session && session.identifier, at: performance.now() });
  document.querySelector("#who").textContent = session ? session.identifier : "nobody";
});
if (told.ask !== "no") await client.session();
"""

POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"


class Rotations(logging.Handler):
    """When each rotation took place, from the audit log: ``times``, on the monotonic clock."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []
        self.repeated = 0

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) == "session.refreshed":
            if getattr(record, "reason", "") == "rotated":
                self.times.append(time.monotonic())
            else:
                self.repeated += 1

    def shortest(self) -> float:
        """The shortest time between two rotations, in seconds."""
        return min(later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False))


class Clock:
    """A server's clock: the machine's, and `later` by so many seconds."""

    def __init__(self) -> None:
        self.later = 0.0

    def __call__(self) -> float:
        return time.time() + self.later


class Shop:
    """The app, its `sessions`, and what was asked of it: ``asked["POST /auth/refresh"]`` is how often.

    Args:
        expires_in: life of an access token in seconds.
        clock: the server's clock.
        refresh: False for sessions that end with their one token.
    """

    def __init__(
        self,
        mode: Mode = "cookie",
        expires_in: int = 900,
        clock: Callable[[], float] = time.time,
        refresh: bool = True,
    ) -> None:
        self.sessions = Sessions(
            access_key=new_access_key(),
            product="shop",
            env="tst",
            store="memory://",
            tags=[TagPolicy(TAG, expires_in=expires_in, refresh=refresh)],
            leeway=0,
            clock=clock,
        )
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        #: Answers to give instead, by "METHOD /path": an HTTP status.
        self.broken: dict[str, int] = {}
        routes = [
            Route("/", self._page),
            Route("/page.js", self._script),
            Route("/favicon.ico", self._nothing),
            Route("/api/me", self._me, methods=["GET", "POST"]),
            Route("/api/never", self._never),
            Mount("/auth", app=session_routes(self.sessions, tag=TAG, authenticate=self._authenticate, mode=mode)),
        ]
        self._app = Starlette(
            routes=routes,
            # The script is to do it; where the middleware does it too, it has nothing to do.
            middleware=[Middleware(DuctapeMiddleware, sessions=self.sessions, tag=TAG, auto_refresh=False)],
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            asked = f"{scope['method']} {scope['path']}"
            self.asked.append(asked)
            self.headers.append({name.decode(): value.decode("latin-1") for name, value in scope["headers"]})
            if status := self.broken.get(asked):
                await Response(status_code=status)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def count(self, asked: str) -> int:
        return self.asked.count(asked)

    async def _authenticate(self, request: Request) -> tuple[str, dict[str, Any]] | None:
        body = await request.json()
        name = body.get("name")
        return (name, {"userId": name, "role": "buyer"}) if body.get("password") == "right" else None

    async def _page(self, _: Request) -> HTMLResponse:
        return HTMLResponse(PAGE, headers={"content-security-policy": POLICY})

    async def _nothing(self, _: Request) -> Response:
        return Response(status_code=204)

    async def _script(self, _: Request) -> Response:
        return Response(SCRIPT, media_type="text/javascript")

    async def _me(self, request: Request) -> JSONResponse:
        session = request.state.session
        body = (await request.body()).decode()
        if session is None:
            return JSONResponse({"code": "missing_token"}, 401)
        return JSONResponse({"identifier": session.identifier, "body": json.loads(body or "null")})

    async def _never(self, _: Request) -> JSONResponse:
        return JSONResponse({"code": "step_up_required"}, 401)
