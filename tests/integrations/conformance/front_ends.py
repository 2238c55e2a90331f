"""One app, in plain ASGI, Starlette, FastAPI and Litestar: each handler says whose session it saw."""

import json
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from fastapi import WebSocket as FastAPIWebSocket
from litestar import Litestar, get, post, websocket
from litestar import Request as LitestarRequest
from litestar import WebSocket as LitestarWebSocket
from litestar.status_codes import HTTP_200_OK
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from ductape_asgi import (
    DuctapeMiddleware,
    Session,
    Sessions,
    require_any_role,
    require_permission,
    require_recent_auth,
    require_role,
    require_session,
)
from ductape_fastapi import CurrentSession, OptionalSession, install
from ductape_litestar import DuctapePlugin

GUARDS = {
    "role": require_role("admin"),
    "any-role": require_any_role("admin", "clerk"),
    "permission": require_permission("write"),
    "recent": require_recent_auth(300),
}


def whose(session: Session[Any] | None) -> dict[str, str | None]:
    return {"identifier": session.identifier if session else None}


# Plain ASGI: a guard wraps an app.


async def plain_handler(scope: Any, receive: Any, send: Any) -> None:
    text = json.dumps(whose(scope["ductape.session"]))
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": text.encode()})
    else:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": text})
        await send({"type": "websocket.close", "code": 1000})


async def plain_not_found(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def plain(sessions: Sessions, **options: Any) -> Any:
    apps: dict[str, Any] = {"/open": plain_handler, "/optional": plain_handler}
    apps["/session"] = require_session.wrap(plain_handler)
    apps |= {f"/{path}": guard.wrap(plain_handler) for path, guard in GUARDS.items()}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        chosen = apps.get(scope["path"].removeprefix("/ws"), plain_not_found)
        await chosen(scope, receive, send)

    return DuctapeMiddleware(app, sessions=sessions, **options)


# Starlette: what the middleware laid on the request, and a guard's `check_scope`.


def starlette(sessions: Sessions, **options: Any) -> Any:
    def routes(path: str, guard: Any = None) -> list[Any]:
        async def handler(request: Request) -> JSONResponse:
            if guard is not None:
                guard.check_scope(request.scope)
            assert request.user.is_authenticated == bool(request.state.session)
            return JSONResponse(whose(request.state.session))

        async def socket_handler(socket: WebSocket) -> None:
            if guard is not None:
                guard.check_scope(socket.scope)
            await socket.accept()
            await socket.send_json(whose(socket.state.session))
            await socket.close()

        return [Route(path, handler, methods=["GET", "POST"]), WebSocketRoute(f"/ws{path}", socket_handler)]

    app = Starlette(
        routes=[
            *routes("/open"),
            *routes("/optional"),
            *routes("/session", require_session),
            *(route for path, guard in GUARDS.items() for route in routes(f"/{path}", guard)),
        ]
    )
    app.add_middleware(DuctapeMiddleware, sessions=sessions, **options)
    return app


# FastAPI: `CurrentSession`, `OptionalSession`, and guards as dependencies.


def fastapi(sessions: Sessions, **options: Any) -> Any:
    app = FastAPI()
    install(app, sessions=sessions, **options)

    @app.get("/open")
    async def opened(request: Request) -> Any:
        return whose(request.state.session)

    @app.get("/optional")
    async def optional(session: OptionalSession) -> Any:
        return whose(session)

    @app.get("/session")
    @app.post("/session")
    async def current(session: CurrentSession) -> Any:
        return whose(session)

    async def tell(socket: FastAPIWebSocket, session: Any) -> None:
        await socket.accept()
        await socket.send_json(whose(session))
        await socket.close()

    @app.websocket("/ws/open")
    async def ws_opened(socket: FastAPIWebSocket) -> None:
        await tell(socket, socket.state.session)

    @app.websocket("/ws/optional")
    async def ws_optional(socket: FastAPIWebSocket, session: OptionalSession) -> None:
        await tell(socket, session)

    @app.websocket("/ws/session")
    async def ws_current(socket: FastAPIWebSocket, session: CurrentSession) -> None:
        await tell(socket, session)

    def guarded(path: str, guard: Any) -> None:
        @app.get(f"/{path}")
        async def handler(session: Annotated[Session[Any], Depends(guard)]) -> Any:
            return whose(session)

        @app.websocket(f"/ws/{path}")
        async def socket_handler(socket: FastAPIWebSocket, session: Annotated[Session[Any], Depends(guard)]) -> None:
            await tell(socket, session)

    for path, guard in GUARDS.items():
        guarded(path, guard)
    return app


# Litestar: `session` by injection, and guards as guards.


def litestar(sessions: Sessions, **options: Any) -> Any:
    @get("/open")
    async def opened(request: LitestarRequest) -> dict[str, str | None]:
        return whose(request.scope["state"]["session"])

    @get("/optional")
    async def optional(session: Session | None) -> dict[str, str | None]:
        return whose(session)

    @get("/session")
    async def current(session: Session) -> dict[str, str | None]:
        return whose(session)

    @post("/session", status_code=HTTP_200_OK)
    async def posted(session: Session) -> dict[str, str | None]:
        return whose(session)

    async def tell(socket: Any, session: Any) -> None:
        await socket.accept()
        await socket.send_json(whose(session))
        await socket.close()

    @websocket("/ws/open")
    async def ws_opened(socket: LitestarWebSocket) -> None:
        await tell(socket, socket.scope["state"]["session"])

    @websocket("/ws/optional")
    async def ws_optional(socket: LitestarWebSocket, session: Session | None) -> None:
        await tell(socket, session)

    @websocket("/ws/session")
    async def ws_current(socket: LitestarWebSocket, session: Session) -> None:
        await tell(socket, session)

    def guarded(path: str, guard: Any) -> list[Any]:
        @get(f"/{path}", guards=[guard])
        async def handler(session: Session) -> dict[str, str | None]:
            return whose(session)

        @websocket(f"/ws/{path}", guards=[guard])
        async def socket_handler(socket: LitestarWebSocket, session: Session) -> None:
            await tell(socket, session)

        return [handler, socket_handler]

    return Litestar(
        [
            *(opened, optional, current, posted, ws_opened, ws_optional, ws_current),
            *(handler for path, guard in GUARDS.items() for handler in guarded(path, guard)),
        ],
        plugins=[DuctapePlugin(sessions=sessions, **options)],
    )


FRONT_ENDS = {"plain": plain, "starlette": starlette, "fastapi": fastapi, "litestar": litestar}
