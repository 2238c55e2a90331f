"""A session as one string: what `lua/record.lua` reads and writes as well."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from ...errors import StoreUnavailable
from ...models import TOUCH_EVERY, SessionRecord
from ..base import StepRefused

_FORMAT: Final = 1
_FLOATS: Final = ("created_at", "last_seen_at", "rotated_at")
_INTEGERS: Final = ("auth_time", "ends_at", "expires_in", "idle_ttl", "version", "generation", "seen_generation")
_TEXTS: Final = ("session_id", "realm", "tag", "subject", "refresh_key")
_SEALED: Final = ("identity", "client", "data")
# Lua has but one kind of number, a double, which holds whole ones up to 2**53.
_HEAD: Final = struct.Struct(f">B{len(_FLOATS) + len(_INTEGERS)}d{len(_TEXTS) + len(_SEALED)}I")
_NO_IDLE_TTL: Final = -1
#: Numbers, and the longest that session id, realm, tag and subject together can be.
HEAD_BYTES: Final = 512


def encode(record: SessionRecord) -> bytes:
    numbers = [getattr(record, name) for name in (*_FLOATS, *_INTEGERS)]
    numbers = [_NO_IDLE_TTL if number is None else number for number in numbers]
    parts = [getattr(record, name).encode() for name in _TEXTS] + [getattr(record, name) for name in _SEALED]
    return _HEAD.pack(_FORMAT, *numbers, *map(len, parts)) + b"".join(parts)


def decode(raw: bytes) -> SessionRecord:
    """The record that `encode` was given.

    Raises:
        StoreUnavailable: it is not one of ours, or it was damaged.
    """
    try:
        return _decode(raw)
    except (struct.error, ValueError, OverflowError) as error:
        raise _damaged() from error


@dataclass(frozen=True, slots=True)
class Glance:
    """What a census has to know of a session.  `identity` is there if the whole record was."""

    session_id: str
    realm: str
    tag: str
    subject: str
    created_at: float
    last_seen_at: float
    deadline: float
    identity: bytes = field(repr=False)


def glance(raw: bytes) -> Glance:
    """Read the beginning of what `encode` made, of `HEAD_BYTES` or more.

    Raises:
        StoreUnavailable: as `decode`.
    """
    try:
        version, created_at, last_seen_at, _, _, ends_at, _, idle_ttl, *rest = _HEAD.unpack_from(raw)
        if version != _FORMAT:
            raise ValueError("not in our format")
        parts, place = [], _HEAD.size
        for size in rest[-len(_TEXTS) - len(_SEALED) :]:
            parts.append(raw[place : place + size])
            place += size
        session_id, realm, tag, subject = (part.decode() for part in parts[:4])
    except (struct.error, ValueError) as error:
        raise _damaged() from error
    idle_end = ends_at if idle_ttl == _NO_IDLE_TTL else last_seen_at + idle_ttl + TOUCH_EVERY
    return Glance(session_id, realm, tag, subject, created_at, last_seen_at, min(ends_at, idle_end), parts[5])


def _damaged() -> StoreUnavailable:
    return StepRefused(
        "a session in Redis is damaged, or was written by something else: give sessions a prefix of their own"
    )


def _decode(raw: bytes) -> SessionRecord:
    version, *values = _HEAD.unpack_from(raw)
    sizes = values[len(_FLOATS) + len(_INTEGERS) :]
    if version != _FORMAT or len(raw) != _HEAD.size + sum(sizes):
        raise ValueError("not in our format")
    parts, place = [], _HEAD.size
    for size in sizes:
        parts.append(raw[place : place + size])
        place += size
    created_at, last_seen_at, rotated_at, *floats = values[: len(_FLOATS) + len(_INTEGERS)]
    auth_time, ends_at, expires_in, idle_ttl, number, generation, seen_generation = map(int, floats)
    session_id, realm, tag, subject, refresh_key = (part.decode() for part in parts[: len(_TEXTS)])
    identity, client, data = parts[len(_TEXTS) :]
    return SessionRecord(
        session_id=session_id,
        realm=realm,
        tag=tag,
        subject=subject,
        identity=identity,
        client=client,
        data=data,
        refresh_key=refresh_key,
        created_at=created_at,
        last_seen_at=last_seen_at,
        auth_time=auth_time,
        ends_at=ends_at,
        expires_in=expires_in,
        idle_ttl=None if idle_ttl == _NO_IDLE_TTL else idle_ttl,
        version=number,
        generation=generation,
        seen_generation=seen_generation,
        rotated_at=rotated_at,
    )
