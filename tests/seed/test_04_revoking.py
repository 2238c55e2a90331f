"""Revoking Sessions."""

from __future__ import annotations

import pytest

from ductape_asgi import IssuedSession, RevokedSession, Sessions

from .browser import Browser

pytestmark = pytest.mark.anyio


async def sign_in(sessions: Sessions, user: str = "user-123") -> IssuedSession:
    return await sessions.start(tag="user-session", data={"userId": user})


async def is_live(sessions: Sessions, session: IssuedSession) -> bool:
    try:
        await sessions.verify(tag="user-session", token=session.token)
    except RevokedSession:
        return False
    return True


async def test_revoke_current_session_is_a_logout(sessions: Sessions, browser: Browser) -> None:
    session = await sign_in(sessions)
    browser.keep(session.token, session.refresh_token)

    verified = await sessions.verify(tag="user-session", token=browser.token)
    ended = await sessions.revoke(tag="user-session", session_id=verified.session_id)
    browser.forget()

    assert ended is True
    assert not await is_live(sessions, session)


async def test_revoking_twice_says_that_it_was_not_live(sessions: Sessions) -> None:
    session = await sign_in(sessions)
    await sessions.revoke(tag="user-session", session_id=session.session_id)

    assert await sessions.revoke(tag="user-session", session_id=session.session_id) is False


async def test_revoke_all_sessions_logs_the_user_out_from_all_devices(sessions: Sessions) -> None:
    devices = [await sign_in(sessions) for _ in range(3)]
    somebody_else = await sign_in(sessions, "user-456")

    ended = await sessions.revoke_all(tag="user-session", identifier="user-123")

    assert ended == 3
    assert [await is_live(sessions, device) for device in devices] == [False, False, False]
    assert await is_live(sessions, somebody_else)


async def test_revoke_all_except_current_keeps_this_device_only(sessions: Sessions) -> None:
    phone, laptop, tablet = [await sign_in(sessions) for _ in range(3)]
    current = await sessions.verify(tag="user-session", token=laptop.token)

    ended = await sessions.revoke_all(
        tag="user-session",
        identifier=current.data["userId"],
        exclude_current_session=current.session_id,
    )

    assert ended == 2
    assert [await is_live(sessions, device) for device in (phone, laptop, tablet)] == [False, True, False]
