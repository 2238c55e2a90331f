"""Tokens as they are written (contract 5), and back.  (What is refused, and how, is under ``security/``.)"""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ductape_asgi import ExpiredToken, InvalidToken, MissingToken, Realm, new_access_key
from ductape_asgi.keys import AccessKey, Keyring
from ductape_asgi.refresh_tokens import RefreshClaims, RefreshTokens
from ductape_asgi.sealing import Pseudonyms, RecordSealer, Unsealable
from ductape_asgi.tokens import AccessTokens, Claims, Contents

KEY = new_access_key()
REALM = Realm("shop", "prd")
ALGORITHMS = ["EdDSA", "Ed25519", "ES256", "HS256"]
SID, SUB = "s" * 22, "p" * 22
NOW = 1_800_000_000


def ring(algorithm: str = "EdDSA", *keys: str, realm: Realm = REALM) -> Keyring:
    return Keyring.derive([AccessKey(key) for key in keys or (KEY,)], realm, algorithm)


def written(tokens: AccessTokens, contents: Contents | None = None, **options: Any) -> str:
    given_claims: dict[str, Any] = {
        "subject": SUB,
        "session_id": SID,
        "tag": "user-session",
        "issued_at": NOW,
        "expires_at": NOW + 900,
        "auth_time": NOW - 60,
        "version": 1,
        **options,
    }
    return tokens.write(contents=contents or Contents("ann", 0, b'{"userId":"ann"}'), **given_claims)


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, payload = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")[:2]]
    return json.loads(header), json.loads(payload)


@pytest.fixture(params=ALGORITHMS)
def tokens(request: pytest.FixtureRequest) -> AccessTokens:
    return AccessTokens(ring(request.param))


def test_header_and_claims_are_exactly_those_of_the_contract(tokens: AccessTokens) -> None:
    header, payload = parts(written(tokens))
    assert set(header) == {"alg", "kid", "typ"}
    assert header["typ"] == "ductape-session+jwt"
    assert set(payload) == {
        *("iss", "aud", "sub", "sid", "jti", "tag", "iat", "nbf", "exp", "auth_time", "ver", "data")
    }
    assert (payload["iss"], payload["aud"], payload["tag"]) == ("ductape", "shop:prd", "user-session")
    assert (payload["sub"], payload["sid"], payload["ver"]) == (SUB, SID, 1)
    assert (payload["iat"], payload["nbf"], payload["exp"], payload["auth_time"]) == (NOW, NOW, NOW + 900, NOW - 60)
    version, kid, _ = payload["data"].split(".")
    assert (version, kid) == ("1", header["kid"])
    assert len(base64.urlsafe_b64decode(payload["jti"] + "==")) == 16


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
def test_other_libraries_verify_with_the_public_key(algorithm: str) -> None:
    keyring = ring(algorithm)
    token = written(AccessTokens(keyring))
    key = jwt.PyJWK(keyring.jwks()["keys"][0])
    claims = jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        audience="shop:prd",
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    assert claims["sid"] == SID


def test_a_token_comes_back_as_it_was_written(tokens: AccessTokens) -> None:
    claims = tokens.read(written(tokens))
    assert (claims.session_id, claims.subject, claims.audience, claims.tag) == (SID, SUB, "shop:prd", "user-session")
    assert (claims.issued_at, claims.expires_at, claims.auth_time, claims.version) == (NOW, NOW + 900, NOW - 60, 1)
    assert tokens.open(claims) == Contents("ann", 0, b'{"userId":"ann"}')


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(
    st.one_of(st.none(), st.text(st.characters(codec="utf-8"), min_size=1, max_size=50)),
    st.integers(0, 2**32 - 1),
    st.dictionaries(st.text(st.characters(codec="utf-8")), JSON, max_size=4),
)
def test_any_data_comes_back_as_it_went_in(identifier: str | None, generation: int, data: dict[str, Any]) -> None:
    tokens = AccessTokens(ring("HS256"))
    document = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    contents = tokens.open(tokens.read(written(tokens, Contents(identifier, generation, document))))
    assert (contents.identifier, contents.generation) == (identifier, generation)
    assert json.loads(contents.document) == data


@given(st.integers(0, 2**32 - 1), st.integers(0, 60))
def test_the_length_tells_neither_generation_nor_more_of_the_data_than_32_bytes(generation: int, length: int) -> None:
    tokens = AccessTokens(ring("HS256"))
    document = json.dumps({"x": "a" * length}).encode()
    padded = json.dumps({"x": "a" * (length // 32 * 32)}).encode()
    token, first = written(tokens, Contents("ann", generation, document)), written(tokens, Contents("ann", 0, document))
    assert len(token) == len(first)
    assert len(token) - len(written(tokens, Contents("ann", 0, padded))) in (0, 56, 57, 58)


def test_nothing_of_the_data_can_be_read_in_the_token(tokens: AccessTokens) -> None:
    token = written(tokens, Contents("ann@example.com", 3, b'{"secret":"hunter2"}'))
    raw = b"".join(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
    data = parts(token)[1]["data"].split(".")[2]
    raw += base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))
    for plain in (b"ann@", b"hunter2", b"secret", b"generation"):
        assert plain not in raw


def test_the_same_session_is_never_sealed_alike(tokens: AccessTokens) -> None:
    assert len({parts(written(tokens))[1]["data"] for _ in range(50)}) == 50


def test_es256_signatures_have_a_low_s() -> None:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    tokens = AccessTokens(ring("ES256"))
    for _ in range(30):
        signature = written(tokens).split(".")[2]
        raw = base64.urlsafe_b64decode(signature + "==")
        assert int.from_bytes(raw[32:], "big") <= order // 2


def test_a_sid_may_carry_more_than_128_bits(tokens: AccessTokens) -> None:
    assert tokens.read(written(tokens, session_id="s" * 43)).session_id == "s" * 43


def test_times_are_checked_to_the_second() -> None:
    tokens = AccessTokens(ring("HS256"))
    claims = tokens.read(written(tokens))
    for now in (NOW - 5, NOW, NOW + 904.999):
        claims.check_times(now, 5)
    with pytest.raises(ExpiredToken):
        claims.check_times(NOW + 905, 5)
    with pytest.raises(InvalidToken, match="future"):
        claims.check_times(NOW - 5.001, 5)


def test_claims_show_no_data_in_their_repr() -> None:
    claims: Claims = AccessTokens(ring("HS256")).read(written(AccessTokens(ring("HS256"))))
    assert claims.data not in repr(claims)
    assert "hunter2" not in repr(Contents("ann", 0, b'{"secret":"hunter2"}'))


# Refresh tokens.

CLAIMS = RefreshClaims(SID, 3, NOW + 86_400)


def refresh(*keys: str, realm: Realm = REALM) -> RefreshTokens:
    return RefreshTokens(ring("EdDSA", *keys, realm=realm))


def key_id(key: str = KEY) -> str:
    return ring("EdDSA", key).members[0].key_id


def test_a_refresh_token_is_derived_and_comes_back() -> None:
    token = refresh().write("user-session", CLAIMS, key_id=key_id())
    assert token.startswith("drt_")
    assert token == refresh().write("user-session", CLAIMS, key_id=key_id())
    assert refresh().read("user-session", token) == CLAIMS


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**40 - 1), st.from_regex(r"\A[A-Za-z0-9_-]{22,64}\Z"))
def test_any_refresh_claims_come_back(generation: int, ends_at: int, session_id: str) -> None:
    claims = RefreshClaims(session_id, generation, ends_at)
    assert refresh().read("t", refresh().write("t", claims, key_id=key_id())) == claims


def test_a_refresh_token_is_for_one_tag_and_realm() -> None:
    token = refresh().write("user-session", CLAIMS, key_id=key_id())
    with pytest.raises(InvalidToken):
        refresh().read("checkout-session", token)
    with pytest.raises(InvalidToken):
        refresh(realm=Realm("shop", "dev")).read("user-session", token)


def test_every_key_of_the_ring_reads_and_each_writes_its_own() -> None:
    other = new_access_key()
    both = refresh(other, KEY)
    mine = both.write("t", CLAIMS, key_id=key_id())
    assert mine == refresh().write("t", CLAIMS, key_id=key_id())
    assert both.read("t", mine) == refresh(KEY, other).read("t", mine) == CLAIMS
    with pytest.raises(InvalidToken):
        refresh(other).read("t", mine)
    with pytest.raises(InvalidToken):
        refresh(other).write("t", CLAIMS, key_id=key_id())


@given(st.one_of(st.text(), st.binary(), st.integers(), st.text().map("drt_".__add__)))
def test_anything_else_is_no_refresh_token(token: object) -> None:
    with pytest.raises((InvalidToken, MissingToken)):
        refresh().read("t", token)


@given(st.integers(0, 200), st.integers(1, 255))
def test_no_altered_byte_passes(place: int, flip: int) -> None:
    token = refresh().write("t", CLAIMS, key_id=key_id())
    raw = bytearray(base64.urlsafe_b64decode(token[4:] + "=" * (-len(token[4:]) % 4)))
    raw[place % len(raw)] ^= flip
    with pytest.raises(InvalidToken):
        refresh().read("t", "drt_" + base64.urlsafe_b64encode(raw).decode().rstrip("="))


# What stores hold.


@given(st.binary(max_size=300))
def test_what_a_store_holds_is_sealed_for_its_place(plain: bytes) -> None:
    sealer = RecordSealer(ring())
    sealed = sealer.seal("data", ("shop:prd", "t", "s"), plain)
    assert sealer.unseal("data", ("shop:prd", "t", "s"), sealed) == plain
    assert sealer.made_by_active(sealed)
    for kind, place in (
        ("client", ("shop:prd", "t", "s")),
        ("data", ("shop:prd", "t", "s2")),
        ("data", ("shop:prd", "ts", "")),
    ):
        with pytest.raises(Unsealable):
            sealer.unseal(kind, place, sealed)


@given(st.binary(max_size=100))
def test_whatever_a_store_answers_is_unsealable_and_no_other_error(sealed: bytes) -> None:
    with pytest.raises(Unsealable):
        RecordSealer(ring()).unseal("data", ("a",), sealed)


def test_another_key_of_the_ring_opens_what_the_first_did_not_seal() -> None:
    other = new_access_key()
    sealed = RecordSealer(ring()).seal("data", ("a",), b"x")
    rolled = RecordSealer(ring("EdDSA", other, KEY))
    assert rolled.unseal("data", ("a",), sealed) == b"x"
    assert not rolled.made_by_active(sealed)
    with pytest.raises(Unsealable):
        RecordSealer(ring("EdDSA", other)).unseal("data", ("a",), sealed)


def test_pseudonyms_tell_persons_and_anonymous_sessions_apart() -> None:
    one, two = Pseudonyms(b"1" * 32), Pseudonyms(b"2" * 32)
    names = [one.of_identifier("ann"), one.of_identifier("bob"), one.of_anonymous("ann"), two.of_identifier("ann")]
    assert len(set(names)) == 4
    assert one.of_identifier("ann") == names[0]
    assert b"1" * 32 not in repr(one).encode()
