"""A pooler in transaction mode, as PgBouncer is one, at its most unkind: no two transactions of a client meet the
same server connection if another is free, and prepared statements are not followed."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

_SSL_REQUEST, _CANCEL_REQUEST = 80877103, 80877102
#: What a client may set when it connects; PgBouncer refuses the rest, unless it is told to ignore it.
_ACCEPTED = {"user", "database", "client_encoding", "application_name"}

Message = tuple[bytes, bytes]


async def _read(reader: asyncio.StreamReader) -> Message:
    """One message: its kind and its whole bytes."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


@dataclass(eq=False)
class _Server:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeting: bytes


class TransactionPooler:
    """Clients share `size` connections to the server; each is lent for one transaction."""

    def __init__(self, port: int, size: int) -> None:
        self._server_port = port
        self._free: deque[_Server] = deque()
        self._all: list[_Server] = []
        self._size = size
        self._returned = asyncio.Condition()
        self.port = 0
        #: How many transactions each server connection has seen.
        self.lent: dict[_Server, int] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[TransactionPooler]:
        self._all = [await self._connect() for _ in range(self._size)]
        self._free.extend(self._all)
        listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listening.close()
            for server in self._all:
                server.writer.close()

    async def _connect(self) -> _Server:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        words = b"user\0postgres\0database\0postgres\0client_encoding\0utf-8\0\0"
        writer.write(struct.pack("!II", len(words) + 8, 196608) + words)
        greeting = b""
        while not greeting.endswith(_message(b"Z", b"I")):
            greeting += (await _read(reader))[1]
        return _Server(reader, writer, greeting)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            if await self._greet(reader, writer):
                await _Client(self, reader, writer).run()
        writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        size, code = struct.unpack("!II", await reader.readexactly(8))
        if code == _SSL_REQUEST:
            writer.write(b"N")
            size, code = struct.unpack("!II", await reader.readexactly(8))
        if code == _CANCEL_REQUEST:
            return False
        words = (await reader.readexactly(size - 8)).split(b"\0")
        unknown = {word.decode() for word in words[:-2:2]} - _ACCEPTED
        if unknown:
            text = f"unsupported startup parameter: {min(unknown)}"
            writer.write(_message(b"E", f"SFATAL\0C08P01\0M{text}\0\0".encode()))
            return False
        writer.write(self._all[0].greeting)
        return True

    async def borrow(self) -> _Server:
        async with self._returned:
            await self._returned.wait_for(lambda: self._free)
            server = self._free.popleft()
            self.lent[server] = self.lent.get(server, 0) + 1
            return server

    async def give_back(self, server: _Server) -> None:
        async with self._returned:
            self._free.append(server)  # behind all others: the next transaction gets another one
            self._returned.notify()


class _Client:
    def __init__(self, pooler: TransactionPooler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._pooler, self._reader, self._writer = pooler, reader, writer
        self._server: _Server | None = None
        self._answering: asyncio.Task[None] | None = None
        self._expected = 0

    async def run(self) -> None:
        while True:
            kind, message = await _read(self._reader)
            if kind == b"X":
                return
            if self._server is None:
                self._server = await self._pooler.borrow()
                self._answering = asyncio.create_task(self._answer(self._server))
            self._expected += kind in (b"S", b"Q")
            self._server.writer.write(message)

    async def _answer(self, server: _Server) -> None:
        """Hand on what the server says, until it is ready and in no transaction."""
        while True:
            kind, message = await _read(server.reader)
            if kind == b"Z":
                self._expected -= 1
                if message.endswith(b"I") and self._expected == 0:
                    self._server = None
                    await self._pooler.give_back(server)
                    self._writer.write(message)
                    return
            self._writer.write(message)
