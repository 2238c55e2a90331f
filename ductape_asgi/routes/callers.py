"""Who calls: the rules of `DuctapeMiddleware` for credentials, read again here, and refresh tokens besides.

In cookie mode a Bearer credential is taken too, and is then the only one that is looked at; in bearer mode no cookie
is looked at, ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from ..access import SESSION_KEY
from ..audit import audit
from ..cookies import read_cookie
from ..credentials import Bearer
from ..csrf import check_same_site
from ..errors import CsrfRejected, DuctapeError, ExpiredToken, InvalidToken, MissingToken, RevokedSession, SessionError
from ..models import Session
from ..policy import whole
from ..problems import OPTIONS_KEY
from ..stores.rules import decide_rotation
from .bodies import json_object, text_in
from .options import RouteOptions


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a request brought.  A Bearer credential leaves no cookie in it."""

    access: str | None = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    bearer: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is.  `auth_time` is Unix seconds."""

    session_id: str
    identifier: str | None
    auth_time: float


def check_origin(request: Request, options: RouteOptions) -> None:
    """See that a request which may change something comes from our own pages, where cookies are in play.

    Raises:
        CsrfRejected: it comes from elsewhere, or does not say.
    """
    if options.mode == "bearer":
        return
    try:
        check_same_site(request.scope, options.origins(request.scope))
    except CsrfRejected as rejected:
        note(options, "csrf.rejected", rejected)
        raise


def note(options: RouteOptions, event: str, error: DuctapeError) -> None:
    """Write a refusal to the audit log."""
    context = options.sessions.context()
    audit(event, context.log_key, context.audience, options.tag, reason=f"{error.code}: {error}")


def cookies_of(request: Request, options: RouteOptions) -> Tokens:
    """The tokens in cookies; in bearer mode none.

    Raises:
        InvalidToken: one of them stands there twice.
    """
    policy = options.sessions.cookies
    if options.mode == "bearer" or policy is None:
        return Tokens(None)
    headers = request.scope["headers"]
    return Tokens(read_cookie(headers, policy.access_name), read_cookie(headers, policy.refresh_name))


def reading(request: Request, options: RouteOptions) -> Tokens:
    """The tokens of a request that changes nothing.

    Raises:
        InvalidToken: one of them stands there twice, or a Bearer credential is malformed.
    """
    token = Bearer().token(request.scope)
    return Tokens(token, bearer=True) if token is not None else cookies_of(request, options)


def wants_csrf_tokens(options: RouteOptions) -> bool:
    """Whether whoever changes something by a cookie has to bring a token of the session besides."""
    policy = options.sessions.cookies
    return options.mode == "cookie" and policy is not None and policy.csrf_token


async def check_csrf_token(request: Request, options: RouteOptions, tokens: Tokens) -> None:
    """See that ``X-CSRF-Token`` is a token of each session that the cookies are of, where the policy wants one.

    Raises:
        CsrfRejected: it is not.
        SessionError: there are cookies, and none of them is genuine.
    """
    if wants_csrf_tokens(options) and not tokens.bearer:
        check_header(request, options, await named_sessions(options, tokens))


def check_header(request: Request, options: RouteOptions, session_ids: Iterable[str]) -> None:
    """As `check_csrf_token`, for sessions that are known."""
    given = tuple(request.headers.getlist("x-csrf-token"))
    try:
        for session_id in session_ids if wants_csrf_tokens(options) else ():
            options.sessions.context().csrf_tokens.check(session_id, given)
    except CsrfRejected as rejected:
        note(options, "csrf.rejected", rejected)
        raise


async def acting(request: Request, options: RouteOptions, *, by_form: bool = False) -> Tokens:
    """The tokens of a request that may change something; in bearer mode the body may hold a ``refreshToken``.

    A form (`by_form`) holds its CSRF token itself, and its reader looks at it.

    Raises:
        CsrfRejected: a cookie would authenticate it, and it comes from elsewhere or lacks its CSRF token.
        SessionError: as for `reading`, or as for `check_csrf_token`.
    """
    tokens = reading(request, options)
    if options.mode == "bearer":
        return Tokens(tokens.access, text_in(await json_object(request), "refreshToken"), bearer=True)
    if not tokens.bearer:
        check_origin(request, options)
        if not by_form:
            await check_csrf_token(request, options, tokens)
    return tokens


async def session_of(request: Request, options: RouteOptions, tokens: Tokens) -> Session[Any]:
    """The session of the access token.

    Raises:
        SessionError: there is none.
        StoreUnavailable: it cannot be told now.
    """
    try:
        return await options.sessions.verify(tag=options.tag, token=tokens.access)
    except (MissingToken, ExpiredToken):
        found = None if tokens.bearer else _laid_down(request, options)
        if found is None:
            raise
        return found


def _laid_down(request: Request, options: RouteOptions) -> Session[Any] | None:
    """What a middleware around us found where we find nothing: it may have refreshed, or look in other places.

    Only in cookie mode, where whatever it looked at, the request passed the rule on origins here too.
    """
    session = request.scope.get(SESSION_KEY)
    around = getattr(request.scope.get(OPTIONS_KEY), "sessions", None)
    if options.mode == "bearer" or around is not options.sessions or not isinstance(session, Session):
        return None
    return session if session.tag == options.tag and session.realm == options.sessions.realm else None


async def caller_of(request: Request, options: RouteOptions, *, by_form: bool = False) -> Caller:
    """Who changes something: by the access token, or by the refresh token where that is absent or has expired.

    The store is asked: somebody who was signed out ends nobody's sessions any more.

    Raises:
        SessionError: nobody.
        CsrfRejected: as for `acting`.
        StoreUnavailable: it cannot be told now.
    """
    tokens = await acting(request, options, by_form=by_form)
    return await _either(options, tokens, options.sessions.verify(tag=options.tag, token=tokens.access, fresh=True))


async def viewer_of(request: Request, options: RouteOptions) -> Caller:
    """Who looks at a page: as `caller_of`, from wherever the link to it was.

    Raises:
        SessionError: nobody.
        StoreUnavailable: it cannot be told now.
    """
    tokens = reading(request, options)
    return await _either(options, tokens, session_of(request, options, tokens))


async def _either(options: RouteOptions, tokens: Tokens, by_access: Awaitable[Session[Any]]) -> Caller:
    """Whose tokens these are: the access token tells, or where it has ended or is absent, the refresh token.

    Raises:
        SessionError: nobody's, or not those of one session.
        StoreUnavailable: it cannot be told now.
    """
    try:
        session = await by_access
    except (MissingToken, ExpiredToken):
        if tokens.refresh is None:
            raise
        if len(await named_sessions(options, tokens)) > 1:
            raise InvalidToken("the two cookies belong to different sessions") from None
        return await _holder(options, tokens.refresh)
    return Caller(session.session_id, session.identifier, session.auth_time.timestamp())


async def _holder(options: RouteOptions, token: str) -> Caller:
    """Whose refresh token it is, if `Sessions.refresh` would take it.  It is not used up.

    Raises:
        SessionError: as `Sessions.refresh`; an old one ends the session here too.
        StoreUnavailable: it cannot be told now.
    """
    context, policy, worker = options.sessions.context(), options.policy, options.sessions.worker
    claims = context.refresh_tokens.read(policy.tag, token)
    if not policy.refresh:
        raise InvalidToken(f"sessions of tag {policy.tag} are not refreshed")
    await worker.ready()
    noted, now = worker.feed.endings.count, worker.clock()
    # Generation -1 belongs to nobody, so that no sign of life is recorded.
    record = await worker.guarded.verify(claims.session_id, generation=-1)
    if record is None or (record.realm, record.tag) != (context.audience, policy.tag):
        raise RevokedSession("the session has been ended")
    await worker.check_not_ended(record, noted)
    grace = whole(policy.reuse_grace)
    if decide_rotation(record, generation=claims.generation, grace=grace, now=now) in ("reused", "expired"):
        await options.sessions.refresh(tag=options.tag, refresh_token=token)
        raise RevokedSession("the session has been ended")
    return Caller(record.session_id, context.identifier_of(record), record.auth_time)


async def named_sessions(options: RouteOptions, tokens: Tokens) -> list[str]:
    """Ids of the sessions that the tokens belong to, whether or not those are over.  Costs no store call.

    Raises:
        SessionError: there are tokens, and none of them is genuine.
    """
    found: list[str] = []
    refused: SessionError | None = None
    context = options.sessions.context()
    try:
        if tokens.access is not None:
            claims = await options.sessions.inspect(token=tokens.access)
            if claims.tag != options.tag:
                raise InvalidToken("the token is for another tag")
            found.append(claims.session_id)
    except SessionError as error:
        refused = error
    try:
        if tokens.refresh is not None:
            found.append(context.refresh_tokens.read(options.tag, tokens.refresh).session_id)
    except SessionError as error:
        refused = error
    if refused is not None and not found:
        raise refused
    return list(dict.fromkeys(found))


def brings_cookies(request: Request, options: RouteOptions) -> bool:
    """Whether a cookie of our names is there, good or bad."""
    try:
        tokens = cookies_of(request, options)
    except InvalidToken:
        return True
    return tokens.access is not None or tokens.refresh is not None


async def leaving(request: Request, options: RouteOptions) -> list[str]:
    """Ids of the sessions that somebody who signs out has cookies of: each genuine one counts, whatever else came."""
    policy = options.sessions.cookies
    found: list[str] = []
    if options.mode == "bearer" or policy is None:
        return found
    for kind, name in (("access", policy.access_name), ("refresh", policy.refresh_name)):
        with suppress(SessionError):
            value = read_cookie(request.scope["headers"], name)
            found += await named_sessions(options, Tokens(value) if kind == "access" else Tokens(None, value))
    return list(dict.fromkeys(found))


async def left_behind(request: Request, options: RouteOptions) -> list[str]:
    """Ids of the sessions that a sign-in from here follows."""
    with suppress(SessionError):
        tokens = reading(request, options) if options.mode == "bearer" else cookies_of(request, options)
        return await named_sessions(options, tokens)
    return []
