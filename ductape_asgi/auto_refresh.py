"""`auto_refresh`: a request whose access cookie has ended is served all the same, and its answer brings new cookies.

Cookies have no compare-and-set, so an answer that comes late would put old ones over newer ones.  Not setting them
costs nothing: a client that never saw the child of its refresh token gets the same child again (contract: P3).
So whenever it is in doubt, and always when the app has spoken of these cookies itself, they are left alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .cookies import expired_cookies, is_for_caches, read_cookie
from .csrf import check_same_site, is_unsafe
from .errors import (
    CsrfRejected,
    DuctapeError,
    ExpiredToken,
    InvalidToken,
    MissingToken,
    RefreshReused,
    RevokedSession,
)
from .models import Session
from .policy import CookiePolicy, TagPolicy
from .problems import OPTIONS_KEY, Message, RawHeaders, Scope, Send
from .refreshing import Presented, Refreshed
from .sessions import Sessions

#: How long after the decision its cookies may be set without a second look, in seconds.
SOON: Final = 0.25
#: What another installation of the middleware has refreshed for this request: (sessions, refresh token, outcome).
_REFRESHED_KEY: Final = "ductape.refreshed"
_OVER: Final = (RevokedSession, RefreshReused, ExpiredToken)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request without a good access cookie, and how to send its answer."""

    session: Session[Any] | None
    error: DuctapeError | None
    #: Puts the cookies on a response that starts; None where there is nothing to say of them.
    sending: Callable[[Send], Send] | None = None


#: Most requests without a credential: nothing is made for them.
NOBODY: Final = Outcome(None, None)


class AutoRefresh:
    """Decides for one middleware which requests are refreshed, and does it."""

    def __init__(
        self,
        sessions: Sessions,
        cookies: CookiePolicy,
        policies: Mapping[str, TagPolicy],
        allowed_origins: Collection[str],
    ) -> None:
        self._sessions = sessions
        self._cookies = cookies
        self._refresh_name = cookies.refresh_name
        self._raw_name = self._refresh_name.encode()
        self._policies = policies
        self._allowed_origins = allowed_origins

    def concerns(self, scope: Scope) -> bool:
        """Whether this is a request that may bring the refresh cookie: a quick look, for the many who bring none."""
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == b"cookie" and self._raw_name in value:
                    return True
        return False

    async def attempt(
        self,
        scope: Scope,
        expired: str | None,
        error: DuctapeError | None,
        csrf_tokens: tuple[str, ...],
        options: object,
    ) -> Outcome:
        """Serve a request by its refresh cookie, if it has one and comes from us or is a top-level navigation.

        `expired` is the token of its access cookie, if it has one, and `error` why that was refused.

        Raises:
            CsrfRejected: it may change something and lacks the CSRF token that the cookie policy asks for.
        """
        if not may_renew(expired is not None, error):
            return Outcome(None, error)
        try:
            token = read_cookie(scope["headers"], self._refresh_name)
            if not token or not (is_navigation(scope) or self._is_ours(scope)):
                return Outcome(None, error)
            refreshed = await self._refreshed(scope, token, expired, csrf_tokens, options)
        except CsrfRejected:
            raise
        except DuctapeError as refused:
            # What runs in the background may be answered after a sign-in that it did not wait for.
            over = isinstance(refused, _OVER) and is_navigation(scope)
            return Outcome(None, refused, self._clearing() if over else None)
        return Outcome(refreshed.session, None, self._setting(refreshed))

    def _is_ours(self, scope: Scope) -> bool:
        try:
            check_same_site(scope, self._allowed_origins)
        except CsrfRejected:
            return False
        return True

    async def _refreshed(
        self, scope: Scope, token: str, expired: str | None, csrf_tokens: tuple[str, ...], options: object
    ) -> Refreshed:
        sessions = self._sessions
        context = sessions.context()
        presented = sessions.refresher.read(context, self._policies, token)
        if expired and context.access_tokens.read(expired).session_id != presented.claims.session_id:
            raise InvalidToken("the access cookie and the refresh cookie are of two sessions")
        if self._cookies.csrf_token and is_unsafe(scope):
            context.csrf_tokens.check(presented.claims.session_id, csrf_tokens)
        before = _refreshed_before(scope, sessions, presented)
        if before is not None:
            return before
        # The client is read from the scope as the options say, which are laid on it once it is decided.
        client = {**scope, OPTIONS_KEY: options}
        refreshed = await sessions.refresher.refresh(context, presented, client)
        scope[_REFRESHED_KEY] = sessions, token, refreshed
        return refreshed

    def _setting(self, refreshed: Refreshed) -> Callable[[Send], Send]:
        async def headers() -> RawHeaders:
            refresher = self._sessions.refresher
            soon = self._soon(refreshed.at) and not refresher.known_to_have_ended(refreshed)
            good = soon or await refresher.is_newest(refreshed)
            return refreshed.issued.cookie_headers() if good else []

        return lambda send: _Answer(send, headers, self._cookies.names)

    def _clearing(self) -> Callable[[Send], Send]:
        """At once or not at all, lest somebody who signs in anew in another tab meanwhile loses those cookies."""
        decided_at = self._sessions.worker.clock()

        async def headers() -> RawHeaders:
            gone = expired_cookies(self._cookies) if self._soon(decided_at) else []
            return [(b"set-cookie", cookie.encode()) for cookie in gone]

        return lambda send: _Answer(send, headers, self._cookies.names)

    def _soon(self, at: float) -> bool:
        # A clock that was set back tells nothing.
        return 0 <= self._sessions.worker.clock() - at < SOON


def may_renew(by_cookie: bool, error: DuctapeError | None) -> bool:
    """Whether the credential that came, or its absence, leaves the refresh cookie a say."""
    return isinstance(error, ExpiredToken | MissingToken) if by_cookie else error is None


def is_navigation(scope: Scope) -> bool:
    """Whether somebody opens a page: a link in an e-mail, an address typed in, a form sent by GET."""
    return (
        scope["method"] in ("GET", "HEAD")
        and _values(scope, b"sec-fetch-mode") == [b"navigate"]
        and _values(scope, b"sec-fetch-dest") == [b"document"]
    )


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for field, value in scope["headers"] if field == name]


def _refreshed_before(scope: Scope, sessions: Sessions, presented: Presented) -> Refreshed | None:
    """What an outer middleware got for this very cookie: asked again, the store might see a reuse."""
    by, token, refreshed = scope.get(_REFRESHED_KEY, (None, None, None))
    return refreshed if by is sessions and token == presented.token else None


class _Answer:
    """A `send` that adds cookies to the response when it starts, unless the app has set or removed one of ours."""

    def __init__(self, send: Send, headers: Callable[[], Awaitable[RawHeaders]], names: tuple[str, ...]) -> None:
        self._send = send
        self._headers = headers
        self._ours = tuple(name.encode() + b"=" for name in names)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            given = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
            cookies = [] if any(map(self._is_ours, given)) else await self._headers()
            if cookies:
                kept = [header for header in given if not is_for_caches(header[0])]
                message = {**message, "headers": [*kept, *cookies, (b"cache-control", b"no-store")]}
        await self._send(message)

    def _is_ours(self, header: tuple[bytes, bytes]) -> bool:
        name, value = header
        return name.lower() == b"set-cookie" and value.lstrip(b" \t").startswith(self._ours)
