"""Group D: one token, one spelling; and the signature schemes' own malleability."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ductape_asgi import InvalidToken, MissingToken, SessionError

from .conftest import MakeForge
from .forge import ED25519_ORDER, P256_ORDER, TAG, Forge, b64, unb64
from .refusal import assert_not_inspected, assert_refused

pytestmark = pytest.mark.anyio

Recipe = Callable[[Forge], str]
ATTACKS: dict[str, Recipe] = {}
PARTS = ("header", "payload", "signature")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def in_part(index: int, change: Callable[[str], str]) -> Recipe:
    def recipe(f: Forge) -> str:
        parts = list(f.parts)
        parts[index] = change(parts[index])
        return ".".join(parts)

    return recipe


for _index, _part in enumerate(PARTS):
    for _padding in ("=", "==", "===", "====", "%3D", "####"):
        ATTACKS[f"D1-{_part}-{_padding}"] = in_part(_index, lambda text, p=_padding: text + p)  # type: ignore[misc]


def _standard_alphabet(f: Forge) -> str:
    token = f.token
    while not set("-_") & set(token):
        token = f.resealed()  # another nonce, and so another signature
    return token.replace("-", "+").replace("_", "/")


INVISIBLE = {
    "space": " ",
    "tab": "\t",
    "CR-LF": "\r\n",
    "LF": "\n",
    "NUL": "\0",
    "NBSP": "\u00a0",
    "ZWSP": "\u200b",
    "BOM": "\ufeff",
    "RLO": "\u202e",
    "surrogate": "\udc80",
    "combining": "\u0301",
}
for _name, _text in INVISIBLE.items():
    ATTACKS[f"D4-{_name}-before"] = lambda f, t=_text: t + f.token  # type: ignore[misc]
    ATTACKS[f"D4-{_name}-after"] = lambda f, t=_text: f.token + t  # type: ignore[misc]
    ATTACKS[f"D4-{_name}-inside"] = lambda f, t=_text: f.token[:200] + t + f.token[200:]  # type: ignore[misc]
    ATTACKS[f"D4-{_name}-at-a-dot"] = lambda f, t=_text: f.token.replace(".", t + ".", 1)  # type: ignore[misc]
for _name, _dot in {"fullwidth": "\uff0e", "one-dot-leader": "\u2024", "comma": ",", "colon": ":"}.items():
    ATTACKS[f"D4-{_name}-for-a-dot"] = lambda f, d=_dot: f.token.replace(".", d)  # type: ignore[misc]
ATTACKS["D4-fullwidth-letter"] = lambda f: chr(ord(f.token[0]) - 0x21 + 0xFF01) + f.token[1:]
ATTACKS["D4-quoted"] = lambda f: f'"{f.token}"'
ATTACKS["D4-percent-encoded-dots"] = lambda f: f.token.replace(".", "%2E")
ATTACKS["D3-standard-alphabet"] = _standard_alphabet

ATTACKS["D6-one-segment"] = lambda f: f.token.replace(".", "")
ATTACKS["D6-two-segments"] = lambda f: ".".join(f.parts[:2])
ATTACKS["D6-two-segments-and-a-dot"] = lambda f: ".".join(f.parts[:2]) + "."
ATTACKS["D6-four-segments"] = lambda f: f.token + ".x"
ATTACKS["D6-leading-dot"] = lambda f: "." + f.token
ATTACKS["D6-trailing-dot"] = lambda f: f.token + "."
ATTACKS["D6-double-dot"] = lambda f: f.token.replace(".", "..", 1)
ATTACKS["D6-five-segments"] = lambda f: f.token + ".x.y"
ATTACKS["D6-10000-segments"] = lambda f: f.token + ".x" * 10_000
ATTACKS["D6-only-dots"] = lambda f: ".."
ATTACKS["D6-8000-dots"] = lambda f: "." * 8000
ATTACKS["D6-reordered"] = lambda f: ".".join(reversed(f.parts))
ATTACKS["D6-other-case"] = lambda f: f.token.swapcase()
ATTACKS["D6-reversed"] = lambda f: f.token[::-1]

for _size in (8 * 1024 + 1, 64 * 1024, 8 * 1024 * 1024):
    for _index, _part in enumerate(PARTS):
        ATTACKS[f"D11-{_part}-{_size}"] = in_part(_index, lambda text, s=_size: text + "A" * s)  # type: ignore[misc]
    ATTACKS[f"D11-no-dots-{_size}"] = lambda f, s=_size: "A" * s  # type: ignore[misc]
    ATTACKS[f"D11-wide-characters-{_size}"] = lambda f, s=_size: "\U0001f600" * (s // 4)  # type: ignore[misc]


def _longer_than(size: int) -> Recipe:
    """Good in every way, with so much padding sealed in that the token is just longer than this."""

    def recipe(f: Forge) -> str:
        blanks = 0
        while len(token := f.sealing(f.plaintext() + b" " * blanks)) <= size:
            blanks += max(1, (size - len(token)) * 9 // 16)
        return token

    return recipe


ATTACKS["D11-signed-and-sealed-8193"] = _longer_than(8192)
ATTACKS["D11-signed-and-sealed-64-KB"] = _longer_than(64 * 1024)


@pytest.mark.parametrize("recipe", ATTACKS.values(), ids=ATTACKS)
async def test_another_spelling_of_a_good_token_is_refused(forge: Forge, recipe: Recipe) -> None:
    """Also while the good one is in the cache."""
    await forge.sessions.verify(tag=TAG, token=forge.token)
    token = recipe(forge)

    assert isinstance(await assert_refused(forge, token), InvalidToken)
    await assert_not_inspected(forge, token)


async def test_d11_a_token_of_just_8192_characters_is_not_too_long(forge: Forge) -> None:
    tokens = [forge.sealing(forge.plaintext() + b" " * blanks) for blanks in range(4000, 4400)]
    longest = max((token for token in tokens if len(token) <= 8192), key=len)

    assert len(longest) > 8180
    assert (await forge.sessions.verify(tag=TAG, token=longest)).identifier == "ann"


@pytest.mark.parametrize("nothing", [None, ""], ids=["D6-None", "D6-empty"])
async def test_no_token_is_a_missing_token(forge: Forge, nothing: str | None) -> None:
    assert isinstance(await assert_refused(forge, nothing), MissingToken)


@pytest.mark.parametrize("other", [0, 1, 1.5, True, b"a.b.c", ["a.b.c"], {}, object(), str], ids="D6-{!r:.12}".format)
async def test_what_is_not_a_str_is_an_invalid_token(forge: Forge, other: object) -> None:
    assert isinstance(await assert_refused(forge, other), InvalidToken)


@pytest.mark.parametrize("index", range(3), ids=[f"D2-{part}" for part in PARTS])
async def test_unused_bits_of_the_last_character_of_a_part_must_be_zero(forge: Forge, index: int) -> None:
    text = forge.parts[index]
    twins = [text[:-1] + last for last in ALPHABET if unb64(text[:-1] + last) == unb64(text) and last != text[-1]]

    assert len(twins) == {0: 0, 2: 15, 3: 3}[len(text) % 4]
    for twin in twins:
        await assert_refused(forge, in_part(index, lambda _, twin=twin: twin)(forge))  # type: ignore[misc]


async def test_d2_also_when_signed_over_the_twin(forge: Forge) -> None:
    """The signature covers the spelling: a payload with set unused bits is refused although the signature holds."""
    header = forge.parts[0]
    for filler in (b"", b" ", b"  "):  # one of the lengths leaves unused bits
        payload = b64(forge.payload[:-1] + filler + b"}")
        if len(payload) % 4 == 0:
            continue
        twin = payload[:-1] + ALPHABET[ALPHABET.index(payload[-1]) + 1]
        message = f"{header}.{twin}"
        assert unb64(twin) == unb64(payload)
        await assert_refused(forge, f"{message}.{b64(forge.private_key.sign(message.encode()))}")


async def test_d7_a_token_cut_at_any_byte_is_refused(forge: Forge) -> None:
    for end in range(1, len(forge.token)):
        with pytest.raises(InvalidToken):
            await forge.sessions.verify(tag=TAG, token=forge.token[:end])
    for start in range(1, len(forge.token)):
        with pytest.raises(InvalidToken):
            await forge.sessions.verify(tag=TAG, token=forge.token[start:])


# -- D8: ECDSA ---------------------------------------------------------------------------------------------------------


def _numbers(f: Forge) -> tuple[int, int]:
    signature = unb64(f.parts[2])
    return int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")


def _raw(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _der(f: Forge) -> bytes:
    return encode_dss_signature(*_numbers(f))


ECDSA: dict[str, Callable[[Forge], bytes]] = {
    "D8-high-s": lambda f: _raw(_numbers(f)[0], P256_ORDER - _numbers(f)[1]),
    "D8-zeros": lambda f: _raw(0, 0),  # CVE-2022-21449
    "D8-r-is-0": lambda f: _raw(0, _numbers(f)[1]),
    "D8-s-is-0": lambda f: _raw(_numbers(f)[0], 0),
    "D8-r-is-n": lambda f: _raw(P256_ORDER, _numbers(f)[1]),
    "D8-s-is-n": lambda f: _raw(_numbers(f)[0], P256_ORDER),
    "D8-both-are-n": lambda f: _raw(P256_ORDER, P256_ORDER),
    "D8-ones": lambda f: _raw(1, 1),
    "D8-negated-r": lambda f: _raw(P256_ORDER - _numbers(f)[0], _numbers(f)[1]),
    "D8-der": _der,
    "D8-63-bytes": lambda f: _raw(*_numbers(f))[:-1],
    "D8-65-bytes": lambda f: _raw(*_numbers(f)) + b"\0",
    "D8-96-bytes": lambda f: b"".join(number.to_bytes(48, "big") for number in _numbers(f)),
    "D8-twice": lambda f: _raw(*_numbers(f)) * 2,
}


@pytest.mark.parametrize("signature", ECDSA.values(), ids=ECDSA)
async def test_another_form_of_an_ecdsa_signature_is_refused(es256: Forge, signature: Callable[[Forge], bytes]) -> None:
    await assert_refused(es256, ".".join([*es256.parts[:2], b64(signature(es256))]))


async def test_d8_our_own_ecdsa_signatures_have_a_low_s_always(es256: Forge) -> None:
    for _ in range(50):
        issued = await es256.sessions.start(tag=TAG, data={"userId": "ann"})
        s = int.from_bytes(unb64(issued.token.split(".")[2])[32:], "big")
        assert 0 < s <= P256_ORDER // 2
        await es256.sessions.verify(tag=TAG, token=issued.token)


# -- D9: Ed25519 -------------------------------------------------------------------------------------------------------

#: Points of small order, as RFC 8032 encodes them, canonical and not.
SMALL_ORDER = {
    "identity": "0100000000000000000000000000000000000000000000000000000000000000",
    "order-2": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "order-4": "0000000000000000000000000000000000000000000000000000000000000000",
    "order-8": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "not-canonical": "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}


def _s_plus_order(f: Forge) -> bytes:
    signature = unb64(f.parts[2])
    return signature[:32] + (int.from_bytes(signature[32:], "little") + ED25519_ORDER).to_bytes(32, "little")


EDDSA: dict[str, Callable[[Forge], bytes]] = {
    "D9-S-plus-L": _s_plus_order,
    "D9-zeros": lambda f: bytes(64),
    "D9-ones": lambda f: b"\xff" * 64,
    "D9-63-bytes": lambda f: unb64(f.parts[2])[:-1],
    "D9-65-bytes": lambda f: unb64(f.parts[2]) + b"\0",
    "D9-halves-swapped": lambda f: unb64(f.parts[2])[32:] + unb64(f.parts[2])[:32],
    "D9-top-bit": lambda f: unb64(f.parts[2])[:-1] + bytes([unb64(f.parts[2])[-1] | 0x80]),
    "D9-own-public-key-as-R": lambda f: f.private_key.public_key().public_bytes_raw() + bytes(32),
    **{f"D9-R-{name}": (lambda f, p=point: bytes.fromhex(p) + bytes(32)) for name, point in SMALL_ORDER.items()},  # type: ignore[misc]
    **{
        f"D9-R-{name}-with-our-S": (lambda f, p=point: bytes.fromhex(p) + unb64(f.parts[2])[32:])  # type: ignore[misc]
        for name, point in SMALL_ORDER.items()
    },
}


@pytest.mark.parametrize("signature", EDDSA.values(), ids=EDDSA)
async def test_another_form_of_an_ed25519_signature_is_refused(
    forge: Forge, signature: Callable[[Forge], bytes]
) -> None:
    await assert_refused(forge, ".".join([*forge.parts[:2], b64(signature(forge))]))


# -- D10: HMAC ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 16, 31], ids="D10-{}-bytes".format)
async def test_a_truncated_mac_is_refused(hs256: Forge, size: int) -> None:
    await assert_refused(hs256, ".".join([*hs256.parts[:2], b64(unb64(hs256.parts[2])[:size])]))


@pytest.mark.parametrize(
    "change",
    [lambda mac: mac + b"\0", lambda mac: mac * 2, lambda mac: bytes(32)],
    ids=["D10-longer", "D10-twice", "D10-zeros"],
)
async def test_a_mac_of_another_length_or_value_is_refused(hs256: Forge, change: Callable[[bytes], bytes]) -> None:
    await assert_refused(hs256, ".".join([*hs256.parts[:2], b64(change(unb64(hs256.parts[2])))]))


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519", "ES256", "HS256"], ids="D9-{}".format)
async def test_every_single_bit_of_a_signature_counts(make_forge: MakeForge, algorithm: str) -> None:
    target = await make_forge(algorithm=algorithm)
    signature = unb64(target.parts[2])
    for bit in range(len(signature) * 8):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SessionError):
            await target.sessions.verify(tag=TAG, token=".".join([*target.parts[:2], b64(bytes(flipped))]))
