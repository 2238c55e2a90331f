"""list, revoke, revoke_all and update."""

from __future__ import annotations

from typing import Any

import pytest

from ductape_asgi import InvalidData, IssuedSession, RevokedSession, Sessions, TagPolicy

from .conftest import MakeSessions
from .support import ANN, TAG, Clock, WatchedStore, accepted

pytestmark = pytest.mark.anyio

BOB = {"userId": "bob"}


async def start(
    sessions: Sessions, count: int, data: dict[str, Any] | None = None, **options: Any
) -> list[IssuedSession]:
    return [await sessions.start(**{"tag": TAG, "data": data or ANN, **options}) for _ in range(count)]


async def listed(sessions: Sessions, **options: Any) -> list[str]:
    page = await sessions.list(**{"tag": TAG, "identifier": "ann", **options})
    return [info.session_id for info in page.sessions]


# list


async def test_sessions_are_listed_newest_first_even_within_one_tick(sessions: Sessions) -> None:
    issued = await start(sessions, 10)
    assert await listed(sessions) == [each.session_id for each in reversed(issued)]


async def test_the_order_stays_when_the_clock_goes_back(sessions: Sessions, clock: Clock) -> None:
    issued = []
    for _ in range(5):
        issued += await start(sessions, 1)
        clock.advance(-1)
    clock.advance(5)
    assert await listed(sessions) == [each.session_id for each in reversed(issued)]


async def test_the_order_is_of_starting_whatever_is_refreshed(sessions: Sessions, clock: Clock) -> None:
    issued = await start(sessions, 3)
    clock.advance(60)
    await sessions.refresh(tag=TAG, refresh_token=issued[0].refresh_token)
    assert await listed(sessions) == [each.session_id for each in reversed(issued)]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 10, 11, 1000])
async def test_pages_hold_each_session_once_and_count_all(sessions: Sessions, limit: int) -> None:
    issued = await start(sessions, 10)
    cursor, seen = None, []
    while True:
        page = await sessions.list(tag=TAG, identifier="ann", limit=limit, cursor=cursor)
        assert page.count == 10
        assert len(page.sessions) <= limit
        seen += [info.session_id for info in page]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert seen == [each.session_id for each in reversed(issued)]


async def test_a_cursor_holds_when_sessions_end_and_start_meanwhile(sessions: Sessions) -> None:
    issued = await start(sessions, 6)
    page = await sessions.list(tag=TAG, identifier="ann", limit=3)
    await sessions.revoke(tag=TAG, session_id=page.sessions[-1].session_id)
    await start(sessions, 2)
    following = await sessions.list(tag=TAG, identifier="ann", limit=3, cursor=page.next_cursor)
    assert [info.session_id for info in following] == [each.session_id for each in issued[2::-1]]
    assert following.next_cursor is None


async def test_nobody_has_an_empty_page(sessions: Sessions) -> None:
    page = await sessions.list(tag=TAG, identifier="nobody")
    assert (page.count, page.sessions, page.next_cursor) == (0, (), None)


@pytest.mark.parametrize("limit", [0, -1, 1001, True, 1.0, "10", None])
@pytest.mark.any_store
async def test_a_limit_out_of_range_is_invalid_data(sessions: Sessions, limit: Any) -> None:
    with pytest.raises(InvalidData, match="limit"):
        await sessions.list(tag=TAG, identifier="ann", limit=limit)


@pytest.mark.parametrize("cursor", ["", "x", "AAAAAAAAAAAAAAAAAAAAAA", "ä", 7, b"x"])
async def test_a_cursor_that_is_not_ours_is_invalid_data(sessions: Sessions, cursor: Any) -> None:
    await start(sessions, 2)
    with pytest.raises(InvalidData, match="cursor"):
        await sessions.list(tag=TAG, identifier="ann", cursor=cursor)


async def test_somebody_elses_cursor_is_invalid_data(sessions: Sessions) -> None:
    await start(sessions, 3, BOB)
    cursor = (await sessions.list(tag=TAG, identifier="bob", limit=1)).next_cursor
    with pytest.raises(InvalidData, match="cursor"):
        await sessions.list(tag=TAG, identifier="ann", cursor=cursor)


async def test_a_list_is_of_one_person_tag_and_realm(sessions: Sessions) -> None:
    (mine,) = await start(sessions, 1)
    await start(sessions, 1, BOB)
    await start(sessions, 1, tag="checkout-session")
    await start(sessions, 1, env="dev")
    await start(sessions, 1, product="blog")
    assert await listed(sessions) == [mine.session_id]


async def test_an_entry_tells_of_its_session_and_holds_no_token(sessions: Sessions, clock: Clock) -> None:
    (issued,) = await start(sessions, 1)
    begin = clock.now
    clock.advance(100)
    await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
    (info,) = await sessions.list(tag=TAG, identifier="ann")
    assert (info.session_id, info.tag, info.identifier) == (issued.session_id, TAG, "ann")
    assert info.created_at.timestamp() == begin
    assert info.last_seen_at.timestamp() == begin + 100
    assert info.expires_at == issued.session_expires_at
    names = set(type(info).__dataclass_fields__)
    assert names == {"session_id", "tag", "identifier", "created_at", "last_seen_at", "expires_at", "client"}


async def test_only_live_sessions_are_listed(make_sessions: MakeSessions, clock: Clock) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, session_ttl=100)])
    await start(sessions, 2)
    clock.advance(50)
    (younger,) = await start(sessions, 1)
    clock.advance(50)
    page = await sessions.list(tag=TAG, identifier="ann")
    assert page.count == 1
    assert [info.session_id for info in page] == [younger.session_id]


# revoke


@pytest.mark.announcing
async def test_a_revoked_session_is_refused_at_once_everywhere(sessions: Sessions, other_worker: Sessions) -> None:
    (issued,) = await start(sessions, 1)
    for worker in (sessions, other_worker):
        assert await accepted(worker, issued.token) == "ok"
    assert await sessions.revoke(tag=TAG, session_id=issued.session_id) is True
    for worker in (sessions, other_worker):
        assert await accepted(worker, issued.token) == "revoked_session"
    assert await listed(sessions) == []


async def test_revoke_answers_whether_the_session_was_live(make_sessions: MakeSessions, clock: Clock) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, session_ttl=100)])
    first, second = await start(sessions, 2)
    assert await sessions.revoke(tag=TAG, session_id=first.session_id) is True
    assert await sessions.revoke(tag=TAG, session_id=first.session_id) is False
    clock.advance(100)
    assert await sessions.revoke(tag=TAG, session_id=second.session_id) is False


@pytest.mark.parametrize("session_id", ["", "nobody's", "x" * 10_000, "ä\ud800", "'; DROP TABLE sessions; --"])
async def test_revoking_an_unknown_session_does_nothing(sessions: Sessions, session_id: str) -> None:
    (issued,) = await start(sessions, 1)
    assert await sessions.revoke(tag=TAG, session_id=session_id) is False
    assert await accepted(sessions, issued.token) == "ok"


@pytest.mark.parametrize("session_id", [None, 7, b"x", ["x"]])
@pytest.mark.any_store
async def test_a_session_id_that_is_no_text_is_invalid_data(sessions: Sessions, session_id: Any) -> None:
    with pytest.raises(InvalidData, match="session_id"):
        await sessions.revoke(tag=TAG, session_id=session_id)


async def test_a_session_is_revoked_by_its_own_tag_and_realm_only(sessions: Sessions) -> None:
    (issued,) = await start(sessions, 1)
    assert await sessions.revoke(tag="checkout-session", session_id=issued.session_id) is False
    assert await sessions.revoke(tag=TAG, session_id=issued.session_id, env="dev") is False
    assert await sessions.revoke(tag=TAG, session_id=issued.session_id, product="blog") is False
    assert await accepted(sessions, issued.token) == "ok"


# revoke_all


@pytest.mark.announcing
async def test_revoke_all_ends_all_sessions_of_one_person_and_tag(sessions: Sessions, other_worker: Sessions) -> None:
    mine = await start(sessions, 3)
    (bobs,) = await start(sessions, 1, BOB)
    (cart,) = await start(sessions, 1, tag="checkout-session")
    for each in (*mine, bobs):
        await other_worker.verify(tag=TAG, token=each.token)
    assert await sessions.revoke_all(tag=TAG, identifier="ann") == 3
    for worker in (sessions, other_worker):
        assert [await accepted(worker, each.token) for each in mine] == ["revoked_session"] * 3
        assert await accepted(worker, bobs.token) == "ok"
        assert await accepted(worker, cart.token, tag="checkout-session") == "ok"
    assert await sessions.revoke_all(tag=TAG, identifier="ann") == 0


@pytest.mark.announcing
async def test_revoke_all_but_the_current_one(sessions: Sessions, other_worker: Sessions) -> None:
    mine = await start(sessions, 3)
    for each in mine:
        await other_worker.verify(tag=TAG, token=each.token)
    current = mine[1].session_id
    assert await sessions.revoke_all(tag=TAG, identifier="ann", exclude_current_session=current) == 2
    for worker in (sessions, other_worker):
        answers = [await accepted(worker, each.token) for each in mine]
        assert answers == ["revoked_session", "ok", "revoked_session"]
    assert await listed(sessions) == [current]


async def test_excluding_somebody_elses_session_is_refused_and_ends_nothing(sessions: Sessions) -> None:
    mine = await start(sessions, 2)
    (bobs,) = await start(sessions, 1, BOB)
    (cart,) = await start(sessions, 1, tag="checkout-session")
    (dev,) = await start(sessions, 1, env="dev")
    (ended,) = await start(sessions, 1)
    await sessions.revoke(tag=TAG, session_id=ended.session_id)
    for other in (bobs.session_id, cart.session_id, dev.session_id, ended.session_id, "unknown", ""):
        with pytest.raises(InvalidData):
            await sessions.revoke_all(tag=TAG, identifier="ann", exclude_current_session=other)
    assert [await accepted(sessions, each.token) for each in (*mine, bobs)] == ["ok"] * 3


async def test_revoke_all_counts_only_live_sessions(make_sessions: MakeSessions, clock: Clock) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, session_ttl=100)])
    await start(sessions, 2)
    clock.advance(50)
    await start(sessions, 3)
    clock.advance(50)
    assert await sessions.revoke_all(tag=TAG, identifier="ann") == 3


@pytest.mark.parametrize("identifier", ["", None, True, 1.5, ["ann"]])
@pytest.mark.any_store
async def test_who_is_no_one_is_invalid_data(sessions: Sessions, identifier: Any) -> None:
    for verb in (sessions.list, sessions.revoke_all):
        with pytest.raises(InvalidData, match="identifier"):
            await verb(tag=TAG, identifier=identifier)


async def test_the_identifier_is_matched_exactly(sessions: Sessions) -> None:
    (issued,) = await start(sessions, 1)
    for other in ("Ann", "ANN", "ann ", " ann", "an", "anna", "ann\0", "a%", "*", "a\u0308nn"):
        assert await sessions.revoke_all(tag=TAG, identifier=other) == 0
        assert (await sessions.list(tag=TAG, identifier=other)).count == 0
    assert await accepted(sessions, issued.token) == "ok"


# update


@pytest.mark.announcing
async def test_update_replaces_the_data_without_a_sign_out(sessions: Sessions, other_worker: Sessions) -> None:
    mine = await start(sessions, 2, {**ANN, "role": "admin", "old": 1})
    (bobs,) = await start(sessions, 1, BOB)
    for each in mine:
        await other_worker.verify(tag=TAG, token=each.token)
    data = {**ANN, "role": "user"}
    assert await sessions.update(tag=TAG, identifier="ann", data=data) == 2
    for worker in (sessions, other_worker):
        for each in mine:
            assert (await worker.verify(tag=TAG, token=each.token)).data == data
    assert (await sessions.verify(tag=TAG, token=bobs.token)).data == BOB


async def test_update_of_one_session_changes_that_one_only(sessions: Sessions) -> None:
    first, second = await start(sessions, 2)
    data = {**ANN, "mfa": True}
    assert await sessions.update(tag=TAG, session_id=first.session_id, data=data) == 1
    assert (await sessions.verify(tag=TAG, token=first.token)).data == data
    assert (await sessions.verify(tag=TAG, token=second.token)).data == ANN


async def test_an_update_shows_in_old_and_new_tokens_and_is_kept_by_refresh(sessions: Sessions) -> None:
    (issued,) = await start(sessions, 1)
    for turn in range(3):
        data = {**ANN, "turn": turn}
        await sessions.update(tag=TAG, identifier="ann", data=data)
        refreshed = await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
        for each in (issued, refreshed):
            assert (await sessions.verify(tag=TAG, token=each.token)).data == data
        issued = refreshed


async def test_updating_nobody_changes_nothing(sessions: Sessions) -> None:
    (issued,) = await start(sessions, 1)
    assert await sessions.update(tag=TAG, identifier="bob", data=BOB) == 0
    assert await sessions.update(tag=TAG, session_id="unknown", data=ANN) == 0
    assert await sessions.update(tag="checkout-session", session_id=issued.session_id, data=ANN) == 0
    assert await sessions.update(tag=TAG, session_id=issued.session_id, data=ANN, env="dev") == 0
    assert (await sessions.inspect(token=issued.token)).version == 1
    assert (await sessions.verify(tag=TAG, token=issued.token)).data == ANN


async def test_a_revoked_session_is_not_updated(sessions: Sessions) -> None:
    (issued,) = await start(sessions, 1)
    await sessions.revoke(tag=TAG, session_id=issued.session_id)
    assert await sessions.update(tag=TAG, session_id=issued.session_id, data=ANN) == 0
    assert await sessions.update(tag=TAG, identifier="ann", data=ANN) == 0


async def test_update_never_changes_the_identifier(sessions: Sessions) -> None:
    (issued,) = await start(sessions, 1)
    for target in ({"identifier": "ann"}, {"session_id": issued.session_id}):
        with pytest.raises(InvalidData, match="userId"):
            await sessions.update(tag=TAG, data=BOB, **target)  # type: ignore[arg-type]
    session = await sessions.verify(tag=TAG, token=issued.token)
    assert (session.identifier, session.data) == ("ann", ANN)


async def test_update_may_leave_the_identifier_out_of_the_data(sessions: Sessions) -> None:
    (issued,) = await start(sessions, 1)
    assert await sessions.update(tag=TAG, identifier="ann", data={"plain": True}) == 1
    session = await sessions.verify(tag=TAG, token=issued.token)
    assert (session.identifier, session.data) == ("ann", {"plain": True})
    refreshed = await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
    assert refreshed.identifier == "ann"


@pytest.mark.parametrize("value", [42, "bob", ["x"]])
async def test_data_that_disagreed_at_start_is_updated_without_it_or_under_another_selector(
    make_sessions: MakeSessions, value: Any
) -> None:
    data = {"userId": value, "role": "user"}
    sessions = await make_sessions()
    issued = await sessions.start(tag=TAG, identifier="alice", data=data)
    for target in ({"identifier": "alice"}, {"session_id": issued.session_id}):
        with pytest.raises(InvalidData, match=r"userId.*leave it out.*selector="):
            await sessions.update(tag=TAG, data=data, **target)  # type: ignore[arg-type]
    assert await sessions.update(tag=TAG, identifier="alice", data={"role": "guest"}) == 1
    elsewhere = await make_sessions(tags=[TagPolicy(TAG, selector="login")])
    assert await elsewhere.update(tag=TAG, identifier="alice", data=data) == 1
    session = await sessions.verify(tag=TAG, token=issued.token)
    assert (session.identifier, session.data) == ("alice", data)


async def test_update_needs_one_of_identifier_and_session_id(sessions: Sessions) -> None:
    (issued,) = await start(sessions, 1)
    for target in ({}, {"identifier": "ann", "session_id": issued.session_id}):
        with pytest.raises(InvalidData, match="identifier"):
            await sessions.update(tag=TAG, data=ANN, **target)


async def test_a_sign_in_after_an_update_starts_with_its_own_data(sessions: Sessions) -> None:
    await start(sessions, 1)
    await sessions.update(tag=TAG, identifier="ann", data={**ANN, "role": "guest"})
    (later,) = await start(sessions, 1, {**ANN, "role": "admin"})
    assert (await sessions.verify(tag=TAG, token=later.token)).roles == {"admin"}


async def test_the_wrong_verb_for_a_revoked_session_says_so(sessions: Sessions) -> None:
    (issued,) = await start(sessions, 1)
    await sessions.revoke_all(tag=TAG, identifier="ann")
    with pytest.raises(RevokedSession):
        await sessions.verify(tag=TAG, token=issued.token)
    with pytest.raises(RevokedSession):
        await sessions.verify(tag=TAG, token=issued.token, fresh=True)


async def test_ended_sessions_are_purged_and_live_ones_stay(make_sessions: MakeSessions, clock: Clock) -> None:
    policy = [TagPolicy(TAG, session_ttl=100), TagPolicy("long")]
    sessions = await make_sessions(tags=policy)
    await start(sessions, 3)
    (stays,) = await start(sessions, 1, tag="long")
    clock.advance(100)
    assert await sessions.purge() == 3
    assert await sessions.purge() == 0
    refreshed = await sessions.refresh(tag="long", refresh_token=stays.refresh_token)
    assert await accepted(sessions, refreshed.token, tag="long") == "ok"


async def test_a_hit_costs_no_store_call(sessions: Sessions) -> None:
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)
    (issued,) = await start(sessions, 1)
    await sessions.verify(tag=TAG, token=issued.token)
    before = store.asked()
    for _ in range(100):
        await sessions.verify(tag=TAG, token=issued.token)
    assert store.asked() == before


async def test_fresh_asks_the_store_even_on_a_hit(sessions: Sessions) -> None:
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)
    (issued,) = await start(sessions, 1)
    await sessions.verify(tag=TAG, token=issued.token)
    before = store.calls["verify"]
    for _ in range(3):
        await sessions.verify(tag=TAG, token=issued.token, fresh=True)
    assert store.calls["verify"] == before + 3
