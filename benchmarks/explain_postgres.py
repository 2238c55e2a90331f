"""``python -m benchmarks.explain_postgres [--rows 1000000] [--url URL]``: the plan of each verb at a given size.

Fills the tables of a PostgreSQL store, in a schema of its own that is dropped afterwards, and shows how the server
goes about each statement, planned for its values and planned once for all.  The exit code is 1 if any of them reads
the table of sessions, or the log, from end to end.  Without a URL it starts the server that the tests use.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import asyncpg

from ductape_asgi.stores.postgres import PostgresStore
from ductape_asgi.stores.postgres.statements import LOG_KEPT, Statements, statements_for
from tests.servers import PostgresServer

_NOW = 1_800_000_000
_MODES = ("force_custom_plan", "force_generic_plan")
_TIMES = 5
#: A person who has a thousand sessions; all others have five.
_HEAVY = 1_000

_FILL = """
INSERT INTO {place}.ductape_sessions (session_id, realm, tag, subject, identity, client, data, refresh_key, created_at,
    last_seen_at, auth_time, ends_at, expires_in, idle_ttl, version, generation, seen_generation, rotated_at, purge_at)
SELECT left(md5('s' || i), 22), 'shop:prd', 'user-session',
    CASE WHEN i <= {heavy} THEN 'heavy' ELSE left(md5('p' || i / 5), 22) END,
    decode(repeat(md5('i' || i), 3), 'hex'), decode(repeat(md5('c' || i), 5), 'hex'),
    decode(repeat(md5('d' || i), 12), 'hex'), 'key-1', {now}, {now}, {now},
    {now} + 1 + i % 2592000, 900, CASE WHEN i % 2 = 0 THEN 604800 END, 1, 1, i % 2, {now}, {now} + 1 + i % 2592000
FROM generate_series(1, {rows}) AS i
"""
_FILL_LOG = """
INSERT INTO {place}.ductape_log (sequence, realm, tag, session_id, ended)
SELECT sequence - {kept} + i, 'shop:prd', 'user-session', md5('l' || i), true
FROM {place}.ductape_log_head, generate_series(1, {kept}) AS i
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--url", help="of a PostgreSQL server where schemas may be made")
    arguments = parser.parse_args()
    if arguments.url:
        return asyncio.run(explain(arguments.url, arguments.rows))
    with tempfile.TemporaryDirectory() as folder:
        settings = {"max_wal_size": "16GB", "maintenance_work_mem": "512MB", "autovacuum": "off"}
        server = PostgresServer(Path(folder), **settings)
        server.make()
        server.start()
        try:
            return asyncio.run(explain(server.url(), arguments.rows))
        finally:
            server.stop()


async def explain(url: str, rows: int) -> int:
    schema = f"explain_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE SCHEMA {schema}")
        store = PostgresStore(url, schema=schema)
        await store.open()
        await store.close()
        began = time.monotonic()
        await fill(connection, schema, rows)
        size = await connection.fetchval(f"SELECT pg_total_relation_size('{schema}.ductape_sessions')")
        print(
            f"{rows:,} sessions filled in {time.monotonic() - began:.0f} s; {size / rows:.0f} bytes each with indexes"
        )
        return await show_all(connection, statements_for(schema), rows)
    finally:
        await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        await connection.close()


async def fill(connection: Any, schema: str, rows: int, *, heavy: int = _HEAVY) -> None:
    """Indexes are made afterwards, at a fraction of the cost of keeping them up to date."""
    indexes = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = $1 AND indexname IN"
        " ('ductape_sessions_of_a_person', 'ductape_sessions_by_purge')",
        schema,
    )
    unique = f"ALTER TABLE {schema}.ductape_sessions"
    await connection.execute(f"{unique} DROP CONSTRAINT ductape_sessions_session_id_key")
    for name, _ in indexes:
        await connection.execute(f"DROP INDEX {schema}.{name}")
    values = {"place": schema, "rows": rows, "now": _NOW, "heavy": heavy, "kept": LOG_KEPT}
    await connection.execute(_FILL.format(**values))
    await connection.execute(_FILL_LOG.format(**values))
    await connection.execute(f"{unique} ADD CONSTRAINT ductape_sessions_session_id_key UNIQUE (session_id)")
    for _, made_by in indexes:
        await connection.execute(made_by)
    for table in ("sessions", "log", "log_head"):
        await connection.execute(f"VACUUM ANALYZE {schema}.ductape_{table}")


async def show_all(connection: Any, sql: Statements, rows: int) -> int:
    (head, *_) = await connection.fetch(sql.log_since, None, None)
    cases = dict(_cases(rows, head["epoch"], head["reached"]))
    missing = {field.name for field in fields(Statements)} - {"schema"} - {name.split()[0] for name in cases}
    assert not missing, f"no example of {missing}"
    failures = []
    for name, values in cases.items():
        for mode in _MODES:
            plan, cost = await _plan(connection, getattr(sql, name.split()[0]), values, mode)
            long = sorted({node["Relation Name"] for node in _nodes(plan) if _reads_all(node)})
            failures += [f"{name}, {mode}: {', '.join(long)}"] if long else []
            print(f"\n{name}, {mode}: {cost:.3f} ms{'  READS ALL OF ' + ', '.join(long) if long else ''}")
            print("\n".join(_lines(plan)))
    print(f"\n{len(cases)} statements in {len(_MODES)} modes at {rows:,} sessions: {len(failures)} read a long table")
    print("\n".join(failures))
    return 1 if failures else 0


def _cases(rows: int, epoch: str, head: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Each statement with values that find something; two for what depends on the person."""
    some, other = _id("s", rows // 2), _id("s", rows // 3)
    person = ("shop:prd", "user-session", _id("p", rows // 10))
    heavy = ("shop:prd", "user-session", "heavy")
    record = ("new", *person, b"i", b"c", b"d", "key-1", 1.5, float(_NOW), 1, _NOW + 9, 900, None, 1, 0, 0, 0.0)
    now = float(_NOW)
    yield "find", (some,)
    yield "mark_seen", (_id("s", rows // 2 * 2), 1)
    yield "insert", (*record, b"secret")
    yield "proven", ("shop:prd", "key-1", b"secret")
    yield "insert_limited", (*record, 3, True, other, now)
    yield "insert_limited of a heavy person", (*record[:3], "heavy", *record[4:], 990, True, None, now)
    yield "rotate", (some, 1, "key-2", None, now)
    yield "end_reused", (some, 0)
    yield "reseal", (some, 1, b"i", b"c", b"d")
    yield "revoke", (some, "shop:prd", "user-session", now)
    yield "revoke_all", (*person, now, None)
    yield "revoke_all of a heavy person", (*heavy, now, _id("s", 1000))
    yield "update_one", (some, "shop:prd", "user-session", now, b"d")
    yield "update_person", (*person, now, b"d")
    yield "update_person heavy", (*heavy, now, b"d")
    yield "list_page", (*person, now, 2**63 - 1, 101)
    yield "list_page of a heavy person", (*heavy, now, 500, 101)
    for many in (10, 5_000):
        ids = sorted(_id("s", place * rows // many) for place in range(1, many + 1))
        yield f"touch {many}", (ids, [now + 1] * many)
    yield "purge", (now + 1 + 500 * 2_592_000 / rows if rows < 2_592_000 else now + 100, 500)
    yield "trim", ()
    yield "log_since where nothing happened", (epoch, head)
    yield "log_since 10 entries", (epoch, head - 10)
    yield "secrets", ("shop:prd", ["pseudonym"])
    yield "keep_secrets", ("shop:prd", ["pseudonym"], [b"secret"])


def _id(kind: str, number: int) -> str:
    return hashlib.md5(f"{kind}{number}".encode(), usedforsecurity=False).hexdigest()[:22]


async def _plan(connection: Any, text: str, values: tuple[Any, ...], mode: str) -> tuple[dict[str, Any], float]:
    """The plan, and the median of its times in milliseconds; nothing is changed."""
    await connection.execute(f"SET plan_cache_mode = {mode}; SET jit = off; PREPARE verb AS {text}")
    execute = "EXECUTE verb" + (f"({', '.join(map(_literal, values))})" if values else "")
    costs, plan = [], {}
    try:
        for _ in range(_TIMES):
            await connection.execute("BEGIN")
            try:
                (answer,) = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {execute}"))
            finally:
                await connection.execute("ROLLBACK")
            plan, cost = answer["Plan"], answer["Execution Time"]
            costs.append(cost)
    finally:
        await connection.execute("DEALLOCATE verb")
    return plan, statistics.median(costs)


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'::bytea"
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(_literal, value))}]"
    return "'" + str(value).replace("'", "''") + "'"


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _reads_all(node: dict[str, Any]) -> bool:
    """Or an index from end to end, which is no better."""
    long = node.get("Relation Name") in ("ductape_sessions", "ductape_log")
    by_index = "Index Cond" in node or "Index Scan" not in node["Node Type"] or node["Actual Rows"] < 2
    return long and ("Seq Scan" in node["Node Type"] or not by_index)


def _lines(plan: dict[str, Any], depth: int = 1) -> Iterator[str]:
    where = " ".join(str(plan[key]) for key in ("Relation Name", "Index Name", "CTE Name") if key in plan)
    part = f"{plan['Subplan Name']}: " if "Subplan Name" in plan else ""
    yield f"{'  ' * depth}{part}{plan['Node Type']} {where} (rows {plan['Actual Rows']:g} x {plan['Actual Loops']:g})"
    for inner in plan.get("Plans", ()):
        yield from _lines(inner, depth + 1)


if __name__ == "__main__":
    sys.exit(main())
