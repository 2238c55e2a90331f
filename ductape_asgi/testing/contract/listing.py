# ruff: noqa: S101 - tests assert
"""Tests of `list`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ...errors import InvalidData
from ...models import TOUCH_EVERY
from ...stores.base import SessionStore
from .records import ANN, BOB, ENDS_AT, NOW, REALM, TAG, ids_of, page_of, read, start


class ListingContract:
    """`list`."""

    async def test_sessions_are_listed_newest_first_within_one_tick(self, store: SessionStore) -> None:
        started = [(await start(store)).session_id for _ in range(20)]
        assert await ids_of(store) == started[::-1]

    async def test_the_order_is_that_of_starting_whatever_the_clocks_said(self, store: SessionStore) -> None:
        started = [(await start(store, created_at=NOW - step)).session_id for step in range(5)]
        assert await ids_of(store) == started[::-1]

    async def test_a_session_is_listed_as_it_stands(self, store: SessionStore) -> None:
        record = await start(store)
        await store.touch({record.session_id: NOW + 7})
        page = await page_of(store)
        assert page.records == (replace(record, last_seen_at=NOW + 7),)

    async def test_a_person_without_sessions_has_an_empty_page(self, store: SessionStore) -> None:
        page = await page_of(store, "nobody")
        assert (page.count, page.records, page.next_cursor) == (0, (), None)

    async def test_listing_shows_one_person_one_tag_one_realm(self, store: SessionStore) -> None:
        mine = await start(store)
        for elsewhere in ({"subject": BOB}, {"tag": "checkout-session"}, {"realm": "shop:dev"}):
            await start(store, **elsewhere)
        assert await ids_of(store) == [mine.session_id]
        assert (await page_of(store)).count == 1

    async def test_sessions_whose_time_is_over_are_neither_listed_nor_counted(self, store: SessionStore) -> None:
        await start(store, ends_at=int(NOW))
        await start(store, idle_ttl=600, last_seen_at=NOW - 600 - TOUCH_EVERY)
        alive = await start(store)
        page = await page_of(store)
        assert (page.count, [record.session_id for record in page.records]) == (1, [alive.session_id])

    async def test_a_session_is_listed_until_just_before_its_end(self, store: SessionStore) -> None:
        record = await start(store)
        assert await ids_of(store, now=ENDS_AT - 0.5) == [record.session_id]
        assert await ids_of(store, now=float(ENDS_AT)) == []

    async def test_the_pages_together_are_the_list(self, store: SessionStore) -> None:
        started = [(await start(store)).session_id for _ in range(7)]
        seen, sizes, cursor = [], [], None
        while True:
            page = await page_of(store, limit=3, cursor=cursor)
            assert page.count == 7
            sizes.append(len(page.records))
            seen += [record.session_id for record in page.records]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert sizes == [3, 3, 1]
        assert seen == started[::-1]

    async def test_a_last_page_that_is_full_has_no_cursor(self, store: SessionStore) -> None:
        for _ in range(4):
            await start(store)
        first = await page_of(store, limit=2)
        second = await page_of(store, limit=2, cursor=first.next_cursor)
        assert first.next_cursor is not None
        assert (len(second.records), second.next_cursor) == (2, None)

    async def test_a_list_goes_on_although_the_last_session_shown_was_ended(self, store: SessionStore) -> None:
        started = [(await start(store)).session_id for _ in range(4)]
        page = await page_of(store, limit=2)
        await store.revoke(REALM, TAG, page.records[-1].session_id, now=NOW)
        rest = await page_of(store, limit=2, cursor=page.next_cursor)
        assert [record.session_id for record in rest.records] == started[1::-1]
        assert rest.count == 3

    async def test_sessions_started_meanwhile_do_not_show_up_on_later_pages(self, store: SessionStore) -> None:
        started = [(await start(store)).session_id for _ in range(4)]
        page = await page_of(store, limit=2)
        await start(store)
        rest = await page_of(store, limit=5, cursor=page.next_cursor)
        assert [record.session_id for record in rest.records] == started[1::-1]

    @pytest.mark.parametrize("junk", ["", "x", "0", "-1", "AAAAAAAAAAA", "A" * 22, "é", "\ud800", "\0", "9" * 5000])
    async def test_a_made_up_cursor_is_invalid_data(self, store: SessionStore, junk: str) -> None:
        await start(store)
        with pytest.raises(InvalidData):
            await page_of(store, cursor=junk)

    async def test_a_damaged_cursor_is_invalid_data(self, store: SessionStore) -> None:
        for _ in range(3):
            await start(store)
        cursor = (await page_of(store, limit=1)).next_cursor
        assert cursor is not None
        for damaged in (cursor[:-1], cursor + "A", cursor + "=", " " + cursor, cursor[::-1], cursor.swapcase()):
            with pytest.raises(InvalidData):
                await page_of(store, cursor=damaged)

    async def test_a_cursor_never_shows_another_persons_sessions(self, store: SessionStore) -> None:
        for _ in range(3):
            await start(store)
        theirs = await start(store, subject=BOB)
        cursor = (await page_of(store, ANN, limit=1)).next_cursor
        try:
            shown = await ids_of(store, BOB, cursor=cursor)
        except InvalidData:
            shown = []
        assert set(shown) <= {theirs.session_id}
        assert await read(store, theirs.session_id) == theirs
