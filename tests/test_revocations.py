"""The feed of one worker, by itself: who shares which reading, and what an older answer may not undo."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from ductape_asgi.cache import VerifiedTokens
from ductape_asgi.errors import StoreUnavailable
from ductape_asgi.models import LogPage, Position, Revocation
from ductape_asgi.revocations import Feed
from ductape_asgi.stores.guarded import DEADLINE, GuardedStore
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.testing.contract.records import NOW, REALM, TAG, start
from tests.sessions import virtual_time


class Log(MemoryStore):
    """Announces nothing; its answers are ready at once and on their way for as long as `travel` takes."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0
        self.travel: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint

    def announced(self) -> Any:
        return None

    async def log_since(self, position: Position | None) -> LogPage:
        self.read += 1
        page = await super().log_since(position)
        await self.travel()
        return page


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def time() -> list[float]:
    return [100.0]


@pytest.fixture
def feed(log: Log, time: list[float]) -> Feed:
    def now() -> float:
        return time[0]

    return Feed(GuardedStore(log, now), VerifiedTokens(10), max_staleness=5, clock=now, elapsed=now)


async def turns() -> None:
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


@pytest.mark.anyio
async def test_who_wants_proof_shares_a_reading_under_way_and_who_was_woken_wants_a_later_one(
    log: Log, feed: Feed
) -> None:
    go_on = anyio.Event()
    log.travel = go_on.wait
    proven: list[bool] = []

    async def prove() -> None:
        proven.append(await feed.prove())

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(prove)
        await turns()
        assert log.read == 1
        record = await start(log)
        await log.revoke(REALM, TAG, record.session_id, now=NOW)
        for _ in range(20):
            tasks.start_soon(feed.catch_up)
        await turns()
        go_on.set()
    assert proven == [True] * 20
    assert log.read == 2
    assert feed.position == (await log.log_since(None)).position


@pytest.mark.anyio
async def test_what_was_appended_before_the_first_reading_is_not_missed(log: Log, feed: Feed) -> None:
    record = await start(log)
    entry = Revocation(REALM, TAG, session_id=record.session_id)
    assert await feed.appended(entry, log.revoke(REALM, TAG, record.session_id, now=NOW))
    await feed.catch_up()
    assert not feed.endings.doubted
    await feed.catch_up()
    assert not feed.endings.doubted


class Announcing(Log):
    """Its word is ahead of its log, as while another process writes."""

    word = memoryview(array("Q", [7]))

    def announced(self) -> memoryview:
        return self.word


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [virtual_time.backend("asyncio"), virtual_time.backend("trio")])
async def test_who_wants_proof_waits_for_several_readings_no_longer_than_for_one() -> None:
    log, now = Announcing(), anyio.current_time
    feed = Feed(GuardedStore(log, now), VerifiedTokens(10), max_staleness=5, clock=now, elapsed=now)
    travels = iter([0.4, 3600.0, 3600.0])

    async def travel() -> None:
        await anyio.sleep(next(travels))

    log.travel = travel
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.catch_up)
        await turns()
        tasks.start_soon(follow, feed)
        await turns()
        began = now()
        assert not await feed.prove()
        assert now() - began <= DEADLINE


async def follow(feed: Feed) -> None:
    """As the follower does when it is woken: a reading that begins as soon as the one under way has ended."""
    with pytest.raises(StoreUnavailable):
        await feed.catch_up()


def test_an_older_question_that_is_answered_later_undoes_nothing(log: Log, feed: Feed, time: list[float]) -> None:
    async def late() -> None:
        answered, go_on = anyio.Event(), anyio.Event()

        async def travel() -> None:
            answered.set()
            await go_on.wait()

        log.travel = travel
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed.catch_up)
            await answered.wait()
            log.travel = anyio.lowlevel.checkpoint
            record = await start(log)
            await log.revoke(REALM, TAG, record.session_id, now=NOW)
            time[0] += 3
            # Another loop of this process does not wait for ours.
            await asyncio.to_thread(asyncio.run, feed.catch_up())
            found = feed.position, feed.trust
            go_on.set()
        assert (feed.position, feed.trust) == found
        assert found[1][2:] == (108.0, 108.0)

    asyncio.run(late())
    assert log.read == 2
