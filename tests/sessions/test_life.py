"""Opening and closing: counted, lazy, in whichever event loop runs, and after a fork."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

from ductape_asgi import ConfigurationError, IssuedSession, Sessions, new_access_key
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.sqlite import SQLiteStore

from .conftest import MakeStore
from .support import ANN, TAG, WatchedStore, accepted

Run = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture
def store(make_store: MakeStore) -> WatchedStore:
    return make_store()


@pytest.fixture
def closed(store: WatchedStore, access_key: str) -> Sessions:
    return Sessions(access_key=access_key, product="shop", env="prd", store=store)


def openings(store: WatchedStore) -> tuple[int, int]:
    return store.calls["open"], store.calls["close"]


@pytest.mark.anyio
async def test_async_with_opens_and_closes(closed: Sessions, store: WatchedStore) -> None:
    async with closed as opened:
        assert opened is closed
        assert openings(store) == (1, 0)
    assert openings(store) == (1, 1)


@pytest.mark.anyio
async def test_opening_is_counted_and_the_last_one_closes(closed: Sessions, store: WatchedStore) -> None:
    async with closed:
        async with closed, closed:
            assert openings(store) == (1, 0)
        issued = await closed.start(tag=TAG, data=ANN)
        assert openings(store) == (1, 0)
        assert await accepted(closed, issued.token) == "ok"
    assert openings(store) == (1, 1)


@pytest.mark.anyio
async def test_the_last_one_closes_whichever_task_it_is_in(closed: Sessions, store: WatchedStore) -> None:
    entered, leave = anyio.Event(), anyio.Event()

    async def other_task() -> None:
        async with closed:
            entered.set()
            await leave.wait()

    async with anyio.create_task_group() as tasks:
        async with closed:
            tasks.start_soon(other_task)
            await entered.wait()
        assert openings(store) == (1, 0)
        leave.set()
    assert openings(store) == (1, 1)


@pytest.mark.anyio
async def test_many_tasks_that_open_at_once_open_once(closed: Sessions, store: WatchedStore) -> None:
    async def enter() -> None:
        async with closed:
            await closed.start(tag=TAG, data=ANN)

    async with closed, anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(enter)
    assert openings(store) == (1, 1)


@pytest.mark.anyio
async def test_a_verb_called_first_opens_by_itself(closed: Sessions, store: WatchedStore) -> None:
    issued = await closed.start(tag=TAG, data=ANN)
    assert openings(store) == (1, 0)
    assert await accepted(closed, issued.token) == "ok"
    async with closed:
        assert openings(store) == (1, 0)
    assert openings(store) == (1, 1)


VERBS: dict[str, Callable[[Sessions, IssuedSession], Awaitable[Any]]] = {
    "start": lambda sessions, issued: sessions.start(tag=TAG, data=ANN),
    "verify": lambda sessions, issued: sessions.verify(tag=TAG, token=issued.token),
    "refresh": lambda sessions, issued: sessions.refresh(tag=TAG, refresh_token=issued.refresh_token),
    "revoke": lambda sessions, issued: sessions.revoke(tag=TAG, session_id=issued.session_id),
    "revoke_all": lambda sessions, issued: sessions.revoke_all(tag=TAG, identifier="ann"),
    "list": lambda sessions, issued: sessions.list(tag=TAG, identifier="ann"),
    "update by id": lambda sessions, issued: sessions.update(tag=TAG, session_id=issued.session_id, data=ANN),
    "update": lambda sessions, issued: sessions.update(tag=TAG, identifier="ann", data=ANN),
    "purge": lambda sessions, issued: sessions.purge(),
}


@pytest.mark.anyio
@pytest.mark.parametrize("verb", VERBS)
async def test_each_verb_works_before_opening_and_after_closing(
    closed: Sessions, make_store: MakeStore, access_key: str, verb: str
) -> None:
    async with Sessions(access_key=access_key, product="shop", env="prd", store=make_store()) as first:
        issued = await first.start(tag=TAG, data=ANN)
    await VERBS[verb](closed, issued)
    async with closed:
        pass
    again = await closed.start(tag=TAG, data=ANN)
    async with closed:
        pass
    await VERBS[verb](closed, again)
    async with closed:
        pass


RUNS: dict[str, Run] = {"asyncio": lambda main: asyncio.run(main()), "trio": trio.run}  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("second", RUNS)
@pytest.mark.parametrize("first", RUNS)
@pytest.mark.parametrize("way", ["lazily", "async with"])
def test_sessions_outlive_the_event_loop(closed: Sessions, first: str, second: str, way: str) -> None:
    kept: list[IssuedSession] = []

    async def begin() -> None:
        kept.append(await closed.start(tag=TAG, data=ANN))
        assert await accepted(closed, kept[0].token) == "ok"

    async def go_on() -> None:
        assert await accepted(closed, kept[0].token) == "ok"
        kept.append(await closed.refresh(tag=TAG, refresh_token=kept[-1].refresh_token))
        assert await accepted(closed, kept[-1].token) == "ok"

    async def end() -> None:
        assert await closed.revoke(tag=TAG, session_id=kept[0].session_id)
        assert await accepted(closed, kept[0].token) == "revoked_session"

    for run, step in ((first, begin), (second, go_on), (first, go_on), (second, end)):

        async def main(step: Callable[[], Awaitable[None]] = step) -> None:
            if way == "lazily":
                await step()
            else:
                async with closed:
                    await step()

        RUNS[run](main)
    asyncio.run(_closed(closed))


async def _closed(sessions: Sessions) -> None:
    async with sessions:
        pass


def test_a_loop_a_request_leaves_no_threads_behind(closed: Sessions) -> None:
    before = set(threading.enumerate())
    for _ in range(10):
        asyncio.run(closed.start(tag=TAG, data=ANN))  # type: ignore[arg-type]
    assert len(set(threading.enumerate()) - before) <= 2
    asyncio.run(_closed(closed))
    for thread in set(threading.enumerate()) - before:
        thread.join(10)  # it has answered, and is about to end
        assert not thread.is_alive()


@pytest.mark.anyio
async def test_a_verb_called_while_the_last_one_leaves_waits_and_opens_anew(
    closed: Sessions, store: WatchedStore
) -> None:
    leaving = anyio.Event()

    async def slowly() -> None:
        leaving.set()
        for _ in range(10):
            await anyio.lowlevel.checkpoint()

    store.before["close"] = slowly
    async with anyio.create_task_group() as tasks:
        await closed.__aenter__()
        tasks.start_soon(closed.__aexit__, None, None, None)
        await leaving.wait()
        assert await accepted(closed, (await closed.start(tag=TAG, data=ANN)).token)
    assert openings(store) == (2, 1)
    await closed.start(tag=TAG, data=ANN)
    await _closed(closed)


@pytest.mark.anyio
async def test_what_was_started_is_there_after_closing_and_opening_anew(closed: Sessions) -> None:
    async with closed:
        issued = await closed.start(tag=TAG, data=ANN)
    async with closed:
        assert await accepted(closed, issued.token) == "ok"
        assert (await closed.list(tag=TAG, identifier="ann")).count == 1


@pytest.mark.anyio
async def test_what_was_revoked_elsewhere_while_closed_is_refused_after_opening(
    closed: Sessions, make_store: MakeStore, access_key: str
) -> None:
    async with Sessions(access_key=access_key, product="shop", env="prd", store=make_store()) as other:
        async with closed:
            issued = await closed.start(tag=TAG, data=ANN)
            assert await accepted(closed, issued.token) == "ok"
        await other.revoke(tag=TAG, session_id=issued.session_id)
        assert await accepted(closed, issued.token) == "revoked_session"
        async with closed:
            assert await accepted(closed, issued.token) == "revoked_session"


@pytest.mark.anyio
async def test_closing_writes_the_last_uses(make_store: MakeStore, access_key: str) -> None:
    now = [1_800_000_000.0]
    store = make_store()
    options: dict[str, Any] = {"access_key": access_key, "product": "shop", "env": "prd", "clock": lambda: now[0]}
    async with Sessions(store=store, **options) as sessions:
        issued = await sessions.start(tag=TAG, data=ANN)
        now[0] += 300
        assert await accepted(sessions, issued.token) == "ok"
    async with Sessions(store=make_store(), **options) as other:
        (info,) = await other.list(tag=TAG, identifier="ann")
    assert info.last_seen_at.timestamp() == now[0]


@pytest.mark.anyio
async def test_a_store_that_cannot_be_opened_is_a_configuration_error_at_the_first_use(
    tmp_path: Path, access_key: str
) -> None:
    sessions = Sessions(access_key=access_key, product="a", env="b", store=f"sqlite:///{tmp_path}/no/such/folder.db")
    with pytest.raises(ConfigurationError, match="director"):
        async with sessions:
            pass
    with pytest.raises(ConfigurationError, match="director"):
        await sessions.start(tag=TAG, data=ANN)
    (tmp_path / "no" / "such").mkdir(parents=True)
    async with sessions:
        assert await sessions.start(tag=TAG, data=ANN)


@pytest.mark.anyio
async def test_the_default_store_is_a_file_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, access_key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    sessions = Sessions(access_key=access_key, product="shop", env="prd")
    assert list(tmp_path.iterdir()) == []
    async with sessions:
        await sessions.start(tag=TAG, data=ANN)
    assert tmp_path.joinpath("sessions.db").is_file()


@pytest.mark.anyio
async def test_relative_and_absolute_sqlite_urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, access_key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for url in ("sqlite:///data/mine.db", f"sqlite:///{tmp_path}/data/mine.db", "sqlite:///data/my%20own.db"):
        async with Sessions(access_key=access_key, product="shop", env="prd", store=url) as sessions:
            await sessions.start(tag=TAG, data=ANN)
    assert (tmp_path / "data" / "mine.db").is_file()
    assert (tmp_path / "data" / "my own.db").is_file()
    async with Sessions(access_key=access_key, product="shop", env="prd", store="sqlite:///data/mine.db") as sessions:
        assert (await sessions.list(tag=TAG, identifier="ann")).count == 2


@pytest.mark.anyio
async def test_a_cancelled_opening_leaves_sessions_usable(closed: Sessions, store: WatchedStore) -> None:
    never = anyio.Event()
    store.before["open"] = never.wait
    with anyio.move_on_after(0.01) as moved:
        await closed.start(tag=TAG, data=ANN)
    assert moved.cancelled_caught
    del store.before["open"]
    async with closed:
        assert await closed.start(tag=TAG, data=ANN)


FORKING = """
import asyncio, os, sys
from ductape_asgi import Sessions
from ductape_asgi.stores.memory import MemoryStore

sessions = Sessions(access_key=sys.argv[1], product="a", env="b", store="memory://")

async def work():
    issued = await sessions.start(tag="t", data={"userId": "ann"})
    return (await sessions.verify(tag="t", token=issued.token)).identifier

asyncio.run(work())
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, asyncio.run(work()).encode())
    os._exit(0)
os.wait()
print(os.read(read, 10).decode(), asyncio.run(work()))
"""


def test_a_forked_child_opens_anew(access_key: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FORKING, access_key], capture_output=True, text=True, timeout=30, check=False
    )
    assert run.stdout.split() == ["ann", "ann"], run.stderr


def test_two_sessions_on_one_memory_store_share_it() -> None:
    memory, key = MemoryStore(), new_access_key()
    one, two = [Sessions(access_key=key, product="a", env="b", store=memory) for _ in range(2)]

    async def main() -> int:
        async with one, two:
            issued = await one.start(tag=TAG, data=ANN)
            await two.verify(tag=TAG, token=issued.token)
            return (await two.list(tag=TAG, identifier="ann")).count

    assert asyncio.run(main()) == 1


def test_a_store_object_is_taken_as_it_is(tmp_path: Path, access_key: str) -> None:
    store = SQLiteStore(tmp_path / "own.db")
    assert Sessions(access_key=access_key, product="a", env="b", store=store).worker.store is store
    assert not os.path.exists(tmp_path / "own.db")
