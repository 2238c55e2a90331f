"""Long random histories on every store; each run draws others, and says how to repeat what failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.postgres import PostgresStore
from ductape_asgi.stores.redis import RedisStore
from ductape_asgi.stores.sqlite import SQLiteStore
from tests.patience import be_patient
from tests.redis_servers import fresh
from tests.sessions.broken_stores import Careless, Forgetful, Generous, Tireless, Trusting
from tests.sessions.histories import MANY, hold

LONG = settings(
    max_examples=40,
    stateful_step_count=50,
    derandomize=False,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(params=["memory", "sqlite", "redis", "redis+cluster", "postgres"])
def make_store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Any]]:
    """One more way into one store.  What is said here is what must come out, and not how soon."""
    be_patient(monkeypatch)
    if request.param == "memory":
        memory = MemoryStore()
        yield lambda: memory
    elif request.param == "sqlite":
        yield lambda: SQLiteStore(tmp_path / "sessions.db")
    elif request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        yield lambda: PostgresStore(url)
    else:
        name = "redis_url" if request.param == "redis" else "redis_cluster_url"
        redis_url = fresh(request.getfixturevalue(name))
        yield lambda: RedisStore(redis_url)


def test_long_random_histories(make_store: Callable[[], Any]) -> None:
    with asyncio.Runner() as runner:
        hold(runner, make_store, LONG)


@pytest.mark.parametrize("broken", [Forgetful, Generous, Careless, Tireless, Trusting])
def test_a_store_that_breaks_a_promise_is_found_out(broken: type[MemoryStore]) -> None:
    store = broken()
    with asyncio.Runner() as runner, pytest.raises(AssertionError):
        hold(runner, lambda: store, MANY)
