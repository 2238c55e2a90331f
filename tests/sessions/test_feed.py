"""Promise P1 with a store that pushes: wake-ups that come, come late or do not come, and a log that decides."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from ductape_asgi import IssuedSession, Sessions
from ductape_asgi import worker as worker_module

from .push_store import PushStore, Server, gap
from .support import ANN, TAG, accepted
from .virtual_time import backend

pytestmark = pytest.mark.anyio

START = 1_800_000_000.0
MakeWorker = Callable[..., Awaitable[Sessions]]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return backend(request.param)


class Clocks:
    """The wall clock and the clock since boot: both go with the loop's time, and can be stepped."""

    def __init__(self) -> None:
        self.stepped = 0.0
        self.suspended = 0.0

    def wall(self) -> float:
        return START + anyio.current_time() + self.stepped + self.suspended

    def boot(self) -> float:
        return anyio.current_time() + self.suspended


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(worker_module, "boot_clock", lambda: clocks.boot)
    return clocks


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def make_worker(server: Server, clocks: Clocks, access_key: str) -> AsyncIterator[MakeWorker]:
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> Sessions:
            given = {"access_key": access_key, "product": "shop", "env": "prd", "clock": clocks.wall, **options}
            given.setdefault("store", PushStore(server))
            return await stack.enter_async_context(Sessions(**given))

        yield make


@pytest.fixture
async def here(make_worker: MakeWorker) -> Sessions:
    return await make_worker()


@pytest.fixture
async def there(make_worker: MakeWorker) -> Sessions:
    return await make_worker()


def store_of(sessions: Sessions) -> PushStore:
    store = sessions.worker.store
    assert isinstance(store, PushStore)
    return store


async def started(there: Sessions, *workers: Sessions, **data: Any) -> IssuedSession:
    """A new session that each of `workers` has in its cache."""
    issued = await there.start(tag=TAG, data={**ANN, **data})
    for each in workers:
        assert await accepted(each, issued.token) == "ok"
    return issued


async def revoke(sessions: Sessions, issued: IssuedSession) -> None:
    assert await sessions.revoke(tag=TAG, session_id=issued.session_id)


async def seconds_until(reached: Callable[[], bool]) -> float:
    """How long it takes, in the loop's time; looked at every millisecond."""
    began = anyio.current_time()
    with anyio.fail_after(3600):
        while not reached():
            await anyio.sleep(0.001)
    return anyio.current_time() - began


# Wake-ups.


async def test_a_revocation_reaches_the_cache_without_any_request(here: Sessions, there: Sessions) -> None:
    issued = await started(there, here)
    assert len(here.worker.cache) == 1
    await anyio.sleep(0.5)  # between two heartbeats
    await revoke(there, issued)
    assert await seconds_until(lambda: len(here.worker.cache) == 0) <= 0.012
    assert await accepted(here, issued.token) == "revoked_session"


@pytest.mark.parametrize("ending", ["revoke_all", "update", "replaces", "reuse"])
async def test_whatever_ends_or_changes_a_session_reaches_the_cache(
    here: Sessions, there: Sessions, ending: str
) -> None:
    issued = await started(there, here)
    await anyio.sleep(0.5)
    if ending == "revoke_all":
        await there.revoke_all(tag=TAG, identifier="ann")
    elif ending == "update":
        await there.update(tag=TAG, identifier="ann", data={**ANN, "role": "none"})
    elif ending == "replaces":
        await there.start(tag=TAG, data=ANN, replaces=issued.session_id)
    else:
        second = await there.refresh(tag=TAG, refresh_token=issued.refresh_token)
        third = await there.refresh(tag=TAG, refresh_token=second.refresh_token)
        await there.refresh(tag=TAG, refresh_token=third.refresh_token)
        assert len(here.worker.cache) == 1
        with pytest.raises(Exception, match="already used"):
            await there.refresh(tag=TAG, refresh_token=issued.refresh_token)
    assert await seconds_until(lambda: len(here.worker.cache) == 0) <= 0.012


async def test_no_request_pays_for_proof_while_the_follower_lives(here: Sessions, there: Sessions) -> None:
    issued = await started(there, here)
    store = store_of(here)

    async def unexpected() -> bool:
        raise AssertionError("a request had to prove")

    here.worker.feed.prove = unexpected  # type: ignore[method-assign]
    for _ in range(100):
        await anyio.sleep(0.3)
        assert await accepted(here, issued.token) == "ok"
    assert 18 <= store.calls.count("log_since") <= 25  # thirty seconds of heartbeats
    assert store.calls.count("verify") == 1


async def test_heartbeats_find_what_no_wake_up_told_of(here: Sessions, there: Sessions, server: Server) -> None:
    issued = await started(there, here)
    server.wake_ups = False
    await revoke(there, issued)
    assert await seconds_until(lambda: len(here.worker.cache) == 0) <= 5 / 3 + 0.02


@pytest.mark.parametrize("copies", [1, 7])
@pytest.mark.parametrize("delays", [[0.0], [0.3], [0.9, 0.0, 0.5, 0.1]], ids=["in time", "late", "out of order"])
async def test_wake_ups_may_come_late_twice_and_out_of_order(
    here: Sessions, there: Sessions, server: Server, delays: list[float], copies: int
) -> None:
    issued = [await started(there, here, n=number) for number in range(8)]
    server.delays, server.copies = list(delays), copies
    for number, each in enumerate(issued):
        await revoke(there, each)
        await anyio.sleep(0.02)
        assert len(here.worker.cache) >= 7 - number
    assert await seconds_until(lambda: len(here.worker.cache) == 0) <= max(delays) + 0.03
    assert {await accepted(here, each.token) for each in issued} == {"revoked_session"}


async def test_a_storm_of_wake_ups_is_read_in_pages(here: Sessions, there: Sessions) -> None:
    issued = [await started(there, here, n=number) for number in range(300)]
    before = store_of(here).calls.count("log_since")
    for each in issued:
        await revoke(there, each)
    assert await seconds_until(lambda: len(here.worker.cache) == 0) <= 0.05
    assert store_of(here).calls.count("log_since") - before <= 3


async def test_a_wake_up_during_a_reading_makes_for_one_more(here: Sessions, there: Sessions) -> None:
    first, second = await started(there, here), await started(there, here)
    await anyio.sleep(0.1)
    store, memory = store_of(here), store_of(here).server.memory
    answered, go_on = anyio.Event(), anyio.Event()

    async def log_since(position: Any) -> Any:
        page = await memory.log_since(position)  # as of now, and slow on its way back
        answered.set()
        await go_on.wait()
        return page

    store.log_since = log_since  # type: ignore[method-assign]
    await revoke(there, first)
    await answered.wait()
    await revoke(there, second)
    del store.log_since  # type: ignore[method-assign]
    go_on.set()
    assert await seconds_until(lambda: len(here.worker.cache) == 0) <= 0.05


# A store that cannot be read.


async def test_a_revoked_session_lives_no_longer_than_max_staleness_when_the_log_is_silent(
    here: Sessions, there: Sessions
) -> None:
    issued = await started(there, here)
    store_of(here).silent.add("log_since")
    await revoke(there, issued)
    revoked_at, answers = anyio.current_time(), []
    while anyio.current_time() < revoked_at + 12:
        asked = anyio.current_time()
        answers.append((asked - revoked_at, await accepted(here, issued.token), anyio.current_time() - asked))
        await anyio.sleep(0.25)
    assert {code for at, code, _ in answers if at > 5} == {"revoked_session"}
    assert "ok" in {code for _, code, _ in answers}  # or this test would not see the bound
    assert max(took for _, _, took in answers) <= 1.0


async def test_the_store_is_asked_however_long_the_log_cannot_be_read(here: Sessions, there: Sessions) -> None:
    """A cluster with one node down: nobody asks for a while, and then the sessions of the other nodes are served."""
    issued, ended = await started(there, here), await started(there, here)
    store_of(here).silent.add("log_since")
    await revoke(there, ended)
    await anyio.sleep(60)
    for _ in range(10):
        assert await accepted(here, issued.token) == "ok"
        assert await accepted(here, ended.token) == "revoked_session"
        await anyio.sleep(0.3)


async def test_refuse_answers_unavailable_while_the_log_is_silent(make_worker: MakeWorker, there: Sessions) -> None:
    here = await make_worker(on_stale="refuse")
    issued = await started(there, here)
    store_of(here).silent.add("log_since")
    await anyio.sleep(5.01)
    began = anyio.current_time()
    assert await accepted(here, issued.token) == "store_unavailable"
    assert anyio.current_time() - began <= 1.0
    store_of(here).silent.clear()
    await anyio.sleep(2)
    assert await accepted(here, issued.token) == "ok"
    assert store_of(here).calls.count("verify") == 1


async def test_a_dead_store_answers_503_within_a_second_and_cached_sessions_until_then(
    here: Sessions, there: Sessions
) -> None:
    issued, unseen = await started(there, here), await started(there)
    await anyio.sleep(1)
    store_of(here).silent.add("all")
    went_silent, answers = anyio.current_time(), []

    async def ask(token: str) -> None:
        asked = anyio.current_time()
        code = await accepted(here, token)
        answers.append((asked - went_silent, token, code, anyio.current_time() - asked))

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            for token in (issued.token, unseen.token):
                tasks.start_soon(ask, token)
            await anyio.sleep(0.1)
    assert {code for _, token, code, _ in answers if token == unseen.token} == {"store_unavailable"}
    assert {code for at, token, code, _ in answers if token == issued.token and at < 3.3} == {"ok"}
    assert {code for at, token, code, _ in answers if token == issued.token and at > 5} == {"store_unavailable"}
    assert max(took for _, _, _, took in answers) <= 1.0 + 1e-9
    store_of(here).silent.clear()
    back = await seconds_until(lambda: here.worker.feed.fresh())
    assert back <= 2
    assert await accepted(here, issued.token) == await accepted(here, unseen.token) == "ok"


async def test_who_waits_for_the_followers_silent_reading_waits_no_longer_than_a_second_in_all(
    here: Sessions, there: Sessions, clocks: Clocks, server: Server
) -> None:
    issued = await started(there, here)
    await anyio.sleep(0.1)
    store_of(here).silent.add("all")
    server.wake_all()
    await anyio.sleep(0.3)  # the follower waits by now
    clocks.suspended += 30
    began = anyio.current_time()
    assert await accepted(here, issued.token) == "store_unavailable"
    assert anyio.current_time() - began <= 1.0 + 1e-9


async def test_many_stale_requests_share_one_reading(make_worker: MakeWorker, there: Sessions, clocks: Clocks) -> None:
    here = await make_worker()
    issued = await started(there, here)
    await anyio.sleep(0.1)
    store = store_of(here)

    async def slow() -> None:
        await anyio.sleep(0.2)

    store.before["log_since"] = slow
    clocks.suspended += 30
    before, answers = store.calls.count("log_since"), []

    async def ask() -> None:
        answers.append(await accepted(here, issued.token))

    async with anyio.create_task_group() as tasks:
        for _ in range(500):
            tasks.start_soon(ask)
    assert answers == ["ok"] * 500
    assert store.calls.count("log_since") == before + 1


async def test_the_log_is_read_by_one_at_a_time(here: Sessions, there: Sessions, clocks: Clocks) -> None:
    issued = await started(there, here)
    store, inside, most = store_of(here), 0, 0

    async def counted() -> None:
        nonlocal inside, most
        inside, most = inside + 1, max(most, inside + 1)
        await anyio.sleep(0.02)
        inside -= 1

    store.before["log_since"] = counted
    async with anyio.create_task_group() as tasks:
        for number in range(200):
            clocks.suspended += 6 * (number % 20 == 0)
            tasks.start_soon(accepted, here, issued.token)
            tasks.start_soon(here.worker.feed.catch_up)
            store.server.wake_all()
            await anyio.sleep(0.003)
    assert most == 1


async def test_a_cancelled_reader_leaves_nobody_waiting(here: Sessions, there: Sessions, clocks: Clocks) -> None:
    issued = await started(there, here)
    await anyio.sleep(0.1)
    store, answers = store_of(here), []

    async def slow() -> None:
        await anyio.sleep(0.3)

    async def ask() -> None:
        answers.append(await accepted(here, issued.token))

    store.before["log_since"] = slow
    clocks.suspended += 6
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as leading:
            tasks.start_soon(_cancel_in, leading, 0.1)
            await accepted(here, issued.token)
        assert leading.cancelled_caught
        for _ in range(20):
            tasks.start_soon(ask)
    assert answers == ["ok"] * 20


async def _cancel_in(scope: anyio.CancelScope, seconds: float) -> None:
    await anyio.sleep(seconds)
    scope.cancel()


# Clocks.


async def test_a_worker_that_was_suspended_trusts_nothing(here: Sessions, there: Sessions, clocks: Clocks) -> None:
    issued = await started(there, here)
    await anyio.sleep(0.1)
    store_of(here).server.wake_ups = False
    await revoke(there, issued)
    clocks.suspended += 30  # the loop's own clock stood still, and its heartbeat is not due
    assert not here.worker.feed.fresh()
    assert await accepted(here, issued.token) == "revoked_session"


@pytest.mark.parametrize("step", [3600, -3600, 20 * 86400, -20 * 86400])
async def test_a_stepped_wall_clock_stretches_no_trust(
    here: Sessions, there: Sessions, clocks: Clocks, step: float
) -> None:
    here.worker.leeway = 10**9  # so that the token's own times say nothing
    issued = await started(there, here)
    store_of(here).server.wake_ups = False
    store_of(here).silent.add("log_since")
    clocks.stepped += step
    await revoke(there, issued)
    await anyio.sleep(5.01)
    assert len(here.worker.cache) == 1
    assert not here.worker.feed.fresh()
    assert await accepted(here, issued.token) == "revoked_session"


@pytest.mark.parametrize("step", [3600, -3600])
async def test_trust_goes_on_after_the_wall_clock_was_stepped(here: Sessions, clocks: Clocks, step: float) -> None:
    await here.list(tag=TAG, identifier="ann")
    clocks.stepped += step
    await anyio.sleep(2)
    for _ in range(50):
        assert here.worker.feed.fresh()
        await anyio.sleep(0.3)


# A log that is not whole.


def resyncs(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.__dict__["reason"] for one in caplog.records if one.__dict__.get("event") == "feed.resync"]


async def test_a_gap_in_the_log_clears_the_cache(
    here: Sessions, there: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ductape_asgi.audit")
    kept, ended = await started(there, here), await started(there, here)
    store_of(here).pages = gap
    await revoke(there, ended)
    assert await seconds_until(lambda: len(here.worker.cache) == 0) <= 0.05
    assert resyncs(caplog) == ["gap"]
    store_of(here).pages = lambda page: page
    assert await accepted(here, ended.token) == "revoked_session"
    assert await accepted(here, kept.token) == "ok"


@pytest.mark.parametrize(
    ("reason", "spoil"),
    [
        ("trimmed", lambda page: replace(page, entries=(), complete=False)),
        ("another_log", lambda page: replace(page, entries=(), position=replace(page.position, epoch="new"))),
        ("writes_lost", lambda page: replace(page, entries=(), position=replace(page.position, sequence=0))),
    ],
)
async def test_a_log_that_does_not_go_on_clears_the_cache_whatever_it_says_of_itself(
    here: Sessions, there: Sessions, caplog: pytest.LogCaptureFixture, reason: str, spoil: Any
) -> None:
    caplog.set_level(logging.INFO, "ductape_asgi.audit")
    await started(there, here)
    store_of(here).pages = spoil
    assert await seconds_until(lambda: len(here.worker.cache) == 0) <= 5 / 3 + 0.02
    assert set(resyncs(caplog)) == {reason}


@pytest.mark.parametrize("way", ["revoke", "revoke_all"])
@pytest.mark.parametrize("log", ["shorter", "another"])
async def test_what_a_failover_lost_is_refused_at_once_and_written_again(
    make_worker: MakeWorker, here: Sessions, there: Sessions, server: Server, way: str, log: str
) -> None:
    issued = await started(there, here)
    spared = await started(there, here, device="other")
    # What began since the last reading, or in the leeway before, may have begun after a revoke_all that is heard of.
    await anyio.sleep(7)
    copy = await server.copy()
    if way == "revoke":
        await revoke(there, issued)
    else:
        await there.revoke_all(tag=TAG, identifier="ann", exclude_current_session=spared.session_id)
    await seconds_until(lambda: len(here.worker.cache) == 1)
    if log == "shorter":
        server.lose(copy)
    else:
        server.memory = copy
    assert await copy.verify(issued.session_id, generation=-1) is not None  # it is back from the dead
    for each in (here, there):
        assert await accepted(each, issued.token) == "revoked_session"
    took = await seconds_until(lambda: issued.session_id not in server.memory._records)
    assert took <= 2
    stranger = await make_worker()
    assert await accepted(stranger, issued.token) == "revoked_session"
    for each in (here, there, stranger):
        assert await accepted(each, spared.token) == "ok"


async def test_a_refresh_token_of_a_session_that_a_failover_brought_back_is_refused(
    here: Sessions, there: Sessions, server: Server
) -> None:
    issued = await started(there, here)
    copy = await server.copy()
    await revoke(there, issued)
    server.lose(copy)
    with pytest.raises(Exception, match="ended"):
        await there.refresh(tag=TAG, refresh_token=issued.refresh_token)
    await seconds_until(lambda: issued.session_id not in server.memory._records)


async def test_a_lost_write_that_the_log_does_not_show_is_healed_when_it_is_met(
    here: Sessions, there: Sessions, server: Server
) -> None:
    issued, others = await started(there, here), [await started(there) for _ in range(3)]
    copy = await server.copy()
    await revoke(there, issued)
    await seconds_until(lambda: len(here.worker.cache) == 0)
    server.lose(copy)
    for other in others:  # the new primary goes on, past where everybody has read
        await copy.revoke("shop:prd", TAG, other.session_id, now=START)
    assert await accepted(here, issued.token) == "revoked_session"
    await seconds_until(lambda: issued.session_id not in copy._records)


@pytest.mark.parametrize("wake_ups", [True, False])
async def test_sessions_started_after_everything_was_revoked_are_not_ended_again(
    here: Sessions, there: Sessions, server: Server, wake_ups: bool
) -> None:
    old = await started(there, here)
    copy = await server.copy()
    await anyio.sleep(7)
    server.wake_ups = wake_ups
    await there.revoke_all(tag=TAG, identifier="ann")
    await anyio.sleep(0.001)
    new = await started(there, here)
    copy._add(server.memory._records[new.session_id])
    await anyio.sleep(2)
    server.lose(copy)
    await seconds_until(lambda: old.session_id not in server.memory._records)
    await anyio.sleep(10)
    assert new.session_id in server.memory._records
    assert await accepted(here, new.token) == await accepted(there, new.token) == "ok"


@pytest.fixture
async def behind(make_worker: MakeWorker, clocks: Clocks) -> Sessions:
    """A worker on a machine whose clock is two seconds slow, which the default leeway forgives."""
    return await make_worker(clock=lambda: clocks.wall() - 2)


async def test_who_signs_in_after_revoke_all_on_a_machine_whose_clock_is_behind_stays_signed_in(
    here: Sessions, there: Sessions, behind: Sessions, server: Server
) -> None:
    await started(there, here)
    await there.revoke_all(tag=TAG, identifier="ann")
    issued = await behind.start(tag=TAG, data=ANN)
    await here.worker.feed.catch_up()
    assert [await accepted(each, issued.token) for each in (there, here, behind)] == ["ok"] * 3
    await there.refresh(tag=TAG, refresh_token=issued.refresh_token)
    server.lose(await server.copy())
    for each in (there, here):
        each.worker.feed.endings.due = each.worker.feed.endings.doubted = True
        each.worker.wake()
    await anyio.sleep(20)
    assert await accepted(behind, issued.token) == "ok"


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_a_clock_that_was_stepped_after_revoke_all_signs_nobody_out(
    here: Sessions, there: Sessions, clocks: Clocks, server: Server, step: float
) -> None:
    await started(there, here)
    await there.revoke_all(tag=TAG, identifier="ann")
    clocks.stepped += step
    issued = await there.start(tag=TAG, data=ANN)
    for each in (there, here):
        assert await accepted(each, issued.token) == "ok"
    assert (await there.refresh(tag=TAG, refresh_token=issued.refresh_token)).session_id == issued.session_id
    await anyio.sleep(20)
    assert issued.session_id in server.memory._records


async def test_whether_an_end_was_lost_is_not_guessed_while_the_log_cannot_be_read(
    there: Sessions, clocks: Clocks
) -> None:
    await there.revoke_all(tag=TAG, identifier="ann")
    clocks.stepped -= 3600
    issued = await there.start(tag=TAG, data=ANN)
    store_of(there).silent.add("log_since")
    began = anyio.current_time()
    assert await accepted(there, issued.token) == "store_unavailable"
    assert anyio.current_time() - began <= 1
    store_of(there).silent.clear()
    await anyio.sleep(2)
    assert await accepted(there, issued.token) == "ok"


async def test_a_session_that_outlived_its_end_is_doubted_until_all_ends_are_written_again(
    here: Sessions, there: Sessions, server: Server
) -> None:
    issued = await started(there, here)
    copy = await server.copy()
    await anyio.sleep(7)
    await there.revoke_all(tag=TAG, identifier="ann")
    for each in (here, there):
        store_of(each).refusing.add("revoke")
    server.lose(copy)
    await anyio.sleep(3)
    assert there.worker.feed.endings.doubted
    assert await accepted(there, issued.token) == "revoked_session"
    for each in (here, there):
        store_of(each).refusing.clear()
    await anyio.sleep(20)
    assert not there.worker.feed.endings.doubted


@pytest.mark.parametrize("way", ["revoke", "revoke_all"])
async def test_an_end_that_was_lost_before_anybody_read_of_it_is_missed_and_written_again(
    there: Sessions, server: Server, way: str
) -> None:
    issued = await started(there)
    await anyio.sleep(7)
    copy = await server.copy()
    if way == "revoke":
        await revoke(there, issued)
    else:
        await there.revoke_all(tag=TAG, identifier="ann")
    server.lose(copy)
    assert await seconds_until(lambda: issued.session_id not in copy._records) <= 2
    assert await accepted(there, issued.token) == "revoked_session"


async def test_an_end_that_was_read_before_it_was_answered_is_not_missed(
    there: Sessions, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async def read() -> None:
        await server.memory.revoke_all("shop:prd", TAG, subject, spare=None, now=START + anyio.current_time())
        await there.worker.feed.catch_up()
        await started(there)

    issued = await started(there)
    record = server.memory._records[issued.session_id]
    subject = record.subject
    store_of(there).before["revoke_all"] = read
    assert await there.revoke_all(tag=TAG, identifier="ann") == 1
    await anyio.sleep(10)
    assert resyncs(caplog) == []


async def test_endings_that_could_not_be_written_again_are_written_when_the_store_is_back(
    here: Sessions, there: Sessions, server: Server
) -> None:
    issued = await started(there, here)
    copy = await server.copy()
    await revoke(there, issued)
    await seconds_until(lambda: len(here.worker.cache) == 0)
    for each in (here, there):
        store_of(each).refusing.add("revoke")
    server.lose(copy)
    await anyio.sleep(10)
    assert issued.session_id in copy._records
    for each in (here, there):
        store_of(each).refusing.clear()
    assert await seconds_until(lambda: issued.session_id not in copy._records) <= 2


# What is told.


async def test_lost_trust_is_logged_once_and_its_return_once(
    here: Sessions, there: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    issued = await started(there, here)
    caplog.set_level(logging.INFO, "ductape_asgi")
    for _ in range(2):
        store_of(here).refusing.add("all")
        for _ in range(100):
            await accepted(here, issued.token)
            await anyio.sleep(0.1)
        store_of(here).refusing.clear()
        for _ in range(100):
            await accepted(here, issued.token)
            await anyio.sleep(0.1)
    told = [(one.levelname, one.message) for one in caplog.records if "revocations" in one.message]
    assert [level for level, _ in told] == ["WARNING", "INFO", "WARNING", "INFO"]


# Stores that were written before there was push.


class OldStore:
    """Neither `announced` nor `listen`."""

    def __init__(self, server: Server) -> None:
        self._store = PushStore(server)

    def __getattr__(self, name: str) -> Any:
        if name in ("announced", "listen"):
            raise AttributeError(name)
        return getattr(self._store, name)


async def test_a_store_without_announced_and_listen_works_within_the_bound(
    make_worker: MakeWorker, server: Server, there: Sessions
) -> None:
    here = await make_worker(store=OldStore(server))
    issued = await started(there, here)
    await revoke(there, issued)
    assert await seconds_until(lambda: len(here.worker.cache) == 0) <= 5 / 3 + 0.02
    assert await accepted(here, issued.token) == "revoked_session"


async def test_a_listen_that_fails_is_asked_for_again(make_worker: MakeWorker, server: Server, there: Sessions) -> None:
    store = PushStore(server)
    failures = 0

    async def listen(wake: Callable[[], None]) -> None:
        nonlocal failures
        if failures < 3:
            failures += 1
            raise OSError("no route")
        await PushStore.listen(store, wake)

    store.listen = listen  # type: ignore[method-assign]
    here = await make_worker(store=store)
    await seconds_until(lambda: store.listening == 1)
    issued = await started(there, here)
    await anyio.sleep(0.1)
    await revoke(there, issued)
    assert await seconds_until(lambda: len(here.worker.cache) == 0) <= 0.012


async def test_a_log_that_raises_what_it_should_not_stops_no_follower(here: Sessions, there: Sessions) -> None:
    issued = await started(there, here)

    async def broken() -> None:
        raise RuntimeError("a bug in a driver")

    store_of(here).before["log_since"] = broken
    await revoke(there, issued)
    await anyio.sleep(2)
    store_of(here).before.clear()
    assert await seconds_until(lambda: len(here.worker.cache) == 0) <= 1
