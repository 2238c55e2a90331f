"""Access keys, what is derived from them for each realm, and the public side: JWKS and publishable keys.

An access key (``dak_...``) holds 32 random bytes, the root.  Every other key is HKDF-SHA256 of the root
(RFC 5869) with an info of purpose and realm, so that no key serves two purposes or two realms.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .encoding import b64decode, b64encode
from .errors import ConfigurationError
from .models import Realm

ALGORITHMS: Final = ("EdDSA", "Ed25519", "ES256", "HS256")
_NEW_KEY = "make one with: ductape keys new"
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True, slots=True)
class Key:
    """One signature key.  `private_key` is None where only verification is possible; `public_key` for HS256."""

    kid: str
    alg: str
    public_key: Ed25519PublicKey | ec.EllipticCurvePublicKey | None
    private_key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | bytes | None = field(repr=False)

    def jwk(self) -> dict[str, str]:
        """The public key as a JWK (RFC 7517)."""
        return {**_public_members(self.public_key), "alg": self.alg, "kid": self.kid, "use": "sig"}


@dataclass(frozen=True, slots=True)
class RealmKey:
    """Everything one access key gives to one realm.  `key_id` names it in refresh tokens and in the store."""

    key_id: str
    raw_id: bytes
    signing: Key
    seal: bytes = field(repr=False)
    refresh: bytes = field(repr=False)
    ticket: bytes = field(repr=False)
    store: bytes = field(repr=False)
    log: bytes = field(repr=False)


class AccessKey:
    """The backend's root secret.

    Raises:
        ConfigurationError: empty, cut short, mistyped or made up by a person.
    """

    __slots__ = ("_root",)

    def __init__(self, text: str) -> None:
        self._root = _checked_root(text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccessKey) and hmac.compare_digest(self._root, other._root)

    __hash__ = None  # type: ignore[assignment]  # a secret is compared, never looked up

    def __repr__(self) -> str:
        return "<AccessKey>"

    def derive(self, purpose: str, realm: Realm, length: int = 32) -> bytes:
        info = f"ductape-asgi/1|{purpose}|{realm.audience}".encode()
        return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=info).derive(self._root)

    def for_realm(self, realm: Realm, algorithm: str) -> RealmKey:
        raw_id = self.derive("key-id", realm, 12)
        return RealmKey(
            key_id=b64encode(raw_id),
            raw_id=raw_id,
            signing=_signing_key(self, realm, algorithm),
            seal=self.derive("seal", realm),
            refresh=self.derive("refresh", realm),
            ticket=self.derive("ticket", realm),
            store=self.derive("store", realm),
            log=self.derive("log", realm),
        )


class Keyring:
    """The keys of one realm.  The first signs; all of them verify.

    `active` is the signing `Key` (None with a publishable key), `keys` all of them in order.
    """

    def __init__(self, realm: Realm, keys: Sequence[Key], members: Sequence[RealmKey] = ()) -> None:
        self.realm = realm
        self.keys = tuple(keys)
        self.members = tuple(members)

    @classmethod
    def derive(cls, access_keys: Sequence[AccessKey], realm: Realm, algorithm: str) -> Keyring:
        members = [key.for_realm(realm, algorithm) for key in access_keys]
        return cls(realm, [member.signing for member in members], members)

    @property
    def active(self) -> Key | None:
        return self.members[0].signing if self.members else None

    @cached_property
    def by_raw_id(self) -> dict[bytes, RealmKey]:
        return {member.raw_id: member for member in self.members}

    @cached_property
    def by_key_id(self) -> dict[str, RealmKey]:
        return {member.key_id: member for member in self.members}

    @cached_property
    def by_kid(self) -> dict[str, RealmKey]:
        return {member.signing.kid: member for member in self.members}

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys as a JWK set (RFC 7517 section 5); empty for HS256, which has none."""
        return {"keys": [key.jwk() for key in self.keys if key.public_key is not None]}

    def publishable(self) -> str:
        """The verification-only key of this realm, ``dpk_...``.

        Raises:
            ConfigurationError: HS256 has no public keys.
        """
        if any(key.public_key is None for key in self.keys):
            raise ConfigurationError(
                'HS256 has no publishable key: whoever can verify could sign; use algorithm="EdDSA"'
            )
        body = json.dumps({"aud": self.realm.audience, "keys": self.jwks()["keys"]}, separators=(",", ":")).encode()
        return "dpk_" + b64encode(_checksum(b"publishable", body) + body)

    def __repr__(self) -> str:
        return f"<Keyring realm='{self.realm}' kids={[key.kid for key in self.keys]}>"


def new_access_key(random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """A fresh access key, ``dak_...``: 256 random bits and a checksum."""
    root = random_bytes(32)
    return "dak_" + b64encode(root + _checksum(b"access", root))


def load_access_keys(given: object) -> tuple[AccessKey, ...]:
    """Access keys from one string or a sequence of them; the first signs.

    Raises:
        ConfigurationError: none, a bad one, or one given twice.
    """
    texts = [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else None
    if texts is None:
        raise ConfigurationError(f"access_key must be a string or a sequence of strings; {_NEW_KEY}")
    if not texts:
        raise ConfigurationError(f"no access key given; {_NEW_KEY}")
    keys = [AccessKey(text) for text in texts]
    if any(keys[i] == keys[j] for i in range(len(keys)) for j in range(i)):
        raise ConfigurationError("the same access key is given twice; remove one of them")
    return tuple(keys)


def load_publishable_key(text: object) -> Keyring:
    """The keyring that a publishable key carries; it verifies and cannot sign.

    Raises:
        ConfigurationError: not a publishable key, or damaged.
    """
    damaged = ConfigurationError("this publishable key is not whole; print it again with: ductape keys publishable")
    if not isinstance(text, str) or not text.startswith("dpk_"):
        raise ConfigurationError("a publishable key starts with dpk_; print it with: ductape keys publishable")
    raw = b64decode(text[4:]) or b""
    if not hmac.compare_digest(raw[:4], _checksum(b"publishable", raw[4:])):
        raise damaged
    try:
        body = json.loads(raw[4:])
        keys = [_key_from_jwk(jwk) for jwk in body["keys"]]
        realm = Realm(*body["aud"].split(":"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise damaged from None
    if not keys or len({key.alg for key in keys}) != 1 or len({key.kid for key in keys}) != len(keys):
        raise damaged
    return Keyring(realm, keys)


def _checked_root(text: object) -> bytes:
    if not isinstance(text, str) or not text:
        raise ConfigurationError(
            f"no access key, or an empty one among several: give access_key= or set DUCTAPE_ACCESS_KEY; {_NEW_KEY}"
        )
    if text.strip("\"' \n") != text and text.strip("\"' \n").startswith("dak_"):
        raise ConfigurationError("this access key has quotes or blanks around it; copy it again without them")
    if "," in text:
        raise ConfigurationError("several access keys in one text: give a list of them, or use Sessions.from_env()")
    if not text.startswith("dak_"):
        hint = " (this is a publishable key)" if text.startswith("dpk_") else ""
        raise ConfigurationError(f"an access key starts with dak_{hint}; {_NEW_KEY}")
    raw = b64decode(text[4:])
    if raw is None or len(raw) != 36 or not hmac.compare_digest(raw[32:], _checksum(b"access", raw[:32])):
        raise ConfigurationError(f"this access key is cut short, mistyped or made up; copy it again, or {_NEW_KEY}")
    root = raw[:32]
    if len(set(root)) < 16 or all(32 <= byte < 127 for byte in root):
        raise ConfigurationError(f"this access key is not random; {_NEW_KEY}")
    return root


def _checksum(kind: bytes, body: bytes) -> bytes:
    return hashlib.sha256(b"ductape-asgi/1|" + kind + b"|" + body).digest()[:4]


def _signing_key(access_key: AccessKey, realm: Realm, algorithm: str) -> Key:
    purpose = f"sign/{algorithm}"
    if algorithm == "HS256":
        secret = access_key.derive(purpose, realm)
        return Key(_thumbprint({"k": b64encode(secret), "kty": "oct"}), algorithm, None, secret)
    if algorithm == "ES256":
        # 384 bits, so that the reduction is not biased (FIPS 186-5, A.2.1).
        scalar = int.from_bytes(access_key.derive(purpose, realm, 48), "big") % (_P256_ORDER - 1) + 1
        p256 = ec.derive_private_key(scalar, ec.SECP256R1())
        return _asymmetric(algorithm, p256.public_key(), p256)
    if algorithm in ("EdDSA", "Ed25519"):
        ed25519 = Ed25519PrivateKey.from_private_bytes(access_key.derive(purpose, realm))
        return _asymmetric(algorithm, ed25519.public_key(), ed25519)
    raise ConfigurationError(f"algorithm={algorithm!r}: use one of {', '.join(ALGORITHMS)}")


def _asymmetric(algorithm: str, public_key: Any, private_key: Any) -> Key:
    return Key(_thumbprint(_public_members(public_key)), algorithm, public_key, private_key)


def _public_members(public_key: Ed25519PublicKey | ec.EllipticCurvePublicKey | None) -> dict[str, str]:
    if public_key is None:
        raise ConfigurationError("HS256 has no public key")
    if isinstance(public_key, Ed25519PublicKey):
        raw = public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"crv": "Ed25519", "kty": "OKP", "x": b64encode(raw)}
    numbers = public_key.public_numbers()
    x, y = (b64encode(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def _thumbprint(members: dict[str, str]) -> str:
    """The first 16 characters (96 bits) of the RFC 7638 thumbprint."""
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return b64encode(hashlib.sha256(canonical).digest())[:16]


def _key_from_jwk(jwk: dict[str, str]) -> Key:
    x = b64decode(jwk["x"]) or b""
    if jwk["alg"] in ("EdDSA", "Ed25519") and jwk["crv"] == "Ed25519":
        key = _asymmetric(jwk["alg"], Ed25519PublicKey.from_public_bytes(x), None)
    elif jwk["alg"] == "ES256" and jwk["crv"] == "P-256":
        point = b"\x04" + x + (b64decode(jwk["y"]) or b"")
        key = _asymmetric("ES256", ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point), None)
    else:
        raise ValueError("unsupported key")
    if key.jwk() != jwk:
        raise ValueError("members that do not belong")
    return key
