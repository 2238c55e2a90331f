# ruff: noqa: S101 - tests assert
"""Tests of `revoke`, `revoke_all`, `update` and `purge`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ...errors import InvalidData
from ...models import TOUCH_EVERY
from ...stores.base import SessionStore
from .records import ANN, BOB, ENDS_AT, NOW, REALM, TAG, ids_of, log_of, must_read, read, start

_ELSEWHERE = [("shop:dev", TAG), ("other:prd", TAG), (REALM, "checkout-session"), ("", ""), (REALM, "\0")]


class EndingContract:
    """`revoke`, `revoke_all`, `update`, `purge`."""

    async def test_a_revoked_session_is_gone(self, store: SessionStore) -> None:
        record = await start(store)
        assert await store.revoke(REALM, TAG, record.session_id, now=NOW) is True
        assert await read(store, record.session_id) is None
        assert await ids_of(store) == []

    async def test_revoking_again_answers_that_it_was_not_live(self, store: SessionStore) -> None:
        record = await start(store)
        await store.revoke(REALM, TAG, record.session_id, now=NOW)
        assert await store.revoke(REALM, TAG, record.session_id, now=NOW) is False

    async def test_revoking_an_unknown_session_does_nothing(self, store: SessionStore) -> None:
        record = await start(store)
        for session_id in ("nobody", "", "\ud800", "%"):
            assert await store.revoke(REALM, TAG, session_id, now=NOW) is False
        assert await ids_of(store) == [record.session_id]

    async def test_revoking_from_another_realm_or_tag_does_nothing(self, store: SessionStore) -> None:
        record = await start(store)
        for realm, tag in _ELSEWHERE:
            assert await store.revoke(realm, tag, record.session_id, now=NOW) is False
        assert await must_read(store, record.session_id) == record

    async def test_revoking_a_session_whose_time_is_over_answers_that_it_was_not_live(
        self, store: SessionStore
    ) -> None:
        record = await start(store)
        assert await store.revoke(REALM, TAG, record.session_id, now=float(ENDS_AT)) is False

    async def test_a_session_is_live_until_just_before_its_end(self, store: SessionStore) -> None:
        record = await start(store)
        assert await store.revoke(REALM, TAG, record.session_id, now=ENDS_AT - 0.5) is True

    async def test_an_idle_session_is_live_until_its_lateness_is_over(self, store: SessionStore) -> None:
        first, second = await start(store, idle_ttl=600), await start(store, idle_ttl=600)
        end = NOW + 600 + TOUCH_EVERY
        assert await store.revoke(REALM, TAG, first.session_id, now=end - 0.5) is True
        assert await store.revoke(REALM, TAG, second.session_id, now=end) is False

    async def test_revoking_all_ends_all_of_a_person(self, store: SessionStore) -> None:
        records = [await start(store) for _ in range(3)]
        assert await store.revoke_all(REALM, TAG, ANN, spare=None, now=NOW) == 3
        assert [await read(store, record.session_id) for record in records] == [None] * 3

    async def test_revoking_all_spares_nobody_else(self, store: SessionStore) -> None:
        others = [
            await start(store, **elsewhere)
            for elsewhere in ({"subject": BOB}, {"tag": "checkout-session"}, {"realm": "shop:dev"})
        ]
        await start(store)
        assert await store.revoke_all(REALM, TAG, ANN, spare=None, now=NOW) == 1
        assert [await read(store, record.session_id) for record in others] == others

    async def test_revoking_all_but_one_keeps_that_one(self, store: SessionStore) -> None:
        _, current, _ = [await start(store) for _ in range(3)]
        assert await store.revoke_all(REALM, TAG, ANN, spare=current.session_id, now=NOW) == 2
        assert await ids_of(store) == [current.session_id]

    async def test_revoking_all_of_nobody_ends_none(self, store: SessionStore) -> None:
        assert await store.revoke_all(REALM, TAG, "nobody", spare=None, now=NOW) == 0

    async def test_revoking_all_counts_live_sessions_only(self, store: SessionStore) -> None:
        await start(store, ends_at=int(NOW))
        await start(store)
        assert await store.revoke_all(REALM, TAG, ANN, spare=None, now=NOW) == 1

    @pytest.mark.parametrize("other", [{"subject": BOB}, {"tag": "checkout-session"}, {"realm": "shop:dev"}])
    async def test_sparing_a_foreign_session_is_refused_and_ends_nothing(
        self, store: SessionStore, other: dict[str, str]
    ) -> None:
        mine, foreign = await start(store), await start(store, **other)
        with pytest.raises(InvalidData):
            await store.revoke_all(REALM, TAG, ANN, spare=foreign.session_id, now=NOW)
        assert await read(store, mine.session_id) == mine
        assert await read(store, foreign.session_id) == foreign

    async def test_sparing_an_unknown_session_is_refused_and_ends_nothing(self, store: SessionStore) -> None:
        mine = await start(store)
        for spare in ("nobody", "", "\ud800"):
            with pytest.raises(InvalidData):
                await store.revoke_all(REALM, TAG, ANN, spare=spare, now=NOW)
        assert await ids_of(store) == [mine.session_id]

    async def test_sparing_a_session_whose_time_is_over_is_refused(self, store: SessionStore) -> None:
        mine, over = await start(store), await start(store, ends_at=int(NOW))
        with pytest.raises(InvalidData):
            await store.revoke_all(REALM, TAG, ANN, spare=over.session_id, now=NOW)
        assert await ids_of(store) == [mine.session_id]

    async def test_a_refused_revoke_all_is_not_logged(self, store: SessionStore) -> None:
        await start(store)

        async def refused() -> None:
            with pytest.raises(InvalidData):
                await store.revoke_all(REALM, TAG, ANN, spare="nobody", now=NOW)

        assert await log_of(store, refused) == ()

    async def test_updating_one_session_changes_its_data_and_version_only(self, store: SessionStore) -> None:
        record, other = await start(store), await start(store)
        assert await store.update(REALM, TAG, subject=None, session_id=record.session_id, data=b"new", now=NOW) == 1
        assert await must_read(store, record.session_id) == replace(record, data=b"new", version=2)
        assert await must_read(store, other.session_id) == other

    async def test_updating_a_person_changes_all_their_sessions_of_the_tag(self, store: SessionStore) -> None:
        first, second = await start(store), await start(store, version=5)
        bystanders = [await start(store, subject=BOB), await start(store, tag="checkout-session")]
        assert await store.update(REALM, TAG, subject=ANN, session_id=None, data=b"new", now=NOW) == 2
        assert await must_read(store, first.session_id) == replace(first, data=b"new", version=2)
        assert await must_read(store, second.session_id) == replace(second, data=b"new", version=6)
        assert [await read(store, record.session_id) for record in bystanders] == bystanders

    async def test_updating_nobody_changes_none(self, store: SessionStore) -> None:
        assert await store.update(REALM, TAG, subject=None, session_id="nobody", data=b"new", now=NOW) == 0
        assert await store.update(REALM, TAG, subject=None, session_id="\ud800", data=b"new", now=NOW) == 0
        assert await store.update(REALM, TAG, subject="nobody", session_id=None, data=b"new", now=NOW) == 0

    async def test_updating_from_another_realm_or_tag_changes_none(self, store: SessionStore) -> None:
        record = await start(store)
        for realm, tag in _ELSEWHERE:
            one = await store.update(realm, tag, subject=None, session_id=record.session_id, data=b"new", now=NOW)
            many = await store.update(realm, tag, subject=ANN, session_id=None, data=b"new", now=NOW)
            assert (one, many) == (0, 0)
        assert await must_read(store, record.session_id) == record

    async def test_updating_leaves_sessions_whose_time_is_over(self, store: SessionStore) -> None:
        over, idle = await start(store, ends_at=int(NOW)), await start(store, idle_ttl=600, last_seen_at=NOW - 700)
        assert await store.update(REALM, TAG, subject=ANN, session_id=None, data=b"new", now=NOW) == 0
        assert await must_read(store, over.session_id) == over
        assert await must_read(store, idle.session_id) == idle

    async def test_purging_removes_what_is_over(self, store: SessionStore) -> None:
        over, alive = await start(store, ends_at=int(NOW)), await start(store, ends_at=int(NOW) + 1)
        assert await store.purge(before=NOW, limit=100) == 1
        assert await read(store, over.session_id) is None
        assert await must_read(store, alive.session_id) == alive

    async def test_purging_removes_what_was_not_used_for_too_long(self, store: SessionStore) -> None:
        gone_by = NOW - 600 - TOUCH_EVERY
        over = await start(store, idle_ttl=600, last_seen_at=gone_by)
        alive = await start(store, idle_ttl=600, last_seen_at=gone_by + 0.5)
        assert await store.purge(before=NOW, limit=100) == 1
        assert await read(store, over.session_id) is None
        assert await must_read(store, alive.session_id) == alive

    async def test_purging_goes_by_the_last_use(self, store: SessionStore) -> None:
        record = await start(store, idle_ttl=600)
        await store.touch({record.session_id: NOW + 1000})
        assert await store.purge(before=NOW + 1600 + TOUCH_EVERY - 0.5, limit=100) == 0
        assert await store.purge(before=NOW + 1600 + TOUCH_EVERY, limit=100) == 1

    async def test_purging_removes_no_more_than_its_limit(self, store: SessionStore) -> None:
        for step in range(5):
            await start(store, ends_at=int(NOW) - step)
            await start(store, idle_ttl=120, last_seen_at=NOW - 1000)
        assert [await store.purge(before=NOW, limit=4) for _ in range(4)] == [4, 4, 2, 0]

    async def test_purging_is_not_logged(self, store: SessionStore) -> None:
        await start(store, ends_at=int(NOW))
        assert await log_of(store, lambda: store.purge(before=NOW, limit=100)) == ()

    async def test_the_id_of_a_purged_session_is_unknown_to_every_verb(self, store: SessionStore) -> None:
        record = await start(store, ends_at=int(NOW))
        await store.purge(before=NOW, limit=100)
        assert await store.revoke(REALM, TAG, record.session_id, now=NOW) is False
        assert await store.update(REALM, TAG, subject=None, session_id=record.session_id, data=b"new", now=NOW) == 0
        assert (
            await store.rotate(record.session_id, generation=0, grace=10, refresh_key="key-1", client=None, now=NOW)
        ).outcome == "gone"
