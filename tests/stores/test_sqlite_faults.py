"""What goes wrong while a store is open is `StoreUnavailable`, soon, and leaves everything else whole."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

from ductape_asgi import Sessions, new_access_key
from ductape_asgi.errors import DuctapeError, StoreUnavailable
from ductape_asgi.stores import handoff
from ductape_asgi.stores.sqlite import SQLiteStore, database, opened, writer
from ductape_asgi.testing.contract.records import (
    ANN,
    NOW,
    REALM,
    TAG,
    all_at_once,
    ids_of,
    must_read,
    page_of,
    position,
    read,
    refresh,
    start,
    start_limited,
)

pytestmark = pytest.mark.anyio

Lock = Callable[[], AbstractContextManager[None]]


def whole(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# Locked by another process.


async def test_a_write_gives_up_after_about_a_second_when_the_file_is_locked(
    sqlite_store: SQLiteStore, locked: Lock
) -> None:
    with locked():
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="locked"):
            await start(sqlite_store)
        assert writer.PATIENCE <= time.monotonic() - began < writer.PATIENCE + 2


def test_a_refusal_for_another_process_lock_leaves_time_to_answer_within_a_second() -> None:
    assert writer.PATIENCE + database.BUSY_MS / 1000 <= 0.9


async def test_a_first_verification_behind_another_process_lock_is_refused_once(
    sqlite_store: SQLiteStore, path: Path, locked: Lock
) -> None:
    given: dict[str, Any] = {"access_key": new_access_key(), "product": "shop", "env": "prd"}
    async with Sessions(store=sqlite_store, **given) as sessions:
        issued = await sessions.start(tag=TAG, data={"userId": "ann"})
    late = Sessions(store=SQLiteStore(path), **given)
    with locked():
        began = time.monotonic()
        assert (await late.verify(tag=TAG, token=issued.token)).identifier == "ann"
        assert time.monotonic() - began < writer.PATIENCE + 2
    await late.worker.store.close()


async def test_writes_queued_behind_one_that_waits_give_up_no_later(sqlite_store: SQLiteStore, locked: Lock) -> None:
    with locked():
        began = time.monotonic()
        outcomes = await all_at_once([partial(start, sqlite_store) for _ in range(20)])
        assert time.monotonic() - began < writer.PATIENCE + 2
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 20


@pytest.mark.usefixtures("patient")
async def test_a_write_waits_for_a_short_lock(sqlite_store: SQLiteStore, locked: Lock) -> None:
    async with anyio.create_task_group() as tasks:
        with locked():
            tasks.start_soon(start, sqlite_store)
            await anyio.sleep(0.05)
    assert len(await ids_of(sqlite_store)) == 1


async def test_reads_do_not_wait_for_a_lock(sqlite_store: SQLiteStore, locked: Lock) -> None:
    record = await start(sqlite_store)
    here = await position(sqlite_store)
    with locked():
        assert await must_read(sqlite_store, record.session_id) == record
        assert await ids_of(sqlite_store) == [record.session_id]
        assert (await sqlite_store.log_since(here)).complete


async def test_a_sign_of_life_that_cannot_be_recorded_is_answered_as_it_stands(
    sqlite_store: SQLiteStore, locked: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE", 0.1)
    record = await start(sqlite_store, generation=1)
    with locked():
        assert await sqlite_store.verify(record.session_id, generation=1) == record


async def test_a_locked_store_works_again_afterwards(
    sqlite_store: SQLiteStore, locked: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE", 0.1)
    with locked(), pytest.raises(StoreUnavailable):
        await start(sqlite_store)
    record = await start(sqlite_store)
    assert await must_read(sqlite_store, record.session_id) == record


@pytest.mark.usefixtures("patient")
async def test_writes_beyond_the_queue_are_turned_away_at_once(
    sqlite_store: SQLiteStore, locked: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handoff, "QUEUE_LIMIT", 5)
    queue = sqlite_store._here().writer._queue
    async with anyio.create_task_group() as tasks:
        with locked():
            tasks.start_soon(start, sqlite_store)
            await until(queue.empty)  # taken by the writer, which now waits for the lock
            for _ in range(5):
                tasks.start_soon(start, sqlite_store)
            await until(lambda: queue.qsize() == 5)
            with pytest.raises(StoreUnavailable, match="wait for the store"):
                await start(sqlite_store)
    assert len(await ids_of(sqlite_store)) == 6


async def until(true: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        await anyio.sleep(0.001)
        while not true():
            await anyio.sleep(0.001)


# The disk is full.


async def fill(store: SQLiteStore, spare_pages: int = 0) -> None:
    def limit(tx: writer.Transaction) -> None:
        (pages,) = tx.execute("PRAGMA page_count").fetchone()
        tx.execute(f"PRAGMA max_page_count = {pages + spare_pages}")

    await store._write(limit)


async def test_a_full_disk_is_unavailable_and_recovers(sqlite_store: SQLiteStore, path: Path) -> None:
    record = await start(sqlite_store)
    await fill(sqlite_store)
    with pytest.raises(StoreUnavailable, match="SQLITE_FULL"):
        await start(sqlite_store, data=b"x" * 100_000)
    assert await must_read(sqlite_store, record.session_id) == record
    assert await sqlite_store.revoke(REALM, TAG, record.session_id, now=NOW) is True
    await fill(sqlite_store, spare_pages=1000)
    assert await start(sqlite_store, data=b"x" * 100_000)
    assert whole(path)


@pytest.mark.usefixtures("patient")
async def test_one_write_that_does_not_fit_spoils_none_of_the_batch(
    sqlite_store: SQLiteStore, locked: Lock, path: Path
) -> None:
    records = [await start(sqlite_store) for _ in range(10)]
    before = await position(sqlite_store)
    await fill(sqlite_store)
    steps = [partial(sqlite_store.revoke, REALM, TAG, record.session_id, now=NOW) for record in records]
    too_large = partial(start, sqlite_store, data=b"x" * 99_999)
    queue = sqlite_store._here().writer._queue
    outcomes: list[object] = []

    async def together() -> None:
        outcomes.extend(await all_at_once([*steps[:5], too_large, *steps[5:]]))

    async with anyio.create_task_group() as tasks:
        with locked():
            tasks.start_soon(start, sqlite_store)
            await until(queue.empty)  # taken by the writer, which now waits for the lock
            tasks.start_soon(together)
            await until(lambda: queue.qsize() == 11)

    assert outcomes.count(True) == 10
    assert [type(outcome) for outcome in outcomes if outcome is not True] == [StoreUnavailable]
    page = await sqlite_store.log_since(before)
    assert (page.complete, len(page.entries)) == (True, 10)
    assert whole(path)


# The file is damaged, changed, moved or gone.


async def test_a_page_damaged_meanwhile_is_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SQLiteStore(path)
    await store.open()
    records = [await start(store) for _ in range(50)]
    await store.close()
    with path.open("r+b") as file:
        file.seek(4096 * 8)
        file.write(b"\xff" * (path.stat().st_size - 4096 * 8))
    monkeypatch.setattr(database, "CHECKED_BYTES", 0)
    await store.open()
    outcomes = await all_at_once([partial(read, store, record.session_id) for record in records])
    outcomes += await all_at_once([partial(ids_of, store), partial(start, store)])
    await store.close()
    assert any(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    assert all(isinstance(outcome, DuctapeError) for outcome in outcomes if isinstance(outcome, Exception))


async def test_no_error_of_sqlite_reaches_a_caller(sqlite_store: SQLiteStore, path: Path) -> None:
    record = await start(sqlite_store)
    with closing(sqlite3.connect(path)) as connection:
        for table in ("sessions", "revocations", "log_head", "secrets"):
            connection.execute(f"DROP TABLE {table}")
    verbs = [
        partial(sqlite_store.claim_secret, REALM, {"a": b"1"}),
        partial(start_limited, sqlite_store, 1),
        partial(sqlite_store.verify, record.session_id, generation=1),
        partial(refresh, sqlite_store, record.session_id, 0),
        partial(sqlite_store.reseal, record),
        partial(sqlite_store.revoke, REALM, TAG, record.session_id, now=NOW),
        partial(sqlite_store.revoke_all, REALM, TAG, ANN, spare=None, now=NOW),
        partial(sqlite_store.update, REALM, TAG, subject=ANN, session_id=None, data=b"", now=NOW),
        partial(page_of, sqlite_store),
        partial(sqlite_store.touch, {record.session_id: NOW + 1}),
        partial(sqlite_store.purge, before=NOW, limit=10),
        partial(sqlite_store.log_since, None),
    ]
    outcomes = await all_at_once(verbs)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * len(verbs)


async def test_a_closed_store_is_unavailable(sqlite_store: SQLiteStore) -> None:
    await sqlite_store.close()
    assert sqlite_store.announced() is None
    for verb in (partial(read, sqlite_store, "x"), partial(start, sqlite_store), partial(ids_of, sqlite_store)):
        with pytest.raises(StoreUnavailable, match="not open"):
            await verb()


async def test_a_file_put_in_place_of_ours_is_noticed(
    sqlite_store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "_CHECK_EVERY", 0.0)
    old = await start(sqlite_store)
    here = await position(sqlite_store)
    backup = SQLiteStore(path.with_name("backup.db"))
    await backup.open()
    restored = await start(backup)
    await backup.close()
    for name in ("sessions.db-wal", "sessions.db-shm"):
        path.with_name(name).unlink()
    path.with_name("backup.db").rename(path)

    assert await must_read(sqlite_store, restored.session_id) == restored
    assert await read(sqlite_store, old.session_id) is None
    assert not (await sqlite_store.log_since(here)).complete
    assert await ids_of(sqlite_store) == [restored.session_id]
    assert await sqlite_store.revoke(REALM, TAG, restored.session_id, now=NOW) is True
    assert await read(sqlite_store, restored.session_id) is None


async def test_a_copy_of_the_file_put_in_its_place_is_another_log(
    sqlite_store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "_CHECK_EVERY", 0.0)
    here = await position(sqlite_store)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(path.with_name("copy.db"))) as copy:
        source.backup(copy)
    for name in ("sessions.db-wal", "sessions.db-shm"):
        path.with_name(name).unlink()
    path.with_name("copy.db").rename(path)
    page = await sqlite_store.log_since(here)
    assert (page.complete, page.position.sequence) == (False, here.sequence)


async def test_a_file_that_is_gone_is_unavailable_and_never_made_anew(
    sqlite_store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "_CHECK_EVERY", 0.0)
    record = await start(sqlite_store)
    path.rename(path.with_name("away.db"))
    for verb in (
        partial(read, sqlite_store, record.session_id),
        partial(start, sqlite_store),
        partial(ids_of, sqlite_store),
    ):
        with pytest.raises(StoreUnavailable):
            await verb()
    assert not path.exists()
    path.with_name("away.db").rename(path)
    assert await must_read(sqlite_store, record.session_id) == record
    assert await start(sqlite_store)


# Callers that go away, and threads that die.


async def test_cancelled_callers_harm_nobody(sqlite_store: SQLiteStore) -> None:
    for _ in range(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(start, sqlite_store)
            await anyio.sleep(0)
            tasks.cancel_scope.cancel()
    record = await start(sqlite_store)
    assert (await ids_of(sqlite_store))[0] == record.session_id


async def test_closing_finishes_what_is_queued(sqlite_store: SQLiteStore) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(start, sqlite_store)
        await anyio.sleep(0)
        tasks.start_soon(sqlite_store.close)
    await sqlite_store.open()
    assert (await page_of(sqlite_store)).count == 50


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_writer_that_dies_leaves_nobody_waiting_and_opening_mends_it(
    sqlite_store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(point: str) -> None:
        raise SystemExit

    thread = sqlite_store._here().writer._thread
    with monkeypatch.context() as patch, anyio.fail_after(10):
        patch.setattr(writer, "_at", die)
        outcomes = await all_at_once([partial(start, sqlite_store) for _ in range(10)])
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 10
        with pytest.raises(StoreUnavailable):
            await start(sqlite_store)
    thread.join(10)
    await sqlite_store.open()
    record = await start(sqlite_store)
    assert await ids_of(sqlite_store) == [record.session_id]


async def test_a_step_that_fails_by_surprise_fails_alone(sqlite_store: SQLiteStore) -> None:
    def broken(tx: writer.Transaction) -> None:
        tx.execute("DELETE FROM sessions")
        raise ZeroDivisionError

    record = await start(sqlite_store)
    outcomes = await all_at_once([partial(sqlite_store._write, broken), *[partial(start, sqlite_store)] * 5])
    assert sum(isinstance(outcome, StoreUnavailable) for outcome in outcomes) == 1
    assert (await page_of(sqlite_store)).count == 6
    assert await must_read(sqlite_store, record.session_id) == record


async def test_opening_from_many_tasks_opens_one(path: Path) -> None:
    store = SQLiteStore(path)
    assert await all_at_once([store.open] * 5) == [None] * 5
    record = await start(store)
    assert await must_read(store, record.session_id) == record
    await store.close()


# One store in many event loops and processes.


def test_a_store_is_used_in_one_loop_after_another(path: Path) -> None:
    store = SQLiteStore(path)
    for run in (asyncio.run, _run_trio, asyncio.run, _run_trio):
        run(_open_and_start(store))
    assert asyncio.run(ids_of(store)) == _run_trio(ids_of(store))
    assert len(asyncio.run(ids_of(store))) == 4
    asyncio.run(store.close())


def _run_trio(coroutine: object) -> object:
    async def wait() -> object:
        return await coroutine  # type: ignore[misc]

    return trio.run(wait)


async def _open_and_start(store: SQLiteStore) -> None:
    await store.open()
    await start(store)


@pytest.mark.parametrize("run", [asyncio.run, _run_trio])
def test_a_loop_that_ended_before_its_answer_harms_nobody(path: Path, locked: Lock, run: Callable[..., object]) -> None:
    async def leave_early(store: SQLiteStore) -> None:
        await store.open()
        with anyio.move_on_after(0.05):
            await start(store)

    store = SQLiteStore(path)
    run(store.open())
    with locked():
        run(leave_early(store))
    run(_open_and_start(store))
    assert len(run(ids_of(store))) in (1, 2)
    run(store.close())


def test_a_store_that_nobody_holds_ends_its_threads(path: Path) -> None:
    store = SQLiteStore(path)
    asyncio.run(store.open())
    threads = [store._here().writer._thread, store._here().lister._thread]
    del store
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


_FORK = """
import asyncio, os, sys, warnings
warnings.simplefilter("ignore")
from ductape_asgi.errors import StoreUnavailable
from ductape_asgi.stores.sqlite import SQLiteStore
from ductape_asgi.testing.contract.records import ids_of, read, start

store = SQLiteStore(sys.argv[1])
asyncio.run(store.open())
asyncio.run(start(store))
child = os.fork()
if child == 0:
    refused = 0
    for verb in (lambda: start(store), lambda: read(store, "x"), lambda: ids_of(store)):
        try:
            asyncio.run(verb())
        except StoreUnavailable as error:
            refused += "forked" in str(error)
    asyncio.run(store.open())
    asyncio.run(start(store))
    asyncio.run(store.close())
    os._exit(refused)
_, status = os.waitpid(child, 0)
asyncio.run(start(store))
print(os.waitstatus_to_exitcode(status), len(asyncio.run(ids_of(store))))
asyncio.run(store.close())
"""


def test_a_forked_child_refuses_what_it_inherited_and_opens_its_own(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FORK, str(path)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("3 3\n", "")
    assert whole(path)
