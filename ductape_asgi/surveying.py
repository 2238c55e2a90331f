"""What operators see: how many sessions and people there are, who they are, and one person's sessions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import date, datetime

from .errors import InvalidToken
from .figures import (
    DAY,
    Census,
    DayStats,
    PeoplePage,
    Person,
    SessionStats,
    UserInfo,
    UserPage,
    UserSessions,
)
from .inventory import Inventory, check_limit
from .models import SessionPage, instant
from .policy import TagPolicy, check_identifier
from .realms import RealmContext
from .worker import Worker

#: How many days `SessionStats.days` has.
DAYS_SHOWN = 30
#: How many of one person's sessions are shown, and how many are asked for at once.
_SHOWN = 1000
#: How often the store is asked for one page of users, where it may answer anonymous sessions only.
_PATIENCE = 20
_EPOCH = date(1970, 1, 1).toordinal()
_MONDAY = date(1970, 1, 5).toordinal() - _EPOCH


class Survey:
    """A store's sessions and people, counted by one worker."""

    def __init__(self, worker: Worker, inventory: Inventory) -> None:
        self._worker = worker
        self._inventory = inventory

    async def stats(self, context: RealmContext, policy: TagPolicy) -> SessionStats:
        await self._worker.ready()
        now = self._worker.clock()
        today = int(now // DAY)
        held = live = people = 0
        started: defaultdict[int, int] = defaultdict(int)
        starters: defaultdict[int, int] = defaultdict(int)
        async for part in self._parts(context, policy, since=(today - DAYS_SHOWN + 1) * DAY, now=now):
            held, live, people = held + part.held, live + part.live, people + part.people
            for one in part.days:
                # A worker whose clock is ahead of ours may have started some tomorrow.
                started[min(one.day, today)] += one.sessions
                starters[min(one.day, today)] += one.people
        monday = today - (today - _MONDAY) % 7
        return SessionStats(
            tag=policy.tag,
            as_of=instant(now),
            total=held,
            active=live,
            expired=held - live,
            new_today=started[today],
            new_this_week=sum(started[day] for day in range(monday, today + 1)),
            users=people,
            mean_sessions_per_user=live / people if people else 0.0,
            days=tuple(
                DayStats(date.fromordinal(_EPOCH + day), started[day], starters[day])
                for day in range(today - DAYS_SHOWN + 1, today + 1)
            ),
        )

    async def _parts(
        self, context: RealmContext, policy: TagPolicy, *, since: float, now: float
    ) -> AsyncIterator[Census]:
        store, cursor = self._worker.guarded, None
        while True:
            part = await store.census(context.audience, policy.tag, since=since, cursor=cursor, now=now)
            yield part
            cursor = part.next_cursor
            if cursor is None:
                return

    async def users(self, context: RealmContext, policy: TagPolicy, limit: int, cursor: str | None) -> UserPage:
        check_limit(limit)
        await self._worker.ready()
        found: list[UserInfo] = []
        for _ in range(_PATIENCE if policy.anonymous else 1):
            page = await self._people(context, policy, limit - len(found), cursor)
            found += [info for person in page.people if (info := _info(context, policy.tag, person)) is not None]
            cursor = page.next_cursor
            if cursor is None or len(found) == limit:
                break
        return UserPage(tuple(found), cursor)

    async def _people(self, context: RealmContext, policy: TagPolicy, limit: int, cursor: str | None) -> PeoplePage:
        now = self._worker.clock()
        return await self._worker.guarded.people(context.audience, policy.tag, limit=limit, cursor=cursor, now=now)

    async def user(self, context: RealmContext, policy: TagPolicy, identifier: object) -> UserSessions:
        who = check_identifier(identifier)
        page = await self._inventory.list(context, policy, who, _SHOWN, None)
        shown, ends = page.sessions, _ends(page)
        while page.next_cursor is not None:
            page = await self._inventory.list(context, policy, who, _SHOWN, page.next_cursor)
            ends += _ends(page)
        first = min((start for start, _ in ends), default=None)
        last = max((use for _, use in ends), default=None)
        return UserSessions(who, max(page.count, len(shown)), first, last, shown)


def _ends(page: SessionPage) -> list[tuple[datetime, datetime]]:
    """The first start and the last use on a page, if there is anything on it."""
    starts = [info.created_at for info in page.sessions]
    return [(min(starts), max(info.last_seen_at for info in page.sessions))] if starts else []


def _info(context: RealmContext, tag: str, person: Person) -> UserInfo | None:
    """None for an anonymous session, which is nobody's."""
    try:
        identifier = context.identifier_in(tag, person.session_id, person.identity)
    except InvalidToken:
        identifier = None
    else:
        if identifier is None:
            return None
    return UserInfo(identifier, person.live, instant(person.first_created_at), instant(person.last_seen_at))
