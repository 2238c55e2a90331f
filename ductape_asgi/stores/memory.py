"""A store in the memory of one process: for tests, scripts and trying things out.  Nothing outlives the process."""

from __future__ import annotations

import heapq
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from threading import RLock

from ..errors import InvalidData, SessionLimitReached, StoreUnavailable
from ..figures import Census, PeoplePage, Person
from ..models import LogPage, Position, RecordPage, Revocation, Rotation, SessionRecord
from .base import SecretChanged
from .rules import (
    counted,
    decide_rotation,
    mark_needed,
    read_cursor,
    read_place,
    rotated,
    write_cursor,
    write_place,
)

_LOG_KEPT = 10_000
_Person = tuple[str, str, str]


class MemoryStore:
    """A `SessionStore` in memory.

    Belongs to no event loop: several threads, loops and `Sessions` may share one.  What it holds survives
    `close`, so that a test client that opens and closes around each request finds its sessions again.
    """

    #: No call of this class waits for anything.
    deadline = None
    any_loop = True

    def __init__(self) -> None:
        self._lock = RLock()
        self._records: dict[str, SessionRecord] = {}
        # Each person's sessions with their start numbers, in start order.
        self._people: dict[_Person, dict[str, int]] = {}
        self._started = 0
        # (when it may be purged at the earliest, session id); corrected when it comes up.
        self._deadlines: list[tuple[float, str]] = []
        self._secrets: dict[tuple[str, str], bytes] = {}
        self._epoch = secrets.token_urlsafe(12)
        self._log: deque[Revocation] = deque(maxlen=_LOG_KEPT)
        self._head = [1]

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._records)} sessions>"

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do; what is held stays."""

    async def claim_secret(self, realm: str, offers: Mapping[str, bytes]) -> dict[str, bytes]:
        with self._lock:
            kept = {name: self._secrets[realm, name] for name in offers if (realm, name) in self._secrets}
            if kept:
                return kept
            self._secrets.update({(realm, name): secret for name, secret in offers.items()})
            return dict(offers)

    async def create(
        self, record: SessionRecord, *, limit: int | None, evict: bool, replaces: str | None, secret: bytes, now: float
    ) -> tuple[str, ...]:
        with self._lock:
            if self._secrets.get((record.realm, record.refresh_key)) != secret:
                raise SecretChanged
            if record.session_id in self._records:
                raise StoreUnavailable("this session id is taken; draw another")
            replaced = self._of_realm(replaces, record.realm)
            excess = self._excess(record, limit, replaced, now)
            if excess and not evict:
                raise SessionLimitReached(f"this person has {limit} live sessions of {record.tag!r} already")
            ending = [*([replaced] if replaced else []), *excess]
            self._end_each(ending)
            self._add(record)
            return tuple(old.session_id for old in ending if old.live(now))

    def _of_realm(self, session_id: str | None, realm: str) -> SessionRecord | None:
        record = self._records.get(session_id) if session_id is not None else None
        return record if record is not None and record.realm == realm else None

    def _excess(
        self, record: SessionRecord, limit: int | None, replaced: SessionRecord | None, now: float
    ) -> list[SessionRecord]:
        if limit is None:
            return []
        others = [one for one in self._live(record.realm, record.tag, record.subject, now) if one is not replaced]
        return others[: max(0, len(others) + 1 - limit)]

    def _add(self, record: SessionRecord) -> None:
        self._started += 1
        self._records[record.session_id] = record
        self._people.setdefault(_person(record), {})[record.session_id] = self._started
        heapq.heappush(self._deadlines, (_deadline(record), record.session_id))
        if len(self._deadlines) > 2 * len(self._records) + 64:  # most are of sessions ended since
            self._deadlines = [(_deadline(kept), kept.session_id) for kept in self._records.values()]
            heapq.heapify(self._deadlines)

    def _remove(self, record: SessionRecord) -> None:
        del self._records[record.session_id]
        sessions = self._people[_person(record)]
        del sessions[record.session_id]
        if not sessions:
            del self._people[_person(record)]

    def _end_each(self, records: Iterable[SessionRecord]) -> None:
        for record in records:
            self._remove(record)
            self._append(Revocation(record.realm, record.tag, session_id=record.session_id))

    def _append(self, revocation: Revocation) -> None:
        self._log.append(revocation)
        self._head[0] += 1

    def _live(self, realm: str, tag: str, subject: str, now: float) -> list[SessionRecord]:
        """In start order."""
        numbers = self._people.get((realm, tag, subject), {})
        return [record for record in map(self._records.__getitem__, numbers) if record.live(now)]

    async def verify(self, session_id: str, *, generation: int) -> SessionRecord | None:
        with self._lock:
            record = self._records.get(session_id)
            if record is None or not mark_needed(record, generation):
                return record
            return self._put(replace(record, seen_generation=generation))

    def _put(self, record: SessionRecord) -> SessionRecord:
        self._records[record.session_id] = record
        return record

    async def rotate(
        self,
        session_id: str,
        *,
        generation: int,
        grace: int,
        refresh_key: str,
        client: bytes | None,
        now: float,
    ) -> Rotation:
        with self._lock:
            record = self._records.get(session_id)
            if record is None:
                return Rotation("gone")
            outcome = decide_rotation(record, generation=generation, grace=grace, now=now)
            if outcome == "rotated":
                record = self._put(
                    rotated(record, generation=generation, refresh_key=refresh_key, client=client, now=now)
                )
            elif outcome == "reused":
                self._end_each([record])
            return Rotation(outcome, record)

    async def reseal(self, record: SessionRecord) -> None:
        with self._lock:
            kept = self._records.get(record.session_id)
            if kept is not None and kept.version == record.version:
                self._put(replace(kept, identity=record.identity, client=record.client, data=record.data))

    async def revoke(self, realm: str, tag: str, session_id: str, *, now: float) -> bool:
        with self._lock:
            record = self._of_realm(session_id, realm)
            if record is None or record.tag != tag:
                return False
            self._end_each([record])
            return record.live(now)

    async def revoke_all(self, realm: str, tag: str, subject: str, *, spare: str | None, now: float) -> int:
        with self._lock:
            live = {record.session_id for record in self._live(realm, tag, subject, now)}
            if spare is not None and spare not in live:
                raise InvalidData("the session to keep is not a live session of this person and tag; nothing was ended")
            ending = [one for one in self._people.get((realm, tag, subject), {}) if one != spare]
            for session_id in ending:
                self._remove(self._records[session_id])
            if ending:
                self._append(Revocation(realm, tag, subject=subject, spared=spare))
            return len(live.intersection(ending))

    async def update(
        self, realm: str, tag: str, *, subject: str | None, session_id: str | None, data: bytes, now: float
    ) -> int:
        with self._lock:
            if subject is not None:
                changing = self._live(realm, tag, subject, now)
            else:
                record = self._of_realm(session_id, realm)
                changing = [record] if record is not None and record.tag == tag and record.live(now) else []
            for record in changing:
                self._put(replace(record, data=data, version=record.version + 1))
            if changing:
                self._append(Revocation(realm, tag, session_id=session_id, subject=subject, ended=False))
            return len(changing)

    async def list(
        self, realm: str, tag: str, subject: str, *, limit: int, cursor: str | None, now: float
    ) -> RecordPage:
        before = None if cursor is None else read_cursor(realm, tag, subject, cursor)
        with self._lock:
            live = self._live(realm, tag, subject, now)
            numbers = self._people.get((realm, tag, subject), {})
            newest_first = (one for one in reversed(live) if before is None or numbers[one.session_id] < before)
            page = tuple(islice(newest_first, limit))
            more = next(newest_first, None) is not None
            following = write_cursor(realm, tag, subject, numbers[page[-1].session_id]) if more else None
            return RecordPage(len(live), page, following)

    async def census(self, realm: str, tag: str, *, since: float, cursor: str | None, now: float) -> Census:
        """All of them in one part: to put them in an order first would take longer than to count them."""
        if cursor is not None:
            read_place("census", realm, tag, cursor)
            return Census(0, 0, 0)
        with self._lock:
            held = [record for record in self._records.values() if (record.realm, record.tag) == (realm, tag)]
        return counted(((record.subject, record.created_at, record.live(now)) for record in held), since)

    async def people(self, realm: str, tag: str, *, limit: int, cursor: str | None, now: float) -> PeoplePage:
        after = "" if cursor is None else read_place("people", realm, tag, cursor)
        with self._lock:
            subjects = sorted(person[2] for person in self._people if person[:2] == (realm, tag) and person[2] > after)
            living = ((subject, self._live(realm, tag, subject, now)) for subject in subjects)
            found = list(islice(((subject, live) for subject, live in living if live), limit + 1))
        page = tuple(_described(subject, live) for subject, live in found[:limit])
        following = write_place("people", realm, tag, page[-1].subject) if len(found) > limit else None
        return PeoplePage(page, following)

    async def touch(self, seen: Mapping[str, float]) -> None:
        with self._lock:
            for session_id, at in seen.items():
                record = self._records.get(session_id)
                if record is not None and record.last_seen_at < at:
                    self._put(replace(record, last_seen_at=at))

    async def purge(self, *, before: float, limit: int) -> int:
        with self._lock:
            removed = 0
            while removed < limit and self._deadlines and self._deadlines[0][0] <= before:
                record = self._records.get(heapq.heappop(self._deadlines)[1])
                if record is None:
                    continue
                if _deadline(record) > before:
                    heapq.heappush(self._deadlines, (_deadline(record), record.session_id))
                else:
                    self._remove(record)
                    removed += 1
            return removed

    async def log_since(self, position: Position | None) -> LogPage:
        with self._lock:
            head = Position(self._epoch, self._head[0])
            if position is None:
                return LogPage(head)
            missing = head.sequence - position.sequence
            if position.epoch != head.epoch or not 0 <= missing <= len(self._log):
                return LogPage(head, complete=False)
            return LogPage(head, tuple(self._log[place] for place in range(-missing, 0)))

    def announced(self) -> Sequence[int]:
        return self._head

    async def listen(self, wake: Callable[[], None]) -> None:
        """Returns at once: who looks at `announced` needs no waking."""


def _person(record: SessionRecord) -> _Person:
    return record.realm, record.tag, record.subject


def _described(subject: str, live: list[SessionRecord]) -> Person:
    return Person(
        subject=subject,
        live=len(live),
        first_created_at=min(record.created_at for record in live),
        last_seen_at=max(record.last_seen_at for record in live),
        session_id=live[-1].session_id,
        identity=live[-1].identity,
    )


def _deadline(record: SessionRecord) -> float:
    idle_end = record.idle_ends_at
    return record.ends_at if idle_end is None else min(record.ends_at, idle_end)
