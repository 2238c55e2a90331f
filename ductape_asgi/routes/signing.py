"""Signing in, going on and signing out."""

from __future__ import annotations

from json import JSONDecodeError
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..credentials import Bearer
from ..errors import (
    ConfigurationError,
    InvalidToken,
    MissingToken,
)
from ..tickets import TICKET_TTL
from .answers import issued_answer, json_answer, no_content, problem_answer, session_document, without_cookies
from .bodies import bounded, json_object, text_in
from .callers import (
    acting,
    brings_cookies,
    check_csrf_token,
    check_header,
    check_origin,
    cookies_of,
    leaving,
    left_behind,
    named_sessions,
    note,
    reading,
    session_of,
)
from .options import RouteOptions, asked
from .refusals import BadBody, SignInRefused, TooManyAttempts
from .throttle import LoginAttempt


async def login(request: Request, options: RouteOptions) -> Response:
    """``POST /login``: a new session under a new id; those that the client had have ended before this answers."""
    check_origin(request, options)
    request = await bounded(request, options.max_body)
    attempt = await _admitted(request, options)
    identifier, data = await _authenticated(request, options)
    if options.throttle is not None:
        await options.throttle.succeeded(attempt)
    before = await left_behind(request, options)
    for session_id in before[1:]:
        await options.sessions.revoke(tag=options.tag, session_id=session_id)
    issued = await options.sessions.start(
        tag=options.tag,
        identifier=identifier,
        data=data,
        client=options.client_of(request.scope),
        replaces=before[0] if before else None,
    )
    return issued_answer(options, issued)


async def _admitted(request: Request, options: RouteOptions) -> LoginAttempt:
    """The attempt that a sign-in is, counted.

    Raises:
        TooManyAttempts: it must not be made now.
    """
    read = options.login_identifier
    identifier, unreadable = None, None
    try:
        identifier = None if read is None else await _of_body(read(request), "login_identifier")
    except BadBody as bad:
        unreadable = bad  # counts as an attempt, too
    if identifier is not None and not isinstance(identifier, str):
        raise ConfigurationError(f"login_identifier answers a string or None, not {type(identifier).__name__}")
    attempt = LoginAttempt(options.address_of(request.scope), identifier, options.now())
    wait = None if options.throttle is None else await options.throttle.admit(attempt)
    if wait is not None:
        refused = TooManyAttempts(wait)
        note(options, "login.refused", refused)
        raise refused
    if unreadable is not None:
        raise unreadable
    return attempt


async def _of_body(answer: object, name: str) -> Any:
    """What a function of the app's own answers that reads the body.

    Raises:
        BadBody: it took it for JSON, and it is none.
    """
    try:
        return await asked(answer, name)
    except (JSONDecodeError, UnicodeDecodeError):
        raise BadBody("the body is not JSON in UTF-8") from None


async def _authenticated(request: Request, options: RouteOptions) -> tuple[str | None, Any]:
    """Who signs in, and what is to be kept of them.

    Raises:
        SignInRefused: `authenticate` answered None.
        ConfigurationError: it answered something else than a pair.
    """
    if options.authenticate is None:
        raise ConfigurationError("there is no sign-in here: give session_routes(..., authenticate=...)")
    answer = await _of_body(options.authenticate(request), "authenticate")
    if answer is None:
        refused = SignInRefused("authenticate answered None")
        note(options, "login.refused", refused)
        raise refused
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise ConfigurationError("authenticate answers a pair, (identifier, data), or None")
    return answer


async def refresh(request: Request, options: RouteOptions) -> Response:
    """``POST /refresh``: the next tokens, where the ones before were."""
    check_origin(request, options)
    # A refusal removes no cookies: it may be late, and those of a sign-in meanwhile would go.  Dead ones harm nobody.
    issued = await options.sessions.refresh(
        tag=options.tag,
        refresh_token=await _refresh_token(request, options),
        client=options.client_of(request.scope),
    )
    return issued_answer(options, issued)


async def _refresh_token(request: Request, options: RouteOptions) -> str | None:
    if options.mode == "bearer":
        return text_in(await json_object(request), "refreshToken")
    tokens = cookies_of(request, options)
    await check_csrf_token(request, options, tokens)
    if tokens.refresh is not None and len(await named_sessions(options, tokens)) > 1:
        raise InvalidToken("the two cookies belong to different sessions")
    return tokens.refresh


async def logout(request: Request, options: RouteOptions) -> Response:
    """``POST /logout``: the session ends, even when its access token has expired; again and again, if you like."""
    if options.mode == "bearer" or Bearer().token(request.scope) is not None:
        # One that is refused says nothing of the cookies beside it: those stay.
        session_ids = await _leaving_with_tokens(request, options)
    else:
        check_origin(request, options)
        session_ids = await leaving(request, options)
        check_header(request, options, session_ids)
        if not session_ids and brings_cookies(request, options):
            return without_cookies(options, problem_answer(InvalidToken("none of the cookies is of a session here")))
    for session_id in session_ids:
        await options.sessions.revoke(tag=options.tag, session_id=session_id)
    # Whoever wants to be gone is gone from this browser.
    return without_cookies(options, no_content())


async def _leaving_with_tokens(request: Request, options: RouteOptions) -> list[str]:
    tokens = await acting(request, options)
    if tokens.access is None and tokens.refresh is None:
        raise MissingToken("give the access token, or the refresh token in the body")
    return await named_sessions(options, tokens)


async def ticket(request: Request, options: RouteOptions) -> Response:
    """``POST /ticket``: a ticket for one WebSocket handshake, for who keeps the access token in memory."""
    # In bearer mode too, a body is read if there is one: nobody has to know which endpoint takes none.
    found = await session_of(request, options, await acting(request, options))
    issued = await options.sessions.ticket(tag=options.tag, session=found)
    return json_answer({"ticket": issued, "expiresIn": TICKET_TTL})


async def session(request: Request, options: RouteOptions) -> Response:
    """``GET /session``: who is signed in, and the session's data."""
    found = await session_of(request, options, reading(request, options))
    return json_answer(session_document(options, found))
