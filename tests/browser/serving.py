"""An app on a port of loopback, served by uvicorn in a thread of the test's own process."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from typing import Any, TypeVar

import uvicorn

T = TypeVar("T")
Asgi = Callable[..., Coroutine[Any, Any, None]]
WITHIN = 60.0


class Site:
    """A served app; `url` has no slash at its end.

    Args:
        app: any ASGI app, with lifespan if it has one.
        clock: what the ``Date`` header tells, as Unix seconds; give the clock of the app's `Sessions` where that
            is not the machine's.
    """

    def __init__(self, app: Asgi, clock: Callable[[], float] = time.time) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(_dated(app, clock), log_level="warning", date_header=False, timeout_graceful_shutdown=1)
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name=f"site-{self.port}", daemon=True)
        self._thread.start()
        if not self._server.ready.wait(WITHIN) or not self._server.started:
            raise RuntimeError("the app did not start; its log says why")

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._socket]))
        finally:
            self._server.ready.set()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """The answer of a coroutine that runs in the app's event loop: ``site.run(sessions.revoke(...))``."""
        assert self._server.loop is not None
        return asyncio.run_coroutine_threadsafe(call, self._server.loop).result(WITHIN)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(WITHIN)
        self._socket.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.ready.set()


def _dated(app: Asgi, clock: Callable[[], float]) -> Asgi:
    async def dated(scope: Any, receive: Any, send: Any) -> None:
        async def with_date(message: Any) -> None:
            if message["type"] == "http.response.start":
                date = formatdate(clock(), usegmt=True).encode()
                message = {**message, "headers": [*message.get("headers", ()), (b"date", date)]}
            await send(message)

        await app(scope, receive, with_date if scope["type"] == "http" else send)

    return dated
