"""`Sessions` on each embedded store, and as many more on the same one as a test asks for: each is a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ductape_asgi import Sessions, new_access_key
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.postgres import PostgresStore
from ductape_asgi.stores.redis import RedisStore
from ductape_asgi.stores.sqlite import SQLiteStore
from tests.items import given
from tests.patience import be_patient
from tests.redis_servers import fresh

from .support import Clock, WatchedStore

MakeSessions = Callable[..., Awaitable[Sessions]]
MakeStore = Callable[[], WatchedStore]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access_key() -> str:
    return new_access_key()


#: Stores whose drivers run on asyncio only.
REMOTE = ("redis", "postgres")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take out what cannot be: those stores on trio, and what they do not promise (see `test_elsewhere`).

    And what would say the same of each.
    """
    items[:] = [
        item
        for item in items
        if not (_on_remote(item) and (_on_trio(item) or _asks_too_much(item))) and not _says_the_same(item)
    ]


def _on_remote(item: pytest.Item) -> bool:
    return given(item).get("make_store") in REMOTE


def _on_trio(item: pytest.Item) -> bool:
    return "trio" in given(item).values()


def _says_the_same(item: pytest.Item) -> bool:
    return item.get_closest_marker("any_store") is not None and given(item).get("make_store") != "memory"


def _asks_too_much(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("announcing", "any_loop"))


@pytest.fixture(params=["memory", "sqlite", *REMOTE])
def make_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeStore:
    """One more way into the one store of this test."""
    # These tests are about what is promised, and not about how soon; the machine may be busy.
    be_patient(monkeypatch)
    if request.param == "memory":
        memory = MemoryStore()
        return lambda: WatchedStore(memory)
    if request.param == "redis":
        url = fresh(request.getfixturevalue("redis_url"))
        return lambda: WatchedStore(RedisStore(url))
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        return lambda: WatchedStore(PostgresStore(url))
    return lambda: WatchedStore(SQLiteStore(tmp_path / "sessions.db"))


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
