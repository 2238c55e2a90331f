"""Random histories of two workers on one store, held to a plain model: what a session is, in dicts and comparisons.

The clock is the machine's own; each rule says by the model what may be answered, and then asks.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ductape_asgi import (
    DuctapeError,
    ExpiredToken,
    InvalidData,
    IssuedSession,
    RefreshReused,
    RevokedSession,
    Sessions,
    StoreUnavailable,
    TagPolicy,
    new_access_key,
)
from ductape_asgi.models import TOUCH_EVERY

from .support import Clock, WatchedStore, until

T = TypeVar("T")

LIMITED, IDLE = "limited-session", "idle-session"
TTL, TOKEN_TTL, IDLE_TTL, GRACE, MOST, STALENESS, LEEWAY = 3_000, 900, 600, 10, 3, 5, 5
_PRODUCTS = itertools.count()

SHORT = settings(max_examples=15, stateful_step_count=30, suppress_health_check=list(HealthCheck))
#: Enough to find what is wrong, and no time spent on telling it in the shortest way.
MANY = settings(SHORT, max_examples=1_000, stateful_step_count=40, phases=[Phase.generate])


@dataclass
class Modelled:
    """One session as it should be.  `ended_at`: somebody ended it; `gone`: its time was found to be over."""

    session_id: str
    tag: str
    who: str
    started_at: float
    used_at: float
    data: list[int]
    generation: int = 0
    rotated_at: float = 0.0
    seen: bool = False
    ended_at: float | None = None
    gone: bool = False
    refresh_tokens: list[str] = field(default_factory=list)
    #: Token, its generation, its end.
    access_tokens: list[tuple[str, int, float]] = field(default_factory=list)
    #: What the data was before, and until when.
    past: list[tuple[int, float]] = field(default_factory=list)

    @property
    def ends_at(self) -> float:
        return self.started_at + TTL

    def alive(self, now: float) -> bool:
        """For sure.  An unused session ends up to `TOUCH_EVERY` late."""
        idle = self.tag == IDLE and now >= self.used_at + IDLE_TTL
        return self.ended_at is None and not self.gone and now < self.ends_at and not idle

    def over(self, now: float) -> bool:
        """For sure."""
        idle = self.tag == IDLE and now >= self.used_at + IDLE_TTL + TOUCH_EVERY
        return self.ended_at is not None or self.gone or now >= self.ends_at or idle

    def issued(self, issued: IssuedSession, now: float) -> None:
        self.access_tokens.append((issued.token, self.generation, min(now + TOKEN_TTL, self.ends_at)))
        del self.access_tokens[:-4]


class Worker:
    def __init__(self, sessions: Sessions, store: WatchedStore) -> None:
        self.sessions = sessions
        self.store = store
        self.dropped = False


class Histories(RuleBasedStateMachine):
    """Give a sub-class `make_store`, which makes one more way into the store."""

    make_store: Callable[[], Any]
    runner: asyncio.Runner

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.options: dict[str, Any] = {
            "access_key": new_access_key(),
            # Histories share a store, and have a realm of their own.
            "product": f"p{next(_PRODUCTS)}",
            "env": "prd",
            "algorithm": "HS256",
            "clock": self.clock,
            "tags": [
                TagPolicy(LIMITED, session_ttl=TTL, expires_in=TOKEN_TTL, reuse_grace=GRACE, max_sessions=MOST),
                TagPolicy(IDLE, session_ttl=TTL, expires_in=TOKEN_TTL, reuse_grace=GRACE, idle_ttl=IDLE_TTL),
            ],
        }
        self.all: list[Modelled] = []
        self.numbers = itertools.count(1)
        self.workers = [self.run(self._opened()) for _ in range(2)]

    def teardown(self) -> None:
        for worker in getattr(self, "workers", ()):
            self.run(worker.sessions.__aexit__(None, None, None))

    async def _opened(self) -> Worker:
        store = WatchedStore(type(self).make_store())
        sessions = Sessions(store=store, **self.options)
        await sessions.__aenter__()
        return Worker(sessions, store)

    async def _ask(self, worker: Worker, call: Callable[[], Awaitable[T]]) -> T | DuctapeError | None:
        """The answer, or the error; None where a worker that hears nothing is turned away, and nothing was done."""
        if not worker.dropped:
            await worker.sessions.worker.feed.catch_up()
        try:
            return await call()
        except StoreUnavailable:
            assert worker.dropped, "the store is there, and was said not to be"
            return None
        except DuctapeError as error:
            return error

    @property
    def now(self) -> float:
        return self.clock.now

    def _theirs(self, tag: str, who: str) -> list[Modelled]:
        return [one for one in self.all if (one.tag, one.who) == (tag, who)]

    def _some(self, place: int) -> Modelled:
        """The newer, the likelier."""
        return self.all[-1 - place % min(len(self.all), 4)]

    def _end(self, one: Modelled) -> None:
        if one.ended_at is None:
            one.ended_at = self.now

    # What happens to workers.

    @rule(seconds=st.sampled_from([1, 4, 6, 9, 11, 61, 300, 590, 615, 700, 901]))
    def advance(self, seconds: int) -> None:
        async def settled() -> None:
            for worker in self.workers:
                # What was noted is written within moments; here an hour may pass in none.
                await until(lambda worker=worker: self._written(worker))

        self.run(settled())
        self.clock.advance(seconds)

    async def _written(self, worker: Worker) -> bool:
        try:
            await worker.sessions.worker._write_last_uses()
        except StoreUnavailable:  # its circuit is open for a moment
            return False
        return True

    @rule(which=st.integers(0, 1))
    def restart(self, which: int) -> None:
        self.run(self.workers[which].sessions.__aexit__(None, None, None))
        self.workers[which] = self.run(self._opened())

    @precondition(lambda self: not any(worker.dropped for worker in self.workers))
    @rule(which=st.integers(0, 1))
    def drop_the_feed(self, which: int) -> None:
        async def dropped() -> None:
            worker = self.workers[which]
            await worker.sessions.worker.feed.catch_up()
            worker.store.instead["log_since"] = _fail
            worker.dropped = True

        self.run(dropped())

    @precondition(lambda self: any(worker.dropped for worker in self.workers))
    @rule()
    def bring_the_feed_back(self) -> None:
        async def back() -> None:
            for worker in self.workers:
                worker.store.instead.clear()
                worker.dropped = False
                await until(lambda worker=worker: _healthy(worker))

        self.run(back())

    # The verbs.

    @rule(which=st.integers(0, 1), tag=st.sampled_from([LIMITED, LIMITED, IDLE]), who=st.sampled_from("aaab"))
    def start(self, which: int, tag: str, who: str) -> None:
        number, worker = next(self.numbers), self.workers[which]
        data = {"userId": who, "n": number}
        issued = self.run(self._ask(worker, lambda: worker.sessions.start(tag=tag, data=data)))
        if issued is None:
            return
        assert isinstance(issued, IssuedSession)
        if tag == LIMITED:
            living = [one for one in self._theirs(tag, who) if one.alive(self.now)]
            for one in living[: max(0, len(living) + 1 - MOST)]:
                self._end(one)
        new = Modelled(issued.session_id, tag, who, self.now, self.now, [number])
        new.refresh_tokens.append(issued.refresh_token or "")
        new.issued(issued, self.now)
        self.all.append(new)
        self._list(worker, tag, who)

    @precondition(lambda self: self.all)
    @rule(which=st.integers(0, 1), place=st.integers(0, 3), old=st.integers(0, 3), fresh=st.booleans())
    def verify(self, which: int, place: int, old: int, fresh: bool) -> None:
        self._verify(self.workers[which], self._some(place), old, fresh)

    @precondition(lambda self: self.all)
    @rule(place=st.integers(0, 3))
    def everybody_verifies(self, place: int) -> None:
        self._everybody_verifies(self._some(place))

    def _everybody_verifies(self, *some: Modelled) -> None:
        """With the newest token, so that it is in every cache, if it may be."""
        for one in some:
            for worker in self.workers:
                self._verify(worker, one, old=0, fresh=False)

    def _verify(self, worker: Worker, one: Modelled, old: int, fresh: bool) -> None:
        token, generation, expires_at = one.access_tokens[-1 - old % len(one.access_tokens)]
        answer = self.run(self._ask(worker, lambda: worker.sessions.verify(tag=one.tag, token=token, fresh=fresh)))
        if answer is None:
            return
        if isinstance(answer, DuctapeError):
            if self.now >= expires_at + LEEWAY:
                assert isinstance(answer, ExpiredToken)
            else:
                self._must_be_over(one, answer)
            return
        assert answer.session_id == one.session_id  # type: ignore[attr-defined]
        assert self.now < min(expires_at + LEEWAY, one.ends_at)
        unheard = self.now - STALENESS if worker.dropped and not fresh else self.now
        if one.ended_at is not None:
            assert one.ended_at > unheard, "a session that was ended was accepted"
            return
        assert not one.over(self.now)
        allowed = {*one.data, *(value for value, until in one.past if until > unheard)}
        assert answer.data["n"] in allowed  # type: ignore[attr-defined]
        one.used_at = self.now
        one.seen = one.seen or generation == one.generation

    @precondition(lambda self: self.all)
    @rule(which=st.integers(0, 1), place=st.integers(0, 3), old=st.sampled_from([0, 0, 0, 1, 1, 1, 2]))
    def refresh(self, which: int, place: int, old: int) -> None:
        worker, one = self.workers[which], self._some(place)
        generation = max(0, one.generation - old)
        token = one.refresh_tokens[generation]
        answer = self.run(self._ask(worker, lambda: worker.sessions.refresh(tag=one.tag, refresh_token=token)))
        if answer is None:
            return
        if isinstance(answer, RefreshReused):
            assert not one.over(self.now)
            late = generation == one.generation - 1 and one.seen and self.now >= one.rotated_at + GRACE
            assert late or generation < one.generation - 1, "who had a right to a child was taken for a thief"
            self._end(one)
            return
        if isinstance(answer, DuctapeError):
            self._must_be_over(one, answer)
            return
        assert not one.over(self.now)
        assert answer.session_id == one.session_id
        if generation == one.generation:
            assert answer.refresh_token not in one.refresh_tokens
            one.refresh_tokens.append(answer.refresh_token or "")
            one.generation, one.rotated_at, one.seen, one.used_at = generation + 1, self.now, False, self.now
        else:
            assert generation == one.generation - 1, "a token two generations old was exchanged"
            assert not one.seen or self.now < one.rotated_at + GRACE, "a token was exchanged again after its time"
            assert answer.refresh_token == one.refresh_tokens[one.generation], "another child"
        one.issued(answer, self.now)

    def _must_be_over(self, one: Modelled, answer: DuctapeError) -> None:
        assert not one.alive(self.now), f"{type(answer).__name__} for a session that lives"
        if one.ended_at is not None:
            assert isinstance(answer, RevokedSession) or self.now >= one.ends_at
        else:
            assert isinstance(answer, ExpiredToken | RevokedSession)  # the latter once it was removed
            one.gone = True

    @precondition(lambda self: self.all)
    @rule(which=st.integers(0, 1), place=st.integers(0, 3))
    def revoke(self, which: int, place: int) -> None:
        worker, one = self.workers[which], self._some(place)
        answer = self.run(self._ask(worker, lambda: worker.sessions.revoke(tag=one.tag, session_id=one.session_id)))
        if answer is not None:
            assert answer in _truths(one, self.now)
            self._end(one)
            self._everybody_verifies(one)

    @precondition(lambda self: self.all)
    @rule(which=st.integers(0, 1), place=st.integers(0, 3), spare=st.booleans())
    def revoke_all(self, which: int, place: int, spare: bool) -> None:
        worker, one = self.workers[which], self._some(place)
        spared = one if spare else None
        answer = self.run(
            self._ask(
                worker,
                lambda: worker.sessions.revoke_all(
                    tag=one.tag, identifier=one.who, exclude_current_session=spared and spared.session_id
                ),
            )
        )
        if isinstance(answer, InvalidData):
            assert spare
            assert not one.alive(self.now)
        elif answer is not None:
            assert spared is None or not one.over(self.now)
            theirs = [each for each in self._theirs(one.tag, one.who) if each is not spared]
            assert answer in _counts(theirs, self.now)
            for each in theirs:
                self._end(each)
            self._everybody_verifies(*theirs[-2:])

    @precondition(lambda self: self.all)
    @rule(which=st.integers(0, 1), place=st.integers(0, 3), person=st.booleans())
    def update(self, which: int, place: int, person: bool) -> None:
        worker, one, number = self.workers[which], self._some(place), next(self.numbers)
        whose = {"identifier": one.who} if person else {"session_id": one.session_id}
        data = {"userId": one.who, "n": number}
        answer = self.run(self._ask(worker, lambda: worker.sessions.update(tag=one.tag, data=data, **whose)))
        if answer is None:
            return
        changing = self._theirs(one.tag, one.who) if person else [one]
        assert answer in _counts(changing, self.now)
        for each in changing:
            if each.alive(self.now):
                each.past += [(value, self.now) for value in each.data]
                each.data = [number]
            elif not each.over(self.now):
                each.data.append(number)  # or not: it may have been over
        self._everybody_verifies(*changing[-2:])

    @rule(which=st.integers(0, 1), tag=st.sampled_from([LIMITED, IDLE]), who=st.sampled_from("aaab"))
    def list(self, which: int, tag: str, who: str) -> None:
        self._list(self.workers[which], tag, who)

    def _list(self, worker: Worker, tag: str, who: str) -> None:
        page = self.run(self._ask(worker, lambda: worker.sessions.list(tag=tag, identifier=who)))
        if page is None:
            return
        shown = [info.session_id for info in page]  # type: ignore[union-attr]
        theirs = self._theirs(tag, who)[::-1]
        assert shown == [one.session_id for one in theirs if one.session_id in shown], "not newest first"
        assert {one.session_id for one in theirs if one.alive(self.now)} <= set(shown)
        assert not set(shown) & {one.session_id for one in theirs if one.over(self.now)}
        assert page.count == len(shown)  # type: ignore[union-attr]


def _truths(one: Modelled, now: float) -> set[bool]:
    return {one.alive(now), not one.over(now)}


def _counts(some: list[Modelled], now: float) -> range:
    """How many of them may be called live."""
    return range(sum(one.alive(now) for one in some), sum(not one.over(now) for one in some) + 1)


async def _fail(*_: object) -> Any:
    raise StoreUnavailable("the feed is dropped")


async def _healthy(worker: Worker) -> bool:
    return (await worker.sessions.health()).ok


def hold(runner: asyncio.Runner, make_store: Callable[[], Any], how: settings) -> None:
    """Run histories on the store that `make_store` makes ways into."""
    kind = type("TheseHistories", (Histories,), {"runner": runner, "make_store": staticmethod(make_store)})
    run_state_machine_as_test(kind, settings=how)
