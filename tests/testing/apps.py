"""The same small app in four front ends: ``/me`` says who it is, ``/admin`` is for admins, ``POST /me`` as well."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Depends, FastAPI
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from ductape_asgi import DuctapeMiddleware, Session, Sessions, require_role, require_session
from ductape_fastapi import CurrentSession, install
from ductape_litestar import DuctapePlugin

TAG = "user-session"


def fastapi_app(sessions: Sessions, **options: Any) -> Any:
    app = FastAPI()
    install(app, sessions=sessions, tag=TAG, **options)

    @app.api_route("/me", methods=["GET", "POST"])
    async def me(session: CurrentSession) -> dict[str, Any]:
        return session.data

    @app.get("/admin", dependencies=[Depends(require_role("admin"))])
    async def admin() -> str:
        return "hello"

    return app


def starlette_app(sessions: Sessions, **options: Any) -> Any:
    async def me(request: Request) -> JSONResponse:
        return JSONResponse(require_session.check_scope(request.scope).data)

    async def admin(request: Request) -> JSONResponse:
        require_role("admin").check_scope(request.scope)
        return JSONResponse("hello")

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(require_session.check_scope(websocket.scope).identifier or "")
        await websocket.close()

    return Starlette(
        routes=[
            Route("/me", me, methods=["GET", "POST"]),
            Route("/admin", admin),
            WebSocketRoute("/socket", socket),
        ],
        middleware=[Middleware(DuctapeMiddleware, sessions=sessions, tag=TAG, **options)],
    )


def litestar_app(sessions: Sessions, **options: Any) -> Any:
    @get("/me")
    async def me(session: Session) -> dict[str, Any]:
        return dict(session.data)

    @get("/admin", guards=[require_role("admin")])
    async def admin() -> str:
        return "hello"

    return Litestar([me, admin], plugins=[DuctapePlugin(sessions=sessions, tag=TAG, **options)])


def plain_app(sessions: Sessions, **options: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        guard = require_role("admin") if scope["path"] == "/admin" else require_session
        body = json.dumps(guard.check_scope(scope).data).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})

    return DuctapeMiddleware(app, sessions=sessions, tag=TAG, **options)


APPS = {"fastapi": fastapi_app, "starlette": starlette_app, "litestar": litestar_app, "plain": plain_app}
