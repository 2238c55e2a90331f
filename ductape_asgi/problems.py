"""Errors as HTTP answers: RFC 9457 problem documents with RFC 6750 challenges.

To a client every refused token looks the same; the log knows more.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from types import MethodType
from typing import Any, Final

from .audit import logger
from .errors import (
    AccessDenied,
    DataTooLarge,
    DuctapeError,
    InvalidData,
    MissingToken,
    PublishableKeyError,
    SessionError,
    StepUpRequired,
    StoreUnavailable,
)

#: What a client is told.  Nothing here depends on what was sent.
_DETAILS = {
    "missing_token": "Sign in to use this.",
    "invalid_token": "The session is not valid. Sign in again.",
    "step_up_required": "This needs a more recent sign-in.",
    "access_denied": "The session does not allow this.",
    "csrf_rejected": "The request did not come from this site.",
    "session_limit_reached": "Too many sessions are open. End one of them first.",
    "data_too_large": "The session data is too large.",
    "invalid_data": "The request holds something that cannot be accepted.",
    "sign_in_refused": "These credentials are not right.",
    "too_many_attempts": "Too many sign-ins were tried. Try again later.",
    "not_found": "There is nothing here.",
    "method_not_allowed": "This takes other methods.",
    "body_too_large": "The body is too large.",
    "unsupported_media_type": "The body must be JSON.",
    "invalid_body": "The body is not what is expected here.",
    "invalid_query": "The query is not what is expected here.",
    "store_unavailable": "Sessions cannot be checked right now. Try again in a moment.",
}

#: The error with which one of our guards denied a request, on its scope.
DENIED_KEY: Final = "ductape.denied"
#: The options of the middleware that decided on a request, on its scope; they have its `clock`.
OPTIONS_KEY: Final = "ductape.options"
#: The whole path of a request, where a framework has cut its own part off ``scope["path"]`` without saying so.
PATH_KEY: Final = "ductape.path"
#: RFC 6455 leaves 4000-4999 to applications; 1013 is "try again later".
_CLOSE_CODES = {401: 4401, 403: 4403, 503: 1013}
#: What extensions of ASGI let an app send of a response that has not started.
_BEFORE_THE_START: Final = frozenset({"http.response.early_hint", "http.response.push", "http.response.debug"})

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]


def problem_response(error: DuctapeError) -> tuple[int, RawHeaders, bytes]:
    """Status, raw headers and JSON body that tell a client of `error`."""
    code = public_code(error)
    document = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": _DETAILS.get(code, "The server is not set up for this."),
        "code": code,
    }
    body = json.dumps(document).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"vary", b"Authorization, Cookie"),
    ]
    challenge = _challenge(error)
    if challenge:
        headers.append((b"www-authenticate", challenge.encode()))
    if isinstance(error, StoreUnavailable):
        headers.append((b"retry-after", b"1"))
    return error.status, headers, body


def public_code(error: DuctapeError) -> str:
    """The `code` that a client may see."""
    if isinstance(error, SessionError) and not isinstance(error, MissingToken):
        return "invalid_token"
    return "configuration_error" if isinstance(error, PublishableKeyError) else error.code


def _challenge(error: DuctapeError) -> str | None:
    """The ``WWW-Authenticate`` header: RFC 6750 section 3, and RFC 9470 section 3 for step-up."""
    if isinstance(error, MissingToken):
        return 'Bearer realm="ductape"'
    if isinstance(error, SessionError):
        return 'Bearer realm="ductape", error="invalid_token"'
    if isinstance(error, StepUpRequired):
        return f'Bearer realm="ductape", error="insufficient_user_authentication", max_age="{error.max_age}"'
    if isinstance(error, AccessDenied):
        return 'Bearer realm="ductape", error="insufficient_scope"'
    return None


async def answer(error: DuctapeError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer an HTTP request or a WebSocket handshake with a problem document."""
    status, headers, body = problem_response(error)
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})
        return
    await receive()  # Servers take an answer once they have handed out websocket.connect.
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
    else:
        await send({"type": "websocket.close", "code": _CLOSE_CODES.get(status, 1011), "reason": public_code(error)})


class ConnectionOver(DuctapeError, OSError):
    """The session of a connection has ended, and so has the connection.

    Raised to the app by `send`, as servers do where the client has gone (ASGI, "disconnected client").
    """

    def __init__(self) -> None:
        super().__init__("the session has ended, and this connection with it")


def note(sent: list[Any], message: Message) -> Awaitable[None]:
    """A `send` bound to ``[send, scope]``, whose scope becomes None once the app's response has started.

    A response of type ``text/event-stream`` is handed over to the options of the middleware: it lasts as long as its
    session.

    A mounted app makes an error page, of status 500, of an error it does not know, before the error reaches us.
    Where a guard has denied the request, that page is held until it is known what has happened.
    """
    scope = sent[1]
    if scope is not None:
        sent[1] = None
        if DENIED_KEY in scope and message.get("status") == 500:
            sent[0] = Held(sent[0], scope)
        # On each hit.  What stands first settles it for nearly all responses.
        try:
            name, value = message["headers"][0]
        except (KeyError, IndexError, TypeError):  # there are none, or they can only be read once
            name = value = b""
        if name != b"content-length" and (name != b"content-type" or len(value) > 16):
            _follow_events(sent, scope, message)
    answered: Awaitable[None] = sent[0](message)
    return answered


def _follow_events(sent: list[Any], scope: Scope, message: Message) -> None:
    """Hand over a response whose headers say that it is an event stream."""
    if message.get("type") in _BEFORE_THE_START:
        sent[1] = scope
        return
    if not message.get("headers"):
        return
    headers = message["headers"] = list(message["headers"])
    for name, value in headers:
        # Spelled "Content-Type" by some, against the rule.
        if len(name) == 12 and name.lower() == b"content-type":
            if value[:17].lower() == b"text/event-stream":
                scope[OPTIONS_KEY].follow(sent, scope)
            return


class Held:
    """A `send` that keeps an error page back."""

    def __init__(self, send: Send, scope: Scope) -> None:
        self.send = send
        self.scope = scope
        self._messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self._messages.append(message)

    def drop(self) -> None:
        self._messages.clear()

    async def release(self) -> None:
        for message in self._messages:
            await self.send(message)
        self.drop()


async def answering(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run an app, and answer for it when a `DuctapeError` leaves it before its response has started."""
    sent: list[Any] = [send, scope]
    connected = False

    async def watched_receive() -> Message:
        nonlocal connected
        connected = True
        return await receive()

    try:
        await app(scope, receive if scope["type"] == "http" else watched_receive, MethodType(note, sent))
    except DuctapeError as error:
        await answer_instead(error, sent, _nothing if connected else receive)
    finally:
        if sent[0] is not send:
            await sent[0].release()


async def answer_instead(error: DuctapeError, sent: list[Any], receive: Receive) -> None:
    """Answer for an app that failed, unless its response has started with anything but the page of this error."""
    send, scope = sent
    if isinstance(error, ConnectionOver):
        return  # it was the end of this connection, and all has been said
    if scope is not None:
        await answer_failure(error, scope, receive, send)
    elif isinstance(send, Held) and send.scope[DENIED_KEY] is error:
        send.drop()
        await answer_failure(error, send.scope, receive, send.send)
    else:
        raise error


async def answer_failure(error: DuctapeError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer for an app that failed with `error`, and `report` it."""
    report(error)
    await answer(error, scope, receive, send)


def report(error: DuctapeError) -> None:
    """Tell the log what a client is not told and a developer needs."""
    if error.status >= 500:
        # Where the app is set up wrongly, the place helps; a store that is down would fill the log with it.
        logger.error("%s: %s", error.code, error, exc_info=None if isinstance(error, StoreUnavailable) else error)
    elif isinstance(error, InvalidData | DataTooLarge):
        logger.warning("%s: %s", error.code, error)
    elif isinstance(error, AccessDenied):
        logger.info("%s: %s", error.code, error)


async def _nothing() -> Message:
    return {"type": "websocket.connect"}
