"""Where a request may carry its token: one small object for each place."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from .cookies import read_cookie
from .errors import ConfigurationError, InvalidToken
from .handshakes import Subprotocol, Ticket
from .policy import CookiePolicy
from .problems import Message, Receive, Scope

#: The whole scheme, RFC 9110 section 5.6.2: ``Bearer-X`` is another one.
_BEARER = re.compile(rb"bearer(?![!#$%&'*+.^_`|~0-9a-z-])", re.IGNORECASE)
_HEADER_NAME = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class Bearer:
    """``Authorization: Bearer <token>``.  Other schemes are somebody else's and left alone."""

    def token(self, scope: Scope) -> str | None:
        value = _only(scope, b"authorization")
        if value is None or not _BEARER.match(value):
            return None
        if value[6:7] != b" ":
            raise InvalidToken("a Bearer credential is the word, one blank and the token")
        return _ascii(value[7:], "the Bearer credential")


@dataclass(frozen=True, slots=True)
class Header:
    """A header of one's own, e.g. ``Header("x-session")``, whose whole value is the token."""

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _HEADER_NAME.fullmatch(self.name.lower()):
            raise ConfigurationError(f'Header({self.name!r}): give a header name such as "x-session"')
        if self.name.lower() in ("authorization", "cookie"):
            raise ConfigurationError(f"Header({self.name!r}): use Bearer() or Cookie() for this header")
        object.__setattr__(self, "name", self.name.lower())

    def token(self, scope: Scope) -> str | None:
        value = _only(scope, self.name.encode())
        return None if value is None else _ascii(value, f"the header {self.name}")


@dataclass(frozen=True, slots=True)
class Cookie:
    """The access cookie of `Sessions.cookies`.  Requests that it authenticates are under the CSRF rule."""

    def token(self, scope: Scope, policy: CookiePolicy) -> str | None:
        return read_cookie(scope["headers"], policy.access_name)


@dataclass(frozen=True, slots=True)
class BodyField:
    """A property of a JSON body, e.g. ``BodyField("session")``.  The app receives the same bytes.

    A body of more than `limit` bytes is not inspected and counts as no session.  What was read of a body reaches
    the app in one message.
    """

    name: str
    limit: int = 65_536

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigurationError(f'BodyField({self.name!r}): give a property name such as "session"')
        if type(self.limit) is not int or self.limit < 1:
            raise ConfigurationError(f"BodyField limit={self.limit!r}: give a number of bytes from 1")

    async def read(self, scope: Scope, receive: Receive) -> tuple[bytes, Receive]:
        """The body, if it is whole and one to look into, else nothing; and a `receive` that plays it back."""
        if not self._promising(scope):
            return b"", receive
        body, end = await _read(receive, self.limit)
        gone = end["type"] != "http.request"
        more = gone or end.get("more_body", False)
        messages: list[Message] = (
            [{"type": "http.request", "body": body, "more_body": more}] if body or not gone else []
        )
        inspected = b"" if more or len(body) > self.limit else body
        return inspected, _replay([*messages, end] if gone else messages, receive)

    def token(self, body: bytes) -> str | None:
        """The token in a body.

        Raises:
            InvalidToken: the property stands there twice, or is not a string.
        """
        return self._find(body) if body else None

    def _promising(self, scope: Scope) -> bool:
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        length = headers.get(b"content-length", b"0")
        json_kind = kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))
        return scope["type"] == "http" and json_kind and length.isdigit() and int(length[:20]) <= self.limit

    def _find(self, body: bytes) -> str | None:
        try:
            document = json.loads(body, object_pairs_hook=_Members)
        except (ValueError, RecursionError):
            return None  # The app will say what is wrong with its body.
        # What stands further in, once or twice, is the app's.
        values = [value for name, value in document if name == self.name] if isinstance(document, _Members) else []
        if len(values) > 1:
            raise InvalidToken(f"the body names {self.name} twice")
        if not values or values[0] is None:
            return None
        if not isinstance(values[0], str):
            raise InvalidToken(f"{self.name} in the body is not a string")
        return values[0]


class _Members(list[tuple[str, Any]]):
    """A JSON object as it was written: a name may stand twice."""


Credential = Bearer | Cookie | Header | BodyField | Ticket | Subprotocol


def _only(scope: Scope, name: bytes) -> bytes | None:
    values: list[bytes] = [value for field, value in scope["headers"] if field == name]
    if len(values) > 1:
        raise InvalidToken(f"two {name.decode()} headers")
    return values[0] if values else None


def _ascii(value: bytes, what: str) -> str:
    if not value.isascii():
        raise InvalidToken(f"{what} is not ASCII")
    return value.decode()


async def _read(receive: Receive, limit: int) -> tuple[bytes, Message]:
    """What came until the body ended, the client went or `limit` was passed; and the message that ended it.

    Only bytes are kept: of messages, empty ones too, a client may send any number.
    """
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body", False) or len(body) > limit:
            return bytes(body), message


def _replay(messages: list[Message], receive: Receive) -> Receive:
    waiting = messages[::-1]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
