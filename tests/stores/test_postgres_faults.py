"""What goes wrong while a store is open is `StoreUnavailable`, soon, and leaves everything else whole."""

from __future__ import annotations

import asyncio
import gc
import random
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import asyncpg
import pytest
import trio

from ductape_asgi.errors import ConfigurationError, StoreUnavailable
from ductape_asgi.models import SessionRecord
from ductape_asgi.stores.base import StepRefused
from ductape_asgi.stores.postgres import PostgresStore, pool
from ductape_asgi.stores.postgres.driver import unavailable
from ductape_asgi.stores.postgres.pool import PATIENCE
from ductape_asgi.testing.contract.records import (
    ANN,
    NOW,
    REALM,
    TAG,
    Step,
    all_at_once,
    ids_of,
    must_read,
    page_of,
    position,
    read,
    refresh,
    start,
    start_limited,
)
from tests.servers import PostgresServer, ask_postgres
from tests.stores.cancelled_calls import assert_postgres_pool_whole, open_connections, storm

pytestmark = pytest.mark.anyio

_SIZE = 5


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(postgres_url, pool_size=_SIZE)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def own_store(postgres_own_server: PostgresServer) -> AsyncIterator[PostgresStore]:
    """A store on a server that the test may kill."""
    store = PostgresStore(postgres_own_server.url(), pool_size=_SIZE)
    await store.open()
    yield store
    await store.close()


def pool_of(store: PostgresStore) -> pool.Pool:
    return store._here().pool


def each_verb(store: PostgresStore, record: SessionRecord) -> list[Step]:
    return [
        partial(store.claim_secret, REALM, {"a": b"1"}),
        partial(start, store),
        partial(start_limited, store, 1),
        partial(store.verify, record.session_id, generation=1),
        partial(refresh, store, record.session_id, 0),
        partial(store.reseal, record),
        partial(store.revoke, REALM, TAG, record.session_id, now=NOW),
        partial(store.revoke_all, REALM, TAG, ANN, spare=None, now=NOW),
        partial(store.update, REALM, TAG, subject=ANN, session_id=None, data=b"", now=NOW),
        partial(store.update, REALM, TAG, subject=None, session_id=record.session_id, data=b"", now=NOW),
        partial(page_of, store),
        partial(store.touch, {record.session_id: NOW + 1}),
        partial(store.purge, before=NOW, limit=10),
        partial(store.log_since, None),
    ]


async def kinds_of(steps: list[Step]) -> Counter[str]:
    return Counter(type(outcome).__name__ for outcome in await all_at_once(steps))


# The server goes away, and comes back.


async def test_a_killed_server_is_unavailable_at_once_and_found_again(
    own_store: PostgresStore, postgres_own_server: PostgresServer
) -> None:
    acknowledged = [await start(own_store) for _ in range(20)]
    await refresh(own_store, acknowledged[0].session_id, 0)
    await own_store.revoke(REALM, TAG, acknowledged[1].session_id, now=NOW)
    here = await position(own_store)
    for _ in range(2):
        postgres_own_server.kill()
        began = time.monotonic()
        steps = each_verb(own_store, acknowledged[0])
        assert await kinds_of(steps) == {"StoreUnavailable": len(steps)}
        assert time.monotonic() - began < PATIENCE + 2
        with pytest.raises(StoreUnavailable):
            await PostgresStore(postgres_own_server.url()).open()

        postgres_own_server.start()
        kept = await must_read(own_store, acknowledged[0].session_id)
        assert kept.generation == 1
        assert await read(own_store, acknowledged[1].session_id) is None
        assert len(await ids_of(own_store)) == 19
        assert (await own_store.log_since(here)).entries == ()


@pytest.mark.usefixtures("patient")
async def test_what_was_acknowledged_while_the_server_was_killed_is_there(
    own_store: PostgresStore, postgres_own_server: PostgresServer
) -> None:
    acknowledged: list[str] = []
    refused: list[StoreUnavailable] = []

    async def write() -> None:
        while not refused:
            try:
                acknowledged.append((await start(own_store)).session_id)
            except StoreUnavailable as error:
                refused.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(_SIZE):
            tasks.start_soon(write)
        while len(acknowledged) < 50:
            await anyio.sleep(0.001)
        await anyio.to_thread.run_sync(postgres_own_server.kill)
    postgres_own_server.start()
    assert set(acknowledged) <= set(await ids_of(own_store, limit=100_000))


async def test_a_server_that_does_not_answer_is_given_up_after_a_second(
    own_store: PostgresStore, postgres_own_server: PostgresServer
) -> None:
    record = await start(own_store)
    steps = each_verb(own_store, record) * 3  # more than there are connections
    postgres_own_server.pause()
    try:
        began = time.monotonic()
        assert await kinds_of(steps) == {"StoreUnavailable": len(steps)}
        assert PATIENCE * 0.9 <= time.monotonic() - began < PATIENCE + 2
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await PostgresStore(postgres_own_server.url()).open()
        assert time.monotonic() - began < PATIENCE + 2
    finally:
        postgres_own_server.resume()
    with anyio.fail_after(30):
        while True:  # what the server had received before it stood still, it does now
            try:
                await start(own_store)
                break
            except StoreUnavailable:
                continue
    assert len(await all_at_once([partial(read, own_store, record.session_id)] * 20)) == 20


async def cut(url: str) -> int:
    """End all connections of stores to the server, from the server's side."""
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ductape-asgi'"
    return len(await ask_postgres(url, ended))


@pytest.mark.usefixtures("patient")
async def test_cut_connections_are_replaced_and_no_read_fails(store: PostgresStore, postgres_server: str) -> None:
    record = await start(store)
    for _ in range(5):
        await all_at_once([partial(read, store, record.session_id)] * 20)
        outcomes: list[Any] = []

        async def read_on(outcomes: list[Any] = outcomes) -> None:
            outcomes.extend(await all_at_once([partial(read, store, record.session_id)] * 200))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_on)
            tasks.start_soon(cut, postgres_server)
        assert outcomes == [record] * 200
        assert await start(store)


@pytest.mark.usefixtures("patient")
async def test_writes_while_connections_are_cut_happen_or_are_refused(
    store: PostgresStore, postgres_server: str
) -> None:
    outcomes: list[Any] = []

    async def write() -> None:
        outcomes.extend(await all_at_once([partial(start, store)] * 300))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        tasks.start_soon(cut, postgres_server)
    refused = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable)]
    made = [outcome.session_id for outcome in outcomes if isinstance(outcome, SessionRecord)]
    assert len(refused) + len(made) == 300
    assert len(refused) <= _SIZE
    assert set(made) <= set(await ids_of(store, limit=1000))


# Something else holds what a step needs.


async def test_what_is_locked_by_others_is_given_up_and_works_again_afterwards(
    store: PostgresStore, postgres_server: str, postgres_schema: str
) -> None:
    record = await start(store)
    locking = await asyncpg.connect(postgres_server)
    try:
        async with locking.transaction():
            await locking.execute(f"LOCK TABLE {postgres_schema}.ductape_sessions IN EXCLUSIVE MODE")
            began = time.monotonic()
            assert await kinds_of([partial(start, store)] * (3 * _SIZE)) == {"StoreUnavailable": 3 * _SIZE}
            assert time.monotonic() - began < PATIENCE + 2
            assert await must_read(store, record.session_id) == record  # reads wait for nobody
            with anyio.fail_after(30):  # nor does the server go on waiting for those who have given up
                while await ask_postgres(
                    postgres_server,
                    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE"
                    f" '%{postgres_schema}%' AND pid <> pg_backend_pid()",
                ):
                    await anyio.sleep(0.05)
    finally:
        await locking.close()
    assert await ids_of(store) == [record.session_id]
    assert len(await all_at_once([partial(start, store)] * 20)) == 20


async def test_a_sign_of_life_that_cannot_be_recorded_is_answered_as_it_stands(
    store: PostgresStore, postgres_server: str, postgres_schema: str
) -> None:
    record = await start(store, generation=1)
    locking = await asyncpg.connect(postgres_server)
    try:
        async with locking.transaction():
            await locking.execute(f"SELECT FROM {postgres_schema}.ductape_sessions FOR UPDATE")
            began = time.monotonic()
            assert await store.verify(record.session_id, generation=1) == record
            assert time.monotonic() - began < PATIENCE + 2  # one patience for both questions
    finally:
        await locking.close()


async def test_purging_waits_for_nobody(store: PostgresStore, postgres_server: str, postgres_schema: str) -> None:
    busy = await start(store, ends_at=int(NOW) - 10)
    for _ in range(3):
        await start(store, ends_at=int(NOW))
    locking = await asyncpg.connect(postgres_server)
    try:
        async with locking.transaction():
            one = f"SELECT FROM {postgres_schema}.ductape_sessions WHERE session_id = $1 FOR UPDATE"
            await locking.execute(one, busy.session_id)
            assert await store.purge(before=NOW, limit=100) == 3
    finally:
        await locking.close()
    assert await store.purge(before=NOW, limit=100) == 1


async def test_a_worker_that_vanishes_in_the_middle_of_a_step_keeps_no_lock(
    store: PostgresStore, postgres_server: str
) -> None:
    from ductape_asgi.stores.postgres.statements import BEGIN_LOCKED, lock_of

    lock = lock_of(store._here().sql.schema, REALM, TAG, ANN)
    vanished = await asyncpg.connect(postgres_server)
    await vanished.execute(f"{BEGIN_LOCKED}SELECT pg_advisory_xact_lock({lock})")
    with pytest.raises(StoreUnavailable):
        await start_limited(store, 5)
    with anyio.fail_after(30):
        while True:
            try:
                await start_limited(store, 5)
                break
            except StoreUnavailable:
                continue
    vanished.terminate()


async def test_steps_beyond_the_queue_are_turned_away_at_once(
    store: PostgresStore, postgres_server: str, postgres_schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "QUEUE_LIMIT", 3)
    locking = await asyncpg.connect(postgres_server)
    try:
        async with locking.transaction():
            await locking.execute(f"LOCK TABLE {postgres_schema}.ductape_sessions IN EXCLUSIVE MODE")
            outcomes = await all_at_once([partial(start, store)] * (_SIZE + 3 + 4))
    finally:
        await locking.close()
    assert sum("too many" in str(outcome) for outcome in outcomes) == 4


async def test_no_error_of_the_driver_reaches_a_caller(
    store: PostgresStore, postgres_server: str, postgres_schema: str
) -> None:
    record = await start(store)
    tables = ", ".join(f"{postgres_schema}.ductape_{name}" for name in ("sessions", "log", "log_head", "secrets"))
    await ask_postgres(postgres_server, f"DROP TABLE {tables}")
    steps = each_verb(store, record)
    assert await kinds_of(steps) == {"StoreUnavailable": len(steps)}


async def empty(server: str, schema: str) -> None:
    tables = ", ".join(f"{schema}.ductape_{name}" for name in ("sessions", "log", "log_head", "secrets"))
    await ask_postgres(server, f"TRUNCATE {tables}")


async def test_emptied_tables_begin_another_log(
    store: PostgresStore, postgres_server: str, postgres_schema: str
) -> None:
    await start(store)
    before = await position(store)
    await empty(postgres_server, postgres_schema)
    page = await store.log_since(before)
    assert (page.complete, page.entries) == (False, ())
    assert page.position.epoch != before.epoch
    assert await position(store) == page.position


async def test_what_is_ended_after_the_log_was_emptied_is_in_the_log_that_it_begins(
    store: PostgresStore, postgres_server: str, postgres_schema: str
) -> None:
    """Whoever reads a log that began later would go on to believe what was cached before."""
    record = await start(store)
    before = await position(store)
    await ask_postgres(postgres_server, f"TRUNCATE {postgres_schema}.ductape_log, {postgres_schema}.ductape_log_head")
    assert await store.revoke(REALM, TAG, record.session_id, now=NOW)
    logged = await ask_postgres(
        postgres_server,
        f"SELECT session_id, log.sequence = head.sequence AS last FROM {postgres_schema}.ductape_log AS log,"
        f" {postgres_schema}.ductape_log_head AS head",
    )
    assert [tuple(row) for row in logged] == [(record.session_id, True)]
    assert not (await store.log_since(before)).complete


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
@pytest.mark.usefixtures("patient")
async def test_a_stricter_default_of_the_server_changes_nothing(
    postgres_server: str, postgres_schema: str, isolation: str
) -> None:
    query = f"ductape_schema={postgres_schema}&default_transaction_isolation={isolation.replace(' ', '%20')}"
    store = PostgresStore(f"{postgres_server}?{query}")
    await store.open()
    record = await start(store)
    rotations = await all_at_once([partial(refresh, store, record.session_id, 0) for _ in range(50)])
    assert Counter(rotation.outcome for rotation in rotations) == {"rotated": 1, "same": 49}
    update = partial(store.update, REALM, TAG, subject=None, session_id=record.session_id, data=b"new", now=NOW)
    assert await all_at_once([update] * 30) == [1] * 30
    assert (await must_read(store, record.session_id)).version == 31
    outcomes = await all_at_once([partial(start_limited, store, 3) for _ in range(20)])
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert (await page_of(store)).count == 3
    await store.close()


# Callers that go away.


async def test_a_step_that_fails_after_its_caller_has_gone_is_no_error_of_the_loop(store: PostgresStore) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
    begun, may_fail = asyncio.Event(), asyncio.Event()

    async def fail(_: Any) -> None:
        begun.set()
        await may_fail.wait()
        raise StoreUnavailable("too late")

    asking = asyncio.ensure_future(pool_of(store).do(fail))
    await begun.wait()
    asking.cancel()
    await asyncio.wait([asking])
    may_fail.set()
    await asyncio.wait(list(pool_of(store)._tasks))
    del asking  # whose traceback holds the step's task
    gc.collect()
    assert complaints == []


@pytest.mark.usefixtures("patient")
async def test_of_two_thousand_calls_cancelled_anywhere_no_reply_is_crossed_and_the_pool_is_whole(
    store: PostgresStore, postgres_server: str
) -> None:
    records = [await start(store, subject=f"person-{number}", generation=1, rotated_at=NOW) for number in range(20)]
    chance = random.Random(20)

    async def ask(record: SessionRecord, kind: int) -> None:
        if kind == 0:
            assert (await must_read(store, record.session_id)).session_id == record.session_id
        elif kind == 1:
            seen = await store.verify(record.session_id, generation=1)
            assert seen is not None
            assert seen.session_id == record.session_id
        elif kind == 2:
            rotation = await refresh(store, record.session_id, 0, grace=10**6)
            assert rotation.record is not None
            assert rotation.record.session_id == record.session_id
        elif kind == 3:
            page = await page_of(store, record.subject)
            assert record.session_id in [one.session_id for one in page.records]
            assert {one.subject for one in page.records} == {record.subject}
        else:
            made, ended = await start_limited(store, 1, subject=f"limited-{record.subject}")
            assert made.session_id not in ended

    def turns() -> int:
        return min(2000, int(chance.paretovariate(0.4)))

    left = await storm(lambda: ask(chance.choice(records), chance.randrange(5)), turns, calls=2000)
    assert left.total() == 2000
    assert min(left["answered"], left["cancelled"]) > 200

    outcomes = await all_at_once([partial(must_read, store, record.session_id) for record in records * 5])
    assert sorted(one.session_id for one in outcomes) == sorted(one.session_id for one in records * 5)
    await assert_postgres_pool_whole(store, _SIZE, partial(open_connections, postgres_server))


async def test_a_cancelled_call_costs_no_connection(store: PostgresStore) -> None:
    await start(store)
    (kept,) = [connection for connection, _ in pool_of(store)._idle]
    for _ in range(20):
        asking = asyncio.ensure_future(page_of(store))
        for _ in range(3):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking, *pool_of(store)._tasks])
    assert [connection for connection, _ in pool_of(store)._idle] == [kept]


@pytest.mark.usefixtures("patient")
async def test_closing_finishes_what_is_under_way(store: PostgresStore) -> None:
    await start(store, subject="somebody")  # the secret is there from now on
    async with anyio.create_task_group() as tasks:
        for _ in range(_SIZE):
            tasks.start_soon(start, store)
        await anyio.sleep(0)
        tasks.start_soon(store.close)
    await store.open()
    assert (await page_of(store)).count == _SIZE


async def test_a_closed_store_is_unavailable(store: PostgresStore) -> None:
    await store.close()
    for verb in (partial(read, store, "x"), partial(start, store), partial(store.listen, lambda: None)):
        with pytest.raises(StoreUnavailable, match="not open"):
            await verb()


async def test_giving_a_connection_back_costs_no_round_trip(store: PostgresStore) -> None:
    record = await start(store)
    (connection,) = [connection for connection, _ in pool_of(store)._idle]
    asked: list[str] = []
    connection.add_query_logger(lambda query: asked.append(query.query))
    await must_read(store, record.session_id)
    await store.log_since(None)
    assert asked == [store._here().sql.find, store._here().sql.log_since]


async def test_a_connection_that_nobody_used_for_long_is_not_lent_again(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await start(store)
    (old,) = [connection for connection, _ in pool_of(store)._idle]
    assert await must_read(store, record.session_id) == record
    assert [connection for connection, _ in pool_of(store)._idle] == [old]
    monkeypatch.setattr(pool, "IDLE_LIMIT", 0.0)
    assert await must_read(store, record.session_id) == record
    assert old.is_closed()


# One store in many event loops and processes.


def test_a_store_is_used_in_one_loop_after_another(postgres_url: str) -> None:
    async def open_and_start() -> None:
        await store.open()
        await start(store)

    store = PostgresStore(postgres_url)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            asyncio.run(open_and_start())
        gc.collect()

        async def count() -> int:
            await store.open()
            listed = len(await ids_of(store))
            await store.close()
            return listed

        assert asyncio.run(count()) == 3
        gc.collect()


def test_a_loop_that_has_not_opened_it_is_told_so(postgres_url: str) -> None:
    store = PostgresStore(postgres_url)
    asyncio.run(store.open())
    with pytest.raises(StoreUnavailable, match="another event loop"):
        asyncio.run(ids_of(store))
    asyncio.run(store.close())


def test_a_store_that_nobody_holds_lets_go_of_its_connections(postgres_server: str, postgres_schema: str) -> None:
    store = PostgresStore(f"{postgres_server}?ductape_schema={postgres_schema}")
    asyncio.run(store.open())
    assert store._opened is not None
    held = store._opened.pool._idle[0][0]
    del store
    gc.collect()
    assert held.is_closed()


def test_a_store_of_asyncio_is_unavailable_under_trio_and_closed_there(postgres_url: str) -> None:
    store = PostgresStore(postgres_url)
    asyncio.run(store.open())
    with pytest.raises(StoreUnavailable, match="another event loop"):
        trio.run(ids_of, store)
    trio.run(store.close)
    gc.collect()


def test_under_trio_it_says_which_stores_run_there(postgres_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"asyncio only.*sqlite:///, which runs on trio"):
        trio.run(PostgresStore(postgres_url).open)


_FORK = """
import asyncio, os, stat, sys, warnings
warnings.simplefilter("ignore")
from ductape_asgi.errors import StoreUnavailable
from ductape_asgi.stores.postgres import PostgresStore
from ductape_asgi.stores.postgres.driver import transport_of
from ductape_asgi.testing.contract.records import ids_of, read, start

store = PostgresStore(sys.argv[1])
loop = asyncio.new_event_loop()
run = loop.run_until_complete
run(store.open())
run(start(store))
((connection, _),) = store._opened.pool._idle
socket = transport_of(connection).get_extra_info("socket").fileno()
child = os.fork()
if child == 0:
    # While it held the parent's socket, the server could not tell that the parent had died.
    refused = int(not stat.S_ISSOCK(os.fstat(socket).st_mode))
    for verb in (lambda: start(store), lambda: read(store, "x"), lambda: ids_of(store)):
        try:
            asyncio.run(verb())
        except StoreUnavailable as error:
            refused += "forked" in str(error)
    async def own():
        await store.open()
        await start(store)
        await store.close()
    asyncio.run(own())
    os._exit(refused)
_, status = os.waitpid(child, 0)
run(start(store))
print(os.waitstatus_to_exitcode(status), len(run(ids_of(store))))
run(store.close())
loop.close()
"""


def test_a_forked_child_refuses_what_it_inherited_and_opens_its_own(postgres_url: str) -> None:
    done = subprocess.run([sys.executable, "-c", _FORK, postgres_url], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("4 3\n", "")


@pytest.mark.parametrize(
    "refused", [asyncpg.DiskFullError, asyncpg.OutOfMemoryError, asyncpg.CharacterNotInRepertoireError]
)
async def test_a_step_that_the_server_refuses_at_once_says_nothing_of_others(refused: type[Exception]) -> None:
    assert isinstance(unavailable(refused()), StepRefused)


@pytest.mark.parametrize(
    "failed",
    [
        asyncpg.TooManyConnectionsError,
        asyncpg.QueryCanceledError,
        asyncpg.CrashShutdownError,
        asyncpg.PostgresSystemError,
        OSError,
    ],
)
async def test_a_server_that_takes_its_time_or_is_gone_is_left_alone(failed: type[Exception]) -> None:
    assert not isinstance(unavailable(failed()), StepRefused)
