"""A full cache: is a hit among 100,000 sessions as quick as among 1,000, and what do they weigh?"""

from __future__ import annotations

import gc
import itertools
import random
import resource
import statistics
import time
from pathlib import Path

from ductape_asgi import DuctapeMiddleware, Sessions

from . import _requests as requests
from ._measure import Arm, Report, added, cpu_per_call, interleave, median_of, ratio, spread
from ._requests import TAG, App

_SMALL = 1_000
_LARGE = 100_000
_BATCH = 8
_BATCHES = 12
_ROUNDS = 80
#: Each arm asks in an order of its own, or it would find in the processor's cache what its twin has just asked for.
_seeds = itertools.count(1)


async def bench(report: Report, folder: str) -> None:
    report.section(f"The cache with {_LARGE:,} sessions (HS256, which fills it sooner; a hit is the same), CPU")
    few, many = _sessions(_SMALL), _sessions(_LARGE)
    async with few, many:
        app, tokens = await _filled(few)
        arms = {
            "bare": _arm(requests.bare, tokens),
            f"among {_SMALL:,}": _arm(app, tokens),
            f"among {_SMALL:,}, again": _arm(app, tokens),
            f"among {_LARGE:,}": _arm(*await _weighed(report, many)),
        }
        samples = interleave(arms, _ROUNDS)
    small, large = f"among {_SMALL:,}", f"among {_LARGE:,}"
    report.null(samples, small, f"{small}, again")
    for name in (small, large):
        report.figure(f"added by a bearer hit {name}, any of them", added(samples, name, "bare"), "ns")
    report.figure("the larger over the smaller, with the app", ratio(samples, large, small)[0], "times")
    middle, low, high = ratio(samples, large, small, "bare")
    name = f"a hit {large} over one {small}, CPU added"
    report.gate(name, middle, bound=1.5, unit="times", at_least=False, note=spread(low, high))


def _sessions(size: int) -> Sessions:
    # By this clock all is over within seconds, so that no session asks for its note of use, due once a minute.
    return requests.new_sessions(algorithm="HS256", cache_size=size, clock=itertools.count(time.time(), 2e-5).__next__)


async def _started(sessions: Sessions, count: int) -> list[str]:
    return [
        (await sessions.start(tag=TAG, data={**requests.DATA, "userId": f"user_{number:012}"})).token
        for number in range(count)
    ]


async def _filled(sessions: Sessions) -> tuple[App, list[str]]:
    app, tokens = DuctapeMiddleware(requests.bare, sessions=sessions), await _started(sessions, _SMALL)
    await _hit_all(app, tokens)
    return app, tokens


async def _hit_all(app: App, tokens: list[str]) -> None:
    for token in tokens:
        await app(requests.new_scope(requests.bearer(token)), requests.receive, requests.send)


async def _weighed(report: Report, sessions: Sessions) -> tuple[App, list[str]]:
    """Fill the large cache, and look at what it takes in memory and in the garbage collector's time."""
    app, tokens = DuctapeMiddleware(requests.bare, sessions=sessions), await _started(sessions, _LARGE)
    gc.collect()
    gc.freeze()  # What is there so far, the store's records too, is out of the collector's sight.
    before = _resident()
    await _hit_all(app, tokens)
    gc.collect()
    report.figure("memory of one cached session", (_resident() - before) / _LARGE, "bytes", "resident, store apart")
    report.figure("a full gc.collect()", _collection(), "ms", "of what the cache holds")
    gc.unfreeze()
    return app, tokens


def _resident() -> int:
    """Bytes of memory in use, or the most there ever were where the system does not tell."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _collection() -> float:
    times = []
    for _ in range(5):
        before = time.perf_counter()
        gc.collect()
        times.append((time.perf_counter() - before) * 1000)
    return statistics.median(times)


def _arm(app: App, tokens: list[str]) -> Arm:
    chance = random.Random(next(_seeds))

    def one() -> float:
        scopes = [requests.new_scope(requests.bearer(chance.choice(tokens))) for _ in range(_BATCH)]
        return cpu_per_call(lambda: requests.run(app, scopes), _BATCH)

    return lambda: median_of(one, _BATCHES)
