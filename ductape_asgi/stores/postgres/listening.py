"""One connection that hears when the log grows.  What it hears are hints; the log decides."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from .driver import Connect, Connection, Failed
from .pool import PATIENCE

#: How often a connection that hears nothing is asked whether it still lives, in seconds.
KEEPALIVE = 2.0
#: Between two attempts to connect, in seconds: doubled each time, and drawn so that workers do not come together.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


async def listen(connect: Connect, channel: str, wake: Callable[[], None]) -> None:
    """Run until cancelled; see `SessionStore.listen`."""
    failures = 0
    while True:
        try:
            connection = await connect()
            failures = 0
            await _hear(connection, channel, wake)
        except Failed:
            wake()
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**failures)
        failures = min(failures + 1, 10)
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret


async def _hear(connection: Connection, channel: str, wake: Callable[[], None]) -> None:
    """Until the connection is lost, or does not answer."""
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    try:
        async with asyncio.timeout(PATIENCE):
            await connection.add_listener(channel, lambda *_: wake())
        wake()  # what came before we listened
        while not connection.is_closed():
            try:
                async with asyncio.timeout(KEEPALIVE):
                    await lost.wait()
                wake()
                return
            except TimeoutError:
                async with asyncio.timeout(PATIENCE):
                    await connection.execute(f'LISTEN "{channel}"')  # changes nothing, and has to be answered
    finally:
        connection.terminate()
