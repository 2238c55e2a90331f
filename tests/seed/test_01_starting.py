"""Starting a Session."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ductape_asgi import IssuedSession, Sessions

from .browser import Browser, Clock

pytestmark = pytest.mark.anyio


async def test_basic_session_start_gives_a_token_and_a_refresh_token(sessions: Sessions, browser: Browser) -> None:
    session = await sessions.start(
        tag="user-session",
        data={"userId": "user-123", "email": "user@example.com", "role": "user"},
    )

    browser.keep(session.token, session.refresh_token)

    assert isinstance(session, IssuedSession)
    assert browser.token is not None
    assert browser.token.count(".") == 2
    assert browser.refresh_token.startswith("drt_")
    assert session.identifier == "user-123"
    assert session.tag == "user-session"


async def test_session_with_custom_duration_lasts_24_hours(sessions: Sessions, clock: Clock) -> None:
    session = await sessions.start(
        tag="admin-session",
        data={
            "userId": "admin-456",
            "email": "admin@example.com",
            "role": "admin",
            "permissions": ["read", "write", "delete"],
        },
        expires_in=86400,  # 24 hours in seconds
    )

    assert clock.seconds_until(session.expires_at) == 86400
    await clock.advance(86399)
    verified = await sessions.verify(tag="admin-session", token=session.token)
    assert verified.permissions == {"read", "write", "delete"}


@pytest.mark.parametrize("duration", [1800, timedelta(minutes=30), "30m"])
async def test_a_custom_duration_is_also_taken_as_a_timedelta_or_a_text(
    sessions: Sessions, clock: Clock, duration: int | timedelta | str
) -> None:
    session = await sessions.start(tag="user-session", data={"userId": "user-123"}, expires_in=duration)

    assert clock.seconds_until(session.expires_at) == 1800


async def test_different_session_types_have_their_own_tags_and_durations(sessions: Sessions, clock: Clock) -> None:
    checkout = await sessions.start(
        tag="checkout-session",
        data={"userId": "user-123", "cartId": "cart-789", "shippingAddress": "123 Main St"},
        expires_in=1800,  # 30 minutes
    )
    support = await sessions.start(
        tag="support-chat",
        data={"userId": "user-123", "ticketId": "ticket-456", "agent": "agent-789"},
    )

    assert clock.seconds_until(checkout.expires_at) == 1800
    assert clock.seconds_until(support.expires_at) == 900  # the default
    cart = await sessions.verify(tag="checkout-session", token=checkout.token)
    chat = await sessions.verify(tag="support-chat", token=support.token)
    assert cart.data["cartId"] == "cart-789"
    assert chat.data["ticketId"] == "ticket-456"
