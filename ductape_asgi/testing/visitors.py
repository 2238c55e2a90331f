"""Somebody who signs in and out, at a test client."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import anyio

from ..errors import ConfigurationError
from ..models import IssuedSession
from ..sessions import Sessions
from .people import only_tag, start_options


class _Visit:
    def __init__(self, client: Any, sessions: Sessions, *, tag: str | None = None, cookies: bool = False) -> None:
        self.client = client
        self.sessions = sessions
        self.tag = only_tag(sessions, tag)
        self._cookies = cookies
        self._issued: IssuedSession | None = None
        self._headers: dict[str, str | None] = {}
        if cookies:
            self._check_base_url()

    @property
    def issued(self) -> IssuedSession:
        """The tokens of the last `login`.

        Raises:
            ConfigurationError: nobody is signed in.
        """
        if self._issued is None:
            raise ConfigurationError("nobody is signed in: login() first")
        return self._issued

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'signed in' if self._issued else 'anonymous'} tag={self.tag!r}>"

    def _check_base_url(self) -> None:
        policy, url = self.sessions.cookies, self.client.base_url
        if policy is None:
            raise ConfigurationError("cookies=True, but these Sessions were built with cookies=None")
        if not url.host or (policy.secure and url.scheme != "https"):
            raise ConfigurationError(
                f'these cookies go to https only: build the client with base_url="https://testserver", not {str(url)!r}'
            )

    def _options(
        self, data: Any, role: str | None, permissions: Sequence[str], identifier: str | None, expires_in: Any
    ) -> dict[str, Any]:
        policy = self.sessions.policy(self.tag)
        options = start_options(policy, data=data, role=role, permissions=permissions, identifier=identifier)
        replaces = None if self._issued is None else self._issued.session_id
        return {**options, "expires_in": expires_in, "replaces": replaces}

    def _enter(self, issued: IssuedSession) -> IssuedSession:
        self._leave()
        self._issued = issued
        if self._cookies:
            # As from a browser: the CSRF rule asks for it.
            self._set_header("Sec-Fetch-Site", "same-origin")
            if self.sessions.cookies is not None and self.sessions.cookies.csrf_token:
                self._set_header("X-CSRF-Token", self.sessions.csrf_token(issued))
            self._take(issued.cookie_headers())
        else:
            self._set_header("Authorization", f"Bearer {issued.token}")
        return issued

    def _take(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Let the client's own jar judge the cookies, as if they had come with an answer."""
        library: Any = sys.modules[type(self.client.cookies).__module__.partition(".")[0]]
        request = self.client.build_request("GET", "/")
        self.client.cookies.extract_cookies(library.Response(200, headers=headers, request=request))

    def _leave(self) -> None:
        self._issued = None
        for name, value in self._headers.items():
            self.client.headers.pop(name, None)
            if value is not None:
                self.client.headers[name] = value
        self._headers = {}
        if self._cookies and self.sessions.cookies is not None:
            for name in self.sessions.cookies.names:
                self.client.cookies.delete(name)

    def _set_header(self, name: str, value: str) -> None:
        self._headers[name] = self.client.headers.get(name)
        self.client.headers[name] = value


class Visitor(_Visit):
    """Signs in and out at a sync client: httpx2's, httpx's or Starlette's `TestClient`.

    Args:
        client: what the test sends its requests with.
        sessions: those of the app.
        tag: the session type; may be left out where `sessions` has one or none.
        cookies: send the session as a browser does, in cookies and with ``Sec-Fetch-Site: same-origin``, and
            with the CSRF token where the cookie policy has one.

    Raises:
        ConfigurationError: the tag is missing, or the client's `base_url` is one to which these cookies do not go.
    """

    def login(
        self,
        *,
        role: str | None = None,
        permissions: Sequence[str] = (),
        data: Any = None,
        identifier: str | None = None,
        expires_in: Any = None,
    ) -> IssuedSession:
        """Start a session, and send it from now on; one from before is ended.

        `role` and `permissions` go into the data where the tag's policy looks for them.  Whose session it is: the
        identifier in the data, else `identifier`, else ``"test-user"``.

        Raises:
            InvalidData, DataTooLarge, StoreUnavailable: from `Sessions.start`.
        """
        options = self._options(data, role, permissions, identifier, expires_in)
        return self._enter(_here(self.sessions, "start", **options))

    def logout(self) -> bool:
        """End the session and send nothing any more.  Returns whether it was live."""
        session_id = self.issued.session_id
        self._leave()
        ended: bool = _here(self.sessions, "revoke", tag=self.tag, session_id=session_id)
        return ended


class AsyncVisitor(_Visit):
    """Signs in and out at an `AsyncClient` of httpx2 or httpx.  As `Visitor`, but `login` and `logout` are awaited."""

    async def login(
        self,
        *,
        role: str | None = None,
        permissions: Sequence[str] = (),
        data: Any = None,
        identifier: str | None = None,
        expires_in: Any = None,
    ) -> IssuedSession:
        """As `Visitor.login`."""
        options = self._options(data, role, permissions, identifier, expires_in)
        return self._enter(await self.sessions.start(**options))

    async def logout(self) -> bool:
        """As `Visitor.logout`."""
        session_id = self.issued.session_id
        self._leave()
        return await self.sessions.revoke(tag=self.tag, session_id=session_id)


def _here(sessions: Sessions, verb: str, **options: Any) -> Any:
    """Run a verb in the loop that has opened the sessions, if it runs in another thread, else in one of its own."""
    if _runs_elsewhere(sessions):
        return getattr(sessions.sync, verb)(**options)

    async def run() -> Any:
        return await getattr(sessions, verb)(**options)

    return anyio.run(run)


def _runs_elsewhere(sessions: Sessions) -> bool:
    token = sessions.worker.lifetime.token
    loop: Any = None if token is None else token.native_token
    if loop is None or hasattr(loop, "is_running"):
        return loop is not None and bool(loop.is_running())
    try:
        loop.run_sync_soon(lambda: None)
    except RuntimeError:  # trio's own error for a run that is over is one, too
        return False
    return True
