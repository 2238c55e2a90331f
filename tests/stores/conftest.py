"""Stores on a file, as many as a test has workers, and real Redis servers for the whole run."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ductape_asgi.stores.sqlite import SQLiteStore
from tests import redis_servers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
async def sqlite_store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def other_store(path: Path, sqlite_store: SQLiteStore) -> AsyncIterator[SQLiteStore]:
    """A second worker on the same file: it shares nothing with the first but the file."""
    store = SQLiteStore(path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def locked(path: Path):
    """Holds the write lock as another process would."""

    @contextmanager
    def hold() -> Iterator[None]:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    return hold


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server, which tests share: each takes a prefix of its own (`redis_servers.fresh`)."""
    with redis_servers.single(tmp_path_factory.mktemp("redis")) as url:
        yield url
        redis_servers.flush(url)


@pytest.fixture(scope="session")
def sentinel_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_servers.SentinelTrio(tmp_path_factory.mktemp("sentinel")) as trio:
        yield trio.url


@pytest.fixture(scope="session")
def redis_cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_servers.cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield redis_servers.cluster_url(servers)
