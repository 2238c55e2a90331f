"""Group E: the sealed data opens for its own token only, and then holds only what we write."""

from __future__ import annotations

import dataclasses
import json
import os
import traceback
from collections.abc import Callable

import pytest
from joserfc import jwe
from joserfc.jwk import OctKey

from ductape_asgi import ConfigurationError, InvalidToken, TagPolicy
from ductape_asgi.keys import new_access_key
from ductape_asgi.models import Realm
from ductape_asgi.tokens import AccessTokens, Claims, Contents

from .conftest import MakeForge
from .forge import TAG, CountingStore, Forge, b64
from .refusal import assert_refused

pytestmark = pytest.mark.anyio

Recipe = Callable[[Forge], str]
ATTACKS: dict[str, Recipe] = {}


# -- E1: sizes of nonce and tag ----------------------------------------------------------------------------------------

for _size in (8, 11, 13, 16, 32):
    ATTACKS[f"E1-nonce-{_size}"] = lambda f, s=_size: f.sealing(f.plaintext(), nonce=s)  # type: ignore[misc]
ATTACKS["E1-nonce-0"] = lambda f: f.with_sealed_bytes(f.sealed_bytes()[12:])
for _size in range(16):
    ATTACKS[f"E1-tag-{_size}"] = lambda f, s=_size: f.with_sealed_bytes(f.sealed_bytes()[: s - 16])  # type: ignore[misc]
    ATTACKS[f"E1-only-{_size}-bytes"] = lambda f, s=_size: f.with_sealed_bytes(f.sealed_bytes()[:s])  # type: ignore[misc]
ATTACKS["E1-tag-zeros"] = lambda f: f.with_sealed_bytes(f.sealed_bytes()[:-16] + bytes(16))
ATTACKS["E1-tag-17"] = lambda f: f.with_sealed_bytes(f.sealed_bytes() + b"\0")
ATTACKS["E1-empty-ciphertext"] = lambda f: f.with_sealed_bytes(f.sealed_bytes()[:12] + f.sealed_bytes()[-16:])


# -- E3, E6, E7: the frame around the ciphertext -----------------------------------------------------------------------


def frame(version: str | None = None, kid: str | None = None, sealed: str | None = None) -> Recipe:
    def recipe(f: Forge) -> str:
        own = f.claims["data"].split(".")
        given = (version, kid, sealed)
        return f.with_claims(
            data=".".join(new if new is not None else old for new, old in zip(given, own, strict=True))
        )

    return recipe


ATTACKS["E3-unknown-kid"] = frame(kid="A" * 16)
ATTACKS["E3-empty-kid"] = frame(kid="")
ATTACKS["E3-path-kid"] = frame(kid="../../dev/null")
ATTACKS["E3-key-id-of-the-store-key"] = lambda f: frame(kid=f.sessions.keyring.members[0].key_id)(f)
for _version in ("0", "2", "9", "", "01", "1 ", "\u0661", "v1"):
    ATTACKS[f"E6-version-{_version!a}"] = frame(version=_version)
ATTACKS["E6-no-version"] = lambda f: f.with_claims(data=f.claims["data"].partition(".")[2])
ATTACKS["E6-more-parts"] = lambda f: f.with_claims(data=f.claims["data"] + ".x")
ATTACKS["E6-empty"] = frame(sealed="")
ATTACKS["E6-padded"] = lambda f: f.with_claims(data=f.claims["data"] + "=")
ATTACKS["E6-not-canonical"] = lambda f: f.with_claims(data=_set_unused_bits(f))
ATTACKS["E6-null"] = lambda f: f.with_claims(data=None)
ATTACKS["E6-the-data-itself"] = lambda f: f.with_claims(data={"userId": "ann", "role": "admin"})


def _set_unused_bits(f: Forge) -> str:
    sealed = f.sealed_bytes()
    assert len(sealed) % 3, "this length leaves no unused bits"
    text = str(f.claims["data"])
    return text[:-1] + chr(ord(text[-1]) + 1)


def _jwe(f: Forge, **members: object) -> str:
    """Our key, our data, in JOSE's own way of encrypting."""
    key = OctKey.import_key(f.sessions.keyring.members[0].seal)
    registry = jwe.JWERegistry(algorithms=["dir", "A256GCM", "DEF"], strict_check_header=False)
    return jwe.encrypt_compact({"alg": "dir", "enc": "A256GCM", **members}, f.plaintext(), key, registry=registry)


ATTACKS["E7-jwe"] = lambda f: f.with_claims(data=_jwe(f))
ATTACKS["E7-jwe-zip"] = lambda f: f.with_claims(data=_jwe(f, zip="DEF"))
ATTACKS["E7-jwe-p2c"] = lambda f: f.with_claims(data=_jwe(f, p2c=2**31, p2s="AAAA"))
ATTACKS["E7-jwe-in-our-frame"] = lambda f: frame(sealed=_jwe(f).rsplit(".", 1)[0].replace(".", ""))(f)
ATTACKS["E7-jwe-with-encrypted-key"] = lambda f: f.with_claims(data=_jwe(f).replace("..", ".AAAA.", 1))


# -- E4: good data under another claim ---------------------------------------------------------------------------------

OTHERS: dict[str, object] = {
    "sub": "A" * 22,
    "sid": "A" * 22,
    "jti": "A" * 22,
    "ver": 2,
}
ATTACKS |= {f"E4-{name}": (lambda f, n=name, v=value: f.with_claims(**{n: v})) for name, value in OTHERS.items()}  # type: ignore[misc]
for _name in ("nbf", "exp", "auth_time"):
    ATTACKS[f"E4-{_name}"] = lambda f, n=_name: f.with_claims(**{n: f.claims[n] + 1})  # type: ignore[misc]
ATTACKS["E4-iat"] = lambda f: f.with_claims(iat=f.claims["iat"] - 1)
ATTACKS["E4-aud"] = lambda f: f.with_claims(aud="shop:dev")


# -- E5: what is sealed is not what we write ---------------------------------------------------------------------------


def contents(text: str | bytes) -> Recipe:
    return lambda f: f.sealing(text if isinstance(text, bytes) else text.encode())


def data(text: str) -> Recipe:
    return contents(f'{{"identifier":"ann","generation":0,"data":{text}}}')


def deep(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


SEALED = {
    "E5-empty": contents(""),
    "E5-blanks": contents(" " * 32),
    "E5-not-JSON": contents("hello"),
    "E5-list": contents("[]"),
    "E5-number": contents("1"),
    "E5-data-list": data("[]"),
    "E5-data-text": data('"x"'),
    "E5-data-null": data("null"),
    "E5-data-number": data("1"),
    "E5-data-NaN": data('{"a":NaN}'),
    "E5-data-Infinity": data('{"a":-Infinity}'),
    "E5-data-10^5000": data('{"a":1' + "0" * 5000 + "}"),
    "E5-data-lone-surrogate": data('{"a":"\\ud800"}'),
    "E5-data-invalid-UTF-8": contents(b'{"identifier":"ann","generation":0,"data":{"a":"\xff"}}'),
    "E5-data-duplicate": data('{"role":"user","role":"admin"}'),
    "E5-data-duplicate-inside": data('{"a":{"role":"user","role":"admin"}}'),
    "E5-data-duplicate-escaped": data('{"role":"user","r\\u006fle":"admin"}'),
    "E5-duplicate-identifier": contents('{"identifier":"ann","identifier":"bob","generation":0,"data":{}}'),
    "E5-depth-200": data(deep(200)),
    "E5-depth-900": data(deep(900)),
    "E5-depth-in-lists": data('{"a":' + "[" * 2000 + "]" * 2000 + "}"),
    "E5-identifier-int": contents('{"identifier":1,"generation":0,"data":{}}'),
    "E5-identifier-empty": contents('{"identifier":"","generation":0,"data":{}}'),
    "E5-identifier-missing": contents('{"generation":0,"data":{}}'),
    "E5-generation-missing": contents('{"identifier":"ann","data":{}}'),
    "E5-generation-negative": contents('{"identifier":"ann","generation":-1,"data":{}}'),
    "E5-generation-text": contents('{"identifier":"ann","generation":"0","data":{}}'),
    "E5-generation-true": contents('{"identifier":"ann","generation":true,"data":{}}'),
    "E5-generation-float": contents('{"identifier":"ann","generation":0.0,"data":{}}'),
    "E5-extra-member": contents('{"identifier":"ann","generation":0,"data":{},"admin":true}'),
    "E5-trailing-bytes": contents('{"identifier":"ann","generation":0,"data":{}}x'),
    "E5-trailing-NUL": contents('{"identifier":"ann","generation":0,"data":{}}\0'),
    "E5-BOM": contents('\ufeff{"identifier":"ann","generation":0,"data":{}}'),
    "E5-UTF-16": contents('{"identifier":"ann","generation":0,"data":{}}'.encode("utf-16")),
}
ATTACKS |= SEALED


@pytest.mark.parametrize("recipe", ATTACKS.values(), ids=ATTACKS)
async def test_data_that_we_would_not_seal_is_refused_although_signed_by_us(forge: Forge, recipe: Recipe) -> None:
    assert isinstance(await assert_refused(forge, recipe(forge)), InvalidToken)


async def test_the_control_sealed_by_the_same_workshop_is_accepted(forge: Forge) -> None:
    session = await forge.sessions.verify(tag=TAG, token=forge.sealing(forge.plaintext()))

    assert session.data == {"userId": "ann", "role": "user"}


async def test_e2_every_flipped_bit_fails_with_one_and_the_same_error(make_forge: MakeForge) -> None:
    forge = await make_forge(data={"userId": "ann", "text": "x" * 1200})
    reader = AccessTokens(forge.sessions.keyring)
    claims, sealed = reader.read(forge.token), forge.sealed_bytes()
    errors = set()

    for bit in range(10_000):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        hostile = dataclasses.replace(claims, data=f"1.{forge.kid}.{b64(bytes(flipped))}")
        with pytest.raises(InvalidToken) as caught:
            reader.open(hostile)
        errors.add((type(caught.value), str(caught.value)))

    assert len(sealed) * 8 >= 10_000
    assert len(errors) == 1


async def test_e3_data_sealed_by_a_retired_key_is_refused(forge: Forge, make_forge: MakeForge, access_key: str) -> None:
    """Signed by the new key, around data that names the old one."""
    store = CountingStore(forge.store._store)
    rolled = await make_forge(store=store, access_key=new_access_key())

    await assert_refused(rolled, rolled.with_claims(data=forge.claims["data"]))
    await assert_refused(rolled, rolled.sign(rolled.header, forge.payload))


async def test_e3_data_sealed_by_another_key_that_we_still_hold_is_refused(
    forge: Forge, make_forge: MakeForge, access_key: str
) -> None:
    rolled = await make_forge(store=CountingStore(forge.store._store), access_key=[new_access_key(), access_key])

    await assert_refused(rolled, rolled.sign(rolled.header, forge.payload))


async def test_e3_one_key_signs_and_seals_although_we_hold_both(make_forge: MakeForge, access_key: str) -> None:
    """Data that was sealed for this very token, by another of our keys than the one that signed it."""
    rolled = await make_forge(access_key=[new_access_key(), access_key])
    older = rolled.sessions.keyring.members[1]

    await assert_refused(rolled, rolled.sealed_by(older))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Claims) if field.name != "data"])
def test_e4_every_claim_but_the_data_is_bound_to_the_seal(name: str) -> None:
    claims = Claims("kid", "aud", "sub", "sid", "jti", "tag", 1, 2, 3, 4, 5)
    other = 9 if isinstance(getattr(claims, name), int) else "other"

    assert dataclasses.replace(claims, **{name: other}).bound() != claims.bound()


async def test_e4_a_token_and_its_data_from_another_realm_do_not_fit_together(make_forge: MakeForge) -> None:
    prd, dev = await make_forge(env="prd"), await make_forge(env="dev")

    await assert_refused(prd, prd.with_claims(data=dev.claims["data"]))


async def test_e8_a_repeated_nonce_still_gives_each_token_a_keystream_of_its_own(forge: Forge) -> None:
    """A broken random source that repeats its nonces must not reveal what two texts have in common."""

    def stuck(size: int) -> bytes:
        return bytes(12) if size == 12 else os.urandom(size)

    writer = AccessTokens(forge.sessions.keyring, stuck)
    sealed = []
    for _ in range(2):
        token = writer.write(
            subject="A" * 22,
            session_id="B" * 22,
            tag=TAG,
            issued_at=1_795_336_000,
            expires_at=1_795_336_900,
            auth_time=1_795_336_000,
            version=1,
            contents=Contents("ann", 0, b'{"role":"user"}'),
        )
        sealed.append(writer.read(token).data.split(".")[2])

    assert sealed[0][:16] == sealed[1][:16] == b64(bytes(12))
    assert sealed[0][16:] != sealed[1][16:]


class TestE9NoPlaintext:
    SECRET = "tell-nobody-4242"

    @pytest.fixture
    async def forge(self, make_forge: MakeForge) -> Forge:
        return await make_forge(data={"userId": "ann", "secret": self.SECRET})

    async def test_repr_of_session_and_tokens_shows_neither_data_nor_token(self, forge: Forge) -> None:
        session = await forge.sessions.verify(tag=TAG, token=forge.token)

        for shown in (repr(session), str(session), f"{session}", repr(forge.issued), repr(forge.sessions)):
            assert self.SECRET not in shown
            assert forge.parts[2] not in shown
            assert forge.issued.refresh_token is not None
            assert forge.issued.refresh_token not in shown

    async def test_a_traceback_with_locals_shows_neither_data_nor_token(self, forge: Forge) -> None:
        session = await forge.sessions.verify(tag=TAG, token=forge.token)
        issued = await forge.sessions.refresh(tag=TAG, refresh_token=forge.issued.refresh_token)

        def handler(session: object, issued: object, sessions: object) -> None:
            raise RuntimeError("the app failed")

        with pytest.raises(RuntimeError) as caught:
            handler(session, issued, forge.sessions)
        shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())

        assert "the app failed" in shown
        assert self.SECRET not in shown
        assert issued.token.split(".")[2] not in shown
        assert issued.refresh_token is not None
        assert issued.refresh_token not in shown

    async def test_a_refusal_after_unsealing_says_nothing_of_what_was_inside(self, forge: Forge) -> None:
        hostile = json.dumps({"identifier": "ann", "generation": -1, "data": {"secret": self.SECRET}}).encode()

        refusal = await assert_refused(forge, forge.sealing(hostile))

        assert self.SECRET not in "".join(traceback.format_exception(refusal))

    async def test_the_store_holds_neither_data_nor_identifier_in_the_clear(self, forge: Forge) -> None:
        record = await forge.store._store.verify(forge.issued.session_id, generation=0)

        assert record is not None
        for kept in (record.data, record.identity, record.client, record.subject.encode()):
            assert self.SECRET.encode() not in kept
            assert b"ann" not in kept


@pytest.mark.parametrize("name", ["a|b", "|", "a:b", "a b"])
def test_e4_no_name_can_hold_what_separates_names_in_the_bound_text(name: str) -> None:
    """The associated data joins names with bars and the audience with a colon: no name may hold either."""
    for wrong in (lambda: Realm(name, "prd"), lambda: Realm("shop", name), lambda: TagPolicy(name)):
        with pytest.raises(ConfigurationError):
            wrong()
