"""What every store decides in the same way, as pure functions: no clock, no file, no lock."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from ..errors import InvalidData
from ..figures import DAY, Census, DayCensus
from ..models import SessionRecord


def decide_rotation(
    record: SessionRecord, *, generation: int, grace: int, now: float
) -> Literal["rotated", "same", "reused", "expired"]:
    """What the refresh token of `generation` may have, as `SessionStore.rotate` promises it."""
    if not record.live(now):
        return "expired"
    if generation >= record.generation:
        return "rotated"
    if generation == record.generation - 1:
        unseen = record.seen_generation < record.generation
        return "same" if unseen or now < record.rotated_at + grace else "reused"
    return "reused"


def rotated(
    record: SessionRecord, *, generation: int, refresh_key: str, client: bytes | None, now: float
) -> SessionRecord:
    """The record after the refresh token of `generation` was exchanged."""
    return replace(
        record,
        generation=generation + 1,
        refresh_key=refresh_key,
        client=record.client if client is None else client,
        rotated_at=now,
        last_seen_at=max(record.last_seen_at, now),
    )


def mark_needed(record: SessionRecord, generation: int) -> bool:
    """Whether an access token of `generation` is the first sign of life of the newest one."""
    return record.seen_generation < generation == record.generation


def counted(sessions: Iterable[tuple[str, float, bool]], since: float) -> Census:
    """The census of sessions, each given as its subject, when it was created, and whether it is live."""
    held, live, people = 0, 0, set[str]()
    per_day, starters = Counter[int](), set[tuple[int, str]]()
    for subject, created_at, is_live in sessions:
        held += 1
        if is_live:
            live += 1
            people.add(subject)
        if created_at >= since:
            day = int(created_at // DAY)
            per_day[day] += 1
            starters.add((day, subject))
    by_day = Counter(day for day, _ in starters)
    days = tuple(DayCensus(day, per_day[day], by_day[day]) for day in sorted(per_day))
    return Census(held, live, len(people), days)


def write_cursor(realm: str, tag: str, subject: str, number: int) -> str:
    """Where the next page begins: after the session that was started as `number`."""
    place = number.to_bytes(8, "big")
    return _text(place + _seal(realm, tag, subject, place))


def read_cursor(realm: str, tag: str, subject: str, cursor: str) -> int:
    """The number that `write_cursor` was given for the same list.

    Raises:
        InvalidData: mistyped, cut, made up, or of another list.
    """
    place = _opened(realm, tag, subject, cursor)
    if len(place) != 8 or place[0] >= 128:
        raise InvalidData(_NOT_OURS)
    return int.from_bytes(place, "big")


def write_place(kind: str, realm: str, tag: str, place: str) -> str:
    """A cursor of another kind of list, which goes on after `place`."""
    raw = place.encode()
    return _text(raw + _seal(realm, tag, kind, raw))


def read_place(kind: str, realm: str, tag: str, cursor: str) -> str:
    """The place that `write_place` was given for the same list.

    Raises:
        InvalidData: mistyped, cut, made up, or of another list.
    """
    try:
        place = _opened(realm, tag, kind, cursor).decode()
    except UnicodeDecodeError:
        raise InvalidData(_NOT_OURS) from None
    if "\0" in place:  # which not every store can compare with
        raise InvalidData(_NOT_OURS)
    return place


_NOT_OURS = "cursor is not one of this list: pass the `next_cursor` of its last page, or none"


def _opened(realm: str, tag: str, whose: str, cursor: str) -> bytes:
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"==")
    except (ValueError, AttributeError):
        raw = b""
    place, seal = raw[:-8], raw[-8:]
    if len(raw) < 8 or seal != _seal(realm, tag, whose, place) or _text(raw) != cursor:
        raise InvalidData(_NOT_OURS)
    return place


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _seal(realm: str, tag: str, subject: str, place: bytes) -> bytes:
    # No secret: a cursor opens nothing but its own list.  This catches mistakes, not attackers.
    return hashlib.sha256(b"\0".join([realm.encode(), tag.encode(), subject.encode(), place])).digest()[:8]
