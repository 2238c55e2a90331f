"""The product page's `AuthService`, `PermissionGuard` and `SessionDashboard`, line by line in Python."""

from __future__ import annotations

from dataclasses import dataclass

from ductape_asgi import SessionError, SessionInfo, Sessions

from .browser import Browser

TAG = "user-session"


@dataclass(frozen=True)
class User:
    id: str
    email: str
    role: str
    name: str


class InvalidCredentials(Exception):
    pass


class AuthService:
    """Complete Authentication Example."""

    def __init__(self, sessions: Sessions, browser: Browser, accounts: dict[tuple[str, str], User]) -> None:
        self.sessions, self.browser, self.accounts = sessions, browser, accounts
        self.current_user: User | None = None

    async def login(self, email: str, password: str) -> User:
        user = self.verify_credentials(email, password)
        data = {"userId": user.id, "email": user.email, "role": user.role, "name": user.name, "accountType": "gold"}
        session = await self.sessions.start(tag=TAG, data=data, expires_in=86400)
        self.browser.keep(session.token, session.refresh_token)
        self.current_user = user
        return user

    async def logout(self) -> None:
        if self.browser.token:
            try:
                verified = await self.sessions.verify(tag=TAG, token=self.browser.token)
                await self.sessions.revoke(tag=TAG, session_id=verified.session_id)
            except SessionError:
                pass  # it has ended already
        self.browser.forget()
        self.current_user = None
        self.browser.page = "/login"

    async def check_auth(self) -> bool:
        if not self.browser.token:
            return False
        try:
            result = await self.sessions.verify(tag=TAG, token=self.browser.token)
        except SessionError:
            self.browser.forget()
            return False
        data = result.data
        self.current_user = User(data["userId"], data["email"], data["role"], data["name"])
        return True

    def is_authenticated(self) -> bool:
        return self.current_user is not None

    def has_role(self, role: str) -> bool:
        return self.current_user is not None and self.current_user.role == role

    def verify_credentials(self, email: str, password: str) -> User:
        try:
            return self.accounts[email, password]
        except KeyError:
            raise InvalidCredentials(email) from None


class NotAuthenticated(Exception):
    pass


class InsufficientPermissions(Exception):
    pass


class PermissionGuard:
    """Role-Based Access Control."""

    def __init__(self, auth: AuthService) -> None:
        self.auth = auth

    def require_auth(self) -> None:
        if not self.auth.is_authenticated():
            self.auth.browser.page = "/login"
            raise NotAuthenticated

    def require_role(self, role: str) -> None:
        self.require_any_role([role])

    def require_any_role(self, roles: list[str]) -> None:
        self.require_auth()
        if not any(self.auth.has_role(role) for role in roles):
            self.auth.browser.page = "/forbidden"
            raise InsufficientPermissions


class SessionDashboard:
    """Session Activity Dashboard; unlike the page's, it knows which session is the current one."""

    def __init__(self, sessions: Sessions, browser: Browser) -> None:
        self.sessions, self.browser = sessions, browser
        self.lines: list[str] = []

    async def load_sessions(self, identifier: str) -> None:
        result = await self.sessions.list(tag=TAG, identifier=identifier)
        current = await self.current_session_id()
        self.lines = [self.render(info, info.session_id == current) for info in result.sessions]

    async def current_session_id(self) -> str:
        verified = await self.sessions.verify(tag=TAG, token=self.browser.token)
        return verified.session_id

    async def revoke_session(self, session_id: str) -> None:
        await self.sessions.revoke(tag=TAG, session_id=session_id)
        verified = await self.sessions.verify(tag=TAG, token=self.browser.token)
        await self.load_sessions(verified.data["userId"])

    async def revoke_all_others(self, identifier: str) -> None:
        current = await self.current_session_id()
        await self.sessions.revoke_all(tag=TAG, identifier=identifier, exclude_current_session=current)
        await self.load_sessions(identifier)

    @staticmethod
    def render(info: SessionInfo, is_current: bool) -> str:
        title = "Current Session" if is_current else "Session"
        return f"{title} {info.session_id} created {info.created_at:%F} expires {info.expires_at:%F}"
