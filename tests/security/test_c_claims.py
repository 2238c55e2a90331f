"""Group C: the payload is strict JSON with exactly our claims, even when the signature is good."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ductape_asgi import ConfigurationError, ExpiredToken, InvalidToken, Sessions
from ductape_asgi.keys import new_access_key

from .conftest import MakeForge
from .forge import ATTACKER, TAG, CountingStore, Forge, dump
from .refusal import assert_refused

pytestmark = pytest.mark.anyio

Recipe = Callable[[Forge], str]
ATTACKS: dict[str, Recipe] = {}

TEXTS = ("iss", "aud", "sub", "sid", "jti", "tag", "data")
NUMBERS = ("iat", "nbf", "exp", "auth_time", "ver")
DAY = 86_400


# -- C1 to C5: the JSON itself -----------------------------------------------------------------------------------------


def _twice(name: str) -> None:
    hostile = {"tag": "admin-session", "data": "1.x.y", "aud": "shop:dev"}.get(name, "x" * 22 if name in TEXTS else 1)

    def before(f: Forge) -> str:
        return f.with_payload(b"{" + dump({name: hostile})[1:-1] + b"," + f.payload[1:])

    def after(f: Forge) -> str:
        return f.with_payload(f.payload[:-1] + b"," + dump({name: hostile})[1:])

    def escaped(f: Forge) -> str:
        return f.with_payload(f.payload[:-1] + f',"\\u{ord(name[0]):04x}{name[1:]}":'.encode() + dump(hostile) + b"}")

    ATTACKS[f"C1-{name}-hostile-first"] = before
    ATTACKS[f"C1-{name}-hostile-last"] = after
    ATTACKS[f"C1-{name}-escaped-name"] = escaped
    ATTACKS[f"C1-{name}-twice-the-same"] = lambda f: f.with_payload(
        f.payload[:-1] + b"," + dump({name: f.claims[name]})[1:]
    )


for _name in (*TEXTS, *NUMBERS):
    _twice(_name)


def payload(raw: bytes) -> Recipe:
    return lambda f: f.with_payload(raw)


def altered(change: Callable[[bytes], bytes]) -> Recipe:
    return lambda f: f.with_payload(change(f.payload))


NOT_OBJECTS = {"list": b"[]", "string": b'"x"', "number": b"1", "null": b"null", "true": b"true", "blank": b" "}
ATTACKS |= {f"C2-{name}": payload(raw) for name, raw in NOT_OBJECTS.items()}
ATTACKS["C2-empty"] = lambda f: f"{f.parts[0]}..{f.parts[2]}"
ATTACKS["C2-empty-object"] = payload(b"{}")
ATTACKS["C2-list-of-claims"] = altered(lambda raw: b"[" + raw + b"]")
ATTACKS["C2-list-of-pairs"] = lambda f: f.with_payload(dump(list(f.claims.items())))
ATTACKS["C2-not-JSON"] = altered(lambda raw: raw.replace(b'"', b"'"))
ATTACKS["C2-comment"] = altered(lambda raw: raw[:-1] + b"/**/}")
ATTACKS["C2-trailing-comma"] = altered(lambda raw: raw[:-1] + b",}")

for _codec in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig", "cp037"):
    ATTACKS[f"C3-{_codec}"] = altered(lambda raw, codec=_codec: raw.decode().encode(codec))  # type: ignore[misc]
WITHIN_TEXT = {
    "invalid-UTF-8": b"\xff",
    "truncated-UTF-8": b"\xc3",
    "overlong-UTF-8": b"\xc0\xaf",
    "surrogate-in-UTF-8": b"\xed\xa0\x80",
    "lone-surrogate": b"\\ud800",
    "NUL": b"\0",
    "escaped-NUL": b"\\u0000",
    "newline": b"\n",
    "tab": b"\t",
}
for _name, _bytes in WITHIN_TEXT.items():
    ATTACKS[f"C3-{_name}"] = altered(lambda raw, b=_bytes: raw.replace(b'"sub":"', b'"sub":"' + b))  # type: ignore[misc]
    ATTACKS[f"C3-{_name}-in-the-issuer"] = altered(  # type: ignore[misc]
        lambda raw, b=_bytes: raw.replace(b'"iss":"ductape', b'"iss":"ductape' + b)
    )

AROUND = {"newline": b"\n", "blank": b" ", "NUL": b"\0", "object": b"{}", "letter": b"x", "NBSP": b"\xc2\xa0"}
for _name, _bytes in AROUND.items():
    ATTACKS[f"C4-{_name}-after"] = altered(lambda raw, b=_bytes: raw + b)  # type: ignore[misc]
    ATTACKS[f"C4-{_name}-before"] = altered(lambda raw, b=_bytes: b + raw)  # type: ignore[misc]


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + closing * depth).encode()


for _depth in (200, 990, 2000, 100_000):
    _deep = nested(_depth)
    _deep_objects = nested(_depth, '{"a":', "}").replace(b":}", b":1}")
    ATTACKS[f"C5-{_depth}-header"] = lambda f, d=_deep: f.with_header(dump(f.header)[:-1] + b',"x":' + d + b"}")  # type: ignore[misc]
    ATTACKS[f"C5-{_depth}-payload"] = payload(_deep)
    ATTACKS[f"C5-{_depth}-payload-objects"] = payload(_deep_objects)
    ATTACKS[f"C5-{_depth}-extra-claim"] = altered(lambda raw, d=_deep: raw[:-1] + b',"x":' + d + b"}")  # type: ignore[misc]
    ATTACKS[f"C5-{_depth}-claim"] = lambda f, d=_deep: f.with_payload(  # type: ignore[misc]
        dump({**f.claims, "sub": 0}).replace(b'"sub":0', b'"sub":' + d)
    )


# -- C6 to C9: numbers and times; the seal fits them, so that only their own check stands in the way ------------------


def literal(name: str, text: str) -> Recipe:
    return lambda f: f.resealed(**{name: text})


def from_value(name: str, change: Callable[[int], str]) -> Recipe:
    return lambda f: f.resealed(**{name: change(f.claims[name])})


HOSTILE_NUMBERS = {
    "NaN": "NaN",
    "Infinity": "Infinity",
    "minus-Infinity": "-Infinity",
    "1e400": "1e400",
    "1e308": "1e308",
    "10^400": "1" + "0" * 400,
    "10^5000": "1" + "0" * 5000,
    "minus-1": "-1",
    "0": "0",
    "minus-0": "-0",
    "2^63": str(2**63),
    "true": "true",
    "null": "null",
    "list": "[]",
    "dict": "{}",
    "text": '"123"',
    "hex": "0x7fffffff",
    "plus": "+1795336900",
}
SPELLINGS: dict[str, Callable[[int], str]] = {
    "quoted": lambda value: f'"{value}"',
    "quoted-with-blanks": lambda value: f'" {value} "',
    "quoted-with-underscores": lambda value: f'"{value:_}"',
    "quoted-arabic-digits": lambda value: '"' + str(value).translate({48 + n: 0x660 + n for n in range(10)}) + '"',
    "float": lambda value: f"{value}.0",
    "exponent": lambda value: f"{value}e0",
    "in-a-list": lambda value: f"[{value}]",
    "leading-zero": lambda value: f"0{value}",
}
for _claim in NUMBERS:
    for _name, _text in HOSTILE_NUMBERS.items():
        ATTACKS[f"C6-{_claim}-{_name}"] = literal(_claim, _text)
    for _name, _spell in SPELLINGS.items():
        ATTACKS[f"C7-{_claim}-{_name}"] = from_value(_claim, _spell)
ATTACKS["C7-exp-milliseconds"] = from_value("exp", lambda value: str(value * 1000))
ATTACKS["C7-iat-milliseconds"] = from_value("iat", lambda value: str(value * 1000))

for _claim in (*TEXTS, *NUMBERS):
    ATTACKS[f"C8-{_claim}-missing"] = lambda f, n=_claim: f.resealed(drop=n)  # type: ignore[misc]
ATTACKS["C8-iat-after-exp"] = lambda f: f.resealed(iat=str(f.claims["exp"] + 1), nbf=str(f.claims["exp"] + 1))
ATTACKS["C8-nbf-after-exp"] = lambda f: f.resealed(nbf=str(f.claims["exp"] + 1))
ATTACKS["C8-nbf-before-iat"] = lambda f: f.resealed(nbf=str(f.claims["iat"] - 1))
ATTACKS["C8-a-day-and-a-second"] = lambda f: f.resealed(exp=str(f.claims["iat"] + DAY + 1))
ATTACKS["C8-a-hundred-years"] = lambda f: f.resealed(exp=str(f.claims["iat"] + 36_525 * DAY))
ATTACKS["C9-nbf-beyond-leeway"] = lambda f: f.resealed(nbf=str(f.claims["nbf"] + 6))
ATTACKS["C9-iat-beyond-leeway"] = lambda f: f.resealed(iat=str(f.claims["iat"] + 6), nbf=str(f.claims["nbf"] + 6))
ATTACKS["C9-tomorrow"] = lambda f: f.resealed(
    iat=str(f.claims["iat"] + DAY), nbf=str(f.claims["iat"] + DAY), exp=str(f.claims["exp"] + DAY)
)
ATTACKS["C9-yesterday"] = lambda f: f.resealed(
    iat=str(f.claims["iat"] - DAY), nbf=str(f.claims["iat"] - DAY), exp=str(f.claims["exp"] - DAY)
)


# -- C10 to C13: names -------------------------------------------------------------------------------------------------

HOSTILE_TEXTS: dict[str, dict[str, Any]] = {
    "C10-aud": {
        "other": "shop:dev",
        "prefix": "shop:pr",
        "longer": "shop:prd2",
        "substring": "my-shop:prd",
        "case": "Shop:prd",
        "case-of-env": "shop:PRD",
        "list": ["shop:prd"],
        "list-with-others": ["x", "shop:prd"],
        "list-of-lists": [["shop:prd"]],
        "list-with-a-number": [1, "shop:prd"],
        "dict": {"shop:prd": 1},
        "blank": "shop:prd ",
        "newline": "shop:prd\n",
        "empty": "",
        "null": None,
        "no-env": "shop",
        "three-parts": "shop:prd:x",
        "swapped": "prd:shop",
        "fullwidth-colon": "shop\uff1aprd",
    },
    "C11-iss": {
        "list": ["ductape"],
        "prefix": "ductap",
        "longer": "ductape.evil.test",
        "homoglyph": "duct\u0430pe",
        "case": "Ductape",
        "blank": "ductape ",
        "newline": "ductape\n",
        "url": "https://ductape",
        "empty": "",
        "null": None,
        "dict": {},
    },
    "C12-sub": {
        "empty": "",
        "int": 1,
        "22-digits": 10**21,
        "list": ["x" * 22],
        "null": None,
        "true": True,
        "newline": "x" * 21 + "\n",
        "one-character": "x",
        "4-KB": "x" * 4000,
        "10-KB": "x" * 10_000,
        "plain-identifier": "ann@example.com",
    },
    "C13-tag": {
        "list": [TAG],
        "case": "User-Session",
        "other": "checkout-session",
        "prefix": "user",
        "longer": "user-session-2",
        "blank": "user-session ",
        "newline": "user-session\n",
        "empty": "",
        "null": None,
        "int": 1,
    },
    "C15-sid": {
        "empty": "",
        "int": 1,
        "22-digits": 10**21,
        "list": ["x" * 22],
        "null": None,
        "short": "x" * 21,
        "path": "../../../../../etc/passwd",
        "sql": "' OR 1=1 -- xxxxxxxxxxxx",
        "newline": "x" * 22 + "\n",
        "10-KB": "x" * 10_000,
    },
    "C16-jti": {
        "empty": "",
        "int": 1,
        "22-digits": 10**21,
        "list": ["x" * 22],
        "null": None,
        "short": "x" * 21,
        "long": "x" * 23,
    },
}
for _name, _values in HOSTILE_TEXTS.items():
    for _case, _value in _values.items():
        ATTACKS[f"{_name}-{_case}"] = literal(_name.partition("-")[2], json.dumps(_value))

EXTRA: dict[str, Any] = {
    "cnf": {"jkt": "x"},  # a bound token, sent as a bearer
    "role": "admin",
    "scope": "admin",
    "amr": ["pwd"],
    "": "",
    "__proto__": {},
}
ATTACKS |= {f"C8-extra-{name}": (lambda f, n=name, v=value: f.with_claims(**{n: v})) for name, value in EXTRA.items()}  # type: ignore[misc]


@pytest.mark.parametrize("recipe", ATTACKS.values(), ids=ATTACKS)
async def test_a_payload_that_we_would_not_write_is_refused_although_signed_by_us(forge: Forge, recipe: Recipe) -> None:
    assert isinstance(await assert_refused(forge, recipe(forge)), InvalidToken)


async def test_the_control_resealed_by_the_same_workshop_is_accepted(forge: Forge) -> None:
    session = await forge.sessions.verify(tag=TAG, token=forge.resealed())

    assert session.identifier == "ann"


async def test_c9_the_leeway_is_five_seconds_both_ways(forge: Forge) -> None:
    early = forge.resealed(iat=str(forge.claims["iat"] + 5), nbf=str(forge.claims["iat"] + 5))
    assert (await forge.sessions.verify(tag=TAG, token=early)).identifier == "ann"

    forge.clock.now = forge.claims["exp"] + 4
    assert (await forge.sessions.verify(tag=TAG, token=forge.resealed())).identifier == "ann"

    forge.clock.now = forge.claims["exp"] + 5
    assert isinstance(await assert_refused(forge, forge.resealed()), ExpiredToken)


async def test_c13_a_token_of_another_session_type_is_refused(forge: Forge) -> None:
    checkout = await forge.sessions.start(tag="checkout-session", data={"userId": "ann"})

    await assert_refused(forge, checkout.token, tag=TAG)
    await assert_refused(forge, forge.token, tag="checkout-session")


async def test_c14_product_and_env_are_not_interchangeable(make_forge: MakeForge) -> None:
    one = await make_forge(product="a", env="b")
    other = await make_forge(product="b", env="a")

    await assert_refused(one, other.token)
    await assert_refused(other, one.token)


@pytest.mark.parametrize(
    "realm",
    [
        ("a", "b:c"),
        ("a:b", "c"),
        ("a:", "b"),
        ("", "a"),
        ("a b", "c"),
        ("a/b", "c"),
        ("A", "b"),
        ("a\n", "b"),
        ("\u0430", "b"),
    ],
    ids=lambda realm: f"C14-{realm[0]!a}-{realm[1]!a}",
)
def test_names_that_could_be_read_two_ways_are_refused(realm: tuple[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        Sessions(access_key=new_access_key(), product=realm[0], env=realm[1], store="memory://")


@pytest.mark.parametrize("realm", [{"product": "a:b"}, {"env": "b:c"}, {"env": ""}, {"env": 1}], ids="C14-{}".format)
async def test_names_given_to_a_verb_are_checked_alike(forge: Forge, realm: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        await forge.sessions.verify(tag=TAG, token=forge.token, **realm)


class TestC15CompromisedDevelopmentKey:
    """Whoever holds the key of one environment signs nothing for another, sid and all."""

    @pytest.fixture
    async def dev(self, make_forge: MakeForge, forge: Forge) -> Forge:
        return await make_forge(store=CountingStore(forge.store._store), env="dev")

    async def test_production_claims_signed_by_the_dev_key_are_refused(self, forge: Forge, dev: Forge) -> None:
        await assert_refused(forge, dev.sign(dev.header, forge.payload))

    async def test_also_under_the_header_of_production(self, forge: Forge, dev: Forge) -> None:
        await assert_refused(forge, forge.sign(forge.header, forge.payload, dev.private_key))

    async def test_also_with_another_access_key_altogether(self, forge: Forge, make_forge: MakeForge) -> None:
        other = await make_forge(access_key=new_access_key(), env="dev")

        await assert_refused(forge, other.sign(other.header, forge.payload))
        await assert_refused(forge, other.sign(other.header, {**other.claims, "aud": "shop:prd"}))

    async def test_a_strangers_signature_is_refused(self, forge: Forge) -> None:
        await assert_refused(forge, forge.sign(forge.header, forge.payload, ATTACKER))

    async def test_the_keys_of_two_environments_differ(self, forge: Forge, dev: Forge) -> None:
        assert forge.kid != dev.kid


@pytest.mark.parametrize("who", ["the-same-person", "another-person"], ids="C16-{}".format)
async def test_sealed_data_moved_from_another_token_is_refused(forge: Forge, who: str) -> None:
    user = "ann" if who == "the-same-person" else "bob"
    other = await forge.sessions.start(tag=TAG, data={"userId": user, "role": "admin"})
    donor = Forge(forge.sessions, forge.store, forge.clock, other)

    await assert_refused(forge, forge.with_claims(data=donor.claims["data"]))
    await assert_refused(forge, forge.sign(forge.header, {**donor.claims, "data": forge.claims["data"]}))


async def test_c16_data_moved_between_two_tokens_of_one_session_is_refused(forge: Forge) -> None:
    again = await forge.sessions.refresh(tag=TAG, refresh_token=forge.issued.refresh_token)
    later = Forge(forge.sessions, forge.store, forge.clock, again)

    await assert_refused(forge, forge.with_claims(data=later.claims["data"]))
    await assert_refused(forge, later.with_claims(data=forge.claims["data"]))
