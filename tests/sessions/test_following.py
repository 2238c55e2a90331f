"""What runs in the background: a fixed number of tasks, in the loop where it is open, and none when it is closed."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

from ductape_asgi import Sessions
from ductape_asgi.stores.sqlite import SQLiteStore

from .conftest import MakeSessions, MakeStore
from .push_store import PushStore, Server
from .support import ANN, TAG, WatchedStore, accepted, until

RUNS: dict[str, Callable[[Callable[[], Awaitable[Any]]], Any]] = {
    "asyncio": lambda main: asyncio.run(main()),  # type: ignore[arg-type]
    "trio": trio.run,  # type: ignore[dict-item]
}


@pytest.fixture
def store() -> PushStore:
    return PushStore(Server())


@pytest.fixture
def closed(store: PushStore, access_key: str) -> Sessions:
    return Sessions(access_key=access_key, product="shop", env="prd", store=store)


def tasks_here() -> int:
    """How many tasks the running loop has, the system's own included."""
    loop: Any = anyio.lowlevel.current_token().native_token
    if isinstance(loop, asyncio.AbstractEventLoop):
        return len(asyncio.all_tasks())
    return trio.lowlevel.current_statistics().tasks_living


@pytest.mark.anyio
async def test_a_thousand_requests_make_no_task(closed: Sessions, store: PushStore) -> None:
    before = tasks_here()
    async with closed:
        issued = await closed.start(tag=TAG, data=ANN)
        await until(lambda: _true(store.listening == 1))
        counted = set()
        for number in range(1000):
            assert await accepted(closed, issued.token) == "ok"
            if number % 100 == 0:
                issued = await closed.refresh(tag=TAG, refresh_token=issued.refresh_token)
                await closed.revoke(tag=TAG, session_id=(await closed.start(tag=TAG, data=ANN)).session_id)
            counted.add(tasks_here() - before)
        # Housekeeping, the lookout for open connections, and the two that follow the log.
        assert max(counted) <= 4
        assert store.listening == 1
    assert tasks_here() == before
    assert store.listening == 0


async def _true(fact: bool) -> bool:
    return fact


@pytest.mark.announcing
@pytest.mark.anyio
async def test_a_store_that_announces_is_not_read_while_nobody_asks(make_sessions: MakeSessions) -> None:
    sessions = await make_sessions(max_staleness=1)
    issued = await sessions.start(tag=TAG, data=ANN)
    assert await accepted(sessions, issued.token) == "ok"
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)
    before = store.calls["log_since"]
    await anyio.sleep(1)  # two heartbeats that there must not be
    assert store.calls["log_since"] == before
    assert store.calls["listen"] == 0


@pytest.mark.anyio
@pytest.mark.parametrize("hanging", ["log_since", "all"])
async def test_a_silent_store_does_not_keep_it_from_closing(closed: Sessions, store: PushStore, hanging: str) -> None:
    before = tasks_here()
    async with closed:
        await closed.start(tag=TAG, data=ANN)
        store.silent.add(hanging)
        store.server.wake_all()
        calls = len(store.calls)
        await until(lambda: _true(len(store.calls) > calls))
        leaving = anyio.current_time()
    # The last uses are handed over once more; that is one call, given up in time.
    assert anyio.current_time() - leaving < 5
    assert tasks_here() == before
    assert store.listening == 0


@pytest.mark.parametrize("second", RUNS)
@pytest.mark.parametrize("first", RUNS)
@pytest.mark.parametrize("leave", [True, False], ids=["closed", "loop ended"])
def test_another_loop_follows_anew_and_nothing_is_left_in_the_old_one(
    closed: Sessions, store: PushStore, access_key: str, first: str, second: str, leave: bool
) -> None:
    other = Sessions(access_key=access_key, product="shop", env="prd", store=PushStore(store.server))

    async def main() -> None:
        before = tasks_here()
        if leave:
            async with closed, other:
                await reached()
            assert tasks_here() == before
        else:
            await reached()

    async def reached() -> None:
        issued = await closed.start(tag=TAG, data=ANN)
        assert await accepted(closed, issued.token) == "ok"
        await until(lambda: _true(store.listening == 1))
        assert len(closed.worker.cache) == 1
        await other.revoke(tag=TAG, session_id=issued.session_id)
        await until(lambda: _true(len(closed.worker.cache) == 0))

    for run in (first, second, first):
        RUNS[run](main)
        assert store.listening == 0


def test_a_loop_in_another_thread_listens_for_itself(closed: Sessions, store: PushStore) -> None:
    store.any_loop = True  # type: ignore[attr-defined]
    both = threading.Event()

    async def first() -> None:
        await closed.start(tag=TAG, data=ANN)
        await until(lambda: _true(store.listening == 1))
        here = tasks_here()
        thread = threading.Thread(target=lambda: asyncio.run(second()))
        thread.start()
        await until(lambda: _true(both.is_set()))
        await asyncio.to_thread(thread.join, 20)
        assert store.listening == 1
        assert tasks_here() == here

    async def second() -> None:
        async with closed:
            await until(lambda: _true(store.listening == 2))
            both.set()

    asyncio.run(first())
    assert store.listening == 0


@pytest.mark.announcing
@pytest.mark.anyio
async def test_a_hung_log_of_a_store_that_announces_costs_a_request_half_a_second(
    make_sessions: MakeSessions, make_store: MakeStore
) -> None:
    here, there = await make_sessions(), await make_sessions(store=make_store())
    issued = await here.start(tag=TAG, data=ANN)
    assert await accepted(here, issued.token) == "ok"
    store = here.worker.store
    assert isinstance(store, WatchedStore)
    never = anyio.Event()
    store.before["log_since"] = never.wait
    await there.revoke(tag=TAG, session_id=issued.session_id)
    with anyio.fail_after(20):
        assert await accepted(here, issued.token) == "revoked_session"


@pytest.mark.anyio
async def test_a_backup_that_is_put_back_revives_nothing_that_a_living_worker_saw_end(
    tmp_path: Path, access_key: str
) -> None:
    given: dict[str, Any] = {"access_key": access_key, "product": "shop", "env": "prd"}
    path, backup = tmp_path / "sessions.db", tmp_path / "backup.db"
    async with Sessions(store=f"sqlite:///{path}", **given) as worker:
        issued = await worker.start(tag=TAG, data=ANN)
        kept = await worker.start(tag=TAG, data=ANN)
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
        await worker.revoke(tag=TAG, session_id=issued.session_id)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        backup.rename(path)

        async def ended_again() -> bool:
            assert await accepted(worker, issued.token) == "revoked_session"
            await worker.health()
            return await look.verify(issued.session_id, generation=-1) is None

        look = SQLiteStore(path)
        await look.open()
        assert await look.verify(issued.session_id, generation=-1) is not None
        await until(ended_again)
        await look.close()
        assert await accepted(worker, kept.token) == "ok"
    async with Sessions(store=f"sqlite:///{path}", **given) as stranger:
        assert await accepted(stranger, issued.token) == "revoked_session"
        assert await accepted(stranger, kept.token) == "ok"
