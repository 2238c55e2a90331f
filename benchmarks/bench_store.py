"""What changes something: starting on SQLite against the usual driver, and the other verbs on both stores."""

from __future__ import annotations

import itertools
import os
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiosqlite
import anyio

from ductape_asgi import Sessions
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.sqlite import SQLiteStore

from . import _requests as requests
from ._measure import Report, Samples, interleave_async, ratio, spread
from ._requests import TAG

_CALLERS = 32
_EACH = 16
_ALONE = 48
_ROUNDS = 11

#: One write, told which number it is.
Write = Callable[[int], Awaitable[object]]


async def bench(report: Report, folder: str) -> None:
    sqlite = requests.new_sessions(SQLiteStore(f"{folder}/store.db"))
    memory = requests.new_sessions(MemoryStore())
    async with sqlite, memory:
        await _against_aiosqlite(report, sqlite, folder)
        await _verbs(report, {"memory": memory, "SQLite": sqlite})


async def _against_aiosqlite(report: Report, sessions: Sessions, folder: str) -> None:
    report.section("Starting sessions on SQLite (WAL, synchronous=FULL), wall clock")
    report.figure("one flush of this disk (write and fsync of 4 kB)", _flush(folder) * 1e6, "us")
    await _start(sessions)(0)
    size = _row_size(f"{folder}/store.db")
    connection = await _opened(f"{folder}/aiosqlite.db")
    try:
        insert, sharing, start = _insert(connection, size), _insert_sharing(connection, size), _start(sessions)
        samples = await interleave_async(
            {
                "aiosqlite, alone": lambda: _round(insert, 1, _ALONE),
                "aiosqlite, 32": lambda: _round(insert, _CALLERS, _EACH),
                "aiosqlite, 32 again": lambda: _round(insert, _CALLERS, _EACH),
                "aiosqlite sharing, 32": lambda: _round(sharing, _CALLERS, _EACH),
                "start, alone": lambda: _round(start, 1, _ALONE),
                "start, 32": lambda: _round(start, _CALLERS, _EACH),
            },
            _ROUNDS,
        )
    finally:
        await connection.close()
    _rates(report, samples, size)


def _rates(report: Report, samples: Samples, size: int) -> None:
    report.null(samples, "aiosqlite, 32", "aiosqlite, 32 again")
    insert = f"aiosqlite: insert of {size} bytes and commit"
    for arm, title in {
        "aiosqlite, alone": f"{insert}, 1 caller",
        "aiosqlite, 32": f"{insert}, 32 callers, one by one",
        "aiosqlite sharing, 32": f"{insert}, 32 callers, sharing transactions",
        "start, alone": "sessions.start(), 1 caller",
        "start, 32": "sessions.start(), 32 callers",
    }.items():
        report.figure(title, 1e9 / statistics.median(samples[arm]), "/s")
    middle, low, high = ratio(samples, "aiosqlite, 32", "start, 32")
    name = "sessions.start() over insert and commit through aiosqlite, 32 callers"
    report.gate(name, middle, bound=2, unit="times", at_least=True, note=spread(low, high))


async def _opened(path: str) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(path)
    await connection.execute("PRAGMA journal_mode = WAL")
    await connection.execute("PRAGMA synchronous = FULL")
    await connection.execute("CREATE TABLE sessions (session_id TEXT PRIMARY KEY, record BLOB NOT NULL)")
    await connection.commit()
    return connection


def _insert(connection: aiosqlite.Connection, size: int) -> Write:
    """Each row in a transaction of its own."""
    shared, turn = _insert_sharing(connection, size), anyio.Lock()

    async def insert(number: int) -> None:
        async with turn:
            await shared(number)

    return insert


def _insert_sharing(connection: aiosqlite.Connection, size: int) -> Write:
    """Without taking turns: a commit takes along what others have inserted so far, and a roll-back would as well."""

    async def insert(number: int) -> None:
        row = (os.urandom(11).hex(), os.urandom(size - 22))
        await connection.execute("INSERT INTO sessions VALUES (?, ?)", row)
        await connection.commit()

    return insert


def _start(sessions: Sessions) -> Write:
    async def start(number: int) -> object:
        return await sessions.start(tag=TAG, data={**requests.DATA, "userId": f"user_{number:012}"})

    return start


def _row_size(path: str) -> int:
    """The bytes of one of our rows; a number counts for eight."""
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        row = reader.execute("SELECT * FROM sessions LIMIT 1").fetchone()
    finally:
        reader.close()
    return sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)


_numbers = itertools.count(1)


async def _round(write: Write, callers: int, each: int) -> float:
    """Nanoseconds a write, with so many callers at once who each make so many, one after another."""

    async def caller() -> None:
        for _ in range(each):
            await write(next(_numbers))

    before = time.perf_counter_ns()
    async with anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(caller)
    return (time.perf_counter_ns() - before) / (callers * each)


def _flush(folder: str) -> float:
    file = os.open(Path(folder) / "flush", os.O_RDWR | os.O_CREAT)
    try:
        times = []
        for _ in range(20):
            os.pwrite(file, os.urandom(4096), 0)
            before = time.perf_counter()
            os.fsync(file)
            times.append(time.perf_counter() - before)
    finally:
        os.close(file)
    return statistics.median(times)


async def _verbs(report: Report, stores: dict[str, Sessions]) -> None:
    report.section("The verbs, one caller, wall clock")
    for name, sessions in stores.items():
        for verb, cost in (await _costs(sessions)).items():
            report.figure(f"{verb}, {name} store", cost / 1000, "us")


async def _costs(sessions: Sessions) -> dict[str, float]:
    started = [await sessions.start(tag=TAG, data={**requests.DATA, "userId": f"u{n}"}) for n in range(200)]

    async def refresh(number: int) -> Any:
        return await sessions.refresh(tag=TAG, refresh_token=started[number].refresh_token)

    async def update(number: int) -> Any:
        data = {**requests.DATA, "userId": started[number].identifier}
        return await sessions.update(tag=TAG, session_id=started[number].session_id, data=data)

    async def listed(number: int) -> Any:
        return await sessions.list(tag=TAG, identifier=started[number].identifier or "")

    async def revoke(number: int) -> Any:
        return await sessions.revoke(tag=TAG, session_id=started[number].session_id)

    verbs: dict[str, Write] = {
        "start": _start(sessions),
        "refresh": refresh,
        "update": update,
        "list": listed,
        "revoke": revoke,
    }
    return {verb: await _median(write, len(started)) for verb, write in verbs.items()}


async def _median(write: Write, times: int) -> float:
    costs = []
    for number in range(times):
        before = time.perf_counter_ns()
        await write(number)
        costs.append(time.perf_counter_ns() - before)
    return statistics.median(costs)
