"""The feed of one worker, by itself: who shares which reading, and what an older answer may not undo."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from ductape_asgi.cache import VerifiedTokens
from ductape_asgi.models import LogPage, Position
from ductape_asgi.revocations import Feed
from ductape_asgi.stores.guarded import GuardedStore
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.testing.contract.records import NOW, REALM, TAG, start


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
