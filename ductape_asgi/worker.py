"""The parts that one worker has once: store, cache, feed, clock, and the work that is done off the request path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

import anyio

from .audit import logger
from .cache import VerifiedTokens
from .endings import Ending
from .errors import RevokedSession, StoreUnavailable
from .following import following
from .lifetime import Lifetime, Work
from .lookout import Leases
from .models import Health, Revocation, SessionRecord
from .realms import RealmContext, Subjects
from .restoring import end_again
from .revocations import Feed, boot_clock
from .stores.base import SessionStore
from .stores.guarded import DEADLINE, HURRIED, GuardedStore

#: How often the background task looks for work that nobody woke it for, in seconds.
_HOUSEKEEPING = 15
#: Last uses handed to the store at once.  More cost as much each, and keep their rows locked for longer.
_TOUCH_STEP = 1000
#: Last uses that wait for a store that takes none.  Who is active is noted again a minute later.
_MOST_SEEN = 100_000
#: How often ended sessions are removed, in seconds, and how many at once.
_PURGE_EVERY = 60
_PURGE_STEP = 500
#: Ended sessions stay for a while, so that a late refresh is told that it is late.
_PURGE_AFTER = 3600
#: Readings of the log in each `max_staleness` where nothing wakes us: two may fail, and the cache is trusted still.
_HEARTBEATS = 3


class Worker:
    """One process's share of the work on a store.

    `store` is what was given; all calls but opening and closing go through `guarded`.
    """

    def __init__(
        self, store: SessionStore, *, cache_size: int, max_staleness: int, leeway: int, clock: Callable[[], float]
    ) -> None:
        self.store = store
        self.clock = clock
        self.leeway = leeway
        self.leases = Leases(clock, self.ready)
        self.cache = VerifiedTokens(cache_size, forgotten=self.leases.suspect)
        elapsed = boot_clock()
        self.guarded = GuardedStore(store, elapsed)
        self.feed = Feed(
            self.guarded,
            self.cache,
            max_staleness=max_staleness,
            clock=clock,
            elapsed=elapsed,
            wake=self.wake,
            ended=self.leases.end_session,
        )
        self._heartbeat = max_staleness / _HEARTBEATS
        self.lifetime = Lifetime(store, self._keep_house, _HOUSEKEEPING, self._beside)
        #: The options of each middleware, by what they are equal to.
        self.installed: dict[Any, Any] = {}
        self._seen: dict[str, float] = {}
        self._purge_at = 0.0

    def _beside(self) -> Sequence[Work]:
        """What runs while the store is open; and nobody has followed it while it was closed."""
        self.feed.distrust()
        return partial(self.leases.watch, self.feed), *following(self.guarded, self.feed, self._heartbeat)

    async def ready(self) -> object:
        """Open, unless it is.  Returns what stands for the running event loop.

        Raises:
            ConfigurationError, StoreUnavailable: the store cannot be opened.
        """
        return await self.lifetime.ensure()

    async def subjects(self, context: RealmContext) -> Subjects:
        """How persons of a realm are called in the store, from the memory of this process where that may be."""
        position = self.feed.position
        return await context.subjects(self.guarded, None if position is None else position.epoch)

    def wake(self) -> None:
        """Have work that is due done soon, off the request path."""
        self.lifetime.wake()

    def note_use(self, session_id: str, at: float) -> None:
        """Have a last use written soon, off the request path."""
        if len(self._seen) < _MOST_SEEN or session_id in self._seen:
            self._seen[session_id] = at
        self.lifetime.wake()

    def ended(self, revocation: Revocation, *, before: float = float("-inf")) -> None:
        """Forget what this worker has just ended, and keep in mind that it did; see `Feed.apply`."""
        self.feed.apply(revocation, before=before)

    async def check_not_ended(self, record: SessionRecord, noted: int) -> None:
        """Whether a session that the store shows live may be.

        Raises:
            RevokedSession: it was known to have ended when `feed.endings.count` was `noted`; the store lost that.
            StoreUnavailable: that seems so, and the log cannot tell now whether writes were lost.
        """
        ending = self.feed.endings.known(record, noted=noted, leeway=self.leeway)
        if ending is not None and await self._lost(ending):
            self.feed.endings.due = True
            self.wake()
            raise RevokedSession("the session has been ended, which the store has forgotten")

    async def _lost(self, ending: Ending) -> bool:
        """Whether the store has lost an ending of what it shows live.

        No session begins twice.  But of a person's, one may have been started since by a worker whose clock is behind.
        """
        if ending.revocation.session_id is not None:
            return True
        if not self.feed.endings.doubted:
            await self.feed.catch_up(HURRIED)
        return self.feed.endings.doubted

    async def health(self) -> Health:
        """Ask the store for its log, and tell how things stand.  Never raises `StoreUnavailable`."""
        answered = False
        with anyio.move_on_after(DEADLINE):
            try:
                await self.ready()
                await self.feed.catch_up()
                answered = True
            except StoreUnavailable:
                pass
        trusted = self.feed.fresh() or (answered and await self.feed.prove())
        return Health(
            ok=answered and trusted,
            store="ok" if answered else "unavailable",
            staleness=self.feed.staleness(),
            trusted=trusted,
            cache_entries=len(self.cache),
            circuit=self.guarded.state,
        )

    async def purge(self, *, before: float) -> int:
        """Remove sessions that ended before an instant, in small steps.  Returns how many."""
        removed = 0
        while step := await self.guarded.purge(before=before, limit=_PURGE_STEP):
            removed += step
            if step < _PURGE_STEP:
                break
        return removed

    async def _keep_house(self) -> None:
        if self.feed.endings.due:
            await self._end_again()
        await self._write_last_uses()
        now = self.feed.elapsed()
        if now >= self._purge_at:
            self._purge_at = now + _PURGE_EVERY
            await self.purge(before=self.clock() - _PURGE_AFTER)

    async def _end_again(self) -> None:
        endings = self.feed.endings
        endings.due = False
        try:
            restored = await end_again(self.guarded, endings, self.clock, self.leeway)
        except BaseException:
            endings.due = True
            raise
        # Unless the log has given another reason meanwhile.
        endings.doubted = endings.doubted and endings.due
        if restored:
            logger.warning("the store had lost the end of %d sessions; they were ended again", restored)

    async def _write_last_uses(self) -> None:
        while self._seen:
            # A copy: other loops note uses meanwhile.
            step = dict(islice(self._seen.copy().items(), _TOUCH_STEP))
            await self.guarded.touch(step)
            for session_id, at in step.items():
                # What was noted meanwhile is newer, and stays for the next step.
                if self._seen.get(session_id) == at:
                    del self._seen[session_id]
