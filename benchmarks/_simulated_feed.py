"""A thousand workers that follow one log, in virtual time: the feed is the library's own, the network is made up.

Each worker runs `Feed`, `GuardedStore` and the two background tasks of `following`; what is simulated is a log in
memory, delays, lost wake-ups and answers, a partition, and a failover that loses the tail.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from ductape_asgi.cache import VerifiedTokens
from ductape_asgi.errors import StoreUnavailable
from ductape_asgi.following import following
from ductape_asgi.models import LogPage, Position, Revocation
from ductape_asgi.revocations import Feed
from ductape_asgi.stores.base import SessionStore
from ductape_asgi.stores.guarded import GuardedStore
from tests.sessions.virtual_time import JumpingLoop

STALENESS = 5.0
_HEARTBEAT = STALENESS / 3


@dataclass(frozen=True)
class Phase:
    """What goes wrong between two instants, in seconds: shares of 1, and a failover at the end of the phase."""

    name: str
    begins: float
    ends: float
    wakes_lost: float = 0.0
    answers_lost: float = 0.0
    cut_off: float = 0.0
    down: bool = False
    forgotten: float = 0.0


PHASES = (
    Phase("calm", 0, 8),
    Phase("half of the wake-ups and 5 % of the answers lost", 8, 18, wakes_lost=0.5, answers_lost=0.05),
    Phase("no wake-ups at all", 18, 26, wakes_lost=1.0),
    Phase("a tenth of the workers cut off", 26, 38, cut_off=0.1),
    Phase("calm again", 38, 44),
    Phase("failover: 3 s down, the last 0.5 s forgotten", 44, 47, down=True, forgotten=0.5),
    Phase("afterwards", 47, 58),
)


@dataclass
class Outcome:
    #: When each revocation was acknowledged, and how long each worker then took to refuse; seconds.
    revocations: list[tuple[float, list[float]]] = field(default_factory=list)
    #: How often the log was read, by hundredth of a second.
    reads: Counter[int] = field(default_factory=Counter)
    #: Acknowledged ends that the failover lost, and how many of them no worker had read.
    lost: int = 0
    unknown: int = 0
    #: When the last of the lost ends was written again, after the failover.
    restored_after: float = 0.0


class _Log:
    """The one server."""

    def __init__(self) -> None:
        self.epoch = "1"
        self.entries: list[tuple[float, Revocation]] = []
        self.listeners: list[_Connection] = []

    def append(self, at: float, revocation: Revocation) -> None:
        self.entries.append((at, revocation))
        for listener in self.listeners:
            listener.hint()

    def fail_over(self, now: float, forgotten: float) -> list[Revocation]:
        """Another server takes over, which has not got the tail."""
        kept = bisect_right([at for at, _ in self.entries], now - forgotten)
        lost = [revocation for _, revocation in self.entries[kept:]]
        del self.entries[kept:]
        self.epoch += "'"
        return lost


class _Connection:
    """A worker's way to the server: a `SessionStore`, as far as a feed needs one."""

    def __init__(self, log: _Log, number: float, chance: random.Random, outcome: Outcome) -> None:
        self._log = log
        self._number = number
        self._chance = chance
        self._outcome = outcome
        self._wake: Callable[[], None] = lambda: None

    def announced(self) -> None:
        return None

    def _delay(self) -> float:
        """One way, in seconds: about half a millisecond, now and then much more."""
        return self._chance.lognormvariate(-7.6, 0.6)

    async def log_since(self, position: Position | None) -> LogPage:
        loop = asyncio.get_running_loop()
        self._outcome.reads[int(loop.time() * 100)] += 1
        await asyncio.sleep(self._delay())
        now = phase_at(loop.time())
        if now.down:
            raise StoreUnavailable("connection refused")
        if self._number < now.cut_off or self._chance.random() < now.answers_lost:
            await asyncio.sleep(3600)  # packets that nobody answers
        log, here = self._log, Position(self._log.epoch, len(self._log.entries))
        known = position is not None and position.epoch == here.epoch and position.sequence <= here.sequence
        entries = tuple(entry for _, entry in log.entries[position.sequence :]) if known and position else ()
        await asyncio.sleep(self._delay())
        return LogPage(here, entries, complete=known or position is None)

    async def listen(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._log.listeners.append(self)
        await asyncio.sleep(3600)

    def hint(self) -> None:
        loop = asyncio.get_running_loop()
        now = phase_at(loop.time())
        if not now.down and self._number >= now.cut_off and self._chance.random() >= now.wakes_lost:
            loop.call_later(self._delay(), self._wake)


class _Measured(Feed):
    """Notes when what this worker caches of a session would have been refused."""

    def follow(self, history: _History, number: int) -> None:
        self._history, self._number = history, number

    def apply(self, entry: Revocation, *, before: float) -> None:
        self._history.refused(str(entry.session_id), self._number, self.elapsed(), self.trust[2])
        super().apply(entry, before=before)

    def _resync(self, reason: str) -> None:
        """The cache was cleared, so all that the store knows to be over is refused."""
        for session_id in self._history.not_refused(self._number):
            self._history.refused(session_id, self._number, self.elapsed(), self.trust[2])
        super()._resync(reason)


class _History:
    def __init__(self) -> None:
        self.acknowledged: dict[str, float] = {}
        self.times: dict[str, dict[int, float]] = {}
        #: Acknowledged, and not in the store any more.
        self.lost: set[str] = set()

    def refused(self, session_id: str, worker: int, now: float, until: float) -> None:
        """At `now` the worker learned of an end; from `until` on it had not trusted its cache any more."""
        at = self.acknowledged[session_id]
        self.times[session_id].setdefault(worker, max(0.0, min(now, until) - at))

    def not_refused(self, worker: int) -> list[str]:
        return [one for one, times in self.times.items() if worker not in times and one not in self.lost]


def phase_at(now: float) -> Phase:
    return next((phase for phase in reversed(PHASES) if phase.begins <= now), PHASES[0])


def simulate(workers: int, per_second: float, seed: int) -> Outcome:
    random.seed(seed)  # the jitter of `following`
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(_simulation(workers, per_second, random.Random(seed)))


async def _simulation(workers: int, per_second: float, chance: random.Random) -> Outcome:
    loop, log, outcome, history = asyncio.get_running_loop(), _Log(), Outcome(), _History()
    feeds = [_worker(log, number, workers, chance, outcome, history) for number in range(workers)]
    tasks = [asyncio.create_task(work()) for feed in feeds for work in following(feed._store, feed, _HEARTBEAT)]
    failures = [phase for phase in PHASES if phase.down]
    end = PHASES[-1].ends
    while (now := loop.time()) < end:
        for phase in [phase for phase in failures if now >= phase.ends]:
            failures.remove(phase)
            lost = log.fail_over(phase.begins, phase.forgotten)
            outcome.lost = len(lost)
            history.lost = {str(entry.session_id) for entry in lost}
            tasks.append(asyncio.create_task(_write_again(log, history, feeds, outcome)))
        if not phase_at(now).down and 1 < now < end - STALENESS:
            session_id = f"s{len(history.acknowledged)}"
            history.acknowledged[session_id], history.times[session_id] = now, {}
            log.append(now, Revocation("shop:prd", "user-session", session_id=session_id))
        await asyncio.sleep(chance.expovariate(per_second))
    for session_id, at in history.acknowledged.items():
        got = history.times[session_id]
        outcome.revocations.append((at, [got.get(number, float("inf")) for number in range(workers)]))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return outcome


def _worker(
    log: _Log, number: int, workers: int, chance: random.Random, outcome: Outcome, history: _History
) -> _Measured:
    clock = asyncio.get_running_loop().time
    connection = _Connection(log, number / workers, chance, outcome)
    store = GuardedStore(cast(SessionStore, connection), clock)
    feed = _Measured(store, VerifiedTokens(16), max_staleness=STALENESS, clock=clock, elapsed=clock)
    feed.follow(history, number)
    return feed


async def _write_again(log: _Log, history: _History, feeds: list[_Measured], outcome: Outcome) -> None:
    """A stand-in for `restoring`, without its delays and reads: who knows of a lost end writes it again."""
    loop = asyncio.get_running_loop()
    began, until = loop.time(), loop.time() + STALENESS
    while history.lost and loop.time() < until:
        for feed in [feed for feed in feeds if feed.endings.due]:
            feed.endings.due = False
            known = {str(ending.revocation.session_id) for ending in feed.endings.newest_first()}
            for session_id in sorted(history.lost & known):
                history.lost.discard(session_id)
                log.append(loop.time(), Revocation("shop:prd", "user-session", session_id=session_id))
                outcome.restored_after = loop.time() - began
        await asyncio.sleep(0.005)
    outcome.unknown = len(history.lost)
