"""A server of a few lines for connections that stay open: what the client sends and sees, message by message."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from tests.asgi_client import Headers, scope_of

Message = dict[str, Any]
#: For what must happen: a machine may be slow.
PATIENCE = 30


class Line:
    """One open connection.  `receive` and `send` are the app's side; after a response is complete, or a socket closed,
    `receive` says so, as servers do.
    """

    def __init__(self, scope: dict[str, Any]) -> None:
        self.scope = scope
        self.sent: list[Message] = []
        #: What a server does while it sends a message; and whether it says nothing after a close.
        self.while_sending: Callable[[Message], Awaitable[None]] | None = None
        self.mute = False
        self.app_done = anyio.Event()
        self._changed = anyio.Event()
        self._in, self._out = anyio.create_memory_object_stream[Message](math.inf)

    async def receive(self) -> Message:
        return await self._out.receive()

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if self.while_sending is not None:
            await self.while_sending(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._in.send_nowait({"type": "http.disconnect"})
        if message["type"] == "websocket.close" and not self.mute:
            self._in.send_nowait({"type": "websocket.disconnect", "code": message["code"]})
        self._changed.set()
        self._changed = anyio.Event()

    def arrive(self, message: Message) -> None:
        """From the client."""
        self._in.send_nowait(message)

    def text(self, text: str) -> None:
        self.arrive({"type": "websocket.receive", "text": text})

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]

    @property
    def codes(self) -> list[int]:
        return [message["code"] for message in self.sent if message["type"] == "websocket.close"]

    @property
    def complete(self) -> bool:
        """Whether the HTTP response is."""
        return any(one["type"] == "http.response.body" and not one.get("more_body", False) for one in self.sent)

    @property
    def over(self) -> bool:
        """Whether our side has ended it."""
        return bool(self.codes) or self.complete

    async def until(self, happened: Callable[[], object]) -> None:
        """Wait until something that the app sends makes it so."""
        with anyio.fail_after(PATIENCE):
            while not happened():
                await self._changed.wait()

    async def done(self) -> None:
        with anyio.fail_after(PATIENCE):
            await self.app_done.wait()


@asynccontextmanager
async def socket(
    app: Any,
    *,
    headers: Headers = (),
    accepted: bool = True,
    while_sending: Callable[[Message], Awaitable[None]] | None = None,
    **more: Any,
) -> AsyncIterator[Line]:
    """A WebSocket whose handshake has succeeded; the client hangs up at the end, if it is still open."""
    scope = scope_of("websocket", scheme="wss", headers=headers, **{"extensions": {}, "subprotocols": [], **more})
    async with _running(app, scope) as line:
        line.while_sending = while_sending
        line.arrive({"type": "websocket.connect"})
        if accepted:
            await line.until(lambda: "websocket.accept" in line.types)
        yield line
        line.arrive({"type": "websocket.disconnect", "code": 1005})


@asynccontextmanager
async def stream(app: Any, *, headers: Headers = (), **more: Any) -> AsyncIterator[Line]:
    """A GET whose response has started; the client hangs up at the end."""
    async with _running(app, scope_of(headers=headers, **more)) as line:
        line.arrive({"type": "http.request", "body": b"", "more_body": False})
        await line.until(lambda: "http.response.start" in line.types)
        yield line
        line.arrive({"type": "http.disconnect"})


@asynccontextmanager
async def _running(app: Any, scope: dict[str, Any]) -> AsyncIterator[Line]:
    line = Line(scope)

    async def run() -> None:
        try:
            await app(scope, line.receive, line.send)
        finally:
            line.app_done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        yield line
        with anyio.move_on_after(PATIENCE):
            await line.app_done.wait()
        tasks.cancel_scope.cancel()
    line._in.close()
    line._out.close()
