"""What operators see: figures that equal a recount, everybody once, and one person's sessions."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from ductape_asgi import (
    ConfigurationError,
    InvalidData,
    PublishableKeyError,
    Sessions,
    SessionStats,
    StoreUnavailable,
    TagPolicy,
    UserInfo,
    new_access_key,
    surveying,
)
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.postgres import steps as postgres_steps
from ductape_asgi.stores.redis import survey as redis_survey
from ductape_asgi.stores.sqlite import survey as sqlite_survey
from ductape_asgi.testing import FlakyStore

from .conftest import MakeSessions, MakeStore
from .crowd import Crowd, gather, thin
from .support import ANN, TAG, Clock, WatchedStore

pytestmark = pytest.mark.anyio

#: ``DUCTAPE_RECOUNT=10000`` recounts as many; see CONTRIBUTING.md.
SIZE = int(os.environ.get("DUCTAPE_RECOUNT", "600"))


@pytest.fixture(params=["one part", "many parts"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the store counts in one go, as few sessions let it, or has to go on again and again."""
    if request.param == "many parts":
        for module in (sqlite_survey, redis_survey, postgres_steps):
            monkeypatch.setattr(module, "PART", 97)
        monkeypatch.setattr(redis_survey, "STEP", 10)
    return str(request.param)


# Figures.


async def test_figures_and_users_equal_a_recount(sessions: Sessions, clock: Clock, parts: str) -> None:
    crowd = await gather(sessions, SIZE)
    await thin(sessions, crowd)
    await compare(sessions, clock, crowd)
    clock.advance(20 * 86_400)
    await compare(sessions, clock, crowd)


async def compare(sessions: Sessions, clock: Clock, crowd: Crowd) -> None:
    stats = await sessions.stats(tag=TAG)
    assert stats == recount(crowd, clock())
    pages, seen, cursor = 0, list[UserInfo](), None
    while True:
        page = await sessions.users(tag=TAG, limit=37, cursor=cursor)
        pages, cursor = pages + 1, page.next_cursor
        seen += page.users
        if cursor is None:
            break
    assert pages == max(1, -(-stats.users // 37))
    assert sorted(seen, key=by_name) == sorted(recount_users(crowd, clock()), key=by_name)


def recount(crowd: Crowd, now: float) -> SessionStats:
    """One by one, from what was written, with dates from the calendar."""
    held = [record for record in crowd.records if record.tag == TAG]
    live = [record for record in held if record.live(now)]
    users = {crowd.identifier(record) for record in live}
    today = datetime.fromtimestamp(now, UTC).date()
    monday = today - timedelta(days=today.weekday())
    starts: defaultdict[date, list[str]] = defaultdict(list)
    for record in held:
        starts[min(today, datetime.fromtimestamp(record.created_at, UTC).date())].append(crowd.identifier(record))
    days = [today - timedelta(days=ago) for ago in range(29, -1, -1)]
    # Somebody who started one today and, by a clock that is ahead, another tomorrow counts twice.
    ahead = {crowd.identifier(one) for one in held if datetime.fromtimestamp(one.created_at, UTC).date() > today}
    on_time = {crowd.identifier(one) for one in held if datetime.fromtimestamp(one.created_at, UTC).date() == today}
    return SessionStats(
        tag=TAG,
        as_of=datetime.fromtimestamp(now, UTC),
        total=len(held),
        active=len(live),
        expired=len(held) - len(live),
        new_today=len(starts[today]),
        new_this_week=sum(len(names) for day, names in starts.items() if day >= monday),
        users=len(users),
        mean_sessions_per_user=len(live) / len(users) if users else 0.0,
        days=tuple(
            surveying.DayStats(
                day, len(starts[day]), len(set(starts[day])) if day != today else len(ahead) + len(on_time)
            )
            for day in days
        ),
    )


def recount_users(crowd: Crowd, now: float) -> list[UserInfo]:
    theirs: defaultdict[str, list[Any]] = defaultdict(list)
    for record in crowd.records:
        if record.tag == TAG and record.live(now):
            theirs[crowd.identifier(record)].append(record)
    return [
        UserInfo(
            name,
            len(live),
            datetime.fromtimestamp(min(record.created_at for record in live), UTC),
            datetime.fromtimestamp(max(record.last_seen_at for record in live), UTC),
        )
        for name, live in theirs.items()
    ]


def by_name(user: UserInfo) -> str:
    return user.identifier or ""


async def test_an_empty_store_has_figures_too(sessions: Sessions) -> None:
    stats = await sessions.stats(tag=TAG)
    assert (stats.total, stats.active, stats.expired, stats.users, stats.mean_sessions_per_user) == (0, 0, 0, 0, 0.0)
    assert [day.started for day in stats.days] == [0] * 30
    page = await sessions.users(tag=TAG)
    assert (page.users, page.next_cursor) == ((), None)
    nobody = await sessions.user(tag=TAG, identifier="nobody")
    assert (nobody.count, nobody.first_seen_at, nobody.last_seen_at, nobody.sessions) == (0, None, None, ())


async def test_figures_are_of_one_tag_and_one_realm(sessions: Sessions) -> None:
    await sessions.start(tag=TAG, data=ANN)
    await sessions.start(tag=TAG, data=ANN, env="stg")
    await sessions.start(tag="checkout-session", data={"userId": "bob"}, env="stg")
    assert (await sessions.stats(tag=TAG)).total == 1
    assert (await sessions.stats(tag="checkout-session")).total == 0
    assert [user.identifier for user in await sessions.users(tag="checkout-session", env="stg")] == ["bob"]
    assert (await sessions.user(tag=TAG, identifier="bob", env="stg")).count == 0


@pytest.mark.parametrize(
    ("now", "monday"),
    [
        ("2027-01-18T00:00:00", "2027-01-18"),
        ("2027-01-20T12:00:00", "2027-01-18"),
        ("2027-01-24T23:59:59", "2027-01-18"),
        ("2027-01-02T12:00:00", "2026-12-28"),
    ],
)
async def test_a_week_begins_on_monday_and_a_day_at_midnight_in_utc(now: str, monday: str) -> None:
    store, clock = MemoryStore(), Clock()
    options: Any = {"access_key": new_access_key(), "product": "shop", "env": "prd", "store": store, "clock": clock}
    async with Sessions(**options) as sessions:
        midnight = seconds(now[:10])
        for begun in (seconds(monday) - 1, seconds(monday), midnight - 1, midnight, seconds(now)):
            clock.now = begun
            await sessions.start(tag=TAG, data=ANN)
        clock.now = seconds(now)
        stats = await sessions.stats(tag=TAG)
    starts = [seconds(monday) - 1, seconds(monday), midnight - 1, midnight, seconds(now)]
    assert stats.new_today == sum(start >= midnight for start in starts)
    assert stats.new_this_week == sum(start >= seconds(monday) for start in starts)
    assert (str(stats.days[-1].day), stats.days[-1].started) == (now[:10], stats.new_today)


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


# People.


async def test_a_user_is_told_by_name_though_the_store_holds_none(sessions: Sessions, clock: Clock) -> None:
    begun = clock()
    await sessions.start(tag=TAG, data=ANN)
    clock.advance(60)
    await sessions.start(tag=TAG, data=ANN)
    (user,) = await sessions.users(tag=TAG)
    assert (user.identifier, user.sessions) == ("ann", 2)
    assert (user.first_seen_at.timestamp(), user.last_seen_at.timestamp()) == (begun, begun + 60)


async def test_one_person_has_all_their_sessions_and_nobody_elses(
    sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surveying, "_SHOWN", 3)
    begun, started = clock(), []
    for _ in range(7):
        started.append((await sessions.start(tag=TAG, data=ANN)).session_id)
        clock.advance(10)
    await sessions.start(tag=TAG, data={"userId": "bob"})
    ann = await sessions.user(tag=TAG, identifier="ann")
    assert (ann.identifier, ann.count) == ("ann", 7)
    assert [info.session_id for info in ann] == started[:3:-1]
    assert ann.first_seen_at is not None
    assert ann.last_seen_at is not None
    assert (ann.first_seen_at.timestamp(), ann.last_seen_at.timestamp()) == (begun, begun + 60)


async def test_anonymous_sessions_are_counted_and_not_listed(make_sessions: MakeSessions) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, anonymous=True)])
    for name in ("ann", "bob", "cid"):
        await sessions.start(tag=TAG, data={"userId": name})
    for _ in range(12):
        await sessions.start(tag=TAG, data={})
    assert (await sessions.stats(tag=TAG)).users == 15
    seen, cursor = [], None
    while True:
        page = await sessions.users(tag=TAG, limit=2, cursor=cursor)
        assert len(page.users) <= 2
        seen += [user.identifier for user in page]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(map(str, seen)) == ["ann", "bob", "cid"]


async def test_a_user_whose_key_was_taken_out_has_no_name(make_sessions: MakeSessions, make_store: MakeStore) -> None:
    old, new = new_access_key(), new_access_key()
    await (await make_sessions(access_key=old)).start(tag=TAG, data=ANN)
    await make_sessions(access_key=[new, old])
    rolled = await make_sessions(access_key=new)
    await rolled.start(tag=TAG, data={"userId": "bob"})
    assert Counter([user.identifier for user in await rolled.users(tag=TAG)]) == {None: 1, "bob": 1}


# What cannot be.


@pytest.mark.parametrize("limit", [0, -1, 1001, True, "10", 2.0])
async def test_a_limit_out_of_range_is_invalid_data(sessions: Sessions, limit: Any) -> None:
    with pytest.raises(InvalidData, match="limit"):
        await sessions.users(tag=TAG, limit=limit)


@pytest.mark.parametrize("cursor", ["", "junk", "A" * 40, 7])
async def test_a_cursor_that_is_not_ours_is_invalid_data(sessions: Sessions, cursor: Any) -> None:
    with pytest.raises(InvalidData, match="cursor"):
        await sessions.users(tag=TAG, cursor=cursor)


@pytest.mark.parametrize("identifier", ["", None, 1.5, "\ud800"])
async def test_what_is_no_identifier_is_invalid_data(sessions: Sessions, identifier: Any) -> None:
    with pytest.raises(InvalidData):
        await sessions.user(tag=TAG, identifier=identifier)


async def test_tags_that_are_not_configured_have_no_figures(make_sessions: MakeSessions) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG)])
    for call in (sessions.stats, sessions.users):
        with pytest.raises(ConfigurationError, match="checkout-session"):
            await call(tag="checkout-session")


async def test_a_publishable_key_sees_nobody() -> None:
    published = Sessions(access_key=new_access_key(), product="a", env="b", store="memory://").publishable_key
    sessions = Sessions(publishable_key=published, store="memory://")
    for call in (sessions.stats, sessions.users):
        with pytest.raises(PublishableKeyError):
            await call(tag=TAG)


class Countless(WatchedStore):
    """A store that was written before there were figures."""

    def __getattr__(self, name: str) -> Any:
        if name in ("census", "people"):
            raise AttributeError(name)
        return super().__getattr__(name)


@pytest.mark.parametrize("wrap", [lambda store: store, FlakyStore])
async def test_a_store_that_does_not_count_is_told_what_it_lacks(make_sessions: MakeSessions, wrap: Any) -> None:
    sessions = await make_sessions(store=wrap(Countless(MemoryStore())))
    await sessions.start(tag=TAG, data=ANN)
    for call in (sessions.stats, sessions.users):
        with pytest.raises(ConfigurationError, match="SurveyedStore"):
            await call(tag=TAG)
    assert (await sessions.user(tag=TAG, identifier="ann")).count == 1


async def test_a_store_that_is_down_shows_no_figures(make_sessions: MakeSessions) -> None:
    flaky = FlakyStore(MemoryStore())
    sessions = await make_sessions(store=flaky)
    flaky.fail("census", "people")
    for call in (sessions.stats, sessions.users):
        with pytest.raises(StoreUnavailable):
            await call(tag=TAG)
    flaky.heal()
    assert (await sessions.stats(tag=TAG)).total == 0
    assert flaky.calls["census"] == 2
