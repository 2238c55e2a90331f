# ruff: noqa: S101 - tests assert
"""Tests of `verify`, `rotate`, `reseal` and `touch`."""

from __future__ import annotations

from dataclasses import replace

from ...models import TOUCH_EVERY
from ...stores.base import SessionStore
from .records import ENDS_AT, NOW, REALM, TAG, log_of, must_read, read, refresh, start


class RefreshingContract:
    """`verify`, `rotate`, `reseal`, `touch`."""

    async def test_the_newest_token_rotates(self, store: SessionStore) -> None:
        record = await start(store)
        rotation = await refresh(store, record.session_id, 0, refresh_key="key-2", client=b"phone", now=NOW + 5)
        expected = replace(
            record, generation=1, refresh_key="key-2", client=b"phone", rotated_at=NOW + 5, last_seen_at=NOW + 5
        )
        assert (rotation.outcome, rotation.record) == ("rotated", expected)
        assert await must_read(store, record.session_id) == expected

    async def test_rotating_by_a_clock_that_is_behind_moves_no_last_use_back(self, store: SessionStore) -> None:
        record = await start(store, idle_ttl=600)
        rotation = await refresh(store, record.session_id, 0, now=NOW - 590)
        assert rotation.record is not None
        assert (rotation.record.rotated_at, rotation.record.last_seen_at) == (NOW - 590, NOW)
        assert await must_read(store, record.session_id) == rotation.record
        assert (await refresh(store, record.session_id, 1, now=NOW + 590)).outcome == "rotated"

    async def test_rotating_without_a_client_keeps_the_old_one(self, store: SessionStore) -> None:
        record = await start(store)
        await refresh(store, record.session_id, 0, client=None)
        assert (await must_read(store, record.session_id)).client == record.client

    async def test_each_newest_token_rotates_again(self, store: SessionStore) -> None:
        record = await start(store)
        outcomes = [(await refresh(store, record.session_id, generation)).outcome for generation in range(4)]
        assert outcomes == ["rotated"] * 4
        assert (await must_read(store, record.session_id)).generation == 4

    async def test_a_token_above_the_newest_rotates_from_there(self, store: SessionStore) -> None:
        for above in (1, 2, 7):
            record = await start(store)
            rotation = await refresh(store, record.session_id, above)
            assert rotation.outcome == "rotated"
            assert (await must_read(store, record.session_id)).generation == above + 1

    async def test_the_token_before_the_newest_gets_the_same_child(self, store: SessionStore) -> None:
        record = await start(store)
        first = await refresh(store, record.session_id, 0, refresh_key="key-2", client=b"phone")
        again = await refresh(store, record.session_id, 0, refresh_key="key-3", client=b"other", now=NOW + 9)
        assert (again.outcome, again.record) == ("same", first.record)
        assert await must_read(store, record.session_id) == first.record

    async def test_the_same_child_is_given_within_the_grace_although_it_was_seen(self, store: SessionStore) -> None:
        record = await start(store)
        await refresh(store, record.session_id, 0)
        await store.verify(record.session_id, generation=1)
        assert (await refresh(store, record.session_id, 0, grace=10, now=NOW + 9.5)).outcome == "same"

    async def test_the_grace_is_over_exactly_when_it_is_over(self, store: SessionStore) -> None:
        record = await start(store)
        await refresh(store, record.session_id, 0)
        await store.verify(record.session_id, generation=1)
        assert (await refresh(store, record.session_id, 0, grace=10, now=NOW + 10)).outcome == "reused"
        assert await read(store, record.session_id) is None

    async def test_retries_do_not_extend_the_grace(self, store: SessionStore) -> None:
        record = await start(store)
        await refresh(store, record.session_id, 0)
        await store.verify(record.session_id, generation=1)
        assert (await refresh(store, record.session_id, 0, grace=10, now=NOW + 9)).outcome == "same"
        assert (await refresh(store, record.session_id, 0, grace=10, now=NOW + 12)).outcome == "reused"

    async def test_an_unseen_child_is_given_again_long_after_the_grace(self, store: SessionStore) -> None:
        record = await start(store)
        await refresh(store, record.session_id, 0)
        assert (await refresh(store, record.session_id, 0, grace=0, now=NOW + 3000)).outcome == "same"

    async def test_a_verified_older_generation_is_no_sign_of_life(self, store: SessionStore) -> None:
        record = await start(store)
        await refresh(store, record.session_id, 0)
        await store.verify(record.session_id, generation=0)
        assert (await refresh(store, record.session_id, 0, grace=0, now=NOW + 1)).outcome == "same"

    async def test_without_grace_a_seen_child_makes_its_parent_a_reuse(self, store: SessionStore) -> None:
        record = await start(store)
        await refresh(store, record.session_id, 0)
        await store.verify(record.session_id, generation=1)
        assert (await refresh(store, record.session_id, 0, grace=0)).outcome == "reused"

    async def test_a_token_two_generations_old_ends_the_session_even_within_the_grace(
        self, store: SessionStore
    ) -> None:
        record = await start(store)
        await refresh(store, record.session_id, 0)
        await refresh(store, record.session_id, 1)
        rotation = await refresh(store, record.session_id, 0, grace=1000)
        assert rotation.outcome == "reused"
        assert rotation.record == replace(record, generation=2, rotated_at=NOW)
        assert await read(store, record.session_id) is None
        assert (await refresh(store, record.session_id, 2)).outcome == "gone"

    async def test_a_reuse_is_logged_as_an_end(self, store: SessionStore) -> None:
        record = await start(store, generation=7)
        (entry,) = await log_of(store, lambda: refresh(store, record.session_id, 2))
        assert (entry.realm, entry.tag, entry.session_id, entry.ended) == (REALM, TAG, record.session_id, True)

    async def test_rotating_and_retrying_is_not_logged(self, store: SessionStore) -> None:
        record = await start(store)
        assert await log_of(store, lambda: refresh(store, record.session_id, 0)) == ()
        assert await log_of(store, lambda: refresh(store, record.session_id, 0)) == ()

    async def test_an_unknown_session_is_gone(self, store: SessionStore) -> None:
        rotation = await refresh(store, "nobody", 0)
        assert (rotation.outcome, rotation.record) == ("gone", None)

    async def test_a_session_past_its_end_is_expired_and_unchanged(self, store: SessionStore) -> None:
        record = await start(store)
        rotation = await refresh(store, record.session_id, 0, now=float(ENDS_AT))
        assert (rotation.outcome, rotation.record) == ("expired", record)
        assert await must_read(store, record.session_id) == record

    async def test_a_session_rotates_until_just_before_its_end(self, store: SessionStore) -> None:
        record = await start(store)
        assert (await refresh(store, record.session_id, 0, now=ENDS_AT - 0.5)).outcome == "rotated"

    async def test_an_idle_session_expires_when_its_lateness_is_over_too(self, store: SessionStore) -> None:
        record = await start(store, idle_ttl=600)
        end = NOW + 600 + TOUCH_EVERY
        assert (await refresh(store, record.session_id, 0, now=end)).outcome == "expired"
        assert (await refresh(store, record.session_id, 0, now=end - 0.5)).outcome == "rotated"
        assert (await refresh(store, record.session_id, 1, now=end + 1)).outcome == "rotated"

    async def test_the_first_verification_of_the_newest_generation_is_recorded(self, store: SessionStore) -> None:
        record = await start(store)
        await refresh(store, record.session_id, 0)
        seen = await store.verify(record.session_id, generation=1)
        assert seen == replace(record, generation=1, seen_generation=1, rotated_at=NOW)
        assert (await must_read(store, record.session_id)).seen_generation == 1

    async def test_verifying_changes_nothing_else(self, store: SessionStore) -> None:
        record = await start(store, generation=4)
        seen = await store.verify(record.session_id, generation=4)
        assert seen == replace(record, seen_generation=4)

    async def test_verifying_another_generation_than_the_newest_records_nothing(self, store: SessionStore) -> None:
        record = await start(store, generation=4, seen_generation=2)
        for generation in (0, 1, 2, 3, 5):
            assert await store.verify(record.session_id, generation=generation) == record

    async def test_verifying_is_not_logged(self, store: SessionStore) -> None:
        record = await start(store, generation=4)
        assert await log_of(store, lambda: store.verify(record.session_id, generation=4)) == ()

    async def test_resealing_replaces_the_three_sealed_fields_only(self, store: SessionStore) -> None:
        record = await start(store)
        await refresh(store, record.session_id, 0)
        await store.reseal(replace(record, identity=b"i", client=b"c", data=b"d", subject="other", expires_in=1))
        kept = await must_read(store, record.session_id)
        expected = replace(
            record, generation=1, rotated_at=NOW, last_seen_at=NOW, identity=b"i", client=b"c", data=b"d"
        )
        assert kept == expected

    async def test_resealing_what_was_updated_meanwhile_does_nothing(self, store: SessionStore) -> None:
        record = await start(store)
        await store.update(REALM, TAG, subject=None, session_id=record.session_id, data=b"newer", now=NOW)
        await store.reseal(replace(record, data=b"older"))
        assert (await must_read(store, record.session_id)).data == b"newer"

    async def test_resealing_an_unknown_session_makes_none(self, store: SessionStore) -> None:
        record = await start(store)
        await store.revoke(REALM, TAG, record.session_id, now=NOW)
        await store.reseal(record)
        assert await read(store, record.session_id) is None

    async def test_resealing_is_not_logged(self, store: SessionStore) -> None:
        record = await start(store)
        assert await log_of(store, lambda: store.reseal(replace(record, data=b"d"))) == ()

    async def test_last_uses_are_noted(self, store: SessionStore) -> None:
        first, second, third = [await start(store) for _ in range(3)]
        await store.touch({first.session_id: NOW + 10, second.session_id: NOW + 20.5})
        seen = [(await must_read(store, one.session_id)).last_seen_at for one in (first, second, third)]
        assert seen == [NOW + 10, NOW + 20.5, NOW]

    async def test_a_last_use_never_moves_back(self, store: SessionStore) -> None:
        record = await start(store)
        await store.touch({record.session_id: NOW + 10})
        await store.touch({record.session_id: NOW + 5})
        assert (await must_read(store, record.session_id)).last_seen_at == NOW + 10

    async def test_touching_changes_nothing_else_and_is_not_logged(self, store: SessionStore) -> None:
        record = await start(store)
        assert await log_of(store, lambda: store.touch({record.session_id: NOW + 10})) == ()
        assert await must_read(store, record.session_id) == replace(record, last_seen_at=NOW + 10)

    async def test_touching_nobody_does_nothing(self, store: SessionStore) -> None:
        record = await start(store)
        await store.touch({})
        await store.touch({"nobody": NOW + 10, "\ud800": NOW + 10})
        assert await must_read(store, record.session_id) == record

    async def test_a_use_keeps_an_idle_session_alive(self, store: SessionStore) -> None:
        record = await start(store, idle_ttl=600)
        await store.touch({record.session_id: NOW + 500})
        late = NOW + 600 + TOUCH_EVERY + 100
        assert (await refresh(store, record.session_id, 0, now=late)).outcome == "rotated"
