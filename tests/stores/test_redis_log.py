"""The log in its shards: what is missed is noticed, whatever the servers forgot; and who listens is woken."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ductape_asgi.errors import StoreUnavailable
from ductape_asgi.models import Position
from ductape_asgi.stores.redis import RedisStore, listener
from ductape_asgi.stores.redis.keys import shard_of_subject
from ductape_asgi.stores.redis.scripts import LOG_KEPT
from ductape_asgi.testing.contract.records import ANN, NOW, REALM, TAG, page_of, position, read, start, start_limited
from tests.patience import be_patient
from tests.redis_servers import SentinelTrio, Server, cluster, cluster_url, fresh, running

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

OpenStore = Callable[..., Awaitable[RedisStore]]


@pytest.fixture
async def open_store() -> AsyncIterator[OpenStore]:
    async with AsyncExitStack() as stack:

        async def open_one(url: str) -> RedisStore:
            store = RedisStore(url)
            await store.open()
            stack.push_async_callback(store.close)
            return store

        yield open_one


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def trio_of_sentinels(tmp_path: Path) -> Iterator[SentinelTrio]:
    with SentinelTrio(tmp_path / "sentinel") as trio:
        yield trio


async def ask(store: RedisStore, *command: Any) -> Any:
    return (await store._opened.topology.ask(shard_of_subject(ANN), command))[0]


async def revoke_new(store: RedisStore, count: int = 1, subject: str = ANN) -> list[str]:
    ended = []
    for _ in range(count):
        record = await start(store, subject=subject)
        assert await store.revoke(REALM, TAG, record.session_id, now=NOW)
        ended.append(record.session_id)
    return ended


async def complete(store: RedisStore, since: Position) -> bool:
    page = await store.log_since(since)
    assert page.complete or page.entries == ()
    return page.complete


async def eventually(step: Callable[[], Awaitable[Any]]) -> Any:
    """Do it until the store is available."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await step()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("form", ["redis_url", "redis_cluster_url"])
async def test_the_log_of_all_shards_is_read_in_one_go(
    form: str, request: pytest.FixtureRequest, open_store: OpenStore
) -> None:
    url = fresh(request.getfixturevalue(form))
    store, other = await open_store(url), await open_store(url)
    before = await position(store)
    ended = [sid for number in range(100) for sid in await revoke_new(other, subject=f"person-{number}")]
    page = await store.log_since(before)
    assert page.complete
    assert sorted(str(entry.session_id) for entry in page.entries) == sorted(ended)
    assert (page.position.epoch, page.position.sequence) == (before.epoch, before.sequence + 100)
    assert len(page.position.shards) == 64
    assert (await store.log_since(page.position)).entries == ()
    assert await store.log_since(page.position) == await other.log_since(page.position)


async def test_a_flushed_server_begins_another_log(redis_url: str, open_store: OpenStore) -> None:
    store = await open_store(fresh(redis_url))
    await revoke_new(store, 3)
    before = await position(store)
    keys = [*store._keys.heads, *(store._keys.log(shard) for shard in range(64))]
    await ask(store, "DEL", *keys)
    assert not await complete(store, before)
    after = await position(store)
    assert after.epoch != before.epoch
    await revoke_new(store, 3)
    assert await complete(store, after)
    assert not await complete(store, before)


async def test_a_flushed_server_is_noticed_although_as_much_was_logged_again(
    server: Server, open_store: OpenStore
) -> None:
    store = await open_store(server.url)
    await revoke_new(store, 3)
    before = await position(store)
    server.ask("FLUSHALL")
    await revoke_new(store, 3)
    page = await store.log_since(before)
    assert page.position.sequence == before.sequence
    assert (page.complete, page.entries) == (False, ())


async def test_a_flush_of_one_shard_that_had_no_entry_yet_is_noticed(redis_url: str, open_store: OpenStore) -> None:
    store = await open_store(fresh(redis_url))
    before = await position(store)
    await ask(store, "DEL", store._keys.heads[shard_of_subject(ANN)])
    await revoke_new(store)
    assert not await complete(store, before)


async def test_a_head_that_was_lost_alone_begins_another_log(redis_url: str, open_store: OpenStore) -> None:
    """The stream is still there, with higher numbers than those that come now."""
    store = await open_store(fresh(redis_url))
    await revoke_new(store, 5)
    before = await position(store)
    await ask(store, "DEL", store._keys.heads[shard_of_subject(ANN)])
    here = await position(store)
    assert not await complete(store, before)
    ended = await revoke_new(store, 2)
    assert [entry.session_id for entry in (await store.log_since(here)).entries] == ended


@pytest.mark.parametrize("form", ["redis_url", "redis_cluster_url"])
@pytest.mark.parametrize("junk", ["junk", "a b c", "a 1 b c", "a -5 b", b"\xff 1 x", f"a {10**20} b", "a\n1\nb"])
async def test_a_head_that_cannot_be_read_begins_another_log(
    form: str, request: pytest.FixtureRequest, open_store: OpenStore, junk: bytes
) -> None:
    store = await open_store(fresh(request.getfixturevalue(form)))
    record = await start(store)
    shard = shard_of_subject(record.subject)
    before = await position(store)
    await store._opened.ask_each({shard: [("SET", store._keys.heads[shard], junk)]})
    assert not await complete(store, before)
    since = await position(store)
    assert await store.revoke(REALM, TAG, record.session_id, now=NOW)
    assert [entry.session_id for entry in (await store.log_since(since)).entries] == [record.session_id]


@pytest.mark.parametrize("fields", [["m", "x"], [part for name in "mprtsuxk" for part in (name, b"\xff")]])
async def test_an_entry_of_somebody_else_is_a_gap(redis_url: str, open_store: OpenStore, fields: list[Any]) -> None:
    store = await open_store(fresh(redis_url))
    before = await position(store)
    await revoke_new(store)
    shard, number = shard_of_subject(ANN), before.shards[shard_of_subject(ANN)][1] + 1
    key = store._keys.log(shard)
    await store._opened.ask_each({shard: [("XTRIM", key, "MAXLEN", 0), ("DEL", key)]})
    await store._opened.ask_each({shard: [("XADD", key, f"{number}-0", *fields)]})
    assert not await complete(store, before)


@pytest.mark.parametrize("kept", [0, 1, 4])
async def test_a_trimmed_log_is_not_complete_for_who_was_behind(
    redis_url: str, open_store: OpenStore, kept: int
) -> None:
    store = await open_store(fresh(redis_url))
    places = [await position(store)]
    for _ in range(5):
        await revoke_new(store)
        places.append(await position(store))
    await ask(store, "XTRIM", store._keys.log(shard_of_subject(ANN)), "MAXLEN", kept)
    assert [await complete(store, place) for place in places] == [5 - step <= kept for step in range(6)]


async def test_a_log_with_a_gap_is_not_complete(redis_url: str, open_store: OpenStore) -> None:
    store = await open_store(fresh(redis_url))
    before = await position(store)
    await revoke_new(store, 5)
    await ask(store, "XDEL", store._keys.log(shard_of_subject(ANN)), f"{before.sequence + 3}-0")
    assert not await complete(store, before)


async def test_a_gap_among_entries_of_one_step_is_noticed(redis_url: str, open_store: OpenStore) -> None:
    store = await open_store(fresh(redis_url))
    for _ in range(4):
        await start(store)
    before = await position(store)
    _, ended = await start_limited(store, 1)
    assert len(ended) == 4
    await ask(store, "XDEL", store._keys.log(shard_of_subject(ANN)), f"{before.sequence + 3}-0")
    assert not await complete(store, before)


async def test_who_is_too_far_behind_is_told_so_without_reading(redis_url: str, open_store: OpenStore) -> None:
    store = await open_store(fresh(redis_url))
    before = await position(store)
    (key,) = [store._keys.heads[shard_of_subject(ANN)]]
    epoch, sequence, mark = (await ask(store, "GET", key)).decode().split(" ")
    await ask(store, "SET", key, f"{epoch} {int(sequence) + LOG_KEPT + 1} {mark}")
    assert not await complete(store, before)


async def test_the_log_is_trimmed_by_length(
    redis_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch)
    store = await open_store(fresh(redis_url))
    record = await start(store)
    update = partial(store.update, REALM, TAG, subject=None, session_id=record.session_id, data=b"d", now=NOW)
    for _ in range(10):
        await asyncio.gather(*(update() for _ in range(250)))
    length = await ask(store, "XLEN", store._keys.log(shard_of_subject(ANN)))
    assert LOG_KEPT <= length <= LOG_KEPT + 200


async def test_a_position_that_contradicts_itself_is_not_complete(redis_url: str, open_store: OpenStore) -> None:
    store = await open_store(fresh(redis_url))
    await revoke_new(store)
    here = await position(store)
    for wrong in (
        Position(here.epoch, here.sequence),
        replace(here, shards=here.shards[:-1]),
        replace(here, shards=tuple(("other", number) for _, number in here.shards)),
        replace(here, sequence=here.sequence - 1),
    ):
        assert not await complete(store, wrong)


async def cut_off_replica(trio: SentinelTrio) -> None:
    """From here on the master acknowledges what its replica never gets."""
    trio.wait_until_in_step()
    trio.replica.ask("CONFIG", "SET", "masterauth", "refused-by-the-master")
    trio.master.ask("CLIENT", "KILL", "TYPE", "replica")
    async with asyncio.timeout(10):
        while trio.replica.ask("INFO", "replication")["master_link_status"] == "up":
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("written_since", [0, 2, 5])
async def test_a_failover_that_lost_the_tail_is_noticed(
    trio_of_sentinels: SentinelTrio, open_store: OpenStore, written_since: int
) -> None:
    """However many entries the new master has got meanwhile: fewer than were lost, as many, or more."""
    trio = trio_of_sentinels
    store = await open_store(trio.url)
    await revoke_new(store, 3)
    shared = await position(store)
    await cut_off_replica(trio)
    await revoke_new(store, 2)
    lost = await position(store)
    trio.master.kill()
    trio.wait_for_failover()
    await eventually(lambda: position(store))
    ended = [sid for _ in range(written_since) for sid in await eventually(partial(revoke_new, store))]
    page = await eventually(lambda: store.log_since(lost))
    assert (page.complete, page.entries) == (False, ())
    page = await store.log_since(shared)
    assert page.complete
    assert [entry.session_id for entry in page.entries] == ended


async def test_after_a_failover_the_store_goes_on_without_being_opened_again(
    trio_of_sentinels: SentinelTrio, open_store: OpenStore
) -> None:
    trio = trio_of_sentinels
    store = await open_store(trio.url)
    record = await start(store)
    before = await position(store)
    trio.wait_until_in_step()
    trio.master.kill()
    trio.wait_for_failover()
    assert await eventually(lambda: read(store, record.session_id)) == record
    ended = await revoke_new(store)
    page = await store.log_since(before)
    assert page.complete
    assert [entry.session_id for entry in page.entries] == ended


async def test_a_slot_that_moves_to_another_node_is_followed(tmp_path: Path, open_store: OpenStore) -> None:
    with cluster(tmp_path / "cluster") as servers:
        store = await open_store(cluster_url(servers))
        record = await start(store)
        before = await position(store)
        slot = store._opened.topology._slots[shard_of_subject(ANN)]
        names = [server.ask("CLUSTER", "MYID").decode() for server in servers]
        (place,) = [store._opened.topology._places[shard_of_subject(ANN)]]
        (source,) = [number for number, server in enumerate(servers) if server.port == place[1]]
        target = (source + 1) % 3
        servers[target].ask("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
        servers[source].ask("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
        keys = servers[source].ask("CLUSTER", "GETKEYSINSLOT", slot, 100)
        servers[source].ask("MIGRATE", "127.0.0.1", servers[target].port, "", 0, 5000, "KEYS", *keys)
        # Half-way: asked of the old node, told to ask the new one.
        assert await read(store, record.session_id) == record
        for server in servers:
            server.ask("CLUSTER", "SETSLOT", slot, "NODE", names[target])
        ended = await revoke_new(store)
        assert store._opened.topology._places[shard_of_subject(ANN)][1] == servers[target].port
        assert await read(store, record.session_id) == record
        page = await store.log_since(before)
        assert page.complete
        assert [entry.session_id for entry in page.entries] == ended


async def test_nobody_is_lost_from_an_index_while_its_slot_moves(tmp_path: Path, open_store: OpenStore) -> None:
    """The index is at the new node already, one of its sessions still at the old one."""
    with cluster(tmp_path / "cluster") as servers:
        store = await open_store(cluster_url(servers))
        moved, staying = await start(store), await start(store)
        await revoke_new(store)
        shard = shard_of_subject(ANN)
        slot, port = store._opened.topology._slots[shard], store._opened.topology._places[shard][1]
        source = next(server for server in servers if server.port == port)
        target = next(server for server in servers if server.port != port)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))
        last = store._keys.session(shard, staying.session_id).encode()
        keys = [key for key in source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100) if key != last]
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for step in (
            partial(page_of, store),
            partial(start_limited, store, 2),
            partial(store.revoke_all, REALM, TAG, ANN, spare=None, now=NOW),
            partial(store.update, REALM, TAG, subject=ANN, session_id=None, data=b"d", now=NOW),
        ):
            with pytest.raises(StoreUnavailable):
                await step()
        assert [await read(store, one.session_id) for one in (moved, staying)] == [moved, staying]
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", last)
        for server in servers:
            server.ask("CLUSTER", "SETSLOT", slot, "NODE", target.ask("CLUSTER", "MYID"))
        assert (await page_of(store)).records == (staying, moved)
        assert await store.revoke_all(REALM, TAG, ANN, spare=None, now=NOW) == 2


async def test_a_dead_node_takes_its_own_shards_only(tmp_path: Path, open_store: OpenStore) -> None:
    with cluster(tmp_path / "cluster") as servers:
        for server in servers:
            server.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        store = await open_store(cluster_url(servers))
        records = [await start(store, subject=f"person-{number}") for number in range(30)]
        ports = [store._opened.topology._places[shard_of_subject(record.subject)][1] for record in records]
        servers[1].kill()
        for record, port in zip(records, ports, strict=True):
            if port == servers[1].port:
                with pytest.raises(StoreUnavailable):
                    await read(store, record.session_id)
            else:
                assert await read(store, record.session_id) == record
        with pytest.raises(StoreUnavailable):
            await store.log_since(None)
        servers[1].start()
        await eventually(lambda: store.log_since(None))
        assert await eventually(lambda: start(store, subject="person-1"))


class Wakes:
    """Counts what a listener hears."""

    def __init__(self) -> None:
        self.count = 0
        self._bell = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._bell.set()

    async def more(self) -> None:
        async with asyncio.timeout(10):
            await self._bell.wait()
        self._bell.clear()


@asynccontextmanager
async def listening(store: RedisStore) -> AsyncIterator[Wakes]:
    """A listener that has begun to listen."""
    wakes = Wakes()
    task = asyncio.create_task(store.listen(wakes))
    try:
        await wakes.more()
        yield wakes
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("form", ["redis_url", "sentinel_url", "redis_cluster_url"])
async def test_a_listener_is_woken_by_what_another_store_commits(
    form: str, request: pytest.FixtureRequest, open_store: OpenStore
) -> None:
    url = fresh(request.getfixturevalue(form))
    store, other = await open_store(url), await open_store(url)
    before = await position(store)
    async with listening(store) as wakes:
        for subject in ("ann", "bob", "carl", "dora", "emil", "fay"):
            (ended,) = await revoke_new(other, subject=subject)
            await wakes.more()
            page = await store.log_since(before)
            assert [entry.session_id for entry in page.entries] == [ended]
            before = page.position


async def test_starting_and_refreshing_wake_nobody(redis_url: str, open_store: OpenStore) -> None:
    url = fresh(redis_url)
    store, other = await open_store(url), await open_store(url)
    async with listening(store) as wakes:
        heard = wakes.count
        record = await start(other)
        await other.rotate(record.session_id, generation=0, grace=0, refresh_key="k", client=None, now=NOW)
        await other.touch({record.session_id: NOW + 1})
        await revoke_new(other)
        await wakes.more()
        assert wakes.count == heard + 1


async def test_a_listener_whose_connection_was_killed_is_woken_and_hears_again(
    server: Server, open_store: OpenStore
) -> None:
    store, other = await open_store(server.url), await open_store(server.url)
    async with listening(store) as wakes:
        for _ in range(3):
            heard = wakes.count
            assert server.ask("CLIENT", "KILL", "TYPE", "pubsub") == 1
            while wakes.count < heard + 2:  # lost, and made anew
                await wakes.more()
            await revoke_new(other)
            await wakes.more()


async def test_a_listener_outlives_its_server(server: Server, open_store: OpenStore) -> None:
    store = await open_store(server.url)
    async with listening(store) as wakes:
        server.kill()
        await wakes.more()
        server.start()
        await eventually(lambda: revoke_new(store))
        async with asyncio.timeout(10):
            while server.ask("PUBSUB", "NUMSUB", store._keys.channel)[1] == 0:
                await asyncio.sleep(0.01)
        await wakes.more()
        await revoke_new(store)
        await wakes.more()


async def test_a_listener_notices_a_server_that_has_gone_silent(
    server: Server, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_PING_AFTER", 0.05)
    monkeypatch.setattr(listener, "COMMAND_TIMEOUT", 0.2)
    store = await open_store(server.url)
    async with listening(store) as wakes:
        server.signal(signal.SIGSTOP)
        try:
            await wakes.more()
        finally:
            server.signal(signal.SIGCONT)


async def test_a_listener_on_a_quiet_server_stays_connected(
    server: Server, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_PING_AFTER", 0.01)
    store = await open_store(server.url)
    async with listening(store) as wakes:
        heard, pings = wakes.count, int(_pings(server))
        async with asyncio.timeout(10):
            while _pings(server) < pings + 10:
                await asyncio.sleep(0.01)
        assert wakes.count == heard


def _pings(server: Server) -> int:
    """How often the server was pinged by others."""
    facts = server.ask("INFO", "commandstats")
    return int(facts.get("cmdstat_ping", {}).get("calls", 0))


async def test_nobody_listens_on_a_store_that_is_not_open(redis_url: str) -> None:
    with pytest.raises(StoreUnavailable):
        await RedisStore(redis_url).listen(lambda: None)
