"""Promise P3, rule by rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest

from ductape_asgi import (
    InvalidToken,
    IssuedSession,
    RefreshReused,
    RevokedSession,
    Sessions,
    StoreUnavailable,
    TagPolicy,
)

from .conftest import MakeSessions
from .support import ANN, TAG, Clock, WatchedStore, accepted

pytestmark = pytest.mark.anyio

GRACE = 10


async def refreshed(sessions: Sessions, issued: IssuedSession) -> IssuedSession:
    return await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)


async def show_life(sessions: Sessions, child: IssuedSession) -> None:
    assert await accepted(sessions, child.token) == "ok"


async def check_ended(sessions: Sessions, *issued: IssuedSession) -> None:
    for each in issued:
        assert await accepted(sessions, each.token) == "revoked_session"
    with pytest.raises(RevokedSession):
        await refreshed(sessions, issued[-1])
    assert (await sessions.list(tag=TAG, identifier="ann")).count == 0


@pytest.fixture
async def parent(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag=TAG, data=ANN)


async def test_each_use_of_the_newest_token_rotates_it(sessions: Sessions, parent: IssuedSession) -> None:
    seen = {parent.refresh_token}
    issued = parent
    for _ in range(5):
        issued = await refreshed(sessions, issued)
        assert issued.session_id == parent.session_id
        assert issued.refresh_token not in seen
        seen.add(issued.refresh_token)


async def test_the_access_token_of_the_parent_stays_good_to_its_end(
    sessions: Sessions, parent: IssuedSession, clock: Clock
) -> None:
    await refreshed(sessions, parent)
    clock.advance(899)
    assert await accepted(sessions, parent.token) == "ok"


async def test_callers_at_once_get_the_same_child(sessions: Sessions, parent: IssuedSession) -> None:
    children: list[IssuedSession] = []

    async def refresh() -> None:
        children.append(await refreshed(sessions, parent))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(refresh)

    assert len({child.refresh_token for child in children}) == 1
    assert len({child.token for child in children}) == 50


async def test_inside_the_grace_the_parent_gets_the_same_child_even_if_that_showed_life(
    sessions: Sessions, parent: IssuedSession, clock: Clock
) -> None:
    child = await refreshed(sessions, parent)
    await show_life(sessions, child)
    clock.advance(GRACE - 0.001)
    assert (await refreshed(sessions, parent)).refresh_token == child.refresh_token


async def test_after_the_grace_the_parent_of_a_living_child_ends_the_session(
    sessions: Sessions, other_worker: Sessions, parent: IssuedSession, clock: Clock
) -> None:
    child = await refreshed(sessions, parent)
    for worker in (sessions, other_worker):
        await show_life(worker, child)
    clock.advance(GRACE)
    with pytest.raises(RefreshReused) as caught:
        await refreshed(sessions, parent)
    assert caught.value.session_id == parent.session_id
    for worker in (sessions, other_worker):
        await check_ended(worker, parent, child)


@pytest.mark.parametrize("later", [GRACE, 3600, 20 * 86_400])
async def test_after_the_grace_the_parent_of_a_silent_child_still_gets_it(
    sessions: Sessions, parent: IssuedSession, clock: Clock, later: float
) -> None:
    child = await refreshed(sessions, parent)
    clock.advance(later)
    retried = await refreshed(sessions, parent)
    assert retried.refresh_token == child.refresh_token
    assert await accepted(sessions, retried.token) == "ok"


async def test_a_retry_is_no_sign_of_life(sessions: Sessions, parent: IssuedSession, clock: Clock) -> None:
    child = await refreshed(sessions, parent)
    for _ in range(5):
        clock.advance(GRACE)
        assert (await refreshed(sessions, parent)).refresh_token == child.refresh_token


async def test_issuing_and_retrying_cache_nothing(sessions: Sessions, parent: IssuedSession) -> None:
    await refreshed(sessions, parent)
    await refreshed(sessions, parent)
    assert len(sessions.worker.cache) == 0


async def test_a_retry_does_not_extend_the_grace(sessions: Sessions, parent: IssuedSession, clock: Clock) -> None:
    child = await refreshed(sessions, parent)
    await show_life(sessions, child)
    for _ in range(9):
        clock.advance(1)
        await refreshed(sessions, parent)
    clock.advance(1)
    with pytest.raises(RefreshReused):
        await refreshed(sessions, parent)


async def test_the_access_token_of_a_retry_is_a_sign_of_life_as_well(
    sessions: Sessions, parent: IssuedSession, clock: Clock
) -> None:
    await refreshed(sessions, parent)
    retried = await refreshed(sessions, parent)
    await show_life(sessions, retried)
    clock.advance(GRACE)
    with pytest.raises(RefreshReused):
        await refreshed(sessions, parent)


async def test_the_parents_own_access_token_is_no_sign_of_the_childs_life(
    sessions: Sessions, parent: IssuedSession, clock: Clock
) -> None:
    child = await refreshed(sessions, parent)
    await show_life(sessions, parent)
    clock.advance(GRACE)
    assert (await refreshed(sessions, parent)).refresh_token == child.refresh_token


async def test_neither_listing_nor_updating_nor_inspecting_is_a_sign_of_life(
    sessions: Sessions, parent: IssuedSession, clock: Clock
) -> None:
    child = await refreshed(sessions, parent)
    await sessions.list(tag=TAG, identifier="ann")
    await sessions.update(tag=TAG, session_id=parent.session_id, data=ANN)
    await sessions.inspect(token=child.token)
    clock.advance(GRACE)
    assert (await refreshed(sessions, parent)).refresh_token == child.refresh_token


async def test_life_shown_in_one_worker_is_known_to_another(
    sessions: Sessions, other_worker: Sessions, parent: IssuedSession, clock: Clock
) -> None:
    child = await refreshed(sessions, parent)
    await show_life(other_worker, child)
    clock.advance(GRACE)
    with pytest.raises(RefreshReused):
        await refreshed(sessions, parent)


async def test_a_rotation_in_one_worker_is_known_to_another(
    sessions: Sessions, other_worker: Sessions, parent: IssuedSession, clock: Clock
) -> None:
    child = await refreshed(sessions, parent)
    clock.advance(GRACE - 1)
    assert (await refreshed(other_worker, parent)).refresh_token == child.refresh_token
    grandchild = await refreshed(other_worker, child)
    assert (await refreshed(sessions, child)).refresh_token == grandchild.refresh_token


@pytest.mark.announcing
@pytest.mark.parametrize("later", [0, GRACE, 86_400])
async def test_a_token_two_generations_old_ends_the_session_even_inside_the_grace(
    sessions: Sessions, other_worker: Sessions, parent: IssuedSession, clock: Clock, later: float
) -> None:
    child = await refreshed(sessions, parent)
    grandchild = await refreshed(sessions, child)
    clock.advance(later)
    if not later:
        await show_life(other_worker, grandchild)
    with pytest.raises(RefreshReused):
        await refreshed(sessions, parent)
    if not later:
        await check_ended(other_worker, parent, child, grandchild)
    with pytest.raises(RevokedSession):
        await refreshed(other_worker, grandchild)


async def test_using_the_childs_refresh_token_is_a_sign_of_its_life(
    sessions: Sessions, parent: IssuedSession, clock: Clock
) -> None:
    child = await refreshed(sessions, parent)
    await refreshed(sessions, child)
    clock.advance(GRACE)
    with pytest.raises(RefreshReused):
        await refreshed(sessions, parent)


async def test_the_grace_is_the_policys(make_sessions: MakeSessions, clock: Clock) -> None:
    for grace in (0, 60):
        sessions = await make_sessions(tags=[TagPolicy(TAG, reuse_grace=grace)])
        parent = await sessions.start(tag=TAG, data=ANN)
        child = await refreshed(sessions, parent)
        await show_life(sessions, child)
        if grace:
            clock.advance(grace - 1)
            assert (await refreshed(sessions, parent)).refresh_token == child.refresh_token
            clock.advance(1)
        with pytest.raises(RefreshReused):
            await refreshed(sessions, parent)


async def test_the_sign_of_life_is_in_the_store_before_verify_answers(
    sessions: Sessions, parent: IssuedSession
) -> None:
    child = await refreshed(sessions, parent)
    await show_life(sessions, child)
    record = await sessions.worker.store.verify(parent.session_id, generation=-1)
    assert record is not None
    assert record.seen_generation == record.generation == 1


async def test_where_the_sign_of_life_cannot_be_recorded_the_session_is_served_but_not_cached(
    sessions: Sessions, parent: IssuedSession
) -> None:
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)
    child = await refreshed(sessions, parent)

    async def unrecorded(session_id: str, *, generation: int) -> Any:
        record = await store.real.verify(session_id, generation=-1)
        return record and replace(record, seen_generation=0)

    store.instead["verify"] = unrecorded
    for asked in (1, 2, 3):
        await show_life(sessions, child)
        assert store.calls["verify"] == asked
    del store.instead["verify"]
    await show_life(sessions, child)
    await show_life(sessions, child)
    assert store.calls["verify"] == 4


async def test_a_verified_generation_costs_the_store_nothing_afterwards(
    sessions: Sessions, parent: IssuedSession
) -> None:
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)
    child = await refreshed(sessions, parent)
    await show_life(sessions, child)
    before = store.asked()
    for _ in range(10):
        await show_life(sessions, child)
    assert store.asked() == before


@pytest.mark.parametrize("tag", ["checkout-session", "other"])
async def test_a_refresh_token_of_another_tag_is_invalid_and_ends_nothing(
    sessions: Sessions, parent: IssuedSession, tag: str
) -> None:
    with pytest.raises(InvalidToken):
        await sessions.refresh(tag=tag, refresh_token=parent.refresh_token)
    await refreshed(sessions, parent)


async def test_a_refresh_token_of_another_realm_is_invalid_and_ends_nothing(
    sessions: Sessions, parent: IssuedSession
) -> None:
    for realm in ({"env": "dev"}, {"product": "blog"}, {"product": "blog", "env": "dev"}):
        with pytest.raises(InvalidToken):
            await sessions.refresh(tag=TAG, refresh_token=parent.refresh_token, **realm)
    await refreshed(sessions, parent)


async def test_a_forged_refresh_token_costs_no_store_call(sessions: Sessions, parent: IssuedSession) -> None:
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)
    token = str(parent.refresh_token)
    before = store.asked()
    swapped = ["B" if letter == "A" else "A" for letter in token]
    forgeries = [token[:at] + swapped[at] + token[at + 1 :] for at in range(len(token))]
    for forged in [*forgeries, token + "A", token[:-1], parent.token, "drt_", token.upper(), f" {token}", f"{token}\n"]:
        with pytest.raises(InvalidToken):
            await sessions.refresh(tag=TAG, refresh_token=forged)
    assert store.asked() == before
    await refreshed(sessions, parent)


async def test_an_access_token_is_no_refresh_token_nor_the_reverse(sessions: Sessions, parent: IssuedSession) -> None:
    with pytest.raises(InvalidToken, match="this is an access token: pass it to verify"):
        await sessions.refresh(tag=TAG, refresh_token=parent.token)
    with pytest.raises(InvalidToken, match="this is a refresh token: pass it to refresh"):
        await sessions.verify(tag=TAG, token=parent.refresh_token)


async def test_a_token_with_something_around_it_is_told_so(sessions: Sessions, parent: IssuedSession) -> None:
    with pytest.raises(InvalidToken, match="nothing around it"):
        await sessions.refresh(tag=TAG, refresh_token=f" {parent.refresh_token}")
    with pytest.raises(InvalidToken, match="nothing around it"):
        await sessions.verify(tag=TAG, token=f"{parent.token}\n")


async def test_a_revoked_session_is_not_refreshed(sessions: Sessions, parent: IssuedSession) -> None:
    child = await refreshed(sessions, parent)
    await sessions.revoke(tag=TAG, session_id=parent.session_id)
    for issued in (parent, child):
        with pytest.raises(RevokedSession):
            await refreshed(sessions, issued)


async def test_refresh_reads_the_data_in_its_own_step(
    sessions: Sessions, other_worker: Sessions, parent: IssuedSession
) -> None:
    await other_worker.update(tag=TAG, identifier="ann", data={**ANN, "role": "admin"})
    child = await refreshed(sessions, parent)
    session = await sessions.verify(tag=TAG, token=child.token)
    assert session.data == {**ANN, "role": "admin"}
    assert (await sessions.inspect(token=child.token)).version == 2


async def test_refresh_costs_one_store_call(sessions: Sessions, parent: IssuedSession) -> None:
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)
    child = await refreshed(sessions, parent)  # by then the feed knows which log it reads
    before = store.asked()
    await refreshed(sessions, child)
    assert store.asked() - before == {"rotate": 1}


async def test_the_client_of_a_refresh_is_where_the_session_is_used_from_now(
    sessions: Sessions, parent: IssuedSession
) -> None:
    scope = {"type": "http", "client": ("203.0.113.9", 1), "headers": [(b"user-agent", b"cli/2")]}
    await sessions.refresh(tag=TAG, refresh_token=parent.refresh_token, client=scope)
    (info,) = await sessions.list(tag=TAG, identifier="ann")
    assert info.client.ip == "203.0.113.9"
    assert info.client.user_agent == "cli/2"


async def test_a_failing_store_leaves_the_token_as_good_as_it_was(sessions: Sessions, parent: IssuedSession) -> None:
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)

    async def down(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("down")

    store.instead["rotate"] = down
    with pytest.raises(StoreUnavailable):
        await refreshed(sessions, parent)
    del store.instead["rotate"]
    await refreshed(sessions, parent)


async def test_an_answer_lost_after_the_rotation_costs_nobody_the_session(
    sessions: Sessions, parent: IssuedSession, clock: Clock
) -> None:
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)

    async def lost() -> None:
        raise StoreUnavailable("the answer was lost")

    store.after["rotate"] = lost
    with pytest.raises(StoreUnavailable):
        await refreshed(sessions, parent)
    del store.after["rotate"]
    clock.advance(86_400)
    child = await refreshed(sessions, parent)
    assert await accepted(sessions, child.token) == "ok"
    record = await store.real.verify(parent.session_id, generation=-1)
    assert record.generation == 1
