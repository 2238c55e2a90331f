"""Backends under attack.  No test here may reach out: a connection or a name look-up fails it."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ductape_asgi import DuctapeMiddleware, Sessions, TagPolicy
from ductape_asgi.keys import new_access_key
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.sqlite import SQLiteStore
from ductape_asgi.testing import FlakyStore, SessionClock
from tests.routes.support import World

from .asgi import App
from .forge import TAG, Clock, CountingStore, Forge, verify

MakeForge = Callable[..., Awaitable[Forge]]


@pytest.fixture(autouse=True)
def no_outbound_connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    attempts: list[str] = []

    def refuse(*args: Any, **kwargs: Any) -> Any:
        attempts.append(repr(args[-1:]))
        raise AssertionError("something reached out")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", refuse)
    yield
    assert attempts == []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access_key() -> str:
    return new_access_key()


@pytest.fixture(params=["memory", "sqlite"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> CountingStore:
    if request.param == "memory":
        return CountingStore(MemoryStore())
    return CountingStore(SQLiteStore(str(tmp_path / "sessions.db")))


@pytest.fixture
async def make_forge(access_key: str, clock: Clock) -> AsyncIterator[MakeForge]:
    """Opens a backend (``algorithm=``, ``tags=`` ... as `Sessions` takes them) with one session in it."""
    async with AsyncExitStack() as stack:

        async def make(
            *, store: CountingStore | None = None, data: dict[str, Any] | None = None, **options: Any
        ) -> Forge:
            counting = store or CountingStore(MemoryStore())
            settings = {"access_key": access_key, "product": "shop", "env": "prd", "clock": clock, **options}
            sessions = await stack.enter_async_context(Sessions(store=counting, **settings))
            issued = await sessions.start(tag=TAG, data=data or {"userId": "ann", "role": "user"})
            return Forge(sessions, counting, clock, issued)

        yield make


@pytest.fixture
async def forge(make_forge: MakeForge) -> Forge:
    """The default: Ed25519, an in-memory store."""
    return await make_forge()


@pytest.fixture
async def es256(make_forge: MakeForge) -> Forge:
    return await make_forge(algorithm="ES256")


@pytest.fixture
async def hs256(make_forge: MakeForge) -> Forge:
    return await make_forge(algorithm="HS256")


@pytest.fixture
async def warm(make_forge: MakeForge, any_store: CountingStore) -> Forge:
    """A session whose token is in the cache, on each embedded store."""
    forge = await make_forge(store=any_store)
    await verify(forge)
    forge.store.calls.clear()
    return forge


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def door(app: App, forge: Forge) -> DuctapeMiddleware:
    return DuctapeMiddleware(app, sessions=forge.sessions, tag=TAG, required=True, exempt=["/health", "/public/*"])


@pytest.fixture(params=["cookie", "bearer"])
def mode(request: pytest.FixtureRequest) -> str:
    """How tokens travel at `session_routes`."""
    return str(request.param)


@pytest.fixture
async def world(mode: str, access_key: str) -> AsyncIterator[World]:
    """A backend with `session_routes`, for people with browsers and apps."""
    store, clock = FlakyStore(MemoryStore()), SessionClock()
    tags = [TagPolicy(TAG, idle_ttl=86_400), TagPolicy("checkout-session"), TagPolicy("strict", reuse_grace=0)]
    async with Sessions(
        access_key=access_key, product="shop", env="prd", store=store, clock=clock, tags=tags
    ) as sessions:
        yield World(sessions, store, clock, mode)
