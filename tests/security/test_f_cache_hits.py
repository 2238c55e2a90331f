"""F1 to F4: a hit serves its own token, realm, tag and rules, only while its time lasts and its session lives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ductape_asgi import (
    Bearer,
    ConfigurationError,
    DuctapeMiddleware,
    ExpiredToken,
    InvalidToken,
    RevokedSession,
    TagPolicy,
)
from ductape_asgi.keys import new_access_key
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.sqlite import SQLiteStore

from .asgi import App, bearer, call, cookie
from .conftest import MakeForge
from .endings import ENDINGS
from .forge import TAG, CountingStore, Forge, verify

pytestmark = pytest.mark.anyio

REFUSED = (RevokedSession, InvalidToken)


async def test_a_hit_costs_no_call_to_the_store(warm: Forge) -> None:
    for _ in range(10):
        await verify(warm)

    assert not warm.store.calls


# -- F1, F2: whose entry is it -----------------------------------------------------------------------------------------


async def test_f1_a_token_that_shares_head_or_tail_with_a_cached_one_is_no_hit(warm: Forge) -> None:
    """CVE-2026-35030 used the first twenty characters as the key."""
    token = warm.token
    for position in range(0, len(token), 7):
        other = "A" if token[position] != "A" else "B"
        with pytest.raises(InvalidToken):
            await verify(warm, token[:position] + other + token[position + 1 :])


async def test_f1_the_tail_of_one_token_on_the_body_of_another_is_no_hit(warm: Forge) -> None:
    other = await warm.sessions.start(tag=TAG, data={"userId": "bob"})
    await verify(warm, other.token)
    header, payload, _ = warm.parts

    for mixture in (
        f"{header}.{payload}.{other.token.split('.')[2]}",
        f"{other.token.rpartition('.')[0]}.{warm.parts[2]}",
        other.token[:-22] + warm.token[-22:],
        "x" + warm.token,
        warm.token[-22:],
    ):
        with pytest.raises(InvalidToken):
            await verify(warm, mixture)


async def test_f2_an_entry_of_one_tag_does_not_serve_another(warm: Forge) -> None:
    with pytest.raises(InvalidToken):
        await warm.sessions.verify(tag="checkout-session", token=warm.token)


async def test_f2_an_entry_of_one_realm_does_not_serve_another(warm: Forge) -> None:
    for realm in ({"product": "other"}, {"env": "dev"}):
        with pytest.raises(InvalidToken):
            await warm.sessions.verify(tag=TAG, token=warm.token, **realm)


async def test_f2_two_middlewares_share_a_cache_and_not_their_rules(warm: Forge) -> None:
    app = App()
    shop = DuctapeMiddleware(app, sessions=warm.sessions, tag=TAG, required=True)
    checkout = DuctapeMiddleware(app, sessions=warm.sessions, tag="checkout-session", required=True)
    both = DuctapeMiddleware(app, sessions=warm.sessions, tag=(TAG, "checkout-session"), required=True)

    for _ in range(2):  # the second time from the cache
        assert (await call(shop, headers=[bearer(warm.token)])).status == 200
        assert (await call(checkout, headers=[bearer(warm.token)])).status == 401
        assert (await call(both, headers=[bearer(warm.token)])).status == 200
        assert (await call(shop, headers=[cookie(warm.token)])).status == 200
        assert (await call(checkout, headers=[cookie(warm.token)])).status == 401


async def test_f2_a_bearer_entry_does_not_open_the_cookie_door_where_cookies_are_not_taken(warm: Forge) -> None:
    only_bearer = DuctapeMiddleware(App(), sessions=warm.sessions, tag=TAG, required=True, credentials=(Bearer(),))

    assert (await call(only_bearer, headers=[bearer(warm.token)])).status == 200
    assert (await call(only_bearer, headers=[cookie(warm.token)])).status == 401


async def test_f2_a_cached_cookie_still_has_to_pass_the_csrf_rule(warm: Forge) -> None:
    app = App()
    middleware = DuctapeMiddleware(app, sessions=warm.sessions, tag=TAG)
    assert (await call(middleware, headers=[cookie(warm.token)])).session is not None
    ran = len(app.scopes)

    crossing = [cookie(warm.token), (b"sec-fetch-site", b"cross-site")]
    answer = await call(middleware, method="POST", headers=crossing)

    assert answer.status == 403
    assert len(app.scopes) == ran


# -- F3: clocks --------------------------------------------------------------------------------------------------------


async def test_f3_a_hit_ends_with_its_token(warm: Forge) -> None:
    warm.clock.now = warm.claims["exp"] + 4
    await verify(warm)

    warm.clock.now = warm.claims["exp"] + 5
    with pytest.raises(ExpiredToken):
        await verify(warm)


@pytest.mark.parametrize("step", [-3600, -400 * 86_400], ids=["F3-an-hour-back", "F3-400-days-back"])
async def test_a_clock_that_steps_back_makes_the_token_one_from_the_future(warm: Forge, step: int) -> None:
    warm.clock.advance(step)
    with pytest.raises(InvalidToken):
        await verify(warm)

    warm.clock.advance(-step)
    assert (await verify(warm)).identifier == "ann"


@pytest.mark.parametrize("step", [3600, 400 * 86_400], ids=["F3-an-hour-on", "F3-400-days-on"])
async def test_a_clock_that_steps_on_ends_the_token(warm: Forge, step: int) -> None:
    warm.clock.advance(step)
    with pytest.raises(ExpiredToken):
        await verify(warm)


async def test_f3_a_small_step_back_within_the_leeway_harms_nobody(warm: Forge) -> None:
    warm.clock.advance(-5)

    assert (await verify(warm)).identifier == "ann"


async def test_f3_the_middleware_minds_the_clock_on_hits_too(warm: Forge) -> None:
    middleware = DuctapeMiddleware(App(), sessions=warm.sessions, tag=TAG, required=True)
    for credential in (bearer(warm.token), cookie(warm.token)):
        for moment, status in ((0, 200), (-3600, 401), (904, 200), (905, 401), (10**8, 401), (0, 200)):
            warm.clock.now = warm.claims["iat"] + moment
            assert (await call(middleware, headers=[credential])).status == status, (credential[0], moment)


# -- F4: what ends a session ends its hits -----------------------------------------------------------------------------


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
async def test_a_session_that_has_ended_is_refused_although_cached(warm: Forge, end: Callable[[Forge], Any]) -> None:
    middleware = DuctapeMiddleware(App(), sessions=warm.sessions, tag=TAG, required=True)
    for credential in (bearer(warm.token), cookie(warm.token)):
        assert (await call(middleware, headers=[credential])).status == 200

    await end(warm)

    with pytest.raises(REFUSED):
        await verify(warm)
    for credential in (bearer(warm.token), cookie(warm.token)):
        assert (await call(middleware, headers=[credential])).status == 401


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
async def test_a_session_that_another_worker_ended_is_refused_although_cached(
    warm: Forge, make_forge: MakeForge, any_store: CountingStore, tmp_path: Path, end: Callable[[Forge], Any]
) -> None:
    """For a store on this machine: at once (P1)."""
    # A store in memory is shared as an object, a file by its name.
    in_memory = isinstance(any_store._store, MemoryStore)
    shared = any_store._store if in_memory else SQLiteStore(str(tmp_path / "sessions.db"))
    elsewhere = await make_forge(store=CountingStore(shared))
    middleware = DuctapeMiddleware(App(), sessions=warm.sessions, tag=TAG, required=True)
    for credential in (bearer(warm.token), cookie(warm.token)):
        assert (await call(middleware, headers=[credential])).status == 200

    await end(dataclasses.replace(elsewhere, issued=warm.issued))

    for credential in (bearer(warm.token), cookie(warm.token)):
        assert (await call(middleware, headers=[credential])).status == 401
    with pytest.raises(REFUSED):
        await verify(warm)


async def test_f4_max_sessions_evicts_the_earliest_from_the_cache_too(
    make_forge: MakeForge, any_store: CountingStore
) -> None:
    forge = await make_forge(store=any_store, tags=[TagPolicy(TAG, max_sessions=1)])
    await verify(forge)

    await forge.sessions.start(tag=TAG, data={"userId": "ann"})

    with pytest.raises(RevokedSession):
        await verify(forge)


async def test_f4_the_sessions_own_end_ends_its_hits_without_leeway(
    make_forge: MakeForge, any_store: CountingStore
) -> None:
    forge = await make_forge(store=any_store, tags=[TagPolicy(TAG, session_ttl=600)])
    await verify(forge)

    forge.clock.now = forge.claims["iat"] + 599
    await verify(forge)
    forge.clock.now = forge.claims["iat"] + 600
    with pytest.raises(ExpiredToken):
        await verify(forge)


async def test_f4_a_worker_with_a_shorter_life_for_tokens_or_without_the_tag_refuses(
    warm: Forge, make_forge: MakeForge, any_store: CountingStore
) -> None:
    without = await make_forge(store=CountingStore(any_store._store), tags=[TagPolicy("other"), TagPolicy(TAG)])
    assert (await verify(without, warm.token)).identifier == "ann"

    with pytest.raises(ConfigurationError):
        await without.sessions.verify(tag="retired-session", token=warm.token)


async def test_f4_without_its_key_a_cached_token_is_refused(
    warm: Forge, make_forge: MakeForge, any_store: CountingStore
) -> None:
    rolled = await make_forge(store=any_store, access_key=new_access_key())

    with pytest.raises(InvalidToken):
        await verify(rolled, warm.token)
