# ruff: noqa: S101 - tests assert
"""Tests of many tasks at once."""

from __future__ import annotations

from collections import Counter
from functools import partial

import anyio
import anyio.lowlevel

from ...errors import SessionLimitReached, StoreUnavailable
from ...models import Rotation
from ...stores.base import SessionStore
from .records import (
    ANN,
    NOW,
    REALM,
    TAG,
    Step,
    all_at_once,
    create,
    ids_of,
    must_read,
    new_record,
    page_of,
    position,
    read,
    refresh,
    start,
    start_limited,
)


class RacingContract:
    """Every method, from many tasks at once."""

    async def test_of_racing_refreshes_one_rotates_and_all_get_the_same_child(self, store: SessionStore) -> None:
        record = await start(store)
        rotations = await all_at_once([partial(refresh, store, record.session_id, 0) for _ in range(50)])
        assert Counter(rotation.outcome for rotation in rotations) == {"rotated": 1, "same": 49}
        assert {rotation.record.generation for rotation in rotations} == {1}
        assert (await must_read(store, record.session_id)).generation == 1

    async def test_without_grace_too_one_of_them_rotates_and_nobody_after_it(self, store: SessionStore) -> None:
        """What tickets rest on: a record that shows no sign of life is rotated once, whoever asks how often."""
        record = await start(store)
        rotations = await all_at_once([partial(refresh, store, record.session_id, 0, grace=0) for _ in range(20)])
        rotations.append(await refresh(store, record.session_id, 0, grace=0, now=NOW + 20))
        assert Counter(rotation.outcome for rotation in rotations) == {"rotated": 1, "same": 20}

    async def test_racing_refreshes_with_different_keys_all_get_the_winners_key(self, store: SessionStore) -> None:
        record = await start(store)
        rotations = await all_at_once(
            [partial(refresh, store, record.session_id, 0, refresh_key=f"key-{step}") for step in range(20)]
        )
        kept = await must_read(store, record.session_id)
        assert {rotation.record.refresh_key for rotation in rotations} == {kept.refresh_key}

    async def test_racing_starts_never_pass_the_limit(self, store: SessionStore) -> None:
        outcomes = await all_at_once([partial(start_limited, store, 3, evict=False) for _ in range(30)])
        refused = [outcome for outcome in outcomes if isinstance(outcome, SessionLimitReached)]
        assert len(refused) == 27
        assert (await page_of(store)).count == 3

    async def test_racing_starts_evict_each_session_once(self, store: SessionStore) -> None:
        outcomes = await all_at_once([partial(start_limited, store, 3) for _ in range(30)])
        ended = [session_id for _, evicted in outcomes for session_id in evicted]
        kept = await ids_of(store)
        assert len(kept) == 3
        assert sorted([*ended, *kept]) == sorted(record.session_id for record, _ in outcomes)

    async def test_of_racing_starts_under_one_id_one_wins(self, store: SessionStore) -> None:
        record = new_record(store)
        outcomes = await all_at_once([partial(create, store, record) for _ in range(10)])
        assert sum(isinstance(outcome, StoreUnavailable) for outcome in outcomes) == 9
        assert await ids_of(store) == [record.session_id]

    async def test_of_racing_offers_of_a_secret_one_is_kept_and_all_are_told(self, store: SessionStore) -> None:
        offers = [{"pseudonym": bytes([step]) * 32} for step in range(20)]
        answers = await all_at_once([partial(store.claim_secret, REALM, offer) for offer in offers])
        kept = await store.claim_secret(REALM, {"pseudonym": b"late"})
        assert kept in offers
        assert answers == [kept] * 20

    async def test_of_racing_offers_that_overlap_no_mixture_is_kept(self, store: SessionStore) -> None:
        both = [{"old": bytes([step]), "new": bytes([step])} for step in range(20)]
        answers = await all_at_once([partial(store.claim_secret, REALM, offer) for offer in both])
        kept = await store.claim_secret(REALM, {"old": b"late", "new": b"late"})
        assert kept in both
        assert answers == [kept] * 20

    async def test_of_racing_revokes_one_found_it_live(self, store: SessionStore) -> None:
        record = await start(store)
        before = await position(store)
        revoke = partial(store.revoke, REALM, TAG, record.session_id, now=NOW)
        assert Counter(await all_at_once([revoke for _ in range(20)])) == {True: 1, False: 19}
        assert len((await store.log_since(before)).entries) == 1

    async def test_no_child_outlives_a_revoke(self, store: SessionStore) -> None:
        for _ in range(20):
            record = await start(store)
            steps: list[Step] = [
                partial(refresh, store, record.session_id, 0),
                partial(store.revoke, REALM, TAG, record.session_id, now=NOW),
                partial(refresh, store, record.session_id, 1),
            ]
            outcomes = await all_at_once(steps)
            assert all(isinstance(outcome, Rotation | bool) for outcome in outcomes)
            assert await read(store, record.session_id) is None

    async def test_a_verification_that_races_a_revoke_brings_nothing_back(self, store: SessionStore) -> None:
        for _ in range(20):
            record = await start(store, generation=1)
            await all_at_once(
                [
                    partial(store.verify, record.session_id, generation=1),
                    partial(store.revoke, REALM, TAG, record.session_id, now=NOW),
                    partial(store.touch, {record.session_id: NOW + 1}),
                    partial(store.reseal, record),
                ]
            )
            assert await read(store, record.session_id) is None

    async def test_racing_revoke_alls_count_each_session_once(self, store: SessionStore) -> None:
        for _ in range(10):
            await start(store)
        revoke_all = partial(store.revoke_all, REALM, TAG, ANN, spare=None, now=NOW)
        assert sum(await all_at_once([revoke_all for _ in range(5)])) == 10

    async def test_racing_updates_each_count_in_the_version(self, store: SessionStore) -> None:
        record = await start(store)
        update = partial(store.update, REALM, TAG, subject=None, session_id=record.session_id, now=NOW)
        await all_at_once([partial(update, data=bytes([step])) for step in range(20)])
        assert (await must_read(store, record.session_id)).version == 21

    async def test_racing_steps_leave_no_gap_in_the_log(self, store: SessionStore) -> None:
        records = [await start(store) for _ in range(40)]
        before = await position(store)
        await all_at_once([partial(store.revoke, REALM, TAG, record.session_id, now=NOW) for record in records])
        page = await store.log_since(before)
        assert page.complete
        assert page.position.sequence == before.sequence + 40
        assert {entry.session_id for entry in page.entries} == {record.session_id for record in records}

    async def test_a_reader_of_the_log_who_races_misses_nothing(self, store: SessionStore) -> None:
        records = [await start(store) for _ in range(30)]
        before = await position(store)

        done = 0

        async def revoke(session_id: str) -> None:
            nonlocal done
            try:
                await store.revoke(REALM, TAG, session_id, now=NOW)
            finally:
                done += 1

        async def follow() -> list[str | None]:
            here = before
            seen: list[str | None] = []
            last = False
            while not last:
                last = done == len(records)  # what is read from now on is all there will be
                page = await store.log_since(here)
                assert page.complete
                seen += [entry.session_id for entry in page.entries]
                here = page.position
                await anyio.lowlevel.checkpoint()
            return seen

        revokes = [partial(revoke, record.session_id) for record in records]
        with anyio.fail_after(30):
            outcomes = await all_at_once([follow, *revokes])
        (seen,) = [outcome for outcome in outcomes if outcome is not None]
        assert sorted(seen) == sorted(record.session_id for record in records)

    async def test_a_refusal_among_racing_steps_spoils_no_other(self, store: SessionStore) -> None:
        await start(store)
        taken = await start(store, subject="carl")
        steps: list[Step] = [
            partial(start_limited, store, 1, evict=False),
            partial(store.revoke_all, REALM, TAG, ANN, spare="nobody", now=NOW),
            partial(start, store, session_id=taken.session_id),
            *[partial(start, store, subject="dora") for _ in range(10)],
        ]
        outcomes = await all_at_once(steps)
        assert sum(isinstance(outcome, Exception) for outcome in outcomes) == 3
        assert (await page_of(store, "dora")).count == 10
