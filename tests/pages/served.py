"""The page as an app would mount it."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from ductape_asgi import DuctapeMiddleware, Sessions
from ductape_asgi.routes import session_routes

TAG = "user-session"


def site(sessions: Sessions, *, at: str = "/auth", inside: bool = True, **options: Any) -> Starlette:
    """An app with the page at ``{at}/dashboard``, inside a `DuctapeMiddleware` or without one."""
    around = [Middleware(DuctapeMiddleware, sessions=sessions, tag=TAG)] if inside else []
    return Starlette(routes=[Mount(at, app=session_routes(sessions, TAG, **options))], middleware=around)
