# ruff: noqa: S101 - tests assert
"""Tests of `open`, `close`, `claim_secret` and `create`."""

from __future__ import annotations

import pytest

from ...errors import SessionLimitReached, StoreUnavailable
from ...models import TOUCH_EVERY
from ...stores.base import SecretChanged, SessionStore
from .records import (
    ANN,
    BOB,
    NOW,
    REALM,
    TAG,
    create,
    ids_of,
    must_read,
    new_record,
    position,
    read,
    start,
    start_limited,
)


class CreatingContract:
    """`open`, `close`, `claim_secret`, `create`."""

    async def test_closing_twice_does_nothing(self, store: SessionStore) -> None:
        await store.close()
        await store.close()
        await store.open()
        assert await read(store, "nobody") is None

    async def test_what_was_acknowledged_is_there_after_closing_and_opening(self, store: SessionStore) -> None:
        record = await start(store)
        await store.close()
        await store.open()
        assert await must_read(store, record.session_id) == record

    async def test_opening_twice_keeps_working(self, store: SessionStore) -> None:
        await store.open()
        record = await start(store)
        assert await must_read(store, record.session_id) == record

    async def test_the_first_secrets_offered_are_kept(self, store: SessionStore) -> None:
        assert await store.claim_secret(REALM, {"a": b"1", "b": b"2"}) == {"a": b"1", "b": b"2"}
        assert await store.claim_secret(REALM, {"a": b"3", "b": b"4"}) == {"a": b"1", "b": b"2"}

    async def test_of_offers_that_overlap_with_what_is_kept_none_is_kept(self, store: SessionStore) -> None:
        await store.claim_secret(REALM, {"a": b"1"})
        assert await store.claim_secret(REALM, {"a": b"3", "new": b"4"}) == {"a": b"1"}
        assert await store.claim_secret(REALM, {"new": b"5"}) == {"new": b"5"}

    async def test_an_offer_under_other_names_is_kept_beside(self, store: SessionStore) -> None:
        await store.claim_secret(REALM, {"a": b"1"})
        await store.claim_secret(REALM, {"b": b"2"})
        assert await store.claim_secret(REALM, {"a": b"8", "b": b"9"}) == {"a": b"1", "b": b"2"}

    async def test_secrets_belong_to_their_realm(self, store: SessionStore) -> None:
        await store.claim_secret(REALM, {"a": b"1"})
        assert await store.claim_secret("shop:dev", {"a": b"2"}) == {"a": b"2"}

    async def test_secrets_are_there_after_closing_and_opening(self, store: SessionStore) -> None:
        await store.claim_secret(REALM, {"a": b"1"})
        await store.close()
        await store.open()
        assert await store.claim_secret(REALM, {"a": b"2"}) == {"a": b"1"}

    @pytest.mark.parametrize(
        ("realm", "name", "secret"), [(REALM, "other", b"1"), ("shop:dev", "key-1", b"1"), (REALM, "key-1", b"2")]
    )
    async def test_a_session_is_refused_unless_the_secret_behind_its_subject_is_kept(
        self, store: SessionStore, realm: str, name: str, secret: bytes
    ) -> None:
        old = await start(store, refresh_key="old-key")
        await store.claim_secret(realm, {name: secret})
        before = await position(store)
        refused = new_record(store, refresh_key="key-1")
        with pytest.raises(SecretChanged):
            await store.create(refused, limit=1, evict=True, replaces=old.session_id, secret=b"1", now=NOW)
        assert await ids_of(store) == [old.session_id]
        assert await read(store, refused.session_id) is None
        assert await position(store) == before

    async def test_a_session_is_created_with_the_secret_behind_its_subject(self, store: SessionStore) -> None:
        kept = await store.claim_secret(REALM, {"key-1": b"\0\xff"})
        record = new_record(store, refresh_key="key-1")
        await store.create(record, limit=None, evict=False, replaces=None, secret=kept["key-1"], now=NOW)
        assert await must_read(store, record.session_id) == record

    async def test_a_record_comes_back_as_it_was_given(self, store: SessionStore) -> None:
        record = await start(
            store,
            identity=b"\0\xff",
            client=b"",
            idle_ttl=600,
            version=3,
            created_at=NOW + 0.25,
            last_seen_at=NOW + 0.5,
        )
        assert await must_read(store, record.session_id) == record

    async def test_an_unknown_session_is_none(self, store: SessionStore) -> None:
        assert await read(store, "nobody") is None

    async def test_an_id_that_nobody_could_have_is_none(self, store: SessionStore) -> None:
        for session_id in ("", "\0", "\ud800", "'; DROP TABLE sessions", "%", "ä" * 5_000):
            assert await read(store, session_id) is None

    async def test_a_taken_id_is_refused_and_the_first_session_stays(self, store: SessionStore) -> None:
        record = await start(store)
        with pytest.raises(StoreUnavailable):
            await start(store, session_id=record.session_id, subject=BOB)
        assert await must_read(store, record.session_id) == record
        assert await ids_of(store, BOB) == []

    async def test_a_taken_id_ends_nobody(self, store: SessionStore) -> None:
        taken, other = await start(store), await start(store)
        with pytest.raises(StoreUnavailable):
            await start_limited(store, 1, session_id=taken.session_id, replaces=other.session_id)
        assert sorted(await ids_of(store)) == sorted([taken.session_id, other.session_id])

    async def test_without_a_limit_nobody_is_ended(self, store: SessionStore) -> None:
        first, second = await start(store), await start(store)
        assert await ids_of(store) == [second.session_id, first.session_id]

    async def test_within_the_limit_nobody_is_ended(self, store: SessionStore) -> None:
        await start(store)
        _, ended = await start_limited(store, 2)
        assert ended == ()
        assert len(await ids_of(store)) == 2

    async def test_above_the_limit_the_earliest_started_is_evicted(self, store: SessionStore) -> None:
        first, second = await start(store), await start(store)
        third, ended = await start_limited(store, 2)
        assert ended == (first.session_id,)
        assert await ids_of(store) == [third.session_id, second.session_id]
        assert await read(store, first.session_id) is None

    async def test_the_earliest_started_is_evicted_however_recently_it_was_used(self, store: SessionStore) -> None:
        first, second = await start(store), await start(store)
        await store.touch({first.session_id: NOW + 50})
        _, ended = await start_limited(store, 2)
        assert ended == (first.session_id,)
        assert await read(store, second.session_id) is not None

    async def test_a_limit_that_was_lowered_evicts_as_many_as_it_takes(self, store: SessionStore) -> None:
        old = [await start(store) for _ in range(5)]
        newest, ended = await start_limited(store, 2)
        assert sorted(ended) == sorted(record.session_id for record in old[:4])
        assert await ids_of(store) == [newest.session_id, old[4].session_id]

    async def test_above_the_limit_without_eviction_nothing_happens(self, store: SessionStore) -> None:
        only = await start(store)
        refused = new_record(store)
        with pytest.raises(SessionLimitReached):
            await create(store, refused, limit=1)
        assert await ids_of(store) == [only.session_id]
        assert await read(store, refused.session_id) is None

    async def test_a_refused_session_does_not_end_the_one_it_would_have_replaced(self, store: SessionStore) -> None:
        _, elsewhere = await start(store), await start(store, tag="checkout-session")
        with pytest.raises(SessionLimitReached):
            await start_limited(store, 1, evict=False, replaces=elsewhere.session_id)
        assert await read(store, elsewhere.session_id) is not None

    async def test_sessions_whose_time_is_over_do_not_count(self, store: SessionStore) -> None:
        await start(store, ends_at=int(NOW))
        await start(store, idle_ttl=600, last_seen_at=NOW - 600 - TOUCH_EVERY)
        alive = await start(store)
        _, ended = await start_limited(store, 2, evict=False)
        assert ended == ()
        assert await read(store, alive.session_id) is not None

    async def test_the_limit_counts_one_person_one_tag_one_realm(self, store: SessionStore) -> None:
        for elsewhere in ({"subject": BOB}, {"tag": "checkout-session"}, {"realm": "shop:dev"}):
            await start(store, **elsewhere)
        _, ended = await start_limited(store, 1, evict=False)
        assert ended == ()

    async def test_the_replaced_session_is_ended_and_named(self, store: SessionStore) -> None:
        old = await start(store)
        new, ended = await start_limited(store, 100, replaces=old.session_id)
        assert ended == (old.session_id,)
        assert await ids_of(store) == [new.session_id]

    async def test_the_replaced_session_may_be_of_another_tag_and_person(self, store: SessionStore) -> None:
        anonymous = await start(store, tag="visitor", subject="nobody-yet")
        _, ended = await start_limited(store, 100, replaces=anonymous.session_id)
        assert ended == (anonymous.session_id,)
        assert await read(store, anonymous.session_id) is None

    async def test_a_session_of_another_realm_is_not_replaced(self, store: SessionStore) -> None:
        elsewhere = await start(store, realm="shop:dev")
        _, ended = await start_limited(store, 100, replaces=elsewhere.session_id)
        assert ended == ()
        assert await read(store, elsewhere.session_id) is not None

    async def test_replacing_an_unknown_session_only_starts(self, store: SessionStore) -> None:
        record, ended = await start_limited(store, 100, replaces="nobody")
        assert ended == ()
        assert await ids_of(store, ANN, realm=REALM, tag=TAG) == [record.session_id]

    async def test_the_replaced_session_makes_room_within_the_limit(self, store: SessionStore) -> None:
        old, other = await start(store), await start(store)
        new, ended = await start_limited(store, 2, evict=False, replaces=old.session_id)
        assert ended == (old.session_id,)
        assert await ids_of(store) == [new.session_id, other.session_id]

    async def test_a_session_whose_time_was_over_is_not_named_as_ended(self, store: SessionStore) -> None:
        over = await start(store, ends_at=int(NOW))
        _, ended = await start_limited(store, 100, replaces=over.session_id)
        assert ended == ()

    async def test_a_session_is_read_even_when_its_time_is_over(self, store: SessionStore) -> None:
        record = await start(store, ends_at=int(NOW) - 1)
        assert await must_read(store, record.session_id) == record
