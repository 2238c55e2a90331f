"""Stores on a file, as many as a test has workers."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ductape_asgi.stores.sqlite import SQLiteStore
from ductape_asgi.testing.contract.records import REALM, SECRET


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
async def sqlite_store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path)
    await store.open()
    await store.claim_secret(REALM, {"key-1": SECRET})
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
