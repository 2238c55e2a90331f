"""What breaks under the store: servers that die, fall silent or fill up; cancelled calls; forged values."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from redis.asyncio import Connection

from ductape_asgi import Sessions, new_access_key
from ductape_asgi.errors import SessionLimitReached, StoreUnavailable
from ductape_asgi.models import SessionRecord
from ductape_asgi.stores.guarded import FAILURES
from ductape_asgi.stores.redis import RedisStore, node
from ductape_asgi.stores.redis.keys import shard_of_session
from ductape_asgi.stores.redis.records import encode
from ductape_asgi.testing.contract.records import (
    ANN,
    NOW,
    REALM,
    TAG,
    all_at_once,
    must_read,
    page_of,
    position,
    read,
    refresh,
    start,
    start_limited,
)
from tests.redis_servers import Server, fresh, running
from tests.stores.cancelled_calls import assert_redis_pools_whole, storm

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

#: A call that has not answered by then never will.  What the docs promise is 1.5 s; a busy machine may add to it.
HUNG = 6

OpenStore = Callable[..., Awaitable[RedisStore]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Flushes to the disk before each answer."""
    with running(tmp_path / "redis", "appendonly yes", "appendfsync always") as server:
        yield server


@pytest.fixture
async def open_store() -> AsyncIterator[OpenStore]:
    async with AsyncExitStack() as stack:

        async def open_one(url: str) -> RedisStore:
            store = RedisStore(url)
            await store.open()
            stack.push_async_callback(store.close)
            return store

        yield open_one


async def until_it_answers(store: RedisStore, session_id: str) -> SessionRecord | None:
    async with asyncio.timeout(10):
        while True:
            with suppress(StoreUnavailable):
                return await read(store, session_id)
            await asyncio.sleep(0.01)


async def every_verb_is_unavailable(store: RedisStore, record: SessionRecord) -> None:
    steps: list[Callable[[], Awaitable[Any]]] = [
        partial(read, store, record.session_id),
        partial(refresh, store, record.session_id, 0),
        partial(start, store),
        partial(start_limited, store, 1),
        partial(store.reseal, record),
        partial(store.revoke, REALM, TAG, record.session_id, now=NOW),
        partial(store.revoke_all, REALM, TAG, ANN, spare=None, now=NOW),
        partial(store.update, REALM, TAG, subject=ANN, session_id=None, data=b"", now=NOW),
        partial(page_of, store),
        partial(store.touch, {record.session_id: NOW + 1}),
        partial(store.purge, before=NOW + 10**9, limit=10),
        partial(store.log_since, None),
        partial(store.claim_secret, REALM, {"a": b"b"}),
    ]
    async with asyncio.timeout(HUNG):
        outcomes = await all_at_once(steps)
    assert Counter(type(outcome) for outcome in outcomes) == {StoreUnavailable: len(steps)}


async def test_a_killed_server_comes_back_with_all_that_was_acknowledged(server: Server, open_store: OpenStore) -> None:
    store = await open_store(server.url)
    kept, ended = await start(store), await start(store)
    await refresh(store, kept.session_id, 0)
    before = await position(store)
    await store.revoke(REALM, TAG, ended.session_id, now=NOW)
    server.kill()
    await every_verb_is_unavailable(store, kept)
    server.start()
    again = await until_it_answers(store, kept.session_id)
    assert again is not None
    assert again.generation == 1
    assert await read(store, ended.session_id) is None
    page = await store.log_since(before)
    assert page.complete
    assert [entry.session_id for entry in page.entries] == [ended.session_id]


async def test_the_first_call_after_a_restart_works_although_all_connections_are_dead(
    server: Server, open_store: OpenStore
) -> None:
    store = await open_store(server.url)
    record = await start(store)
    await asyncio.gather(*(read(store, record.session_id) for _ in range(20)))
    (only,) = store._opened.topology.nodes
    idle = len(only._idle)
    assert idle > 1
    server.restart()
    async with asyncio.timeout(HUNG):
        while not all(connection._reader.at_eof() for connection in only._idle):
            await asyncio.sleep(0.01)
    for _ in range(idle + 1):
        await must_read(store, record.session_id)


async def test_a_silent_server_is_unavailable_and_answers_again_afterwards(
    server: Server, open_store: OpenStore
) -> None:
    store = await open_store(server.url)
    record = await start(store)
    server.signal(signal.SIGSTOP)
    try:
        await every_verb_is_unavailable(store, record)
    finally:
        server.signal(signal.SIGCONT)
    # What was asked of the silent server may have been done since: the session may be gone, but the store answers.
    await until_it_answers(store, record.session_id)


async def test_a_deadline_of_anyios_ends_a_question_to_several_shards(
    redis_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And cancels nobody in earnest, as it would if the cancellation were not known for the scope's own."""
    store = await open_store(fresh(redis_url))

    async def hang(*_: Any) -> Any:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            raise OSError("the connection was given up") from None

    monkeypatch.setattr(store._opened.topology, "_watched", hang)
    with anyio.move_on_after(0.05) as scope:
        await store._opened.ask_each({shard: [("GET", "nothing")] for shard in range(3)})
    assert scope.cancelled_caught


async def test_more_callers_than_connections_do_not_wait_for_each_other_for_ever(
    server: Server, open_store: OpenStore
) -> None:
    store = await open_store(server.url + "?max_connections=2")
    record = await start(store)
    server.signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(HUNG):
            outcomes = await all_at_once([partial(read, store, record.session_id) for _ in range(50)])
    finally:
        server.signal(signal.SIGCONT)
    assert Counter(type(outcome) for outcome in outcomes) == {StoreUnavailable: 50}
    assert await until_it_answers(store, record.session_id) == record


async def test_with_a_full_memory_nothing_starts_and_all_can_be_ended(server: Server, open_store: OpenStore) -> None:
    store = await open_store(server.url)
    one, two, three = await start(store), await start(store), await start(store)
    moved = await start(store, subject="carl", generation=3)
    before = await position(store)
    server.ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreUnavailable, match="OutOfMemory"):
        await start(store, subject="new")
    with pytest.raises(StoreUnavailable):
        await refresh(store, one.session_id, 0)
    assert await must_read(store, one.session_id) == one
    # A sign of life that cannot be written keeps nobody out.
    assert await store.verify(moved.session_id, generation=3) == moved
    assert await store.revoke(REALM, TAG, one.session_id, now=NOW)
    assert await store.revoke_all(REALM, TAG, ANN, spare=two.session_id, now=NOW) == 1
    server.ask("CONFIG", "SET", "maxmemory", "0")
    page = await store.log_since(before)
    assert (page.complete, len(page.entries)) == (True, 2)
    assert (await page_of(store)).records == (two,)
    assert await read(store, three.session_id) is None
    assert (await page_of(store, "new")).count == 0


async def test_with_a_full_memory_sessions_are_ended_and_verified_however_many_refreshes_are_refused(
    server: Server,
) -> None:
    async with Sessions(access_key=new_access_key(), product="shop", env="prd", store=server.url) as sessions:
        issued = [await sessions.start(tag=TAG, data={"userId": f"user-{number}"}) for number in range(10)]
        server.ask("CONFIG", "SET", "maxmemory", "1")
        for _ in range(2 * FAILURES):
            with pytest.raises(StoreUnavailable):
                await sessions.refresh(tag=TAG, refresh_token=issued[0].refresh_token)
        for one in issued:
            assert (await sessions.verify(tag=TAG, token=one.token)).session_id == one.session_id
            assert await sessions.revoke(tag=TAG, session_id=one.session_id)


async def test_a_replica_is_not_believed(server: Server, open_store: OpenStore, tmp_path: Path) -> None:
    """It may lag behind without knowing: what it says proves nothing."""
    store = await open_store(server.url)
    record = await start(store)
    await position(store)
    with running(tmp_path / "replica", f"replicaof 127.0.0.1 {server.port}") as replica:
        lagging = await open_store(replica.url)
        async with asyncio.timeout(20):
            while await read(lagging, record.session_id) is None:
                await asyncio.sleep(0.01)
        for step in (
            partial(lagging.log_since, None),
            partial(start, lagging),
            partial(lagging.revoke, REALM, TAG, record.session_id, now=NOW),
        ):
            with pytest.raises(StoreUnavailable, match="replica"):
                await step()


async def test_a_password_set_meanwhile_is_unavailable_and_not_shown(server: Server, open_store: OpenStore) -> None:
    store = await open_store(server.url)
    record = await start(store)
    server.ask("CONFIG", "SET", "requirepass", "second-secret")
    server.ask("CLIENT", "KILL", "TYPE", "normal", password="second-secret")
    with pytest.raises(StoreUnavailable) as failure:
        await read(store, record.session_id)
    assert "secret" not in f"{failure.value!r}{failure.value.__cause__!r}"
    server.ask("CONFIG", "SET", "requirepass", "", password="second-secret")
    assert await until_it_answers(store, record.session_id) == record


async def test_a_server_that_forgot_the_scripts_is_given_them_again(server: Server, open_store: OpenStore) -> None:
    store = await open_store(server.url)
    record = await start(store)
    server.ask("SCRIPT", "FLUSH")
    assert await must_read(store, record.session_id) == record
    server.ask("SCRIPT", "FLUSH")
    assert await store.revoke(REALM, TAG, record.session_id, now=NOW)


@pytest.mark.usefixtures("patient")  # thousands at once wait for long, and none may be turned away
async def test_of_a_thousand_refreshes_over_many_connections_all_get_one_child(
    redis_url: str, open_store: OpenStore
) -> None:
    url = fresh(redis_url)
    stores = [await open_store(url) for _ in range(8)]
    record = await start(stores[0])
    rotations = await all_at_once([partial(refresh, stores[step % 8], record.session_id, 0) for step in range(1000)])
    assert Counter(rotation.outcome for rotation in rotations) == {"rotated": 1, "same": 999}
    assert len({rotation.record for rotation in rotations}) == 1
    assert (await must_read(stores[0], record.session_id)).generation == 1


@pytest.mark.usefixtures("patient")  # thousands at once wait for long, and none may be turned away
async def test_starts_over_many_connections_never_pass_the_limit(redis_url: str, open_store: OpenStore) -> None:
    url = fresh(redis_url)
    stores = [await open_store(url) for _ in range(8)]
    evicting = [partial(start_limited, stores[step % 8], 3) for step in range(100)]
    outcomes = await all_at_once(evicting)
    page = await page_of(stores[0])
    ended = [session_id for _, evicted in outcomes for session_id in evicted]
    assert page.count == 3
    assert sorted(ended + [one.session_id for one in page.records]) == sorted(one.session_id for one, _ in outcomes)
    refused = await all_at_once([partial(start_limited, store, 3, evict=False) for store in stores])
    assert all(isinstance(outcome, SessionLimitReached) for outcome in refused)


async def read_carelessly(connection: Connection) -> Any:
    """As redis-py read before it closed the connections of cancelled calls by itself."""
    return await connection.read_response(disable_decoding=True, disconnect_on_error=False)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("reading", [node._answer, read_carelessly])
async def test_calls_cancelled_at_any_moment_cross_no_answers(
    redis_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, reading: Any
) -> None:
    """CVE-2023-28858: the next caller on that connection would be given what the cancelled one had asked for."""
    monkeypatch.setattr(node, "_answer", reading)
    store = await open_store(fresh(redis_url) + "&max_connections=4")
    records = {record.session_id: record for record in [await start(store, subject=str(i)) for i in range(20)]}
    here = await position(store)
    chance = random.Random(7)

    async def ask(session_id: str) -> None:
        if chance.random() < 0.2:
            assert (await store.log_since(here)).position == here
        else:
            assert await read(store, session_id) == records[session_id]

    ids = list(records)
    outcomes: Counter[str] = Counter()
    for _ in range(100):
        outcomes += await storm(lambda: ask(chance.choice(ids)), lambda: chance.randrange(12), calls=20)
        session_id = chance.choice(ids)
        assert await read(store, session_id) == records[session_id]
    assert outcomes.total() == 2000
    assert min(outcomes.values()) > 50, "the calls were not cancelled at different moments"
    await assert_redis_pools_whole(store, 4)
    assert await asyncio.gather(*(read(store, one) for one in ids)) == list(records.values())


async def test_an_answer_to_another_question_is_thrown_away(redis_url: str, open_store: OpenStore) -> None:
    """Should a connection be out of step after all, whoever uses it gets nobody's session."""
    store = await open_store(fresh(redis_url))
    one, two = await start(store), await start(store, subject="carl")
    (only,) = store._opened.topology.nodes

    for ask in (partial(read, store, two.session_id), partial(store.log_since, None)):
        assert await read(store, two.session_id) == two
        connection = only._idle[-1]
        await connection.send_command("ECHO", one.session_id)
        with pytest.raises(StoreUnavailable):
            await ask()
        assert connection not in only._idle
    assert await read(store, two.session_id) == two


async def test_a_session_put_in_anothers_place_is_thrown_away(redis_url: str, open_store: OpenStore) -> None:
    """Another tenant of the server could write there: X7."""
    store = await open_store(fresh(redis_url))
    one, two = await start(store), await start(store)
    key = store._keys.session(_shard(one), one.session_id)
    await _put(store, key, encode(two))
    for step in (partial(read, store, one.session_id), partial(refresh, store, one.session_id, 0)):
        with pytest.raises(StoreUnavailable):
            await step()


@pytest.mark.parametrize("junk", [b"", b"\x01", b"\x02" + bytes(300), b"\x01" + bytes(300), b"\x01" + b"\xff" * 300])
async def test_a_damaged_session_is_unavailable(redis_url: str, open_store: OpenStore, junk: bytes) -> None:
    store = await open_store(fresh(redis_url))
    record = await start(store)
    await _put(store, store._keys.session(_shard(record), record.session_id), junk)
    with pytest.raises(StoreUnavailable):
        await read(store, record.session_id)


@pytest.fixture(params=["junk", "another session's"])
async def damaged(request: pytest.FixtureRequest, redis_url: str, open_store: OpenStore) -> tuple[RedisStore, str]:
    """A store, and one of ann's sessions in it that cannot be read."""
    store = await open_store(fresh(redis_url))
    record = await start(store)
    other = await start(store, subject="carl")
    await _put(store, store._keys.session(_shard(record), record.session_id), _damage(request.param, other))
    return store, record.session_id


def _damage(kind: str, other: SessionRecord) -> bytes:
    return b"\x01junk" if kind == "junk" else encode(other)


async def test_a_damaged_session_can_be_ended_and_all_workers_hear_of_it(damaged: tuple[RedisStore, str]) -> None:
    store, session_id = damaged
    since = await position(store)
    assert await store.revoke(REALM, TAG, session_id, now=NOW)
    assert await read(store, session_id) is None
    assert [entry.session_id for entry in (await store.log_since(since)).entries] == [session_id]
    assert (await page_of(store, "carl")).count == 1


async def test_a_damaged_session_is_in_nobodys_way(damaged: tuple[RedisStore, str]) -> None:
    store, session_id = damaged
    whole, _ = await start_limited(store, 2)
    assert [record.session_id for record in (await page_of(store)).records] == [whole.session_id]
    assert await store.update(REALM, TAG, subject=ANN, session_id=None, data=b"new", now=NOW) == 1
    await store.touch({session_id: NOW + 1, whole.session_id: NOW + 1})
    assert (await must_read(store, whole.session_id)).last_seen_at == NOW + 1
    assert await store.revoke_all(REALM, TAG, ANN, spare=None, now=NOW) == 1
    assert await read(store, session_id) is None
    assert await read(store, whole.session_id) is None


async def test_a_damaged_session_keeps_no_other_from_being_purged(damaged: tuple[RedisStore, str]) -> None:
    store, session_id = damaged
    await start(store)
    assert await store.purge(before=NOW + 10**8, limit=10) == 2  # hers, and carl's
    with pytest.raises(StoreUnavailable):  # a newer version may have written it
        await read(store, session_id)


async def test_a_damaged_session_is_replaced(damaged: tuple[RedisStore, str]) -> None:
    store, session_id = damaged
    await start_limited(store, 5, replaces=session_id)
    assert await read(store, session_id) is None


def _shard(record: SessionRecord) -> int:
    shard = shard_of_session(record.session_id)
    assert shard is not None
    return shard


async def _put(store: RedisStore, key: str, value: bytes) -> None:
    (only,) = store._opened.topology.nodes
    await only.ask(("SET", key, value))
