"""Group A: the header decides nothing.  A key has one algorithm, and nothing in a token may choose another."""

from __future__ import annotations

import datetime
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwe
from joserfc.jwk import OctKey

from ductape_asgi import ConfigurationError, InvalidToken, Sessions
from ductape_asgi.keys import _checksum

from .conftest import MakeForge
from .forge import ATTACKER, Clock, Forge, b64, dump, mac
from .refusal import assert_not_inspected, assert_refused

pytestmark = pytest.mark.anyio

Recipe = Callable[[Forge], object]
ATTACKS: dict[str, Recipe] = {}


# -- A1 to A3: no algorithm --------------------------------------------------------------------------------------------

ATTACKS["A1-bare"] = lambda f: f.unsigned({"alg": "none"})
ATTACKS["A1-with-kid-and-typ"] = lambda f: f.unsigned({**f.header, "alg": "none"})

NO_ALGORITHM = ["None", "NONE", "nOnE", " none", "", None, 0, [], {}, True]


def _no_algorithm(value: object, name: str) -> None:
    ATTACKS[f"A2-{name}-empty-signature"] = lambda f: f.unsigned({**f.header, "alg": value})
    ATTACKS[f"A2-{name}-old-signature"] = lambda f: f.unsigned({**f.header, "alg": value}, f.parts[2])
    ATTACKS[f"A2-{name}-signed"] = lambda f: f.with_header(alg=value)


for _value in NO_ALGORITHM:
    _no_algorithm(_value, _value if isinstance(_value, str) and _value.strip() == _value != "" else json.dumps(_value))


def _without(f: Forge, name: str) -> dict[str, Any]:
    return {key: value for key, value in f.header.items() if key != name}


ATTACKS["A3-empty-signature"] = lambda f: f.unsigned(_without(f, "alg"))
ATTACKS["A3-old-signature"] = lambda f: f.unsigned(_without(f, "alg"), f.parts[2])
ATTACKS["A3-signed"] = lambda f: f.with_header(_without(f, "alg"))


# -- A4 and A5: a MAC under a key that everybody knows -----------------------------------------------------------------


def _public_bytes(encoding: Encoding, form: PublicFormat) -> Callable[[Forge], bytes]:
    return lambda f: f.private_key.public_key().public_bytes(encoding, form)


_PEM = _public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
_RAW = _public_bytes(Encoding.Raw, PublicFormat.Raw)

PUBLIC_KEYS: dict[str, Callable[[Forge], bytes]] = {
    "A4-pem": _PEM,
    "A4-pem-stripped": lambda f: _PEM(f).strip(),
    "A4-pem-after-newline": lambda f: b"\n" + _PEM(f),  # CVE-2026-34950
    "A4-pem-after-space": lambda f: b" " + _PEM(f),
    "A4-der": _public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "A4-raw-point": _RAW,
    "A4-openssh": _public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),  # CVE-2022-29217
    "A4-jwk-text": lambda f: dump(f.sessions.keyring.jwks()["keys"][0]),  # CVE-2026-48526
    "A4-jwk-x": lambda f: f.sessions.keyring.jwks()["keys"][0]["x"].encode(),
    "A5-empty-key": lambda f: b"",
    "A5-the-word-None": lambda f: b"None",
}


def _maced(name: str, known: Callable[[Forge], bytes]) -> None:
    def hs256_header(f: Forge) -> str:
        message = f.unsigned({**f.header, "alg": "HS256"}).rstrip(".")
        return f"{message}.{mac(message, known(f))}"

    def our_header(f: Forge) -> str:
        message = ".".join(f.parts[:2])
        return f"{message}.{mac(message, known(f))}"

    ATTACKS[f"{name}-as-HS256"] = hs256_header
    ATTACKS[f"{name}-under-our-header"] = our_header


for _name, _known in PUBLIC_KEYS.items():
    _maced(_name, _known)


# -- A6 to A9: another algorithm for the same key ----------------------------------------------------------------------

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _rsa(f: Forge, alg: str) -> str:
    message = f.unsigned({**f.header, "alg": alg}).rstrip(".")
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    how = padding.PKCS1v15() if alg == "RS256" else pss
    return f"{message}.{b64(RSA.sign(message.encode(), how, hashes.SHA256()))}"


def _other_key(f: Forge, alg: str, key: Any) -> str:
    return f.sign({**f.header, "alg": alg}, f.payload, key)


ATTACKS["A6-HS256"] = lambda f: _other_key(f, "HS256", b"k" * 32)
ATTACKS["A6-Ed25519"] = lambda f: f.with_header(alg="Ed25519")  # the same key under RFC 9864's name
ATTACKS["A6-ES256"] = lambda f: _other_key(f, "ES256", ec.generate_private_key(ec.SECP256R1()))
ATTACKS["A7-RS256"] = lambda f: _rsa(f, "RS256")
ATTACKS["A7-PS256"] = lambda f: _rsa(f, "PS256")
ATTACKS["A9-Ed448"] = lambda f: _other_key(f, "EdDSA", Ed448PrivateKey.generate())


# -- A10 to A16: more in the header than belongs there -----------------------------------------------------------------


def _attacker_jwk() -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": b64(ATTACKER.public_key().public_bytes_raw())}


def _certificate() -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "attacker")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(
        name, name, ATTACKER.public_key(), 1, start, start + datetime.timedelta(days=3650)
    )
    return b64(builder.sign(ATTACKER, None).public_bytes(Encoding.DER))


def _raw_header(f: Forge, text: str) -> bytes:
    """The good header with `text` in the place of its ``alg``."""
    return text.encode() + dump(f.header).removeprefix(f'{{"alg":"{f.header["alg"]}"'.encode())


ATTACKS["A10-none-then-good"] = lambda f: f.with_header(_raw_header(f, '{"alg":"none","alg":"EdDSA"'))
ATTACKS["A10-good-then-none"] = lambda f: f.with_header(_raw_header(f, '{"alg":"EdDSA","alg":"none"'))
ATTACKS["A10-good-twice"] = lambda f: f.with_header(_raw_header(f, '{"alg":"EdDSA","alg":"EdDSA"'))
ATTACKS["A11-jwk"] = lambda f: f.sign({**f.header, "jwk": _attacker_jwk()}, f.payload, ATTACKER)
ATTACKS["A11-jwk-signed-by-us"] = lambda f: f.with_header(jwk=_attacker_jwk())
ATTACKS["A11-jwk-without-kid"] = lambda f: f.sign({"alg": "EdDSA", "jwk": _attacker_jwk()}, f.payload, ATTACKER)
for _name in ("jku", "x5u"):
    for _where in ("http://127.0.0.1:9/keys", "https://evil.test/keys", "file:///etc/passwd"):
        ATTACKS[f"A12-{_name}-{_where}"] = lambda f, n=_name, w=_where: f.with_header({**f.header, n: w})  # type: ignore[misc]
ATTACKS["A13-x5c"] = lambda f: f.sign({**f.header, "x5c": [_certificate()]}, f.payload, ATTACKER)
ATTACKS["A13-x5c-signed-by-us"] = lambda f: f.with_header(x5c=[_certificate()])
for _typ in ("at+jwt", "dpop+jwt", "JWT", "DUCTAPE-SESSION+JWT", "application/ductape-session+jwt", "", None, 1):
    ATTACKS[f"A14-{_typ}"] = lambda f, t=_typ: f.with_header(typ=t)  # type: ignore[misc]
ATTACKS["A14-missing"] = lambda f: f.with_header(_without(f, "typ"))
ATTACKS["A15-nested"] = lambda f: f.sign({**f.header, "cty": "JWT"}, f.token.encode())
ATTACKS["A15-around-our-claims"] = lambda f: f.with_header(cty="JWT")


def _json_serialization(f: Forge, *, flat: bool) -> dict[str, Any]:
    header, payload, signature = f.parts
    signed = {"protected": header, "signature": signature}
    return {"payload": payload, **signed} if flat else {"payload": payload, "signatures": [signed]}


ATTACKS["A16-flattened"] = lambda f: json.dumps(_json_serialization(f, flat=True))
ATTACKS["A16-general"] = lambda f: json.dumps(_json_serialization(f, flat=False))
ATTACKS["A16-a-dict"] = lambda f: _json_serialization(f, flat=True)
ATTACKS["A16-bytes"] = lambda f: f.token.encode()
ATTACKS["A16-a-list-of-parts"] = lambda f: list(f.parts)


# -- A17 to A24: extensions --------------------------------------------------------------------------------------------

CRITICAL: dict[str, dict[str, Any]] = {
    "A17-empty": {"crit": []},
    "A18-text": {"crit": "exp"},
    "A19-unknown": {"crit": ["x"], "x": 1},  # CVE-2026-32597, CVE-2025-59420
    "A19-known-to-others": {"crit": ["exp"], "exp": 1},
    "A20-missing": {"crit": ["x"]},
    "A20-registered": {"crit": ["alg"]},
    "A22-b64-false": {"b64": False},
    "A22-b64-0": {"b64": 0},
    "A22-b64-text": {"b64": "false"},
    "A22-b64-true": {"crit": ["b64"], "b64": True},
    "A23-zip-over-plain": {"zip": "DEF"},
}
for _name, _members in CRITICAL.items():
    ATTACKS[_name] = lambda f, m=_members: f.with_header({**f.header, **m})  # type: ignore[misc]


def _unencoded(f: Forge, payload: str) -> str:
    """RFC 7797: the payload as it is, signed as it is."""
    header = b64(dump({**f.header, "crit": ["b64"], "b64": False}))
    message = f"{header}.{payload}"
    return f"{message}.{b64(f.private_key.sign(message.encode()))}"


def _deflated(f: Forge) -> str:
    compressor = zlib.compressobj(wbits=-15)
    return f.sign({**f.header, "zip": "DEF"}, compressor.compress(f.payload) + compressor.flush())


def _five_parts(f: Forge) -> str:
    header = {**f.header, "alg": "dir", "enc": "A256GCM"}
    return jwe.encrypt_compact(header, f.payload, OctKey.import_key(b"k" * 32))


ATTACKS["A21-claims"] = lambda f: _unencoded(f, f.payload.decode())
ATTACKS["A21-claims-in-base64"] = lambda f: _unencoded(f, f.parts[1])
ATTACKS["A21-a-megabyte"] = lambda f: _unencoded(f, "A" * 1_000_000)  # CVE-2026-48525
ATTACKS["A23-zip"] = _deflated
ATTACKS["A24-five-parts"] = _five_parts  # CVE-2023-51774
ATTACKS["A24-token-and-two-more"] = lambda f: f"{f.token}.{f.parts[1]}.{f.parts[2]}"


@pytest.mark.parametrize("recipe", ATTACKS.values(), ids=ATTACKS)
async def test_a_header_that_is_not_ours_is_refused(forge: Forge, recipe: Recipe) -> None:
    token = recipe(forge)

    assert isinstance(await assert_refused(forge, token), InvalidToken)
    await assert_not_inspected(forge, token)


async def test_the_control_signed_by_the_same_workshop_is_accepted(forge: Forge) -> None:
    token = forge.with_header(forge.header)

    session = await forge.sessions.verify(tag="user-session", token=token)

    assert session.session_id == forge.issued.session_id


@pytest.mark.parametrize("alg", ["ES384", "ES256K", "EdDSA", "HS256", "none", "es256"])
async def test_a8_an_es256_key_is_not_used_under_another_name(es256: Forge, alg: str) -> None:
    await assert_refused(es256, es256.with_header(alg=alg))


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP256K1()], ids=["A8-P-384", "A8-secp256k1"])
async def test_a_signature_on_another_curve_is_refused(es256: Forge, curve: ec.EllipticCurve) -> None:
    names = {"secp384r1": "ES384", "secp256k1": "ES256K"}
    foreign = ec.generate_private_key(curve)

    await assert_refused(es256, _other_key(es256, names[curve.name], foreign))
    await assert_refused(es256, _other_key(es256, "ES256", foreign))


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519", "ES256", "HS256"])
async def test_a6_a_token_of_one_algorithm_is_refused_under_every_other(make_forge: MakeForge, algorithm: str) -> None:
    """Even with the same access key, and so with the same issuer (CVE-2026-48523)."""
    issuer = await make_forge(algorithm=algorithm)
    for other in {"EdDSA", "Ed25519", "ES256", "HS256"} - {algorithm}:
        verifier = await make_forge(algorithm=other)
        await assert_refused(verifier, issuer.token)


# -- what the key loader refuses ---------------------------------------------------------------------------------------


def _whole(root: bytes) -> str:
    """An access key around this root, checksum and all."""
    return "dak_" + b64(root + _checksum(b"access", root))


BAD_ACCESS_KEYS: dict[str, Any] = {
    "A5-zeros-with-checksum": _whole(bytes(32)),
    "A5-counting-with-few-values": _whole(bytes(range(8)) * 4),
    "A5-text-with-checksum": _whole(b"correct horse battery staple!123"),
    "A5-short-with-checksum": _whole(bytes(range(100, 131))),
    "A5-checksum-of-another-kind": "dak_" + b64(bytes(range(32)) + _checksum(b"publishable", bytes(range(32)))),
    "A5-empty": "",
    "A5-none-at-all": [],
    "A5-one-of-them-empty": ["", ""],
    "A5-blank": " ",
    "A5-the-word-None": "None",
    "A5-prefix-only": "dak_",
    "A5-zeros": "dak_" + "A" * 48,
    "A5-password": "correct horse battery staple",
    "A5-bytes": b"k" * 32,
}


@pytest.mark.parametrize("access_key", BAD_ACCESS_KEYS.values(), ids=BAD_ACCESS_KEYS)
def test_an_access_key_that_is_no_key_is_refused_with_the_way_to_make_one(access_key: Any) -> None:
    with pytest.raises(ConfigurationError, match="ductape keys new"):
        Sessions(access_key=access_key, product="shop", env="prd", store="memory://")


@pytest.mark.parametrize("value", [None, "", ",", " , "], ids=["A5-unset", "A5-set-empty", "A5-comma", "A5-blanks"])
def test_an_unset_or_empty_environment_gives_no_key(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.setenv("DUCTAPE_PRODUCT", "shop")
    monkeypatch.setenv("DUCTAPE_ENV", "prd")
    monkeypatch.setenv("DUCTAPE_STORE", "memory://")
    monkeypatch.delenv("DUCTAPE_PUBLISHABLE_KEY", raising=False)
    if value is None:
        monkeypatch.delenv("DUCTAPE_ACCESS_KEY", raising=False)
    else:
        monkeypatch.setenv("DUCTAPE_ACCESS_KEY", value)

    with pytest.raises(ConfigurationError, match="ductape keys new"):
        Sessions.from_env()


def _publishable(jwk: dict[str, Any]) -> str:
    """A publishable key that is whole, whatever key it carries."""
    body = dump({"aud": "shop:prd", "keys": [jwk]})
    return "dpk_" + b64(_checksum(b"publishable", body) + body)


def _jwk(**members: Any) -> dict[str, Any]:
    return {"alg": "EdDSA", "kid": "k" * 16, "use": "sig", **members}


PUBLIC = b64(ATTACKER.public_key().public_bytes_raw())
ED448 = b64(Ed448PrivateKey.generate().public_key().public_bytes_raw())
BAD_PUBLIC_KEYS: dict[str, dict[str, Any]] = {
    "A9-Ed448": _jwk(kty="OKP", crv="Ed448", x=ED448),
    "A9-Ed448-named-Ed25519": _jwk(kty="OKP", crv="Ed25519", x=ED448),
    "A9-X25519": _jwk(kty="OKP", crv="X25519", x=PUBLIC),
    "A6-no-alg": {name: value for name, value in _jwk(kty="OKP", crv="Ed25519", x=PUBLIC).items() if name != "alg"},
    "A6-alg-none": _jwk(kty="OKP", crv="Ed25519", x=PUBLIC, alg="none"),
    "A6-HS256": _jwk(kty="oct", k=b64(b"k" * 32), alg="HS256"),
    "A6-ES256-on-Ed25519": _jwk(kty="OKP", crv="Ed25519", x=PUBLIC, alg="ES256"),
    "A7-RSA": _jwk(kty="RSA", n=b64(RSA.public_key().public_numbers().n.to_bytes(256, "big")), e="AQAB", alg="RS256"),
    "A13-use-enc": _jwk(kty="OKP", crv="Ed25519", x=PUBLIC, use="enc"),
    "B9-kid-not-the-thumbprint": _jwk(kty="OKP", crv="Ed25519", x=PUBLIC),
    "D9-small-order-point": _jwk(kty="OKP", crv="Ed25519", x=b64(b"\1" + bytes(31))),
}


@pytest.mark.parametrize("jwk", BAD_PUBLIC_KEYS.values(), ids=BAD_PUBLIC_KEYS)
def test_a_publishable_key_with_a_public_key_that_is_not_ours_is_refused(jwk: dict[str, Any], clock: Clock) -> None:
    with pytest.raises(ConfigurationError):
        Sessions(publishable_key=_publishable(jwk), clock=clock)
