"""``python -m benchmarks.simulate_scale [--only paper feed] [--seed 1] [--plot FILE]``: what docs/scale.md says.

*paper* measures real servers with 10^5 sessions, and computes from that what 10^8 sessions, 10^6 requests a second,
10^3 workers and 10^3 revocations a second ask for.  *feed* runs the library's own feed in a thousand simulated workers
in virtual time, with losses, a partition and a failover, and draws the time to refusal.  The same seed gives the same
figures of the feed on any machine.  The exit code is 1 if a revocation was refused late or never.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ductape_asgi.stores.base import route_of
from ductape_asgi.stores.postgres import PostgresStore
from ductape_asgi.stores.redis import RedisStore

from . import _simulated_feed as simulated
from ._filled import NOW, REALM, SECRET, TAG, fill, record
from ._plot import times_over_time

SESSIONS, REQUESTS, WORKERS, REVOCATIONS = 10**8, 10**6, 10**3, 10**3
#: An active session makes a request so often, and refreshes so often; seconds.
_EVERY, _TOKEN_LIFE = 10, 900
_MEASURED = 100_000
_ENTRIES = 1_000
_HEAVY = 1_000
_READINGS = 500
_AT_ONCE = 8
_HEARTBEAT = 5 / 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=("paper", "feed"), default=["paper", "feed"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--plot", type=Path, help="where the SVG goes")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # a thousand workers tell of each failure
    late = 0
    if "paper" in arguments.only:
        asyncio.run(paper())
    if "feed" in arguments.only:
        late = feed(arguments.workers, arguments.seed, arguments.plot)
    return 1 if late else 0


# Measured on real servers, and multiplied.


async def paper() -> None:
    from tests.redis_servers import fresh, running
    from tests.servers import PostgresServer, ask_postgres

    with tempfile.TemporaryDirectory(prefix="ductape-scale-") as folder:
        with running(Path(folder) / "valkey") as valkey:
            url = fresh(valkey.url)
            before = valkey.ask("INFO", "memory")["used_memory"]
            redis = RedisStore(url)
            await redis.open()
            await fill(redis, _MEASURED, url)
            used = valkey.ask("INFO", "memory")["used_memory"] - before
            _tell("Redis (Valkey)", used / _MEASURED, "of memory")
            await _feed_costs("Redis (Valkey)", redis, lambda: _sent(valkey))
            busy = _busy(valkey)
            await _taken(lambda: redis.log_since(None))
            print(f"  a reading keeps the server busy for {(_busy(valkey) - busy) / _READINGS * 1e6:.0f} us")
            await _heavy("Redis (Valkey)", redis)
            await _crowd("Redis (Valkey)", redis)
            await redis.close()
        place = Path(folder) / "postgres"
    with tempfile.TemporaryDirectory(prefix="ductape-postgres-") as folder:
        place = Path(folder)
        server = PostgresServer(place, fsync="on")
        server.make()
        server.start()
        try:
            schema = "scale"
            await ask_postgres(server.url(), f"CREATE SCHEMA {schema}")
            postgres = PostgresStore(server.url(ductape_schema=schema), pool_size=1)
            await postgres.open()
            await fill(postgres, _MEASURED, server.url(ductape_schema=schema))
            sizes = f"SELECT pg_total_relation_size('{schema}.ductape_sessions') AS all_of_it,"
            sizes += f" pg_indexes_size('{schema}.ductape_sessions') AS indexes"
            (row,) = await ask_postgres(server.url(), sizes)
            note = f"of disk, {row['indexes'] / _MEASURED:.0f} of them indexes"
            _tell("PostgreSQL", row["all_of_it"] / _MEASURED, note)
            await _feed_costs("PostgreSQL", postgres, lambda: _received(postgres))
            await _heavy("PostgreSQL", postgres)
            await postgres.close()
            many = PostgresStore(server.url(ductape_schema=schema))
            await many.open()
            await _crowd("PostgreSQL", many)
            await many.close()
        finally:
            server.stop()
    _requests()


def _requests() -> None:
    active = REQUESTS * _EVERY
    refreshes, uses = active // _TOKEN_LIFE, _TOKEN_LIFE // _EVERY
    print(
        f"\n{REQUESTS:,} requests a second: {active:,} active sessions that make one in {_EVERY} s; a hit asks nobody"
    )
    print(f"  refreshes, one in {_TOKEN_LIFE} s of each: {refreshes:,}/s")
    print(f"  misses: {refreshes:,}/s if a client stays with one worker, up to {refreshes * uses:,}/s if it never does")
    print(f"  cold caches, after a resync of all workers: {REQUESTS:,}/s at first, until each token was seen again")


def _tell(store: str, each: float, what: str) -> None:
    many = f"{SESSIONS:,}: {each * SESSIONS / 1e9:.0f} GB"
    print(f"\n{store}: {each:.0f} bytes a session {what}, measured with {_MEASURED:,}; {many}")


async def _feed_costs(store: str, opened: Any, received: Callable[[], int]) -> None:
    """Bytes over the wire to one worker: of a reading where nothing happened, and of each entry."""
    position = (await opened.log_since(None)).position
    idle = await _bytes(received, lambda: opened.log_since(position))
    for number in range(_ENTRIES):
        new = record(secrets.token_hex(11) + route_of(opened, REALM, f"p{number}"), f"p{number}")
        await opened.create(new, limit=None, evict=False, replaces=None, secret=SECRET, now=NOW)
        await opened.revoke(REALM, TAG, new.session_id, now=NOW)
    full = await _bytes(received, lambda: opened.log_since(position))
    position = (await opened.log_since(None)).position
    each = (full - idle) / _ENTRIES
    print(f"  feed: a reading takes {idle} bytes, and {each:.0f} more for each entry")
    fan_out = each * REVOCATIONS * WORKERS
    pages = 100  # readings a second: wake-ups within 10 ms share one
    print(f"  a reading where nothing happened takes {await _taken(lambda: opened.log_since(position)):.0f} us here")
    print(
        f"  {REVOCATIONS:,} entries a second to {WORKERS:,} workers: {each * REVOCATIONS / 1e3:.0f} kB/s to each,"
        f" {fan_out / 1e6:.0f} MB/s in all;"
        f" readings at most {pages * WORKERS:,}/s, {idle * pages * WORKERS / 1e6:.0f} MB/s;"
        f" at rest {WORKERS / _HEARTBEAT:.0f}/s, {idle * WORKERS / _HEARTBEAT / 1e6:.2f} MB/s"
    )


async def _taken(read: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(_READINGS):
        began = time.perf_counter()
        await read()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


async def _bytes(received: Callable[[], int], read: Callable[[], Awaitable[object]]) -> int:
    await read()
    counts = []
    for _ in range(5):
        before, without = received(), received()
        await read()
        counts.append(received() - without - (without - before))
    return int(statistics.median(counts))


def _sent(valkey: Any) -> int:
    """What the server has sent to anybody; the answer to this question counts the next time."""
    return int(valkey.ask("INFO", "stats")["total_net_output_bytes"])


def _received(store: PostgresStore) -> int:
    """What the kernel has received on the one connection of the pool (``tcpi_bytes_received``)."""
    import socket

    assert store._opened is not None
    idle: Any = store._opened.pool._idle[-1]
    connection = next(part for part in idle if hasattr(part, "_transport"))
    raw = connection._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    return int.from_bytes(raw[128:136], sys.byteorder)


async def _heavy(store: str, opened: Any) -> None:
    """A person with a thousand sessions is signed out."""
    times = []
    for turn in range(3):
        subject = f"heavy-{turn}"
        for _ in range(_HEAVY):
            new = record(secrets.token_hex(11) + route_of(opened, REALM, subject), subject)
            await opened.create(new, limit=None, evict=False, replaces=None, secret=SECRET, now=NOW)
        position = (await opened.log_since(None)).position
        began = time.perf_counter()
        await opened.revoke_all(REALM, TAG, subject, spare=None, now=NOW)
        times.append(time.perf_counter() - began)
        entries = (await opened.log_since(position)).entries
        assert len(entries) == 1
    taken = f"{statistics.median(times) * 1e3:.0f} ms"
    print(f"  revoke_all of {_HEAVY:,} sessions of one person: {taken}, 1 entry in the log")


async def _crowd(store: str, opened: Any) -> None:
    """Revocations a second with several callers: each is one entry, and the log is in order."""
    records = [record(secrets.token_hex(11) + route_of(opened, REALM, f"c{n}"), f"c{n}") for n in range(_ENTRIES)]
    for new in records:
        await opened.create(new, limit=None, evict=False, replaces=None, secret=SECRET, now=NOW)
    left = iter(records)

    async def revoke() -> None:
        for one in left:
            assert await opened.revoke(REALM, TAG, one.session_id, now=NOW)

    began = time.perf_counter()
    await asyncio.gather(*(revoke() for _ in range(_AT_ONCE)))
    rate = _ENTRIES / (time.perf_counter() - began)
    print(f"  {_AT_ONCE} callers revoke {rate:,.0f} sessions a second on this machine")


def _busy(valkey: Any) -> float:
    """Processor time of the server, seconds."""
    facts = valkey.ask("INFO", "cpu")
    return float(facts["used_cpu_sys"]) + float(facts["used_cpu_user"])


# The feed, simulated.


def feed(workers: int, seed: int, plot: Path | None) -> int:
    began = time.monotonic()
    outcome = simulated.simulate(workers, per_second=10, seed=seed)
    print(f"\n{workers:,} simulated workers, 10 revocations a second, seed {seed}: time to refusal, in seconds")
    late = 0
    for phase in simulated.PHASES:
        some = [taken for at, taken in outcome.revocations if phase.begins <= at < phase.ends]
        times = sorted(value for taken in some for value in taken if value != float("inf"))
        never = sum(value == float("inf") for taken in some for value in taken)
        late += never  # also what was lost and known to nobody
        if times:
            late += sum(value > simulated.STALENESS + 1e-6 for value in times)
            spread = ", ".join(
                f"{name} {times[min(len(times) - 1, int(len(times) * share))]:.4f}"
                for name, share in (("median", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("longest", 1.0))
            )
            print(f"  {phase.name}: {len(some)} revocations; {spread}" + (f"; {never} never" if never else ""))
    peak = max(outcome.reads.values())
    second = [sum(outcome.reads[at + step] for step in range(100)) for at in range(0, 58 * 100, 100)]
    calm = statistics.median(outcome.reads[at] for at in range(4700, 4710))
    print(f"  readings: at most {peak:,} in a hundredth of a second and {max(second):,} in a second")
    print(f"  in the first tenth of a second after the failover: {calm:.0f} in a hundredth, the median")
    print(
        f"  the failover lost {outcome.lost} acknowledged ends; {outcome.lost - outcome.unknown} were known to workers,"
        f" {outcome.unknown} to nobody (writing them again is a stand-in without delay)"
    )
    print(
        f"  {late} were refused later than max_staleness, or never ({time.monotonic() - began:.0f} s of this machine)"
    )
    if plot is not None:
        plot.write_text(_drawn(outcome, workers))
    return late


def _drawn(outcome: simulated.Outcome, workers: int) -> str:
    bins: dict[int, list[float]] = {}
    for at, taken in outcome.revocations:
        bins.setdefault(int(at), []).extend(value for value in taken if value != float("inf"))
    ordered = {second: sorted(values) for second, values in sorted(bins.items()) if values}

    def line(share: float) -> list[tuple[float, float]]:
        return [(at + 0.5, values[min(len(values) - 1, int(len(values) * share))]) for at, values in ordered.items()]

    return times_over_time(
        f"From revoke to refusal in {workers:,} simulated workers",
        [(phase.name, phase.begins, phase.ends) for phase in simulated.PHASES],
        simulated.STALENESS,
        [("median", "#2563eb", line(0.5)), ("99 of 100", "#d97706", line(0.99)), ("longest", "#111827", line(1.0))],
    )


if __name__ == "__main__":
    sys.exit(main())
