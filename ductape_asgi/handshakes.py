"""What a browser's script can send with a WebSocket handshake: a ticket in the query, or a token as a subprotocol.

Whatever it sent is taken off the scope before anybody looks at it, so that neither the app nor an access log has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from .errors import ConfigurationError, InvalidToken
from .problems import Message, Scope, Send

#: What a client asks for before its token, and what it is answered.
SUBPROTOCOL: Final = "ductape.bearer"
_SHOWN_KEY: Final = "ductape.handshake"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEADER: Final = b"sec-websocket-protocol"


class Shown:
    """What one handshake brought, for a middleware that decides anew; `answers` has what tickets were taken for."""

    __slots__ = ("answers", "tickets", "tokens")

    def __init__(self) -> None:
        self.tickets: dict[str, list[str]] = {}
        self.tokens: list[str] | None = None
        self.answers: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Ticket:
    """A single-use ticket in the query of a WebSocket handshake, ``wss://.../live?ticket=dtk_...``.

    `Sessions.ticket` makes them.  Nothing else is taken from there, and no ticket from any other request.
    """

    name: str = "ticket"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ConfigurationError(f'Ticket({self.name!r}): give the name of a query parameter such as "ticket"')

    def take(self, scope: Scope) -> None:
        """Take it out of the query of a handshake."""
        mark = self.name.encode() + b"="
        pairs = (scope.get("query_string") or b"").split(b"&")  # a server may leave an empty one out
        found = [pair[len(mark) :].decode("latin-1") for pair in pairs if pair.startswith(mark)]
        if found:
            scope["query_string"] = b"&".join(pair for pair in pairs if not pair.startswith(mark))
            scope.setdefault(_SHOWN_KEY, Shown()).tickets[self.name] = found

    def token(self, scope: Scope) -> str | None:
        """The ticket that was taken, if there was one.

        Raises:
            InvalidToken: there were several.
        """
        found = _shown(scope).tickets.get(self.name)
        if found is None:
            return None
        if len(found) > 1:
            raise InvalidToken("several tickets")
        return found[0]


@dataclass(frozen=True, slots=True)
class Subprotocol:
    """A token in ``Sec-WebSocket-Protocol``: ``new WebSocket(url, ["ductape.bearer", token])``.

    The client is answered ``ductape.bearer``, unless the app chooses another of those that it asked for.
    """

    def take(self, scope: Scope) -> None:
        """Take token and mark out of a handshake."""
        asked: list[str] = list(scope.get("subprotocols") or [])
        if SUBPROTOCOL not in asked:
            return
        secret = {place for mark in _places(asked) for place in (mark, mark + 1)}
        scope.setdefault(_SHOWN_KEY, Shown()).tokens = [
            asked[mark + 1] if mark + 1 < len(asked) else "" for mark in _places(asked)
        ]
        rest = [name for place, name in enumerate(asked) if place not in secret]
        scope["subprotocols"] = rest
        headers = [(name, value) for name, value in scope["headers"] if name != _HEADER]
        scope["headers"] = [*headers, (_HEADER, ", ".join(rest).encode())] if rest else headers

    def token(self, scope: Scope) -> str | None:
        """The token that was taken, if there was one.

        Raises:
            InvalidToken: there was a mark without a token, or several.
        """
        found = _shown(scope).tokens
        if found is None:
            return None
        if len(found) > 1 or not found[0]:
            raise InvalidToken(f"{SUBPROTOCOL} stands once among the subprotocols, with the token behind it")
        return found[0]


def taken(scope: Scope, credentials: Iterable[object], send: Send) -> Send:
    """Take what a handshake shows; and a `send` that answers the client what it asked for."""
    for credential in credentials:
        if isinstance(credential, Ticket | Subprotocol):
            credential.take(scope)
    tokens = _shown(scope).tokens
    if tokens is None:
        return send

    async def answered(message: Message) -> None:
        if message["type"] == "websocket.accept" and message.get("subprotocol") in (None, "", *tokens):
            message = {**message, "subprotocol": SUBPROTOCOL}
        await send(message)

    return answered


def answers_of(scope: Scope) -> dict[str, Any]:
    """What tickets of this handshake were taken for already, by ticket."""
    return _shown(scope).answers


def _shown(scope: Scope) -> Shown:
    shown: Shown | None = scope.get(_SHOWN_KEY)
    return Shown() if shown is None else shown


def _places(asked: list[str]) -> list[int]:
    return [place for place, name in enumerate(asked) if name == SUBPROTOCOL]
