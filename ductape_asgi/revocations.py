"""The feed of one worker: what was revoked elsewhere, and proof that nothing was missed.

The store's log decides.  A worker trusts its cache only while it has applied the sequence that the store
announces (where it can announce one cheaply), and while its last reading of the log was asked for less than
`max_staleness` ago.  The second rule holds whatever becomes of the first, and of every wake-up.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import inf
from typing import TypeVar

import anyio

from .audit import audit, logger
from .cache import VerifiedTokens, person_key
from .endings import Endings
from .errors import StoreUnavailable
from .latch import running_loop
from .models import LogPage, Position, Revocation
from .stores.guarded import DEADLINE, HURRIED, GuardedStore

#: Reads quicker than any other sequence, on each hit of a store without a word.
_NO_WORD = (0,)
#: Entries that may wait to be read in the log, while it cannot be read.
_MOST_EXPECTED = 10_000

T = TypeVar("T")


def boot_clock() -> Callable[[], float]:
    """Seconds that go on while the machine is suspended, where the system has such a clock."""
    clock_id = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if clock_id is None else partial(time.clock_gettime, clock_id)


class _Reading:
    """One reading of the log under way, the `number`-th, in one event loop.  Not `ended`: it was cancelled."""

    __slots__ = ("done", "ended", "error", "loop", "number")

    def __init__(self, loop: object, number: int) -> None:
        self.loop = loop
        self.number = number
        #: Made by the first who waits; most readings carry nobody else.
        self.done: anyio.Event | None = None
        self.ended = False
        self.error: StoreUnavailable | None = None

    async def wait(self) -> None:
        if self.done is None:
            self.done = anyio.Event()
        await self.done.wait()


class Feed:
    """Keeps `cache` true to the store.

    `trust` is ``(word, applied, until, until_wall)``: the cache may be trusted while ``word[0] == applied``,
    ``elapsed() < until`` and ``clock() < until_wall``.  The middleware looks at these itself, on each hit.
    `wake` is called when the log could be read and `endings` are due to be written again; `ended` with the id of each
    session that has ended by itself, and not with all of a person's.
    """

    def __init__(
        self,
        store: GuardedStore,
        cache: VerifiedTokens,
        *,
        max_staleness: float,
        clock: Callable[[], float],
        elapsed: Callable[[], float],
        wake: Callable[[], None] = lambda: None,
        ended: Callable[[str], None] = lambda session_id: None,
    ) -> None:
        self._store = store
        self._cache = cache
        self.max_staleness = max_staleness
        self._clock = clock
        self._wake = wake
        self._ended = ended
        self.elapsed = elapsed
        self.endings = Endings()
        self.position: Position | None = None
        self.trust: tuple[Sequence[int], int, float, float] = (_NO_WORD, 0, 0.0, 0.0)
        self._asked, self._asked_wall = float("-inf"), float("-inf")
        self._reading: _Reading | None = None
        self._begun = 0
        #: Which entries this worker has appended, and after which reading they have to be in the log; see `appended`.
        self._expected: dict[Revocation, float] = {}
        self._lost = False

    def fresh(self) -> bool:
        word, applied, until, until_wall = self.trust
        return word[0] == applied and self.elapsed() < until and self._clock() < until_wall

    def distrust(self) -> None:
        """Take what was proven for nothing, until the log is read again."""
        word, applied, _, _ = self.trust
        self.trust = (word, applied, float("-inf"), float("-inf"))

    def staleness(self) -> float:
        """Seconds since the last proof, by the clock that says more; infinite where there was none."""
        return max(self.elapsed() - self._asked, self._clock() - self._asked_wall)

    def stale(self) -> bool:
        """Whether the last proof is older than a cached session is ever trusted."""
        return self.staleness() > self.max_staleness

    async def prove(self) -> bool:
        """Whether the cache may be trusted now, after reading the log if need be: once for all who ask at once."""
        if self.fresh():
            return True
        begun = self._begun
        try:
            reading = self._under_way()
            if reading is not None:
                with anyio.move_on_after(HURRIED) as waiting:
                    await reading.wait()
                # If it failed, it failed for all who waited: each trying in turn would keep the last one waiting.
                if waiting.cancelled_caught:
                    self._store.fell_silent()
                if waiting.cancelled_caught or reading.error is not None:
                    return self.fresh()
            if not self.fresh():
                await self._read_after(begun, HURRIED)
        except StoreUnavailable:
            # P4: the connection may be gone; what was proven stays proven until its time is over.
            return self.fresh()
        return self.fresh()

    async def catch_up(self, within: float = DEADLINE) -> None:
        """Read the log and forget what it names, in a reading that begins after this call.

        Raises:
            StoreUnavailable: it could not be read in time; nothing has changed.
        """
        await self._read_after(self._begun, within)

    async def appended(self, entry: Revocation, step: Awaitable[T]) -> T:
        """The answer of a step that appends `entry` to the log, unless it answers 0 or False.

        Should the next reading lack the entry, the store has lost it before anybody read it.
        """
        answer: T | None = None
        if len(self._expected) < _MOST_EXPECTED:
            self._expected[entry] = inf
        try:
            answer = await step
            return answer
        finally:
            if not answer:
                self._expected.pop(entry, None)
            elif entry in self._expected:  # it has not been read meanwhile
                self._expected[entry] = self._begun

    def apply(self, entry: Revocation, *, before: float) -> None:
        """Forget what an entry of the log names, and keep in mind that it ended; of a person's, what began `before`."""
        if entry.session_id is not None:
            self._cache.forget_session(entry.session_id)
            if entry.ended:
                self._ended(entry.session_id)
        if entry.subject is not None:
            self._cache.forget_person(person_key(entry.realm, entry.tag, entry.subject), entry.spared)
        self.endings.note(entry, before=before)

    def _under_way(self) -> _Reading | None:
        """The reading that goes on in this event loop.  One of another loop is nobody's here to wait for."""
        reading = self._reading
        if reading is None or reading.loop != running_loop():
            return None
        return reading

    async def _read_after(self, begun: int, within: float) -> None:
        """Share a reading that began after the `begun`-th, or make one: either `within` so many seconds."""
        until = anyio.current_time() + within
        while (reading := self._under_way()) is not None:
            with anyio.move_on_after(until - anyio.current_time()) as waiting:
                await reading.wait()
            if waiting.cancelled_caught:
                self._store.fell_silent()
                raise StoreUnavailable("the session store's log did not answer in time; try again")
            if reading.ended and reading.number > begun:
                if reading.error is not None:
                    raise reading.error.with_traceback(None)
                return
        await self._lead(within)

    async def _lead(self, within: float) -> None:
        self._begun += 1
        reading = self._reading = _Reading(running_loop(), self._begun)
        try:
            await self._read(reading.number, within)
            reading.ended = True
        except StoreUnavailable as error:
            reading.error, reading.ended = error, True
            raise
        finally:
            if self._reading is reading:
                self._reading = None
            if reading.done is not None:
                reading.done.set()
            if reading.ended:
                self._tell(lost=reading.error is not None and not self.fresh())

    async def _read(self, number: int, within: float) -> None:
        asked, asked_wall = self.elapsed(), self._clock()
        since = self.position
        page = await self._store.log_since(since, within=within)
        # The first page begins where the log ends: it can lack nothing.
        reason = "" if since is None else _incomplete(since, page) or self._unread(number, page)
        if since is None or reason:
            self._cache.clear()
            self._expected.clear()
        if reason:
            self._resync(reason)
        # What this page brings was not there when the last one was asked for: it is younger than that.
        before = min(self._asked_wall, asked_wall)
        for entry in page.entries:
            self._expected.pop(entry, None)
            self.apply(entry, before=before)
        # In another event loop, a reading that was asked for later may have ended earlier.  What it found stands.
        if asked >= self._asked:
            self._adopt(page.position, asked, asked_wall)

    def _adopt(self, position: Position, asked: float, asked_wall: float) -> None:
        self.position, self._asked, self._asked_wall = position, asked, asked_wall
        word = self._store.announced()
        applied = position.sequence if word is not None else 0
        until, until_wall = asked + self.max_staleness, asked_wall + self.max_staleness
        self.trust = (_NO_WORD if word is None else word, applied, until, until_wall)
        if self.endings.due:
            self._wake()

    def _unread(self, number: int, page: LogPage) -> str:
        """Why the `number`-th reading, whose page follows on the last one, lacks what was appended before it began."""
        due = [entry for entry, last in self._expected.copy().items() if last < number]
        return "writes_lost" if due and not set(due) <= set(page.entries) else ""

    def _resync(self, reason: str) -> None:
        logger.warning("the store's log does not go on from where it was read (%s): the cache was cleared", reason)
        audit("feed.resync", b"", "-", "-", reason=reason)
        self.endings.due = self.endings.doubted = True

    def _tell(self, *, lost: bool) -> None:
        """Log once that trust is lost, and once that it is back."""
        if lost and not self._lost:
            logger.warning("revocations cannot be followed: the cache is not trusted until the store answers")
        elif self._lost and not lost:
            logger.info("revocations are followed again: the cache is trusted")
        self._lost = lost


def _incomplete(since: Position, page: LogPage) -> str:
    """Why a page does not follow on `since`, if it does not; the store's word for it is not all there is."""
    here = page.position
    if here.epoch != since.epoch:
        return "another_log"
    if here.sequence < since.sequence:
        return "writes_lost"
    if not page.complete:
        return "trimmed"
    return "gap" if len(page.entries) != here.sequence - since.sequence else ""
