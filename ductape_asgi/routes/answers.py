"""Answers: camelCase JSON, instants of RFC 3339 in UTC, and nothing with a token or a session in any cache."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from starlette.responses import Response

from ..cookies import expired_cookies, session_cookies
from ..errors import DuctapeError
from ..models import IssuedSession, Session, SessionInfo
from ..problems import problem_response
from .options import RouteOptions
from .refusals import EndpointRefusal

_PRIVATE = {
    "cache-control": "no-store",
    "vary": "Authorization, Cookie",
    # Data is text of strangers: it must never be taken for a page.
    "x-content-type-options": "nosniff",
}


def json_answer(document: dict[str, Any], status: int = 200) -> Response:
    body = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return Response(body.encode(), status, _PRIVATE, media_type="application/json")


def no_content() -> Response:
    return Response(status_code=204, headers=_PRIVATE)


def problem_answer(error: DuctapeError) -> Response:
    """What a client is told of `error`."""
    status, headers, body = problem_response(error)
    response = Response(body, status)
    response.raw_headers = [*headers, *(error.headers if isinstance(error, EndpointRefusal) else ())]
    return response


def issued_answer(options: RouteOptions, issued: IssuedSession) -> Response:
    """The tokens, in cookies or in the body, never in both."""
    tokens = {"token": issued.token, "refreshToken": issued.refresh_token} if options.mode == "bearer" else {}
    response = json_answer(
        {
            **tokens,
            "sessionId": issued.session_id,
            "expiresAt": rfc3339(issued.expires_at),
            "sessionExpiresAt": rfc3339(issued.session_expires_at),
        }
    )
    if options.mode == "cookie" and options.sessions.cookies is not None:
        _add_cookies(response, session_cookies(options.sessions.cookies, issued, options.now()))
    return response


def without_cookies(options: RouteOptions, response: Response) -> Response:
    """An answer that removes both cookies too, where there are any."""
    if options.mode == "cookie" and options.sessions.cookies is not None:
        _add_cookies(response, expired_cookies(options.sessions.cookies))
    return response


def session_document(options: RouteOptions, session: Session[Any]) -> dict[str, Any]:
    return {
        "sessionId": session.session_id,
        "tag": session.tag,
        "identifier": session.identifier,
        # With a schema, `data` is an object of the app's.
        "data": json.loads(options.policy.codec.dump(session.data)),
        "expiresAt": rfc3339(session.expires_at),
    }


def info_document(info: SessionInfo, current: str) -> dict[str, Any]:
    client = info.client
    return {
        "sessionId": info.session_id,
        "tag": info.tag,
        "identifier": info.identifier,
        "createdAt": rfc3339(info.created_at),
        "lastSeenAt": rfc3339(info.last_seen_at),
        "expiresAt": rfc3339(info.expires_at),
        "isCurrent": info.session_id == current,
        "client": {"ip": client.ip, "userAgent": client.user_agent, "label": client.label},
    }


def rfc3339(moment: datetime) -> str:
    """``2026-01-31T12:00:00Z``, with milliseconds where there are any."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").replace(".000Z", "Z")


def _add_cookies(response: Response, cookies: Iterable[str]) -> None:
    response.raw_headers += [(b"set-cookie", cookie.encode()) for cookie in cookies]
