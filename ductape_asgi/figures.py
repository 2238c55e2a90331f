"""What operators see of sessions and people, as frozen values: what a store counts, and what `Sessions` makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime

from .models import SessionInfo

#: Of a day in UTC.  Unix time knows no leap seconds, so that day `n` begins at ``n * DAY``.
DAY = 86_400

# What a store answers.


@dataclass(frozen=True, slots=True)
class DayCensus:
    """Sessions that were started on one day, and by how many different people.  `day` is days since 1970-01-01."""

    day: int
    sessions: int
    people: int


@dataclass(frozen=True, slots=True)
class Census:
    """A part of a store's sessions of one realm and tag, counted.  Each person is in one part only, so parts add up.

    `held` is live or not; `live` of these; `people` have at least one live; `days` are in order, without empty ones.
    """

    held: int
    live: int
    people: int
    days: tuple[DayCensus, ...] = ()
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with live sessions.  `session_id` and `identity` (sealed) are of one of these."""

    subject: str
    live: int
    first_created_at: float
    last_seen_at: float
    session_id: str
    identity: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PeoplePage:
    people: tuple[Person, ...]
    next_cursor: str | None = None


# What `Sessions` answers.


@dataclass(frozen=True, slots=True)
class DayStats:
    """One day in UTC.  `started` sessions that were started on it are still held, and `users` people started them."""

    day: date
    started: int
    users: int


@dataclass(frozen=True, slots=True)
class SessionStats:
    """Figures of all sessions of one tag in one realm, as the store holds them.

    What was ended (sign-out, `revoke`, `revoke_all`, a limit, a refresh token that came back) is deleted at once and
    in no figure.  What ends by its time stays until it is purged, about an hour later.

    ``total``: held: ``active + expired``.
    ``active``: live at `as_of`: neither their end nor their `idle_ttl` has passed.
    ``expired``: over by their time, and not yet purged.  Not: all that ever expired.
    ``new_today``: held, and started since 00:00 UTC of the day of `as_of`.
    ``new_this_week``: held, and started since 00:00 UTC of the Monday of that week.
    ``users``: people with at least one active session.  Where a tag allows anonymous sessions, each of these counts
    as a person of its own.
    ``mean_sessions_per_user``: ``active / users``; 0.0 without users.
    ``days``: the last 30 days in UTC, the oldest first, the day of `as_of` last.

    `as_of` is the sessions' clock when counting began.  Sessions that come and go while it lasts may be counted or not.
    """

    tag: str
    as_of: datetime
    total: int
    active: int
    expired: int
    new_today: int
    new_this_week: int
    users: int
    mean_sessions_per_user: float
    days: tuple[DayStats, ...]


@dataclass(frozen=True, slots=True)
class UserInfo:
    """Somebody with active sessions.

    `identifier` is None where the access key that sealed it was taken out.  `sessions` are active ones;
    `first_seen_at` is the start of the earliest of them, `last_seen_at` the last use of any.
    """

    identifier: str | None
    sessions: int
    first_seen_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class UserPage:
    """A page of people with active sessions.  The last page's `next_cursor` is None."""

    users: tuple[UserInfo, ...]
    next_cursor: str | None

    def __iter__(self) -> Iterator[UserInfo]:
        return iter(self.users)


@dataclass(frozen=True, slots=True)
class UserSessions:
    """One person: `count` active sessions, and the newest 1000 of them, newest first.

    `first_seen_at` is the start of the earliest, `last_seen_at` the last use of any; None without any.
    """

    identifier: str
    count: int
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    sessions: tuple[SessionInfo, ...]

    def __iter__(self) -> Iterator[SessionInfo]:
        return iter(self.sessions)
