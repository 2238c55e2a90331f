"""An app for a real server, whose store is named in the environment: a page for all, and one for the signed in."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ductape_asgi import DuctapeMiddleware, Sessions, TagPolicy, require_session

sessions = Sessions.from_env(tags=[TagPolicy("user-session", expires_in=86_400)])


async def page(request: Request) -> JSONResponse:
    return JSONResponse({"signed in": request.user.is_authenticated})


async def null(scope: Any, receive: Any, send: Any) -> None:
    """Answers before the middleware: what machine, server and client cost by themselves."""
    if scope["type"] == "http" and scope["path"] == "/null":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
    else:
        await inner(scope, receive, send)


inner = DuctapeMiddleware(
    Starlette(routes=[Route("/", page), Route("/private", require_session.wrap(Route("/private", page).app))]),
    sessions=sessions,
    tag="user-session",
)
app = null
