"""A hit: what the middleware adds to a request whose token is cached, and what its parts cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from ductape_asgi import DuctapeMiddleware, Sessions
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.sqlite import SQLiteStore

from . import _requests as requests
from ._measure import Arm, Report, Samples, added, cpu_per_call, interleave, median_of, ratio, spread
from ._requests import TAG, App, Header

_BATCH = 8
_BATCHES = 12
_ROUNDS = 120

PEER = "SessionMiddleware"


class CountingMemoryStore(MemoryStore):
    """Counts the look-ups, since a hit makes none."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    async def verify(self, session_id: str, *, generation: int) -> Any:
        self.looks += 1
        return await super().verify(session_id, generation=generation)


async def bench(report: Report, folder: str) -> None:
    store = CountingMemoryStore()
    sessions, on_sqlite = requests.new_sessions(store), requests.new_sessions(SQLiteStore(f"{folder}/hit.db"))
    async with sessions, on_sqlite:
        await _requests(report, sessions, on_sqlite, store)
        await _parts(report, sessions, on_sqlite)


async def _requests(report: Report, sessions: Sessions, on_sqlite: Sessions, store: CountingMemoryStore) -> None:
    arms = _bare_arms()
    arms |= await _our_arms(sessions, requests.bare, "bearer", "cookie")
    arms |= await _our_arms(sessions, requests.reading_ours, "bearer, read", "cookie, read")
    arms |= await _our_arms(on_sqlite, requests.bare, "bearer, SQLite", "cookie, SQLite")
    arms |= _peer_arms()
    arms |= _anonymous_arms(sessions)
    report.section("A request with a session, CPU")
    looks = store.looks
    samples = interleave(arms, _ROUNDS)
    if store.looks != looks:
        raise RuntimeError("some of these requests were no hits")
    report.figure("bare app", statistics.median(samples["bare"]), "ns")
    report.null(samples, "bare", "bare again")
    _table(report, samples, "the app asks for no session", "bare", "bearer", "cookie", [PEER])
    read = [f"{PEER}, read", f"{PEER}, renewed"]
    _table(report, samples, "the app reads it", "looking", "bearer, read", "cookie, read", read)
    report.figure("bearer, SQLite store", added(samples, "bearer, SQLite", "bare"), "ns")
    for name in ("no credential", "somebody else's cookies"):
        report.figure(f"{name}, anonymous", added(samples, name, "bare"), "ns")
    for peer in read:
        _gate(report, samples, "bearer", peer, 15)
        _gate(report, samples, "cookie", peer, 12)


def _bare_arms() -> dict[str, Arm]:
    credential = requests.bearer("x" * 900)
    return {
        "bare": arm(requests.bare, credential),
        "bare again": arm(requests.bare, credential),
        "looking": arm(requests.looking, credential),
    }


async def _our_arms(sessions: Sessions, app: App, bearer: str, cookie: str) -> dict[str, Arm]:
    """A session of its own for each app, so that nobody's cached answer is taken over by another's middleware."""
    assert sessions.cookies is not None
    middleware = DuctapeMiddleware(app, sessions=sessions)
    token = (await sessions.start(tag=TAG, data=requests.DATA)).token
    credentials = {bearer: requests.bearer(token), cookie: requests.cookie(sessions.cookies.access_name, token)}
    for credential in credentials.values():
        await warm(middleware, credential)
    return {name: arm(middleware, credential) for name, credential in credentials.items()}


def _anonymous_arms(sessions: Sessions) -> dict[str, Arm]:
    """Requests that nothing is looked up for: neither a credential of ours nor a refresh cookie comes."""
    middleware = DuctapeMiddleware(requests.bare, sessions=sessions)
    return {
        "no credential": arm(middleware, (b"dnt", b"1")),
        "somebody else's cookies": arm(middleware, (b"cookie", b"theme=dark; visits=GA1.2.123456789.123456789")),
    }


def _peer_arms() -> dict[str, Arm]:
    return {
        PEER: arm(*requests.session_middleware(requests.bare)),
        f"{PEER}, read": arm(*requests.session_middleware(requests.reading_starlettes)),
        f"{PEER}, renewed": arm(*requests.session_middleware(requests.renewing_starlettes)),
    }


def arm(app: App, credential: Header) -> Arm:
    """Requests with this credential, in small batches that stay in the processor's nearest cache."""

    def one() -> float:
        scopes = [requests.new_scope(credential) for _ in range(_BATCH)]
        return cpu_per_call(lambda: requests.run(app, scopes), _BATCH)

    return lambda: median_of(one, _BATCHES)


async def warm(app: App, credential: Header) -> None:
    """A miss, then a hit; and a look whether it was one."""
    for _ in range(2):
        scope = requests.new_scope(credential)
        await app(scope, requests.receive, requests.send)
        if scope["ductape.session"] is None:
            raise RuntimeError("the session was not accepted")


def _table(report: Report, samples: Samples, title: str, base: str, bearer: str, cookie: str, peers: list[str]) -> None:
    report.say(f"added when {title}:")
    for name in (bearer, cookie):
        times = [f"1/{ratio(samples, peer, name, base)[0]:.1f} of {peer}" for peer in peers]
        report.figure(f"  {name}", added(samples, name, base), "ns", "; ".join(times))
    for peer in peers:
        report.figure(f"  {peer}", added(samples, peer, base), "ns")


def _gate(report: Report, samples: Samples, arm: str, peer: str, bound: float) -> None:
    middle, low, high = ratio(samples, peer, f"{arm}, read", "looking")
    name = f"a {arm} hit, CPU added: {peer}, takes"
    report.gate(name, middle, bound=bound, unit="times as much", at_least=True, note=spread(low, high))


async def _parts(report: Report, sessions: Sessions, on_sqlite: Sessions) -> None:
    report.section("Parts of a hit, CPU")
    token = (await sessions.start(tag=TAG, data=requests.DATA)).token
    await sessions.verify(tag=TAG, token=token)
    report.figure("sessions.verify(), a hit", _verify(sessions, token), "ns")
    feed = on_sqlite.worker.feed
    await feed.catch_up()
    word = on_sqlite.worker.store.announced()
    assert word is not None
    report.figure("the shared word, mapped from a file, read and compared", timed(lambda: word[0] == 0), "ns")
    look = timed(feed.fresh)
    report.figure("the whole look at the feed (word, two clocks)", look, "ns")
    report.gate("the look at the shared word", look, bound=1000, unit="ns", at_least=False)


def _verify(sessions: Sessions, token: str) -> float:
    async def work() -> None:
        for copy in copies:
            await sessions.verify(tag=TAG, token=copy)

    raw = token.encode()
    samples = []
    for _ in range(200):
        copies = [raw.decode() for _ in range(_BATCH)]
        samples.append(cpu_per_call(work, _BATCH))
    return sorted(samples)[len(samples) // 2]


def timed(call: Callable[[], object], calls: int = 2_000) -> float:
    """What one call costs, less an empty one."""

    def loop(one: Callable[[], object]) -> Arm:
        def run() -> float:
            before = time.thread_time_ns()
            for _ in range(calls):
                one()
            return (time.thread_time_ns() - before) / calls

        return run

    samples = interleave({"call": loop(call), "empty": loop(lambda: None)}, 25)
    return added(samples, "call", "empty")
