"""A TCP proxy of the tests' own, between workers and a server: it cuts, swallows, and leads to another server.

Swallowed bytes come after all when the way is open again, if anybody still wants them: as TCP sends them again.
What either end does meanwhile, hanging up included, the other does not hear of.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Literal, Self

from .lateness import Lateness

_CHUNK = 1 << 16
#: How a server of the Redis family names a port in its answers: Sentinel's, a cluster's map, a redirection.
_NAMED = re.compile(rb"(\$5\r\n|:|127\.0\.0\.1:)(\d{5})\r\n")

Direction = Literal["up", "down", "both"]


class Proxies:
    """An event loop in a thread, in which proxies run."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._all: list[Proxy] = []
        #: When all proxies stood still, because the machine was busy with others.
        self.lateness = Lateness()

    def __enter__(self) -> Self:
        self._thread.start()
        self._null_arm = asyncio.run_coroutine_threadsafe(self.lateness.run(), self._loop)
        return self

    def __exit__(self, *_: object) -> None:
        for proxy in self._all:
            self.run(proxy.close())
        self._null_arm.cancel()
        self.run(asyncio.sleep(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def to(self, port: int) -> Proxy:
        """One that listens, and leads to `port` on loopback."""
        proxy = Proxy(self, port)
        self._all.append(proxy)
        self.run(proxy.listen())
        return proxy


class _Link:
    """One connection through the proxy: the worker's end and the server's."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.ends = (near, far)

    def cut(self, how: Literal["rst", "fin"]) -> None:
        for end in self.ends:
            if how == "rst":
                abort(end)
            else:
                end.close()


class Proxy:
    def __init__(self, proxies: Proxies, target: int) -> None:
        self.target = target
        self.port = 0
        #: Ports that answers name, and which to say instead.
        self.renamed: Mapping[int, int] = {}
        self._proxies = proxies
        self._gates = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        for gate in self._gates.values():
            gate.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port or None)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self, how: Literal["rst", "fin"]) -> int:
        """End every connection; new ones are welcome.  Returns how many that were."""
        return int(self._proxies.run(self._cut(how)))

    async def _cut(self, how: Literal["rst", "fin"]) -> int:
        links = list(self._links)
        for link in links:
            link.cut(how)
        return len(links)

    def swallow(self, direction: Direction) -> None:
        """From here on nothing arrives: at the server (up), at the worker (down), or at either."""
        self._proxies.run(self._set(direction, open=False))

    def heal(self) -> None:
        self._proxies.run(self._set("both", open=True))

    async def _set(self, direction: Direction, *, open: bool) -> None:  # noqa: A002
        for name, gate in self._gates.items():
            if direction in (name, "both"):
                gate.set() if open else gate.clear()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut("rst")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._gates["up"].wait()
            with suppress(OSError):
                far_reader, far = await asyncio.open_connection("127.0.0.1", self.target)
                await self._carry(_Link(near, far), reader, far_reader)
        finally:
            abort(near)  # as a machine does on which nobody listens
            self._tasks.discard(task)

    async def _carry(self, link: _Link, from_near: asyncio.StreamReader, from_far: asyncio.StreamReader) -> None:
        near, far = link.ends
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_pump(from_near, far, self._gates["up"], bytes))
                tasks.create_task(_pump(from_far, near, self._gates["down"], self._rename))
        except* OSError:
            link.cut("rst")
        finally:
            self._links.discard(link)
            link.cut("fin")
            with suppress(OSError):
                await near.wait_closed()

    def _rename(self, some: bytes) -> bytes:
        if not self.renamed:
            return some
        return _NAMED.sub(lambda found: b"%s%d\r\n" % (found[1], self.renamed.get(int(found[2]), int(found[2]))), some)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event, change: Callable[[bytes], bytes]
) -> None:
    while some := await reader.read(_CHUNK):
        await gate.wait()
        writer.write(change(some))
        await writer.drain()
    await gate.wait()
    # Neither kind of server uses a connection that is closed in one direction.
    writer.close()


def abort(writer: asyncio.StreamWriter) -> None:
    """Close with a reset."""
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
