"""Two workers on one database: whatever meets, one order of things comes out of it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial

import anyio
import pytest

from ductape_asgi.errors import SessionLimitReached, StoreUnavailable
from ductape_asgi.stores.postgres import PostgresStore, pool
from ductape_asgi.testing.contract.records import (
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

pytestmark = pytest.mark.anyio

Workers = list[PostgresStore]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def workers(postgres_url: str, patient: None) -> AsyncIterator[Workers]:
    # Thousands of steps at once wait for longer than one is worth waiting for; here none may be turned away.
    workers = [PostgresStore(postgres_url, pool_size=8) for _ in range(4)]
    for worker in workers:
        await worker.open()
    yield workers
    for worker in workers:
        await worker.close()


def by_turns(workers: Workers, times: int) -> list[PostgresStore]:
    return list(itertools.islice(itertools.cycle(workers), times))


async def test_of_a_thousand_refreshes_of_one_token_one_rotates(workers: Workers) -> None:
    record = await start(workers[0])
    rotations = await all_at_once(
        [
            partial(refresh, worker, record.session_id, 0, refresh_key=f"key-{number}")
            for number, worker in enumerate(by_turns(workers, 1000))
        ]
    )
    assert Counter(rotation.outcome for rotation in rotations) == {"rotated": 1, "same": 999}
    assert {(rotation.record.generation, rotation.record.refresh_key) for rotation in rotations} == {
        (1, (await must_read(workers[1], record.session_id)).refresh_key)
    }


async def test_limited_starts_of_many_workers_never_pass_the_limit(workers: Workers) -> None:
    outcomes = await all_at_once([partial(start_limited, worker, 3, evict=False) for worker in by_turns(workers, 100)])
    assert sum(isinstance(outcome, SessionLimitReached) for outcome in outcomes) == 97
    assert (await page_of(workers[0])).count == 3


async def test_evicting_starts_of_many_workers_end_each_session_once(workers: Workers) -> None:
    before = await position(workers[0])
    outcomes = await all_at_once([partial(start_limited, worker, 3) for worker in by_turns(workers, 100)])
    ended = [session_id for _, evicted in outcomes for session_id in evicted]
    kept = await ids_of(workers[0])
    assert len(kept) == 3
    assert sorted([*ended, *kept]) == sorted(record.session_id for record, _ in outcomes)
    page = await workers[1].log_since(before)
    assert page.complete
    assert [entry.session_id for entry in page.entries if entry.session_id not in ended] == []
    assert len(page.entries) == 97


async def test_a_start_while_all_are_revoked_is_either_ended_or_live_and_listed(workers: Workers) -> None:
    await start(workers[0], subject="somebody")  # the secret is there from now on
    for _ in range(20):
        records = [new_record(workers[0]) for _ in range(12)]
        starts: list[Step] = [
            partial(create, worker, record) for record, worker in zip(records, by_turns(workers, 12), strict=True)
        ]
        revokes: list[Step] = [partial(worker.revoke_all, REALM, TAG, ANN, spare=None, now=NOW) for worker in workers]
        outcomes = await all_at_once([*starts[:6], *revokes, *starts[6:]])
        ended = sum(outcome for outcome in outcomes if isinstance(outcome, int))
        alive = [record.session_id for record in records if await read(workers[0], record.session_id) is not None]
        assert ended + len(alive) == 12
        assert sorted(await ids_of(workers[1])) == sorted(alive)
        assert await workers[2].revoke_all(REALM, TAG, ANN, spare=None, now=NOW) == len(alive)


async def test_steps_on_the_same_sessions_in_any_order_never_wait_in_a_circle(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "Undone", ())  # what the server undoes to end a circle is not tried again
    records = [await start(workers[0]) for _ in range(60)]
    seen = {record.session_id: NOW + 1 for record in records}
    backwards = dict(reversed([*seen.items()]))
    steps: list[Step] = []
    for number, worker in enumerate(by_turns(workers, 24)):
        steps += [
            partial(
                worker.touch, {session_id: at + number for session_id, at in (seen, backwards)[number % 2].items()}
            ),
            partial(worker.update, REALM, TAG, subject=ANN, session_id=None, data=bytes([number]), now=NOW),
            partial(start_limited, worker, 50, replaces=records[number].session_id),
            partial(worker.purge, before=NOW - 10, limit=100),
        ]
    steps.insert(50, partial(workers[0].revoke_all, REALM, TAG, ANN, spare=None, now=NOW))
    outcomes = await all_at_once(steps)
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []


async def test_the_log_of_many_workers_has_no_gap_and_a_reader_misses_nothing(workers: Workers) -> None:
    records = [await start(workers[0], subject=f"person-{number}") for number in range(300)]
    here = await position(workers[0])
    seen: list[str | None] = []

    async def follow() -> None:
        nonlocal here
        while len(seen) < len(records):
            page = await workers[3].log_since(here)
            assert page.complete
            assert page.position.sequence - here.sequence == len(page.entries)
            seen.extend(entry.session_id for entry in page.entries)
            here = page.position

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        for record, worker in zip(records, by_turns(workers, 300), strict=True):
            tasks.start_soon(partial(worker.revoke, REALM, TAG, record.session_id, now=NOW))
    assert sorted(map(str, seen)) == sorted(record.session_id for record in records)


async def test_of_one_id_drawn_by_many_workers_one_session_is_made(workers: Workers) -> None:
    record = new_record(workers[0])
    outcomes = await all_at_once(
        [partial(start, worker, session_id=record.session_id) for worker in by_turns(workers, 40)]
    )
    assert sum(isinstance(outcome, StoreUnavailable) for outcome in outcomes) == 39
    assert await ids_of(workers[0]) == [record.session_id]


async def test_one_secret_is_kept_for_all_workers(workers: Workers) -> None:
    offers = [{"pseudonym": bytes([number]) * 32, "other": bytes([number])} for number in range(40)]
    answers = await all_at_once(
        [
            partial(worker.claim_secret, REALM, offer)
            for worker, offer in zip(by_turns(workers, 40), offers, strict=True)
        ]
    )
    assert answers[0] in offers
    assert answers == [answers[0]] * 40
