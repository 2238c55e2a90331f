"""Where a request carries its CSRF token: the header of a script, or the field of a form.

Never a cookie, which a browser sends by itself, and never the URL, which ends up in logs.
"""

from __future__ import annotations

import re
from typing import Final

from .bodies import peek
from .problems import Receive, Scope

HEADER: Final = b"x-csrf-token"
FIELD: Final = b"csrf_token"
#: How far a form is looked into, in bytes.  Of files, and behind them, nothing is read.
LIMIT: Final = 65_536

_BOUNDARY = re.compile(rb';[ \t]*boundary=(?:"([^"\r\n]{1,70})"|([^"; \t\r\n]{1,70}))', re.IGNORECASE)
_DISPOSITION = re.compile(
    rb'(?:^|\r\n)content-disposition:[ \t]*form-data;[ \t]*name="' + FIELD + rb'"[ \t]*(?:\r\n|$)', re.IGNORECASE
)


async def submitted(scope: Scope, receive: Receive) -> tuple[tuple[str, ...], Receive]:
    """All CSRF tokens that an HTTP request carries, and the `receive` to go on with.

    In a form sent as ``application/x-www-form-urlencoded`` or ``multipart/form-data``, the field has to stand in
    its first 65,536 bytes; of the former that must be the whole form.  A header that is there is all that counts.
    Where no cookie comes, nothing is looked for.
    """
    headers = scope["headers"] if any(name == b"cookie" for name, _ in scope["headers"]) else ()
    found = [value for name, value in headers if name == HEADER]
    kinds = [value for name, value in headers if name == b"content-type"]
    kind = kinds[0].partition(b";")[0].strip().lower() if len(kinds) == 1 else b""
    if not found and kind in (b"application/x-www-form-urlencoded", b"multipart/form-data"):
        body, whole, receive = await peek(receive, LIMIT)
        if kind == b"multipart/form-data":
            found = _in_parts(kinds[0], body[:LIMIT])
        elif whole and len(body) <= LIMIT:
            found = _in_pairs(body)
    return tuple(value.decode("latin-1") for value in found), receive


def _in_pairs(body: bytes) -> list[bytes]:
    # Byte for byte, as browsers write it: neither the name nor a token has a character that they would escape.
    pairs = (pair.partition(b"=") for pair in body.split(b"&"))
    return [value for name, _, value in pairs if name == FIELD]


def _in_parts(kind: bytes, body: bytes) -> list[bytes]:
    """The values of the field in parts that are whole, which a boundary has to follow."""
    match = _BOUNDARY.search(kind)
    if match is None:
        return []
    parts = (b"\r\n" + body).split(b"\r\n--" + (match[1] or match[2]))[1:-1]
    fields = (part.removeprefix(b"\r\n").partition(b"\r\n\r\n") for part in parts)
    return [value for head, end, value in fields if end and _DISPOSITION.search(head)]
