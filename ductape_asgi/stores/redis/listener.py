"""Hears that the log may have grown.  Only a hint: the log decides."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from redis.asyncio import Connection
from redis.exceptions import ConnectionError as Disconnected

from .node import COMMAND_TIMEOUT, connect, drop
from .opened import Opened
from .topology import FAILURES

#: After how many seconds of silence the server is asked whether it is still there.
_PING_AFTER: Final = 2.0
#: How long between two attempts to connect: at first, and at most, in seconds.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


async def listen(opened: Opened, wake: Callable[[], None]) -> None:
    """Call `wake` at each message, and whenever messages may have been missed.  Ends only by being cancelled."""
    pause = _FIRST_PAUSE
    while True:
        connection = None
        try:
            connection = await _subscribed(opened)
            pause = _FIRST_PAUSE
            wake()
            await _follow(connection, wake)
        except FAILURES:
            opened.topology.doubt()
            wake()
        finally:
            if connection is not None:
                await drop(connection)
        # All workers lost their connection at the same moment: they should not all come back at one.
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _subscribed(opened: Opened) -> Connection:
    async with asyncio.timeout(COMMAND_TIMEOUT):
        await opened.topology.look()
        connection = opened.topology.listening_node().connection()
        try:
            await connect(connection)
            await connection.send_command("SUBSCRIBE", opened.keys.channel)
            await connection.read_response(disable_decoding=True)
        except BaseException:
            await drop(connection)
            raise
        return connection


async def _follow(connection: Connection, wake: Callable[[], None]) -> None:
    while True:
        message = await connection.read_response(disable_decoding=True, timeout=_PING_AFTER)
        if message is None:
            await connection.send_command("PING")
            message = await connection.read_response(disable_decoding=True, timeout=COMMAND_TIMEOUT)
        if message is None:
            raise Disconnected("the server has gone silent")
        if message[0] == b"message":
            wake()
