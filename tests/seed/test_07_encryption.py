"""Session Data Encryption."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Iterator

import pytest

from ductape_asgi import IssuedSession, Sessions

pytestmark = pytest.mark.anyio

DATA = {
    "userId": "user-123",
    "email": "user@example.com",
    "creditCardLast4": "4242-4242-4242",  # long enough not to turn up by chance
    "subscriptionTier": "premium",
}
IDENTIFIER = "a-person-of-interest"


@pytest.fixture
async def session(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag="user-session", data=DATA, identifier=IDENTIFIER)


async def test_data_is_decrypted_when_verifying(sessions: Sessions, session: IssuedSession) -> None:
    verified = await sessions.verify(tag="user-session", token=session.token)

    assert verified.data["creditCardLast4"] == "4242-4242-4242"
    assert verified.data["subscriptionTier"] == "premium"
    assert verified.identifier == IDENTIFIER


def layers(text: bytes) -> Iterator[bytes]:
    """`text`, and everything that base64url or JSON inside it decodes to, all the way down."""
    yield text
    for part in text.split(b"."):
        if len(part) > 3:
            try:
                decoded = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
            except binascii.Error:
                continue
            if base64.urlsafe_b64encode(decoded).rstrip(b"=") == part:
                yield from layers(decoded)
    with contextlib.suppress(ValueError):  # ciphertext is no JSON
        document = json.loads(text)
        if isinstance(document, dict):
            for value in document.values():
                yield from layers(str(value).encode())


def spellings(secret: str) -> Iterator[bytes]:
    """`secret` as it is, as JSON escapes it, and the middle of its base64 at each of the three alignments."""
    raw = secret.encode()
    yield raw
    yield json.dumps(secret)[1:-1].encode()
    for shift in range(3):
        middle = base64.urlsafe_b64encode(b"\0" * shift + raw).rstrip(b"=")[4:-2]
        if len(middle) >= 6:  # less turns up by chance
            yield middle


async def test_the_layers_of_a_token_reach_down_to_the_ciphertext(session: IssuedSession) -> None:
    found = list(layers(session.token.encode()))

    assert any(layer.startswith(b'{"alg"') for layer in found)
    assert any(b'"data"' in layer for layer in found)
    ciphertext = sealed_data(session.token).split(".")[2]
    assert base64.urlsafe_b64decode(ciphertext + "=" * (-len(ciphertext) % 4)) in found


async def test_no_byte_of_the_token_at_any_level_shows_data_or_identifier(session: IssuedSession) -> None:
    found = list(layers(session.token.encode()))

    for secret in [*DATA.keys(), *DATA.values(), IDENTIFIER]:
        for spelling in spellings(secret):
            assert not any(spelling in layer for layer in found), secret


async def test_the_refresh_token_shows_neither(session: IssuedSession) -> None:
    assert session.refresh_token is not None
    found = list(layers(session.refresh_token.removeprefix("drt_").encode()))

    for secret in [*DATA.values(), IDENTIFIER]:
        assert not any(spelling in layer for spelling in spellings(secret) for layer in found), secret


async def test_sealing_the_same_data_twice_gives_different_bytes(sessions: Sessions, session: IssuedSession) -> None:
    again = await sessions.start(tag="user-session", data=DATA, identifier=IDENTIFIER)

    assert sealed_data(session.token) != sealed_data(again.token)


async def test_data_of_nearly_the_same_length_gives_tokens_of_the_same_length(sessions: Sessions) -> None:
    lengths = set()
    for role in ("user", "admin"):
        issued = await sessions.start(tag="user-session", data={"userId": "user-123", "role": role})
        lengths.add(len(sealed_data(issued.token)))

    assert len(lengths) == 1


def sealed_data(token: str) -> str:
    payload = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["data"])
