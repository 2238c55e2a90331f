"""Ends to the second: of tokens (with leeway), of sessions (without), of unused sessions (up to a minute late)."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from ductape_asgi import ExpiredToken, InvalidToken, IssuedSession, Sessions, StoreUnavailable, TagPolicy, worker

from .conftest import MakeSessions
from .support import ANN, TAG, Clock, WatchedStore, accepted, last_seen, until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["hit", "miss"])
async def verifier(request: pytest.FixtureRequest, make_sessions: MakeSessions) -> Sessions:
    """A worker that keeps what it verified, and one that keeps nothing."""
    return await make_sessions(cache_size=0 if request.param == "miss" else 100)


async def started(sessions: Sessions, **options: object) -> IssuedSession:
    issued = await sessions.start(tag=TAG, data=ANN, **options)  # type: ignore[arg-type]
    assert await accepted(sessions, issued.token) == "ok"
    return issued


async def test_a_token_is_good_until_its_end_and_the_leeway_have_passed(verifier: Sessions, clock: Clock) -> None:
    issued = await started(verifier, expires_in=60)
    clock.advance(64.999)
    assert await accepted(verifier, issued.token) == "ok"
    clock.advance(0.001)
    assert await accepted(verifier, issued.token) == "expired_token"


@pytest.mark.parametrize("cache_size", [0, 100])
async def test_without_leeway_a_token_ends_at_its_end(
    make_sessions: MakeSessions, clock: Clock, cache_size: int
) -> None:
    sessions = await make_sessions(leeway=0, cache_size=cache_size)
    issued = await started(sessions, expires_in=60)
    clock.advance(59.999)
    assert await accepted(sessions, issued.token) == "ok"
    clock.advance(0.001)
    assert await accepted(sessions, issued.token) == "expired_token"


async def test_a_clock_behind_the_issuers_is_forgiven_within_the_leeway(verifier: Sessions, clock: Clock) -> None:
    issued = await started(verifier)
    clock.advance(-5)
    assert await accepted(verifier, issued.token) == "ok"
    clock.advance(-0.001)
    assert await accepted(verifier, issued.token) == "invalid_token"
    clock.advance(0.001)
    assert await accepted(verifier, issued.token) == "ok"


@pytest.mark.parametrize("cache_size", [0, 100])
async def test_the_leeway_never_reaches_beyond_the_sessions_end(
    make_sessions: MakeSessions, clock: Clock, cache_size: int
) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, session_ttl=60)], cache_size=cache_size)
    issued = await started(sessions)
    clock.advance(59.999)
    assert await accepted(sessions, issued.token) == "ok"
    clock.advance(0.001)
    assert await accepted(sessions, issued.token) == "expired_token"


async def test_no_refresh_moves_the_sessions_end(make_sessions: MakeSessions, clock: Clock) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, session_ttl=1000)])
    first = await started(sessions)
    issued = first
    for _ in range(9):
        clock.advance(100)
        issued = await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
        assert issued.session_expires_at == first.session_expires_at
        assert issued.expires_at <= issued.session_expires_at
    clock.advance(99)
    assert await accepted(sessions, issued.token) == "ok"
    issued = await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
    clock.advance(1)
    assert await accepted(sessions, issued.token) == "expired_token"
    with pytest.raises(ExpiredToken):
        await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
    assert (await sessions.list(tag=TAG, identifier="ann")).count == 0


async def test_expires_in_given_to_start_is_kept_by_each_refresh(sessions: Sessions, clock: Clock) -> None:
    issued = await started(sessions, expires_in="1h")
    for _ in range(3):
        clock.advance(50)
        issued = await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
        assert issued.expires_at.timestamp() == clock.now + 3600


async def test_a_policys_expires_in_is_that_of_the_start(make_sessions: MakeSessions, clock: Clock) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, expires_in=timedelta(minutes=2))])
    issued = await started(sessions)
    assert issued.expires_at.timestamp() == clock.now + 120


async def test_auth_time_is_that_of_the_sign_in_after_each_refresh(sessions: Sessions, clock: Clock) -> None:
    issued = await started(sessions)
    signed_in = clock.now
    clock.advance(500)
    issued = await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
    session = await sessions.verify(tag=TAG, token=issued.token)
    assert session.auth_time.timestamp() == signed_in
    assert session.issued_at.timestamp() == clock.now


@pytest.mark.parametrize("cache_size", [0, 100])
async def test_without_refresh_the_session_ends_with_its_token(
    make_sessions: MakeSessions, clock: Clock, cache_size: int
) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, expires_in=60, refresh=False)], cache_size=cache_size)
    issued = await started(sessions)
    assert issued.refresh_token is None
    assert issued.session_expires_at == issued.expires_at
    clock.advance(60)
    assert await accepted(sessions, issued.token) == "expired_token"
    assert (await sessions.list(tag=TAG, identifier="ann")).count == 0


async def test_without_refresh_no_refresh_token_is_taken(make_sessions: MakeSessions) -> None:
    refreshing, plain = [await make_sessions(tags=[TagPolicy(TAG, refresh=yes)]) for yes in (True, False)]
    issued = await refreshing.start(tag=TAG, data=ANN)
    with pytest.raises(InvalidToken):
        await plain.refresh(tag=TAG, refresh_token=issued.refresh_token)


# idle_ttl: 600 s in these.


@pytest.fixture(params=[0, 100], ids=["miss", "hit"])
async def idling(request: pytest.FixtureRequest, make_sessions: MakeSessions) -> Sessions:
    return await make_sessions(tags=[TagPolicy(TAG, expires_in="1d", idle_ttl=600)], cache_size=request.param)


async def used(sessions: Sessions, issued: IssuedSession, clock: Clock) -> None:
    assert await accepted(sessions, issued.token) == "ok"

    async def written() -> bool:
        return await last_seen(sessions, issued) == clock.now

    await until(written)


async def test_an_unused_session_never_ends_early(idling: Sessions, clock: Clock) -> None:
    issued = await started(idling)
    clock.advance(600)
    assert await accepted(idling, issued.token) == "ok"


async def test_an_unused_session_ends_at_most_a_minute_late(idling: Sessions, clock: Clock) -> None:
    issued = await started(idling)
    clock.advance(660)
    assert await accepted(idling, issued.token) == "expired_token"
    with pytest.raises(ExpiredToken):
        await idling.refresh(tag=TAG, refresh_token=issued.refresh_token)
    assert (await idling.list(tag=TAG, identifier="ann")).count == 0
    assert await idling.revoke(tag=TAG, session_id=issued.session_id) is False


async def test_a_use_that_was_not_yet_written_counts_all_the_same(idling: Sessions, clock: Clock) -> None:
    issued = await started(idling)
    clock.advance(59)
    assert await accepted(idling, issued.token) == "ok"
    clock.advance(600)
    assert await accepted(idling, issued.token) == "ok"


async def test_each_accepted_request_is_use(idling: Sessions, clock: Clock) -> None:
    issued = await started(idling)
    for _ in range(5):
        clock.advance(599)
        await used(idling, issued, clock)
    clock.advance(660)
    assert await accepted(idling, issued.token) == "expired_token"


async def test_a_refresh_is_use(idling: Sessions, clock: Clock) -> None:
    issued = await started(idling)
    for _ in range(5):
        clock.advance(599)
        issued = await idling.refresh(tag=TAG, refresh_token=issued.refresh_token)
    assert await accepted(idling, issued.token) == "ok"


async def test_a_refused_request_is_no_use(idling: Sessions, clock: Clock) -> None:
    issued = await started(idling)
    clock.advance(599)
    with pytest.raises(InvalidToken):
        await idling.verify(tag="other-tag" if not idling.tags else TAG, token=issued.token[:-2])
    clock.advance(61)
    assert await accepted(idling, issued.token) == "expired_token"


async def test_use_by_one_worker_keeps_the_session_alive_in_another(make_sessions: MakeSessions, clock: Clock) -> None:
    policy = TagPolicy(TAG, expires_in="1d", idle_ttl=600)
    here, there = [await make_sessions(tags=[policy]) for _ in range(2)]
    issued = await started(here)
    await started(there)
    for _ in range(3):
        clock.advance(500)
        await used(there, issued, clock)
    assert await accepted(here, issued.token) == "ok"


async def test_last_use_is_written_at_most_once_a_minute(make_sessions: MakeSessions, clock: Clock) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, expires_in="1d", idle_ttl=600)])
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)
    issued = await started(sessions)
    begin = clock.now
    for _ in range(60):
        clock.advance(10)
        assert await accepted(sessions, issued.token) == "ok"
        if clock.now % 60 == begin % 60:
            await used(sessions, issued, clock)
    written = sorted({at for touch in store.touched for at in touch.values()})
    assert 8 <= len(written) <= 10
    assert min(later - earlier for earlier, later in itertools.pairwise(written)) >= 60


async def test_last_seen_is_written_off_the_request_path(make_sessions: MakeSessions, clock: Clock) -> None:
    sessions = await make_sessions()
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)
    issued = await started(sessions)
    clock.advance(100)
    before = store.calls["touch"]
    assert await accepted(sessions, issued.token) == "ok"
    assert store.calls["touch"] == before
    await used(sessions, issued, clock)


@pytest.mark.any_store
async def test_last_uses_that_no_store_takes_fill_no_memory(
    make_sessions: MakeSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(seen: object) -> None:
        raise StoreUnavailable("its disk is full")

    monkeypatch.setattr(worker, "_MOST_SEEN", 100)
    sessions = await make_sessions()
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)
    store.instead["touch"] = refuse
    for number in range(200):
        sessions.worker.note_use(f"session-{number}", number)
    sessions.worker.note_use("session-0", 300)
    assert len(sessions.worker._seen) == 100
    assert sessions.worker._seen["session-0"] == 300


async def test_without_idle_ttl_an_unused_session_lives_to_its_end(sessions: Sessions, clock: Clock) -> None:
    issued = await started(sessions)
    clock.advance(30 * 86_400 - 1)
    assert (await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)).session_id == issued.session_id


async def test_a_cached_session_may_outlive_5_seconds_only_by_proof(sessions: Sessions, clock: Clock) -> None:
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)
    issued = await started(sessions)
    before, proofs = store.asked(), store.calls["log_since"]
    clock.advance(4.9)
    assert await accepted(sessions, issued.token) == "ok"
    clock.advance(0.2)
    assert await accepted(sessions, issued.token) == "ok"
    assert store.asked() == before
    assert store.calls["log_since"] > proofs
