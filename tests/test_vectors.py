"""Known answers from outside: Wycheproof, the JOSE cookbook, and joserfc as an independent peer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from joserfc import jws
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey

from ductape_asgi import ConfigurationError, InvalidToken, SessionError, Sessions
from ductape_asgi.encoding import b64decode, b64encode, mac
from ductape_asgi.keys import AccessKey, Key, Keyring, _asymmetric, _checksum, load_publishable_key, new_access_key
from ductape_asgi.models import Realm
from ductape_asgi.sealing import Unsealable, unseal
from ductape_asgi.tokens import AccessTokens, _sign, _verify

VECTORS = Path(__file__).parent / "vectors"
TAG = "user-session"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def wycheproof(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each test of a file, with its group."""
    document = json.loads((VECTORS / "wycheproof" / name).read_text())
    for group in document["testGroups"]:
        for test in group["tests"]:
            yield group, test


def cookbook(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((VECTORS / "jose-cookbook" / name).read_text())
    return found


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# -- signatures --------------------------------------------------------------------------------------------------------


def test_wycheproof_ed25519_signatures_are_judged_as_the_vectors_say() -> None:
    judged: Counter[str] = Counter()
    for group, test in wycheproof("ed25519_test.json"):
        public_key = load_der_public_key(bytes.fromhex(group["publicKeyDer"]))
        assert isinstance(public_key, Ed25519PublicKey)
        for algorithm in ("EdDSA", "Ed25519"):
            key = _asymmetric(algorithm, public_key, None)
            holds = _verify(key, bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
            assert holds == (test["result"] == "valid"), test["tcId"]
        judged[test["result"]] += 1

    assert judged.total() == 151


def test_wycheproof_p256_signatures_are_judged_as_the_vectors_say_but_for_a_high_s() -> None:
    """Our rule goes further: a valid signature whose s is above n/2 is refused, since (r, n - s) is the same again."""
    judged: Counter[str] = Counter()
    for group, test in wycheproof("ecdsa_secp256r1_sha256_p1363_test.json"):
        public_key = load_der_public_key(bytes.fromhex(group["publicKeyDer"]))
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        key, message, signature = _asymmetric("ES256", public_key, None), bytes.fromhex(test["msg"]), test["sig"]
        holds = _verify(key, message, bytes.fromhex(signature))
        valid, high = test["result"] == "valid", int(signature[64:] or "0", 16) > P256_ORDER // 2
        assert holds == (valid and not high), test["tcId"]
        judged["high s" if valid and high else test["result"]] += 1
        if valid and high:
            twin = P256_ORDER - int(signature[64:], 16)
            assert _verify(key, message, bytes.fromhex(signature[:64]) + twin.to_bytes(32, "big"))

    assert judged.total() == 262
    assert judged["high s"] > 0
    assert judged["valid"] > judged["high s"] / 2


def test_wycheproof_hmac_tags_are_judged_as_the_vectors_say_but_for_truncated_ones() -> None:
    """RFC 7518 section 3.2 knows no truncated MAC: a valid tag of 128 bits is refused."""
    judged: Counter[str] = Counter()
    for group, test in wycheproof("hmac_sha256_test.json"):
        key = Key("kid", "HS256", None, bytes.fromhex(test["key"]))
        holds = _verify(key, bytes.fromhex(test["msg"]), bytes.fromhex(test["tag"]))
        whole = group["tagSize"] == 256
        assert holds == (test["result"] == "valid" and whole), test["tcId"]
        judged["whole" if whole else "truncated"] += 1

    assert judged.total() == 174
    assert judged["truncated"] > 0


# -- sealed data -------------------------------------------------------------------------------------------------------


def test_the_kept_hmac_state_gives_what_the_whole_computation_gives() -> None:
    for group, test in wycheproof("hmac_sha256_test.json"):
        key, text = bytes.fromhex(test["key"]), bytes.fromhex(test["msg"])
        for _ in range(2):  # a state just made, and a kept one
            assert mac(key, text) == hmac.digest(key, text, "sha256"), group


@pytest.fixture
def given_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the vector's key as it is; otherwise each text has a key of its own, derived from the key and a salt."""
    monkeypatch.setattr("ductape_asgi.sealing.mac", lambda key, salt: key)


def opened(test: dict[str, Any]) -> bytes | None:
    key, iv, aad, ciphertext, tag = (bytes.fromhex(test[name]) for name in ("key", "iv", "aad", "ct", "tag"))
    try:
        return unseal(key, b"", iv + ciphertext + tag, aad)
    except Unsealable:
        return None


@pytest.mark.usefixtures("given_key")
def test_wycheproof_aes_gcm_opens_what_the_vectors_say_but_for_other_nonce_sizes() -> None:
    """RFC 7518 section 5.3 fixes the nonce at 96 bits: nothing else opens, and nothing else raises another error."""
    judged: Counter[str] = Counter()
    for group, test in wycheproof("aes_gcm_test.json"):
        ours = group["ivSize"] == 96 and group["tagSize"] == 128
        expected = bytes.fromhex(test["msg"]) if test["result"] == "valid" and ours else None
        assert opened(test) == expected, test["tcId"]
        judged["ours" if ours else "other sizes"] += 1

    assert judged.total() == 316
    assert judged["ours"] == 197
    assert judged["other sizes"] == 119


def reference_hkdf(ikm: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869, written down."""
    pseudorandom = hmac.digest(salt or bytes(32), ikm, "sha256")
    okm, block = b"", b""
    for counter in range(1, -(-size // 32) + 1):
        block = hmac.digest(pseudorandom, block + info + bytes([counter]), "sha256")
        okm += block
    return okm[:size]


def test_wycheproof_hkdf_agrees_with_the_reference_below() -> None:
    count = 0
    for _, test in wycheproof("hkdf_sha256_test.json"):
        if test["result"] == "valid":
            ikm, salt, info = (bytes.fromhex(test[name]) for name in ("ikm", "salt", "info"))
            assert reference_hkdf(ikm, salt, info, test["size"]).hex() == test["okm"], test["tcId"]
            count += 1

    assert count > 75


@pytest.mark.parametrize("size", [12, 32, 48])
def test_keys_are_derived_by_the_hkdf_that_the_vectors_confirm(size: int) -> None:
    text = new_access_key()
    root = (b64decode(text[4:]) or b"")[:32]

    derived = AccessKey(text).derive("seal", Realm("shop", "prd"), size)

    assert derived == reference_hkdf(root, b"", b"ductape-asgi/1|seal|shop:prd", size)


def test_an_invalid_hkdf_size_is_never_asked_for() -> None:
    """The invalid vectors ask for more than 255 blocks; no purpose of ours comes near."""
    sizes = [test["size"] for _, test in wycheproof("hkdf_sha256_test.json") if test["result"] != "valid"]

    assert min(sizes) > 255 * 32 > 48


# -- JSON web keys -----------------------------------------------------------------------------------------------------

REQUIRED = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n"), "oct": ("k", "kty")}


def thumbprint(jwk: dict[str, Any]) -> str:
    """RFC 7638."""
    members = {name: jwk[name] for name in REQUIRED[jwk["kty"]] if name in jwk}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return b64encode(hashlib.sha256(canonical).digest())


def as_ours(jwk: dict[str, Any]) -> dict[str, Any]:
    """The public part of a JWK with the `kid` that we would give it, so that only its own flaw is left to refuse."""
    public = {name: value for name, value in jwk.items() if name not in ("d", "p", "q", "dp", "dq", "qi", "k")}
    return {"alg": "EdDSA", "use": "sig", **public, "kid": thumbprint(jwk)[:16]}


def publishable(keys: list[dict[str, Any]]) -> str:
    body = json.dumps({"aud": "shop:prd", "keys": keys}, separators=(",", ":")).encode()
    return "dpk_" + b64encode(_checksum(b"publishable", body) + body)


def keys_of(group: dict[str, Any]) -> list[dict[str, Any]]:
    held = group.get("public") or group["private"]
    keys: list[dict[str, Any]] = held.get("keys", [held])
    return keys


def test_good_public_keys_of_the_vectors_load() -> None:
    """The control: what the next test changes is all that keeps a key out."""
    ec_key = next(
        group["public"] for group, _ in wycheproof("json_web_crypto_test.json") if group["comment"] == "jws_ec"
    )
    okp = next(group["publicKeyJwk"] for group, _ in wycheproof("ed25519_test.json"))

    assert [key.alg for key in load_publishable_key(publishable([as_ours(ec_key)])).keys] == ["ES256"]
    assert [key.alg for key in load_publishable_key(publishable([as_ours(okp)])).keys] == ["EdDSA"]


def test_wycheproof_json_web_keys_that_are_flawed_or_of_another_family_do_not_load() -> None:
    refused = 0
    for group, test in wycheproof("json_web_key_test.json"):
        with pytest.raises(ConfigurationError):
            load_publishable_key(publishable([as_ours(key) for key in keys_of(group)]))
        refused += 1
        assert test["tcId"] == refused

    assert refused == 26  # also the valid ones: these are RSA and HMAC keys, of which we publish none


def test_one_key_twice_does_not_load() -> None:
    okp = as_ours(next(group["publicKeyJwk"] for group, _ in wycheproof("ed25519_test.json")))

    with pytest.raises(ConfigurationError):
        load_publishable_key(publishable([okp, okp]))


def test_two_algorithm_families_in_one_key_do_not_load() -> None:
    ec_key = next(
        group["public"] for group, _ in wycheproof("json_web_crypto_test.json") if group["comment"] == "jws_ec"
    )
    okp = next(group["publicKeyJwk"] for group, _ in wycheproof("ed25519_test.json"))

    with pytest.raises(ConfigurationError):
        load_publishable_key(publishable([as_ours(ec_key), as_ours(okp)]))


def test_a_kid_is_the_beginning_of_the_rfc_7638_thumbprint() -> None:
    """RFC 8037, appendix A.3."""
    example = {"crv": "Ed25519", "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    key = Ed25519PublicKey.from_public_bytes(from_base64url(example["x"]))

    assert thumbprint(example) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert _asymmetric("EdDSA", key, None).kid == "kPrK_qmxVWaYVA9w"


# -- whole JWS and JWE -------------------------------------------------------------------------------------------------


def our_key(jwk: dict[str, Any]) -> Key | None:
    """The vector's key as the layer below the token reader holds it; None for a kind that we do not use."""
    kind = (jwk["kty"], jwk.get("alg"), jwk.get("crv"))
    if kind == ("oct", "HS256", None):
        return Key(jwk["kid"], "HS256", None, from_base64url(jwk["k"]))
    if kind == ("EC", "ES256", "P-256"):
        point = b"\4" + from_base64url(jwk["x"]) + from_base64url(jwk["y"])
        return Key(jwk["kid"], "ES256", ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point), None)
    return None


def signature_holds(token: str, key: Key) -> bool:
    """As the reader does it, with the vector's header in the place of ours."""
    parts = token.split(".")
    if len(parts) != 3:
        return False
    header, payload, signature = parts
    try:
        names = json.loads(b64decode(header) or b"")
    except ValueError:
        return False
    if not isinstance(names, dict) or (names.get("alg"), names.get("kid")) != (key.alg, key.kid):
        return False
    return bool(b64decode(payload)) and _verify(key, f"{header}.{payload}".encode(), b64decode(signature))


def test_wycheproof_json_web_signatures_are_judged_as_the_vectors_say() -> None:
    judged: Counter[str] = Counter()
    for group, test in wycheproof("json_web_crypto_test.json"):
        held = keys_of(group)
        keys = [key for key in map(our_key, held) if key is not None]
        if "jws" not in test or len(keys) != len(held) or group["comment"] == "jws_mixedSymmetryKeyset":
            continue  # encryption, RSA, and a mixed set, which the test above refuses as a whole
        token = test["jws"] if isinstance(test["jws"], str) else json.dumps(test["jws"])
        holds = any(signature_holds(token, key) for key in keys)
        high = group["comment"] == "jws_ec" and holds is False and test["result"] == "valid" and high_s(token)
        assert high or holds == (test["result"] == "valid"), (test["tcId"], test["comment"])
        judged[test["result"]] += 1

    assert judged["valid"] >= 3
    assert judged["invalid"] >= 25


def high_s(token: str) -> bool:
    return int.from_bytes(from_base64url(token.rpartition(".")[2])[32:], "big") > P256_ORDER // 2


def everything_signed_or_encrypted() -> Iterator[tuple[str, Any]]:
    """Every token in every file, in every serialization, with where it stands."""
    for name in ("json_web_crypto_test.json", "json_web_encryption_test.json", "json_web_key_test.json"):
        for _, test in wycheproof(name):
            yield f"{name}:{test['tcId']}", test.get("jws", test.get("jwe"))
    for path in sorted((VECTORS / "jose-cookbook").rglob("*.json")):
        output = json.loads(path.read_text()).get("output", {})
        for form, value in output.items():
            yield f"{path.name}:{form}", value
            yield f"{path.name}:{form} as text", value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "HS256"])
def test_the_token_reader_refuses_every_token_of_every_file_with_our_own_error(algorithm: str) -> None:
    keyring = Keyring.derive([AccessKey(new_access_key())], Realm("shop", "prd"), algorithm)
    reader = AccessTokens(keyring)
    count = 0
    for _, token in everything_signed_or_encrypted():
        with pytest.raises(SessionError):
            reader.read(token)
        count += 1

    assert count > 83 + 139 + 26 + 20


@pytest.mark.parametrize("name", ["jws/4_4.hmac-sha2_integrity_protection.json", "curve25519/jws.json"])
def test_cookbook_signatures_of_our_algorithms_hold_and_are_made_alike(name: str) -> None:
    example = cookbook(name)
    jwk, message = example["input"]["key"], example["signing"]["sig-input"].encode()
    signature = b64decode(example["signing"]["sig"])
    if jwk["kty"] == "oct":
        key = Key(jwk["kid"], "HS256", None, from_base64url(jwk["k"]))
    else:
        private_key = Ed25519PrivateKey.from_private_bytes(from_base64url(jwk["d"]))
        key = _asymmetric("EdDSA", private_key.public_key(), private_key)

    assert _sign(key, message) == signature
    assert _verify(key, message, signature)
    assert not _verify(key, message + b"x", signature)
    assert not _verify(key, message, (signature or b"")[:-1])


def test_the_cookbook_public_ec_key_of_another_curve_does_not_load() -> None:
    with pytest.raises(ConfigurationError):
        load_publishable_key(publishable([as_ours(cookbook("jwk/3_1.ec_public_key.json"))]))


# -- joserfc, which shares no code with us -----------------------------------------------------------------------------

#: RFC 9864 names the curve; "EdDSA" stays what most verifiers understand.
PEER_PREFERS_THE_NEW_NAME = pytest.mark.filterwarnings("ignore:EdDSA is deprecated via RFC 9864")
PEER_ALGORITHMS = ["EdDSA", "Ed25519", "ES256", "HS256"]


def peer_registry(algorithm: str) -> jws.JWSRegistry:
    return jws.JWSRegistry(algorithms=[algorithm])


def peer_keys(sessions: Sessions) -> KeySet:
    """What a peer knows: our JWKS; for HS256, which has none, the shared secret."""
    active = sessions.keyring.active
    assert active is not None
    if active.public_key is None:
        return KeySet([OctKey.import_key(active.private_key, {"kid": active.kid})])
    return KeySet.import_key_set(sessions.keyring.jwks())


def peer_private_key(key: Key) -> Any:
    if isinstance(key.private_key, bytes):
        return OctKey.import_key(key.private_key)
    kind = ECKey if key.alg == "ES256" else OKPKey
    return kind.import_key(key.private_key)


@pytest.fixture(params=PEER_ALGORITHMS)
async def sessions(request: pytest.FixtureRequest) -> AsyncIterator[Sessions]:
    key = new_access_key()
    async with Sessions(
        access_key=key, product="shop", env="prd", store="memory://", algorithm=request.param
    ) as sessions:
        yield sessions


@pytest.mark.anyio
@PEER_PREFERS_THE_NEW_NAME
async def test_the_peer_verifies_our_tokens_with_our_jwks(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data={"userId": "ann"})
    algorithm = sessions.keyring.keys[0].alg

    read = jws.deserialize_compact(issued.token, peer_keys(sessions), registry=peer_registry(algorithm))

    assert read.headers() == {"alg": algorithm, "kid": sessions.keyring.keys[0].kid, "typ": "ductape-session+jwt"}
    claims = json.loads(read.payload or b"")
    assert claims["sid"] == issued.session_id
    assert claims["aud"] == "shop:prd"


@pytest.mark.anyio
@PEER_PREFERS_THE_NEW_NAME
async def test_we_verify_what_the_peer_signs_with_our_key_and_exact_header(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data={"userId": "ann"})
    key = sessions.keyring.keys[0]
    header = {"alg": key.alg, "kid": key.kid, "typ": "ductape-session+jwt"}
    payload = from_base64url(issued.token.split(".")[1])

    for _ in range(8):
        token = jws.serialize_compact(header, payload, peer_private_key(key), registry=peer_registry(key.alg))
        if key.alg == "ES256" and high_s(token):  # our rule: the peer has to normalise
            with pytest.raises(InvalidToken):
                await sessions.verify(tag=TAG, token=token)
        else:
            session = await sessions.verify(tag=TAG, token=token)
            assert session.session_id == issued.session_id


@pytest.mark.anyio
@PEER_PREFERS_THE_NEW_NAME
async def test_we_refuse_what_the_peer_signs_under_a_header_that_is_not_exactly_ours(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data={"userId": "ann"})
    key = sessions.keyring.keys[0]
    payload = from_base64url(issued.token.split(".")[1])

    for header in (
        {"alg": key.alg, "kid": key.kid},
        {"alg": key.alg, "kid": key.kid, "typ": "JWT"},
        {"kid": key.kid, "alg": key.alg, "typ": "ductape-session+jwt"},
        {"alg": key.alg, "kid": key.kid, "typ": "ductape-session+jwt", "cty": "JWT"},
    ):
        token = jws.serialize_compact(header, payload, peer_private_key(key), registry=peer_registry(key.alg))
        with pytest.raises(InvalidToken):
            await sessions.verify(tag=TAG, token=token)
