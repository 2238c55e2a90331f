"""What a worker knows to have ended, and what it does about it after its store has lost writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from ductape_asgi.endings import Endings
from ductape_asgi.models import Revocation
from ductape_asgi.restoring import end_again
from ductape_asgi.stores.base import StepRefused
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.testing.contract.records import ANN, BOB, NOW, REALM, TAG, create, ids_of, new_record, read, start

LEEWAY = 5


def of_session(session_id: str, **changes: Any) -> Revocation:
    return replace(Revocation(REALM, TAG, session_id=session_id), **changes)


def known(endings: Endings, record: Any) -> bool:
    return endings.known(record, noted=endings.count) is not None


def test_an_ended_session_is_known_by_its_id() -> None:
    endings, record = Endings(), new_record()
    endings.note(of_session(record.session_id), before=0)
    assert known(endings, record)
    assert not known(endings, new_record())
    assert not known(endings, replace(record, realm="shop:dev"))


def test_a_change_of_data_is_no_ending() -> None:
    endings, record = Endings(), new_record()
    endings.note(of_session(record.session_id, ended=False), before=0)
    endings.note(Revocation(REALM, TAG, subject=ANN, ended=False), before=NOW + 1)
    assert not known(endings, record)
    assert len(endings) == 0


def test_of_a_person_what_began_before_has_ended_but_for_the_spared() -> None:
    endings, spared = Endings(), new_record()
    endings.note(Revocation(REALM, TAG, subject=ANN, spared=spared.session_id), before=NOW + 1)
    assert known(endings, new_record(created_at=NOW))
    assert not known(endings, new_record(created_at=NOW + 1))
    assert not known(endings, spared)
    assert not known(endings, new_record(subject=BOB))
    assert not known(endings, new_record(tag="checkout-session"))


def test_what_ended_while_the_store_was_asked_does_not_count() -> None:
    endings, record = Endings(), new_record()
    noted = endings.count
    endings.note(of_session(record.session_id), before=0)
    assert not endings.known(record, noted=noted)
    assert known(endings, record)


def test_what_is_noted_again_stays_known_from_the_first_time_on_and_never_for_less() -> None:
    endings, record = Endings(), new_record(created_at=NOW)
    everything = Revocation(REALM, TAG, subject=ANN)
    endings.note(everything, before=NOW + 1)
    noted = endings.count
    endings.note(everything, before=NOW - 5)  # heard of in the log, where less is known of its time
    assert endings.known(record, noted=noted)
    assert len(endings) == 1


def test_what_is_noted_again_for_more_is_known_from_then_on() -> None:
    endings, record = Endings(), new_record(created_at=NOW)
    everything = Revocation(REALM, TAG, subject=ANN)
    endings.note(everything, before=NOW - 1)
    noted = endings.count
    endings.note(everything, before=NOW + 1)
    assert not endings.known(record, noted=noted)
    assert known(endings, record)
    assert endings.came(record, noted=noted)


def test_what_may_have_begun_afterwards_by_another_clock_is_not_taken_for_ended() -> None:
    endings, record = Endings(), new_record(created_at=NOW)
    endings.note(Revocation(REALM, TAG, subject=ANN), before=NOW + LEEWAY)
    assert endings.known(record, noted=endings.count)
    assert not endings.known(record, noted=endings.count, leeway=LEEWAY)


def test_of_a_person_only_what_ended_since_came() -> None:
    endings, record, other = Endings(), new_record(created_at=NOW), new_record(created_at=NOW)
    endings.note(Revocation(REALM, TAG, subject=ANN), before=NOW + 1)
    noted = endings.count
    assert not endings.came(record, noted=noted)
    endings.note(of_session(record.session_id), before=0)
    assert endings.came(record, noted=noted)
    assert not endings.came(other, noted=noted)


def test_the_oldest_go_first_and_what_is_noted_again_is_new() -> None:
    endings, records = Endings(most=3), [new_record() for _ in range(5)]
    for record in (*records[:3], records[0], *records[3:]):
        endings.note(of_session(record.session_id), before=0)
    assert [known(endings, record) for record in records] == [True, False, False, True, True]
    assert len(endings) == 3


class CountingStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    async def verify(self, session_id: str, *, generation: int) -> Any:
        self.calls["verify"] += 1
        return await super().verify(session_id, generation=generation)

    async def revoke(self, *args: Any, **kwargs: Any) -> bool:
        self.calls["revoke"] += 1
        return await super().revoke(*args, **kwargs)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


Restore = Callable[[Endings], Awaitable[int]]


@pytest.fixture
def restore(store: CountingStore) -> Restore:
    return lambda endings: end_again(store, endings, lambda: NOW, LEEWAY)


@pytest.mark.anyio
async def test_what_is_live_although_it_ended_is_ended_and_nothing_else(store: CountingStore, restore: Restore) -> None:
    endings = Endings()
    lost, gone, untouched = await start(store), new_record(), await start(store)
    other_tag = await start(store, tag="visitor")
    for session_id in (lost.session_id, gone.session_id, other_tag.session_id):
        endings.note(of_session(session_id), before=0)
    assert await restore(endings) == 2
    assert [await read(store, one.session_id) is None for one in (lost, untouched, other_tag)] == [True, False, True]
    assert store.calls["revoke"] == 2
    assert await restore(endings) == 0


@pytest.mark.anyio
async def test_a_damaged_session_is_ended_and_keeps_nobody_elses_from_it(
    store: CountingStore, restore: Restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    endings = Endings()
    older, damaged = await start(store), await start(store)
    for record in (older, damaged):
        endings.note(of_session(record.session_id), before=0)
    whole = store.verify

    async def verify(session_id: str, *, generation: int) -> Any:
        if session_id == damaged.session_id:
            raise StepRefused("the session is damaged")
        return await whole(session_id, generation=generation)

    monkeypatch.setattr(store, "verify", verify)
    assert await restore(endings) == 2
    assert await ids_of(store) == []


@pytest.mark.anyio
async def test_a_person_with_many_sessions_is_gone_through_page_by_page(store: CountingStore, restore: Restore) -> None:
    endings, old = Endings(), [await start(store) for _ in range(2500)]
    new = await start(store, created_at=NOW + 1)
    endings.note(Revocation(REALM, TAG, subject=ANN, spared=old[7].session_id), before=NOW + LEEWAY + 1)
    assert await restore(endings) == 2499
    assert await ids_of(store) == [new.session_id, old[7].session_id]


@pytest.mark.anyio
async def test_it_goes_from_the_newest_back_to_a_thousand_of_which_none_was_lost(
    store: CountingStore, restore: Restore
) -> None:
    endings = Endings()
    records = [new_record() for _ in range(5000)]
    for record in records:
        endings.note(of_session(record.session_id), before=0)
    for lost in (records[-1], records[-1500]):
        await create(store, lost)
    assert await restore(endings) == 2
    assert await ids_of(store) == []
    assert store.calls["verify"] == 3000
