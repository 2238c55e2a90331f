from __future__ import annotations

import anyio
import pytest

from ductape_asgi import CookiePolicy, DataTooLarge, IssuedSession, SessionLimitReached, Sessions, TagPolicy

from .conftest import MakeSessions
from .support import ANN, TAG, Clock, accepted

pytestmark = pytest.mark.anyio


async def test_evict_oldest_ends_the_earliest_started(make_sessions: MakeSessions, clock: Clock) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, max_sessions=2)])
    issued = []
    for _ in range(4):
        issued.append(await sessions.start(tag=TAG, data=ANN))
        clock.advance(1)
    assert [await accepted(sessions, each.token) for each in issued] == ["revoked_session"] * 2 + ["ok"] * 2
    assert (await sessions.list(tag=TAG, identifier="ann")).count == 2


async def test_earliest_started_stays_earliest_however_it_is_used(make_sessions: MakeSessions, clock: Clock) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, max_sessions=2)])
    first = await sessions.start(tag=TAG, data=ANN)
    second = await sessions.start(tag=TAG, data=ANN)
    clock.advance(100)
    await sessions.refresh(tag=TAG, refresh_token=first.refresh_token)
    await sessions.start(tag=TAG, data=ANN)
    assert await accepted(sessions, first.token) == "revoked_session"
    assert await accepted(sessions, second.token) == "ok"


@pytest.mark.announcing
async def test_an_evicted_session_is_refused_by_another_worker_too(make_sessions: MakeSessions) -> None:
    sessions, other = [await make_sessions(tags=[TagPolicy(TAG, max_sessions=1)]) for _ in range(2)]
    first = await sessions.start(tag=TAG, data=ANN)
    await other.verify(tag=TAG, token=first.token)
    await sessions.start(tag=TAG, data=ANN)
    assert await accepted(other, first.token) == "revoked_session"


async def test_reject_refuses_the_next_sign_in_and_ends_nothing(make_sessions: MakeSessions) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, max_sessions=2, on_limit="reject")])
    issued = [await sessions.start(tag=TAG, data=ANN) for _ in range(2)]
    with pytest.raises(SessionLimitReached):
        await sessions.start(tag=TAG, data=ANN)
    assert [await accepted(sessions, each.token) for each in issued] == ["ok", "ok"]
    await sessions.revoke(tag=TAG, session_id=issued[0].session_id)
    await sessions.start(tag=TAG, data=ANN)


async def test_replacing_a_session_at_the_limit_is_no_sign_in_more(make_sessions: MakeSessions) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, max_sessions=1, on_limit="reject")])
    first = await sessions.start(tag=TAG, data=ANN)
    second = await sessions.start(tag=TAG, data=ANN, replaces=first.session_id)
    assert [await accepted(sessions, each.token) for each in (first, second)] == ["revoked_session", "ok"]


@pytest.mark.parametrize("on_limit", ["evict_oldest", "reject"])
async def test_only_live_sessions_count(make_sessions: MakeSessions, clock: Clock, on_limit: str) -> None:
    policy = TagPolicy(TAG, max_sessions=2, on_limit=on_limit, session_ttl=600)  # type: ignore[arg-type]
    sessions = await make_sessions(tags=[policy])
    await sessions.start(tag=TAG, data=ANN)
    clock.advance(300)
    second = await sessions.start(tag=TAG, data=ANN)
    clock.advance(300)  # the first has reached its end
    third = await sessions.start(tag=TAG, data=ANN)
    assert [await accepted(sessions, each.token) for each in (second, third)] == ["ok", "ok"]


async def test_each_person_and_each_tag_has_a_limit_of_its_own(make_sessions: MakeSessions) -> None:
    policies = [TagPolicy(tag, max_sessions=1, on_limit="reject") for tag in (TAG, "checkout-session")]
    sessions = await make_sessions(tags=policies)
    await sessions.start(tag=TAG, data=ANN)
    await sessions.start(tag="checkout-session", data=ANN)
    await sessions.start(tag=TAG, data={"userId": "bob"})
    await sessions.start(tag=TAG, data=ANN, env="dev")
    with pytest.raises(SessionLimitReached):
        await sessions.start(tag=TAG, data=ANN)


@pytest.mark.parametrize("on_limit", ["evict_oldest", "reject"])
async def test_racing_sign_ins_keep_the_limit(make_sessions: MakeSessions, on_limit: str) -> None:
    policy = TagPolicy(TAG, max_sessions=3, on_limit=on_limit)  # type: ignore[arg-type]
    workers = [await make_sessions(tags=[policy]) for _ in range(2)]
    started: list[IssuedSession] = []
    refused: list[SessionLimitReached] = []

    async def sign_in(sessions: Sessions) -> None:
        try:
            started.append(await sessions.start(tag=TAG, data=ANN))
        except SessionLimitReached as error:
            refused.append(error)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(sign_in, workers[number % 2])

    live = [each for each in started if await accepted(workers[0], each.token) == "ok"]
    assert len(live) == 3
    assert (await workers[1].list(tag=TAG, identifier="ann")).count == 3
    assert len(refused) == (17 if on_limit == "reject" else 0)


async def largest(sessions: Sessions) -> tuple[IssuedSession, int]:
    """The session with the longest text in its data that fits, and the length of the text."""
    fits, too_long = 0, 10_000
    best = await sessions.start(tag=TAG, data=ANN)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        try:
            best, fits = await sessions.start(tag=TAG, data={**ANN, "text": "x" * middle}), middle
        except DataTooLarge:
            too_long = middle
    return best, fits


#: Data is padded to 32 bytes, which base64 makes 57 in the token, and some room is left for the version to grow.
STEP = 57 + 13


@pytest.mark.parametrize(
    ("name", "prefix"), [("ductape", "__Host-"), ("a-much-longer-cookie-name-than-usual", "__Host-")]
)
async def test_cookie_name_and_token_have_4096_bytes_together(
    make_sessions: MakeSessions, name: str, prefix: str
) -> None:
    sessions = await make_sessions(cookies=CookiePolicy(name=name))
    issued, _ = await largest(sessions)
    assert 4096 - STEP < len(prefix + name) + len(issued.token) <= 4096


async def test_without_cookies_the_token_has_8192_bytes(make_sessions: MakeSessions) -> None:
    sessions = await make_sessions(cookies=None)
    issued, _ = await largest(sessions)
    assert 8192 - STEP < len(issued.token) <= 8192
    assert await accepted(sessions, issued.token) == "ok"


@pytest.mark.parametrize(("cookies", "limit"), [(CookiePolicy(), "4096"), (None, "8192")])
async def test_data_too_large_names_the_sizes_and_starts_nothing(
    make_sessions: MakeSessions, cookies: CookiePolicy | None, limit: str
) -> None:
    sessions = await make_sessions(cookies=cookies)
    with pytest.raises(DataTooLarge, match=rf"\d+ bytes.*{limit}"):
        await sessions.start(tag=TAG, data={**ANN, "text": "x" * 8000})
    assert (await sessions.list(tag=TAG, identifier="ann")).count == 0


@pytest.mark.parametrize("cookies", [CookiePolicy(), None])
async def test_the_largest_session_lives_on_through_updates_and_refreshes(
    make_sessions: MakeSessions, cookies: CookiePolicy | None, clock: Clock
) -> None:
    sessions = await make_sessions(cookies=cookies)
    issued, length = await largest(sessions)
    for turn in range(12):
        data = {**ANN, "text": "y" * length}
        assert await sessions.update(tag=TAG, session_id=issued.session_id, data=data) == 1
        clock.advance(100)
        issued = await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
        assert await accepted(sessions, issued.token) == "ok", turn


@pytest.mark.parametrize("make_store", ["memory", "sqlite"], indirect=True)  # what fits is no matter of the store
async def test_data_that_just_fits_is_refreshed_after_any_number_of_updates(
    make_sessions: MakeSessions, clock: Clock
) -> None:
    roomy = await make_sessions(cookies=None)
    data = {**ANN, "text": "x" * 2100}
    length = len((await roomy.start(tag=TAG, data=data)).token)
    most = 0
    for name_length in range(1, 65):  # one of these leaves not a byte to spare
        sessions = await make_sessions(cookies=CookiePolicy(name="n" * name_length), algorithm="EdDSA")
        spare = 4096 - len("__Host-") - name_length - length
        data = {**ANN, "text": "x" * (2100 + spare * 9 // 16 // 32 * 32)}
        try:
            issued = await sessions.start(tag=TAG, data=data)
        except DataTooLarge:
            continue
        most = max(most, len(issued.token) + name_length)
        for _ in range(10):
            await sessions.update(tag=TAG, session_id=issued.session_id, data=data)
        issued = await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
        assert len("__Host-") + name_length + len(issued.token) <= 4096
    assert most > 4096 - 24


async def test_what_start_refuses_as_too_large_update_refuses_too(sessions: Sessions) -> None:
    issued, length = await largest(sessions)
    with pytest.raises(DataTooLarge):
        await sessions.update(tag=TAG, identifier="ann", data={**ANN, "text": "x" * (length + 64)})
    assert (await sessions.verify(tag=TAG, token=issued.token)).data["text"] == "x" * length
