"""What every store decides in the same way, as pure functions: no clock, no file, no lock."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from typing import Literal

from ..errors import InvalidData
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
        last_seen_at=now,
    )


def mark_needed(record: SessionRecord, generation: int) -> bool:
    """Whether an access token of `generation` is the first sign of life of the newest one."""
    return record.seen_generation < generation == record.generation


def write_cursor(realm: str, tag: str, subject: str, number: int) -> str:
    """Where the next page begins: after the session that was started as `number`."""
    place = number.to_bytes(8, "big")
    return _text(place + _seal(realm, tag, subject, place))


def read_cursor(realm: str, tag: str, subject: str, cursor: str) -> int:
    """The number that `write_cursor` was given for the same list.

    Raises:
        InvalidData: mistyped, cut, made up, or of another list.
    """
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"==")
    except (ValueError, AttributeError):
        raw = b""
    place = raw[:8]
    ours = len(raw) == 16 and raw[0] < 128 and raw[8:] == _seal(realm, tag, subject, place) and _text(raw) == cursor
    if not ours:
        raise InvalidData("cursor is not one of this list: pass the `next_cursor` of its last page, or none")
    return int.from_bytes(place, "big")


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _seal(realm: str, tag: str, subject: str, place: bytes) -> bytes:
    # No secret: a cursor opens nothing but its own list.  This catches mistakes, not attackers.
    return hashlib.sha256(b"\0".join([realm.encode(), tag.encode(), subject.encode(), place])).digest()[:8]
