"""From `revoke` in one process to the refusal of a cached session in another, by store, with both under load."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from ductape_asgi import RevokedSession, Sessions, new_access_key

from ._measure import Report
from ._requests import DATA, TAG

_ROUNDS = 2_000
#: Tasks in the other process that verify cached sessions of their own all the time, and tasks here that start some.
_VERIFYING = 4
_STARTING = 2
_BOUND_MS = 50


async def bench(report: Report, folder: str) -> None:
    report.section(f"From revoke's answer to refusal in another process, {_ROUNDS:,} times under load, wall clock")
    with _stores(folder) as stores:
        for name, url in stores.items():
            _tell(report, name, await _measured(url))


@contextmanager
def _stores(folder: str) -> Iterator[dict[str, str]]:
    """The URL of each store that can be had here; real servers, from the wheels that the tests use."""
    from tests.redis_servers import fresh, running
    from tests.servers import PostgresServer

    with ExitStack() as stack:
        valkey = stack.enter_context(running(Path(folder) / "valkey"))
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="ductape-postgres-"))
        postgres = PostgresServer(Path(place))
        postgres.make()
        postgres.start()
        stack.callback(postgres.stop)
        yield {"SQLite": f"sqlite:///{folder}/revocation.db", "Redis": fresh(valkey.url), "PostgreSQL": postgres.url()}


def _tell(report: Report, store: str, times: list[float]) -> None:
    """`times` in milliseconds; a refusal that came before the answer counts as 0."""
    ordered = sorted(times)
    p99 = ordered[len(ordered) * 99 // 100]
    report.figure(f"{store}, median", statistics.median(ordered), "ms", f"p99 {p99:.3g}, longest {ordered[-1]:.3g}")
    report.gate(f"{store}: revoke to refusal elsewhere, p99", p99, bound=_BOUND_MS, unit="ms", at_least=False)


async def _measured(url: str) -> list[float]:
    key, chance = new_access_key(), random.Random(1)
    async with Sessions(access_key=key, product="shop", env="prd", store=url) as sessions, _other(url, key) as other:
        load = [asyncio.create_task(_keep_starting(sessions)) for _ in range(_STARTING)]
        try:
            return [await _once(sessions, other, chance.uniform(0, 0.003)) for _ in range(_ROUNDS)]
        finally:
            for task in load:
                task.cancel()


async def _once(sessions: Sessions, other: asyncio.subprocess.Process, pause: float) -> float:
    issued = await sessions.start(tag=TAG, data=DATA)
    await _ask(other, issued.token)  # answered once the session is cached there
    await asyncio.sleep(pause)
    await sessions.revoke(tag=TAG, session_id=issued.session_id)
    answered = time.monotonic_ns()
    refused = json.loads(await _line(other))
    return max(0.0, (refused - answered) / 1e6)


async def _keep_starting(sessions: Sessions) -> None:
    for number in itertools.count():
        await sessions.start(tag=TAG, data={**DATA, "userId": f"user_{number}"})
        await asyncio.sleep(0.002)


@asynccontextmanager
async def _other(url: str, key: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bench_revocation", stdin=-1, stdout=-1
    )
    try:
        await _ask(process, json.dumps({"store": url, "access_key": key}))
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _ask(process: asyncio.subprocess.Process, text: str) -> str:
    assert process.stdin is not None
    process.stdin.write(text.encode() + b"\n")
    await process.stdin.drain()
    return await _line(process)


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("the other process has ended")
    return line.decode()


# The other process.


async def _verify_what_is_asked() -> None:
    options = json.loads(await _asked())
    async with Sessions(product="shop", env="prd", **options) as sessions, asyncio.TaskGroup() as tasks:
        for _ in range(_VERIFYING):
            tasks.create_task(_keep_verifying(sessions))
        print("ready", flush=True)
        while token := (await _asked()).strip():
            await sessions.verify(tag=TAG, token=token)
            print("cached", flush=True)
            print(await _refused_at(sessions, token), flush=True)


async def _asked() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


async def _keep_verifying(sessions: Sessions) -> None:
    token = (await sessions.start(tag=TAG, data=DATA)).token
    while True:
        await sessions.verify(tag=TAG, token=token)
        await asyncio.sleep(0)


async def _refused_at(sessions: Sessions, token: str) -> int:
    """When the first verification began that was refused; nanoseconds of the clock that all processes share."""
    while True:
        began = time.monotonic_ns()
        try:
            await sessions.verify(tag=TAG, token=token)
        except RevokedSession:
            return began
        await asyncio.sleep(0)


def main() -> Any:
    with suppress(KeyboardInterrupt):
        asyncio.run(_verify_what_is_asked())


if __name__ == "__main__":
    main()
