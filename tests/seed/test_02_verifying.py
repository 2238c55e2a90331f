"""Verifying Sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ductape_asgi import ExpiredToken, SessionError, Sessions

from .browser import Browser, Clock

pytestmark = pytest.mark.anyio

USER = {"userId": "user-123", "email": "user@example.com", "role": "user"}


async def test_verify_token_answers_the_decrypted_data(sessions: Sessions, browser: Browser) -> None:
    session = await sessions.start(tag="user-session", data=USER)
    browser.keep(session.token, session.refresh_token)

    result = await sessions.verify(tag="user-session", token=browser.token)

    assert result.data == USER
    assert result.data["userId"] == "user-123"
    assert result.data["email"] == "user@example.com"
    assert result.data["role"] == "user"
    assert result.session_id == session.session_id


async def test_verify_raises_when_the_session_has_expired(sessions: Sessions, clock: Clock) -> None:
    session = await sessions.start(tag="user-session", data=USER)
    await clock.advance(900 + 6)  # past the leeway of 5 s

    with pytest.raises(ExpiredToken):
        await sessions.verify(tag="user-session", token=session.token)


async def test_verify_raises_when_the_session_is_invalid(sessions: Sessions) -> None:
    with pytest.raises(SessionError):
        await sessions.verify(tag="user-session", token="not.a.token")


async def initialize_auth(sessions: Sessions, browser: Browser) -> Mapping[str, Any] | None:
    """Auto-verify on App Load: what the app is loaded with, or None and the login page."""
    if not browser.token:
        browser.page = "/login"
        return None
    try:
        result = await sessions.verify(tag="user-session", token=browser.token)
    except SessionError:
        browser.forget()
        browser.page = "/login"
        return None
    data: Mapping[str, Any] = result.data
    return data


async def test_on_load_an_app_without_a_token_shows_the_login(sessions: Sessions, browser: Browser) -> None:
    assert await initialize_auth(sessions, browser) is None
    assert browser.page == "/login"


async def test_on_load_an_app_with_a_good_token_gets_its_data(sessions: Sessions, browser: Browser) -> None:
    session = await sessions.start(tag="user-session", data=USER)
    browser.keep(session.token, session.refresh_token)

    assert await initialize_auth(sessions, browser) == USER
    assert browser.page == "/"


async def test_on_load_an_app_with_a_dead_token_clears_it_and_shows_the_login(
    sessions: Sessions, browser: Browser
) -> None:
    session = await sessions.start(tag="user-session", data=USER)
    browser.keep(session.token, session.refresh_token)
    await sessions.revoke(tag="user-session", session_id=session.session_id)

    assert await initialize_auth(sessions, browser) is None
    assert browser.storage == {}
    assert browser.page == "/login"
