"""Signed tokens that say: this form, or this script, was given out to the holder of that session.

base64url(salt || MAC).  The MAC covers realm and session id, so a token of another session, or one from before
sign-in, is none; it outlives every refresh, since the session id stays.  The salt is new each time, so that a
compressed page does not give the token away letter by letter (BREACH).
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from typing import Final

from .encoding import b64decode, b64encode, mac
from .errors import CsrfRejected
from .keys import Keyring, RealmKey

_SALT: Final = 16
_LENGTH: Final = len(b64encode(bytes(_SALT + 32)))


class CsrfTokens:
    """Writes and checks the CSRF tokens of one realm.  Every key of the keyring is good for checking."""

    def __init__(self, keyring: Keyring, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._keyring = keyring
        self._random_bytes = random_bytes

    def write(self, session_id: str) -> str:
        """A token for the pages of this session."""
        salt = self._random_bytes(_SALT)
        return b64encode(salt + self._mac(self._keyring.members[0], session_id, salt))

    def check(self, session_id: str, given: tuple[str, ...]) -> None:
        """Let a request of `session_id` pass that carries these tokens; see `csrf_forms.submitted`.

        Raises:
            CsrfRejected: it carries none, several, or one that was not made for this session.
        """
        if len(given) != 1:
            raise CsrfRejected(
                "the request carries no CSRF token: send sessions.csrf_token(session) as X-CSRF-Token, or in the form "
                "field csrf_token"
                if not given
                else "the request carries several CSRF tokens"
            )
        if not self._holds(session_id, given[0]):
            raise CsrfRejected("the CSRF token was not made for this session: load the page again")

    def _holds(self, session_id: str, token: str) -> bool:
        raw = b64decode(token) if len(token) == _LENGTH else None
        if raw is None:
            return False
        salt, signature = raw[:_SALT], raw[_SALT:]
        macs = (self._mac(member, session_id, salt) for member in self._keyring.members)
        return any(hmac.compare_digest(signature, one) for one in macs)

    def _mac(self, member: RealmKey, session_id: str, salt: bytes) -> bytes:
        # Neither audience nor session id can hold a bar, and the salt has one length.
        return mac(member.csrf, f"ductape-asgi/csrf/1|{self._keyring.realm.audience}|{session_id}|".encode() + salt)
