"""Seal and unseal: AES-256-GCM under a key for one text alone, bound to what the text belongs to.

Each text has its own key, HMAC-SHA256 of a purpose key and a salt that is never used twice, so that no
amount of use comes near the limits of GCM with random nonces (SP 800-38D section 8.3).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .encoding import b64encode, mac
from .keys import Keyring, RealmKey

NONCE_SIZE = 12
TAG_SIZE = 16
_SALT_SIZE = 16
_KEY_ID_SIZE = 12


class Unsealable(Exception):
    """The text was not sealed by these keys for this place.  Internal: callers answer with an error of ours."""


def seal(key: bytes, salt: bytes, plaintext: bytes, bound: bytes, random_bytes: Callable[[int], bytes]) -> bytes:
    """``nonce || ciphertext || tag`` under the key for `salt` alone."""
    nonce = random_bytes(NONCE_SIZE)
    return nonce + AESGCM(mac(key, salt)).encrypt(nonce, plaintext, bound)


def unseal(key: bytes, salt: bytes, sealed: bytes, bound: bytes) -> bytes:
    """The plaintext.

    Raises:
        Unsealable: wrong key, salt or place, or altered by as much as a bit.
    """
    if len(sealed) < NONCE_SIZE + TAG_SIZE:
        raise Unsealable("too short")
    try:
        cipher = AESGCM(mac(key, salt))
        return cipher.decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], bound)
    except InvalidTag:
        raise Unsealable("not sealed by this key for this place") from None


def _bound(kind: str, place: Sequence[str], head: bytes) -> bytes:
    # No part of a place can hold a bar, and the head's length is fixed.
    return "|".join(("ductape-asgi/record/1", kind, *place, "")).encode() + head


class RecordSealer:
    """Seals what a store keeps: ``key id || salt || nonce || ciphertext || tag``, bound to its kind and subject."""

    def __init__(self, keyring: Keyring, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._keyring = keyring
        self._random_bytes = random_bytes

    def seal(self, kind: str, place: Sequence[str], plaintext: bytes) -> bytes:
        return self.seal_with(self._keyring.members[0], kind, place, plaintext)

    def seal_with(self, member: RealmKey, kind: str, place: Sequence[str], plaintext: bytes) -> bytes:
        head = member.raw_id + self._random_bytes(_SALT_SIZE)
        bound = _bound(kind, place, head)
        return head + seal(member.store, head, plaintext, bound, self._random_bytes)

    def unseal(self, kind: str, place: Sequence[str], sealed: bytes) -> bytes:
        """The plaintext.

        Raises:
            Unsealable: made by an access key we do not hold, for another place, or altered.
        """
        size = _KEY_ID_SIZE + _SALT_SIZE
        head, body = bytes(sealed[:size]), bytes(sealed[size:])
        member = self._keyring.by_raw_id.get(head[:_KEY_ID_SIZE])
        if member is None:
            raise Unsealable("made by an access key that is not in the keyring")
        return unseal(member.store, head, body, _bound(kind, place, head))

    def made_by_active(self, sealed: bytes) -> bool:
        """Whether the key that signs now has sealed this."""
        return bytes(sealed[:_KEY_ID_SIZE]) == self._keyring.members[0].raw_id


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Makes the subject (claim ``sub``) of an identifier: a keyed hash, so that a token shows nobody's name."""

    key: bytes = field(repr=False)

    def of_identifier(self, identifier: str) -> str:
        return self._hash("identifier", identifier)

    def of_anonymous(self, session_id: str) -> str:
        return self._hash("anonymous", session_id)

    def _hash(self, kind: str, name: str) -> str:
        return b64encode(mac(self.key, f"ductape-asgi/sub/1|{kind}|{name}".encode())[:16])
