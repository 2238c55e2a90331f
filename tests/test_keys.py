"""Access keys, what is derived from them, and the public side."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from ductape_asgi import ConfigurationError, Realm, new_access_key
from ductape_asgi.keys import AccessKey, Keyring, load_access_keys, load_publishable_key

REALM = Realm("shop", "prd")
KEYS = [new_access_key(lambda count, seed=seed: hashlib.sha512(bytes([seed])).digest()[:count]) for seed in range(3)]
ALGORITHMS = ["EdDSA", "Ed25519", "ES256", "HS256"]
PUBLIC = ["EdDSA", "Ed25519", "ES256"]


def keyring(*keys: str, realm: Realm = REALM, algorithm: str = "EdDSA") -> Keyring:
    return Keyring.derive([AccessKey(key) for key in keys], realm, algorithm)


def test_a_new_key_is_marked_random_and_loads() -> None:
    made = {new_access_key() for _ in range(100)}
    assert len(made) == 100
    for key in made:
        assert key.startswith("dak_")
        assert len(key) == 52
        AccessKey(key)


@given(st.binary(min_size=32, max_size=32))
def test_any_random_bytes_that_make_a_key_load_as_it(root: bytes) -> None:
    key = new_access_key(lambda count: root[:count])
    try:
        loaded = AccessKey(key)
    except ConfigurationError as error:
        assert "not random" in str(error)  # noqa: PT017
        return
    assert loaded == AccessKey(key)


@given(st.integers(4, 51), st.sampled_from("ABCXYZabcxyz0189-_"))
def test_one_mistyped_letter_is_found(place: int, letter: str) -> None:
    mistyped = KEYS[0][:place] + letter + KEYS[0][place + 1 :]
    if mistyped != KEYS[0]:
        with pytest.raises(ConfigurationError, match="copy it again"):
            AccessKey(mistyped)


@pytest.mark.parametrize("made_up", ["x" * 32, "correct horse battery staple 123", "0" * 32, "password" * 4])
def test_a_key_made_up_by_a_person_is_refused(made_up: str) -> None:
    with pytest.raises(ConfigurationError, match="not random"):
        AccessKey(new_access_key(lambda count: made_up.encode()[:count]))


@given(
    st.one_of(
        st.text(), st.binary(), st.none(), st.integers(), st.lists(st.text(), max_size=3), st.text().map("dak_".__add__)
    )
)
def test_anything_else_is_a_configuration_error(given_key: object) -> None:
    with pytest.raises(ConfigurationError):
        load_access_keys(given_key)


def test_no_repr_shows_a_key() -> None:
    ring = keyring(*KEYS[:2])
    active = ring.active
    assert active is not None
    shown = repr([AccessKey(KEYS[0]), ring, active, ring.members, keyring(KEYS[0], algorithm="HS256").members])
    for member in ring.members:
        for secret in (member.seal, member.refresh, member.csrf, member.store, member.log):
            assert repr(secret) not in shown
            assert secret.hex() not in shown
    assert KEYS[0][4:] not in shown
    assert "private_key" not in shown


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_derivation_is_the_same_everywhere(algorithm: str) -> None:
    one, two = keyring(KEYS[0], algorithm=algorithm), keyring(KEYS[0], algorithm=algorithm)
    assert one.members[0].key_id == two.members[0].key_id
    assert [key.kid for key in one.keys] == [key.kid for key in two.keys]
    assert (one.members[0].seal, one.members[0].refresh) == (two.members[0].seal, two.members[0].refresh)


def test_every_purpose_realm_and_key_has_bytes_of_its_own() -> None:
    secrets = []
    for key in KEYS:
        for realm in (REALM, Realm("shop", "dev"), Realm("blog", "prd"), Realm("shop-prd", "x")):
            member = keyring(key, realm=realm).members[0]
            secrets += [member.seal, member.refresh, member.csrf, member.store, member.log, member.key_id.encode()]
    assert len(set(secrets)) == len(secrets)


def test_one_key_has_one_algorithm() -> None:
    kids = [key.kid for algorithm in ALGORITHMS for key in keyring(KEYS[0], algorithm=algorithm).keys]
    assert len(set(kids)) == len(ALGORITHMS)


def test_the_first_key_signs_and_all_verify() -> None:
    ring = keyring(*KEYS)
    assert ring.active is ring.keys[0]
    assert len(ring.keys) == 3
    last_first = keyring(*KEYS[::-1]).active
    assert last_first is not None
    assert last_first.kid == ring.keys[2].kid


@pytest.mark.parametrize(
    ("algorithm", "private", "public"),
    [
        ("EdDSA", Ed25519PrivateKey, Ed25519PublicKey),
        ("Ed25519", Ed25519PrivateKey, Ed25519PublicKey),
        ("ES256", EllipticCurvePrivateKey, EllipticCurvePublicKey),
    ],
)
def test_a_key_holds_cryptographys_own_keys(algorithm: str, private: type, public: type) -> None:
    key = keyring(KEYS[0], algorithm=algorithm).active
    assert key is not None
    assert key.alg == algorithm
    assert isinstance(key.private_key, private)
    assert isinstance(key.public_key, public)
    if isinstance(key.private_key, EllipticCurvePrivateKey):
        assert isinstance(key.private_key.curve, SECP256R1)


def test_hs256_has_no_public_key() -> None:
    key = keyring(KEYS[0], algorithm="HS256").active
    assert key is not None
    assert key.public_key is None
    assert isinstance(key.private_key, bytes)
    with pytest.raises(ConfigurationError):
        key.jwk()


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_the_kid_is_a_prefix_of_the_rfc_7638_thumbprint(algorithm: str) -> None:
    (jwk,) = keyring(KEYS[0], algorithm=algorithm).jwks()["keys"]
    required = {name: jwk[name] for name in ("crv", "kty", "x", "y") if name in jwk}
    canonical = json.dumps(required, sort_keys=True, separators=(",", ":")).encode()
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).decode().rstrip("=")
    assert thumbprint.startswith(jwk["kid"])
    assert len(jwk["kid"]) >= 16


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_the_jwks_holds_public_members_only(algorithm: str) -> None:
    keys = keyring(*KEYS, algorithm=algorithm).jwks()["keys"]
    assert len(keys) == 3
    for jwk in keys:
        assert "d" not in jwk
        assert (jwk["alg"], jwk["use"]) == (algorithm, "sig")


def test_the_jwks_of_hs256_is_empty() -> None:
    assert keyring(*KEYS, algorithm="HS256").jwks() == {"keys": []}


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_a_publishable_key_carries_realm_and_public_keys(algorithm: str) -> None:
    ring = keyring(*KEYS, algorithm=algorithm)
    text = ring.publishable()
    assert text.startswith("dpk_")
    published = load_publishable_key(text)
    assert published.realm == REALM
    assert published.jwks() == ring.jwks()
    assert published.active is None
    assert published.publishable() == text


def test_a_publishable_key_cut_or_mistyped_is_refused() -> None:
    text = keyring(*KEYS[:2]).publishable()
    for place in range(4, len(text)):
        for damaged in (text[:place], text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]):
            with pytest.raises(ConfigurationError, match="ductape keys publishable"):
                load_publishable_key(damaged)


@given(st.one_of(st.text(), st.none(), st.binary(), st.text().map("dpk_".__add__)))
def test_anything_else_is_no_publishable_key(text: object) -> None:
    with pytest.raises(ConfigurationError):
        load_publishable_key(text)


def test_a_publishable_key_that_somebody_put_together_is_checked_inside() -> None:
    def made(body: object) -> str:
        raw = json.dumps(body, separators=(",", ":")).encode()
        checksum = hashlib.sha256(b"ductape-asgi/1|publishable|" + raw).digest()[:4]
        return "dpk_" + base64.urlsafe_b64encode(checksum + raw).decode().rstrip("=")

    (good,) = keyring(KEYS[0]).jwks()["keys"]
    (other,) = keyring(KEYS[1], algorithm="ES256").jwks()["keys"]
    assert load_publishable_key(made({"aud": "shop:prd", "keys": [good]})).realm == REALM
    bad: list[object] = [
        {"aud": "shop:prd", "keys": []},
        {"aud": "shop:prd", "keys": [good, good]},
        {"aud": "shop:prd", "keys": [good, other]},
        {"aud": "shop:prd", "keys": [{**good, "kid": "x" * 16}]},
        {"aud": "shop:prd", "keys": [{**good, "alg": "HS256"}]},
        {"aud": "shop:prd", "keys": [{**good, "alg": "none"}]},
        {"aud": "shop:prd", "keys": [{**good, "crv": "P-256"}]},
        {"aud": "shop:prd", "keys": [{**good, "x": good["x"][:-2]}]},
        {"aud": "shop:prd", "keys": [{**good, "d": "AAAA"}]},
        {"aud": "shop:prd", "keys": good},
        {"aud": "shop", "keys": [good]},
        {"aud": "Shop:prd", "keys": [good]},
        {"aud": 7, "keys": [good]},
        {"keys": [good]},
        {"aud": "shop:prd"},
        {},
        [],
        None,
    ]
    for body in bad:
        with pytest.raises(ConfigurationError):
            load_publishable_key(made(body))
