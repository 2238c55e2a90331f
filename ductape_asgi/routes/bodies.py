"""Bodies of requests: never more than a bound, and JSON without a second meaning."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from ..problems import Message
from .refusals import BadBody, BodyTooLarge, NotJson

#: A refresh token has at most 256 characters; the rest is room for what an app sends along.
MAX_JSON = 16_384


async def read_body(request: Request, most: int) -> bytes:
    """The whole body.

    Raises:
        BodyTooLarge: it is longer than `most` bytes, or says that it is going to be.
        ClientDisconnect: the client went before it had sent it.
    """
    told = request.headers.get("content-length", "0")
    # A length that is no number is the server's to refuse; what counts is what comes.
    if told.isascii() and told.isdigit() and (len(told) > 18 or int(told) > most):
        raise BodyTooLarge(f"the body may have {most} bytes")
    body = bytearray()
    more = True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > most:
            raise BodyTooLarge(f"the body may have {most} bytes")
        more = message.get("more_body", False)
    return bytes(body)


async def bounded(request: Request, most: int) -> Request:
    """A request with the same body, read already: for an app's function that takes it as JSON, as a form, or twice."""
    messages: list[Message] = [{"type": "http.request", "body": await read_body(request, most), "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await request.receive()

    copy = Request(request.scope, receive)
    await copy.body()  # From here on it is kept, and `json()` and `form()` come from it.
    return copy


async def json_object(request: Request) -> dict[str, Any]:
    """The members of a JSON body; of no body, none.

    Raises:
        BodyTooLarge, NotJson, BadBody: it is too long, says it is something else, or is not one plain object.
    """
    body = await read_body(request, MAX_JSON)
    if not body:
        return {}
    kinds = request.headers.getlist("content-type")
    if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
        raise NotJson("send the body as application/json")
    try:
        found = json.loads(body.decode(), object_pairs_hook=_members, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadBody("the body is not JSON, in UTF-8 and without a name that stands twice") from None
    if not isinstance(found, dict):
        raise BadBody("the body must be a JSON object")
    return found


def text_in(members: dict[str, Any], name: str) -> str | None:
    """A string, or None where it is absent or null.

    Raises:
        BadBody: it is anything else.
    """
    value = members.get(name)
    if value is None or isinstance(value, str):
        return value
    raise BadBody(f"{name} must be a string")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
