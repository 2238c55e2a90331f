"""10^5 requests that are cancelled at random awaits, on the stores with connections.

Each that is answered was answered with its own session, and afterwards no connection is missing from a pool, and none
is out of step.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ductape_asgi import IssuedSession, Sessions, TagPolicy, new_access_key
from ductape_asgi.stores.postgres import PostgresStore
from ductape_asgi.stores.redis import RedisStore
from tests.redis_servers import fresh
from tests.stores.cancelled_calls import (
    assert_postgres_pool_whole,
    assert_redis_pools_whole,
    open_connections,
    storm,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("patient"),
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
]

CALLS = 100_000
#: A cluster differs in the pipelines and pools of several nodes only.
ON_A_CLUSTER = 10_000
TAG, LIMITED = "user-session", "limited-session"
PEOPLE = 40
SIZE = 6


@asynccontextmanager
async def opened(store: Any) -> AsyncIterator[Sessions]:
    tags = [TagPolicy(TAG, reuse_grace=3600), TagPolicy(LIMITED, max_sessions=1)]
    options: dict[str, Any] = {"product": "shop", "env": "prd", "tags": tags, "algorithm": "HS256"}
    async with Sessions(access_key=new_access_key(), store=store, **options) as sessions:
        yield sessions


async def all_calls(sessions: Sessions, calls: int = CALLS) -> None:
    """All the calls, a good part of which must have been left, and a good part answered."""
    people = [await sessions.start(tag=TAG, data={"userId": f"person-{number}"}) for number in range(PEOPLE)]
    tokens = {issued.session_id: issued.refresh_token or "" for issued in people}
    for issued in people:  # from now on the parent may be presented again: each retry gets the same child
        await sessions.refresh(tag=TAG, refresh_token=tokens[issued.session_id])
    chance = random.Random(3)

    async def ask(issued: IssuedSession, kind: int) -> None:
        if kind < 2:
            session = await sessions.verify(tag=TAG, token=issued.token, fresh=True)
            assert (session.session_id, session.identifier) == (issued.session_id, issued.identifier)
        elif kind == 2:
            child = await sessions.refresh(tag=TAG, refresh_token=tokens[issued.session_id])
            assert (child.session_id, child.identifier) == (issued.session_id, issued.identifier)
        elif kind == 3:
            page = await sessions.list(tag=TAG, identifier=issued.identifier or "")
            assert [info.session_id for info in page] == [issued.session_id]
        else:
            made = await sessions.start(tag=LIMITED, data={"userId": issued.identifier})
            assert made.identifier == issued.identifier

    began = time.monotonic()
    outcomes = await storm(
        lambda: ask(chance.choice(people), chance.randrange(5)),
        lambda: min(500, int(chance.paretovariate(0.5))),
        calls=calls,
    )
    print(f"{calls} calls in {time.monotonic() - began:.0f} s: {dict(outcomes)}")
    assert outcomes.total() == calls
    assert min(outcomes["answered"], outcomes["cancelled"]) > calls // 10

    again = await asyncio.gather(*(sessions.verify(tag=TAG, token=one.token, fresh=True) for one in people))
    assert [session.session_id for session in again] == [issued.session_id for issued in people]
    for issued in people:
        assert (await sessions.list(tag=LIMITED, identifier=issued.identifier or "")).count <= 1


@pytest.mark.parametrize(("form", "calls"), [("redis_url", CALLS), ("redis_cluster_url", ON_A_CLUSTER)])
async def test_of_calls_cancelled_anywhere_none_gets_anothers_answer_on_redis(
    request: pytest.FixtureRequest, form: str, calls: int
) -> None:
    url = fresh(request.getfixturevalue(form))
    store = RedisStore(f"{url}&max_connections={SIZE}")
    async with opened(store) as sessions:
        await all_calls(sessions, calls)
        await asyncio.wait_for(_settled(store), 30)
        await assert_redis_pools_whole(store, SIZE)


async def _settled(store: RedisStore) -> None:
    """Until the background reader, too, has given back what it had."""
    assert store._opened is not None
    while any(node._slots._value < SIZE for node in store._opened.topology.nodes):
        await asyncio.sleep(0.01)


async def test_of_calls_cancelled_anywhere_none_gets_anothers_answer_on_postgres(
    postgres_url: str, postgres_server: str
) -> None:
    store = PostgresStore(postgres_url, pool_size=SIZE)
    async with opened(store) as sessions:
        await all_calls(sessions)
        assert store._opened is not None
        while store._opened.pool._lent:  # the background reader's
            await asyncio.sleep(0.01)
        await assert_postgres_pool_whole(store, SIZE, lambda: open_connections(postgres_server), listening=1)
