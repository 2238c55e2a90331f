"""Opening and closing, counted, in whichever event loop is running; and what runs in the background meanwhile.

A `Sessions` outlives loops: test clients make one a request, scripts call `asyncio.run` twice, servers fork.
What was opened in a loop that has gone, or in a parent process, is opened anew.  Loops that live at the same
time, in threads, have an opening each, and the store stays open until the last of them has let go of it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
from anyio.lowlevel import EventLoopToken

from .audit import logger
from .errors import ConfigurationError, DuctapeError, StoreUnavailable
from .latch import Latch, running_loop
from .stores.base import SessionStore

#: How long work that is due waits for more of its kind, in seconds.
_GATHER = 0.1

Work = Callable[[], Coroutine[Any, Any, None]]


class _Opened:
    """One opening: in which loop it happened, how many share it there, and what runs in its background."""

    def __init__(self, token: EventLoopToken) -> None:
        self.token = token
        self.pid = os.getpid()
        self.users = 0
        self.due = anyio.Event()
        self.tasks: list[LoopTask] = []

    def cancel(self) -> None:
        for task in self.tasks:
            task.scope.cancel()

    def alive(self) -> bool:
        """False where its loop has gone, or is another process's."""
        loop: Any = self.token.native_token
        if self.pid != os.getpid():
            return False
        if isinstance(loop, asyncio.AbstractEventLoop):
            return not loop.is_closed()
        try:
            loop.run_sync_soon(lambda: None)
        except RuntimeError:  # trio's RunFinishedError is one
            return False
        return True


class LoopTask:
    """A task that belongs to the loop itself and to none of its callers, so that any task may end it.

    No task group: a loop that ends before a group's task has begun complains about what was never awaited.
    """

    def __init__(self, work: Work) -> None:
        self.scope = anyio.CancelScope()
        self.finished = anyio.Event()
        self._work = work
        loop = running_loop()
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
        self._opened: dict[object, _Opened] = {}
        self._turns: dict[int, Latch] = {}
        self._failure: DuctapeError | None = None
        self._failures = 0

    def is_open(self) -> bool:
        """Whether it is open in the running loop of this process."""
        return self._here() is not None

    def _here(self) -> _Opened | None:
        opened = self._opened.get(running_loop())
        return opened if opened is not None and opened.pid == os.getpid() else None

    @property
    def token(self) -> EventLoopToken | None:
        """The event loop in which it is open, if it is; of several, one that has entered it, else the last."""
        openings = [opened for opened in reversed(list(self._opened.values())) if opened.alive()]
        chosen = next((opened for opened in openings if opened.users), openings[0] if openings else None)
        return None if chosen is None else chosen.token

    async def ensure(self) -> object:
        """Open here, unless it is open.  Returns what stands for the running event loop.

        Raises:
            ConfigurationError, StoreUnavailable: from the store's `open`.
            ConfigurationError: the store serves one loop at a time, and another one has it.
        """
        here: object = running_loop()
        opened = self._opened.get(here)
        if opened is None or opened.pid != os.getpid():
            await self._opened_here()
        return here

    async def enter(self) -> None:
        """Open here, and stay open until as many have left as entered."""
        (await self._opened_here()).users += 1

    async def leave(self) -> None:
        """The last one out closes; who wants to open meanwhile waits."""
        with anyio.CancelScope(shield=True):
            async with self._turn():
                opened = self._here()
                if opened is None:
                    return
                opened.users -= 1
                if opened.users <= 0:
                    await self._close(opened)

    def wake(self) -> None:
        """Have the background task do its work soon."""
        opened = self._here()
        if opened is not None:
            opened.due.set()

    async def _opened_here(self) -> _Opened:
        failures = self._failures
        async with self._turn():
            opened = self._here()
            if opened is not None:
                return opened
            if self._failure is not None and self._failures != failures:
                # It failed while we waited: each trying in turn would keep the last one waiting for all.
                raise self._failure.with_traceback(None)
            try:
                return await self._open()
            except DuctapeError as error:
                self._failure, self._failures = error, failures + 1
                raise

    async def _open(self) -> _Opened:
        if self._forget_the_gone() and not self._opened:
            # All who had it open have gone, or are a parent's: the store lets go of what it had there.
            await self._store.close()
        if self._opened and not getattr(self._store, "any_loop", False):
            raise ConfigurationError(
                f"a {type(self._store).__name__} serves one event loop at a time, and another one has it open: use "
                "sessions.sync in threads, or give each loop a Sessions of its own"
            )
        try:
            await self._store.open()
        except OSError as error:  # as of the verbs of a store that does not say it in our words
            raise StoreUnavailable(f"the session store cannot be reached: {type(error).__name__}") from error
        opened = _Opened(anyio.lowlevel.current_token())
        works: list[Work] = [partial(self._keep_house, opened), *self._beside()]
        opened.tasks = [LoopTask(work) for work in works]
        self._opened[opened.token.native_token] = opened
        return opened

    async def _close(self, opened: _Opened) -> None:
        del self._opened[opened.token.native_token]
        opened.cancel()
        for task in opened.tasks:
            await task.finished.wait()
        await self._work()
        self._forget_the_gone()
        if not self._opened:
            await self._store.close()

    def _forget_the_gone(self) -> bool:
        """Whether there were any."""
        gone = [loop for loop, opened in self._opened.items() if not opened.alive()]
        for loop in gone:
            del self._opened[loop]
        return bool(gone)

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

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One at a time opens or closes, of the tasks of all loops of this process."""
        # By process, so that a child never waits for what a thread of its parent did; `setdefault` is one step.
        process, mine = os.getpid(), Latch()
        while (other := self._turns.setdefault(process, mine)) is not mine:
            await other.wait_async()
        try:
            yield
        finally:
            del self._turns[process]
            mine.open()
