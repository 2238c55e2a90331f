"""`session_routes`: the endpoints as one ASGI app, for any framework to mount."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..clients import proxy_networks
from ..csrf import checked_origins
from ..errors import ConfigurationError, DuctapeError
from ..lifespan import run_lifespan
from ..pages.dashboard import DashboardOptions
from ..policy import Duration, seconds
from ..problems import Message, Receive, Scope, Send, answer, report
from ..sessions import Sessions
from . import files, listing, signing
from .answers import problem_answer
from .options import Authenticate, Mode, ReadIdentifier, RouteOptions
from .page import Page
from .refusals import MethodNotAllowed, NotFound
from .throttle import LoginThrottle, Throttle

Handle = Callable[[Request, RouteOptions], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path; a segment in braces is any one segment, and a path parameter of the request."""

    method: str
    path: str
    handle: Handle

    def match(self, segments: Sequence[str]) -> dict[str, str] | None:
        """The path parameters, or None where it is another path."""
        own = self.path.split("/")
        if len(own) != len(segments):
            return None
        pairs = list(zip(own, segments, strict=True))
        if any(text != name and not (name.startswith("{") and text) for name, text in pairs):
            return None
        return {name[1:-1]: text for name, text in pairs if name.startswith("{")}


LOGIN = Endpoint("POST", "/login", signing.login)
#: What there always is.
ENDPOINTS = (
    Endpoint("POST", "/refresh", signing.refresh),
    Endpoint("POST", "/logout", signing.logout),
    Endpoint("GET", "/session", signing.session),
    Endpoint("GET", "/sessions", listing.sessions),
    Endpoint("POST", "/sessions/revoke-others", listing.revoke_others),
    Endpoint("DELETE", "/sessions/{session_id}", listing.end_session),
    Endpoint("POST", "/ticket", signing.ticket),
    Endpoint("GET", "/jwks.json", files.jwks),
    Endpoint("GET", "/client.js", files.client_script),
    Endpoint("GET", "/client.d.ts", files.client_types),
)


class SessionRoutes:
    """The ASGI app that `session_routes` makes."""

    def __init__(self, options: RouteOptions, endpoints: Iterable[Endpoint]) -> None:
        self.options = options
        self._endpoints = tuple(endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await run_lifespan(_none, self.options.sessions, scope, receive, send)
        elif scope["type"] == "websocket":
            await answer(NotFound("there is no WebSocket here"), scope, receive, send)
        else:
            with suppress(ClientDisconnect):
                response = await self._answer(scope, receive)
                await response(scope, receive, _bodiless(send) if scope["method"] == "HEAD" else send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        try:
            endpoint, parameters = self._find(scope)
            # A copy: whoever routed the request to us has path parameters of their own.
            request = Request({**scope, "path_params": parameters}, receive)
            return await endpoint.handle(request, self.options)
        except DuctapeError as error:
            report(error)
            return problem_answer(error)

    def _find(self, scope: Scope) -> tuple[Endpoint, dict[str, str]]:
        """The endpoint of a request, and its path parameters.

        Raises:
            NotFound, MethodNotAllowed: there is none.
        """
        segments = _path(scope, self.options.prefix).split("/")
        found = [(one, match) for one in self._endpoints if (match := one.match(segments)) is not None]
        if not found:
            raise NotFound("there is no such endpoint")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        for one, parameters in found:
            if one.method == method:
                return one, parameters
        methods = {one.method for one, _ in found}
        raise MethodNotAllowed(methods | {"HEAD"} if "GET" in methods else methods)


def _path(scope: Scope, prefix: str) -> str:
    """The path below where we are mounted, whether that is told as ``root_path`` or as ``prefix=``."""
    path: str = scope["path"]
    for above in (scope.get("root_path", "").rstrip("/"), prefix):
        if above and path.startswith(above + "/"):
            path = path[len(above) :]
    # Litestar writes a slash behind whatever it mounts.
    return path.removesuffix("/")


def _bodiless(send: Send) -> Send:
    """RFC 9110 section 9.3.2: the headers of a GET, and no content."""

    async def without(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return without


async def _none(scope: Scope, receive: Receive, send: Send) -> None:
    """No app: the lifespan is ours alone."""


def session_routes(
    sessions: Sessions,
    tag: str | None = None,
    authenticate: Authenticate | None = None,
    mode: Mode = "cookie",
    *,
    login_identifier: ReadIdentifier | None = None,
    throttle: LoginThrottle | Literal["default"] | None = "default",
    recent_auth: Duration | None = None,
    allowed_origins: Sequence[str] | None = None,
    trusted_proxies: Sequence[str] | None = None,
    prefix: str = "",
    max_body: int = 65_536,
    login_url: str | None = None,
    home_url: str | None = None,
    language: str | None = None,
    app_name: str | None = None,
) -> SessionRoutes:
    """The endpoints for signing in and out and for looking after sessions, as one ASGI app to mount anywhere.

    Args:
        sessions: the `Sessions`.
        tag: the session type; may be left out when `sessions` has exactly one.
        authenticate: who signs in, ``async (request) -> (identifier, data) | None``; the pair as `Sessions.start`
            takes it, None for wrong credentials.  Without it there is no ``/login``.
        mode: ``"cookie"``: tokens are in cookies, never in a body.  ``"bearer"``: the other way round.
        login_identifier: who is claimed to sign in, ``async (request) -> str | None``, for the throttle to count by.
        throttle: what decides whether a sign-in may be tried: ``Throttle()`` if nothing is said; None: nothing does.
        recent_auth: how old a sign-in may be that ends other sessions, in seconds or as ``"15m"``; None: any.
        allowed_origins: other origins whose pages may use the cookies; None: those of the middleware around, if any.
        trusted_proxies: whose ``X-Forwarded-For`` is believed; None: those of the middleware around, if any.
        prefix: the path this is served under, where no framework tells it as ``root_path``: ``"/auth"``.
        max_body: how much of a sign-in is read, in bytes.
        login_url: where the dashboard sends people to sign in, a path or an ``https`` URL; None: it has no such link.
        home_url: where the dashboard's way back into the application leads, like `login_url`; None: there is none.
        language: the dashboard's, ``"en"`` or ``"de"``; None leaves it to the reader's browser.
        app_name: what stands at the top of the dashboard.

    Raises:
        ConfigurationError: any of these is not usable.
    """
    if not isinstance(sessions, Sessions):
        raise ConfigurationError(f"session_routes takes a Sessions object first, not {type(sessions).__name__}")
    sessions.context()  # A publishable key can do none of this: better said now than at the first request.
    options = RouteOptions(
        sessions=sessions,
        tag=_tag(sessions, tag),
        mode=mode,
        authenticate=authenticate,
        login_identifier=login_identifier,
        throttle=Throttle() if throttle == "default" else throttle,
        recent_auth=None if recent_auth is None else seconds(recent_auth, "recent_auth"),
        allowed_origins=None if allowed_origins is None else checked_origins(allowed_origins),
        trusted_proxies=None if trusted_proxies is None else proxy_networks(trusted_proxies),
        prefix=prefix,
        max_body=max_body,
    )
    look = DashboardOptions(
        login_url=login_url, home_url=home_url, recent_auth=recent_auth, language=language, app_name=app_name
    )
    page = Page(options, look, wanted=any(one is not None for one in (login_url, home_url, language, app_name)))
    endpoints = (*ENDPOINTS, *_page_endpoints(page))
    return SessionRoutes(options, endpoints if authenticate is None else (LOGIN, *endpoints))


def _page_endpoints(page: Page) -> tuple[Endpoint, ...]:
    return (
        Endpoint("GET", "/dashboard", page.show),
        Endpoint("POST", "/dashboard", page.act),
        Endpoint("GET", "/static/{name}", page.asset),
    )


def _tag(sessions: Sessions, tag: str | None) -> str:
    if tag is None:
        if len(sessions.tags) != 1:
            raise ConfigurationError('name the session type: session_routes(sessions, tag="user-session")')
        return sessions.tags[0]
    return sessions.policy(tag).tag
