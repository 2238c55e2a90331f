"""Sockets and event streams in FastAPI and Litestar end with their session, by the same middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import nullcontext, suppress
from typing import Any

import anyio
import fastapi
import litestar
import litestar.exceptions
import pytest
import starlette.websockets
from fastapi.responses import StreamingResponse
from litestar.response import ServerSentEvent
from litestar.testing import TestClient as LitestarClient
from starlette.testclient import TestClient

import ductape_fastapi
from ductape_asgi import IssuedSession, Sessions
from ductape_fastapi import require_role
from ductape_litestar import DuctapePlugin

TAG = "user-session"
CLOSED = (starlette.websockets.WebSocketDisconnect, litestar.exceptions.WebSocketDisconnect)


async def one_event_and_silence(sessions: Sessions, session_id: str) -> AsyncIterator[str]:
    """Its session ends after the first event; the second never comes."""
    yield "data: 1\n\n"
    await sessions.revoke(tag=TAG, session_id=session_id)
    await anyio.sleep_forever()


def fastapi_app(sessions: Sessions) -> fastapi.FastAPI:
    app = fastapi.FastAPI()
    ductape_fastapi.install(app, sessions=sessions, tag=TAG)

    @app.websocket("/ws", dependencies=[fastapi.Depends(require_role("admin"))])
    async def ws(socket: fastapi.WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(text)

    @app.get("/events")
    async def events(session: ductape_fastapi.CurrentSession) -> StreamingResponse:
        return StreamingResponse(one_event_and_silence(sessions, session.session_id), media_type="text/event-stream")

    return app


def litestar_app(sessions: Sessions) -> litestar.Litestar:
    @litestar.websocket("/ws", guards=[require_role("admin")])
    async def ws(socket: litestar.WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        with suppress(litestar.exceptions.WebSocketDisconnect):
            async for text in socket.iter_data():
                await socket.send_text(text)

    @litestar.get("/events")
    async def events(request: litestar.Request[Any, Any, Any]) -> ServerSentEvent:
        session_id = request.state.session.session_id

        async def data() -> AsyncIterator[str]:
            async for text in one_event_and_silence(sessions, session_id):
                yield text.removeprefix("data: ").strip()

        return ServerSentEvent(data())

    return litestar.Litestar([ws, events], plugins=[DuctapePlugin(sessions=sessions, tag=TAG)])


@pytest.fixture(params=["fastapi", "litestar"])
def client(request: pytest.FixtureRequest, sessions: Sessions) -> Iterator[Any]:
    if request.param == "fastapi":
        with TestClient(fastapi_app(sessions), base_url="https://testserver") as fastapis:
            yield fastapis
    else:
        with LitestarClient(litestar_app(sessions), base_url="https://testserver.local") as litestars:
            yield litestars


@pytest.fixture
def issued(client: Any, sessions: Sessions) -> IssuedSession:
    issued: IssuedSession = in_its_loop(client, lambda: start(sessions))
    return issued


def in_its_loop(client: Any, work: Callable[[], Awaitable[Any]]) -> Any:
    with client.portal() if callable(client.portal) else nullcontext(client.portal) as portal:
        return portal.call(work)


async def start(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag=TAG, data={"userId": "ann", "role": "admin"})


@pytest.mark.parametrize("code", [4401, 4403])
def test_an_open_socket_is_closed(client: Any, sessions: Sessions, issued: IssuedSession, code: int) -> None:
    async def happen() -> None:
        if code == 4401:
            await sessions.revoke(tag=TAG, session_id=issued.session_id)
        else:
            await sessions.update(tag=TAG, session_id=issued.session_id, data={"role": "guest"})

    with client.websocket_connect("/ws", headers={"Authorization": f"Bearer {issued.token}"}) as socket:
        socket.send_text("hello")
        assert socket.receive_text() == "hello"
        in_its_loop(client, happen)
        with pytest.raises(CLOSED) as closed:
            socket.receive_text()
        assert closed.value.code == code


def test_an_event_stream_ends(client: Any, issued: IssuedSession) -> None:
    answer = client.get("/events", headers={"Authorization": f"Bearer {issued.token}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.split() == ["data:", "1"]
