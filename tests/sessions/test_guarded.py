"""Calls to a store end in time, and a store that is down is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest

from ductape_asgi import DuctapeError, InvalidData, SessionLimitReached, StoreUnavailable
from ductape_asgi.stores.base import StepRefused
from ductape_asgi.stores.guarded import DEADLINE, FAILURES, HURRIED, UNHURRIED, GuardedStore
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.sqlite import SQLiteStore
from ductape_asgi.testing.contract.records import NOW, REALM, TAG, create, new_record

from .push_store import PushStore, Server
from .virtual_time import backend

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return backend(request.param)


@pytest.fixture
def store() -> PushStore:
    return PushStore(Server())


@pytest.fixture
def guarded(store: PushStore) -> GuardedStore:
    return GuardedStore(store, anyio.current_time)


def look(guarded: GuardedStore) -> Any:
    return guarded.verify("nobody", generation=0)


async def fail(guarded: GuardedStore, times: int) -> None:
    for _ in range(times):
        with pytest.raises(StoreUnavailable):
            await look(guarded)


async def took(call: Callable[[], Any]) -> float:
    began = anyio.current_time()
    with pytest.raises(StoreUnavailable):
        await call()
    return anyio.current_time() - began


CALLS: dict[str, Callable[[GuardedStore], Any]] = {
    "claim_secret": lambda store: store.claim_secret(REALM, {"a": b"b"}),
    "create": lambda store: create(store, new_record()),
    "verify": lambda store: store.verify("a", generation=0),
    "rotate": lambda store: store.rotate("a", generation=0, grace=1, refresh_key="k", client=None, now=NOW),
    "reseal": lambda store: store.reseal(new_record()),
    "revoke": lambda store: store.revoke(REALM, TAG, "a", now=NOW),
    "revoke_all": lambda store: store.revoke_all(REALM, TAG, "a", spare=None, now=NOW),
    "update": lambda store: store.update(REALM, TAG, subject="a", session_id=None, data=b"", now=NOW),
    "list": lambda store: store.list(REALM, TAG, "a", limit=1, cursor=None, now=NOW),
    "touch": lambda store: store.touch({"a": NOW}),
    "purge": lambda store: store.purge(before=NOW, limit=1),
    "log_since": lambda store: store.log_since(None),
}


@pytest.mark.parametrize("name", CALLS)
async def test_each_call_is_given_up_within_a_second(store: PushStore, guarded: GuardedStore, name: str) -> None:
    await CALLS[name](guarded)
    store.silent.add(name)
    assert await took(partial(CALLS[name], guarded)) == pytest.approx(DEADLINE)


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"log_since"}))
async def test_no_call_goes_through_while_the_circuit_is_open(
    store: PushStore, guarded: GuardedStore, name: str
) -> None:
    store.refusing.add("verify")
    await fail(guarded, FAILURES)
    store.calls.clear()
    assert await took(partial(CALLS[name], guarded)) == 0
    assert store.calls == []


async def test_readings_of_the_log_that_fail_keep_no_other_call_away(store: PushStore, guarded: GuardedStore) -> None:
    """With `on_stale="check_store"`, those stand in for them."""
    store.refusing.add("log_since")
    for _ in range(FAILURES):
        with pytest.raises(StoreUnavailable):
            await guarded.log_since(None)
    assert guarded.state == "open"
    store.calls.clear()
    with pytest.raises(StoreUnavailable):
        await guarded.log_since(None)
    assert store.calls == []
    assert await look(guarded) is None


async def test_steps_that_are_refused_one_by_one_open_no_circuit(store: PushStore, guarded: GuardedStore) -> None:
    async def refuse() -> None:
        raise StepRefused("this one alone")

    store.before["verify"] = refuse
    await fail(guarded, 2 * FAILURES)
    assert guarded.state == "closed"
    assert await guarded.revoke(REALM, TAG, "a", now=NOW) is False


async def test_a_refused_step_closes_the_circuit(store: PushStore, guarded: GuardedStore) -> None:
    async def refuse() -> None:
        raise StepRefused("this one alone")

    store.refusing.add("verify")
    await fail(guarded, FAILURES)
    await anyio.sleep(1)
    store.refusing.clear()
    store.before["verify"] = refuse
    await fail(guarded, 1)
    assert guarded.state == "closed"


async def test_a_log_that_can_be_read_closes_the_circuit(store: PushStore, guarded: GuardedStore) -> None:
    store.refusing.add("verify")
    await fail(guarded, FAILURES)
    await guarded.log_since(None)
    assert guarded.state == "closed"


async def test_a_call_right_after_a_silence_waits_half_as_long(store: PushStore, guarded: GuardedStore) -> None:
    store.silent.add("all")
    assert await took(partial(guarded.log_since, None, within=HURRIED)) == pytest.approx(HURRIED)
    assert await took(partial(look, guarded)) == pytest.approx(HURRIED)
    await anyio.sleep(1)
    assert await took(partial(look, guarded)) == pytest.approx(DEADLINE)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_store_that_makes_its_own_of_a_cancellation_cancels_nobody(
    store: PushStore, guarded: GuardedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> None:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            raise OSError("the connection was given up") from None

    async def gather(*_: Any, **__: Any) -> None:
        await asyncio.gather(hang(), return_exceptions=True)

    monkeypatch.setattr(store, "verify", gather)
    with pytest.raises(StoreUnavailable):
        await look(guarded)
    asking = asyncio.ensure_future(look(guarded))
    await anyio.sleep(0.1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_call_that_is_cancelled_from_outside_is_no_failure(store: PushStore, guarded: GuardedStore) -> None:
    store.silent.add("all")
    for _ in range(3 * FAILURES):
        with anyio.move_on_after(0.1) as moved:
            await look(guarded)
        assert moved.cancelled_caught
    assert guarded.circuit.state == "closed"


async def test_the_circuit_opens_after_failures_in_a_row_and_closes_with_the_first_success(
    store: PushStore, guarded: GuardedStore
) -> None:
    store.refusing.add("all")
    await fail(guarded, FAILURES - 1)
    assert guarded.circuit.state == "closed"
    await fail(guarded, 1)
    assert guarded.circuit.state == "open"
    await fail(guarded, 100)
    assert len(store.calls) == FAILURES
    await anyio.sleep(0.49)
    await fail(guarded, 1)
    assert len(store.calls) == FAILURES
    await anyio.sleep(0.02)
    await fail(guarded, 10)
    assert len(store.calls) == FAILURES + 1
    store.refusing.clear()
    await anyio.sleep(0.51)
    assert await look(guarded) is None
    assert guarded.circuit.state == "closed"
    store.refusing.add("all")
    await fail(guarded, 1)
    assert guarded.circuit.state == "closed"


async def test_a_success_in_between_ends_the_row(store: PushStore, guarded: GuardedStore) -> None:
    for _ in range(10):
        store.refusing.add("all")
        await fail(guarded, FAILURES - 1)
        store.refusing.clear()
        await look(guarded)
    assert guarded.circuit.state == "closed"


async def test_failures_far_apart_are_no_row(store: PushStore, guarded: GuardedStore) -> None:
    store.refusing.add("all")
    for _ in range(3 * FAILURES):
        await fail(guarded, 1)
        await anyio.sleep(6)
    assert guarded.circuit.state == "closed"


async def test_one_at_a_time_tries_a_store_that_was_down(store: PushStore, guarded: GuardedStore) -> None:
    store.refusing.add("all")
    await fail(guarded, FAILURES)
    store.refusing.clear()
    store.silent.add("all")
    await anyio.sleep(0.6)
    store.calls.clear()
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(took, partial(look, guarded))
    assert len(store.calls) == 1


async def test_whoever_tried_and_was_cancelled_leaves_the_try_to_the_next(
    store: PushStore, guarded: GuardedStore
) -> None:
    store.refusing.add("all")
    await fail(guarded, FAILURES)
    store.refusing.clear()
    store.silent.add("all")
    await anyio.sleep(0.6)
    with anyio.move_on_after(0.1):
        await look(guarded)
    store.silent.clear()
    assert await look(guarded) is None


@pytest.mark.parametrize("answer", [SessionLimitReached("full"), InvalidData("no")])
async def test_an_error_that_is_an_answer_is_no_failure(
    store: PushStore, guarded: GuardedStore, answer: DuctapeError
) -> None:
    async def refuse() -> None:
        raise answer

    store.before["verify"] = refuse
    for _ in range(3 * FAILURES):
        with pytest.raises(type(answer)):
            await look(guarded)
    assert guarded.circuit.state == "closed"


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), TimeoutError(), OSError(113, "no route")])
async def test_an_error_of_the_network_is_the_stores_being_unavailable(
    store: PushStore, guarded: GuardedStore, error: OSError
) -> None:
    async def broken() -> None:
        raise error

    store.before["verify"] = broken
    with pytest.raises(StoreUnavailable) as raised:
        await look(guarded)
    assert raised.value.__cause__ is error


async def test_a_bug_in_a_store_stays_visible(store: PushStore, guarded: GuardedStore) -> None:
    async def broken() -> None:
        raise KeyError("surprise")

    store.before["verify"] = broken
    for _ in range(3 * FAILURES):
        with pytest.raises(KeyError):
            await look(guarded)


class HangingMemory(MemoryStore):
    """Made from a store that never hangs."""

    async def verify(self, session_id: str, *, generation: int) -> Any:
        await anyio.sleep_forever()


async def test_what_is_made_from_a_local_store_is_guarded_again() -> None:
    assert await took(partial(look, GuardedStore(HangingMemory(), anyio.current_time))) == pytest.approx(DEADLINE)


@pytest.mark.parametrize("kind", [MemoryStore, SQLiteStore])
def test_the_local_stores_say_that_they_bound_themselves(kind: type) -> None:
    assert vars(kind)["deadline"] is None


SURVEYS: dict[str, Callable[[GuardedStore], Any]] = {
    "census": lambda store: store.census(REALM, TAG, since=0.0, cursor=None, now=NOW),
    "people": lambda store: store.people(REALM, TAG, limit=1, cursor=None, now=NOW),
}


@pytest.mark.parametrize("name", SURVEYS)
async def test_what_operators_ask_for_may_take_longer_and_harms_nobody_elses_calls(
    store: PushStore, guarded: GuardedStore, name: str
) -> None:
    await SURVEYS[name](guarded)
    store.silent.add(name)
    for _ in range(FAILURES):
        assert await took(partial(SURVEYS[name], guarded)) == pytest.approx(UNHURRIED)
    assert guarded.circuit.state == "closed"
    store.silent = {"verify"}
    assert await took(partial(look, guarded)) == pytest.approx(DEADLINE)


@pytest.mark.parametrize("name", SURVEYS)
async def test_nothing_is_counted_while_the_circuit_is_open_and_counting_does_not_close_it(
    store: PushStore, guarded: GuardedStore, name: str
) -> None:
    store.refusing.add("verify")
    await fail(guarded, FAILURES)
    store.calls.clear()
    assert await took(partial(SURVEYS[name], guarded)) == 0
    assert store.calls == []
    await anyio.sleep(0.51)
    await SURVEYS[name](guarded)
    assert guarded.circuit.state == "open"
    store.refusing.clear()
    assert await look(guarded) is None
    assert guarded.circuit.state == "closed"
