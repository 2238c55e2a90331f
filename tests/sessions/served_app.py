"""A small app for real servers; its settings come from the environment.  Run by a server, not imported by tests."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ductape_asgi import CookiePolicy, DuctapeMiddleware, Sessions

TAG = "user-session"
sessions = Sessions.from_env(cookies=CookiePolicy(secure=False))


async def login(request: Request) -> JSONResponse:
    name = (await request.json())["name"]
    issued = await sessions.start(tag=TAG, data={"userId": name}, client=request.scope)
    return JSONResponse({"token": issued.token})


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


app = Starlette(
    routes=[
        Route("/login", login, methods=["POST"]),
        Route("/me", me),
        Route("/logout", logout, methods=["POST"]),
        WebSocketRoute("/echo", echo),
    ],
    middleware=[Middleware(DuctapeMiddleware, sessions=sessions, tag=TAG, required=True, exempt=["/login"])],
)
