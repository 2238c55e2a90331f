# ruff: noqa: S608 - the texts put together here are constants of this package; every value is bound
"""What the SQLite store counts for operators, in parts: each is read at once, on the thread that reads long lists."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ...figures import DAY, Census, DayCensus, PeoplePage, Person
from ..rules import read_place, write_place
from .schema import LIVE

#: How many sessions a part has, if no person has more: a tenth of a second, in which nobody gets a list.
PART: Final = 10_000

# All of these go along the index of each person's sessions, which has a realm's and tag's by subject.
_AFTER: Final = "realm = ? AND tag = ? AND subject > ?"
_EDGE: Final = f"SELECT subject FROM sessions WHERE {_AFTER} ORDER BY subject LIMIT 1 OFFSET ?"
_TOTALS: Final = (
    f"SELECT count(*), coalesce(sum(live), 0), count(DISTINCT CASE WHEN live THEN subject END)"
    f" FROM (SELECT subject, {LIVE} AS live FROM sessions WHERE {_AFTER}"
)
_DAYS: Final = (
    f"SELECT CAST(created_at AS INTEGER) / {DAY} AS day, count(*), count(DISTINCT subject) FROM sessions WHERE {_AFTER}"
)
_PEOPLE: Final = (
    "SELECT person.*, newest.session_id, newest.identity FROM (SELECT subject, count(*), min(created_at),"
    f" max(last_seen_at), max(number) AS newest FROM sessions WHERE {_AFTER} AND {LIVE}"
    " GROUP BY subject ORDER BY subject LIMIT ?) AS person"
    " JOIN sessions AS newest ON newest.number = person.newest ORDER BY person.subject"
)


def census(
    connection: sqlite3.Connection, whose: tuple[str, str], since: float, cursor: str | None, now: float
) -> Census:
    after = "" if cursor is None else read_place("census", *whose, cursor)
    with _one_view(connection):
        edge = connection.execute(_EDGE, (*whose, after, PART)).fetchone()
        until, bound = ("", ()) if edge is None else (" AND subject <= ?", edge)
        held, live, people = connection.execute(f"{_TOTALS}{until})", (now, now, *whose, after, *bound)).fetchone()
        days = connection.execute(
            f"{_DAYS}{until} AND created_at >= ? GROUP BY day ORDER BY day", (*whose, after, *bound, since)
        ).fetchall()
    following = None if edge is None else write_place("census", *whose, edge[0])
    return Census(held, live, people, tuple(DayCensus(*day) for day in days), following)


def people(
    connection: sqlite3.Connection, whose: tuple[str, str], limit: int, cursor: str | None, now: float
) -> PeoplePage:
    after = "" if cursor is None else read_place("people", *whose, cursor)
    rows = connection.execute(_PEOPLE, (*whose, after, now, now, limit + 1)).fetchall()
    page = tuple(
        Person(subject, live, first, last, session_id, identity)
        for subject, live, first, last, _, session_id, identity in rows[:limit]
    )
    following = write_place("people", *whose, page[-1].subject) if len(rows) > limit else None
    return PeoplePage(page, following)


@contextmanager
def _one_view(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is read inside is of one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
