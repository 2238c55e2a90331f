"""Event loops that live at the same time, in threads, with one `Sessions`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from ductape_asgi import ConfigurationError, DuctapeMiddleware, Sessions
from ductape_asgi.latch import Latch
from tests.asgi_client import App, bearer, call

from .conftest import MakeStore
from .push_store import PushStore, Server
from .support import ANN, TAG, WatchedStore, accepted

pytestmark = [pytest.mark.anyio, pytest.mark.any_loop]

Run = Callable[[Callable[[], Awaitable[Any]]], Any]
RUNS: dict[str, Run] = {"asyncio": lambda main: asyncio.run(main()), "trio": trio.run}  # type: ignore[arg-type,return-value]


@pytest.fixture
def store(make_store: MakeStore) -> WatchedStore:
    return make_store()


@pytest.fixture
def closed(store: WatchedStore, access_key: str) -> Sessions:
    return Sessions(access_key=access_key, product="shop", env="prd", store=store)


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest) -> Run:
    """Another event loop, which ends with what it runs."""
    return RUNS[request.param]


async def in_thread(run: Run, main: Callable[[], Awaitable[Any]]) -> Any:
    return await anyio.to_thread.run_sync(run, main)


async def test_loops_that_come_and_go_leave_the_store_open_to_the_one_that_stays(
    closed: Sessions, store: WatchedStore, run: Run
) -> None:
    before = set(threading.enumerate())
    async with closed:
        issued = await closed.start(tag=TAG, data=ANN)
        over = False

        async def elsewhere() -> None:
            assert await accepted(closed, issued.token) == "ok"
            await closed.start(tag=TAG, data=ANN)

        async def come_and_go() -> None:
            nonlocal over
            for _ in range(20):
                await in_thread(run, elsewhere)
            over = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(come_and_go)
            while not over:
                await closed.verify(tag=TAG, token=issued.token, fresh=True)
                await closed.start(tag=TAG, data={"userId": "bob"})
                await anyio.lowlevel.checkpoint()  # a store in memory lets no other task go on
        assert store.calls["close"] == 0
        assert (await closed.list(tag=TAG, identifier="ann")).count == 21
    ours = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("ductape-")]
    for thread in ours:
        thread.join(10)  # it has answered, and is about to end
        assert not thread.is_alive()


async def test_only_the_last_loop_that_has_it_open_closes(closed: Sessions, store: WatchedStore, run: Run) -> None:
    async def enter_and_leave() -> None:
        async with closed:
            await closed.start(tag=TAG, data=ANN)

    async with closed:
        await in_thread(run, enter_and_leave)
        assert store.calls["close"] == 0
        assert (await closed.list(tag=TAG, identifier="ann")).count == 1
    assert store.calls["close"] == 1


async def test_a_loop_that_stays_longer_keeps_it_open(closed: Sessions, store: WatchedStore, run: Run) -> None:
    entered, leave = Latch(), Latch()

    async def stay() -> None:
        async with closed:
            entered.open()
            await leave.wait_async()
            await closed.start(tag=TAG, data=ANN)
            assert store.calls["close"] == 0

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_thread, run, stay)
        async with closed:
            await entered.wait_async()
        leave.open()
    assert store.calls["close"] == 1


async def test_loops_open_one_after_another_and_none_is_blocked(
    closed: Sessions, store: WatchedStore, run: Run
) -> None:
    opening, go_on, turned = Latch(), Latch(), Latch()
    under_way = 0

    async def slowly() -> None:
        nonlocal under_way
        under_way += 1
        assert under_way == 1
        opening.open()
        await go_on.wait_async()

    async def opened() -> None:
        nonlocal under_way
        under_way -= 1

    store.before["open"], store.after["open"] = slowly, opened

    async def second() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: closed.start(tag=TAG, data=ANN))
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            turned.open()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(closed.__aenter__)
        await opening.wait_async()
        tasks.start_soon(in_thread, run, second)
        with anyio.fail_after(20):
            await turned.wait_async()
        go_on.open()
    assert (await closed.list(tag=TAG, identifier="ann")).count == 1
    await closed.__aexit__(None, None, None)


async def test_sync_works_in_the_loop_that_has_entered(closed: Sessions, run: Run) -> None:
    entered, leave = Latch(), Latch()

    async def lazily() -> None:
        await closed.health()
        entered.open()
        await leave.wait_async()

    async with closed, anyio.create_task_group() as tasks:
        here = closed.worker.lifetime.token
        tasks.start_soon(in_thread, run, lazily)
        await entered.wait_async()
        assert closed.worker.lifetime.token is here
        leave.open()


async def test_a_store_of_one_loop_refuses_another_until_the_first_has_gone(access_key: str, run: Run) -> None:
    sessions = Sessions(access_key=access_key, product="shop", env="prd", store=PushStore(Server()))

    async def elsewhere() -> None:
        await sessions.start(tag=TAG, data=ANN)

    async with sessions:
        issued = await sessions.start(tag=TAG, data=ANN)
        with pytest.raises(ConfigurationError, match="one event loop at a time"):
            await in_thread(run, elsewhere)
        assert await accepted(sessions, issued.token) == "ok"
    await in_thread(run, elsewhere)
    async with sessions:
        assert (await sessions.list(tag=TAG, identifier="ann")).count == 2


async def test_the_log_read_in_another_loop_amid_a_hit_vouches_for_no_entry_that_it_removed(
    closed: Sessions, store: WatchedStore, run: Run
) -> None:
    """Threads take turns at any place: here, right behind the look-up of the entry."""

    class Interrupted(dict[bytes, Any]):
        def get(self, key: bytes, default: Any = None) -> Any:
            entry = self[key]
            thread = threading.Thread(target=run, args=(closed.worker.feed.catch_up,))
            thread.start()
            thread.join()
            return entry

    async with closed as sessions:
        issued = await sessions.start(tag=TAG, data=ANN)
        middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG)
        for _ in range(2):
            assert (await call(middleware, headers=[bearer(issued.token)])).session
        middleware._by_bearer = Interrupted(sessions.worker.cache.by_bearer)
        await store.revoke("shop:prd", TAG, issued.session_id, now=sessions.worker.clock())  # as another process does
        assert not (await call(middleware, headers=[bearer(issued.token)])).session
