"""A workshop for hostile tokens: its encoder and signer are its own, so that the code under test is not the judge.

`Forge.sign` signs anything at all with the session's own key, as a broken or bribed issuer would.
`Forge.resealed` goes further: the sealed data fits the altered claims too, so that nothing but the check of the
claim itself stands between the token and its acceptance.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ductape_asgi import IssuedSession, Sessions
from ductape_asgi.keys import RealmKey
from ductape_asgi.tokens import Claims

TAG = "user-session"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493

#: In this order they are bound to the sealed data.
BOUND_NAMES = ("aud", "sub", "sid", "jti", "tag")
BOUND_NUMBERS = ("iat", "nbf", "exp", "auth_time", "ver")


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def dump(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


class Clock:
    """Unix seconds that move only when told to."""

    def __init__(self, now: float = 1_795_336_000) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class CountingStore:
    """Hands every call on to `store`, and counts those that concern sessions.

    `before` and `after` are called around each, with the method's name; a coroutine they answer is awaited.
    """

    #: Housekeeping that a worker does whether or not anybody sends it a token.
    UNCOUNTED = frozenset({"open", "close", "log_since", "announced", "claim_secret", "purge", "touch"})

    def __init__(self, store: Any) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()
        self.before: Callable[[str], Any] | None = None
        self.after: Callable[[str], Any] | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name in self.UNCOUNTED or not callable(method):
            return method

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            await _step(self.before, name)
            answer = await method(*args, **kwargs)
            await _step(self.after, name)
            return answer

        return counted


async def _step(hook: Callable[[str], Any] | None, name: str) -> None:
    waiting = hook(name) if hook is not None else None
    if waiting is not None:
        await waiting


@dataclass
class Forge:
    """One good session, everything an insider has, and the tools to misuse it."""

    sessions: Sessions
    store: CountingStore
    clock: Clock
    issued: IssuedSession
    token: str = field(init=False)
    header: dict[str, Any] = field(init=False)
    claims: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.token = self.issued.token
        header, payload, _ = self.parts
        self.header, self.claims = json.loads(unb64(header)), json.loads(unb64(payload))

    @property
    def parts(self) -> tuple[str, str, str]:
        header, payload, signature = self.token.split(".")
        return header, payload, signature

    @property
    def kid(self) -> str:
        return str(self.header["kid"])

    @property
    def payload(self) -> bytes:
        return unb64(self.parts[1])

    @property
    def private_key(self) -> Any:
        active = self.sessions.keyring.active
        assert active is not None
        return active.private_key

    # -- signing -------------------------------------------------------------------------------------------------

    def sign(self, header: Mapping[str, Any] | bytes, payload: Mapping[str, Any] | bytes, key: Any = None) -> str:
        """A compact JWS of these very bytes, signed by our key or by another."""
        message = f"{_segment(header)}.{_segment(payload)}"
        return f"{message}.{b64(signature_of(message.encode(), key or self.private_key))}"

    def with_header(self, header: Mapping[str, Any] | bytes | None = None, /, **changes: Any) -> str:
        """The good payload under another header, signed."""
        return self.sign({**self.header, **changes} if header is None else header, self.payload)

    def with_payload(self, payload: Mapping[str, Any] | bytes) -> str:
        """Another payload under the good header, signed; the sealed data is left as it was."""
        return self.sign(self.header, payload)

    def with_claims(self, **changes: Any) -> str:
        return self.with_payload({**self.claims, **changes})

    def unsigned(self, header: Mapping[str, Any], signature: str = "") -> str:
        return f"{_segment(header)}.{self.parts[1]}.{signature}"

    # -- sealing -------------------------------------------------------------------------------------------------

    def resealed(self, *, drop: str | None = None, **literals: str) -> str:
        """Signed *and* sealed for claims of which some are these JSON literals, e.g. ``exp="1e308"``."""
        document = {name: json.dumps(value) for name, value in self.claims.items()} | literals
        document["data"] = json.dumps(self._seal(self.plaintext(), {name: _lax(document[name]) for name in document}))
        document.pop(drop or "", None)
        return self.with_payload("{{{}}}".format(",".join(f'"{k}":{v}' for k, v in document.items())).encode())

    def sealing(self, plaintext: bytes, *, nonce: int = 12) -> str:
        """The good claims around `plaintext`, properly sealed."""
        return self.with_claims(data=self._seal(plaintext, self.claims, nonce=nonce))

    def sealed_by(self, member: RealmKey) -> str:
        """The good claims, signed by our active key around data that another key of ours has sealed for them."""
        iv, bound = os.urandom(12), self._bound(self.claims)
        key = hmac.digest(member.seal, self.claims["jti"].encode(), "sha256")
        sealed = iv + AESGCM(key).encrypt(iv, self.plaintext(), bound)
        return self.with_claims(data=f"1.{member.signing.kid}.{b64(sealed)}")

    def plaintext(self) -> bytes:
        sealed = self.sealed_bytes()
        key, bound = self._seal_key(self.claims["jti"]), self._bound(self.claims)
        return AESGCM(key).decrypt(sealed[:12], sealed[12:], bound)

    def sealed_bytes(self) -> bytes:
        return unb64(self.claims["data"].split(".")[2])

    def with_sealed_bytes(self, sealed: bytes) -> str:
        return self.with_claims(data=f"1.{self.kid}.{b64(sealed)}")

    def _seal(self, plaintext: bytes, claims: Mapping[str, Any], *, nonce: int = 12) -> str:
        iv = os.urandom(nonce)
        key, bound = self._seal_key(str(claims["jti"])), self._bound(claims)
        return f"1.{self.kid}.{b64(iv + AESGCM(key).encrypt(iv, plaintext, bound))}"

    def _seal_key(self, token_id: str) -> bytes:
        # An empty key identifier would be refused by HMAC's own rules, so salt with what the reader would see.
        return hmac.digest(self.sessions.keyring.members[0].seal, token_id.encode("utf-8", "replace"), "sha256")

    def _bound(self, claims: Mapping[str, Any]) -> bytes:
        names = {name: str(claims[name]) for name in BOUND_NAMES}
        return Claims(
            kid=self.kid,
            audience=names["aud"],
            subject=names["sub"],
            session_id=names["sid"],
            token_id=names["jti"],
            tag=names["tag"],
            issued_at=claims["iat"],
            not_before=claims["nbf"],
            expires_at=claims["exp"],
            auth_time=claims["auth_time"],
            version=claims["ver"],
        ).bound()


async def verify(forge: Forge, token: str | None = None) -> Any:
    """The session of this token, or of the forge's own."""
    return await forge.sessions.verify(tag=TAG, token=token or forge.token)


def _segment(part: Mapping[str, Any] | bytes) -> str:
    return b64(part if isinstance(part, bytes) else dump(part))


def _lax(literal: str) -> Any:
    """What a careless reader makes of a JSON literal."""
    try:
        return json.loads(literal)
    except (ValueError, RecursionError):
        return re.sub(r"[^ -~]", "?", literal)[:100]


def signature_of(message: bytes, key: Any) -> bytes:
    """Ed25519, ECDSA on any curve (as r || s), or HMAC-SHA256, by the kind of the key."""
    if isinstance(key, bytes):
        return hmac.digest(key, message, "sha256")
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.curve.key_size + 7) // 8
        digest = hashes.SHA384() if size == 48 else hashes.SHA256()
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
        if isinstance(key.curve, ec.SECP256R1):
            s = min(s, P256_ORDER - s)
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    signature: bytes = key.sign(message)
    return signature


def mac(message: str, key: bytes) -> str:
    return b64(hmac.new(key, message.encode(), hashlib.sha256).digest())


ATTACKER = Ed25519PrivateKey.generate()
