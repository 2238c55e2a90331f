"""Listing Active Sessions."""

from __future__ import annotations

import pytest

from ductape_asgi import Sessions

from .browser import Clock

pytestmark = pytest.mark.anyio


async def test_the_list_counts_the_active_sessions_and_says_when_each_began_and_ends(
    sessions: Sessions, clock: Clock
) -> None:
    first = await sessions.start(tag="user-session", data={"userId": "user-123"})
    await clock.advance(60)
    second = await sessions.start(tag="user-session", data={"userId": "user-123"})

    result = await sessions.list(tag="user-session", identifier="user-123")

    assert result.count == 2
    assert [session.session_id for session in result.sessions] == [second.session_id, first.session_id]
    assert [clock.seconds_until(session.created_at) for session in result.sessions] == [0, -60]
    assert [session.expires_at for session in result.sessions] == [
        second.session_expires_at,
        first.session_expires_at,
    ]


async def test_ended_sessions_and_those_of_others_are_not_listed(sessions: Sessions) -> None:
    ended = await sessions.start(tag="user-session", data={"userId": "user-123"})
    await sessions.start(tag="user-session", data={"userId": "user-456"})
    await sessions.start(tag="checkout-session", data={"userId": "user-123"})
    await sessions.revoke(tag="user-session", session_id=ended.session_id)

    result = await sessions.list(tag="user-session", identifier="user-123")

    assert result.count == 0
    assert list(result.sessions) == []
