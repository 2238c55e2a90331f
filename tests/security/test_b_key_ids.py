"""Group B: a key id is attacker's text until it is found, whole, among the headers we issue."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from ductape_asgi import InvalidToken, SessionError
from ductape_asgi.keys import new_access_key

from .conftest import MakeForge
from .forge import TAG, Clock, CountingStore, Forge, dump
from .refusal import assert_not_inspected, assert_refused

pytestmark = pytest.mark.anyio

Recipe = Callable[[Forge], object]


def kid(value: Any) -> Recipe:
    return lambda f: f.with_header(kid=value)


def fullwidth(text: str) -> str:
    """The first letter or digit as its full-width twin, which NFKC folds back."""
    return chr(ord(text[0]) - 0x21 + 0xFF01) + text[1:]


ATTACKS: dict[str, Recipe] = {
    "B1-missing": lambda f: f.with_header({"alg": f.header["alg"], "typ": f.header["typ"]}),
    "B2-unknown": kid("AAAAAAAAAAAAAAAA"),
    "B3-int": kid(1),
    "B3-null": kid(None),
    "B3-list": lambda f: f.with_header(kid=[f.kid]),
    "B3-dict": lambda f: f.with_header(kid={"kid": f.kid}),
    "B4-path": kid("../../dev/null"),
    "B4-absolute-path": kid("/etc/passwd"),
    "B5-sql": kid("' OR 1=1--"),
    "B5-union": kid("x' UNION SELECT 'key'--"),
    "B6-pipe": kid("|id"),
    "B6-subshell": kid("$(id)"),
    "B7-NUL": lambda f: f.with_header(kid=f.kid + "\0"),
    "B7-CR-LF": lambda f: f.with_header(kid=f.kid + "\r\nINFO all is well"),
    "B7-raw-newline": lambda f: f.with_header(dump(f.header).replace(b'","typ', b'\n","typ')),
    "B8-100-KB": kid("k" * 100_000),
    "B9-fullwidth": lambda f: f.with_header(kid=fullwidth(f.kid)),  # CVE-2026-25480 shows the class
    "B9-fullwidth-unescaped": lambda f: f.with_header(
        dump(f.header).replace(f.kid.encode(), fullwidth(f.kid).encode())
    ),
    "B9-zero-width": lambda f: f.with_header(kid=f.kid + "\u200b"),
    "B9-other-case": lambda f: f.with_header(kid=f.kid.swapcase()),
    "B9-padded": lambda f: f.with_header(kid=f.kid + " "),
    "B9-prefix": lambda f: f.with_header(kid=f.kid[:-1]),
    "B9-escaped": lambda f: f.with_header(
        dump(f.header).replace(f.kid.encode(), (f"\\u{ord(f.kid[0]):04x}" + f.kid[1:]).encode())
    ),
    "B10-__proto__": kid("__proto__"),
    "B10-__class__": kid("__class__"),
    "B11-key-id-of-refresh-and-store-keys": lambda f: f.with_header(kid=f.sessions.keyring.members[0].key_id),
    "B11-seal": kid("seal"),
    "B11-csrf": kid("csrf"),
    "B11-data": lambda f: f.with_header(kid=f.claims["data"].rsplit(".", 1)[0]),
}


@pytest.mark.parametrize("recipe", ATTACKS.values(), ids=ATTACKS)
async def test_a_kid_that_is_not_ours_is_refused_although_signed_by_us(forge: Forge, recipe: Recipe) -> None:
    token = recipe(forge)

    assert isinstance(await assert_refused(forge, token), InvalidToken)
    await assert_not_inspected(forge, token)


@pytest.mark.parametrize("purpose", ["seal", "refresh", "store", "log"])
async def test_b11_a_key_of_another_purpose_signs_nothing(hs256: Forge, purpose: str) -> None:
    member = hs256.sessions.keyring.members[0]

    await assert_refused(hs256, hs256.sign(hs256.header, hs256.payload, getattr(member, purpose)))


async def test_b7_a_kid_with_line_breaks_does_not_add_lines_to_the_log(
    forge: Forge, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    forged_line = "INFO all is well"

    await assert_refused(forge, forge.with_header(kid=f"{forge.kid}\r\n{forged_line}"))

    assert all("\n" not in record.getMessage() for record in caplog.records)
    assert forged_line not in caplog.text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # once is enough; F8 floods on the other loop
@pytest.mark.no_cover  # as `test_f_flood`
async def test_b2_a_flood_of_unknown_kids_asks_nobody_and_leaves_nothing_behind(
    forge: Forge, caplog: pytest.LogCaptureFixture
) -> None:
    """CVE-2026-48524: an unknown kid made the verifier fetch keys, each time."""
    caplog.set_level(logging.CRITICAL)
    good = [forge.with_header(kid=f"unknown-kid-{number:05}") for number in range(100)]
    payload, signature = good[0].split(".")[1:]

    async def flood(numbers: range) -> None:
        for number in numbers:
            token = f"{good[number % 100].split('.')[0][:-6]}{number:06}.{payload}.{signature}"
            with pytest.raises(SessionError):
                await forge.sessions.verify(tag=TAG, token=token)

    forge.store.calls.clear()
    await flood(range(90_000))
    grown = await memory_growth(lambda: flood(range(90_000, 100_000)))

    assert not forge.store.calls
    assert grown < 50_000
    assert (await forge.sessions.verify(tag=TAG, token=forge.token)).session_id == forge.issued.session_id


async def memory_growth(run: Callable[[], Any]) -> int:
    """How many bytes are held after `run` that were not held before."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await run()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


class TestB12RetiredKey:
    """A key that has been taken out verifies nothing more, not even what was verified with it a moment ago."""

    @pytest.fixture
    async def rolled(self, make_forge: MakeForge, access_key: str, any_store: CountingStore, clock: Clock) -> Forge:
        """A worker that has both keys, and a token that the older made and that is cached."""
        old = await make_forge(store=any_store)
        both = await make_forge(store=any_store, access_key=[new_access_key(), access_key])
        await both.sessions.verify(tag=TAG, token=old.token)
        both.token = old.token
        return both

    async def test_while_both_are_there_the_old_token_is_good(self, rolled: Forge) -> None:
        session = await rolled.sessions.verify(tag=TAG, token=rolled.token)

        assert session.identifier == "ann"

    async def test_without_the_old_key_its_token_is_refused(
        self, rolled: Forge, make_forge: MakeForge, any_store: CountingStore
    ) -> None:
        without = await make_forge(store=any_store, access_key=new_access_key())

        await assert_refused(without, rolled.token)

    async def test_an_access_key_that_was_never_there_signs_nothing(
        self, rolled: Forge, make_forge: MakeForge, any_store: CountingStore
    ) -> None:
        stranger = await make_forge(store=any_store, access_key=new_access_key())

        await assert_refused(rolled, stranger.token)
        await assert_refused(rolled, stranger.sign(rolled.header, stranger.payload))
