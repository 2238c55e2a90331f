"""What each step of a store costs among a million stored sessions, against among a thousand: wall clock, one caller.

``python -m benchmarks.bench_growth [--stores sqlite postgres ...] [--large 1000000]``; stands apart from
``make bench``, since filling takes minutes.  The exit code is 1 if a ratio is above its bound.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from ductape_asgi.models import SessionRecord
from ductape_asgi.stores.base import SessionStore, route_of
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.postgres import PostgresStore
from ductape_asgi.stores.redis import RedisStore
from ductape_asgi.stores.sqlite import SQLiteStore

from ._filled import EACH, KEY, NOW, REALM, SECRET, TAG, fill, person, record, session_id
from ._measure import Report, Samples, interleave_async, ratio, spread

_SMALL = 1_000
_ROUNDS = 21
_CALLS = 30
_BOUND = 1.5
_STORES = ("memory", "sqlite", "redis", "postgres")

Verb = Callable[[], Awaitable[object]]


class Population:
    """A store with so many sessions, and what is done to it.  Each method is one call of a verb, on chance persons."""

    def __init__(self, store: SessionStore, size: int) -> None:
        self._store = store
        self._size = size
        self._chance = random.Random(size)
        self._generations = itertools.count(1_000)
        self._made: list[SessionRecord] = []

    def _some(self) -> int:
        return self._chance.randint(1, self._size)

    def _new(self, subject: str) -> SessionRecord:
        return record(secrets.token_hex(11) + route_of(self._store, REALM, subject), subject)

    async def _add(self, new: SessionRecord) -> None:
        await self._store.create(new, limit=2 * EACH, evict=True, replaces=None, secret=SECRET, now=NOW)

    async def _family(self) -> str:
        """A person who comes and goes, so that the others stay as they are."""
        subject = secrets.token_hex(11)
        for _ in range(EACH):
            await self._add(self._new(subject))
        return subject

    async def verbs(self) -> dict[str, Verb]:
        """What is to be timed, with what it needs made before."""
        store = self._store
        starting = [self._new(secrets.token_hex(11)) for _ in range(_CALLS)]
        started = iter(starting)
        ending, families = iter(starting), iter([await self._family() for _ in range(_CALLS)])

        async def start() -> None:
            await self._add(next(started))

        async def verify() -> None:
            assert await store.verify(session_id(store, self._some()), generation=0) is not None

        async def refresh() -> None:
            rotation = await store.rotate(
                session_id(store, self._some()),
                generation=next(self._generations),
                grace=10,
                refresh_key=KEY,
                client=None,
                now=NOW,
            )
            assert rotation.outcome == "rotated"

        async def listed() -> None:
            page = await store.list(REALM, TAG, person(self._some()), limit=100, cursor=None, now=NOW)
            assert page.count

        async def update() -> None:
            who = session_id(store, self._some())
            assert await store.update(REALM, TAG, subject=None, session_id=who, data=b"d" * 192, now=NOW) == 1

        async def revoke() -> None:
            assert await store.revoke(REALM, TAG, next(ending).session_id, now=NOW)

        async def revoke_all() -> None:
            assert await store.revoke_all(REALM, TAG, next(families), spare=None, now=NOW) == EACH

        async def touch() -> None:
            await store.touch({session_id(store, self._some()): NOW + next(self._generations) for _ in range(100)})

        async def log_since() -> None:
            await store.log_since(None)

        return {
            "start": start,
            "verify (miss)": verify,
            "refresh": refresh,
            "list": listed,
            "update": update,
            "revoke": revoke,
            "revoke_all": revoke_all,
            "touch of 100": touch,
            "log_since": log_since,
        }

    async def round(self) -> dict[str, float]:
        """Nanoseconds a call, the median, by verb."""
        return {name: await _median(verb) for name, verb in (await self.verbs()).items()}


async def _median(verb: Verb) -> float:
    costs = []
    for _ in range(_CALLS):
        before = time.perf_counter_ns()
        await verb()
        costs.append(time.perf_counter_ns() - before)
    return statistics.median(costs)


async def bench(report: Report, name: str, folder: str, large: int) -> None:
    report.section(f"{name}: {large:,} stored sessions against {_SMALL:,}, wall clock of the store's own call")
    sizes = {"small": _SMALL, "small again": _SMALL, "large": large}
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(_server(name, folder))
        arms: dict[str, Population] = {}
        for arm, size in sizes.items():
            began = time.monotonic()
            store, where = await place()
            await store.open()
            stack.push_async_callback(store.close)
            await fill(store, size, where)
            arms[arm] = Population(store, size)
            if arm == "large":
                report.say(f"filled in {time.monotonic() - began:.0f} s")
        await _compare(report, name, arms)


async def _compare(report: Report, name: str, arms: dict[str, Population]) -> None:
    by_verb: dict[str, Samples] = {}
    current: dict[str, dict[str, float]] = {}

    def timed(arm: str) -> Callable[[], Awaitable[float]]:
        async def run() -> float:
            current[arm] = await arms[arm].round()
            for verb, cost in current[arm].items():
                by_verb.setdefault(verb, {each: [] for each in arms})[arm].append(cost)
            return 0.0

        return run

    await interleave_async({arm: timed(arm) for arm in arms}, _ROUNDS)
    for verb, samples in by_verb.items():
        small, large = (statistics.median(samples[arm]) / 1000 for arm in ("small", "large"))
        null, low, high = ratio(samples, "small again", "small")
        costs = f"{verb:<14} {small:8.1f} us among few, {large:8.1f} us among many"
        report.say(f"{costs}; null arm {null:.2f} ({low:.2f} to {high:.2f})")
        middle, low, high = ratio(samples, "large", "small")
        report.gate(f"{name}, {verb}", middle, bound=_BOUND, unit="times", at_least=False, note=spread(low, high))


Place = Callable[[], Awaitable[tuple[Any, str]]]


@asynccontextmanager
async def _server(name: str, folder: str) -> AsyncIterator[Place]:
    """Makes empty stores of one kind, each with where it is, as `fill` wants to know it."""
    from tests.redis_servers import fresh, running
    from tests.servers import PostgresServer, ask_postgres

    async def memory() -> tuple[Any, str]:
        return MemoryStore(), ""

    async def sqlite() -> tuple[Any, str]:
        path = f"{folder}/{secrets.token_hex(4)}.db"
        return SQLiteStore(path), path

    if name in ("memory", "sqlite"):
        yield memory if name == "memory" else sqlite
    elif name == "redis":
        with running(Path(folder) / "valkey") as valkey:

            async def redis() -> tuple[Any, str]:
                url = fresh(valkey.url)
                return RedisStore(url), url

            yield redis
    else:
        with tempfile.TemporaryDirectory(prefix="ductape-postgres-") as own:
            # Durable, as in production; the rest as large as a server of this size would have it.
            server = PostgresServer(Path(own), fsync="on", shared_buffers="1GB", max_wal_size="8GB")
            server.make()
            server.start()
            try:

                async def postgres() -> tuple[Any, str]:
                    schema = f"growth_{secrets.token_hex(4)}"
                    await ask_postgres(server.url(), f"CREATE SCHEMA {schema}")
                    url = server.url(ductape_schema=schema)
                    return PostgresStore(url), url

                yield postgres
            finally:
                server.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", nargs="+", choices=_STORES, default=list(_STORES))
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--dir", help="put the databases on this disk; default: the temporary directory")
    arguments = parser.parse_args()
    report = Report()
    for name in arguments.stores:
        with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
            asyncio.run(bench(report, name, folder, arguments.large))
    report.summary()
    return 0 if all(gate.holds for gate in report.gates) else 1


if __name__ == "__main__":
    sys.exit(main())
