"""One open socket or stream as a worker keeps it, by name and by event loop.  `lookout` looks after them."""

from __future__ import annotations

import asyncio
import heapq
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count, islice
from typing import Any, Final

import anyio
import anyio.lowlevel

from .lifetime import LoopTask
from .models import Session, SessionRecord

#: How often the time and the store's word are looked at while there are leases, in seconds.
_TICK: Final = 0.2
#: How many sessions are looked at in one go.
STEP: Final = 512
#: How many connections are closed before others have their turn in the event loop.
_CLOSED_AT_ONCE: Final = 4

#: Close codes: the session has ended; a guard no longer holds; it cannot be told now.
ENDED: Final = 4401
DENIED: Final = 4403
UNKNOWN: Final = 1013


class Lease(ABC):
    """One connection that lasts as long as its session.  `code` is None while it does.

    `token_ends_at` is when it ends at the latest, in Unix seconds, or None.
    """

    __slots__ = ("code", "home", "person", "session", "token_ends_at")

    def __init__(self, session: Session[Any], token_ends_at: float | None) -> None:
        self.session = session
        self.token_ends_at = token_ends_at
        self.person: str | None = None
        self.code: int | None = None
        self.home: Home | None = None

    @abstractmethod
    async def recall(self) -> tuple[Session[Any], SessionRecord]:
        """The session as the store has it now.

        Raises:
            SessionError: it has ended.
            StoreUnavailable: it cannot be told.
        """

    @abstractmethod
    def renewed(self, session: Session[Any]) -> bool:
        """Go on with newer data; whether that may be."""

    @abstractmethod
    def ended(self) -> None:
        """Close the connection, which has been over since `code` says why.  Waits for nothing; again, does nothing."""


class Home:
    """The leases of one event loop."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.leases: set[Lease] = set()
        self.suspects: dict[Lease, None] = {}
        self.watched = False
        #: Nothing is asked again before this, where the feed is stale and the store has answered nevertheless.
        self.asked_until = float("-inf")
        self._closing: deque[Lease] = deque()
        self._times: list[tuple[float, int, Lease]] = []
        self._numbers = count()
        self._news = anyio.Event()

    def soon(self, call: Callable[[], None]) -> None:
        """Call in this loop: now, where it is the running one."""
        if running_loop() is self.loop:
            call()
        else:
            loop = self.loop
            with suppress(RuntimeError):  # it has gone, and its connections with it; trio's own error is one, too
                (loop.call_soon_threadsafe if isinstance(loop, asyncio.AbstractEventLoop) else loop.run_sync_soon)(call)

    def suspect(self, lease: Lease) -> None:
        if lease in self.leases:
            self.suspects[lease] = None
            self._news.set()

    def notice(self) -> None:
        self._news.set()

    async def wait(self) -> None:
        """For news, and while there are leases no longer than a tick."""
        with anyio.move_on_after(_TICK if self.leases else None):
            await self._news.wait()
        self._news = anyio.Event()

    def close(self, lease: Lease) -> None:
        """Soon: when a hundred sessions end in one moment, requests shall not wait for all of them to be closed."""
        self._closing.append(lease)
        if len(self._closing) == 1:
            LoopTask(self._close_all)

    async def _close_all(self) -> None:
        while self._closing:
            for lease in list(islice(self._closing, _CLOSED_AT_ONCE)):
                lease.ended()
                self._closing.popleft()
            await anyio.lowlevel.checkpoint()

    def schedule(self, lease: Lease, at: float) -> None:
        if len(self._times) > 2 * len(self.leases) + 64:  # most are of connections that have gone
            self._times = [entry for entry in self._times if entry[2] in self.leases]
            heapq.heapify(self._times)
        heapq.heappush(self._times, (at, next(self._numbers), lease))

    def due(self, now: float) -> Iterator[Lease]:
        while self._times and self._times[0][0] <= now:
            lease = heapq.heappop(self._times)[2]
            if lease in self.leases:
                yield lease

    def take_suspects(self) -> list[Lease]:
        taken = list(islice(self.suspects, STEP))
        for lease in taken:
            del self.suspects[lease]
        return taken


class Names:
    """Leases by the names of their session and person.  Most names lead to one; a set for each would weigh more."""

    def __init__(self) -> None:
        self._named: dict[str, Lease | set[Lease]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._named)

    def of(self, name: str) -> list[Lease]:
        with self._lock:
            found = self._named.get(name)
            return [] if found is None else list(found) if isinstance(found, set) else [found]

    def join(self, name: str, lease: Lease) -> None:
        with self._lock:
            found = self._named.setdefault(name, lease)
            if isinstance(found, set):
                found.add(lease)
            elif found is not lease:
                self._named[name] = {found, lease}

    def leave(self, name: str, lease: Lease) -> None:
        with self._lock:
            found = self._named.get(name)
            if isinstance(found, set):
                found.discard(lease)
            if found is lease or not found:
                self._named.pop(name, None)


def running_loop() -> object:
    """The running event loop, or None."""
    try:
        return anyio.lowlevel.current_token().native_token
    except RuntimeError:  # anyio's own error for no loop is one, too
        return None
