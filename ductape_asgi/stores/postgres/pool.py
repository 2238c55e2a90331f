"""Connections to one server, lent to one step at a time, for one event loop of one process.

A step runs in a task of its own, to its end: whoever asked for it may be cancelled at any await, and no
connection is ever left in the middle of a reply.  Giving a connection back costs no round trip.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from ...errors import StoreUnavailable
from .driver import Connect, Connection, Failed, Lost, Undone, transport_of, unavailable

T = TypeVar("T")
Step = Callable[[Connection], Awaitable[T]]

#: How long one step may take in all, in seconds: waiting for a connection, making one, and every answer.
PATIENCE = 1.0
#: Steps that may wait for a connection; more are turned away, so that a server that hangs cannot fill the memory.
QUEUE_LIMIT = 10_000
#: A connection that nobody used for so long may have been forgotten by a firewall: it is not lent again.
IDLE_LIMIT = 60.0


class Pool:
    """Up to `size` connections, each made by `connect` when it is needed."""

    def __init__(self, connect: Connect, size: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.closed = False
        self._abandoned = False
        self._pid = os.getpid()
        self._connect = connect
        self._permits = asyncio.Semaphore(size)
        self._waiting = 0
        # The one used last is lent first; with each, since when nobody has used it.
        self._idle: list[tuple[Connection, float]] = []
        self._lent: set[Connection] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def inherited(self) -> bool:
        return self._pid != os.getpid()

    def belongs_here(self) -> bool:
        """Whether this is the process and the event loop that it was made in."""
        try:
            return not self.inherited() and self.loop is asyncio.get_running_loop()
        except RuntimeError:  # trio's
            return False

    def deadline(self) -> float:
        """The loop's time at which a step that begins now gives up."""
        return self.loop.time() + PATIENCE

    async def do(self, step: Step[T], *, again: bool = False, until: float | None = None) -> T:
        """Lend a connection to `step`.  Cancelled, the step may happen or not.

        Args:
            again: it only reads, so that it may be done twice when a connection turns out to be dead.
            until: the loop's time at which to give up; `deadline` unless given.

        Raises:
            StoreUnavailable: no connection, no answer in time, or an error of the server.
        """
        until = self.deadline() if until is None else until
        await self._permit(until)
        task = self.loop.create_task(self._perform(step, again, until))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may have gone: nobody else takes it, and asyncio would complain

    async def connect(self) -> Connection:
        """A connection beside the others, which the caller closes.

        Cancelled, it is made all the same, and closed: in the middle of it, the driver would leave an error behind
        that nobody takes.
        """
        task = asyncio.ensure_future(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(task)
        except BaseException:
            task.add_done_callback(_unwanted)
            raise

    async def _permit(self, until: float) -> None:
        if not self._permits.locked():
            await self._permits.acquire()  # at once
            return
        if self._waiting >= QUEUE_LIMIT:
            raise StoreUnavailable("too many steps wait for the session store; try again")
        self._waiting += 1
        try:
            async with asyncio.timeout_at(until):
                await self._permits.acquire()
        except TimeoutError:
            raise StoreUnavailable("all connections to the session store are in use; raise pool_size=") from None
        finally:
            self._waiting -= 1

    async def _perform(self, step: Step[T], again: bool, until: float) -> T:
        try:
            async with asyncio.timeout_at(until):
                while True:
                    try:
                        return await self._lend(step)
                    except Undone:
                        await asyncio.sleep(0)
                    except Lost:
                        if not again:
                            raise
                        again = False
        except TimeoutError:
            raise StoreUnavailable("the PostgreSQL session store did not answer in time; try again") from None
        except Failed as error:
            raise unavailable(error) from error
        finally:
            self._permits.release()

    async def _lend(self, step: Step[T]) -> T:
        connection = self._take_idle() or await self._connect()
        self._lent.add(connection)
        whole = False
        try:
            answer = await step(connection)
            whole = True
            return answer
        except Exception as error:
            # A value that the driver cannot encode never left it; any other error of a driver may be half a reply.
            whole = isinstance(error, ValueError) or not isinstance(error, (*Lost, OSError))
            raise
        finally:
            self._lent.discard(connection)
            self._take_back(connection, whole=whole)

    def _take_idle(self) -> Connection | None:
        if self.closed:
            raise StoreUnavailable("the session store was closed meanwhile")
        while self._idle:
            connection, since = self._idle.pop()
            if not connection.is_closed() and self.loop.time() - since < IDLE_LIMIT:
                return connection
            connection.terminate()
        return None

    def _take_back(self, connection: Connection, *, whole: bool) -> None:
        if whole and not self._abandoned and not connection.is_closed() and not connection.is_in_transaction():
            self._idle.append((connection, self.loop.time()))
            return
        connection.terminate()
        if not whole:
            self._drop_idle()  # what has killed this one has probably killed them as well

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop()[0].terminate()

    async def stop(self) -> None:
        """Finish what is under way, and close."""
        self.closed = True
        try:
            while self._tasks:
                await asyncio.wait(self._tasks)
            await asyncio.gather(*(_close(connection) for connection, _ in self._idle))
        finally:
            self._drop_idle()

    def abandon(self) -> None:
        """As `stop`, from any thread or loop, without waiting; what is under way is finished if its loop lives."""
        if self.inherited():
            return
        self.closed = self._abandoned = True
        with suppress(RuntimeError):  # the loop has been closed
            self.loop.call_soon_threadsafe(self._drop_idle)
            return
        for connection in self._held():
            _let_fall(connection)
        self._idle.clear()

    def disown(self) -> None:
        """In a forked child: let go of the parent's sockets, without a word to the server."""
        nothing = os.open(os.devnull, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        for connection in self._held():
            with suppress(Exception):
                os.dup2(nothing, transport_of(connection).get_extra_info("socket").fileno(), inheritable=False)
        os.close(nothing)

    def _held(self) -> list[Connection]:
        return [*self._lent, *(connection for connection, _ in self._idle)]


def _unwanted(connecting: asyncio.Future[Connection]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().terminate()


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=PATIENCE)
    except Failed:
        connection.terminate()


def _let_fall(connection: Connection) -> None:
    """Close the socket of a connection whose event loop has gone: nobody is left to do it in order."""
    transport = transport_of(connection)
    with suppress(Exception):
        connection.terminate()
    with suppress(Exception):
        # asyncio's own way to close a socket; other loops close theirs themselves when they end.
        transport._call_connection_lost(None)
