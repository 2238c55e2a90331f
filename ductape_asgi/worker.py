"""The parts that one worker has once: store, cache, feed, clock, and the work that is done off the request path."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from .cache import VerifiedTokens
from .lifetime import Lifetime
from .revocations import Feed
from .stores.base import SessionStore

#: How often the background task looks for work that nobody woke it for, in seconds.
_HOUSEKEEPING = 15
#: Last uses handed to the store at once.
_TOUCH_STEP = 5000
#: How often ended sessions are removed, in seconds, and how many at once.
_PURGE_EVERY = 60
_PURGE_STEP = 500
#: Ended sessions stay for a while, so that a late refresh is told that it is late.
_PURGE_AFTER = 3600


class Worker:
    """One process's share of the work on a store."""

    def __init__(
        self, store: SessionStore, *, cache_size: int, max_staleness: int, leeway: int, clock: Callable[[], float]
    ) -> None:
        self.store = store
        self.clock = clock
        self.leeway = leeway
        self.cache = VerifiedTokens(cache_size)
        self.feed = Feed(store, self.cache, max_staleness=max_staleness, clock=clock)
        self.lifetime = Lifetime(store, self._keep_house, _HOUSEKEEPING)
        self._seen: dict[str, float] = {}
        self._purge_at = 0.0

    async def ready(self) -> object:
        """Open, unless it is.  Returns what stands for the running event loop.

        Raises:
            ConfigurationError, StoreUnavailable: the store cannot be opened.
        """
        return await self.lifetime.ensure()

    def note_use(self, session_id: str, at: float) -> None:
        """Have a last use written soon, off the request path."""
        self._seen[session_id] = at
        self.lifetime.wake()

    async def purge(self, *, before: float) -> int:
        """Remove sessions that ended before an instant, in small steps.  Returns how many."""
        removed = 0
        while step := await self.store.purge(before=before, limit=_PURGE_STEP):
            removed += step
            if step < _PURGE_STEP:
                break
        return removed

    async def _keep_house(self) -> None:
        await self._write_last_uses()
        now = self.feed.elapsed()
        if now >= self._purge_at:
            self._purge_at = now + _PURGE_EVERY
            await self.purge(before=self.clock() - _PURGE_AFTER)

    async def _write_last_uses(self) -> None:
        while self._seen:
            step = dict(islice(self._seen.items(), _TOUCH_STEP))
            await self.store.touch(step)
            for session_id, at in step.items():
                # What was noted meanwhile is newer, and stays for the next step.
                if self._seen.get(session_id) == at:
                    del self._seen[session_id]
