"""Shards: what shares a slot, how session ids lead there, and that nothing is left behind in an index."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from ductape_asgi import Sessions, TagPolicy, new_access_key
from ductape_asgi.errors import ConfigurationError, RevokedSession, StoreUnavailable
from ductape_asgi.stores.base import SecretChanged, route_of
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.redis import RedisStore
from ductape_asgi.stores.redis.address import read_url
from ductape_asgi.stores.redis.keys import SHARDS, Keys, route, shard_of_session, shard_of_subject
from ductape_asgi.stores.redis.records import decode, encode
from ductape_asgi.testing.contract.records import (
    ANN,
    BOB,
    ENDS_AT,
    NOW,
    REALM,
    SECRET,
    TAG,
    ids_of,
    must_read,
    new_record,
    read,
    start,
    start_limited,
)
from tests.redis_servers import fresh


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["one server", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    name = "redis_url" if request.param == "one server" else "redis_cluster_url"
    return fresh(request.getfixturevalue(name))


@pytest.fixture
async def store(url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(url)
    await store.open()
    yield store
    await store.close()


async def keys_left(store: RedisStore) -> Counter[str]:
    """How many keys of each kind there are."""
    kinds: Counter[str] = Counter()
    for node in store._opened.topology.nodes:
        (found,) = await node.ask(("KEYS", f"{{{store._address.prefix}:*"))
        kinds.update(key.decode().partition("}:")[2].partition(":")[0] for key in found)
    return kinds


async def ask(store: RedisStore, shard: int, *command: Any) -> Any:
    return (await store._opened.topology.ask(shard, command))[0]


def test_all_keys_of_a_shard_are_in_one_slot_and_no_two_shards_share_a_key() -> None:
    keys = Keys("ductape")
    for shard in range(SHARDS):
        names = [
            *keys.logged(shard),
            keys.counter(shard),
            keys.session(shard, "sid"),
            keys.person(shard, REALM, "tag}{", ANN),
        ]
        assert {key_slot(name.encode()) for name in names} == {key_slot(keys.tags[shard].encode())}
    assert len({key_slot(tag.encode()) for tag in keys.tags}) == SHARDS


def test_a_person_has_one_shard_and_anonymous_sessions_are_spread() -> None:
    assert route(ANN) == route(ANN)
    assert shard_of_session("x" * 22 + route(ANN)) == shard_of_subject(ANN)
    assert {shard_of_session("x" * 22 + route(f"person-{number}")) for number in range(2000)} == set(range(SHARDS))
    assert len({route(None) for _ in range(500)}) > 30


@pytest.mark.parametrize(
    "junk", ["", "x", "x" * 22, "x" * 22 + "BA", "x" * 22 + "A.", "x" * 63 + "AA", "é" * 22 + "AA"]
)
def test_what_is_no_id_of_ours_leads_nowhere(junk: str) -> None:
    assert shard_of_session(junk) is None


def test_other_stores_have_no_wishes() -> None:
    assert route_of(MemoryStore(), REALM, ANN) == ""


def test_a_record_comes_back_from_its_text() -> None:
    store = RedisStore("redis://localhost")
    for record in (
        new_record(store),
        new_record(store, idle_ttl=120, generation=2**40, rotated_at=NOW + 0.1234567, client=b"", tag="é"),
    ):
        assert decode(encode(record)) == record


def test_a_full_record_is_small() -> None:
    store = RedisStore("redis://localhost")
    record = new_record(store)
    sealed = len(record.identity) + len(record.client) + len(record.data)
    assert len(encode(record)) - sealed < 220


def test_the_prefix_is_the_stores_own() -> None:
    assert read_url("redis://h?prefix=shop").prefix == "shop"
    assert Keys("shop").heads[3] == "{shop:03}:head"


@pytest.mark.anyio
async def test_an_id_without_a_route_is_refused_at_creation(store: RedisStore) -> None:
    with pytest.raises(ConfigurationError, match="route"):
        await start(store, session_id="x" * 22)


@pytest.mark.anyio
async def test_ending_sessions_leaves_no_key_of_theirs(store: RedisStore) -> None:
    kept = {"head": 64, "log": 3, "count": 3, "secrets": 4}  # of secrets, the realm's own and a copy a shard
    await store.log_since(None)
    first = await start(store)
    assert await store.revoke(REALM, TAG, first.session_id, now=NOW)
    for _ in range(3):
        await start(store)
    await store.revoke_all(REALM, TAG, ANN, spare=None, now=NOW)
    _, _ = await start_limited(store, 1, subject=BOB), await start_limited(store, 1, subject=BOB)
    await store.revoke_all(REALM, TAG, BOB, spare=None, now=NOW)
    reused = await start(store, subject="carl", generation=5)
    await store.rotate(reused.session_id, generation=1, grace=0, refresh_key="k", client=None, now=NOW)
    old = await start(store, subject=ANN)
    await start_limited(store, 1, subject=BOB, replaces=old.session_id, ends_at=int(NOW) + 1)
    assert await store.purge(before=NOW + 2, limit=10) == 1
    assert await keys_left(store) == kept


@pytest.mark.anyio
async def test_everything_of_a_session_expires_by_itself(store: RedisStore) -> None:
    shard = shard_of_subject(ANN)
    short = await start(store, ends_at=int(NOW) + 10)
    person = store._keys.person(shard, REALM, TAG, ANN)
    session = store._keys.session(shard, short.session_id)
    assert 7200 < await ask(store, shard, "TTL", session) <= 7210
    assert 7200 < await ask(store, shard, "TTL", person) <= 7210
    await start(store)
    await start(store, ends_at=int(NOW) + 20)
    longest = ENDS_AT - int(NOW) + 7200
    assert longest - 60 < await ask(store, shard, "TTL", person) <= longest


@pytest.mark.anyio
async def test_changing_a_session_does_not_make_it_live_longer(store: RedisStore) -> None:
    record = await start(store, generation=1, ends_at=int(NOW) + 10)
    shard, key = shard_of_subject(ANN), store._keys.session(shard_of_subject(ANN), record.session_id)
    steps = [
        lambda: store.verify(record.session_id, generation=1),
        lambda: store.rotate(record.session_id, generation=1, grace=0, refresh_key="k", client=b"c", now=NOW),
        lambda: store.update(REALM, TAG, subject=None, session_id=record.session_id, data=b"d", now=NOW),
        lambda: store.touch({record.session_id: NOW + 5}),
        lambda: store.reseal(record),
    ]
    for step in steps:
        await step()
        assert 0 < await ask(store, shard, "TTL", key) <= 7210


@pytest.mark.anyio
@pytest.mark.parametrize("reader", ["list", "limit", "revoke_all", "update"])
async def test_who_reads_an_index_takes_out_what_has_expired(store: RedisStore, reader: str) -> None:
    gone, alive = await start(store), await start(store)
    shard = shard_of_subject(ANN)
    person = store._keys.person(shard, REALM, TAG, ANN)
    await ask(store, shard, "DEL", store._keys.session(shard, gone.session_id))
    assert await ask(store, shard, "ZCARD", person) == 2
    if reader == "list":
        assert await ids_of(store) == [alive.session_id]
    elif reader == "limit":
        _, ended = await start_limited(store, 2, evict=False)
        assert ended == ()
    elif reader == "update":
        assert await store.update(REALM, TAG, subject=ANN, session_id=None, data=b"d", now=NOW) == 1
    else:
        assert await store.revoke_all(REALM, TAG, ANN, spare=alive.session_id, now=NOW) == 0
    left = await ask(store, shard, "ZRANGE", person, 0, -1)
    assert gone.session_id.encode() not in left
    assert alive.session_id.encode() in left


@pytest.mark.anyio
async def test_purging_takes_expired_sessions_out_of_the_deadlines(store: RedisStore) -> None:
    record = await start(store, ends_at=int(NOW))
    shard = shard_of_subject(ANN)
    await ask(store, shard, "DEL", store._keys.session(shard, record.session_id))
    assert await store.purge(before=NOW, limit=10) == 0
    assert await ask(store, shard, "EXISTS", store._keys.deadlines(shard)) == 0


@pytest.mark.anyio
async def test_purging_reaches_all_shards_within_its_limit(store: RedisStore) -> None:
    for number in range(30):
        await start(store, subject=f"person-{number}", ends_at=int(NOW))
    assert [await store.purge(before=NOW, limit=20) for _ in range(3)] == [20, 10, 0]


@pytest.mark.anyio
async def test_touching_reaches_all_shards_in_steps(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ductape_asgi.stores.redis.store._AT_ONCE", 2)
    records = [await start(store, subject=f"person-{number % 7}") for number in range(30)]
    await store.touch({record.session_id: NOW + 5 for record in records})
    assert {(await must_read(store, record.session_id)).last_seen_at for record in records} == {NOW + 5}


@pytest.mark.anyio
async def test_a_start_that_cannot_end_what_it_replaces_leaves_nothing_new(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await start(store, subject="visitor")
    fails = [True]

    async def revoke(shard: int, session_id: str, realm: str, tag: str, now: float) -> bool:
        if session_id == old.session_id and fails:
            raise StoreUnavailable("the node of that shard is down")
        return await RedisStore._revoke(store, shard, session_id, realm, tag, now)

    monkeypatch.setattr(store, "_revoke", revoke)
    with pytest.raises(StoreUnavailable):
        await start_limited(store, 5, replaces=old.session_id)
    assert await ids_of(store) == []
    assert await read(store, old.session_id) == old
    fails.clear()
    _, ended = await start_limited(store, 5, replaces=old.session_id)
    assert ended == (old.session_id,)


@pytest.mark.anyio
async def test_sessions_finds_people_and_strangers_by_their_ids(url: str) -> None:
    tags = [TagPolicy("user-session"), TagPolicy("visitor", anonymous=True)]
    options: dict[str, Any] = {"access_key": new_access_key(), "product": "shop", "env": "prd", "tags": tags}
    async with Sessions(store=url, **options) as one, Sessions(store=url, **options) as two:
        mine = [await one.start(tag="user-session", data={"userId": "ann"}) for _ in range(3)]
        visitors = [await one.start(tag="visitor", data={"cart": number}) for number in range(10)]
        assert len({issued.session_id[-2:] for issued in mine}) == 1
        assert len({issued.session_id[-2:] for issued in visitors}) > 1
        for issued in [*mine, *visitors]:
            assert (await two.verify(tag=issued.tag, token=issued.token)).session_id == issued.session_id
            await two.refresh(tag=issued.tag, refresh_token=issued.refresh_token)
        assert (await two.list(tag="user-session", identifier="ann")).count == 3
        assert await two.revoke_all(tag="user-session", identifier="ann") == 3
        assert await two.revoke(tag="visitor", session_id=visitors[0].session_id)
        for issued in (*mine, visitors[0]):
            with pytest.raises(RevokedSession):
                await one.verify(tag=issued.tag, token=issued.token, fresh=True)
        bob = await one.start(tag="user-session", data={"userId": "bob"}, replaces=visitors[1].session_id)
        assert bob.session_id
        with pytest.raises(RevokedSession):
            await one.verify(tag="visitor", token=visitors[1].token, fresh=True)


@pytest.mark.anyio
@pytest.mark.parametrize("first", ["the worker that was there", "a new worker"])
async def test_a_node_that_comes_back_empty_takes_no_pseudonyms_with_it(redis_url: str, first: str) -> None:
    """Else those of the other nodes could not sign in any more, nor be found."""
    url = fresh(redis_url)
    options: dict[str, Any] = {"access_key": new_access_key(), "product": "shop", "env": "prd", "store": url}
    people = [f"user-{number}" for number in range(30)]
    async with Sessions(**options) as old, Sessions(**options) as new:
        for person in people:
            await old.start(tag="user-session", data={"userId": person})
        store = old.worker.store
        assert isinstance(store, RedisStore)
        home = store._keys.heads[store._keys.secrets("shop:prd")[0]].removesuffix("head")
        with redis.Redis.from_url(redis_url) as client:
            client.delete(*client.scan_iter(match=f"{home}*", count=1000))
        await old.worker.feed.catch_up()
        for worker in (old, new) if first == "the worker that was there" else (new, old):
            for person in people:
                await worker.start(tag="user-session", data={"userId": person})
        counts = {(await new.list(tag="user-session", identifier=person)).count for person in people}
        assert counts <= {2, 3}  # who lived on that node has lost one
        assert 3 in counts


@pytest.mark.anyio
async def test_a_copy_of_a_secret_that_the_realm_no_longer_has_is_replaced(redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        store = RedisStore(fresh(redis_url))
        await store.open()
        stack.push_async_callback(store.close)
        record = await start(store)
        shard, (home, key) = shard_of_subject(record.subject), store._keys.secrets(record.realm)
        assert shard != home
        (only,) = store._opened.topology.nodes  # type: ignore[union-attr]
        copy = store._keys.secrets_in(shard, record.realm)
        await only.ask(("HSET", copy, record.refresh_key, b"of another store"))
        await start(store)
        await only.ask(("HSET", key, record.refresh_key, b"of another store"), ("DEL", copy))
        with pytest.raises(SecretChanged):
            await store.create(
                new_record(store), limit=None, evict=False, replaces=None, secret=SECRET, now=record.created_at
            )


def test_sessions_opens_anew_in_each_event_loop(redis_url: str) -> None:
    """As test clients do, one loop a request."""
    sessions = Sessions(access_key=new_access_key(), product="shop", env="prd", store=fresh(redis_url))
    issued = asyncio.run(sessions.start(tag="user-session", data={"userId": "ann"}))
    for _ in range(3):
        session = asyncio.run(sessions.verify(tag="user-session", token=issued.token))
        assert session.identifier == "ann"


@pytest.mark.anyio
async def test_two_prefixes_are_two_stores(redis_url: str) -> None:
    one, two = RedisStore(fresh(redis_url)), RedisStore(fresh(redis_url))
    await one.open()
    await two.open()
    record = await start(one)
    assert await read(two, record.session_id) is None
    await one.close()
    await two.close()


@pytest.mark.anyio
async def test_the_servers_hold_what_was_sealed_only(redis_url: str) -> None:
    url = fresh(redis_url)
    async with Sessions(access_key=new_access_key(), product="shop", env="prd", store=url) as sessions:
        await sessions.start(tag="user-session", data={"userId": "ann-lee", "role": "treasurer"}, client=None)
        with redis.Redis.from_url(redis_url) as client:
            keys = list(client.scan_iter(match=f"{{{url.rpartition('=')[2]}*", count=1000))
            held = [client.get(key) for key in keys if client.type(key) == b"string"]
        assert any(len(value) > 300 for value in held)
        assert not any(word in text for text in [*keys, *held] for word in (b"ann-lee", b"treasurer"))
