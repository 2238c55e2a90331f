# ruff: noqa: S101 - tests assert
"""Tests of `log_since` and `announced`, and of who appends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ...errors import InvalidData, SessionLimitReached
from ...models import Position, Revocation
from ...stores.base import SessionStore
from .records import ANN, NOW, REALM, TAG, log_of, position, start, start_limited


class LogContract:
    """`log_since`, `announced`, and who appends."""

    async def test_without_a_position_the_log_has_no_entries_and_is_complete(self, store: SessionStore) -> None:
        record = await start(store)
        await store.revoke(REALM, TAG, record.session_id, now=NOW)
        page = await store.log_since(None)
        assert (page.entries, page.complete) == ((), True)

    async def test_where_nothing_happened_the_log_stands_still(self, store: SessionStore) -> None:
        before = await position(store)
        await start(store)
        page = await store.log_since(before)
        assert (page.position, page.entries, page.complete) == (before, (), True)

    async def test_a_revoke_is_logged(self, store: SessionStore) -> None:
        record = await start(store)
        entries = await log_of(store, lambda: store.revoke(REALM, TAG, record.session_id, now=NOW))
        assert entries == (Revocation(REALM, TAG, session_id=record.session_id),)

    async def test_revoking_nobody_is_not_logged(self, store: SessionStore) -> None:
        assert await log_of(store, lambda: store.revoke(REALM, TAG, "nobody", now=NOW)) == ()
        assert await log_of(store, lambda: store.revoke_all(REALM, TAG, "nobody", spare=None, now=NOW)) == ()

    async def test_revoking_all_is_one_entry_for_the_person(self, store: SessionStore) -> None:
        for _ in range(3):
            await start(store)
        entries = await log_of(store, lambda: store.revoke_all(REALM, TAG, ANN, spare=None, now=NOW))
        assert entries == (Revocation(REALM, TAG, subject=ANN),)

    async def test_the_spared_session_is_named_in_the_log(self, store: SessionStore) -> None:
        current, _ = await start(store), await start(store)
        entries = await log_of(store, lambda: store.revoke_all(REALM, TAG, ANN, spare=current.session_id, now=NOW))
        assert entries == (Revocation(REALM, TAG, subject=ANN, spared=current.session_id),)

    async def test_updating_a_session_is_logged_as_a_change(self, store: SessionStore) -> None:
        record = await start(store)
        entries = await log_of(
            store,
            lambda: store.update(REALM, TAG, subject=None, session_id=record.session_id, data=b"new", now=NOW),
        )
        assert entries == (Revocation(REALM, TAG, session_id=record.session_id, ended=False),)

    async def test_updating_a_person_is_logged_as_a_change(self, store: SessionStore) -> None:
        await start(store)
        entries = await log_of(
            store, lambda: store.update(REALM, TAG, subject=ANN, session_id=None, data=b"new", now=NOW)
        )
        assert entries == (Revocation(REALM, TAG, subject=ANN, ended=False),)

    async def test_updating_nobody_is_not_logged(self, store: SessionStore) -> None:
        entries = await log_of(
            store, lambda: store.update(REALM, TAG, subject="nobody", session_id=None, data=b"new", now=NOW)
        )
        assert entries == ()

    async def test_starting_is_not_logged(self, store: SessionStore) -> None:
        assert await log_of(store, lambda: start(store)) == ()

    async def test_replaced_and_evicted_sessions_are_logged(self, store: SessionStore) -> None:
        first, _, third = [await start(store) for _ in range(3)]
        other_tag = await start(store, tag="visitor")
        entries = await log_of(store, lambda: start_limited(store, 3, replaces=other_tag.session_id))
        assert set(entries) == {
            Revocation(REALM, "visitor", session_id=other_tag.session_id),
            Revocation(REALM, TAG, session_id=first.session_id),
        }
        assert third.session_id not in [entry.session_id for entry in entries]

    async def test_a_refused_start_is_not_logged(self, store: SessionStore) -> None:
        await start(store)

        async def refused() -> None:
            with pytest.raises(SessionLimitReached):
                await start_limited(store, 1, evict=False)

        assert await log_of(store, refused) == ()

    async def test_entries_come_oldest_first_and_each_is_one_step_of_the_sequence(self, store: SessionStore) -> None:
        records = [await start(store) for _ in range(10)]
        before = await position(store)
        for record in records:
            await store.revoke(REALM, TAG, record.session_id, now=NOW)
        page = await store.log_since(before)
        assert [entry.session_id for entry in page.entries] == [record.session_id for record in records]
        assert (page.position.epoch, page.position.sequence) == (before.epoch, before.sequence + 10)

    async def test_the_log_can_be_read_from_any_place_in_it(self, store: SessionStore) -> None:
        records = [await start(store) for _ in range(6)]
        places = [await position(store)]
        for record in records:
            await store.revoke(REALM, TAG, record.session_id, now=NOW)
            places.append(await position(store))
        for passed, place in enumerate(places):
            page = await store.log_since(place)
            assert page.complete
            assert [entry.session_id for entry in page.entries] == [one.session_id for one in records[passed:]]

    async def test_a_place_of_another_log_is_not_complete(self, store: SessionStore) -> None:
        here = await position(store)
        page = await store.log_since(Position("another epoch", here.sequence))
        assert (page.position, page.entries, page.complete) == (here, (), False)

    async def test_a_place_ahead_of_the_log_is_not_complete(self, store: SessionStore) -> None:
        here = await position(store)
        page = await store.log_since(replace(here, sequence=here.sequence + 1))
        assert (page.position, page.complete) == (here, False)

    async def test_a_place_long_before_the_log_is_not_complete(self, store: SessionStore) -> None:
        here = await position(store)
        page = await store.log_since(replace(here, sequence=-1))
        assert (page.position, page.complete) == (here, False)

    async def test_the_log_goes_on_after_closing_and_opening(self, store: SessionStore) -> None:
        record = await start(store)
        before = await position(store)
        await store.close()
        await store.open()
        await store.revoke(REALM, TAG, record.session_id, now=NOW)
        page = await store.log_since(before)
        assert page.complete
        assert [entry.session_id for entry in page.entries] == [record.session_id]

    async def test_what_is_announced_is_never_behind_what_was_acknowledged(self, store: SessionStore) -> None:
        for _ in range(5):
            record = await start(store)
            await store.revoke(REALM, TAG, record.session_id, now=NOW)
            word = store.announced()
            here = await position(store)
            assert word is None or word[0] >= here.sequence

    async def test_what_is_announced_is_what_the_log_says_when_nobody_writes(self, store: SessionStore) -> None:
        record = await start(store)
        await store.revoke(REALM, TAG, record.session_id, now=NOW)
        here = await position(store)
        word = store.announced()
        assert word is None or word[0] == here.sequence

    async def test_a_word_that_was_asked_for_before_shows_what_comes_after(self, store: SessionStore) -> None:
        record = await start(store)
        word = store.announced()
        await store.revoke(REALM, TAG, record.session_id, now=NOW)
        assert word is None or word[0] == (await position(store)).sequence

    async def test_refusals_do_not_move_the_log(self, store: SessionStore) -> None:
        await start(store)
        before = await position(store)
        with pytest.raises(InvalidData):
            await store.revoke_all(REALM, TAG, ANN, spare="nobody", now=NOW)
        assert await position(store) == before
