"""`Sessions.health()`: what a probe is told, and that it never raises for a store that is down."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import anyio
import pytest

from ductape_asgi import ConfigurationError, Health, PublishableKeyError, Sessions
from ductape_asgi import worker as worker_module

from .conftest import MakeSessions
from .push_store import PushStore, Server
from .support import ANN, TAG, Clock, accepted
from .test_store_troubles import store_of, take_down
from .virtual_time import backend

pytestmark = pytest.mark.anyio


async def test_a_worker_at_ease(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data=ANN)
    await sessions.verify(tag=TAG, token=issued.token)
    health = await sessions.health()
    assert health == Health(
        ok=True, store="ok", staleness=health.staleness, trusted=True, cache_entries=1, circuit="closed"
    )
    assert 0 <= health.staleness < 5
    with pytest.raises(FrozenInstanceError):
        health.ok = False  # type: ignore[misc]


async def test_it_opens_by_itself_and_proves(make_sessions: MakeSessions, clock: Clock) -> None:
    sessions = await make_sessions()
    clock.advance(3600)
    before = store_of(sessions).calls["log_since"]
    health = await sessions.health()
    assert (health.ok, health.trusted) == (True, True)
    assert store_of(sessions).calls["log_since"] == before + 1


async def test_a_store_that_is_down_while_the_cache_is_trusted_still(sessions: Sessions, clock: Clock) -> None:
    issued = await sessions.start(tag=TAG, data=ANN)
    await sessions.verify(tag=TAG, token=issued.token)
    take_down(sessions)
    clock.advance(4)
    health = await sessions.health()
    assert (health.ok, health.store, health.trusted, health.cache_entries) == (False, "unavailable", True, 1)
    assert health.staleness == pytest.approx(4, abs=0.5)
    clock.advance(1)
    health = await sessions.health()
    assert (health.ok, health.store, health.trusted) == (False, "unavailable", False)
    store_of(sessions).instead.clear()
    assert (await sessions.health()).ok
    assert await accepted(sessions, issued.token) == "ok"


async def test_a_worker_that_never_heard_of_its_store(access_key: str) -> None:
    store = PushStore(Server())
    store.refusing.add("all")
    async with Sessions(access_key=access_key, product="shop", env="prd", store=store) as sessions:
        health = await sessions.health()
    assert health == Health(
        ok=False,
        store="unavailable",
        staleness=float("inf"),
        trusted=False,
        cache_entries=0,
        circuit=health.circuit,
    )


async def test_a_store_that_cannot_be_opened_at_all_is_a_configuration_error(tmp_path: Path, access_key: str) -> None:
    sessions = Sessions(access_key=access_key, product="a", env="b", store=f"sqlite:///{tmp_path}/no/folder.db")
    with pytest.raises(ConfigurationError, match="director"):
        await sessions.health()


async def test_a_publishable_key_has_no_store_to_ask(access_key: str) -> None:
    key = Sessions(access_key=access_key, product="a", env="b", store="memory://").publishable_key
    with pytest.raises(PublishableKeyError):
        await Sessions(publishable_key=key).health()


class TestInVirtualTime:
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> Any:
        return backend(request.param)

    @pytest.mark.parametrize("way", ["silent", "refusing"])
    async def test_it_answers_within_a_second_and_shows_the_circuit(
        self, access_key: str, monkeypatch: pytest.MonkeyPatch, way: str
    ) -> None:
        monkeypatch.setattr(worker_module, "boot_clock", lambda: anyio.current_time)
        store = PushStore(Server())
        given: dict[str, Any] = {"access_key": access_key, "product": "shop", "env": "prd", "store": store}
        async with Sessions(clock=lambda: 1_800_000_000 + anyio.current_time(), **given) as sessions:
            await anyio.sleep(1)
            assert (await sessions.health()).circuit == "closed"
            getattr(store, way).add("all")
            for _ in range(10):
                began = anyio.current_time()
                assert (await sessions.health()).store == "unavailable"
                assert anyio.current_time() - began <= 1.0 + 1e-9
                await anyio.sleep(1)
            assert (await sessions.health()).circuit == "open"
            getattr(store, way).clear()
            await anyio.sleep(2)
            assert (await sessions.health()).ok
            assert (await sessions.health()).circuit == "closed"
