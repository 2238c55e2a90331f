"""Promise P4, and misses that many wait for: failing, slow and cancelled store calls."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from ductape_asgi import IssuedSession, RevokedSession, Session, Sessions, StoreUnavailable

from .conftest import MakeSessions, MakeStore
from .support import ANN, TAG, Clock, WatchedStore, accepted

pytestmark = pytest.mark.anyio


async def down(*args: Any, **kwargs: Any) -> Any:
    raise StoreUnavailable("the store is down")


def store_of(sessions: Sessions) -> WatchedStore:
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)
    return store


def take_down(sessions: Sessions) -> None:
    names = ("create", "verify", "rotate", "revoke", "revoke_all", "update", "list", "log_since", "claim_secret")
    store_of(sessions).instead.update(dict.fromkeys(names, down))


@pytest.fixture
async def issued(sessions: Sessions) -> IssuedSession:
    issued = await sessions.start(tag=TAG, data=ANN)
    assert await accepted(sessions, issued.token) == "ok"
    return issued


async def test_a_cached_session_is_served_until_max_staleness_after_the_last_proof(
    sessions: Sessions, issued: IssuedSession, clock: Clock
) -> None:
    take_down(sessions)
    clock.advance(4.999)
    assert await accepted(sessions, issued.token) == "ok"
    clock.advance(0.001)
    assert await accepted(sessions, issued.token) == "store_unavailable"


async def test_proof_counts_from_when_the_question_was_sent(
    sessions: Sessions, issued: IssuedSession, clock: Clock
) -> None:
    clock.advance(10)

    async def slow() -> None:
        clock.advance(3)

    store_of(sessions).after["log_since"] = slow
    assert await accepted(sessions, issued.token) == "ok"
    take_down(sessions)
    clock.advance(1.999)
    assert await accepted(sessions, issued.token) == "ok"
    clock.advance(0.001)
    assert await accepted(sessions, issued.token) == "store_unavailable"


async def test_max_staleness_is_an_option(make_sessions: MakeSessions, clock: Clock) -> None:
    sessions = await make_sessions(max_staleness=60)
    issued = await sessions.start(tag=TAG, data=ANN)
    await sessions.verify(tag=TAG, token=issued.token)
    take_down(sessions)
    clock.advance(59.999)
    assert await accepted(sessions, issued.token) == "ok"
    clock.advance(0.001)
    assert await accepted(sessions, issued.token) == "store_unavailable"


async def test_nobody_is_signed_out_by_a_store_that_was_down(
    sessions: Sessions, issued: IssuedSession, clock: Clock
) -> None:
    take_down(sessions)
    clock.advance(60)
    assert await accepted(sessions, issued.token) == "store_unavailable"
    with pytest.raises(StoreUnavailable):
        await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
    store_of(sessions).instead.clear()
    assert await accepted(sessions, issued.token) == "ok"
    await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)


async def test_a_miss_while_the_store_is_down_is_unavailable_and_not_refused(
    sessions: Sessions, other_worker: Sessions, issued: IssuedSession
) -> None:
    await other_worker.list(tag=TAG, identifier="ann")
    take_down(other_worker)
    assert await accepted(other_worker, issued.token) == "store_unavailable"
    assert await accepted(other_worker, issued.token[:-3]) == "invalid_token"


async def test_verbs_that_cannot_reach_the_store_say_so(sessions: Sessions, issued: IssuedSession) -> None:
    take_down(sessions)
    calls: list[Any] = [
        sessions.start(tag=TAG, data=ANN),
        sessions.refresh(tag=TAG, refresh_token=issued.refresh_token),
        sessions.revoke(tag=TAG, session_id=issued.session_id),
        sessions.revoke_all(tag=TAG, identifier="ann"),
        sessions.list(tag=TAG, identifier="ann"),
        sessions.update(tag=TAG, identifier="ann", data=ANN),
        sessions.verify(tag=TAG, token=issued.token, fresh=True),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            await call


async def test_a_revoke_whose_answer_was_lost_holds_in_its_own_worker(
    sessions: Sessions, issued: IssuedSession
) -> None:
    store_of(sessions).after["revoke"] = down
    with pytest.raises(StoreUnavailable):
        await sessions.revoke(tag=TAG, session_id=issued.session_id)
    assert await accepted(sessions, issued.token) == "revoked_session"


@pytest.mark.announcing
async def test_a_worker_that_knows_of_news_it_cannot_read_does_not_trust_its_cache(
    sessions: Sessions, other_worker: Sessions, issued: IssuedSession
) -> None:
    take_down(sessions)
    await other_worker.revoke(tag=TAG, session_id=issued.session_id)
    assert await accepted(sessions, issued.token) == "store_unavailable"
    store_of(sessions).instead.clear()
    assert await accepted(sessions, issued.token) == "revoked_session"


async def test_check_store_asks_at_each_request_where_the_log_cannot_be_read(
    make_sessions: MakeSessions, clock: Clock
) -> None:
    sessions = await make_sessions(on_stale="check_store")
    issued = await sessions.start(tag=TAG, data=ANN)
    await sessions.verify(tag=TAG, token=issued.token)
    store = store_of(sessions)
    store.instead["log_since"] = down
    clock.advance(5)
    before = store.calls["verify"]
    for _ in range(3):
        assert await accepted(sessions, issued.token) == "ok"
    assert store.calls["verify"] == before + 3


async def test_refuse_answers_unavailable_where_the_log_cannot_be_read(
    make_sessions: MakeSessions, clock: Clock
) -> None:
    sessions = await make_sessions(on_stale="refuse")
    issued = await sessions.start(tag=TAG, data=ANN)
    await sessions.verify(tag=TAG, token=issued.token)
    store_of(sessions).instead["log_since"] = down
    clock.advance(4.999)
    assert await accepted(sessions, issued.token) == "ok"
    clock.advance(0.001)
    assert await accepted(sessions, issued.token) == "store_unavailable"
    store_of(sessions).instead.clear()
    assert await accepted(sessions, issued.token) == "ok"


REFUSED_WITHOUT_A_STORE = [(None, "missing_token"), ("", "missing_token"), ("x", "invalid_token"), (7, "invalid_token")]


@pytest.mark.parametrize(("token", "code"), REFUSED_WITHOUT_A_STORE)
async def test_what_is_no_token_is_refused_as_such_where_the_log_cannot_be_read(
    make_sessions: MakeSessions, clock: Clock, token: Any, code: str
) -> None:
    sessions = await make_sessions(on_stale="refuse")
    issued = await sessions.start(tag=TAG, data=ANN)
    take_down(sessions)
    clock.advance(5)
    assert await accepted(sessions, token) == code
    assert await accepted(sessions, issued.token[:-22] + "A" * 22) == "invalid_token"
    assert await accepted(sessions, issued.token) == "store_unavailable"


@pytest.mark.parametrize("on_stale", ["check_store", "refuse"])
@pytest.mark.parametrize(("token", "code"), REFUSED_WITHOUT_A_STORE)
async def test_what_is_no_token_is_refused_as_such_where_the_store_cannot_be_opened(
    sessions: Sessions, access_key: str, make_store: MakeStore, clock: Clock, on_stale: Any, token: Any, code: str
) -> None:
    store = make_store()
    store.instead["open"] = down
    there: Any = store
    closed = Sessions(access_key=access_key, product="shop", env="prd", store=there, on_stale=on_stale, clock=clock)
    assert await accepted(closed, token) == code
    issued = await sessions.start(tag=TAG, data=ANN)
    assert await accepted(closed, issued.token) == "store_unavailable"


async def test_a_clock_that_jumps_back_does_not_stretch_the_trust(
    sessions: Sessions, issued: IssuedSession, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = sessions.worker.feed
    elapsed = feed.elapsed()
    clock.advance(-4)
    monkeypatch.setattr(feed, "elapsed", lambda: elapsed + 5)
    take_down(sessions)
    assert await accepted(sessions, issued.token) == "store_unavailable"


# One flight for all who wait.


async def gather(sessions: Sessions, token: str, count: int) -> list[str]:
    answers: list[str] = []

    async def verify() -> None:
        answers.append(await accepted(sessions, token))

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(verify)
    return answers


@pytest.fixture
async def unseen(sessions: Sessions) -> IssuedSession:
    """Issued, and not verified here yet; the feed is fresh."""
    other = await sessions.start(tag=TAG, data={"userId": "bob"})
    await sessions.verify(tag=TAG, token=other.token)
    issued = await sessions.start(tag=TAG, data=ANN)
    store_of(sessions).before["verify"] = anyio.lowlevel.checkpoint
    return issued


async def test_a_hundred_who_wait_for_one_miss_cost_one_store_call(sessions: Sessions, unseen: IssuedSession) -> None:
    before = store_of(sessions).calls["verify"]
    assert await gather(sessions, unseen.token, 100) == ["ok"] * 100
    assert store_of(sessions).calls["verify"] == before + 1


async def test_a_hundred_who_wait_for_one_refusal_cost_one_store_call(
    sessions: Sessions, unseen: IssuedSession
) -> None:
    await sessions.revoke(tag=TAG, session_id=unseen.session_id)
    await accepted(sessions, "x")
    before = store_of(sessions).calls["verify"]
    assert await gather(sessions, unseen.token, 100) == ["revoked_session"] * 100
    assert store_of(sessions).calls["verify"] == before + 1


async def test_a_cancelled_leader_harms_nobody(sessions: Sessions, unseen: IssuedSession) -> None:
    store = store_of(sessions)
    stuck = anyio.Event()
    store.before["verify"] = stuck.wait
    answers: list[str] = []

    async def follow() -> None:
        answers.append(await accepted(sessions, unseen.token))

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as leading:

            async def cancel_soon() -> None:
                for _ in range(5):
                    await anyio.lowlevel.checkpoint()
                for _ in range(5):
                    tasks.start_soon(follow)
                for _ in range(5):
                    await anyio.lowlevel.checkpoint()
                del store.before["verify"]
                leading.cancel()

            tasks.start_soon(cancel_soon)
            await sessions.verify(tag=TAG, token=unseen.token)
        assert leading.cancelled_caught
    assert answers == ["ok"] * 5


async def test_a_cancelled_follower_harms_nobody(sessions: Sessions, unseen: IssuedSession) -> None:
    store = store_of(sessions)
    stuck = anyio.Event()
    store.before["verify"] = stuck.wait
    answers: list[str] = []

    async def lead() -> None:
        answers.append(await accepted(sessions, unseen.token))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lead)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(0.01) as following:
            await sessions.verify(tag=TAG, token=unseen.token)
        stuck.set()
    assert following.cancelled_caught
    assert answers == ["ok"]


async def test_followers_get_errors_of_their_own(sessions: Sessions, unseen: IssuedSession) -> None:
    await sessions.revoke(tag=TAG, session_id=unseen.session_id)
    errors: list[RevokedSession] = []

    async def verify() -> None:
        try:
            await sessions.verify(tag=TAG, token=unseen.token)
        except RevokedSession as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(verify)
    depths = []
    for error in errors:
        depth, frame = 0, error.__traceback__
        while frame is not None:
            depth, frame = depth + 1, frame.tb_next
        depths.append(depth)
    assert len(errors) == 5
    assert max(depths) < 12


async def test_nothing_is_cached_that_was_revoked_while_it_was_verified(
    sessions: Sessions, unseen: IssuedSession
) -> None:
    store = store_of(sessions)
    answers: list[str] = []

    async def revoke_meanwhile() -> None:
        store.after.pop("verify")
        await sessions.revoke(tag=TAG, session_id=unseen.session_id)

    store.after["verify"] = revoke_meanwhile
    answers.append(await accepted(sessions, unseen.token))
    assert answers == ["ok"]  # it had begun before
    assert len(sessions.worker.cache) == 1  # bob's alone
    assert await accepted(sessions, unseen.token) == "revoked_session"


async def test_nobody_joins_a_flight_that_a_revoke_overtook(sessions: Sessions, unseen: IssuedSession) -> None:
    store = store_of(sessions)
    read, go_on = anyio.Event(), anyio.Event()
    early: list[str] = []

    async def pause() -> None:
        store.after.pop("verify", None)
        read.set()
        await go_on.wait()

    store.after["verify"] = pause

    async def verify() -> None:
        early.append(await accepted(sessions, unseen.token))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(verify)
        await read.wait()
        await sessions.revoke(tag=TAG, session_id=unseen.session_id)
        with anyio.fail_after(5):
            assert await accepted(sessions, unseen.token) == "revoked_session"
        go_on.set()
    assert early == ["ok"]


@pytest.mark.announcing
async def test_nobody_joins_a_flight_that_a_revoke_elsewhere_overtook(
    sessions: Sessions, other_worker: Sessions, unseen: IssuedSession
) -> None:
    store = store_of(sessions)
    read, go_on = anyio.Event(), anyio.Event()

    async def pause() -> None:
        store.after.pop("verify", None)
        read.set()
        await go_on.wait()

    store.after["verify"] = pause
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accepted, sessions, unseen.token)
        await read.wait()
        await other_worker.revoke(tag=TAG, session_id=unseen.session_id)
        with anyio.fail_after(5):
            assert await accepted(sessions, unseen.token) == "revoked_session"
        go_on.set()
    assert await accepted(sessions, unseen.token) == "revoked_session"


async def test_a_session_of_another_tag_is_not_answered_by_a_flight(sessions: Sessions, unseen: IssuedSession) -> None:
    answers: dict[str, str] = {}

    async def verify(tag: str) -> None:
        answers[tag] = await accepted(sessions, unseen.token, tag=tag)

    async with anyio.create_task_group() as tasks:
        for tag in (TAG, "checkout-session", TAG, "other"):
            tasks.start_soon(verify, tag)
    assert answers == {TAG: "ok", "checkout-session": "invalid_token", "other": "invalid_token"}


async def test_misses_keep_the_cache_within_its_size(make_sessions: MakeSessions) -> None:
    sessions = await make_sessions(cache_size=10, algorithm="HS256")
    tokens = [(await sessions.start(tag=TAG, data={"userId": f"u{number}"})).token for number in range(50)]
    for token in tokens * 2:
        session: Session[Any] = await sessions.verify(tag=TAG, token=token)
        assert session.tag == TAG
        assert len(sessions.worker.cache) <= 10
