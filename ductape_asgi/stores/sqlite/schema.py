"""The tables of the SQLite store: numbered migrations, and how a row becomes a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from types import NoneType
from typing import Any, get_type_hints

from ...audit import logger
from ...models import TOUCH_EVERY, SessionRecord
from ..base import StepRefused

#: Marks our files among all SQLite files: "duct".
APPLICATION_ID = 0x64756374

#: Epoch and sequence of a log that is no other's continuation.
BEGIN_LOG = "INSERT INTO log_head VALUES (lower(hex(randomblob(12))), 1 + (random() & 0x7fffffffffff))"

#: ``MIGRATIONS[n]`` leads from version n to n + 1.  A released one never changes.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # A person's sessions are listed, and evicted, by `number`: start order, also within one clock tick.
        """CREATE TABLE sessions (
            number INTEGER PRIMARY KEY,
            session_id TEXT NOT NULL UNIQUE,
            realm TEXT NOT NULL,
            tag TEXT NOT NULL,
            subject TEXT NOT NULL,
            identity BLOB NOT NULL,
            client BLOB NOT NULL,
            data BLOB NOT NULL,
            refresh_key TEXT NOT NULL,
            created_at REAL NOT NULL,
            last_seen_at REAL NOT NULL,
            auth_time INTEGER NOT NULL,
            ends_at INTEGER NOT NULL,
            expires_in INTEGER NOT NULL,
            idle_ttl INTEGER,
            version INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            seen_generation INTEGER NOT NULL,
            rotated_at REAL NOT NULL
        )""",
        "CREATE INDEX sessions_of_a_person ON sessions (realm, tag, subject)",
        "CREATE INDEX sessions_by_end ON sessions (ends_at)",
        "CREATE INDEX sessions_by_idle_end ON sessions (last_seen_at + idle_ttl + 60) WHERE idle_ttl IS NOT NULL",
        """CREATE TABLE revocations (
            sequence INTEGER PRIMARY KEY,
            realm TEXT NOT NULL,
            tag TEXT NOT NULL,
            session_id TEXT,
            subject TEXT,
            spared TEXT,
            ended INTEGER NOT NULL
        )""",
        # One row: where the log stands.  Drawn by chance, so that another file is never taken for this one.
        "CREATE TABLE log_head (epoch TEXT NOT NULL, sequence INTEGER NOT NULL)",
        BEGIN_LOG,
        """CREATE TABLE secrets (
            realm TEXT NOT NULL,
            name TEXT NOT NULL,
            secret BLOB NOT NULL,
            PRIMARY KEY (realm, name)
        ) WITHOUT ROWID""",
    ),
)

COLUMNS = ", ".join(field.name for field in fields(SessionRecord))
#: When an unused session ends, letter by letter as in its index.
IDLE_END = f"last_seen_at + idle_ttl + {TOUCH_EVERY}"
#: Takes `now` twice.
LIVE = f"ends_at > ? AND (idle_ttl IS NULL OR {IDLE_END} > ?)"


#: A record's values, in the order of `COLUMNS`.
to_row: Callable[[SessionRecord], tuple[Any, ...]] = attrgetter(*(field.name for field in fields(SessionRecord)))


_TYPES = get_type_hints(SessionRecord)
#: What SQLite answers for a row that is whole.  A column keeps whatever else is written to it by hand.
_SHAPES = [tuple(idle if kind == int | None else kind for kind in _TYPES.values()) for idle in (NoneType, int)]
_FIRST_NUMBER = list(_TYPES).index("created_at")
#: The end of year 9999, past which there are no dates.
_LATEST = 253_402_300_799


def to_record(row: tuple[Any, ...]) -> SessionRecord:
    """The record in a row of `COLUMNS`.

    Raises:
        StepRefused: the row is damaged; it is logged, with the columns.
    """
    if tuple(map(type, row)) in _SHAPES:
        numbers = [number for number in row[_FIRST_NUMBER:] if number is not None]
        if min(numbers) >= 0 and max(numbers) <= _LATEST:
            return SessionRecord(*row)
    damaged = ", ".join(name for name, value in zip(_TYPES, row, strict=True) if not _whole(name, value))
    logger.error("the session store holds a damaged session (%s): revoke it, or restore a backup", damaged)
    raise StepRefused(f"the session is damaged in the store ({damaged}): revoke it, or restore a backup")


def _whole(name: str, value: object) -> bool:
    if not isinstance(value, _TYPES[name]):
        return False
    return not isinstance(value, int | float) or 0 <= value <= _LATEST
