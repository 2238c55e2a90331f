# ruff: noqa: S608 - the texts put together here are constants of this package; every value is bound
"""What the SQLite store does, one function to a verb, each inside a transaction that somebody else holds.

A step either writes nothing and raises one of our errors, or does all it has to: errors of ours come before
the first write, so that other steps may share the transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Mapping
from typing import Any

from ...errors import InvalidData, SessionLimitReached, StoreUnavailable
from ...models import LogPage, Position, RecordPage, Revocation, Rotation, SessionRecord
from ..base import SecretChanged
from ..rules import decide_rotation, read_cursor, rotated, write_cursor
from .schema import BEGIN_LOG, COLUMNS, IDLE_END, LIVE, to_record, to_row

#: Entries of the log that are kept at least.  Who is further behind forgets all it has cached.
LOG_KEPT = 10_000
_TRIM_EVERY = 100
#: No log of ours gets so far.
_MOST_LOGGED = 2**62

FIND = f"SELECT {COLUMNS} FROM sessions WHERE session_id = ?"
_INSERT = f"INSERT INTO sessions ({COLUMNS}) VALUES ({', '.join('?' * (COLUMNS.count(',') + 1))})"
_KEPT = "SELECT secret FROM secrets WHERE realm = ? AND name = ?"
_PERSON = "realm = ? AND tag = ? AND subject = ?"


class LogDamaged(StoreUnavailable):
    def __init__(self) -> None:
        super().__init__("somebody else has written to the session store's log, and another one begins; try again")


class Transaction:
    """A write transaction under way, and the log that grows in it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self.executemany = connection.executemany
        self.head: int | None = None
        self.first: int | None = None

    def append(self, revocation: Revocation) -> None:
        if self.head is None:
            self.head = self.first = head_of(self.execute)
        self.head += 1
        entry = revocation
        self.execute(
            "INSERT INTO revocations VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self.head, entry.realm, entry.tag, entry.session_id, entry.subject, entry.spared, entry.ended),
        )

    def finish(self) -> None:
        """Note the log's new head, and now and then trim its tail, in small steps."""
        if self.head is None or self.first is None or self.head == self.first:
            return
        self.execute("UPDATE log_head SET sequence = ?", (self.head,))
        if self.head // _TRIM_EVERY != self.first // _TRIM_EVERY:
            self.execute("DELETE FROM revocations WHERE sequence <= ?", (self.head - LOG_KEPT,))


def head_of(execute: Any) -> int:
    """Where the log stands.  Where somebody has emptied it, or written to it, another one begins."""
    head = _standing(execute)
    if head is None:
        execute("DELETE FROM log_head")
        execute("DELETE FROM revocations")
        execute(BEGIN_LOG)
        head = _standing(execute)
    return 0 if head is None else head[1]


def _standing(execute: Any) -> tuple[str, int] | None:
    """Epoch and sequence of the log; None where they are none."""
    epoch, sequence = execute("SELECT epoch, sequence FROM log_head").fetchone() or (None, None)
    if not isinstance(epoch, str) or not isinstance(sequence, int) or not 0 <= sequence < _MOST_LOGGED:
        return None
    return epoch, sequence


def set_doorbell(tx: Transaction) -> None:
    """Write nothing, and announce the log's head as it is."""
    if tx.head is None:
        tx.head = tx.first = head_of(tx.execute)


def find(execute: Any, session_id: str) -> SessionRecord | None:
    row = execute(FIND, (session_id,)).fetchone()
    return None if row is None else to_record(row)


def kept_secrets(execute: Any, realm: str, names: Container[str]) -> dict[str, bytes]:
    rows = execute("SELECT name, secret FROM secrets WHERE realm = ?", (realm,)).fetchall()
    return {name: secret for name, secret in rows if name in names}


def claim_secret(tx: Transaction, realm: str, offers: Mapping[str, bytes]) -> dict[str, bytes]:
    kept = kept_secrets(tx.execute, realm, offers)
    if kept:
        return kept
    tx.executemany("INSERT INTO secrets VALUES (?, ?, ?)", [(realm, name, offer) for name, offer in offers.items()])
    return dict(offers)


def create(
    tx: Transaction,
    record: SessionRecord,
    limit: int | None,
    evict: bool,
    replaces: str | None,
    secret: bytes,
    now: float,
) -> tuple[str, ...]:
    if tx.execute(_KEPT, (record.realm, record.refresh_key)).fetchone() != (secret,):
        raise SecretChanged
    replaced = None if replaces is None else _look_at(tx, record.realm, replaces, now)
    excess = [] if limit is None else _excess(tx, record, limit, replaces, now)
    if excess and not evict:
        raise SessionLimitReached(f"this person has {limit} live sessions of {record.tag!r} already")
    try:
        tx.execute(_INSERT, to_row(record))
    except sqlite3.IntegrityError:
        raise StoreUnavailable("this session id is taken; draw another") from None
    ended: list[str] = []
    if replaces is not None and replaced is not None:
        tag, live = replaced
        _end(tx, record.realm, tag, replaces)
        ended += [replaces] if live else []
    for session_id in excess:
        _end(tx, record.realm, record.tag, session_id)
    return (*ended, *excess)


def _look_at(tx: Transaction, realm: str, session_id: str, now: float) -> tuple[str, bool] | None:
    """The tag of a session of this realm, and whether it is live: what ending it takes, even if its row is damaged."""
    found = f"SELECT tag, {LIVE} FROM sessions WHERE session_id = ? AND realm = ?"
    row = tx.execute(found, (now, now, session_id, realm)).fetchone()
    return None if row is None else (row[0], bool(row[1]))


def _excess(tx: Transaction, record: SessionRecord, limit: int, replaces: str | None, now: float) -> list[str]:
    """The person's earliest sessions that have to go, so that one more is within the limit."""
    live = tx.execute(
        f"SELECT session_id FROM sessions WHERE {_PERSON} AND {LIVE} AND session_id IS NOT ? ORDER BY number",
        (record.realm, record.tag, record.subject, now, now, replaces),
    ).fetchall()
    return [session_id for (session_id,) in live[: max(0, len(live) + 1 - limit)]]


def _end(tx: Transaction, realm: str, tag: str, session_id: str) -> None:
    tx.execute("DELETE FROM sessions WHERE session_id = ?", (session_id,))
    tx.append(Revocation(realm, tag, session_id=session_id))


def mark_seen(tx: Transaction, session_id: str, generation: int) -> SessionRecord | None:
    tx.execute(
        "UPDATE sessions SET seen_generation = ? WHERE session_id = ? AND generation = ? AND seen_generation < ?",
        (generation, session_id, generation, generation),
    )
    return find(tx.execute, session_id)


def rotate(
    tx: Transaction, session_id: str, generation: int, grace: int, refresh_key: str, client: bytes | None, now: float
) -> Rotation:
    record = find(tx.execute, session_id)
    if record is None:
        return Rotation("gone")
    outcome = decide_rotation(record, generation=generation, grace=grace, now=now)
    if outcome == "rotated":
        record = rotated(record, generation=generation, refresh_key=refresh_key, client=client, now=now)
        tx.execute(
            "UPDATE sessions SET generation = ?, refresh_key = ?, client = ?, rotated_at = ?, last_seen_at = ?"
            " WHERE session_id = ?",
            (record.generation, refresh_key, record.client, now, record.last_seen_at, session_id),
        )
    elif outcome == "reused":
        _end(tx, record.realm, record.tag, session_id)
    return Rotation(outcome, record)


def reseal(tx: Transaction, record: SessionRecord) -> None:
    tx.execute(
        "UPDATE sessions SET identity = ?, client = ?, data = ? WHERE session_id = ? AND version = ?",
        (record.identity, record.client, record.data, record.session_id, record.version),
    )


def revoke(tx: Transaction, realm: str, tag: str, session_id: str, now: float) -> bool:
    found = _look_at(tx, realm, session_id, now)
    if found is None or found[0] != tag:
        return False
    _end(tx, realm, tag, session_id)
    return found[1]


def revoke_all(tx: Transaction, realm: str, tag: str, subject: str, spare: str | None, now: float) -> int:
    rows = tx.execute(
        f"SELECT session_id, {LIVE} FROM sessions WHERE {_PERSON}", (now, now, realm, tag, subject)
    ).fetchall()
    if spare is not None and (spare, True) not in rows:
        raise InvalidData("the session to keep is not a live session of this person and tag; nothing was ended")
    ended = [bool(live) for session_id, live in rows if session_id != spare]
    if ended:
        tx.execute(f"DELETE FROM sessions WHERE {_PERSON} AND session_id IS NOT ?", (realm, tag, subject, spare))
        tx.append(Revocation(realm, tag, subject=subject, spared=spare))
    return sum(ended)


def update(
    tx: Transaction, realm: str, tag: str, subject: str | None, session_id: str | None, data: bytes, now: float
) -> int:
    whose = "subject" if subject is not None else "session_id"
    changed = tx.execute(
        f"UPDATE sessions SET data = ?, version = version + 1 WHERE realm = ? AND tag = ? AND {whose} = ? AND {LIVE}",
        (data, realm, tag, subject if subject is not None else session_id, now, now),
    ).rowcount
    if changed:
        tx.append(Revocation(realm, tag, session_id=session_id, subject=subject, ended=False))
    return changed


def touch(tx: Transaction, seen: Mapping[str, float]) -> None:
    tx.executemany(
        "UPDATE sessions SET last_seen_at = ? WHERE session_id = ? AND last_seen_at < ?",
        [(at, session_id, at) for session_id, at in seen.items()],
    )


def purge(tx: Transaction, before: float, limit: int) -> int:
    removed = 0
    for over in ("ends_at <= ?", f"idle_ttl IS NOT NULL AND {IDLE_END} <= ?"):
        removed += tx.execute(
            f"DELETE FROM sessions WHERE number IN (SELECT number FROM sessions WHERE {over} LIMIT ?)",
            (before, limit - removed),
        ).rowcount
    return removed


def list_page(
    connection: sqlite3.Connection, realm: str, tag: str, subject: str, limit: int, cursor: str | None, now: float
) -> RecordPage:
    before = 2**63 - 1 if cursor is None else read_cursor(realm, tag, subject, cursor)
    whose = (realm, tag, subject, now, now)
    connection.execute("BEGIN")  # one snapshot for both answers
    try:
        (count,) = connection.execute(f"SELECT count(*) FROM sessions WHERE {_PERSON} AND {LIVE}", whose).fetchone()
        rows = connection.execute(
            f"SELECT number, {COLUMNS} FROM sessions WHERE {_PERSON} AND {LIVE} AND number < ?"
            " ORDER BY number DESC LIMIT ?",
            (*whose, before, limit + 1),
        ).fetchall()
    finally:
        connection.execute("ROLLBACK")
    page = rows[:limit]
    following = write_cursor(realm, tag, subject, page[-1][0]) if len(rows) > limit else None
    return RecordPage(count, tuple(to_record(row[1:]) for row in page), following)


def log_since(execute: Any, position: Position | None, file: str) -> LogPage:
    """The log after `position`.  `file` tells this file from a copy of it that was put in its place.

    Raises:
        LogDamaged: it does not say where it stands.
    """
    standing = _standing(execute)
    if standing is None:
        raise LogDamaged
    epoch, sequence = standing
    head = Position(f"{epoch}.{file}", sequence)
    if position is None or position == head:
        return LogPage(head)
    if position.epoch != head.epoch or position.sequence > sequence:
        return LogPage(head, complete=False)
    rows = execute(
        "SELECT realm, tag, session_id, subject, spared, ended FROM revocations"
        " WHERE sequence > ? AND sequence <= ? ORDER BY sequence",
        (position.sequence, sequence),
    ).fetchall()
    if len(rows) != sequence - position.sequence:
        return LogPage(head, complete=False)
    return LogPage(head, tuple(_entry(*row) for row in rows))


def _entry(
    realm: str, tag: str, session_id: str | None, subject: str | None, spared: str | None, ended: int
) -> Revocation:
    return Revocation(realm, tag, session_id, subject, spared, bool(ended))
