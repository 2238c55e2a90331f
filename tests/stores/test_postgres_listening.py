"""Who listens is woken when the log may have grown, whatever becomes of the connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from ductape_asgi.stores.postgres import PostgresStore, listening
from ductape_asgi.stores.postgres.statements import channel_of
from ductape_asgi.testing.contract.records import ANN, NOW, REALM, TAG, Step, log_of, start, start_limited
from tests.servers import PostgresServer, ask_postgres

pytestmark = pytest.mark.anyio

#: How long a test waits for what comes within milliseconds, on a machine that stalls.
PATIENCE = 30


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Wakes:
    """Counts wake-ups, and lets one wait for the next."""

    def __init__(self) -> None:
        self.count = 0
        self._event = anyio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._event.set()
        self._event = anyio.Event()

    async def above(self, count: int) -> None:
        with anyio.fail_after(PATIENCE):
            while self.count <= count:
                await self._event.wait()


def listeners(schema: str) -> str:
    """A question for the processes of the server that listen."""
    return f"SELECT pid FROM pg_stat_activity WHERE query = 'LISTEN \"{channel_of(schema)}\"' AND state = 'idle'"


@pytest.fixture
async def workers(postgres_url: str) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    workers = PostgresStore(postgres_url), PostgresStore(postgres_url)
    for worker in workers:
        await worker.open()
    yield workers
    for worker in workers:
        await worker.close()


@asynccontextmanager
async def woken(store: PostgresStore) -> AsyncIterator[Wakes]:
    """Listen, and go on once the connection is made."""
    wakes = Wakes()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.listen, wakes)
        await wakes.above(0)
        yield wakes
        tasks.cancel_scope.cancel()


async def test_each_step_that_logs_wakes_the_other_worker(workers: tuple[PostgresStore, PostgresStore]) -> None:
    here, there = workers
    first, second, third = [await start(there) for _ in range(3)]
    await there.rotate(third.session_id, generation=3, grace=0, refresh_key="k", client=None, now=NOW)
    steps: list[Step] = [
        partial(there.update, REALM, TAG, subject=None, session_id=first.session_id, data=b"new", now=NOW),
        partial(there.update, REALM, TAG, subject=ANN, session_id=None, data=b"new", now=NOW),
        partial(there.revoke, REALM, TAG, first.session_id, now=NOW),
        partial(start_limited, there, 5, replaces=second.session_id),
        partial(there.rotate, third.session_id, generation=1, grace=0, refresh_key="k", client=None, now=NOW),
        partial(there.revoke_all, REALM, TAG, ANN, spare=None, now=NOW),
    ]
    async with woken(here) as wakes:
        for step in steps:
            count = wakes.count
            assert len(await log_of(here, step)) == 1
            await wakes.above(count)


async def test_a_step_that_logs_nothing_wakes_nobody(workers: tuple[PostgresStore, PostgresStore]) -> None:
    here, there = workers
    record = await start(there)
    async with woken(here) as wakes:
        count = wakes.count
        await there.touch({record.session_id: NOW + 1})
        await there.revoke(REALM, TAG, "nobody", now=NOW)
        await there.revoke_all(REALM, TAG, "nobody", spare=None, now=NOW)
        await there.revoke(REALM, TAG, record.session_id, now=NOW)
        await wakes.above(count)
        assert wakes.count == count + 1


async def test_another_schema_wakes_nobody(
    workers: tuple[PostgresStore, PostgresStore], postgres_server: str, postgres_schema: str
) -> None:
    here, there = workers
    other = f"{postgres_schema}_other"
    await ask_postgres(postgres_server, f"CREATE SCHEMA {other}")
    elsewhere = PostgresStore(postgres_server, schema=other)
    await elsewhere.open()
    async with woken(here) as wakes:
        count = wakes.count
        foreign, ours = await start(elsewhere), await start(there)
        assert await elsewhere.revoke(REALM, TAG, foreign.session_id, now=NOW)
        assert await there.revoke(REALM, TAG, ours.session_id, now=NOW)
        await wakes.above(count)
        assert wakes.count == count + 1
    await elsewhere.close()
    await ask_postgres(postgres_server, f"DROP SCHEMA {other} CASCADE")


async def test_a_listener_whose_connection_was_killed_is_woken_and_hears_again(
    workers: tuple[PostgresStore, PostgresStore], postgres_server: str, postgres_schema: str
) -> None:
    here, there = workers
    async with woken(here) as wakes:
        for _ in range(3):
            count = wakes.count
            killed = await ask_postgres(
                postgres_server, f"SELECT pg_terminate_backend(pid) FROM ({listeners(postgres_schema)}) AS listening"
            )
            assert len(killed) == 1
            await wakes.above(count + 1)  # lost, and made anew
            count = wakes.count
            record = await start(there)
            await there.revoke(REALM, TAG, record.session_id, now=NOW)
            await wakes.above(count)


async def test_a_connection_that_died_silently_is_noticed(
    postgres_own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "KEEPALIVE", 0.1)
    store = PostgresStore(postgres_own_server.url())
    await store.open()
    async with woken(store) as wakes:
        postgres_own_server.pause()
        try:
            await wakes.above(wakes.count)  # nobody has closed a socket: only the question found out
        finally:
            postgres_own_server.resume()
        await wakes.above(wakes.count)
        record = await start(store)
        count = wakes.count
        await store.revoke(REALM, TAG, record.session_id, now=NOW)
        await wakes.above(count)
    await store.close()


async def test_a_listener_waits_for_a_server_that_is_down(postgres_own_server: PostgresServer) -> None:
    store = PostgresStore(postgres_own_server.url())
    await store.open()
    async with woken(store) as wakes:
        count = wakes.count
        postgres_own_server.kill()
        await wakes.above(count)
        postgres_own_server.start()
        record = await start(store)
        with anyio.fail_after(PATIENCE):
            while not await ask_postgres(postgres_own_server.url(), listeners("public")):
                await anyio.sleep(0.01)
        count = wakes.count
        await store.revoke(REALM, TAG, record.session_id, now=NOW)
        await wakes.above(count)
    await store.close()


async def test_without_push_listening_returns_at_once(postgres_url: str) -> None:
    store = PostgresStore(postgres_url, listen=False)
    await store.open()
    wakes = Wakes()
    await store.listen(wakes)
    assert wakes.count == 0
    await store.close()


async def test_a_cancelled_listener_leaves_no_connection(
    workers: tuple[PostgresStore, PostgresStore], postgres_server: str, postgres_schema: str
) -> None:
    listening_now = listeners(postgres_schema)
    async with woken(workers[0]):
        assert len(await ask_postgres(postgres_server, listening_now)) == 1
    with anyio.fail_after(PATIENCE):
        while await ask_postgres(postgres_server, listening_now):
            await anyio.sleep(0.01)
