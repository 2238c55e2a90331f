"""The strict reference for a cold verification: what must be checked, written straight on raw primitives.

It refuses what has to be refused (RFC 8725; RFC 4648 section 3.5; duplicate names, RFC 8259 section 4), with one
nameless error.  It knows no store, no cache, no schema and no session: what remains is what strictness itself costs.
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ductape_asgi import Sessions

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}")
_SEALED = re.compile(r"1\.[A-Za-z0-9_-]{16}\.[A-Za-z0-9_-]+")
_TEXTS = ("iss", "aud", "sub", "sid", "jti", "tag", "data")
_NUMBERS = ("iat", "nbf", "exp", "auth_time", "ver")
_NAMES = {*_TEXTS, *_NUMBERS}


def reference(sessions: Sessions, tag: str, leeway: int = 5) -> Callable[[str, float], Any]:
    """A verifier of the tokens of `sessions`: token and Unix seconds in, identifier and data out."""
    member = sessions.keyring.members[0]
    key, kid, audience = member.signing.public_key, member.signing.kid, sessions.realm.audience
    assert isinstance(key, Ed25519PublicKey)
    keys = {_encoded(f'{{"alg":"EdDSA","kid":"{kid}","typ":"ductape-session+jwt"}}'.encode()): key}

    def verify(token: str, now: float) -> Any:
        if len(token) > 8192 or not _COMPACT.fullmatch(token):
            raise ValueError
        header, payload, signature = token.split(".")
        keys[header].verify(_decoded(signature), f"{header}.{payload}".encode())
        claims = _strict(_decoded(payload))
        _check_types(claims)
        _check_times(claims, now, leeway)
        _, sealed_by, sealed = claims["data"].split(".")
        if (claims["iss"], claims["aud"], claims["tag"], sealed_by) != ("ductape", audience, tag, kid):
            raise ValueError
        raw = _decoded(sealed)
        cipher = AESGCM(hmac.digest(member.seal, claims["jti"].encode(), "sha256"))
        contents = _strict(cipher.decrypt(raw[:12], raw[12:], bound(claims, kid)).rstrip(b" "))
        return contents["identifier"], contents["generation"], contents["data"]

    return verify


def _check_types(claims: dict[str, Any]) -> None:
    if claims.keys() != _NAMES:
        raise ValueError
    for name in _TEXTS:
        if type(claims[name]) is not str:
            raise ValueError
    for name in _NUMBERS:
        if type(claims[name]) is not int:
            raise ValueError
    if not _SEALED.fullmatch(claims["data"]):
        raise ValueError


def _check_times(claims: dict[str, Any], now: float, leeway: int) -> None:
    if not claims["iat"] <= claims["nbf"] < claims["exp"]:
        raise ValueError
    if claims["nbf"] > now + leeway or now >= claims["exp"] + leeway:
        raise ValueError


def _strict(raw: bytes) -> dict[str, Any]:
    if raw[:1] != b"{" or raw[-1:] != b"}":
        raise ValueError
    claims: dict[str, Any] = _DECODER.decode(raw.decode())
    return claims


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def bound(claims: dict[str, Any], kid: str) -> bytes:
    """Every claim but ``data``, as the seal binds them."""
    names = [claims[name] for name in ("aud", "sub", "sid", "jti", "tag")]
    times = [str(claims[name]) for name in ("iat", "nbf", "exp", "auth_time", "ver")]
    return "|".join(["ductape-asgi/data/1", kid, "ductape", *names, *times]).encode()


def _decoded(text: str) -> bytes:
    raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encoded(raw) != text:  # One value has one spelling.
        raise ValueError
    return raw


def _encoded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
