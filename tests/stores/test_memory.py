from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from ductape_asgi.models import Position
from ductape_asgi.stores import memory
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.testing import StoreContract
from ductape_asgi.testing.contract.records import ANN, NOW, REALM, TAG, ids_of, position, start, start_limited

pytestmark = pytest.mark.anyio


class TestMemoryStore(StoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[MemoryStore]:
        store = MemoryStore()
        await store.open()
        yield store
        await store.close()


async def test_its_text_shows_no_session() -> None:
    store = MemoryStore()
    record = await start(store)
    assert repr(store) == "<MemoryStore of 1 sessions>"
    assert record.session_id not in repr(store)


async def test_the_log_is_bounded() -> None:
    store = MemoryStore()
    await start(store)
    before = await position(store)
    for _ in range(memory._LOG_KEPT + 1):
        await store.update(REALM, TAG, subject=ANN, session_id=None, data=b"x", now=NOW)
    assert not (await store.log_since(before)).complete
    next_one = Position(before.epoch, before.sequence + 1)
    assert len((await store.log_since(next_one)).entries) == memory._LOG_KEPT


async def test_sessions_that_were_ended_leave_nothing_behind() -> None:
    store = MemoryStore()
    for step in range(1000):
        record = await start(store, subject=f"person-{step}")
        await store.revoke(REALM, TAG, record.session_id, now=NOW)
    assert not store._records
    assert not store._people
    assert len(store._deadlines) < 100


async def test_purging_passes_over_sessions_that_were_ended() -> None:
    store = MemoryStore()
    ended, over = await start(store, ends_at=int(NOW) - 1), await start(store, ends_at=int(NOW))
    await store.revoke(REALM, TAG, ended.session_id, now=NOW)
    assert await store.purge(before=NOW, limit=1) == 1
    assert await store.verify(over.session_id, generation=0) is None


def test_loops_in_many_threads_share_one() -> None:
    store = MemoryStore()

    async def work() -> None:
        for _ in range(200):
            await start_limited(store, 5)

    threads = [threading.Thread(target=asyncio.run, args=[work()]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(asyncio.run(ids_of(store))) == 5
