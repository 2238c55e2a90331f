"""Refresh tokens, out and in: opaque to clients, and derived, so that every worker writes the same child.

``drt_`` + base64url(version || key id || end || generation || session id || MAC).  The MAC covers the realm and
the tag too, so a forged token, or one from elsewhere, is refused without asking the store.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import Final

from .encoding import b64decode, b64encode, mac
from .errors import InvalidToken, MissingToken
from .keys import Keyring, RealmKey

PREFIX: Final = "drt_"
_VERSION: Final = b"\x01"
_HEAD: Final = 1 + 12 + 5 + 4
_MAC: Final = 32
_MAX_LENGTH: Final = 256
_SESSION_ID = re.compile(rb"[A-Za-z0-9_-]{22,64}")


@dataclass(frozen=True, slots=True)
class RefreshClaims:
    """What a genuine refresh token says.  `ends_at` is the session's end in Unix seconds."""

    session_id: str
    generation: int
    ends_at: int


class RefreshTokens:
    """Writes and reads the refresh tokens of one realm."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def write(self, tag: str, claims: RefreshClaims, *, key_id: str) -> str:
        """The one token of this session and generation under this key.

        Raises:
            InvalidToken: the key is not in the keyring.
        """
        member = self._keyring.by_key_id.get(key_id)
        if member is None:
            raise InvalidToken("the refresh token was made with an access key that is not in the keyring")
        body = (
            _VERSION
            + member.raw_id
            + claims.ends_at.to_bytes(5, "big")
            + claims.generation.to_bytes(4, "big")
            + claims.session_id.encode()
        )
        return PREFIX + b64encode(body + self._mac(member, tag, body))

    def read(self, tag: str, token: object) -> RefreshClaims:
        """What the token says, if its MAC holds.

        Raises:
            MissingToken: None or empty.
            InvalidToken: malformed, forged, or issued for another tag or realm.
        """
        if token is None or token == "":
            raise MissingToken("no refresh token was given")
        if not isinstance(token, str) or len(token) > _MAX_LENGTH or not token.startswith(PREFIX):
            raise InvalidToken(_what_it_is(token))
        raw = b64decode(token[len(PREFIX) :]) or b""
        body, given = raw[:-_MAC], raw[-_MAC:]
        member = self._keyring.by_raw_id.get(body[1:13])
        if body[:1] != _VERSION or not _SESSION_ID.fullmatch(body[_HEAD:]) or member is None:
            raise InvalidToken("not a refresh token of this realm and its keys")
        if not hmac.compare_digest(given, self._mac(member, tag, body)):
            raise InvalidToken("the refresh token is forged, or for another tag")
        return RefreshClaims(
            session_id=body[_HEAD:].decode(),
            generation=int.from_bytes(body[18:22], "big"),
            ends_at=int.from_bytes(body[13:18], "big"),
        )

    def _mac(self, member: RealmKey, tag: str, body: bytes) -> bytes:
        # Neither audience nor tag can hold a bar.
        message = f"ductape-asgi/refresh/1|{self._keyring.realm.audience}|{tag}|".encode() + body
        return mac(member.refresh, message)


def _what_it_is(token: object) -> str:
    if isinstance(token, str) and token.count(".") == 2:
        return "this is an access token: pass it to verify(); refresh() takes the drt_... that was issued with it"
    return "not a refresh token: pass the drt_... that was issued, with nothing around it"
