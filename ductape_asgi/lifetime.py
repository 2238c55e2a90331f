"""Opening and closing, counted, in whichever event loop is running; and what runs in the background meanwhile.

A `Sessions` outlives loops: test clients make one a request, scripts call `asyncio.run` twice, servers fork.
What was opened in a loop that has gone, or in a parent process, is opened anew.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
from anyio.lowlevel import EventLoopToken

from .audit import logger
from .errors import DuctapeError
from .stores.base import SessionStore

#: How long work that is due waits for more of its kind, in seconds.
_GATHER = 0.1

Work = Callable[[], Coroutine[Any, Any, None]]


class _Opened:
    """One opening: where it happened, how many share it, and what runs in its background."""

    def __init__(self, token: EventLoopToken) -> None:
        self.token = token
        self.pid = os.getpid()
        self.users = 0
        self.due = anyio.Event()
        self.tasks: list[_Task] = []

    def cancel(self) -> None:
        for task in self.tasks:
            task.scope.cancel()

    def abandon(self) -> bool:
        """End the background tasks from another loop.  False where its loop has gone or is another process's."""
        loop: Any = self.token.native_token
        try:
            if self.pid != os.getpid():
                return False
            (loop.call_soon_threadsafe if isinstance(loop, asyncio.AbstractEventLoop) else loop.run_sync_soon)(
                self.cancel
            )
        except RuntimeError:  # asyncio's for a closed loop; trio's RunFinishedError is one, too
            return False
        return True


class _Task:
    """A task that belongs to the loop itself and to none of its callers, so that any task may end it.

    No task group: a loop that ends before a group's task has begun complains about what was never awaited.
    """

    def __init__(self, work: Work) -> None:
        self.scope = anyio.CancelScope()
        self.finished = anyio.Event()
        self._work = work
        loop = anyio.lowlevel.current_token().native_token
        if isinstance(loop, asyncio.AbstractEventLoop):
            # Kept: the loop itself holds its tasks weakly.
            self._task: object = loop.create_task(self._run())
        else:
            import trio

            self._task = trio.lowlevel.spawn_system_task(self._run)

    async def _run(self) -> None:
        try:
            with self.scope:
                await self._work()
        finally:
            self.finished.set()


class Lifetime:
    """Opens `store` and runs `housekeeping` every `interval` seconds, from the first use to the last leave.

    `beside` is asked in the loop where it has been opened for what else shall run there; that raises nothing.
    """

    def __init__(
        self,
        store: SessionStore,
        housekeeping: Callable[[], Awaitable[None]],
        interval: float,
        beside: Callable[[], Iterable[Work]] = tuple,
    ) -> None:
        self._store = store
        self._housekeeping = housekeeping
        self._interval = interval
        self._beside = beside
        self._opened: _Opened | None = None
        self._gate: tuple[object, anyio.Lock] | None = None
        self._failure: DuctapeError | None = None
        self._failures = 0

    def is_open(self) -> bool:
        """Whether it is open in the running loop of this process."""
        opened = self._opened
        return opened is not None and opened.pid == os.getpid() and opened.token == anyio.lowlevel.current_token()

    @property
    def token(self) -> EventLoopToken | None:
        """The event loop in which it is open, if it is."""
        return None if self._opened is None else self._opened.token

    async def ensure(self) -> object:
        """Open here, unless it is open.  Returns what stands for the running event loop.

        Raises:
            ConfigurationError, StoreUnavailable: from the store's `open`.
        """
        opened, here = self._opened, anyio.lowlevel.current_token().native_token
        if opened is None or opened.token.native_token is not here or opened.pid != os.getpid():
            await self._opened_here()
        return here

    async def enter(self) -> None:
        """Open here, and stay open until as many have left as entered."""
        (await self._opened_here()).users += 1

    async def leave(self) -> None:
        """The last one out closes; who wants to open meanwhile waits."""
        with anyio.CancelScope(shield=True):
            async with self._lock():
                opened = self._opened
                if opened is None or not self.is_open():
                    return
                opened.users -= 1
                if opened.users <= 0:
                    await self._close(opened)

    def wake(self) -> None:
        """Have the background task do its work soon."""
        if self._opened is not None and self.is_open():
            self._opened.due.set()

    async def _opened_here(self) -> _Opened:
        failures = self._failures
        async with self._lock():
            if self._opened is not None and self.is_open():
                return self._opened
            if self._failure is not None and self._failures != failures:
                # It failed while we waited: each trying in turn would keep the last one waiting for all.
                raise self._failure.with_traceback(None)
            try:
                self._opened = await self._open()
            except DuctapeError as error:
                self._failure, self._failures = error, failures + 1
                raise
            return self._opened

    async def _open(self) -> _Opened:
        previous, self._opened = self._opened, None
        if previous is not None and not previous.abandon():
            # Its loop has gone, or it is a parent's: the store lets go of what it had there.
            await self._store.close()
        await self._store.open()
        opened = _Opened(anyio.lowlevel.current_token())
        works: list[Work] = [partial(self._keep_house, opened), *self._beside()]
        opened.tasks = [_Task(work) for work in works]
        return opened

    async def _close(self, opened: _Opened) -> None:
        self._opened = None
        opened.cancel()
        for task in opened.tasks:
            await task.finished.wait()
        await self._work()
        await self._store.close()

    async def _keep_house(self, opened: _Opened) -> None:
        while True:
            with anyio.move_on_after(self._interval):
                await opened.due.wait()
                # What else is noted in this moment shares the write.
                await anyio.sleep(_GATHER)
            opened.due = anyio.Event()
            await self._work()

    async def _work(self) -> None:
        try:
            await self._housekeeping()
        except Exception as error:  # A background task that dies would stop the writing of last uses for good.
            logger.warning("housekeeping failed, and will be tried again: %s", type(error).__name__)

    def _lock(self) -> anyio.Lock:
        token = anyio.lowlevel.current_token()
        if self._gate is None or self._gate[0] != token:
            self._gate = (token, anyio.Lock())
        return self._gate[1]
