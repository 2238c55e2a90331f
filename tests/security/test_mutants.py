"""Three hundred thousand mutants of good tokens: none is accepted, and nothing but our own errors comes back."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable

import pytest

from ductape_asgi import DuctapeMiddleware, SessionError
from ductape_asgi.tokens import AccessTokens

from .asgi import App, call
from .conftest import MakeForge
from .forge import TAG, Forge, b64, dump, unb64

pytestmark = [pytest.mark.anyio, pytest.mark.no_cover]  # hundreds of thousands of tries at lines that others cover

BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
JSON_BITS = [
    "{",
    "}",
    "[",
    "]",
    '"',
    ":",
    ",",
    "null",
    "true",
    "1e9",
    "-",
    "\\",
    "\\u0000",
    " ",
    "\n",
    '"role":"admin",',
]
ODD = [
    "\0",
    " ",
    "\n",
    "\r\n",
    "\t",
    "=",
    "==",
    "+",
    "/",
    "%",
    "\u00a0",
    "\u200b",
    "\uff0e",
    "\udc80",
    "\U0001f600",
    "\u0301",
]


class Mutator:
    """Changes good tokens, from a seed."""

    def __init__(self, good: list[str], seed: int) -> None:
        self.good = good
        self.parsed = [[unb64(part) for part in token.split(".")[:2]] for token in good]
        self.rng = random.Random(seed)
        self.ways: list[Callable[[str], str]] = [
            self.flip_bit,
            self.replace_character,
            self.insert,
            self.delete,
            self.duplicate,
            self.truncate,
            self.swap_characters,
            self.swap_segments,
            self.splice,
            self.change_alphabet,
            self.change_json,
            self.change_claim,
            self.add_odd_character,
            self.flip_bit_in_bytes,
            self.transpose_case,
            self.move_dot,
        ]

    def mutant(self) -> str:
        """One that differs from every good token."""
        while True:
            token = self.rng.choice(self.good)
            for _ in range(self.rng.choice((1, 1, 1, 2, 3))):
                token = self.rng.choice(self.ways)(token)
            if token not in self.good:
                return token

    def at(self, text: str) -> int:
        return self.rng.randrange(len(text)) if text else 0

    def flip_bit(self, token: str) -> str:
        i = self.at(token)
        return token[:i] + chr(ord(token[i]) ^ 1 << self.rng.randrange(7)) + token[i + 1 :] if token else token

    def replace_character(self, token: str) -> str:
        i = self.at(token)
        return token[:i] + self.rng.choice(BASE64URL) + token[i + 1 :]

    def insert(self, token: str) -> str:
        i = self.at(token)
        return token[:i] + "".join(self.rng.choices(BASE64URL + ".", k=self.rng.randint(1, 4))) + token[i:]

    def delete(self, token: str) -> str:
        i = self.at(token)
        return token[:i] + token[i + self.rng.randint(1, 4) :]

    def duplicate(self, token: str) -> str:
        i, j = sorted((self.at(token), self.at(token)))
        return token[:j] + token[i:j] + token[j:]

    def truncate(self, token: str) -> str:
        return token[: self.at(token)] if self.rng.random() < 0.5 else token[self.at(token) :]

    def swap_characters(self, token: str) -> str:
        i, j = sorted((self.at(token), self.at(token)))
        return token[:i] + token[j : j + 1] + token[i + 1 : j] + token[i : i + 1] + token[j + 1 :] if i < j else token

    def swap_segments(self, token: str) -> str:
        parts, others = token.split("."), self.rng.choice(self.good).split(".")
        i = self.rng.randrange(len(parts))
        parts[i] = others[min(i, 2)] if self.rng.random() < 0.8 else self.rng.choice(others)
        return ".".join(parts)

    def splice(self, token: str) -> str:
        other = self.rng.choice(self.good)
        return token[: self.at(token)] + other[self.at(other) :]

    def change_alphabet(self, token: str) -> str:
        return self.rng.choice(
            (
                token.replace("-", "+").replace("_", "/"),
                token.replace("-", "+", 1),
                token.replace("_", "/", 1),
                ".".join(part + "=" * (-len(part) % 4) for part in token.split(".")),
                token + "=" * self.rng.randint(1, 4),
                self.other_unused_bits(token),
            )
        )

    def other_unused_bits(self, token: str) -> str:
        parts = token.split(".")
        i = self.rng.randrange(len(parts))
        if parts[i] and parts[i][-1] in BASE64URL:
            parts[i] = parts[i][:-1] + BASE64URL[(BASE64URL.index(parts[i][-1]) + self.rng.randint(1, 3)) % 64]
        return ".".join(parts)

    def change_json(self, token: str) -> str:
        """Bytes of header or payload changed and encoded again, under the old signature."""
        n, part = self.rng.randrange(len(self.good)), self.rng.randrange(2)
        raw = self.parsed[n][part]
        i = self.rng.randrange(len(raw))
        changed = raw[:i] + self.rng.choice(JSON_BITS).encode() + raw[i + self.rng.randrange(3) :]
        return self.with_part(n, part, changed)

    def change_claim(self, token: str) -> str:
        n, part = self.rng.randrange(len(self.good)), self.rng.randrange(2)
        document = json.loads(self.parsed[n][part])
        name = self.rng.choice(list(document))
        values = ("", None, 0, True, [], {}, "none", "admin", 2**63, 1e308, [document[name]], f"{document[name]} ")
        if self.rng.random() < 0.2:
            del document[name]
        else:
            document[name] = self.rng.choice(values)
        return self.with_part(n, part, dump(document))

    def with_part(self, n: int, part: int, raw: bytes) -> str:
        parts = self.good[n].split(".")
        parts[part] = b64(raw)
        return ".".join(parts)

    def add_odd_character(self, token: str) -> str:
        i = self.rng.choice((0, len(token), self.at(token)))
        return token[:i] + self.rng.choice(ODD) + token[i:]

    def flip_bit_in_bytes(self, token: str) -> str:
        """One bit of what a segment decodes to."""
        parts = self.rng.choice(self.good).split(".")
        i = self.rng.randrange(3)
        raw = bytearray(unb64(parts[i]))
        raw[self.rng.randrange(len(raw))] ^= 1 << self.rng.randrange(8)
        parts[i] = b64(bytes(raw))
        return ".".join(parts)

    def transpose_case(self, token: str) -> str:
        i, j = sorted((self.at(token), self.at(token)))
        return token[:i] + token[i:j].swapcase() + token[j:]

    def move_dot(self, token: str) -> str:
        i = token.find(".") if self.rng.random() < 0.5 else token.rfind(".")
        bare = token[:i] + token[i + 1 :] if i >= 0 else token
        j = self.at(bare)
        return bare[:j] + "." + bare[j:]


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Refusals are logged; three hundred thousand captured records would be all that is measured here."""
    caplog.set_level(logging.CRITICAL)


async def good_tokens(forge: Forge, count: int = 12) -> list[str]:
    issued = [
        await forge.sessions.start(tag=TAG, data={"userId": f"user-{n}", "role": "user", "text": "x" * 7 * n})
        for n in range(count)
    ]
    return [session.token for session in issued]


@pytest.fixture(params=["EdDSA", "ES256", "HS256"])
async def target(request: pytest.FixtureRequest, make_forge: MakeForge) -> Forge:
    return await make_forge(algorithm=request.param)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.usefixtures("quiet")
async def test_the_reader_accepts_no_mutant(target: Forge) -> None:
    """100,000 for each algorithm, straight at the reader; the loop that runs this test makes no difference to it."""
    good = await good_tokens(target)
    reader = AccessTokens(target.sessions.keyring)
    assert [reader.read(token).tag for token in good] == [TAG] * len(good)
    mutator = Mutator(good, seed=20_260_704)
    accepted = []

    for _ in range(100_000):
        mutant = mutator.mutant()
        try:
            reader.read(mutant)
        except SessionError:
            continue
        accepted.append(mutant)

    assert accepted == []


@pytest.mark.usefixtures("quiet")
async def test_sessions_verify_accepts_no_mutant_cold_or_warm(forge: Forge) -> None:
    good = await good_tokens(forge)
    for token in good[::2]:
        await forge.sessions.verify(tag=TAG, token=token)
    mutator = Mutator(good, seed=42)
    accepted = []
    forge.store.calls.clear()

    for _ in range(20_000):
        mutant = mutator.mutant()
        try:
            await forge.sessions.verify(tag=TAG, token=mutant)
        except SessionError:
            continue
        accepted.append(mutant)

    assert accepted == []
    assert not forge.store.calls


def header_bytes(mutant: str, rng: random.Random) -> bytes:
    return mutant.encode("utf-8", "surrogatepass") if rng.random() < 0.5 else mutant.encode("latin-1", "replace")


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("carrier", ["bearer", "cookie"])
async def test_the_middleware_accepts_no_mutant_as_header_bytes(forge: Forge, carrier: str) -> None:
    good = await good_tokens(forge)
    app = App()
    door = DuctapeMiddleware(app, sessions=forge.sessions, tag=TAG, required=True)
    name, prefix = {"bearer": (b"authorization", b"Bearer "), "cookie": (b"cookie", b"__Host-ductape=")}[carrier]
    assert (await call(door, headers=[(name, prefix + good[0].encode())])).status == 200
    app.scopes.clear()
    mutator, rng = Mutator(good, seed=5), random.Random(5)
    harmless = {token.encode() for token in good}

    for _ in range(2500):
        value = header_bytes(mutator.mutant(), rng)
        if value.strip(b" \t").partition(b";")[0].strip(b" \t") in harmless:
            continue  # white space around a header value is not part of it, nor is what follows a cookie
        answer = await call(door, headers=[(name, prefix + value)])
        assert answer.status == 401, value

    assert app.scopes == []
