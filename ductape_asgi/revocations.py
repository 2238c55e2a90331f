"""The feed of one worker: what was revoked elsewhere, and proof that nothing was missed.

The store's log decides.  A worker trusts its cache only while it has applied the sequence that the store
announces (where it can announce one cheaply), and while its last reading of the log was asked for less than
`max_staleness` ago.  The second rule holds whatever becomes of the first.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from functools import partial

from .cache import VerifiedTokens, person_key
from .errors import StoreUnavailable
from .models import Position, Revocation
from .stores.base import SessionStore

# Unparametrised: Python 3.11 has no `array[int]` at run time.
Word = memoryview | array  # type: ignore[type-arg]
_NO_WORD = array("Q", [0])


def _boot_clock() -> Callable[[], float]:
    """Seconds that go on while the machine is suspended, where the system has such a clock."""
    clock_id = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if clock_id is None else partial(time.clock_gettime, clock_id)


class Feed:
    """Keeps `cache` true to the store.

    `trust` is ``(word, applied, until, until_wall)``: the cache may be trusted while ``word[0] == applied``,
    ``elapsed() < until`` and ``clock() < until_wall``.  The middleware looks at these itself, on each hit.
    """

    def __init__(
        self,
        store: SessionStore,
        cache: VerifiedTokens,
        *,
        max_staleness: float,
        clock: Callable[[], float],
        elapsed: Callable[[], float] | None = None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._max_staleness = max_staleness
        self._clock = clock
        self.elapsed = elapsed or _boot_clock()
        self.position: Position | None = None
        self.trust: tuple[Word, int, float, float] = (_NO_WORD, 0, 0.0, 0.0)

    def fresh(self) -> bool:
        word, applied, until, until_wall = self.trust
        return word[0] == applied and self.elapsed() < until and self._clock() < until_wall

    async def prove(self) -> bool:
        """Whether the cache may be trusted now, after reading the log if need be."""
        if self.fresh():
            return True
        try:
            await self.catch_up()
        except StoreUnavailable:
            # P4: the connection may be gone; what was proven stays proven until its time is over.
            return self.fresh()
        return self.fresh()

    async def catch_up(self) -> None:
        """Read the log and forget what it names.

        Raises:
            StoreUnavailable: it could not be read; nothing has changed.
        """
        asked, asked_wall = self.elapsed(), self._clock()
        since = self.position
        page = await self._store.log_since(since)
        if since is None or not page.complete:
            self._cache.clear()
        for entry in page.entries:
            self._apply(entry)
        self.position = page.position
        word = self._store.announced()
        applied = page.position.sequence if word is not None else 0
        until, until_wall = asked + self._max_staleness, asked_wall + self._max_staleness
        self.trust = (_NO_WORD if word is None else word, applied, until, until_wall)

    def _apply(self, entry: Revocation) -> None:
        if entry.session_id is not None:
            self._cache.forget_session(entry.session_id)
        if entry.subject is not None:
            self._cache.forget_person(person_key(entry.realm, entry.tag, entry.subject), entry.spared)
