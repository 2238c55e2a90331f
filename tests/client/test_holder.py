"""What is to be done before the next request, decided without sending anything."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from ductape_asgi.client import SessionTokens
from ductape_asgi.client.holder import Follow, Holder, Lead
from tests.sessions.support import Clock

LATER = datetime(2030, 1, 1, tzinfo=UTC)
OLD = SessionTokens("t1", "r1", "s1", datetime(2020, 1, 1, tzinfo=UTC), LATER)


def test_a_refresh_that_lands_late_leaves_the_one_under_way_alone() -> None:
    holder = Holder(OLD, Clock())
    late = holder.plan(blocking=False)
    assert isinstance(late, Lead)
    holder.put(replace(OLD, token="t2", refresh_token="r2"))
    current = holder.plan(blocking=False)
    assert isinstance(current, Lead)
    holder.land(late.flight)
    assert holder.plan(blocking=False) == Follow(current.flight)
    holder.land(current.flight)
    assert isinstance(holder.plan(blocking=False), Lead)


def test_of_two_refreshes_of_one_token_the_first_answer_stands() -> None:
    holder = Holder(OLD, Clock())
    first, second = holder.plan(blocking=True), holder.plan(blocking=True)
    assert isinstance(first, Lead)
    assert isinstance(second, Lead)
    found = SessionTokens("t2", "r2", "s1", LATER, LATER)
    holder.succeed(first.flight, found)
    holder.succeed(second.flight, replace(found, token="t3"))
    assert holder.tokens == found
    assert not holder.end(second.flight)
    assert holder.plan(blocking=True) == "t2"
