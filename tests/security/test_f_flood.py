"""F8, F9 and F12: floods of junk and of good tokens neither fill the memory nor push out those in use."""

from __future__ import annotations

import itertools
import logging
import random
import time
from collections.abc import Iterator

import pytest

from ductape_asgi import DuctapeMiddleware, SessionError

from .asgi import App, bearer, call
from .conftest import MakeForge
from .forge import TAG, Forge, b64
from .test_b_key_ids import memory_growth

pytestmark = [pytest.mark.anyio, pytest.mark.no_cover]  # hundreds of thousands of tries at lines that others cover


def junk(forge: Forge, seed: int) -> Iterator[str]:
    """Bad tokens without end: words, foreign headers, and now and then one that gets as far as the signature."""
    rng = random.Random(seed)
    header, payload, signature = forge.parts
    for number in itertools.count():
        filler = f"{rng.getrandbits(128):032x}"
        if number % 100 == 0:
            yield f"{header}.{payload}.{b64(rng.randbytes(64))}"
        elif number % 3 == 0:
            yield f"{filler}.{payload}.{signature}"
        elif number % 3 == 1:
            yield f"{header[:-6]}{filler[:6]}.{payload}.{filler}"
        else:
            yield filler * 8


async def refuse(forge: Forge, tokens: Iterator[str]) -> None:
    for token in tokens:
        with pytest.raises(SessionError):
            await forge.sessions.verify(tag=TAG, token=token)


@pytest.mark.parametrize("anyio_backend", ["trio"])  # once is enough; B2 floods on the other loop
async def test_f8_a_hundred_thousand_junk_tokens_leave_memory_flat_and_the_good_entry_in_place(
    make_forge: MakeForge, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    forge = await make_forge(cache_size=64)
    await forge.sessions.verify(tag=TAG, token=forge.token)
    tokens = junk(forge, seed=8)
    forge.store.calls.clear()

    await refuse(forge, itertools.islice(tokens, 90_000))
    grown = await memory_growth(lambda: refuse(forge, itertools.islice(tokens, 10_000)))
    await forge.sessions.verify(tag=TAG, token=forge.token)

    assert grown < 50_000  # 5 bytes a token; the shortest of them is 40 long
    assert not forge.store.calls


async def test_f8_junk_through_the_middleware_leaves_the_good_entry_in_place(
    make_forge: MakeForge, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    forge = await make_forge(cache_size=64)
    app = App()
    middleware = DuctapeMiddleware(app, sessions=forge.sessions, tag=TAG, required=True)
    assert (await call(middleware, headers=[bearer(forge.token)])).status == 200
    forge.store.calls.clear()

    for token in itertools.islice(junk(forge, seed=9), 5000):
        assert (await call(middleware, headers=[bearer(token)])).status == 401

    assert (await call(middleware, headers=[bearer(forge.token)])).status == 200
    assert len(app.scopes) == 2
    assert not forge.store.calls


async def test_f9_one_person_who_mints_tokens_does_not_push_out_those_in_use(make_forge: MakeForge) -> None:
    forge = await make_forge(cache_size=64)
    await forge.sessions.verify(tag=TAG, token=forge.token)
    others = [await forge.sessions.start(tag=TAG, data={"userId": f"user-{n}"}) for n in range(20)]
    for other in others:
        await forge.sessions.verify(tag=TAG, token=other.token)

    for _ in range(500):
        minted = await forge.sessions.start(tag=TAG, data={"userId": "mallory"})
        await forge.sessions.verify(tag=TAG, token=minted.token)

    forge.store.calls.clear()
    for token in [forge.token, *(other.token for other in others)]:
        await forge.sessions.verify(tag=TAG, token=token)
    assert not forge.store.calls


async def test_f9_the_cache_stays_within_its_size_whoever_fills_it(
    make_forge: MakeForge, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    forge = await make_forge(cache_size=32)

    async def fill(rounds: int) -> None:
        for number in range(rounds):
            issued = await forge.sessions.start(tag=TAG, data={"userId": f"user-{number}", "text": "x" * 1000})
            await forge.sessions.verify(tag=TAG, token=issued.token)
            await forge.sessions.revoke(tag=TAG, session_id=issued.session_id)

    await fill(200)
    forge.clock.advance(40 * 86_400)  # what has ended may be purged
    grown = await memory_growth(lambda: fill(400))

    assert grown < 1_500_000


async def test_f9_a_cache_of_size_nought_or_one_still_verifies(make_forge: MakeForge) -> None:
    forge = await make_forge(cache_size=1)
    other = await forge.sessions.start(tag=TAG, data={"userId": "bob"})

    for _ in range(3):
        assert (await forge.sessions.verify(tag=TAG, token=forge.token)).identifier == "ann"
        assert (await forge.sessions.verify(tag=TAG, token=other.token)).identifier == "bob"


async def test_f12_tokens_made_to_collide_cost_no_more_than_others(
    make_forge: MakeForge, caplog: pytest.LogCaptureFixture
) -> None:
    """Tokens alike in head and tail, which would share a slot of any cache keyed by part of the attacker's text."""
    caplog.set_level(logging.CRITICAL)
    forge = await make_forge()
    header, payload, signature = forge.parts

    def alike(start: int) -> Iterator[str]:
        return (f"{header}.{payload[:-8]}{number:08}.{signature}" for number in range(start, start + 1000))

    async def cost(start: int) -> float:
        began = time.thread_time()
        await refuse(forge, alike(start))
        return time.thread_time() - began

    await cost(0)
    first = min([await cost(n * 1000) for n in range(1, 4)])
    last = min([await cost(n * 1000) for n in range(10, 13)])

    assert last < first * 2
