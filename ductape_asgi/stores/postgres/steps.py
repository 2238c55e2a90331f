"""What the PostgreSQL store does, one function to a verb, each on a connection that is lent to it.

A step is one statement, or one transaction, or decides by what it read and then changes it only if it still is so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from ...errors import DuctapeError, InvalidData, SessionLimitReached, StoreUnavailable
from ...figures import Census, DayCensus, PeoplePage, Person
from ...models import LogPage, Position, RecordPage, Revocation, Rotation, SessionRecord
from ..base import SecretChanged
from ..rules import decide_rotation, read_cursor, read_place, write_cursor, write_place
from .driver import Connection, Row, ServerError, UniqueViolation
from .schema import to_row
from .statements import BEGIN_LOCKED, Statements, lock_of

#: How many sessions a part of a census has, if no person has more.
PART = 10_000
_TAKEN = "this session id is taken; draw another"
_FIELDS = len(SessionRecord.__dataclass_fields__)


@asynccontextmanager
async def locked(connection: Connection, lock: int) -> AsyncIterator[None]:
    """A transaction that holds an advisory lock.  Its statements see all that the holder before it has done."""
    await connection.execute(BEGIN_LOCKED + f"SELECT pg_advisory_xact_lock({lock})")
    try:
        yield
    except (ServerError, DuctapeError):
        await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")


async def claim_secret(
    connection: Connection, sql: Statements, realm: str, offers: Mapping[str, bytes]
) -> dict[str, bytes]:
    names = list(offers)
    if kept := await connection.fetch(sql.secrets, realm, names):
        return dict(map(tuple, kept))
    async with locked(connection, lock_of(sql.schema, "secrets", realm)):
        if kept := await connection.fetch(sql.secrets, realm, names):
            return dict(map(tuple, kept))
        await connection.execute(sql.keep_secrets, realm, names, list(offers.values()))
        return dict(offers)


async def create(
    connection: Connection,
    sql: Statements,
    record: SessionRecord,
    limit: int | None,
    evict: bool,
    replaces: str | None,
    secret: bytes,
    now: float,
) -> tuple[str, ...]:
    try:
        if limit is None and replaces is None:
            if await connection.execute(sql.insert, *to_row(record), secret) != "INSERT 0 1":
                raise SecretChanged
            return ()
        async with locked(connection, lock_of(sql.schema, record.realm, record.tag, record.subject)):
            if not await connection.fetchval(sql.proven, record.realm, record.refresh_key, secret):
                raise SecretChanged
            (row,) = await connection.fetch(sql.insert_limited, *to_row(record), limit, evict, replaces, now)
            if row["taken"]:
                raise StoreUnavailable(_TAKEN)
            if not row["allowed"]:
                raise SessionLimitReached(f"this person has {limit} live sessions of {record.tag!r} already")
            return tuple(row["ended"])
    except UniqueViolation:
        raise StoreUnavailable(_TAKEN) from None


async def find(connection: Connection, sql: Statements, session_id: str) -> SessionRecord | None:
    return _record(await connection.fetchrow(sql.find, session_id))


async def mark_seen(connection: Connection, sql: Statements, session_id: str, generation: int) -> SessionRecord | None:
    marked = _record(await connection.fetchrow(sql.mark_seen, session_id, generation))
    return marked or await find(connection, sql, session_id)


async def rotate(
    connection: Connection,
    sql: Statements,
    session_id: str,
    generation: int,
    grace: int,
    refresh_key: str,
    client: bytes | None,
    now: float,
) -> Rotation:
    while True:  # until what was decided is what was there; the deadline ends it in any case
        row = await connection.fetchrow(sql.rotate, session_id, generation, refresh_key, client, now)
        if row is not None:
            return Rotation("rotated", _record(row))
        record = await find(connection, sql, session_id)
        if record is None:
            return Rotation("gone")
        outcome = decide_rotation(record, generation=generation, grace=grace, now=now)
        if outcome in ("same", "expired"):
            return Rotation(outcome, record)
        # A reuse stays one whatever others do to the session meanwhile, short of ending it.
        if outcome == "reused" and (
            ended := _record(await connection.fetchrow(sql.end_reused, session_id, generation))
        ):
            return Rotation("reused", ended)


async def reseal(connection: Connection, sql: Statements, record: SessionRecord) -> None:
    await connection.execute(sql.reseal, record.session_id, record.version, record.identity, record.client, record.data)


async def revoke(connection: Connection, sql: Statements, realm: str, tag: str, session_id: str, now: float) -> bool:
    row = await connection.fetchrow(sql.revoke, session_id, realm, tag, now)
    return row is not None and bool(row["live"])


async def revoke_all(
    connection: Connection, sql: Statements, realm: str, tag: str, subject: str, spare: str | None, now: float
) -> int:
    (row,) = await connection.fetch(sql.revoke_all, realm, tag, subject, now, spare)
    if not row["allowed"]:
        raise InvalidData("the session to keep is not a live session of this person and tag; nothing was ended")
    return int(row["ended"])


async def update(
    connection: Connection,
    sql: Statements,
    realm: str,
    tag: str,
    subject: str | None,
    session_id: str | None,
    data: bytes,
    now: float,
) -> int:
    if subject is not None:
        changed = await connection.fetchval(sql.update_person, realm, tag, subject, now, data)
    else:
        changed = await connection.fetchval(sql.update_one, session_id, realm, tag, now, data)
    return int(changed)


async def list_page(
    connection: Connection,
    sql: Statements,
    realm: str,
    tag: str,
    subject: str,
    limit: int,
    cursor: str | None,
    now: float,
) -> RecordPage:
    before = 2**63 - 1 if cursor is None else read_cursor(realm, tag, subject, cursor)
    rows = await connection.fetch(sql.list_page, realm, tag, subject, now, before, limit + 1)
    found = [row for row in rows if row["number"] is not None]
    page = found[:limit]
    following = write_cursor(realm, tag, subject, page[-1]["number"]) if len(found) > limit else None
    return RecordPage(rows[0]["live"], tuple(SessionRecord(*tuple(row)[2:]) for row in page), following)


async def census(
    connection: Connection, sql: Statements, realm: str, tag: str, since: float, cursor: str | None, now: float
) -> Census:
    after = "" if cursor is None else read_place("census", realm, tag, cursor)
    rows = await connection.fetch(sql.census, realm, tag, after, now, since, PART)
    days = tuple(DayCensus(*tuple(row)[4:]) for row in rows if row["day"] is not None)
    held, live, people, edge = tuple(rows[0])[:4]
    return Census(held, live, people, days, None if edge is None else write_place("census", realm, tag, edge))


async def people(
    connection: Connection, sql: Statements, realm: str, tag: str, limit: int, cursor: str | None, now: float
) -> PeoplePage:
    after = "" if cursor is None else read_place("people", realm, tag, cursor)
    rows = await connection.fetch(sql.people, realm, tag, after, now, limit + 1)
    page = tuple(Person(*row) for row in rows[:limit])
    following = write_place("people", realm, tag, page[-1].subject) if len(rows) > limit else None
    return PeoplePage(page, following)


async def touch(connection: Connection, sql: Statements, seen: Mapping[str, float]) -> None:
    # By code point, which is the order of the collation "C" in UTF-8.
    session_ids = sorted(seen)
    await connection.execute(sql.touch, session_ids, [seen[session_id] for session_id in session_ids])


async def purge(connection: Connection, sql: Statements, before: float, limit: int) -> tuple[int, int]:
    """How many were removed, and how many others were looked at."""
    (row,) = await connection.fetch(sql.purge, before, limit)
    return row["removed"], row["later"]


async def trim(connection: Connection, sql: Statements) -> None:
    await connection.execute(sql.trim)


async def log_since(connection: Connection, sql: Statements, position: Position | None) -> LogPage:
    epoch, sequence = (None, None) if position is None else (position.epoch, position.sequence)
    rows = await connection.fetch(sql.log_since, epoch, sequence)
    if not rows:  # somebody has emptied the tables: another log begins, and everybody forgets what was cached
        await connection.execute(sql.begin_log)
        rows = await connection.fetch(sql.log_since, None, None)
    head = Position(rows[0]["epoch"], rows[0]["reached"])
    if position is None:
        return LogPage(head)
    entries = [row for row in rows if row["sequence"] is not None]
    if position.epoch != head.epoch or len(entries) != head.sequence - position.sequence:
        return LogPage(head, complete=False)
    return LogPage(head, tuple(Revocation(*tuple(row)[3:]) for row in entries))


def _record(row: Row | None) -> SessionRecord | None:
    return None if row is None else SessionRecord(*tuple(row)[:_FIELDS])
