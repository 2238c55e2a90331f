"""An app for a real server, whose store is named in the environment: a page for all, and one for the signed in."""

from __future__ import annotations

import asyncio
from typing import Any

from lateness import Lateness  # type: ignore[import-not-found]  # beside this file, which is served from here
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ductape_asgi import DuctapeMiddleware, Sessions, TagPolicy, require_session

sessions = Sessions.from_env(tags=[TagPolicy("user-session", expires_in=86_400)])


async def page(request: Request) -> JSONResponse:
    return JSONResponse({"signed in": request.user.is_authenticated})


lateness = Lateness()
null_arm: list[asyncio.Task[None]] = []


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Two pages before the middleware: what machine, server and client cost by themselves, and how late the app was."""
    if not null_arm:
        null_arm.append(asyncio.create_task(lateness.run()))
    if scope["type"] == "http" and scope["path"] in ("/null", "/gaps"):
        await JSONResponse(lateness.gaps if scope["path"] == "/gaps" else [])(scope, receive, send)
    else:
        await inner(scope, receive, send)


inner = DuctapeMiddleware(
    Starlette(routes=[Route("/", page), Route("/private", require_session.wrap(Route("/private", page).app))]),
    sessions=sessions,
    tag="user-session",
)
