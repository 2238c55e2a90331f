"""Complete Authentication Example."""

from __future__ import annotations

import pytest

from ductape_asgi import SessionError, Sessions

from .auth_service import AuthService, InvalidCredentials, User
from .browser import Browser, Clock

pytestmark = pytest.mark.anyio

ANN = User("user-123", "user@example.com", "user", "Ann")


@pytest.fixture
def auth(sessions: Sessions, browser: Browser) -> AuthService:
    return AuthService(sessions, browser, {("user@example.com", "password123"): ANN})


async def test_login_with_good_credentials_signs_the_user_in(auth: AuthService) -> None:
    user = await auth.login("user@example.com", "password123")

    assert user.name == "Ann"
    assert auth.is_authenticated()
    assert auth.has_role("user")
    assert not auth.has_role("admin")


async def test_login_with_a_wrong_password_starts_no_session(auth: AuthService, sessions: Sessions) -> None:
    with pytest.raises(InvalidCredentials):
        await auth.login("user@example.com", "guess")

    page = await sessions.list(tag="user-session", identifier="user-123")
    assert page.count == 0
    assert auth.browser.storage == {}


async def test_checking_on_page_load_restores_the_user_from_the_token(
    auth: AuthService, sessions: Sessions, browser: Browser
) -> None:
    await auth.login("user@example.com", "password123")
    after_reload = AuthService(sessions, browser, {})

    assert await after_reload.check_auth()
    assert after_reload.current_user == ANN


async def test_checking_without_a_token_says_no(auth: AuthService) -> None:
    assert not await auth.check_auth()
    assert not auth.is_authenticated()


async def test_checking_after_24_hours_clears_the_tokens(auth: AuthService, clock: Clock) -> None:
    await auth.login("user@example.com", "password123")
    await clock.advance(86400 + 6)

    assert not await auth.check_auth()
    assert auth.browser.storage == {}


async def test_logout_ends_the_session_everywhere(auth: AuthService, sessions: Sessions, browser: Browser) -> None:
    await auth.login("user@example.com", "password123")
    token, refresh_token = browser.token, browser.refresh_token

    await auth.logout()

    assert browser.page == "/login"
    assert not auth.is_authenticated()
    with pytest.raises(SessionError):
        await sessions.verify(tag="user-session", token=token)
    with pytest.raises(SessionError):
        await sessions.refresh(tag="user-session", refresh_token=refresh_token)
