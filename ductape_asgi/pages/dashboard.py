"""The page where people see where they are signed in, and sign out of it.

It needs no script: each button is a form, answered by a redirect back to the list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..csrf import check_same_site
from ..errors import (
    ConfigurationError,
    CsrfRejected,
    DuctapeError,
    InvalidData,
    RevokedSession,
    SessionError,
    StepUpRequired,
    StoreUnavailable,
)
from ..policy import Duration
from ..policy import seconds as checked_seconds
from ..problems import problem_response
from ..sessions import Sessions
from .devices import Holder, devices_of, find_own
from .forms import Form, read_form
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


#: Answers whose request it is, or raises; called once it is known that the answer matters.
Ask = Callable[[], Awaitable[Holder]]
#: Answers the ids of the sessions whose tokens came, however they stand; called when somebody signs out.
Leaving = Callable[[], Awaitable[Collection[str]]]


class FormTokens(Protocol):
    """Tokens in forms, each made for one session."""

    def write(self, session_id: str) -> str:
        """A token for the forms of this session."""
        ...

    def check(self, session_id: str, given: tuple[str, ...]) -> None:
        """Raise `CsrfRejected` unless exactly one was given, which was made for this session."""
        ...


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
        home_url: where the way back into the application leads, like `login_url`; without it there is none.
        page_size: sessions on a page, 1 to 1000.

    Raises:
        ConfigurationError: one of them cannot work.
    """

    login_url: str | None = None
    recent_auth: Duration | None = None
    language: str | None = None
    app_name: str | None = None
    home_url: str | None = None
    page_size: int = 20

    def __post_init__(self) -> None:
        check_link(self.login_url, "login_url")
        check_link(self.home_url, "home_url")
        if self.recent_auth is not None:
            checked_seconds(self.recent_auth, "recent_auth")
        if type(self.page_size) is not int or not 1 <= self.page_size <= 1000:
            raise ConfigurationError(f"page_size={self.page_size!r}: give 1 to 1000")


def check_link(link: object, name: str) -> None:
    """See that a link of a page, if there is one, leads to a web page and does not run as a script.

    Raises:
        ConfigurationError: it is neither a path from the root nor an http URL.
    """
    if link is None:
        return
    if not isinstance(link, str) or link[:2] in ("//", "/\\") or not link.startswith(("/", "https://", "http://")):
        raise ConfigurationError(f'{name}={link!r}: give a path such as "/login", or a URL with https://')


class Dashboard:
    """Answers the page's requests; whose request it is, its caller knows.

    Args:
        tag: the session type that is listed.
        form_tokens: what forms carry besides, where the cookie policy wants it.

    Raises:
        ConfigurationError: jinja2 is not installed, cookies are switched off, or there is no such language.
    """

    def __init__(
        self, sessions: Sessions, tag: str, options: DashboardOptions, *, form_tokens: FormTokens | None = None
    ) -> None:
        if sessions.cookies is None:
            raise ConfigurationError(
                "the dashboard needs cookies, since a browser sends no bearer token with a page: "
                "build Sessions with cookies=CookiePolicy()"
            )
        self._sessions = sessions
        self._tag = tag
        self._options = options
        self._form_tokens = form_tokens
        self._renderer = Renderer(joined(EVERYWHERE, OWN_SESSIONS), options.language)
        self._most_age = None if options.recent_auth is None else checked_seconds(options.recent_auth, "recent_auth")

    async def show(self, request: Request, ask: Ask) -> Response:
        """``GET``: the list, or a page that says why there is none."""
        try:
            return await self._list(request, await ask())
        except DuctapeError as error:
            return self.refuse(request, error)

    async def act(
        self, request: Request, ask: Ask, leaving: Leaving, *, allowed_origins: Collection[str] = ()
    ) -> Response:
        """``POST``: end a session, all others or this one, as the form's ``action`` says; then 303 to the list."""
        try:
            check_same_site(request.scope, allowed_origins)
            form = await read_form(request)
            if form.get("action") == "sign_out":
                return await self._sign_out(form, await leaving())
            return await self._end(form, await ask())
        except DuctapeError as error:
            return self.refuse(request, error)

    def refuse(self, request: Request, error: DuctapeError) -> Response:
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

    async def _list(self, request: Request, holder: Holder) -> Response:
        cursor = request.query_params.get("cursor")
        size = self._options.page_size
        devices = await devices_of(self._sessions, self._tag, holder, limit=size, cursor=cursor)
        done = request.query_params.get("done")
        return self._page(
            request,
            "dashboard.html",
            holder=holder,
            devices=devices,
            cursor=cursor,
            page_size=size,
            csrf=None if self._form_tokens is None else self._form_tokens.write(holder.session_id),
            done=done if done in _DONE else None,
            too_old=self._too_old(holder),
        )

    async def _sign_out(self, form: Form, session_ids: Collection[str]) -> Response:
        # Whoever wants to be gone is gone from this browser, whether or not there is a session left to end.
        for session_id in session_ids:
            self._check_token(form, session_id)
            await self._sessions.revoke(tag=self._tag, session_id=session_id)
        response = _back()
        self._sessions.clear_cookies(response)
        return response

    async def _end(self, form: Form, holder: Holder) -> Response:
        self._check_token(form, holder.session_id)
        if self._too_old(holder):
            raise StepUpRequired(self._most_age or 0)
        if form.get("action") == "revoke":
            return await self._end_one(form.get("session_id", ""), holder)
        if form.get("action") == "revoke_others":
            return await self._end_others(holder)
        raise InvalidData("the form has no action that this page knows")

    async def _end_one(self, session_id: str, holder: Holder) -> Response:
        # The session at hand has a button of its own, which takes the cookies too.
        own = await find_own(self._sessions, self._tag, holder, session_id)
        if own is None or session_id == holder.session_id:
            raise NotInList("no other live session of this id belongs to this person")
        await self._sessions.revoke(tag=self._tag, session_id=session_id)
        return _back("revoked")

    async def _end_others(self, holder: Holder) -> Response:
        if holder.identifier is None:
            raise NotInList("a session of nobody has no others")
        try:
            await self._sessions.revoke_all(
                tag=self._tag, identifier=holder.identifier, exclude_current_session=holder.session_id
            )
        except InvalidData:
            raise RevokedSession("the session was ended meanwhile") from None
        return _back("others")

    def _check_token(self, form: Form, session_id: str) -> None:
        if self._form_tokens is not None:
            self._form_tokens.check(session_id, (form["csrf_token"],) if "csrf_token" in form else ())

    def _too_old(self, holder: Holder) -> bool:
        return self._most_age is not None and self._sessions.worker.clock() - holder.auth_time > self._most_age

    def _page(self, request: Request, template: str, **values: Any) -> Response:
        now = self._sessions.worker.clock()
        return self._renderer.page(request, template, now=now, here=_HERE, options=self._options, **values)


def _back(done: str | None = None) -> Response:
    return RedirectResponse(_HERE + (f"?done={done}" if done else ""), 303, headers=SECURITY_HEADERS)
