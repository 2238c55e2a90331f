"""The strict reference for a cold verification: the same checks, written straight on raw primitives.

No classes, no errors that explain, no store, no cache: what remains is what any strict verification has to pay.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ductape_asgi import Sessions

_TEXTS = ("iss", "aud", "sub", "sid", "jti", "tag", "data")
_NUMBERS = ("iat", "nbf", "exp", "auth_time", "ver")
_NAMES = {*_TEXTS, *_NUMBERS}


def reference(sessions: Sessions, tag: str, leeway: int = 5) -> Callable[[str, float], Any]:
    """A verifier of the tokens of `sessions`: token and Unix seconds in, the application's data out."""
    member = sessions.keyring.members[0]
    assert isinstance(member.signing.public_key, Ed25519PublicKey)
    public_key, kid, audience = member.signing.public_key, member.signing.kid, sessions.realm.audience
    header = f'{{"alg":"EdDSA","kid":"{kid}","typ":"ductape-session+jwt"}}'
    keys = {_encoded(header): public_key}

    def verify(token: str, now: float) -> Any:
        header, payload, signature = token.split(".")
        keys[header].verify(_decoded(signature), f"{header}.{payload}".encode())
        claims = _strict(_decoded(payload))
        if claims.keys() != _NAMES or claims["aud"] != audience or claims["tag"] != tag or claims["iss"] != "ductape":
            raise ValueError
        if not all(type(claims[name]) is str for name in _TEXTS) or not all(
            type(claims[name]) is int for name in _NUMBERS
        ):
            raise ValueError
        if now >= claims["exp"] + leeway or max(claims["nbf"], claims["iat"]) > now + leeway:
            raise ValueError
        version, sealed_by, sealed = claims["data"].split(".")
        if version != "1" or sealed_by != kid:
            raise ValueError
        raw = _decoded(sealed)
        cipher = AESGCM(hmac.digest(member.seal, claims["jti"].encode(), "sha256"))
        return json.loads(cipher.decrypt(raw[:12], raw[12:], bound(claims, kid)))["data"]

    return verify


def _strict(raw: bytes) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(raw, object_pairs_hook=_unique)
    return claims


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def bound(claims: dict[str, Any], kid: str) -> bytes:
    """Every claim but ``data``, each behind its length, as the seal binds them."""
    names = [claims[name] for name in ("aud", "sub", "sid", "jti", "tag")]
    times = [str(claims[name]) for name in ("iat", "nbf", "exp", "auth_time", "ver")]
    parts = [part.encode() for part in ("ductape-asgi/data/1", kid, "ductape", *names, *times)]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encoded(text: str) -> str:
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
