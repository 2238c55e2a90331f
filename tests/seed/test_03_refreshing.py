"""Refreshing Sessions."""

from __future__ import annotations

from typing import Any

import pytest

from ductape_asgi import SessionError, Sessions

from .browser import Browser, Clock

pytestmark = pytest.mark.anyio

USER = {"userId": "user-123", "email": "user@example.com", "role": "user"}
HOUR = 3600
FIVE_MINUTES = 300


async def test_manual_refresh_gives_a_new_pair_for_the_same_session(sessions: Sessions, browser: Browser) -> None:
    session = await sessions.start(tag="user-session", data=USER)
    browser.keep(session.token, session.refresh_token)

    refreshed = await sessions.refresh(tag="user-session", refresh_token=browser.refresh_token)
    browser.keep(refreshed.token, refreshed.refresh_token)

    assert refreshed.session_id == session.session_id
    assert refreshed.token != session.token
    assert refreshed.refresh_token != session.refresh_token
    verified = await sessions.verify(tag="user-session", token=browser.token)
    assert verified.data == USER


class SessionManager:
    """Auto-refresh with Interceptor: signs in, refreshes five minutes before each expiry, signs out."""

    tag = "user-session"

    def __init__(self, sessions: Sessions, browser: Browser, clock: Clock) -> None:
        self.sessions, self.browser, self.clock = sessions, browser, clock
        self.token: str | None = None
        self.refresh_token: str | None = None
        self.refreshes = 0

    async def login(self, user: dict[str, Any]) -> None:
        session = await self.sessions.start(tag=self.tag, data=user, expires_in=HOUR)
        self._keep(session.token, session.refresh_token)
        self.schedule_refresh(HOUR - FIVE_MINUTES)

    def _keep(self, token: str, refresh_token: str | None) -> None:
        self.token, self.refresh_token = token, refresh_token
        self.browser.keep(token, refresh_token)

    def schedule_refresh(self, delay: int) -> None:
        self.clock.timers.clear()
        self.clock.set_timeout(self.refresh_session, delay)

    async def refresh_session(self) -> None:
        assert self.refresh_token is not None
        try:
            refreshed = await self.sessions.refresh(tag=self.tag, refresh_token=self.refresh_token)
        except SessionError:
            await self.logout()
            return
        self.refreshes += 1
        self._keep(refreshed.token, refreshed.refresh_token)
        self.schedule_refresh(HOUR - FIVE_MINUTES)

    async def logout(self) -> None:
        self.clock.timers.clear()
        if self.token:
            try:
                verified = await self.sessions.verify(tag=self.tag, token=self.token)
                await self.sessions.revoke(tag=self.tag, session_id=verified.session_id)
            except SessionError:
                pass  # it has ended already
        self.token = self.refresh_token = None
        self.browser.forget()
        self.browser.page = "/login"


@pytest.fixture
def manager(sessions: Sessions, browser: Browser, clock: Clock) -> SessionManager:
    return SessionManager(sessions, browser, clock)


async def test_a_scheduled_refresh_keeps_a_session_going_past_its_first_expiry(
    manager: SessionManager, sessions: Sessions, browser: Browser, clock: Clock
) -> None:
    await manager.login(USER)
    first = browser.token

    await clock.advance(3 * HOUR)

    assert manager.refreshes == 3
    assert browser.token != first
    verified = await sessions.verify(tag="user-session", token=browser.token)
    assert verified.data == USER


async def test_each_refresh_keeps_the_duration_given_at_the_start(
    manager: SessionManager, sessions: Sessions, browser: Browser, clock: Clock
) -> None:
    await manager.login(USER)
    await clock.advance(HOUR - FIVE_MINUTES)

    verified = await sessions.verify(tag="user-session", token=browser.token)

    assert manager.refreshes == 1
    assert clock.seconds_until(verified.expires_at) == HOUR


async def test_a_refresh_that_fails_signs_the_user_out(
    manager: SessionManager, sessions: Sessions, browser: Browser, clock: Clock
) -> None:
    await manager.login(USER)
    await sessions.revoke_all(tag="user-session", identifier="user-123")

    await clock.advance(HOUR)

    assert manager.token is None
    assert browser.storage == {}
    assert browser.page == "/login"
    assert clock.timers == []


async def test_the_session_manager_signs_out_by_revoking_its_session(
    manager: SessionManager, sessions: Sessions, browser: Browser, clock: Clock
) -> None:
    await manager.login(USER)
    token, refresh_token = browser.token, browser.refresh_token

    await manager.logout()

    assert browser.page == "/login"
    with pytest.raises(SessionError):
        await sessions.verify(tag="user-session", token=token)
    with pytest.raises(SessionError):
        await sessions.refresh(tag="user-session", refresh_token=refresh_token)
