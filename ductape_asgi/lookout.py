"""The open sockets and streams of one worker, and what ends them.

An idle connection costs no task and no timer.  A revocation finds its leases by session id as it is applied.  What
may have changed a session makes its leases suspect: the store is asked, and decides.  One task in each event loop
that has leases does that, and looks at the time and at the store's word for all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import anyio
import anyio.lowlevel

from .audit import logger
from .cache import VerifiedTokens, person_key
from .errors import DuctapeError, StoreUnavailable
from .leases import DENIED, ENDED, STEP, UNKNOWN, Home, Lease, Names, running_loop
from .lifetime import LoopTask
from .models import Session, SessionRecord
from .revocations import Feed

#: How many sessions are looked at at once.
_AT_ONCE: Final = 16


class Leases:
    """All leases of a worker, by session id and by person.  `open_here` makes a loop one that has a `watch`."""

    def __init__(self, clock: Callable[[], float], open_here: Callable[[], Awaitable[object]]) -> None:
        self._clock = clock
        self._open_here = open_here
        self._names = Names()
        self._homes: dict[object, Home] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return sum(len(home.leases) for home in self._homes.values())

    def add(self, lease: Lease, cache: VerifiedTokens) -> None:
        """Watch a connection whose session was verified: from before now, or else it is looked at again."""
        home = lease.home = self._home()
        home.leases.add(lease)
        self._names.join(lease.session.session_id, lease)
        entry = cache.entry_of(lease.session)
        if entry is not None:
            lease.person = entry.person
            self._names.join(entry.person, lease)
        # Still there, now that the names lead here: nothing has happened to the session so far.
        if entry is not None and entry.slot >= 0:
            self._schedule(home, lease, min(entry.ends_at, entry.idle_ends_at))
        else:
            home.suspect(lease)
        home.notice()
        if not home.watched:
            home.watched = True
            LoopTask(partial(self._have_watched, home))

    def remove(self, lease: Lease) -> None:
        """Forget a connection that is over."""
        home = lease.home
        if home is None or lease not in home.leases:
            return
        home.leases.discard(lease)
        home.suspects.pop(lease, None)
        self._names.leave(lease.session.session_id, lease)
        if lease.person is not None:
            self._names.leave(lease.person, lease)

    def end_session(self, session_id: str) -> None:
        """A session has ended for good: so have its connections."""
        for lease in self._names.of(session_id):
            if lease.home is not None:
                lease.home.soon(partial(self._end, lease, ENDED))

    def suspect(self, name: str | None, spared: str | None) -> None:
        """Something has happened to a session or to a person's, all but the one of id `spared`; None: to anybody's."""
        if not len(self._names):
            return
        for lease in self._names.of(name) if name is not None else self._all():
            if lease.home is not None and lease.session.session_id != spared:
                lease.home.soon(partial(lease.home.suspect, lease))

    async def watch(self, feed: Feed) -> None:
        """Look after the leases of this loop, until cancelled: then nobody does, and they end."""
        home = self._home()
        home.watched = True
        try:
            while True:
                await home.wait()
                try:
                    await self._round(home, feed)
                except Exception:  # A task that dies here would leave every connection open for good.
                    logger.exception("open connections could not be looked after, which will be tried again")
        finally:
            home.watched = False
            with self._lock:
                del self._homes[home.loop]
            if running_loop() is home.loop:  # else it has gone, and everything in it
                self._end_all(home)

    async def _have_watched(self, home: Home) -> None:
        """A hit may come to a loop in which the sessions were never opened, or were closed meanwhile."""
        try:
            await self._open_here()
        except DuctapeError as error:
            logger.warning("connections cannot be looked after here, and are closed: %s", type(error).__name__)
            home.watched = False
            self._end_all(home)

    async def _round(self, home: Home, feed: Feed) -> None:
        if not home.leases:
            return
        await self._prove(feed)
        if feed.stale() and feed.elapsed() >= home.asked_until:
            home.asked_until = feed.elapsed() + feed.max_staleness
            home.suspects.update(dict.fromkeys(home.leases))
        now = self._clock()
        for lease in home.due(now):
            if lease.token_ends_at is not None and now >= lease.token_ends_at:
                self._end(lease, ENDED)
            else:
                home.suspects[lease] = None
        suspects = home.take_suspects()
        if suspects:
            await self._look_at(home, suspects, feed)
        if home.suspects and len(suspects) == STEP:
            home.notice()

    async def _prove(self, feed: Feed) -> None:
        try:
            if not feed.fresh():
                await feed.prove()
        except Exception:  # What is not proven grows stale, and that is looked at next.
            logger.exception("the store's log could not be read, and will be tried again")

    async def _look_at(self, home: Home, suspects: list[Lease], feed: Feed) -> None:
        async def work() -> None:
            while suspects:
                await self._look(home, suspects.pop(), feed)
                await anyio.lowlevel.checkpoint()  # requests wait meanwhile

        async with anyio.create_task_group() as tasks:
            for _ in range(min(_AT_ONCE, len(suspects))):
                tasks.start_soon(work)

    async def _look(self, home: Home, lease: Lease, feed: Feed) -> None:
        """Ask the store about one session."""
        try:
            session, record = await lease.recall()
            self._go_on(home, lease, session, record)
        except StoreUnavailable:
            if feed.stale():
                self._end(lease, UNKNOWN)
            elif lease in home.leases:
                home.suspects[lease] = None
        except DuctapeError:
            self._end(lease, ENDED)
        except Exception:
            logger.exception("a session could not be looked at, and its connection is closed")
            self._end(lease, UNKNOWN)

    def _go_on(self, home: Home, lease: Lease, session: Session[Any], record: SessionRecord) -> None:
        if lease not in home.leases:
            return
        if lease.person is None:
            # From now on its person's name leads here.  What happened to them before is seen by another look.
            lease.person = person_key(record.realm, record.tag, record.subject)
            self._names.join(lease.person, lease)
            home.suspect(lease)
        if not lease.renewed(session):
            self._end(lease, DENIED)
            return
        idle_end = record.idle_ends_at
        self._schedule(home, lease, record.ends_at if idle_end is None else min(record.ends_at, idle_end))

    def _schedule(self, home: Home, lease: Lease, at: float) -> None:
        home.schedule(lease, at if lease.token_ends_at is None else min(at, lease.token_ends_at))

    def _end(self, lease: Lease, code: int) -> None:
        if lease.home is not None and lease in lease.home.leases:
            self.remove(lease)
            lease.code = code
            lease.home.close(lease)

    def _end_all(self, home: Home) -> None:
        for lease in list(home.leases):
            self._end(lease, UNKNOWN)

    def _home(self) -> Home:
        loop = running_loop()
        with self._lock:
            home = self._homes.get(loop)
            if home is None:
                home = self._homes[loop] = Home(loop)
            return home

    def _all(self) -> list[Lease]:
        return [lease for home in list(self._homes.values()) for lease in list(home.leases)]
