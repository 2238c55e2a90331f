"""Stores with as many sessions as one likes, put there by each store's own means.

Session `number` is called `session_id(number)` and belongs to `person(number)`, who has five.
"""

from __future__ import annotations

import gc
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import astuple, fields
from typing import Any

import asyncpg
import redis

from ductape_asgi.models import SessionRecord
from ductape_asgi.stores.base import route_of
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.postgres import PostgresStore
from ductape_asgi.stores.redis import RedisStore
from ductape_asgi.stores.redis.keys import SHARDS, Keys, shard_of_subject
from ductape_asgi.stores.redis.records import encode
from ductape_asgi.stores.sqlite import SQLiteStore

from .explain_postgres import fill as fill_postgres

NOW = 1_800_000_000.0
REALM, TAG, KEY = "shop:prd", "user-session", "key-1"
SECRET = b"the sealed key of the pseudonyms"
EACH = 5
_LIFE = 30 * 24 * 3600
_BATCH = 1_000


def _name(kind: str, number: int) -> str:
    return hashlib.md5(f"{kind}{number}".encode(), usedforsecurity=False).hexdigest()[:22]


def person(number: int) -> str:
    return _name("p", number // EACH)


def session_id(store: object, number: int) -> str:
    return _name("s", number) + route_of(store, REALM, person(number))


def record(session_id: str, subject: str) -> SessionRecord:
    """As large as those that `Sessions` makes for a person with a name, an address and some permissions."""
    drawn = hashlib.sha512(session_id.encode()).digest() * 4
    return SessionRecord(
        session_id=session_id,
        realm=REALM,
        tag=TAG,
        subject=subject,
        identity=drawn[:48],
        client=drawn[:80],
        data=drawn[:192],
        refresh_key=KEY,
        created_at=NOW,
        last_seen_at=NOW,
        auth_time=int(NOW),
        ends_at=int(NOW) + _LIFE,
        expires_in=900,
        idle_ttl=7 * 24 * 3600,
    )


async def fill(store: Any, sessions: int, where: str) -> None:
    """Put so many sessions into an empty store that is open.  `where`: its file, URL, or prefix and URL."""
    await store.claim_secret(REALM, {KEY: SECRET})
    if isinstance(store, MemoryStore):
        await _fill_memory(store, sessions)
    elif isinstance(store, SQLiteStore):
        _fill_sqlite(where, sessions)
    elif isinstance(store, RedisStore):
        _fill_redis(store, where, sessions)
    elif isinstance(store, PostgresStore):
        url, _, schema = where.partition("?ductape_schema=")
        connection = await asyncpg.connect(url)
        try:
            await fill_postgres(connection, schema, sessions, heavy=0)
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()


def _records(store: object, sessions: int) -> Iterator[SessionRecord]:
    return (record(session_id(store, number), person(number)) for number in range(1, sessions + 1))


async def _fill_memory(store: MemoryStore, sessions: int) -> None:
    gc.disable()
    for one in _records(store, sessions):
        await store.create(one, limit=None, evict=False, replaces=None, secret=SECRET, now=NOW)
    gc.enable()
    gc.collect()


def _fill_sqlite(path: str, sessions: int) -> None:
    names = [field.name for field in fields(SessionRecord)]
    insert = f"INSERT INTO sessions ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA cache_size = -1000000")  # ids come in no order
        with connection:
            connection.executemany(insert, map(astuple, _records(None, sessions)))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


#: ARGV: how a record begins, goes on after its id, and after its subject; life in ms; then id, subject, id, ...
_FILL = """
local base = KEYS[1]
for i = 5, #ARGV, 2 do
  local id, subject = ARGV[i], ARGV[i + 1]
  redis.call('SET', base .. 's:' .. id, ARGV[1] .. id .. ARGV[2] .. subject .. ARGV[3], 'PX', ARGV[4])
  local person = base .. 'p:shop:prd|user-session|' .. subject
  redis.call('ZADD', person, redis.call('INCR', base .. 'count'), id)
  redis.call('PEXPIRE', person, ARGV[4])
  redis.call('ZADD', base .. 'ends', 1800604860 + i, id)
end
"""


def _fill_redis(store: RedisStore, url: str, sessions: int) -> None:
    keys: Keys = store._keys
    some = record(session_id(store, 1), person(1))
    raw = encode(some)
    head = raw.index(some.session_id.encode())
    middle = head + len(some.session_id)
    subject = raw.index(some.subject.encode(), middle)
    parts = (raw[:head], raw[middle:subject], raw[subject + len(some.subject) :])
    pending: dict[int, list[str]] = {shard: [] for shard in range(SHARDS)}
    with redis.Redis.from_url(url.partition("?")[0]) as client:
        sha = client.script_load(_FILL)

        def flush(shard: int) -> None:
            words, pending[shard] = pending[shard], []
            base = keys.heads[shard].removesuffix("head")
            client.evalsha(sha, 1, base, *parts, _LIFE * 1000, *words)

        for number in range(1, sessions + 1):
            whose = person(number)
            shard = shard_of_subject(whose)
            pending[shard] += [session_id(store, number), whose]
            if len(pending[shard]) >= 2 * _BATCH:
                flush(shard)
        for shard in range(SHARDS):
            flush(shard)
