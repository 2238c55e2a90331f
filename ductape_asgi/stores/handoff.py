"""Work handed from tasks of any event loop, asyncio's or trio's, to one thread, and its answers handed back.

A thread hop for each answer would wake the loop once per job; here a batch wakes each loop once.  Every job
is answered, even when its thread dies.  An answer whose task was cancelled, or whose loop has gone, falls to
the floor and harms nobody.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio

from ..errors import StoreUnavailable

if TYPE_CHECKING:
    import trio

T = TypeVar("T")
StepT = TypeVar("StepT")

#: Jobs that may wait for one thread; more are turned away, so that a stalled disk cannot fill the memory.
QUEUE_LIMIT = 10_000
#: How long a task waits for an answer, in seconds: a disk that hangs must not hang every request.
LONGEST_WAIT = 2.5
#: Jobs taken at once.  Bounds how long the first of them waits for the last.
BATCH_LIMIT = 512


class Job(Generic[StepT]):
    """One step to be done by a thread.  Set `value` or `error`, then `answer` it; the task that waits goes on."""

    __slots__ = ("bell", "error", "loop", "queued_at", "step", "value")
    loop: asyncio.AbstractEventLoop | trio.lowlevel.TrioToken | None
    bell: asyncio.Future[None] | trio.Event | None

    def __init__(self, step: StepT, *, awaited: bool = True) -> None:
        self.step = step
        self.value: Any = None
        self.error: BaseException | None = None
        self.queued_at = time.monotonic()
        self.loop, self.bell = _bell() if awaited else (None, None)

    async def outcome(self, within: float | None = None) -> Any:
        """Wait for the answer, for so many seconds at most.  Cancelled while waiting, the step may happen or not.

        Raises:
            TimeoutError: none has come.
        """
        if isinstance(self.bell, asyncio.Future):
            await _rung(self.bell, within)
        elif self.bell is not None:
            with anyio.fail_after(within):
                await self.bell.wait()
        if self.error is not None:
            raise self.error
        return self.value


async def _rung(bell: asyncio.Future[None], within: float | None) -> None:
    # A timer of the loop's own: a cancel scope for each write would cost a twentieth of a whole `start`.
    if within is None:
        await bell
        return
    timer = bell.get_loop().call_later(within, _give_up, bell)
    try:
        await bell
    finally:
        timer.cancel()


def _give_up(bell: asyncio.Future[None]) -> None:
    if not bell.done():
        bell.set_exception(TimeoutError())


def _bell() -> tuple[Any, Any]:
    # trio first: in its guest mode an asyncio loop runs in this thread as well.
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return trio.lowlevel.current_trio_token(), trio.Event()
    loop = asyncio.get_running_loop()
    return loop, loop.create_future()


def answer(jobs: Iterable[Job[Any]]) -> None:
    """Wake the tasks that wait for these jobs: each event loop once."""
    loops: dict[Any, list[Any]] = {}
    for job in jobs:
        if job.loop is not None:
            loops.setdefault(job.loop, []).append(job.bell)
    for loop, bells in loops.items():
        if isinstance(loop, asyncio.AbstractEventLoop):
            _wake_asyncio(loop, bells)
        else:
            _wake_trio(loop, bells)


def _wake_asyncio(loop: asyncio.AbstractEventLoop, bells: list[asyncio.Future[None]]) -> None:
    def ring() -> None:
        for bell in bells:
            if not bell.done():
                bell.set_result(None)

    with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
        loop.call_soon_threadsafe(ring)


def _wake_trio(token: trio.lowlevel.TrioToken, bells: list[trio.Event]) -> None:
    def ring() -> None:
        for bell in bells:
            bell.set()

    with suppress(cast("Any", sys.modules["trio"]).RunFinishedError):  # likewise
        token.run_sync_soon(ring)


def fail(jobs: Iterable[Job[Any]], message: str, *, cause: BaseException | None = None) -> None:
    """Refuse jobs.  Each gets an error of its own: a shared one would gather everybody's traceback."""
    jobs = list(jobs)
    for job in jobs:
        job.value, job.error = None, StoreUnavailable(message)
        job.error.__cause__ = cause
    answer(jobs)


class Worker(Generic[StepT]):
    """One daemon thread and its queue.  `run` gets all jobs that wait, up to `BATCH_LIMIT`, and answers each.

    `begin` runs first, in the thread; what it raises is raised by `start`.  `end` runs last.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Job[StepT]]], None],
        *,
        begin: Callable[[], None] = lambda: None,
        end: Callable[[], None] = lambda: None,
    ) -> None:
        self._run = run
        self._begin = begin
        self._end = end
        self._queue: SimpleQueue[Job[StepT] | None] = SimpleQueue()
        self._lock = threading.Lock()
        #: Held while the thread is at work; who holds it knows that the thread is not.
        self.busy = threading.Lock()
        self._over = False
        self._gathered: dict[Any, list[Job[StepT]]] = {}
        self._starting = Job[None](None, awaited=False)
        self._leaving: list[Job[None]] = []
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    async def start(self) -> None:
        self._starting = Job[None](None)
        self._thread.start()
        await self._starting.outcome()

    def leave(self, *, awaited: bool = True) -> Job[None]:
        """Tell the thread to finish what is queued and end.  The job is answered when it has."""
        done = Job[None](None, awaited=awaited)
        for loop in list(self._gathered):
            self._hand_over(loop)
        with self._lock:
            if self._over:
                answer([done])
            else:
                self._leaving.append(done)
                self._queue.put(None)
        return done

    @property
    def over(self) -> bool:
        """Whether the thread has ended, so that nothing will be done any more."""
        return self._over

    async def do(self, step: StepT) -> Any:
        """Have one step done, and wait for what it answers.

        Raises:
            StoreUnavailable: the thread is gone, too many jobs wait for it, or it did not answer in time.
        """
        job = Job(step)
        self._gather(job)
        try:
            return await job.outcome(within=LONGEST_WAIT)
        except TimeoutError:
            raise StoreUnavailable(
                "the session store did not answer in time; what was asked may still be done"
            ) from None

    def _gather(self, job: Job[StepT]) -> None:
        """Hand over together what all tasks of this turn of the loop ask for: one batch, one flush of the disk.

        One by one, the first would be a batch alone, and the thread would fight the loop for the interpreter.
        """
        gathered = self._gathered.setdefault(job.loop, [])
        gathered.append(job)
        if len(gathered) == 1:
            loop: Any = job.loop
            soon = loop.call_soon if isinstance(loop, asyncio.AbstractEventLoop) else loop.run_sync_soon
            soon(self._hand_over, loop)

    def _hand_over(self, loop: object) -> None:
        self._put(self._gathered.pop(loop, []))

    def do_soon(self, step: StepT) -> None:
        """Have one step done some time, or never."""
        self._put([Job(step, awaited=False)])

    def _put(self, jobs: Sequence[Job[StepT]]) -> None:
        with self._lock:  # or a job might be put after the last look, and wait for ever
            if self._over:
                fail(jobs, "the store is closed; open it first")
            elif self._queue.qsize() + len(jobs) > QUEUE_LIMIT:
                fail(jobs, f"{QUEUE_LIMIT} writes wait for the store already")
            else:
                for job in jobs:
                    self._queue.put(job)

    def _work(self) -> None:
        jobs: list[Job[StepT]] = []
        try:
            if self._begun():
                while self._take(jobs):
                    self._do(jobs)
                    jobs.clear()
        finally:
            self._leave(jobs)

    def _begun(self) -> bool:
        try:
            with self.busy:
                self._begin()
        except Exception as error:
            self._starting.error = error
            return False
        answer([self._starting])
        return True

    def _do(self, jobs: list[Job[StepT]]) -> None:
        try:
            with self.busy:
                self._run(jobs)
        except Exception as error:
            fail(jobs, f"the store failed by surprise ({type(error).__name__}); see the cause", cause=error)

    def _take(self, jobs: list[Job[StepT]]) -> bool:
        """Wait for the next batch.  False when there will be none."""
        job = self._queue.get()
        while job is not None:
            jobs.append(job)
            if self._queue.empty() or len(jobs) == BATCH_LIMIT:
                return True
            job = self._queue.get()
        self._queue.put(None)  # the sign to stop stays in the queue, behind what came meanwhile
        return bool(jobs)

    def _leave(self, unfinished: list[Job[StepT]]) -> None:
        with self._lock:
            self._over = True
            left = [*unfinished, *self._drain()]
        fail(left, "the store was closed, or its thread died, before this was done; try again")
        try:
            with self.busy:
                self._end()
        finally:
            answer([self._starting, *self._leaving])

    def _drain(self) -> list[Job[StepT]]:
        jobs: list[Job[StepT]] = []
        while True:
            try:
                job = self._queue.get_nowait()
            except Empty:
                return jobs
            if job is not None:
                jobs.append(job)
