"""Forms of our own pages: a few short fields, URL-encoded."""

from __future__ import annotations

from contextlib import aclosing
from urllib.parse import parse_qsl

from starlette.requests import Request

from ..errors import InvalidData

_LONGEST = 4096
_MOST_FIELDS = 16


Form = dict[str, str]


async def read_form(request: Request) -> Form:
    """The fields of a form that one of our pages has sent.

    Raises:
        InvalidData: it is of another kind, too long, not UTF-8, or has a field twice.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidData("the form is not application/x-www-form-urlencoded")
    body = await _short_body(request)
    try:
        text = body.decode("ascii")
        fields = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise InvalidData("the form is not URL-encoded UTF-8, or has too many fields") from None
    if len(dict(fields)) != len(fields):
        raise InvalidData("the form has a field twice")
    return dict(fields)


async def _short_body(request: Request) -> bytes:
    body = b""
    # Closed here, since trio does not let anybody else close it.
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > _LONGEST:
                raise InvalidData(f"the form is longer than {_LONGEST} bytes")
    return body
