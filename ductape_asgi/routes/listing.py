"""The sessions of whoever asks: look at them, end them.  Somebody else's might as well not be there."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from ..errors import AccessDenied, InvalidData, InvalidToken, RevokedSession, StepUpRequired
from .answers import info_document, json_answer, no_content, without_cookies
from .callers import Caller, caller_of, reading, session_of
from .options import RouteOptions
from .refusals import BadQuery, NotFound

_LIMIT = re.compile(r"[0-9]{1,4}")


async def sessions(request: Request, options: RouteOptions) -> Response:
    """``GET /sessions?limit=&cursor=``: a page of the caller's live sessions, newest first."""
    current = await session_of(request, options, reading(request, options))
    identifier = _person(current.identifier)
    limit, cursor = _only(request, "limit"), _only(request, "cursor")
    if limit is not None and not (_LIMIT.fullmatch(limit) and 1 <= int(limit) <= 1000):
        raise BadQuery("limit is a number from 1 to 1000")
    try:
        page = await options.sessions.list(
            tag=options.tag, identifier=identifier, limit=100 if limit is None else int(limit), cursor=cursor
        )
    except InvalidData:
        raise BadQuery("cursor is not the nextCursor of this list") from None
    return json_answer(
        {
            "count": page.count,
            "sessions": [info_document(info, current.session_id) for info in page],
            "nextCursor": page.next_cursor,
        }
    )


async def end_session(request: Request, options: RouteOptions) -> Response:
    """``DELETE /sessions/{session_id}``: end one of the caller's sessions, or this one."""
    caller = await caller_of(request, options)
    session_id: str = request.path_params["session_id"]
    if session_id == caller.session_id:
        await options.sessions.revoke(tag=options.tag, session_id=session_id)
        return without_cookies(options, no_content())
    _check_recent(caller, options)
    if not await _owns(caller, session_id, options):
        raise NotFound("there is no live session of this id and person")
    await options.sessions.revoke(tag=options.tag, session_id=session_id)
    return no_content()


async def revoke_others(request: Request, options: RouteOptions) -> Response:
    """``POST /sessions/revoke-others``: end all of the caller's sessions but this one."""
    caller = await caller_of(request, options)
    identifier = _person(caller.identifier)
    _check_recent(caller, options)
    try:
        ended = await options.sessions.revoke_all(
            tag=options.tag, identifier=identifier, exclude_current_session=caller.session_id
        )
    except InvalidData:
        raise RevokedSession("the session was ended meanwhile") from None
    return json_answer({"revoked": ended})


def _person(identifier: str | None) -> str:
    """Whose sessions.

    Raises:
        AccessDenied: an anonymous session has no others.
    """
    if identifier is None:
        raise AccessDenied("an anonymous session is nobody's, so that there is no list of others")
    return identifier


def _check_recent(caller: Caller, options: RouteOptions) -> None:
    if options.recent_auth is not None and options.now() - caller.auth_time > options.recent_auth:
        raise StepUpRequired(options.recent_auth)


async def _owns(caller: Caller, session_id: str, options: RouteOptions) -> bool:
    """Whether a live session of this tag and realm belongs to the same person."""
    context, worker = options.sessions.context(), options.sessions.worker
    record = await worker.guarded.verify(session_id, generation=-1)
    if record is None or (record.realm, record.tag) != (context.audience, options.tag):
        return False
    if caller.identifier is None or not record.live(options.now()):
        return False
    try:
        return context.identifier_of(record) == caller.identifier
    except InvalidToken:
        return False  # Sealed by a key that is gone: whose it is cannot be told.


def _only(request: Request, name: str) -> str | None:
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise BadQuery(f"{name} stands there twice")
    return values[0] if values else None
