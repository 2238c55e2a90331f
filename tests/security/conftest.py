"""Backends under attack.  No test here may reach out: a connection or a name look-up fails it."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ductape_asgi import DuctapeMiddleware, Sessions
from ductape_asgi.keys import new_access_key
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.sqlite import SQLiteStore

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
