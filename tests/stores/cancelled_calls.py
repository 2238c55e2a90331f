"""Callers that go away at some await or other: the next one on that connection must not get what they had asked for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ductape_asgi.stores.postgres import PostgresStore
from ductape_asgi.stores.redis import RedisStore
from tests.servers import ask_postgres

Outcomes = Counter[str]


async def ask_and_leave(asking: Coroutine[Any, Any, None], turns: int, outcomes: Outcomes) -> None:
    """Begin to ask, and leave after so many turns of the event loop, if there is no answer by then."""
    task = asyncio.ensure_future(asking)
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
        outcomes["answered"] += 1
    except asyncio.CancelledError:
        outcomes["cancelled"] += 1


async def storm(
    ask: Callable[[], Coroutine[Any, Any, None]], turns: Callable[[], int], *, calls: int, at_once: int = 20
) -> Outcomes:
    """`ask` so often, always `at_once` at the same time; each of them leaves after some ``turns()``."""
    outcomes: Outcomes = Counter()
    for _ in range(calls // at_once):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(at_once):
                tasks.create_task(ask_and_leave(ask(), turns(), outcomes))
    return outcomes


async def assert_redis_pools_whole(store: RedisStore, size: int) -> None:
    """No place for a connection was lost, on any node."""
    assert store._opened is not None
    for node in store._opened.topology.nodes:
        assert node._slots._value == size, "a place for a connection was lost"
        assert len(node._idle) <= size


async def assert_postgres_pool_whole(
    store: PostgresStore, size: int, open_now: Callable[[], Awaitable[int]], *, listening: int = 0
) -> None:
    """No place was lost, and no connection is open that the pool does not know."""
    assert store._opened is not None
    pool = store._opened.pool
    while pool._tasks:
        await asyncio.wait(pool._tasks)
    assert pool._permits._value == size
    assert len(pool._idle) <= size
    assert pool._lent == set()
    assert await open_now() <= size + listening


async def open_connections(server: str) -> int:
    """How many connections of ours a PostgreSQL server has."""
    counted = "SELECT pid FROM pg_stat_activity WHERE application_name = 'ductape-asgi'"
    return len(await ask_postgres(server, counted))
