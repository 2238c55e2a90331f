"""`revoke` against `verify` and against `refresh`, in thousands of orders, each drawn from a fixed seed.

Every store call of two workers gives way a random number of times before and after it happens, so that steps of
all the tasks fall between each other in every way that an event loop can produce.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from ductape_asgi import IssuedSession, RefreshReused, RevokedSession, Sessions, new_access_key
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.sqlite import SQLiteStore

from .support import ANN, TAG, accepted

# Tens of thousands of rounds of what other tests cover: counting lines would make them take six times as long.
pytestmark = [pytest.mark.anyio, pytest.mark.no_cover]

#: The contract's figure on the store whose timing is all ours; fewer where each round waits for a disk.
ROUNDS = {("asyncio", "memory"): 10_000, ("trio", "memory"): 2_000, ("asyncio", "sqlite"): 300, ("trio", "sqlite"): 300}
DAWDLING = frozenset({"verify", "rotate", "revoke", "log_since"})


class DawdlingStore:
    """Gives way a random number of times around the calls that matter."""

    #: So many steps at once take longer than one is worth waiting for; here none may be turned away.
    deadline = None

    def __init__(self, store: Any, chance: random.Random) -> None:
        self._store = store
        self._chance = chance

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in DAWDLING:
            return method

        async def dawdling(*args: Any, **kwargs: Any) -> Any:
            await dawdle(self._chance)
            answer = await method(*args, **kwargs)
            await dawdle(self._chance)
            return answer

        return dawdling


async def dawdle(chance: random.Random) -> None:
    for _ in range(chance.choice((0, 0, 1, 1, 2, 3, 5))):
        await anyio.lowlevel.checkpoint()


class Race:
    """Two workers on one store, and the rounds they run."""

    def __init__(self, workers: list[Sessions], chance: random.Random, rounds: int) -> None:
        self.workers = workers
        self.chance = chance
        self.rounds = rounds

    def any_worker(self) -> Sessions:
        return self.chance.choice(self.workers)

    async def run(self, *tasks: Callable[[], Awaitable[None]]) -> None:
        async def delayed(task: Callable[[], Awaitable[None]]) -> None:
            await dawdle(self.chance)
            await task()

        async with anyio.create_task_group() as group:
            for task in self.chance.sample(tasks, len(tasks)):
                group.start_soon(delayed, task)


@pytest.fixture(params=["memory", "sqlite"])
async def race(request: pytest.FixtureRequest, anyio_backend: str, tmp_path: Path) -> AsyncIterator[Race]:
    chance = random.Random(f"{anyio_backend} {request.param}")
    memory, key = MemoryStore(), new_access_key()
    async with AsyncExitStack() as stack:
        workers = []
        for _ in range(2):
            store = memory if request.param == "memory" else SQLiteStore(tmp_path / "sessions.db")
            sessions = Sessions(
                access_key=key,
                product="a",
                env="b",
                store=DawdlingStore(store, chance),
                algorithm="HS256",  # type: ignore[arg-type]
            )
            workers.append(await stack.enter_async_context(sessions))
        yield Race(workers, chance, ROUNDS[anyio_backend, request.param])


async def test_nothing_verifies_that_started_after_the_revoke_was_acknowledged(race: Race) -> None:
    for _ in range(race.rounds):
        issued = await race.any_worker().start(tag=TAG, data=ANN)
        for worker in race.chance.sample(race.workers, race.chance.randrange(3)):
            await worker.verify(tag=TAG, token=issued.token)
        acknowledged = anyio.Event()

        async def revoke(issued: IssuedSession = issued, acknowledged: anyio.Event = acknowledged) -> None:
            await race.any_worker().revoke(tag=TAG, session_id=issued.session_id)
            acknowledged.set()

        async def verify(issued: IssuedSession = issued, acknowledged: anyio.Event = acknowledged) -> None:
            for _ in range(2):
                too_late = acknowledged.is_set()
                answer = await accepted(race.any_worker(), issued.token)
                assert answer in (("revoked_session",) if too_late else ("ok", "revoked_session"))

        await race.run(revoke, verify, verify)
        for worker in race.workers:
            assert await accepted(worker, issued.token) == "revoked_session"


async def test_no_child_outlives_a_revoke_that_was_acknowledged(race: Race) -> None:
    for _ in range(race.rounds):
        parent = await race.any_worker().start(tag=TAG, data=ANN)
        issued = [parent]
        generations = race.chance.choice((1, 2))  # a racing retry of the first would be reuse after the second

        async def revoke(session_id: str = parent.session_id) -> None:
            assert await race.any_worker().revoke(tag=TAG, session_id=session_id) is True

        async def refresh(
            parent: IssuedSession = parent, issued: list[IssuedSession] = issued, generations: int = generations
        ) -> None:
            newest = parent
            for _ in range(generations):
                try:
                    newest = await race.any_worker().refresh(tag=TAG, refresh_token=newest.refresh_token)
                except RevokedSession:
                    return
                issued.append(newest)
                await accepted(race.any_worker(), newest.token)

        await race.run(revoke, *[refresh] * (3 - generations))
        for child in issued:
            assert await accepted(race.any_worker(), child.token) == "revoked_session"
        with pytest.raises(RevokedSession):
            await race.any_worker().refresh(tag=TAG, refresh_token=issued[-1].refresh_token)


async def test_racing_refreshes_never_part_ways(race: Race) -> None:
    for _ in range(race.rounds // 10):
        parent = await race.any_worker().start(tag=TAG, data=ANN)
        children: set[str | None] = set()

        async def refresh(parent: IssuedSession = parent, children: set[str | None] = children) -> None:
            child = await race.any_worker().refresh(tag=TAG, refresh_token=parent.refresh_token)
            children.add(child.refresh_token)
            assert await accepted(race.any_worker(), child.token) == "ok"

        await race.run(refresh, refresh, refresh, refresh)
        assert len(children) == 1


async def test_reuse_against_a_rotation_leaves_nothing_live(race: Race) -> None:
    for _ in range(race.rounds // 10):
        parent = await race.any_worker().start(tag=TAG, data=ANN)
        child = await race.any_worker().refresh(tag=TAG, refresh_token=parent.refresh_token)
        newest = await race.any_worker().refresh(tag=TAG, refresh_token=child.refresh_token)
        issued = [parent, child, newest]

        async def steal(parent: IssuedSession = parent) -> None:
            with pytest.raises(RefreshReused):
                await race.any_worker().refresh(tag=TAG, refresh_token=parent.refresh_token)

        async def refresh(newest: IssuedSession = newest, issued: list[IssuedSession] = issued) -> None:
            with suppress(RevokedSession):
                issued.append(await race.any_worker().refresh(tag=TAG, refresh_token=newest.refresh_token))
                await accepted(race.any_worker(), issued[-1].token)

        await race.run(steal, refresh, refresh)
        for each in issued:
            for worker in race.workers:
                assert await accepted(worker, each.token) == "revoked_session"


async def test_nobody_reads_data_that_an_acknowledged_update_replaced(race: Race) -> None:
    for turn in range(race.rounds // 10):
        issued = await race.any_worker().start(tag=TAG, data={**ANN, "turn": -1})
        acknowledged = anyio.Event()

        async def update(
            session_id: str = issued.session_id, turn: int = turn, acknowledged: anyio.Event = acknowledged
        ) -> None:
            await race.any_worker().update(tag=TAG, session_id=session_id, data={**ANN, "turn": turn})
            acknowledged.set()

        async def verify(token: str = issued.token, turn: int = turn, acknowledged: anyio.Event = acknowledged) -> None:
            for _ in range(3):
                too_late = acknowledged.is_set()
                session = await race.any_worker().verify(tag=TAG, token=token)
                assert session.data["turn"] in ((turn,) if too_late else (-1, turn))

        await race.run(update, verify, verify)
        for worker in race.workers:
            assert (await worker.verify(tag=TAG, token=issued.token)).data["turn"] == turn
