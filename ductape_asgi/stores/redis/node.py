"""One server and the connections to it.

A connection is used again only after every answer to everything it was asked has been read.  Whatever else happens,
an error, a timeout or a cancelled task, it is closed: the next to use it would read the answer to another question
(CVE-2023-28858, CVE-2023-28859).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, cast

from redis.asyncio import Connection, SSLConnection
from redis.exceptions import InvalidResponse, ResponseError

from .address import Address

#: How long connecting, and a command from then to its last answer, may take, in seconds.
CONNECT_TIMEOUT: Final = 0.5
COMMAND_TIMEOUT: Final = 0.9

Command = tuple[Any, ...]


class Node:
    """Up to `limit` connections to the server at `host` and `port`, of one event loop in one process."""

    def __init__(self, host: str, port: int, address: Address, *, sentinel: bool = False) -> None:
        self.place = (host, port)
        self._address = address
        self._sentinel = sentinel
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(address.max_connections)
        self._idle: deque[Connection] = deque()
        #: All that have a socket, so that none is left open.
        self._all: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Node {self.place[0]}:{self.place[1]}>"

    async def ask(self, *commands: Command) -> list[Any]:
        """The answers, in order, to commands sent at once; one that the server refused answers its `ResponseError`.

        Raises:
            RedisError, OSError, TimeoutError: not all was answered; some of it may have been done.
        """
        async with self._slots, asyncio.timeout(COMMAND_TIMEOUT):
            connection = self._take()
            try:
                await connect(connection)
                answers = await _exchange(connection, commands)
            except BaseException:
                await drop(connection)
                raise
            if self._closed:
                await drop(connection)
            else:
                self._idle.append(connection)
            return answers

    def _take(self) -> Connection:
        while self._idle:
            # The last one used: what is not needed grows old at the other end, and the server may close it.
            connection = self._idle.pop()
            if _usable(connection):
                return connection
            let_go(connection)
        return self.connection()

    def connection(self) -> Connection:
        """A new one, not yet connected, whose end is the caller's business."""
        kind: type[Connection] = Connection
        tls: dict[str, Any] = {}
        if self._address.tls:
            kind, tls = SSLConnection, {**dict(self._address.files), "ssl_check_hostname": True}
        connection = kind(
            host=self.place[0],
            port=self.place[1],
            socket_connect_timeout=CONNECT_TIMEOUT,
            socket_timeout=None,  # ours covers all of an exchange
            socket_keepalive=True,
            protocol=2,
            **self._login(),
            **tls,
        )
        self._all.add(connection)
        return connection

    def _login(self) -> dict[str, Any]:
        address = self._address
        if self._sentinel:
            return {"username": address.sentinel_username, "password": address.sentinel_password}
        return {"db": address.db, "username": address.username, "password": address.password}

    async def close(self) -> None:
        self._closed = True
        while self._idle:
            await drop(self._idle.pop())

    def abandon(self) -> None:
        """Close every socket from outside of the event loop, which may be gone, or a parent process's."""
        self._closed = True
        for connection in list(self._all):
            if self._pid == os.getpid() and not self._loop.is_closed():
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(let_go, connection)
            else:
                close_socket(connection)
        self._idle.clear()


async def connect(connection: Connection) -> None:
    await cast("Any", connection).connect()  # which redis-py has not annotated


async def _exchange(connection: Connection, commands: Sequence[Command]) -> list[Any]:
    """Send and read, and see that the answers are those to these commands."""
    sign = None if len(commands) == 1 and _is_script(commands[0]) else secrets.token_bytes(8)
    sent = commands if sign is None else [*commands, ("PING", sign)]
    await connection.send_packed_command(connection.pack_commands(sent))
    answers = [await _answer(connection) for _ in sent]
    signed = sign if sign is None else answers.pop()
    if isinstance(signed, ResponseError):
        raise signed
    if signed != sign or not all(map(_fits, commands, answers)):
        raise InvalidResponse("the answers are not those to what was asked")
    return answers


def _is_script(command: Command) -> bool:
    return command[0] in ("EVALSHA", "EVAL")


def _fits(command: Command, answer: Any) -> bool:
    """Each script of ours answers its first argument first: a session id, or what was drawn for this call alone."""
    if not _is_script(command) or isinstance(answer, ResponseError):
        return True
    first: str = command[3 + command[2]]
    return isinstance(answer, list) and answer[:1] == [first.encode()]


async def _answer(connection: Connection) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as error:
        return error


def _usable(connection: Connection) -> bool:
    """Whether the server has not hung up meanwhile."""
    reader = connection._reader
    return reader is not None and not reader.at_eof() and reader.exception() is None


async def drop(connection: Connection) -> None:
    """Close without a farewell, in its own event loop."""
    with suppress(Exception):
        await connection.disconnect(nowait=True)


def let_go(connection: Connection) -> None:
    """As `drop`, where nothing can be awaited."""
    writer = connection._writer
    connection._reader = connection._writer = None
    if writer is not None:
        writer.transport.abort()


def close_socket(connection: Connection) -> None:
    """Give the descriptor back and touch nothing else.

    A transport's own `close` needs its event loop; and in a forked child it would take the socket out of the
    parent's selector, and with TLS say farewell in the parent's name.
    """
    writer = connection._writer
    connection._reader = connection._writer = None
    if writer is None:
        return
    transport: Any = writer.transport
    inner = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    for one in (transport, inner):
        if one is None:
            continue
        sock = getattr(one, "_sock", None)
        if sock is not None:
            sock.close()
        # So that the garbage collector does not take it for one that was forgotten.
        for name, value in (("_sock", None), ("_closing", True), ("_closed", True)):
            if hasattr(one, name):
                setattr(one, name, value)


def first_error(answers: Sequence[Any]) -> ResponseError | None:
    return next((answer for answer in answers if isinstance(answer, ResponseError)), None)
