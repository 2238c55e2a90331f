"""The page behind a middleware, mounted as an app would mount it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from ductape_asgi import DuctapeMiddleware, Sessions
from ductape_asgi.pages.assets import serve_asset
from ductape_asgi.pages.dashboard import Dashboard, DashboardOptions

TAG = "user-session"


def page_routes(dashboard: Dashboard) -> list[Route]:
    async def show(request: Request) -> Response:
        return await dashboard.show(request, request.state.session)

    async def act(request: Request) -> Response:
        return await dashboard.act(request, request.state.session)

    async def asset(request: Request) -> Response:
        return await serve_asset(request, request.path_params["name"])

    return [
        Route("/dashboard", show, methods=["GET"]),
        Route("/dashboard", act, methods=["POST"]),
        Route("/static/{name}", asset, methods=["GET"]),
    ]


def site(
    sessions: Sessions, options: DashboardOptions, *, at: str = "/auth", others: Sequence[Any] = (), **middleware: Any
) -> Starlette:
    """An app with the page at ``{at}/dashboard``; `others` stand beside it."""
    routes = Mount(at, routes=[*page_routes(Dashboard(sessions, options)), *others])
    return Starlette(
        routes=[routes], middleware=[Middleware(DuctapeMiddleware, sessions=sessions, tag=TAG, **middleware)]
    )
