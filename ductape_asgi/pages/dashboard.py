"""The page where people see where they are signed in, and sign out of it.

It needs no script: each button is a form, answered by a redirect back to the list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..access import ERROR_KEY, require_recent_auth
from ..csrf import check_same_site
from ..errors import (
    ConfigurationError,
    CsrfRejected,
    DuctapeError,
    InvalidData,
    MissingToken,
    SessionError,
    StepUpRequired,
    StoreUnavailable,
)
from ..models import Session
from ..policy import Duration
from ..policy import seconds as checked_seconds
from ..problems import problem_response
from ..sessions import Sessions
from .devices import devices_of, find_own
from .forms import read_form
from .rendering import SECURITY_HEADERS, Renderer
from .strings import EVERYWHERE, OWN_SESSIONS
from .words import joined

#: Where the page is, seen from itself: it has to work under any prefix.
_HERE = "dashboard"
_DONE = ("revoked", "others")


class NotInList(InvalidData):
    """A session was to be ended that is not one of the person's own, or not any more."""

    code = "invalid_data"
    status = 404


#: What a person is told, most special first, and what of `DashboardOptions` helps them on.
_MESSAGES: tuple[tuple[type[DuctapeError], str], ...] = (
    (NotInList, "own.gone"),
    (StepUpRequired, "own.step_up"),
    (CsrfRejected, "own.refused"),
    (InvalidData, "own.invalid"),
    (SessionError, "own.signed_out"),
    (StoreUnavailable, "own.unavailable"),
)


@dataclass(frozen=True, slots=True)
class DashboardOptions:
    """How the page looks and what it asks for.

    Args:
        login_url: where people sign in, a path or an ``https`` URL; without it the page has no link there.
        recent_auth: how old a sign-in may be that ends other sessions, in seconds or as ``"15m"``; None: any.
        language: ``"en"`` or ``"de"``; None leaves it to the reader's browser.
        app_name: what stands at the top of the page.
        page_size: sessions on a page, 1 to 1000.

    Raises:
        ConfigurationError: one of them cannot work.
    """

    login_url: str | None = None
    recent_auth: Duration | None = None
    language: str | None = None
    app_name: str | None = None
    page_size: int = 20

    def __post_init__(self) -> None:
        if self.login_url is not None:
            check_link(self.login_url, "login_url")
        if self.recent_auth is not None:
            checked_seconds(self.recent_auth, "recent_auth")
        if type(self.page_size) is not int or not 1 <= self.page_size <= 1000:
            raise ConfigurationError(f"page_size={self.page_size!r}: give 1 to 1000")


def check_link(link: object, name: str) -> None:
    """See that a link of a page leads to a web page, and does not run as a script.

    Raises:
        ConfigurationError: it is neither a path from the root nor an http URL.
    """
    if not isinstance(link, str) or not link.startswith(("/", "https://", "http://")):
        raise ConfigurationError(f'{name}={link!r}: give a path such as "/login", or a URL with https://')


class Dashboard:
    """Answers the page's requests; whose session a request has is for the caller to say.

    Args:
        allowed_origins: those whose pages may send its forms, besides our own.

    Raises:
        ConfigurationError: jinja2 is not installed, cookies are switched off, or there is no such language.
    """

    def __init__(self, sessions: Sessions, options: DashboardOptions, *, allowed_origins: Collection[str] = ()) -> None:
        if sessions.cookies is None:
            raise ConfigurationError(
                "the dashboard needs cookies, since a browser sends no bearer token with a page: "
                "build Sessions with cookies=CookiePolicy()"
            )
        self._sessions = sessions
        self._options = options
        self._allowed_origins = allowed_origins
        self._renderer = Renderer(joined(EVERYWHERE, OWN_SESSIONS), options.language)
        self._recent = None if options.recent_auth is None else require_recent_auth(options.recent_auth)

    async def show(self, request: Request, session: Session[Any] | None) -> Response:
        """``GET``: the list, or a page that says why there is none."""
        return await self._answered(request, session, self._list)

    async def act(self, request: Request, session: Session[Any] | None) -> Response:
        """``POST``: end a session, all others or this one, as the form's ``action`` says; then 303 to the list."""
        return await self._answered(request, session, self._do)

    async def refuse(self, request: Request, error: DuctapeError) -> Response:
        """A page that tells a person of `error`, with the status and the challenge that programs look for.

        Raises:
            DuctapeError: it is none that a person could have caused.
        """
        key = next((key for kind, key in _MESSAGES if isinstance(error, kind)), None)
        if key is None:
            raise error
        status, headers, _ = problem_response(error)
        told = [(name, value) for name, value in headers if name in (b"www-authenticate", b"retry-after")]
        return self._page(request, "message.html", key=key, status=status, headers=told)

    async def _answered(
        self,
        request: Request,
        session: Session[Any] | None,
        step: Callable[[Request, Session[Any]], Awaitable[Response]],
    ) -> Response:
        try:
            if session is None:
                raise _absence(request)
            return await step(request, session)
        except DuctapeError as error:
            return await self.refuse(request, error)

    async def _list(self, request: Request, session: Session[Any]) -> Response:
        cursor = request.query_params.get("cursor")
        size = self._options.page_size
        devices = await devices_of(self._sessions, session, limit=size, cursor=cursor)
        done = request.query_params.get("done")
        return self._page(
            request,
            "dashboard.html",
            session=session,
            devices=devices,
            cursor=cursor,
            page_size=size,
            done=done if done in _DONE else None,
            too_old=self._too_old(session),
        )

    async def _do(self, request: Request, session: Session[Any]) -> Response:
        check_same_site(request.scope, self._allowed_origins)
        form = await read_form(request)
        action = form.get("action")
        session_id = form.get("session_id", "")
        if action == "sign_out" or (action == "revoke" and session_id == session.session_id):
            return await self._sign_out(session)
        if action == "revoke":
            return await self._revoke(session, session_id)
        if action == "revoke_others":
            return await self._revoke_others(session)
        raise InvalidData("the form has no action that this page knows")

    async def _sign_out(self, session: Session[Any]) -> Response:
        await self._sessions.revoke(tag=session.tag, session_id=session.session_id)
        response = _back()
        self._sessions.clear_cookies(response)
        return response

    async def _revoke(self, session: Session[Any], session_id: str) -> Response:
        self._demand_recent(session)
        if await find_own(self._sessions, session, session_id) is None:
            raise NotInList("no live session of this id belongs to this person")
        await self._sessions.revoke(tag=session.tag, session_id=session_id)
        return _back(done="revoked")

    async def _revoke_others(self, session: Session[Any]) -> Response:
        self._demand_recent(session)
        if session.identifier is not None:
            await self._sessions.revoke_all(
                tag=session.tag, identifier=session.identifier, exclude_current_session=session.session_id
            )
        return _back(done="others")

    def _demand_recent(self, session: Session[Any]) -> None:
        if self._recent is not None:
            self._recent.check(session, now=self._sessions.worker.clock())

    def _too_old(self, session: Session[Any]) -> bool:
        try:
            self._demand_recent(session)
        except StepUpRequired:
            return True
        return False

    def _page(self, request: Request, template: str, **values: Any) -> Response:
        now = self._sessions.worker.clock()
        return self._renderer.page(request, template, now=now, here=_HERE, options=self._options, csrf=None, **values)


def _absence(request: Request) -> DuctapeError:
    error = request.scope.get(ERROR_KEY)
    return error.with_traceback(None) if isinstance(error, DuctapeError) else MissingToken("nobody is signed in")


def _back(done: str | None = None) -> Response:
    return RedirectResponse(_HERE + (f"?done={quote(done)}" if done else ""), 303, headers=SECURITY_HEADERS)
