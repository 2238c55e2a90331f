"""A store that errs when it is told to, and not otherwise."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator

import anyio
import pytest

from ductape_asgi import ConfigurationError, Sessions, StoreUnavailable
from ductape_asgi.stores.base import SessionStore
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.testing import FlakyStore, SessionClock, StoreContract
from ductape_asgi.testing.flaky import VERBS

from .apps import TAG

DATA = {"userId": "ann"}


class TestFlakyStore(StoreContract):
    """Left alone, it is a store like any other."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[SessionStore]:
        store = FlakyStore(MemoryStore())
        await store.open()
        yield store
        await store.close()


def test_it_has_every_verb_of_a_store() -> None:
    verbs = [name for name, value in vars(SessionStore).items() if inspect.iscoroutinefunction(value)]
    assert sorted(verbs) == sorted(VERBS)
    assert all(name in vars(FlakyStore) for name in verbs)


@pytest.mark.anyio
async def test_it_fails_until_it_is_healed(sessions: Sessions, session_store: FlakyStore) -> None:
    issued = await sessions.start(tag=TAG, data=DATA)
    session_store.fail()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
    session_store.heal()
    await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)


@pytest.mark.anyio
async def test_it_fails_so_many_times_for_the_verbs_that_were_named(
    sessions: Sessions, session_store: FlakyStore
) -> None:
    session_store.fail("create", times=2)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await sessions.start(tag=TAG, data=DATA)
    issued = await sessions.start(tag=TAG, data=DATA)
    assert session_store.calls["create"] == 3
    assert await sessions.revoke(tag=TAG, session_id=issued.session_id)


@pytest.mark.anyio
async def test_what_failed_was_not_done_and_what_was_lost_was(sessions: Sessions, session_store: FlakyStore) -> None:
    issued = await sessions.start(tag=TAG, data=DATA)
    session_store.fail("revoke", times=1)
    with pytest.raises(StoreUnavailable):
        await sessions.revoke(tag=TAG, session_id=issued.session_id)
    assert (await sessions.list(tag=TAG, identifier="ann")).count == 1
    session_store.lose("revoke", times=1)
    with pytest.raises(StoreUnavailable):
        await sessions.revoke(tag=TAG, session_id=issued.session_id)
    assert (await sessions.list(tag=TAG, identifier="ann")).count == 0


@pytest.mark.anyio
async def test_it_hangs_until_it_is_healed(session_store: FlakyStore) -> None:
    answers: list[object] = []

    async def ask() -> None:
        answers.append(await session_store.verify("nobody", generation=0))

    session_store.hang("verify")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert answers == []
        session_store.heal("verify")
    assert answers == [None, None]


@pytest.mark.anyio
async def test_another_trouble_lets_go_of_what_hangs(session_store: FlakyStore) -> None:
    session_store.hang("verify")
    async with anyio.create_task_group() as tasks:

        async def ask() -> None:
            assert await session_store.verify("nobody", generation=0) is None

        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        session_store.fail()
    with pytest.raises(StoreUnavailable):
        await session_store.verify("nobody", generation=0)


@pytest.mark.anyio
async def test_it_takes_its_time(session_store: FlakyStore) -> None:
    session_store.delay(60, "verify")
    with anyio.move_on_after(0.05) as early:
        await session_store.verify("nobody", generation=0)
    assert early.cancelled_caught
    session_store.delay(0, "verify")
    assert await session_store.verify("nobody", generation=0) is None


@pytest.mark.anyio
async def test_it_closes_whatever_fails(session_store: FlakyStore) -> None:
    session_store.fail()
    await session_store.close()
    session_store.fail("close", times=1)
    with pytest.raises(StoreUnavailable):
        await session_store.close()


def test_a_verb_that_no_store_has_is_refused(session_store: FlakyStore) -> None:
    for trouble in (session_store.fail, session_store.lose, session_store.hang, session_store.heal):
        with pytest.raises(ConfigurationError, match="revoek"):
            trouble("revoek")
    with pytest.raises(ConfigurationError, match="times"):
        session_store.fail(times=0)


def test_what_else_a_store_has_is_there(session_store: FlakyStore) -> None:
    assert session_store.announced() is not None
    assert repr(session_store) == "<FlakyStore of MemoryStore>"
    with pytest.raises(AttributeError):
        _ = session_store.sing


def test_a_clock_goes_forward_when_it_is_told_to() -> None:
    clock = SessionClock(100)
    clock.advance(1, minutes=1, hours=1, days=1)
    assert clock() == 100 + 1 + 60 + 3600 + 86_400
    for step in (0, -1, float("nan")):
        with pytest.raises(ConfigurationError):
            clock.advance(step)
    assert "90161" in repr(clock)
