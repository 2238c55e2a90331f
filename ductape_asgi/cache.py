"""The verified tokens of one worker: bounded, and evicted by session and by person the moment one ends.

A ring with a reference bit (CLOCK): bounded strictly, one attribute store on a hit, and it hits as often as LRU.
Entries are found by the whole header.  Hashing a slice of it would be a little less work, but of 10^5 keys apart from
their headers each look-up would wait for main memory once more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from math import ceil
from typing import Any, Final, Self

from .models import Session

MIDDLE: Final = 22
_ENTRY_OVERHEAD: Final = 1500
_FOREVER: Final = float("inf")


class _HotPart:
    """What a hit looks at.  Slots lie in memory class by class, so these share a cache line or two."""

    __slots__ = ("bearer", "check_at", "owner", "session", "used")


class Entry(_HotPart):
    """One verified token.

    Usable without a second look while ``usable_from <= now < check_at`` and the feed is fresh.  `check_at` is the
    earliest of `ends_at` (of token or session), `idle_ends_at` and `touch_at` (the next note of use).
    """

    __slots__ = (
        # As large as a `SignedIn`, beside which it is made: then both lie in one page, and a hit waits for one only.
        "_padding",
        "cookie",
        "ends_at",
        "idle_ends_at",
        "idle_ttl",
        "person",
        "size",
        "slot",
        "touch_at",
        "usable_from",
    )

    def __init__(
        self,
        *,
        bearer: bytes,
        session: Session[Any],
        person: str,
        usable_from: float,
        ends_at: float,
        idle_ttl: float | None,
        size: int,
    ) -> None:
        self.bearer = bearer
        self.session = session
        self.person = person
        self.usable_from = usable_from
        self.ends_at = ends_at
        self.idle_ttl = idle_ttl
        self.idle_ends_at = _FOREVER
        self.touch_at = 0
        self.check_at = 0.0
        self.size = size + _ENTRY_OVERHEAD
        self.cookie: bytes | None = None
        # The options under which this session is accepted without a second look.
        self.owner: object = None
        self.used = False
        self.slot = -1

    def seen(self, at: float, every: float) -> None:
        """Count the session as used at `at`; the next note of use is due `every` seconds later."""
        self.touch_at = ceil(at + every)
        self.idle_ends_at = _FOREVER if self.idle_ttl is None else at + self.idle_ttl + every
        self.check_at = _whole(int(min(self.ends_at, self.idle_ends_at, self.touch_at)))


@lru_cache(maxsize=1024)
def _whole(second: int) -> float:
    """As a float, which compares fastest with the clock's.  All entries of a second share one: it stays at hand."""
    return float(second)


class Reading:
    """A verification under way.  `tainted` once what it may have read was revoked or changed meanwhile.

    Without a `person`, whose session it is is not known yet: then anybody's end or change counts.
    """

    __slots__ = ("_all", "person", "session_id", "tainted")

    def __init__(self, readings: dict[Reading, None], session_id: str, person: str | None) -> None:
        self._all = readings
        self.session_id = session_id
        self.person = person
        self.tainted = False

    def __enter__(self) -> Self:
        self._all[self] = None
        return self

    def __exit__(self, *exc_info: object) -> None:
        del self._all[self]


def person_key(realm: str, tag: str, subject: str) -> str:
    """One text for a person's sessions of a tag; none of the parts holds a blank."""
    return f"{realm} {tag} {subject}"


class VerifiedTokens:
    """At most `size` entries and `max_bytes` bytes; one person holds at most a share of them.

    `forgotten` is told of each session id or person that is to be forgotten, and of the session that is spared;
    of None when it is everybody.
    """

    def __init__(
        self,
        size: int,
        max_bytes: int | None = None,
        forgotten: Callable[[str | None, str | None], None] = lambda name, spared: None,
    ) -> None:
        self.by_bearer: dict[bytes, Entry] = {}
        self.by_cookie: dict[bytes, Entry] = {}
        self.bytes = 0
        #: The latest `usable_from` of all entries: a clock that was set back behind it calls for a second look.
        self.usable_from = 0.0
        self._max_bytes = max_bytes if max_bytes is not None else size * 4096
        self._share = max(8, size // 16)
        self._ring: list[Entry | None] = [None] * size
        self._free = list(range(size - 1, -1, -1))
        self._hand = 0
        self._groups: dict[str, Entry | set[Entry]] = {}
        self._readings: dict[Reading, None] = {}
        self._lock = threading.RLock()
        self._forgotten = forgotten

    def __len__(self) -> int:
        return len(self._ring) - len(self._free)

    def find(self, bearer: bytes) -> Entry | None:
        """The entry of exactly this ``b"Bearer <token>"``."""
        entry = self.by_bearer.get(bearer)
        if entry is not None:
            entry.used = True
        return entry

    def entry_of(self, session: Session[Any]) -> Entry | None:
        """The entry that answers exactly this object, if it is kept."""
        with self._lock:
            return next((entry for entry in self._group(session.session_id) if entry.session is session), None)

    def reading(self, session_id: str, person: str | None) -> Reading:
        """Watch a session while its verification reads the store; see `add`."""
        return Reading(self._readings, session_id, person)

    def add(self, entry: Entry, reading: Reading) -> None:
        """Keep a verified token, unless its session was revoked or changed since `reading` began."""
        with self._lock:
            if reading.tainted or not self._ring or entry.size > self._max_bytes:
                return
            old = self.by_bearer.get(entry.bearer)
            if old is not None:
                self.remove(old)
            self._make_room(entry)
            entry.slot = self._free.pop()
            self._ring[entry.slot] = entry
            self.by_bearer[entry.bearer] = entry
            for name in (entry.session.session_id, entry.person):
                self._join(name, entry)
            self.bytes += entry.size
            self.usable_from = max(self.usable_from, float(entry.usable_from))

    def link_cookie(self, entry: Entry, header: bytes) -> None:
        """Find `entry` by exactly this ``Cookie`` header too; the newest of an entry replaces the one before."""
        with self._lock:
            if entry.slot < 0:
                return
            self._unlink_cookie(entry)
            other = self.by_cookie.get(middle_of(header))
            if other is not None:
                self._unlink_cookie(other)
            entry.cookie = header
            entry.size += len(header)
            self.bytes += len(header)
            self.by_cookie[middle_of(header)] = entry
            while self.bytes > self._max_bytes:
                self._evict_one()

    def forget_session(self, session_id: str) -> None:
        self._forget(session_id, spared=None)

    def forget_person(self, person: str, spared: str | None = None) -> None:
        self._forget(person, spared)

    def clear(self) -> None:
        with self._lock:
            for entry in list(self.by_bearer.values()):
                self.remove(entry)
            self.usable_from = 0.0
            for reading in list(self._readings):
                reading.tainted = True
        self._forgotten(None, None)

    def remove(self, entry: Entry) -> None:
        with self._lock:
            if entry.slot < 0:
                return
            self._unlink_cookie(entry)
            self._ring[entry.slot] = None
            self._free.append(entry.slot)
            entry.slot = -1
            del self.by_bearer[entry.bearer]
            for name in (entry.session.session_id, entry.person):
                self._leave(name, entry)
            self.bytes -= entry.size

    def _forget(self, name: str, spared: str | None) -> None:
        with self._lock:
            for reading in list(self._readings):  # few: as many as verifications wait for the store now
                concerned = reading.person is None or name in (reading.session_id, reading.person)
                if concerned and reading.session_id != spared:
                    reading.tainted = True
            for entry in self._group(name):
                if entry.session.session_id != spared:
                    self.remove(entry)
        self._forgotten(name, spared)

    # Most groups have one member.  A set for each of them would cost more than the rest of the entry.

    def _group(self, name: str) -> list[Entry]:
        group = self._groups.get(name)
        return [] if group is None else list(group) if isinstance(group, set) else [group]

    def _join(self, name: str, entry: Entry) -> None:
        group = self._groups.setdefault(name, entry)
        if isinstance(group, set):
            group.add(entry)
        elif group is not entry:
            self._groups[name] = {group, entry}

    def _leave(self, name: str, entry: Entry) -> None:
        group = self._groups.get(name)
        if isinstance(group, set) and len(group) > 1:
            group.discard(entry)
        else:
            self._groups.pop(name, None)

    def _make_room(self, entry: Entry) -> None:
        # Who mints tokens without end pushes out their own entries, not everybody's.
        own = self._groups.get(entry.person)
        if isinstance(own, set) and len(own) >= self._share:
            self.remove(next(iter(own)))
        while not self._free or self.bytes + entry.size > self._max_bytes:
            self._evict_one()

    def _evict_one(self) -> None:
        while True:
            candidate = self._ring[self._hand]
            self._hand = (self._hand + 1) % len(self._ring)
            if candidate is None:
                continue
            if not candidate.used:
                self.remove(candidate)
                return
            candidate.used = False

    def _unlink_cookie(self, entry: Entry) -> None:
        if entry.cookie is not None:
            del self.by_cookie[middle_of(entry.cookie)]
            self.bytes -= len(entry.cookie)
            entry.size -= len(entry.cookie)
            entry.cookie = None


def middle_of(header: bytes) -> bytes:
    """What a ``Cookie`` header is found by: its middle lies in the sealed part of the token, most of what it holds."""
    middle = len(header) >> 1
    return header[middle : middle + MIDDLE]
