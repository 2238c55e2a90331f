"""Tickets, out and in: what a browser that can send no header shows once, at a WebSocket handshake.

``dtk_`` + base64url(version || key id || its end || end of the access token || length || ticket id || session id ||
MAC).  The MAC covers realm and tag too, under a key for tickets alone: a forged ticket, or one from elsewhere, is
refused without asking the store, and none of our other tokens can be taken for one.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from .encoding import b64decode, b64encode, mac
from .errors import InvalidToken, MissingToken
from .keys import Keyring, RealmKey

PREFIX: Final = "dtk_"
#: How long a ticket is good for, in seconds.
TICKET_TTL: Final = 30
_VERSION: Final = b"\x01"
_HEAD: Final = 1 + 12 + 5 + 5 + 1
_MAC: Final = 32
_MAX_LENGTH: Final = 384
_ID = re.compile(rb"[A-Za-z0-9_-]{22,64}")


@dataclass(frozen=True, slots=True)
class TicketClaims:
    """What a genuine ticket says.  Instants are Unix seconds; `expires_at` is the end of the access token."""

    tag: str
    ticket_id: str = field(repr=False)
    session_id: str
    ends_at: int
    expires_at: int


class Tickets:
    """Writes and reads the tickets of one realm."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def write(self, claims: TicketClaims) -> str:
        member = self._keyring.members[0]
        ticket_id = claims.ticket_id.encode()
        body = (
            _VERSION
            + member.raw_id
            + claims.ends_at.to_bytes(5, "big")
            + claims.expires_at.to_bytes(5, "big")
            + bytes([len(ticket_id)])
            + ticket_id
            + claims.session_id.encode()
        )
        return PREFIX + b64encode(body + self._mac(member, claims.tag, body))

    def read(self, tags: Iterable[str], ticket: object) -> TicketClaims:
        """What the ticket says, if its MAC holds for one of `tags`.

        Raises:
            MissingToken: None or empty.
            InvalidToken: malformed, forged, or issued for another tag or realm.
        """
        if ticket is None or ticket == "":
            raise MissingToken("no ticket was given")
        if not isinstance(ticket, str) or len(ticket) > _MAX_LENGTH or not ticket.startswith(PREFIX):
            raise InvalidToken("not a ticket")
        raw = b64decode(ticket[len(PREFIX) :]) or b""
        body, given = raw[:-_MAC], raw[-_MAC:]
        member = self._keyring.by_raw_id.get(body[1:13])
        if body[:1] != _VERSION or member is None or len(body) < _HEAD:
            raise InvalidToken("not a ticket of this realm and its keys")
        for tag in tags:
            if hmac.compare_digest(given, self._mac(member, tag, body)):
                return _claims(tag, body)
        raise InvalidToken("the ticket is forged, or for another tag")

    def _mac(self, member: RealmKey, tag: str, body: bytes) -> bytes:
        # Neither audience nor tag can hold a bar.
        message = f"ductape-asgi/ticket/1|{self._keyring.realm.audience}|{tag}|".encode() + body
        return mac(member.ticket, message)


def _claims(tag: str, body: bytes) -> TicketClaims:
    end = _HEAD + body[_HEAD - 1]
    ticket_id, session_id = body[_HEAD:end], body[end:]
    if not _ID.fullmatch(ticket_id) or not _ID.fullmatch(session_id):
        raise InvalidToken("not a ticket")
    return TicketClaims(
        tag=tag,
        ticket_id=ticket_id.decode(),
        session_id=session_id.decode(),
        ends_at=int.from_bytes(body[13:18], "big"),
        expires_at=int.from_bytes(body[18:23], "big"),
    )
