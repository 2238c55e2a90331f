"""A small app for real servers; its settings come from the environment.  Run by a server, not imported by tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ductape_asgi import (
    Bearer,
    Cookie,
    CookiePolicy,
    DuctapeMiddleware,
    Sessions,
    Subprotocol,
    Ticket,
    require_role,
)

TAG = "user-session"
# So stale that no heartbeat brings what the store's own word, or its push, does not.
sessions = Sessions.from_env(cookies=CookiePolicy(secure=False), max_staleness=3600)
left: list[str] = []


async def login(request: Request) -> JSONResponse:
    name = (await request.json())["name"]
    issued = await sessions.start(tag=TAG, data={"userId": name, "role": "chatter"}, client=request.scope)
    return JSONResponse({"token": issued.token, "refresh": issued.refresh_token, "id": issued.session_id})


async def ticket(request: Request) -> JSONResponse:
    return JSONResponse({"ticket": await sessions.ticket(tag=TAG, session=request.state.session)})


async def me(request: Request) -> JSONResponse:
    return JSONResponse({"identifier": request.state.session.identifier})


async def logout(request: Request) -> JSONResponse:
    session_id = request.state.session.session_id
    return JSONResponse({"ended": await sessions.revoke(tag=TAG, session_id=session_id)})


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(f"{socket.user.identity} says {await socket.receive_text()}")
    except WebSocketDisconnect:
        pass


async def chat(socket: WebSocket) -> None:
    await require_role("chatter")(socket)
    await echo(socket)


async def push(socket: WebSocket) -> None:
    """Never looks at what comes in."""
    await socket.accept()
    try:
        while True:
            await socket.send_text("news")
            await anyio.sleep(0.05)
    except WebSocketDisconnect:
        left.append("push")


async def events(request: Request) -> StreamingResponse:
    async def quiet() -> AsyncIterator[str]:
        try:
            yield "data: hello\n\n"
            await anyio.sleep_forever()
        finally:
            left.append("events")

    return StreamingResponse(quiet(), media_type="text/event-stream")


async def who_left(request: Request) -> JSONResponse:
    return JSONResponse(left)


app = Starlette(
    routes=[
        Route("/login", login, methods=["POST"]),
        Route("/me", me),
        Route("/logout", logout, methods=["POST"]),
        Route("/ticket", ticket, methods=["POST"]),
        Route("/events", events),
        Route("/left", who_left),
        WebSocketRoute("/echo", echo),
        WebSocketRoute("/chat", chat),
        WebSocketRoute("/push", push),
    ],
    middleware=[
        Middleware(
            DuctapeMiddleware,
            sessions=sessions,
            tag=TAG,
            required=True,
            exempt=["/login", "/left"],
            credentials=(Bearer(), Ticket(), Subprotocol(), Cookie()),
        )
    ],
)
