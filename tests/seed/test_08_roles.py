"""Role-Based Access Control: the product page's own guard class, and the guards that come with the library."""

from __future__ import annotations

import pytest

from ductape_asgi import (
    AccessDenied,
    Session,
    SessionError,
    Sessions,
    require_any_role,
    require_permission,
    require_role,
    require_session,
)

from .auth_service import AuthService, InsufficientPermissions, NotAuthenticated, PermissionGuard, User
from .browser import Browser

pytestmark = pytest.mark.anyio

ACCOUNTS = {
    ("user@example.com", "password123"): User("user-123", "user@example.com", "user", "Ann"),
    ("admin@example.com", "password456"): User("admin-456", "admin@example.com", "admin", "Bob"),
}


@pytest.fixture
def auth(sessions: Sessions, browser: Browser) -> AuthService:
    return AuthService(sessions, browser, ACCOUNTS)


async def test_the_guard_class_sends_strangers_to_the_login(auth: AuthService, browser: Browser) -> None:
    with pytest.raises(NotAuthenticated):
        PermissionGuard(auth).require_role("admin")
    assert browser.page == "/login"


async def test_the_guard_class_lets_an_admin_delete_users(auth: AuthService) -> None:
    await auth.login("admin@example.com", "password456")

    PermissionGuard(auth).require_role("admin")
    PermissionGuard(auth).require_any_role(["support", "admin"])

    assert auth.browser.page == "/"


async def test_the_guard_class_keeps_a_user_from_the_admin_page(auth: AuthService, browser: Browser) -> None:
    await auth.login("user@example.com", "password123")

    with pytest.raises(InsufficientPermissions):
        PermissionGuard(auth).require_role("admin")
    assert browser.page == "/forbidden"


async def verified(auth: AuthService, email: str, password: str) -> Session:
    await auth.login(email, password)
    return await auth.sessions.verify(tag="user-session", token=auth.browser.token)


async def test_our_guards_let_an_admin_pass(auth: AuthService) -> None:
    admin = await verified(auth, "admin@example.com", "password456")

    require_session.check(admin)
    require_role("admin").check(admin)
    require_any_role("support", "admin").check(admin)

    assert admin.roles == {"admin"}


async def test_our_guards_deny_a_user_what_is_for_admins(auth: AuthService) -> None:
    user = await verified(auth, "user@example.com", "password123")

    require_session.check(user)
    for guard in (require_role("admin"), require_any_role("support", "admin"), require_permission("delete")):
        with pytest.raises(AccessDenied):
            guard.check(user)


@pytest.mark.parametrize(
    "guard", [require_session, require_role("admin"), require_any_role("admin"), require_permission("read")]
)
async def test_our_guards_ask_strangers_to_sign_in(guard: object) -> None:
    with pytest.raises(SessionError):
        guard.check(None)  # type: ignore[attr-defined]


async def test_permissions_in_the_data_are_what_the_permission_guard_reads(sessions: Sessions) -> None:
    issued = await sessions.start(
        tag="admin-session", data={"userId": "admin-456", "permissions": ["read", "write", "delete"]}
    )
    admin = await sessions.verify(tag="admin-session", token=issued.token)

    require_permission("read", "delete").check(admin)
    with pytest.raises(AccessDenied):
        require_permission("read", "publish").check(admin)
