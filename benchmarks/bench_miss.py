"""A miss: a token that is not cached, against a strict reference on raw primitives and against PyJWT."""

from __future__ import annotations

import hmac
import itertools
import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ductape_asgi import Sessions
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.sqlite import SQLiteStore

from . import _requests as requests
from ._measure import Arm, Report, cpu_per_call, interleave, ratio, spread
from ._reference import bound, reference
from ._requests import TAG

_TOKENS = 256
#: So few that each of the tokens has been pushed out again before its turn comes.
_CACHED = 64
_BATCH = 16
_ROUNDS = 250

Verify = Callable[[str], Awaitable[Any]]


async def bench(report: Report, folder: str) -> None:
    memory = requests.new_sessions(MemoryStore(), cache_size=_CACHED)
    sqlite = requests.new_sessions(SQLiteStore(f"{folder}/miss.db"), cache_size=_CACHED)
    async with memory, sqlite:
        tokens, others = await _tokens(memory), await _tokens(sqlite)
        report.section(f"A miss (EdDSA, token of {len(tokens[0])} characters), CPU")
        strict, pyjwt = _reference(memory), _pyjwt(memory)
        arms = {
            "strict reference": _arm(strict, tokens),
            "strict reference again": _arm(strict, tokens),
            "sessions.verify(), memory store": _arm(_ours(memory), tokens),
            "sessions.verify(), SQLite store": _arm(_ours(sqlite), others),
            "PyJWT decode + AES-GCM + JSON (no store)": _arm(pyjwt, tokens),
        }
        samples = interleave(arms, _ROUNDS)
    report.null(samples, "strict reference", "strict reference again")
    for name in arms:
        if not name.endswith("again"):
            report.figure(name, sorted(samples[name])[_ROUNDS // 2] / 1000, "us")
    for store in ("memory", "SQLite"):
        middle, low, high = ratio(samples, f"sessions.verify(), {store} store", "strict reference")
        name = f"a cold verification over the strict reference, {store} store"
        report.gate(name, middle, bound=1.6, unit="times", at_least=False, note=spread(low, high))


async def _tokens(sessions: Sessions) -> list[str]:
    return [
        (await sessions.start(tag=TAG, data={**requests.DATA, "userId": f"user_{number:012}"})).token
        for number in range(_TOKENS)
    ]


def _arm(verify: Verify, tokens: list[str]) -> Arm:
    """Verify in turn, so that a token comes back when the cache has long forgotten it."""
    turn = itertools.cycle(tokens)

    async def work() -> None:
        for token in batch:
            await verify(token)

    batch: list[str] = []

    def run() -> float:
        batch[:] = itertools.islice(turn, _BATCH)
        return cpu_per_call(work, _BATCH)

    return run


def _ours(sessions: Sessions) -> Verify:
    return lambda token: sessions.verify(tag=TAG, token=token)


def _reference(sessions: Sessions) -> Verify:
    strict = reference(sessions, TAG)

    async def verify(token: str) -> Any:
        return strict(token, time.time())

    return verify


def _pyjwt(sessions: Sessions) -> Verify:
    """What an application would write with PyJWT, the data sealed all the same."""
    member = sessions.keyring.members[0]
    audience, key = sessions.realm.audience, member.signing.public_key
    assert key is not None

    async def verify(token: str) -> Any:
        claims = jwt.decode(token, key, algorithms=["EdDSA"], audience=audience, issuer="ductape", leeway=5)
        sealed = claims.pop("data").split(".")[2]
        raw = urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
        cipher = AESGCM(hmac.digest(member.seal, claims["jti"].encode(), "sha256"))
        return json.loads(cipher.decrypt(raw[:12], raw[12:], bound(claims, member.signing.kid)))

    return verify
