# ruff: noqa: S101 - tests assert
"""Tests of `census` and `people`, for stores that have them."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from ...errors import InvalidData
from ...figures import DAY, Census, DayCensus, Person
from ...models import TOUCH_EVERY, SessionRecord
from ...stores.base import SessionStore, SurveyedStore, surveyed
from .records import ANN, BOB, ENDS_AT, NOW, REALM, TAG, refresh, start, start_limited

TODAY = int(NOW // DAY)
_MIDNIGHT = float(TODAY * DAY)
_JUNK = ["", "x", "0", "AAAAAAAAAAA", "A" * 22, "é", "\ud800", "\0", "9" * 5000]


class SurveyingContract:
    """`census`, `people`.  A store may do without both; operators then see no figures."""

    @pytest.fixture
    def survey(self, store: SessionStore) -> SurveyedStore:
        if not hasattr(store, "census") and not hasattr(store, "people"):
            pytest.skip("this store has neither census nor people")
        return surveyed(store)

    async def test_an_empty_store_counts_nothing(self, survey: SurveyedStore) -> None:
        assert await count(survey) == Census(0, 0, 0)
        assert await all_people(survey) == []

    async def test_sessions_and_people_are_counted(self, store: SessionStore, survey: SurveyedStore) -> None:
        for subject in (ANN, BOB, ANN):
            await start(store, subject=subject)
        counted = await count(survey)
        assert (counted.held, counted.live, counted.people) == (3, 3, 2)

    async def test_only_this_realm_and_tag_are_counted(self, store: SessionStore, survey: SurveyedStore) -> None:
        await start(store)
        for elsewhere in ({"tag": "checkout-session"}, {"realm": "shop:dev"}, {"realm": "shop"}, {"tag": "user"}):
            await start(store, **elsewhere)
        counted = await count(survey)
        assert (counted.held, counted.live, counted.people) == (1, 1, 1)
        assert [(one.subject, one.live) for one in await all_people(survey)] == [(ANN, 1)]

    async def test_what_is_over_by_its_time_is_held_and_not_live(
        self, store: SessionStore, survey: SurveyedStore
    ) -> None:
        await start(store, ends_at=int(NOW))
        await start(store, subject=BOB, idle_ttl=600, last_seen_at=NOW - 600 - TOUCH_EVERY)
        alive = await start(store, idle_ttl=600, last_seen_at=NOW - 600)
        counted = await count(survey)
        assert (counted.held, counted.live, counted.people) == (3, 1, 1)
        assert [one.session_id for one in await all_people(survey)] == [alive.session_id]
        assert (await count(survey, now=ENDS_AT - 0.5)).live == 0
        assert await all_people(survey, now=float(ENDS_AT)) == []

    async def test_what_was_ended_or_purged_is_not_held(self, store: SessionStore, survey: SurveyedStore) -> None:
        first = await start(store)
        await start_limited(store, 1)
        second = await start(store, subject=BOB)
        await store.revoke(REALM, TAG, second.session_id, now=NOW)
        assert first.session_id not in [one.session_id for one in await all_people(survey)]
        assert (await count(survey)).held == 1
        await store.revoke_all(REALM, TAG, ANN, spare=None, now=NOW)
        await start(store, ends_at=int(NOW) - 10)
        assert (await count(survey)).held == 1
        await store.purge(before=NOW, limit=10)
        assert await count(survey) == Census(0, 0, 0)

    async def test_days_are_whole_days_in_utc_from_since_on(self, store: SessionStore, survey: SurveyedStore) -> None:
        for subject, created_at in (
            (ANN, _MIDNIGHT),
            (ANN, _MIDNIGHT + 0.25),
            (BOB, _MIDNIGHT + DAY - 0.25),
            (ANN, _MIDNIGHT - 0.25),
            (ANN, _MIDNIGHT + DAY),
            (BOB, _MIDNIGHT - 2 * DAY),
            (BOB, _MIDNIGHT - 2 * DAY - 0.25),
        ):
            await start(store, subject=subject, created_at=created_at)
        counted = await count(survey, since=_MIDNIGHT - 2 * DAY)
        assert counted.held == 7
        assert [(day.day - TODAY, day.sessions, day.people) for day in counted.days] == [
            (-2, 1, 1),
            (-1, 1, 1),
            (0, 3, 2),
            (1, 1, 1),
        ]

    async def test_days_count_what_is_over_by_its_time(self, store: SessionStore, survey: SurveyedStore) -> None:
        await start(store, ends_at=int(NOW) - 10)
        (day,) = (await count(survey)).days
        assert (day.day, day.sessions, day.people) == (TODAY, 1, 1)

    async def test_a_person_is_described_by_their_live_sessions(
        self, store: SessionStore, survey: SurveyedStore
    ) -> None:
        await start(store, created_at=NOW - 900, last_seen_at=NOW + 900, ends_at=int(NOW))
        early = await start(store, created_at=NOW - 500, last_seen_at=NOW - 500)
        late = await start(store, created_at=NOW - 100, last_seen_at=NOW - 100)
        await store.touch({early.session_id: NOW - 7})
        (ann,) = await all_people(survey)
        assert (ann.subject, ann.live, ann.first_created_at, ann.last_seen_at) == (ANN, 2, NOW - 500, NOW - 7)
        assert (ann.session_id, ann.identity) in {(one.session_id, one.identity) for one in (early, late)}

    async def test_the_pages_together_are_all_people_once(self, store: SessionStore, survey: SurveyedStore) -> None:
        expected = await _crowd(store, 23)
        for limit in (1, 4, 23, 100):
            seen = await all_people(survey, limit=limit)
            assert Counter({one.subject: one.live for one in seen}) == expected
            assert len(seen) == len(expected)

    async def test_a_last_page_of_people_that_is_full_has_no_cursor(
        self, store: SessionStore, survey: SurveyedStore
    ) -> None:
        await _crowd(store, 4)
        first = await survey.people(REALM, TAG, limit=2, cursor=None, now=NOW)
        assert first.next_cursor is not None
        second = await survey.people(REALM, TAG, limit=2, cursor=first.next_cursor, now=NOW)
        assert (len(second.people), second.next_cursor) == (2, None)

    async def test_nothing_that_happens_moves_anybody_who_stays(
        self, store: SessionStore, survey: SurveyedStore
    ) -> None:
        subjects = [f"person-{number}" for number in range(8)]
        sessions = {subject: await start(store, subject=subject) for subject in subjects}
        page = await survey.people(REALM, TAG, limit=4, cursor=None, now=NOW)
        shown = [one.subject for one in page.people]
        gone = shown[-1]
        for subject in subjects:
            if subject == gone:
                await store.revoke_all(REALM, TAG, subject, spare=None, now=NOW)
            else:
                await start(store, subject=subject, created_at=NOW + 5)
                await store.touch({sessions[subject].session_id: NOW + 9})
                await refresh(store, sessions[subject].session_id, 0)
        rest = await all_people(survey, cursor=page.next_cursor)
        assert sorted([*shown, *(one.subject for one in rest)]) == sorted(subjects)

    async def test_the_parts_of_a_census_add_up_to_a_recount(self, store: SessionStore, survey: SurveyedStore) -> None:
        records = [
            await start(
                store,
                subject=f"person-{number % 17}",
                created_at=NOW - number * 20_000,
                ends_at=int(NOW) + (60 if number % 3 else -60),
            )
            for number in range(60)
        ]
        since = _MIDNIGHT - 7 * DAY
        counted = await count(survey, since=since)
        assert (counted.held, counted.live, counted.people) == recount(records)
        assert {day.day: (day.sessions, day.people) for day in counted.days} == recount_days(records, since)

    async def test_a_made_up_place_is_invalid_data(self, store: SessionStore, survey: SurveyedStore) -> None:
        await start(store)
        for junk in _JUNK:
            with pytest.raises(InvalidData):
                await survey.people(REALM, TAG, limit=3, cursor=junk, now=NOW)
            with pytest.raises(InvalidData):
                await survey.census(REALM, TAG, since=0.0, cursor=junk, now=NOW)

    async def test_a_damaged_place_is_invalid_data(self, store: SessionStore, survey: SurveyedStore) -> None:
        await _crowd(store, 3)
        cursor = (await survey.people(REALM, TAG, limit=1, cursor=None, now=NOW)).next_cursor
        assert cursor is not None
        for damaged in (cursor[:-1], cursor + "A", cursor + "=", " " + cursor, cursor[::-1], cursor.swapcase()):
            with pytest.raises(InvalidData):
                await survey.people(REALM, TAG, limit=1, cursor=damaged, now=NOW)

    async def test_a_place_leads_nowhere_in_another_list(self, store: SessionStore, survey: SurveyedStore) -> None:
        await _crowd(store, 3)
        cursor = (await survey.people(REALM, TAG, limit=1, cursor=None, now=NOW)).next_cursor
        for realm, tag in ((REALM, "checkout-session"), ("shop:dev", TAG)):
            with pytest.raises(InvalidData):
                await survey.people(realm, tag, limit=1, cursor=cursor, now=NOW)
        with pytest.raises(InvalidData):
            await survey.census(REALM, TAG, since=0.0, cursor=cursor, now=NOW)


async def count(survey: SurveyedStore, *, since: float = 0.0, now: float = NOW) -> Census:
    """All parts of a census, added up."""
    held, live, people, cursor = 0, 0, 0, None
    days: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    while True:
        part = await survey.census(REALM, TAG, since=since, cursor=cursor, now=now)
        held, live, people = held + part.held, live + part.live, people + part.people
        assert [day.day for day in part.days] == sorted({day.day for day in part.days})
        for day in part.days:
            days[day.day][0] += day.sessions
            days[day.day][1] += day.people
        cursor = part.next_cursor
        if cursor is None:
            return Census(held, live, people, tuple(DayCensus(number, *days[number]) for number in sorted(days)))


async def all_people(
    survey: SurveyedStore, *, limit: int = 3, cursor: str | None = None, now: float = NOW
) -> list[Person]:
    found: list[Person] = []
    while True:
        page = await survey.people(REALM, TAG, limit=limit, cursor=cursor, now=now)
        assert len(page.people) <= limit
        found += page.people
        cursor = page.next_cursor
        if cursor is None:
            return found


def recount(records: list[SessionRecord]) -> tuple[int, int, int]:
    """What are held, what are live, and how many people that is: one by one."""
    live = [record for record in records if record.live(NOW)]
    return len(records), len(live), len({record.subject for record in live})


def recount_days(records: list[SessionRecord], since: float) -> dict[int, tuple[int, int]]:
    by_day: defaultdict[int, list[str]] = defaultdict(list)
    for record in records:
        if record.created_at >= since:
            by_day[int(record.created_at // DAY)].append(record.subject)
    return {day: (len(subjects), len(set(subjects))) for day, subjects in by_day.items()}


async def _crowd(store: SessionStore, size: int) -> Counter[str]:
    """So many people, each with one to three sessions."""
    expected = Counter({f"person-{number}": 1 + number % 3 for number in range(size)})
    for subject in expected.elements():
        await start(store, subject=subject)
    return expected
