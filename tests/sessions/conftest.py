"""`Sessions` on each embedded store, and as many more on the same one as a test asks for: each is a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ductape_asgi import Sessions, new_access_key
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.sqlite import SQLiteStore

from .support import Clock, WatchedStore

MakeSessions = Callable[..., Awaitable[Sessions]]
MakeStore = Callable[[], WatchedStore]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access_key() -> str:
    return new_access_key()


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """One more way into the one store of this test."""
    if request.param == "sqlite":
        return lambda: WatchedStore(SQLiteStore(tmp_path / "sessions.db"))
    memory = MemoryStore()
    return lambda: WatchedStore(memory)


@pytest.fixture
async def make_sessions(make_store: MakeStore, access_key: str, clock: Clock) -> AsyncIterator[MakeSessions]:
    """One more worker on the store, with options as `Sessions` takes them; open until the test ends."""
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> Sessions:
            given = {"access_key": access_key, "product": "shop", "env": "prd", "clock": clock, **options}
            given.setdefault("store", make_store())
            return await stack.enter_async_context(Sessions(**given))

        yield make


@pytest.fixture
async def sessions(make_sessions: MakeSessions) -> Sessions:
    return await make_sessions()


@pytest.fixture
async def other_worker(make_sessions: MakeSessions) -> Sessions:
    return await make_sessions()
