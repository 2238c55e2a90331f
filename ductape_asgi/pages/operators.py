"""The operators' page: how many sessions and users there are, who they are, and a way to end what should not be.

It needs no script.  Whoever `require` lets pass sees every identifier and may end every session of its tags.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route, Router

from ..access import ASGIApp, Guard, require_role
from ..audit import audit, hashed
from ..errors import (
    AccessDenied,
    ConfigurationError,
    DataTooLarge,
    DuctapeError,
    InvalidData,
    SessionError,
    StepUpRequired,
    StoreUnavailable,
)
from ..models import Session
from ..problems import Receive, Scope, Send, problem_response
from ..sessions import Sessions
from .assets import serve_asset
from .charts import chart_of
from .dashboard import check_link
from .forms import read_form
from .operator_strings import OPERATORS
from .rendering import SECURITY_HEADERS, Renderer
from .strings import EVERYWHERE, OWN_SESSIONS
from .words import joined

_DONE = ("ended", "gone", "all")
_HOME, _PERSON = "./", "user"

#: What a person is told, most special first.
_MESSAGES: tuple[tuple[type[DuctapeError], str], ...] = (
    (StepUpRequired, "ops.step_up"),
    (AccessDenied, "ops.denied"),
    (SessionError, "ops.signed_out"),
    (InvalidData, "ops.invalid"),
    (DataTooLarge, "ops.invalid"),
    (StoreUnavailable, "ops.unavailable"),
)

Step = Callable[["Visit"], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class OperatorsOptions:
    """How the page looks; see `operators_page`."""

    tags: tuple[str, ...]
    page_size: int
    login_url: str | None
    home_url: str | None
    app_name: str | None


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who may: the operator's own session, and the tag that is looked at."""

    request: Request
    session: Session[Any]
    tags: tuple[str, ...]
    tag: str

    @property
    def identifier(self) -> str:
        return self.request.query_params.get("identifier", "")

    def link(self, page: str, **query: str | None) -> str:
        """A relative link, which works under any prefix, with what of the query is not None."""
        chosen = {"tag": self.tag if len(self.tags) > 1 else None, **query}
        given = urlencode({name: value for name, value in chosen.items() if value is not None})
        return f"{page}?{given}" if given else page


def operators_page(
    sessions: Sessions,
    require: Guard = require_role("admin"),  # noqa: B008  frozen
    *,
    tag: str | Sequence[str] | None = None,
    page_size: int = 50,
    language: str | None = None,
    app_name: str | None = None,
    login_url: str | None = None,
    home_url: str | None = None,
) -> ASGIApp:
    """An ASGI app for operators, to be mounted inside `DuctapeMiddleware`: ``Mount("/ops", app=operators_page(...))``.

    Who asks for HTML is told of a refusal in HTML; everybody else by the middleware, as of all errors.

    Args:
        sessions: those that are shown, in their own realm.
        require: who may, e.g. ``require_role("admin")``.  Without a session 401, without the role 403.
        tag: the session types to show, one or several; else those of `sessions`, or the operator's own.
        page_size: users on a page, 1 to 1000.
        language: ``"en"`` or ``"de"``; None leaves it to the reader's browser.
        app_name: what stands at the top of the page.
        login_url: where operators sign in, a path or an ``https`` URL; linked to where somebody has to.
        home_url: where the way back into the application leads, like `login_url`; without it there is none.

    Raises:
        ConfigurationError: an argument cannot work, or jinja2 is missing.
    """
    if not isinstance(sessions, Sessions):
        raise ConfigurationError(f"operators_page takes a Sessions object, not {type(sessions).__name__}")
    if not isinstance(require, Guard):
        raise ConfigurationError(
            f"require={require!r}: the page shows everybody's sessions, so it needs a guard, "
            'e.g. require=require_role("admin")'
        )
    sessions.context()  # A publishable key sees nobody: better said now.
    if type(page_size) is not int or not 1 <= page_size <= 1000:
        raise ConfigurationError(f"page_size={page_size!r}: give 1 to 1000")
    check_link(login_url, "login_url")
    check_link(home_url, "home_url")
    names = (tag,) if isinstance(tag, str) else sessions.tags if tag is None else tuple(tag)
    shown = tuple(sessions.policy(name).tag for name in names)
    options = OperatorsOptions(shown, page_size, login_url, home_url, app_name)
    return OperatorsPage(sessions, require, options, Renderer(joined(EVERYWHERE, OWN_SESSIONS, OPERATORS), language))


def _folder_missed(scope: Scope) -> str | None:
    """Where to go from the address without its last slash: links are relative, so the page stands in a folder."""
    path, root = scope["path"], scope.get("root_path", "")
    if path not in (root, f"{root}/"):
        return None
    # Litestar hides from a mounted app whether there was a slash.
    sent = scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1") or quote(path)
    return None if sent.endswith("/") else f"{sent.rpartition('/')[2]}/"


class OperatorsPage:
    """The app that `operators_page` makes."""

    def __init__(self, sessions: Sessions, require: Guard, options: OperatorsOptions, renderer: Renderer) -> None:
        self._sessions = sessions
        self._require = require
        self._options = options
        self._renderer = renderer
        self._router = Router(
            [
                Route("/", self._guarded(self._overview)),
                Route("/user", self._guarded(self._person)),
                Route("/user", self._guarded(self._end), methods=["POST"]),
                Route("/static/{name}", _asset),
            ],
            redirect_slashes=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: Any = self._router
        if scope["type"] == "http":
            folder = _folder_missed(scope)
            if folder is not None:
                app = RedirectResponse(folder, 307, headers=SECURITY_HEADERS)
            elif scope["path"] != scope.get("root_path", "") + "/":
                # Litestar writes a slash behind whatever it mounts.
                scope = {**scope, "path": scope["path"].removesuffix("/")}
        await app(scope, receive, send)

    def _guarded(self, step: Step) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                session = self._require.enforce(request.scope)
                return await step(self._visit(request, session))
            except DuctapeError as error:
                return self._refusal(request, error)

        return answer

    def _visit(self, request: Request, session: Session[Any]) -> Visit:
        tags = self._options.tags or (session.tag,)
        tag = request.query_params.get("tag", session.tag if session.tag in tags else tags[0])
        if tag not in tags:
            raise InvalidData("the page shows no sessions of this tag")
        return Visit(request, session, tags, tag)

    def _refusal(self, request: Request, error: DuctapeError) -> Response:
        """A page for people; what programs get, and what only a developer can mend, is for the middleware to tell."""
        key = next((key for kind, key in _MESSAGES if isinstance(error, kind)), None)
        if key is None or "text/html" not in request.headers.get("accept", ""):
            raise error
        status, headers, _ = problem_response(error)
        told = [(name, value) for name, value in headers if name in (b"www-authenticate", b"retry-after")]
        now = self._sessions.worker.clock()
        return self._renderer.page(
            request,
            "operators/message.html",
            now=now,
            status=status,
            headers=told,
            key=key,
            home=_HOME,
            options=self._options,
        )

    # What is shown.

    async def _overview(self, visit: Visit) -> Response:
        cursor = visit.request.query_params.get("cursor")
        users = await self._sessions.users(tag=visit.tag, limit=self._options.page_size, cursor=cursor)
        # Turning the pages of the list, nobody looks at the figures, which cost most.
        stats = await self._sessions.stats(tag=visit.tag) if cursor is None else None
        charts = []
        if stats is not None:
            charts = [
                ("started", chart_of([(day.day, day.started) for day in stats.days])),
                ("starters", chart_of([(day.day, day.users) for day in stats.days])),
            ]
        return self._page(visit, "operators/overview.html", users=users, stats=stats, charts=charts, cursor=cursor)

    async def _person(self, visit: Visit) -> Response:
        if not visit.identifier:
            return self._see_other(visit.link(_HOME))
        person = await self._sessions.user(tag=visit.tag, identifier=visit.identifier)
        done = visit.request.query_params.get("done")
        return self._page(visit, "operators/person.html", person=person, done=done if done in _DONE else None)

    def _page(self, visit: Visit, template: str, **values: Any) -> Response:
        words = self._renderer.words(visit.request)
        return self._renderer.page(
            visit.request,
            template,
            now=self._sessions.worker.clock(),
            visit=visit,
            session=visit.session,
            home=visit.link(_HOME),
            person_page=_PERSON,
            options=self._options,
            realm=self._sessions.realm,
            number=lambda value, digits=0: _number(value, digits, words.language),
            csrf=self._form_token(visit.session),
            **values,
        )

    def _form_token(self, session: Session[Any]) -> str | None:
        """What the middleware around wants to see in each form, if it does."""
        cookies = self._sessions.cookies
        return self._sessions.csrf_token(session) if cookies is not None and cookies.csrf_token else None

    # What is done.

    async def _end(self, visit: Visit) -> Response:
        if not visit.identifier:
            raise InvalidData("the form does not say whose sessions it is about")
        form = await read_form(visit.request)
        if form.get("action") == "end" and form.get("session_id"):
            done = await self._end_one(visit, form["session_id"])
        elif form.get("action") == "end_all":
            done = await self._end_all(visit)
        else:
            raise InvalidData("the form has no action that this page knows")
        return self._see_other(visit.link(_PERSON, identifier=visit.identifier, done=done))

    async def _end_one(self, visit: Visit, session_id: str) -> str:
        if not await self._sessions.revoke(tag=visit.tag, session_id=session_id):
            return "gone"
        self._audit("operator.revoked", visit, session_id)
        return "ended"

    async def _end_all(self, visit: Visit) -> str:
        ended = await self._sessions.revoke_all(tag=visit.tag, identifier=visit.identifier)
        self._audit("operator.revoked_all", visit, None, f"ended={ended} ")
        return "all"

    def _audit(self, event: str, visit: Visit, session_id: str | None, what: str = "") -> None:
        context = self._sessions.context()
        by = f"{what}by={hashed(context.log_key, visit.session.session_id)}"
        audit(event, context.log_key, context.audience, visit.tag, session_id, by)

    @staticmethod
    def _see_other(link: str) -> Response:
        return RedirectResponse(link, 303, headers=SECURITY_HEADERS)


async def _asset(request: Request) -> Response:
    return await serve_asset(request, request.path_params["name"])


def _number(value: float, digits: int, language: str) -> str:
    text = f"{value:,.{digits}f}"
    return text.translate(str.maketrans(",.", ".,")) if language == "de" else text
