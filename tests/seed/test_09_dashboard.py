"""Session Activity Dashboard."""

from __future__ import annotations

import pytest

from ductape_asgi import RevokedSession, Sessions

from .auth_service import SessionDashboard
from .browser import Browser

pytestmark = pytest.mark.anyio


@pytest.fixture
async def devices(sessions: Sessions, browser: Browser) -> list[str]:
    """The ids of three sessions of one user; this browser holds the second."""
    started = [await sessions.start(tag="user-session", data={"userId": "user-123"}) for _ in range(3)]
    browser.keep(started[1].token, started[1].refresh_token)
    return [session.session_id for session in started]


@pytest.fixture
def dashboard(sessions: Sessions, browser: Browser) -> SessionDashboard:
    return SessionDashboard(sessions, browser)


async def test_the_dashboard_shows_all_sessions_newest_first_and_knows_the_current_one(
    dashboard: SessionDashboard, devices: list[str]
) -> None:
    await dashboard.load_sessions("user-123")

    titles = [line.split(" created ")[0] for line in dashboard.lines]
    assert titles == [f"Session {devices[2]}", f"Current Session {devices[1]}", f"Session {devices[0]}"]


async def test_revoking_one_session_leaves_the_others(dashboard: SessionDashboard, devices: list[str]) -> None:
    await dashboard.revoke_session(devices[0])

    assert len(dashboard.lines) == 2
    assert not any(devices[0] in line for line in dashboard.lines)


async def test_revoking_all_others_leaves_the_current_one(dashboard: SessionDashboard, devices: list[str]) -> None:
    await dashboard.revoke_all_others("user-123")

    assert len(dashboard.lines) == 1
    assert dashboard.lines[0].startswith(f"Current Session {devices[1]}")


async def test_revoking_the_current_session_signs_this_browser_out(
    dashboard: SessionDashboard, devices: list[str]
) -> None:
    with pytest.raises(RevokedSession):
        await dashboard.revoke_session(devices[1])
