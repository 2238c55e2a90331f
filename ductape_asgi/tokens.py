"""Access tokens, out and in.  Compact JWS with a fixed header; application data only inside the sealed ``data`` claim.

The reader trusts nothing before the signature holds: a length, one regular expression, and the header segment
looked up among the headers we issue ourselves.  No header is ever parsed (RFC 8725, sections 3.1 to 3.11).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, NoReturn

from jwt.algorithms import Algorithm, ECAlgorithm, HMACAlgorithm, OKPAlgorithm

from .encoding import b64decode, b64encode, to_json
from .errors import ExpiredToken, InvalidData, InvalidToken, MissingToken
from .frozen import dump_json, looks_written
from .keys import Key, Keyring
from .sealing import Unsealable, seal, unseal

MAX_TOKEN: Final = 8192
ISSUER: Final = "ductape"
#: 9999-12-31: later instants have no `datetime`.
_LAST_INSTANT: Final = 253_402_300_799
_MAX_LIFE: Final = 86_400
_PAD: Final = 32
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

_COMPACT = re.compile(r"[A-Za-z0-9_-]{1,512}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{22,128}")
_TEXT_CLAIMS = {
    "iss": re.compile(ISSUER),
    "aud": re.compile(r"[a-z0-9_-]{1,64}:[a-z0-9_-]{1,64}"),
    "sub": re.compile(r"[A-Za-z0-9_-]{16,64}"),
    "sid": re.compile(r"[A-Za-z0-9_-]{22,64}"),
    "jti": re.compile(r"[A-Za-z0-9_-]{22}"),
    "tag": re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"),
    "data": re.compile(r"1\.[A-Za-z0-9_-]{16}\.[A-Za-z0-9_-]+"),
}
_TEXTS = re.compile(" ".join(pattern.pattern for pattern in _TEXT_CLAIMS.values()))
_texts = itemgetter(*_TEXT_CLAIMS)
_NUMBER_CLAIMS = ("iat", "nbf", "exp", "auth_time", "ver")
_numbers = itemgetter(*_NUMBER_CLAIMS)
_CLAIMS = frozenset(_TEXT_CLAIMS) | frozenset(_NUMBER_CLAIMS)

_ALGORITHMS: dict[str, tuple[Algorithm, int]] = {
    "EdDSA": (OKPAlgorithm(), 64),
    "Ed25519": (OKPAlgorithm(), 64),
    "ES256": (ECAlgorithm(ECAlgorithm.SHA256), 64),
    "HS256": (HMACAlgorithm(HMACAlgorithm.SHA256), 32),
}


# Not frozen: that would cost each cold verification a microsecond and more.
@dataclass(slots=True)
class Claims:
    """The readable claims of an access token.  Instants are Unix seconds."""

    kid: str
    audience: str
    subject: str
    session_id: str
    token_id: str
    tag: str
    issued_at: int
    not_before: int
    expires_at: int
    auth_time: int
    version: int
    data: str = field(repr=False, default="")

    def bound(self) -> bytes:
        """Every claim but ``data``, as the associated data of its seal."""
        # No claim can hold a bar, so no two lists of claims give the same text.
        names = f"{self.kid}|{ISSUER}|{self.audience}|{self.subject}|{self.session_id}|{self.token_id}|{self.tag}"
        times = f"{self.issued_at}|{self.not_before}|{self.expires_at}|{self.auth_time}|{self.version}"
        return f"ductape-asgi/data/1|{names}|{times}".encode()

    def check_times(self, now: float, leeway: int) -> None:
        """Whether the token may be used now.

        Raises:
            InvalidToken: not yet.
            ExpiredToken: no longer.
        """
        if max(self.not_before, self.issued_at) > now + leeway:
            raise InvalidToken("the token is from the future; check the clocks of this machine and the issuer's")
        if now >= self.expires_at + leeway:
            raise ExpiredToken("the token has expired")


@dataclass(slots=True)
class Contents:
    """What the sealed ``data`` claim holds.  `document` is the application's data as JSON; `plain` the same, parsed."""

    identifier: str | None
    generation: int
    document: bytes = field(repr=False)
    plain: dict[str, Any] = field(repr=False, compare=False, default_factory=dict)


class AccessTokens:
    """Writes and reads the access tokens of one realm."""

    def __init__(self, keyring: Keyring, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._keyring = keyring
        self._random_bytes = random_bytes
        self._by_header = {_header(key): key for key in keyring.keys}
        self._header = "" if not keyring.members else _header(keyring.members[0].signing)

    def write(
        self,
        *,
        subject: str,
        session_id: str,
        tag: str,
        issued_at: int,
        expires_at: int,
        auth_time: int,
        version: int,
        contents: Contents,
    ) -> str:
        member = self._keyring.members[0]
        claims = Claims(
            kid=member.signing.kid,
            audience=self._keyring.realm.audience,
            subject=subject,
            session_id=session_id,
            token_id=b64encode(self._random_bytes(16)),
            tag=tag,
            issued_at=issued_at,
            not_before=issued_at,
            expires_at=expires_at,
            auth_time=auth_time,
            version=version,
        )
        salt = claims.token_id.encode()
        sealed = seal(member.seal, salt, _plaintext(contents), claims.bound(), self._random_bytes)
        payload = _payload(claims, f"1.{claims.kid}.{b64encode(sealed)}")
        signed = f"{self._header}.{b64encode(payload)}"
        return f"{signed}.{b64encode(_sign(member.signing, signed.encode()))}"

    def read(self, token: object) -> Claims:
        """The claims of a token whose signature holds; neither its times nor its seal are looked at.

        Raises:
            MissingToken: None or empty.
            InvalidToken: anything else that is not a token of this realm.
        """
        if token is None or token == "":
            raise MissingToken("no token was given")
        if not isinstance(token, str):
            raise InvalidToken(f"a token is a str, not {type(token).__name__}")
        if len(token) > MAX_TOKEN or not token.isascii() or not _COMPACT.fullmatch(token):
            raise InvalidToken(_what_it_is(token))
        header, payload, signature = token.split(".")
        key = self._by_header.get(header)
        if key is None:
            realm = self._keyring.realm
            raise InvalidToken(f"no key of '{realm}' made it; was it issued for another product, env or access key?")
        if not _verify(key, f"{header}.{payload}".encode(), b64decode(signature)):
            raise InvalidToken("the signature does not hold")
        return self._claims(key, b64decode(payload))

    def open(self, claims: Claims) -> Contents:
        """Unseal the ``data`` claim.

        Raises:
            InvalidToken: sealed by another key or for another token, altered, or not what we write.
        """
        _, kid, sealed = claims.data.split(".")
        member = self._keyring.by_kid.get(kid)
        raw = b64decode(sealed)
        if member is None or raw is None or kid != claims.kid:
            raise InvalidToken("the data claim is not sealed by the key that signed")
        try:
            return _contents(unseal(member.seal, claims.token_id.encode(), raw, claims.bound()))
        except Unsealable:
            raise InvalidToken("the data claim does not belong to this token") from None

    def _claims(self, key: Key, raw: bytes | None) -> Claims:
        payload = strict_json(raw)
        if payload.keys() != _CLAIMS:
            raise InvalidToken("the claims are not exactly those of a session token")
        try:
            texts = " ".join(_texts(payload))
        except TypeError:
            raise InvalidToken("a claim is not a text") from None
        if not _TEXTS.fullmatch(texts):
            raise InvalidToken("a claim is malformed")
        for number in _numbers(payload):
            if type(number) is not int or not 0 < number <= _LAST_INSTANT:
                raise InvalidToken("a claim is not a number")
        if payload["aud"] != self._keyring.realm.audience:
            raise InvalidToken("the token is for another realm")
        if not payload["iat"] <= payload["nbf"] < payload["exp"] <= payload["iat"] + _MAX_LIFE:
            raise InvalidToken("the token's times contradict each other")
        return Claims(
            kid=key.kid,
            audience=payload["aud"],
            subject=payload["sub"],
            session_id=payload["sid"],
            token_id=payload["jti"],
            tag=payload["tag"],
            issued_at=payload["iat"],
            not_before=payload["nbf"],
            expires_at=payload["exp"],
            auth_time=payload["auth_time"],
            version=payload["ver"],
            data=payload["data"],
        )


def _what_it_is(text: str) -> str:
    if text.startswith("drt_"):
        return "this is a refresh token: pass it to refresh()"
    if text[:7].lower() == "bearer ":
        return 'pass the token without "Bearer "'
    return f"not a compact JWS of at most {MAX_TOKEN} characters: pass what was issued, with nothing around it"


def strict_json(raw: bytes | None) -> dict[str, Any]:
    """One JSON object in UTF-8, no byte before or after it, no name twice, whole numbers only.

    Raises:
        InvalidToken: anything else.
    """
    return _parse(_CLAIM_DECODER, raw)


def _parse(decoder: json.JSONDecoder, raw: bytes | None) -> dict[str, Any]:
    if raw is None or raw[:1] != b"{" or raw[-1:] != b"}":
        raise InvalidToken("not a JSON object in canonical base64url")
    try:
        text = raw.decode()
        value: dict[str, Any]
        value, end = decoder.raw_decode(text)
    except (ValueError, RecursionError) as error:  # ValueError: bad UTF-8, bad JSON, a number too long
        raise InvalidToken(f"not strict JSON: {type(error).__name__}") from None
    if end != len(text):
        raise InvalidToken("there is something behind the JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice")
    return members


def _refused(text: str) -> NoReturn:
    raise ValueError("not a number that is allowed here")


_CLAIM_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_refused, parse_constant=_refused)
_DATA_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refused)


def _header(key: Key) -> str:
    return b64encode(f'{{"alg":"{key.alg}","kid":"{key.kid}","typ":"ductape-session+jwt"}}'.encode())


def _payload(claims: Claims, data: str) -> bytes:
    # No claim that we write holds a quote, a backslash or a control character: see `_TEXT_CLAIMS`.
    return (
        f'{{"iss":"{ISSUER}","aud":"{claims.audience}","sub":"{claims.subject}","sid":"{claims.session_id}",'
        f'"jti":"{claims.token_id}","tag":"{claims.tag}","iat":{claims.issued_at},"nbf":{claims.not_before},'
        f'"exp":{claims.expires_at},"auth_time":{claims.auth_time},"ver":{claims.version},"data":"{data}"}}'
    ).encode()


def _plaintext(contents: Contents) -> bytes:
    """JSON, filled up with blanks to a multiple of 32 bytes, and to the same length whatever the generation is."""
    body = _before_data(contents.identifier, contents.generation) + contents.document + b"}"
    longest = len(body) - len(str(contents.generation)) + 10
    return body.ljust(longest + -longest % _PAD)


def _before_data(identifier: str | None, generation: int) -> bytes:
    return f'{{"identifier":{to_json(identifier)},"generation":{generation},"data":'.encode()


def _contents(plaintext: bytes) -> Contents:
    body = plaintext.rstrip(b" ")
    members = _parse(_DATA_DECODER, body)
    identifier, generation, plain = (members.get(name) for name in ("identifier", "generation", "data"))
    if len(members) != 3 or type(generation) is not int or generation < 0 or type(plain) is not dict:
        raise InvalidToken("the sealed data is not what we write")
    if identifier is not None and (type(identifier) is not str or not identifier):
        raise InvalidToken("the sealed identifier is not what we write")
    return Contents(identifier, generation, _document(body, identifier, generation, plain), plain)


def _document(body: bytes, identifier: str | None, generation: int, plain: dict[str, Any]) -> bytes:
    """The data as JSON: cut out of the text it came in where that is surely ours, else checked and written anew."""
    try:
        before = _before_data(identifier, generation)
        document = body[len(before) : -1]
        return document if body.startswith(before) and looks_written(document) else dump_json(plain)
    except (InvalidData, UnicodeEncodeError) as error:
        raise InvalidToken(f"the sealed data is not what we write: {type(error).__name__}") from None


def _sign(key: Key, message: bytes) -> bytes:
    signature: bytes = _ALGORITHMS[key.alg][0].sign(message, key.private_key)
    if key.alg == "ES256":
        # Of the two signatures that hold, (r, s) and (r, n - s), we write and accept only the one with the low s.
        s = int.from_bytes(signature[32:], "big")
        return signature[:32] + min(s, _P256_ORDER - s).to_bytes(32, "big")
    return signature


def _verify(key: Key, message: bytes, signature: bytes | None) -> bool:
    algorithm, size = _ALGORITHMS[key.alg]
    if signature is None or len(signature) != size:
        return False
    if key.alg == "ES256" and int.from_bytes(signature[32:], "big") > _P256_ORDER // 2:
        return False
    return bool(algorithm.verify(message, key.private_key if key.public_key is None else key.public_key, signature))
